"""Filters: logits in, logits out, of the same shape, never in place, never an empty row.

Each truncation filter is a threshold: it keeps the logits that are at least tau, so tokens that tie with the last one kept
are kept too, and nothing depends on the order of the vocabulary. A parameter is a number, or a tensor with one number per
row. Rows that hold NaN or +inf pass unchanged, for the draw to report.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

from aigc import kernels
from aigc._checks import fail, fail_type

__all__ = ["Chain", "Filter", "Greedy", "MinP", "Temperature", "TopK", "TopP", "chain", "check_rows", "is_greedy", "take"]

T = TypeVar("T")


@runtime_checkable
class Filter(Protocol):
    """Maps logits `(*rows, vocab)` to logits of the same shape; any function that does is one.

    Example:
        >>> isinstance(TopK(3), Filter), isinstance(lambda logits: logits, Filter)
        (True, True)
    """

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Filters."""
        ...


class _Shown:
    """Prints a filter as it is written: `TopK(50)`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(str(_plain(value)) for value in _values(self))})"


@dataclass(frozen=True, slots=True, repr=False)
class Temperature(_Shown):
    r"""Sharpens the distribution below 1 and flattens it above: $x \mapsto (x - \max x) / t$.

    The shift changes no probability and keeps small temperatures from overflowing. At t = 0 the exact limit is taken: the
    first of the largest logits, so that greedy rows and random rows can share a batch.

    Args:
        t: At least 0.

    Example:
        >>> Temperature(0.5)(torch.tensor([1.0, 3.0, 2.0]))
        tensor([-4.,  0., -2.])
        >>> Temperature(0)(torch.tensor([1.0, 3.0, 3.0]))
        tensor([-inf, 0., -inf])
    """

    t: float | Tensor

    def __post_init__(self) -> None:
        _check(temperature=self.t)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Divides; half precision becomes float32, where the quotients still differ."""
        x = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        top = x.amax(-1, keepdim=True)
        ok = top.isfinite()
        t = _per_row(self.t, x)
        limits = torch.finfo(x.dtype)  # an extreme temperature must not become 0 or infinite when it is rounded
        scaled = (x - top.where(ok, 0.0)) / t.where(t > 0, 1.0).to(x.dtype).clamp(limits.tiny, limits.max)
        scaled = scaled.where(t > 0, _first(scaled))
        return scaled.where(ok, x)


@dataclass(frozen=True, slots=True, repr=False)
class TopK(_Shown):
    """Keeps the k largest logits, and whatever ties with the last of them (Fan, Lewis and Dauphin, 2018).

    Args:
        k: At least 1. Rows no longer than k are kept whole.

    Example:
        >>> TopK(2)(torch.tensor([1.0, 3.0, 2.0, 2.0]))
        tensor([-inf, 3., 2., 2.])
    """

    k: int | Tensor

    def __post_init__(self) -> None:
        _check(top_k=self.k)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts below the k-th largest."""
        return _cut(logits, kernels.threshold(logits, top_k=self.k))


@dataclass(frozen=True, slots=True, repr=False)
class TopP(_Shown):
    r"""Keeps the most likely tokens until their probability reaches p (Holtzman et al., arXiv:1904.09751).

    A token is kept while the probability of all larger ones is below p, so the one that crosses p is kept.

    Args:
        p: In (0, 1]. 1 keeps everything, bit for bit.

    Example:
        >>> TopP(0.7)(torch.tensor([0.5, 0.3, 0.2]).log()).softmax(-1)
        tensor([0.6250, 0.3750, 0.0000])
    """

    p: float | Tensor

    def __post_init__(self) -> None:
        _check(top_p=self.p)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts below the nucleus."""
        return _cut(logits, kernels.threshold(logits, top_p=self.p))


@dataclass(frozen=True, slots=True, repr=False)
class MinP(_Shown):
    """Keeps the tokens at least m times as likely as the most likely one (Nguyen et al., arXiv:2407.01082).

    Args:
        m: In (0, 1].

    Example:
        >>> MinP(0.5)(torch.tensor([0.5, 0.3, 0.2]).log()).softmax(-1)
        tensor([0.6250, 0.3750, 0.0000])
    """

    m: float | Tensor

    def __post_init__(self) -> None:
        _check(min_p=self.m)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts below m times the largest probability."""
        return _cut(logits, kernels.threshold(logits, min_p=self.m))


@dataclass(frozen=True, slots=True, repr=False)
class Greedy(_Shown):
    """Keeps the first of the largest logits alone, so that there is nothing left to draw.

    Example:
        >>> Greedy()(torch.tensor([1.0, 3.0, 3.0]))
        tensor([-inf, 0., -inf])
    """

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Keeps one."""
        return Temperature(0.0)(logits)


