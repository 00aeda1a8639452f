"""Filters: logits in, logits out, of the same shape, never in place, never an empty row.

Each truncation filter is a threshold: it keeps the logits that are at least tau, so tokens that tie with the last one kept
are kept too, and nothing depends on the order of the vocabulary. A parameter is a number, or a tensor with one number per
row. Rows that hold NaN or +inf pass unchanged, for the draw to report.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from aigc import kernels
from aigc._checks import fail_type
from aigc.sampling._numbers import Parametric, column, cure

__all__ = ["Greedy", "MinP", "Temperature", "TopK", "TopP"]


@dataclass(frozen=True, slots=True, repr=False)
class Temperature(Parametric):
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

    per_row: ClassVar[tuple[str, ...]] = ("t",)
    narrow: ClassVar[bool] = True
    keeps_one_at: ClassVar[float] = 0

    def __post_init__(self) -> None:
        _check(temperature=self.t)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Divides; half precision becomes float32, where the quotients still differ."""
        return tempered(logits, column(self.t, logits))


@dataclass(frozen=True, slots=True, repr=False)
class TopK(Parametric):
    """Keeps the k largest logits, and whatever ties with the last of them (Fan, Lewis and Dauphin, 2018).

    Args:
        k: At least 1. Rows no longer than k are kept whole.

    Example:
        >>> TopK(2)(torch.tensor([1.0, 3.0, 2.0, 2.0]))
        tensor([-inf, 3., 2., 2.])
    """

    k: int | Tensor

    per_row: ClassVar[tuple[str, ...]] = ("k",)
    narrow: ClassVar[bool] = True
    keeps_one_at: ClassVar[float] = 1  # but for logits that tie

    def __post_init__(self) -> None:
        _check(top_k=self.k)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts below the k-th largest."""
        return _cut(logits, kernels.threshold(logits, top_k=self.k))


@dataclass(frozen=True, slots=True, repr=False)
class TopP(Parametric):
    r"""Keeps the most likely tokens until their probability reaches p (Holtzman et al., arXiv:1904.09751).

    A token is kept while the probability of all larger ones is below p, so the one that crosses p is kept.

    Args:
        p: In (0, 1]. 1 keeps everything, bit for bit.

    Example:
        >>> TopP(0.7)(torch.tensor([0.5, 0.3, 0.2]).log()).softmax(-1)
        tensor([0.6250, 0.3750, 0.0000])
    """

    p: float | Tensor

    per_row: ClassVar[tuple[str, ...]] = ("p",)
    narrow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(top_p=self.p)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts below the nucleus."""
        return _cut(logits, kernels.threshold(logits, top_p=self.p))


@dataclass(frozen=True, slots=True, repr=False)
class MinP(Parametric):
    """Keeps the tokens at least m times as likely as the most likely one (Nguyen et al., arXiv:2407.01082).

    Args:
        m: In (0, 1].

    Example:
        >>> MinP(0.5)(torch.tensor([0.5, 0.3, 0.2]).log()).softmax(-1)
        tensor([0.6250, 0.3750, 0.0000])
    """

    m: float | Tensor

    per_row: ClassVar[tuple[str, ...]] = ("m",)
    narrow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(min_p=self.m)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts below m times the largest probability."""
        return _cut(logits, kernels.threshold(logits, min_p=self.m))


@dataclass(frozen=True, slots=True, repr=False)
class Greedy(Parametric):
    """Keeps the first of the largest logits alone, so that there is nothing left to draw.

    Example:
        >>> Greedy()(torch.tensor([1.0, 3.0, 3.0]))
        tensor([-inf, 0., -inf])
    """

    narrow: ClassVar[bool] = True
    keeps_one: ClassVar[bool] = True

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Keeps one."""
        return Temperature(0.0)(logits)


def tempered(logits: Tensor, t: Tensor) -> Tensor:
    """Divides logits `(*rows, vocab)` by temperatures of at least 0, float64 `(*rows, 1)`."""
    x = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    top = x.amax(-1, keepdim=True)
    ok = top.isfinite()
    limits = torch.finfo(x.dtype)  # an extreme temperature must not become 0 or infinite when it is rounded
    scaled = (x - top.where(ok, 0.0)) / t.where(t > 0, 1.0).to(x.dtype).clamp(limits.tiny, limits.max)
    scaled = scaled.where(t > 0, _first(scaled))
    return scaled.where(ok, x)


def _check(**given: Any) -> None:
    """Checks a parameter when a filter is made, not when it is first used."""
    ((name, value),) = given.items()
    if instead := cure(value):
        raise fail_type(name, "a number, or a tensor of one per row", value, instead)
    kernels.parameters(value.shape if isinstance(value, Tensor) else (), **given)


def _cut(logits: Tensor, tau: Tensor) -> Tensor:
    # Not `where(logits >= tau)`: that would turn a NaN, whose threshold is NaN, into a token that was cut.
    return logits.masked_fill(logits < tau[..., None], -math.inf)


def _first(logits: Tensor) -> Tensor:
    """0 at the first of the largest, -inf elsewhere."""
    return torch.full_like(logits, -math.inf).scatter_(-1, logits.argmax(-1, keepdim=True), 0.0)