@dataclass(frozen=True, slots=True, repr=False)
class Chain:
    """Filters applied from left to right; made by `chain`.

    Example:
        >>> chain(Temperature(0.8), TopP(0.95)).filters
        (Temperature(0.8), TopP(0.95))
    """

    filters: tuple[Filter, ...]

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Applies each filter to what the one before left."""
        for apply in self.filters:
            logits = apply(logits)
        return logits

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.filters))})"


def chain(*filters: Filter) -> Chain:
    """Composes filters, left to right: the order is the caller's, and visible.

    Args:
        filters: Any number of filters; chains among them are joined in. None leaves the logits as they are.

    Example:
        >>> chain(Temperature(0.7), chain(TopK(50), TopP(0.95)))
        chain(Temperature(0.7), TopK(50), TopP(0.95))
    """
    flat: list[Filter] = []
    for i, one in enumerate(filters):
        if not callable(one) or isinstance(one, type):
            raise fail_type(f"filters[{i}]", "a filter, which maps logits to logits", one)
        flat.extend(one.filters if isinstance(one, Chain) else [one])
    return Chain(tuple(flat))


def take(value: T, rows: Tensor) -> T:
    """Narrows a filter or sampler with parameters per row to some rows, given by index.

    The filters of this module and their chains are narrowed, and whatever has a method `take(rows)` of its own; anything
    else is returned as it is, for its tensors may mean something else.

    Example:
        >>> take(chain(TopK(torch.tensor([1, 2, 3])), TopP(0.9)), torch.tensor([2]))
        chain(TopK([3]), TopP(0.9))
    """
    found: Any = value
    if isinstance(found, Chain):
        taken = [take(part, rows) for part in found.filters]
        same = all(a is b for a, b in zip(found.filters, taken, strict=True))
        return value if same else cast("T", Chain(tuple(taken)))
    if isinstance(found, Temperature | TopK | TopP | MinP):
        (parameter,) = _values(found)
        narrow = isinstance(parameter, Tensor) and parameter.ndim > 0
        return cast("T", type(found)(parameter[rows.to(parameter.device)])) if narrow else value
    return cast("T", found.take(rows)) if hasattr(found, "take") else value


def check_rows(value: object, rows: int | None) -> None:
    """Checks that parameters per row are as many as the rows; None allows none.

    Example:
        >>> check_rows(TopK(torch.tensor([1, 2])), 2)
    """
    value = getattr(value, "filter", value)
    for part in value.filters if isinstance(value, Chain) else (value,):
        if isinstance(part, Temperature | TopK | TopP | MinP):
            (parameter,) = _values(part)
            if isinstance(parameter, Tensor) and parameter.ndim and parameter.shape != (rows,):
                wanted = (
                    "with plain numbers where each row has its own" if rows is None else f"with {rows} numbers, one a row"
                )
                raise fail("sampler", wanted, part)


def is_greedy(value: object) -> bool:
    """Says whether a filter or sampler keeps one token only, by its type.

    Example:
        >>> is_greedy(chain(TopK(3), Greedy())), is_greedy(TopK(3))
        (True, False)
    """
    value = getattr(value, "filter", value)
    return any(isinstance(part, Greedy) for part in (value.filters if isinstance(value, Chain) else (value,)))


def _check(**given: Any) -> None:
    """Checks a parameter when a filter is made, not when it is first used."""
    ((name, value),) = given.items()
    if value is None:
        raise fail_type(name, "a number, or a tensor of one per row", value, "Leave the filter out to have it off.")
    kernels.parameters(value.shape if isinstance(value, Tensor) else (), **given)


def _cut(logits: Tensor, tau: Tensor) -> Tensor:
    # Not `where(logits >= tau)`: that would turn a NaN, whose threshold is NaN, into a token that was cut.
    return logits.masked_fill(logits < tau[..., None], -math.inf)


def _first(logits: Tensor) -> Tensor:
    """0 at the first of the largest, -inf elsewhere."""
    return torch.full_like(logits, -math.inf).scatter_(-1, logits.argmax(-1, keepdim=True), 0.0)


def _per_row(value: float | Tensor, logits: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64, device=logits.device).expand(logits.shape[:-1])[..., None]


def _values(value: Any) -> list[Any]:
    return [getattr(value, field.name) for field in fields(value)]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else value
