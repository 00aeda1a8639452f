"""The parts of a chain: filters, which remember nothing, and filters with memory; and what can be asked of both."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

from aigc._checks import fail, fail_type
from aigc.kernels import Draw
from aigc.sampling._numbers import values
from aigc.sampling.noise import Noise
from aigc.sampling.words import Words, bind, within

__all__ = ["Chain", "Filter", "Memory", "Part", "chain", "check_rows", "has_memory", "is_greedy", "parts_of", "take"]

T = TypeVar("T")
S = TypeVar("S")


@runtime_checkable
class Filter(Protocol):
    """Maps logits `(*rows, vocab)` to logits of the same shape; any function that does is one.

    Example:
        >>> from aigc.sampling import TopK
        >>> isinstance(TopK(3), Filter), isinstance(lambda logits: logits, Filter)
        (True, True)
    """

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Filters."""
        ...


@runtime_checkable
class Memory(Protocol[S]):
    """A filter that knows what was written: it carries a state from step to step, or has noise of its own.

    A state is a value whose tensors lead with the rows: see `select`. Its tensors may be on the host; what meets logits
    must be moved to theirs.

    Example:
        >>> from aigc.sampling import RepetitionPenalty
        >>> isinstance(RepetitionPenalty(1.2), Memory)
        True
    """

    def start(self, prompts: Sequence[Sequence[int]]) -> S:
        """Returns the state after the rows' prompts."""
        ...

    def apply(self, logits: Tensor, state: S, noise: Noise) -> Tensor:
        """Returns logits of the same shape. `logits` `(rows, vocab)` are a copy, float32 at least, and may be changed."""
        ...

    def update(self, state: S, draw: Draw) -> S:
        """Returns the state after a token was drawn for each row, and leaves the one it was given."""
        ...


Part = Filter | Memory[Any]


@dataclass(frozen=True, slots=True)
class Chain:
    """Filters applied from left to right; made by `chain`.

    Example:
        >>> from aigc.sampling import Temperature, TopP
        >>> chain(Temperature(0.8), TopP(0.95)).filters
        (Temperature(0.8), TopP(0.95))
    """

    filters: tuple[Part, ...]

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Applies each filter to what the one before left.

        Raises:
            TypeParameterError: If a filter has memory: then only a sampler can run the chain.
        """
        for apply in self.filters:
            if has_memory(apply):
                raise fail_type("filters", "filters without memory, to be called", apply, "Draw with as_sampler(chain).")
            logits = cast("Filter", apply)(logits)
        return logits

    def bind(self, words: Words) -> "Chain":
        """The chain on the words of a tokenizer."""
        return self._changed([bind(part, words) for part in self.filters])

    def within(self, limits: Sequence[int]) -> "Chain":
        """The chain for rows of some lengths."""
        return self._changed([within(part, limits) for part in self.filters])

    def take(self, rows: Tensor) -> "Chain":
        """The chain for some rows, given by index."""
        return self._changed([take(part, rows) for part in self.filters])

    def _changed(self, parts: Sequence[Part]) -> "Chain":
        return self if all(a is b for a, b in zip(self.filters, parts, strict=True)) else Chain(tuple(parts))

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.filters))})"


def chain(*filters: Part) -> Chain:
    """Composes filters, left to right: the order is the caller's, and visible.

    Args:
        filters: Any number of filters, with memory or without; chains among them are joined in. None leaves the logits as
            they are.

    Example:
        >>> from aigc.sampling import Temperature, TopK, TopP
        >>> chain(Temperature(0.7), chain(TopK(50), TopP(0.95)))
        chain(Temperature(0.7), TopK(50), TopP(0.95))
    """
    flat: list[Part] = []
    for i, one in enumerate(filters):
        if isinstance(one, type) or not (callable(one) or has_memory(one)):
            cure = "A sampler wraps filters, and ends a chain." if hasattr(one, "step") else ""
            raise fail_type(f"filters[{i}]", "a filter, which maps logits to logits", one, cure)
        flat.extend(parts_of(one))
    return Chain(tuple(flat))


def has_memory(part: object) -> bool:
    """Says whether a part of a chain is a `Memory`.

    Example:
        >>> has_memory(lambda logits: logits)
        False
    """
    return all(hasattr(part, name) for name in ("start", "apply", "update"))


def parts_of(value: Any) -> tuple[Part, ...]:
    """The parts of a filter, of a chain, or of a sampler that draws from one; of any other sampler none.

    Example:
        >>> from aigc.sampling import TopK, as_sampler
        >>> parts_of(as_sampler(chain(TopK(3))))
        (TopK(3),)
    """
    value = getattr(value, "filter", value)
    if isinstance(value, Chain):
        return value.filters
    return () if hasattr(value, "step") else (value,)


def take(value: T, rows: Tensor) -> T:
    """Narrows a filter or sampler with parameters per row to some rows, given by index.

    Whatever has a method `take(rows)` does so itself. Of other objects the attributes are narrowed that their class names
    in `per_row`, where they are tensors of one number per row. All else is left as it is: its tensors may mean something
    else.

    Example:
        >>> import torch
        >>> from aigc.sampling import TopK, TopP
        >>> take(chain(TopK(torch.tensor([1, 2, 3])), TopP(0.9)), torch.tensor([2]))
        chain(TopK([3]), TopP(0.9))
    """
    found: Any = value
    if hasattr(found, "take"):
        return cast("T", found.take(rows))
    tensors = [(name, tensor) for name, tensor in values(found) if isinstance(tensor, Tensor) and tensor.ndim]
    if not tensors:
        return value
    narrowed = copy.copy(found)  # its parameters were checked when it was made
    for name, tensor in tensors:
        object.__setattr__(narrowed, name, tensor[rows.to(tensor.device)])
    return cast("T", narrowed)


def check_rows(value: object, rows: int | None) -> None:
    """Checks that parameters per row are as many as the rows; None allows none.

    Example:
        >>> import torch
        >>> from aigc.sampling import TopK
        >>> check_rows(TopK(torch.tensor([1, 2])), 2)
    """
    if hasattr(value, "sampler"):
        check_rows(value.sampler, rows)
    for part in (*parts_of(value), value):
        for _, parameter in values(part):
            if isinstance(parameter, Tensor) and parameter.ndim and parameter.shape != (rows,):
                wanted = (
                    "with plain numbers where each row has its own" if rows is None else f"with {rows} numbers, one a row"
                )
                raise fail("sampler", wanted, part)


def is_greedy(value: object) -> bool:
    """Says whether a filter or sampler keeps one token only: by its type, or as `Temperature(0)` and `TopK(1)` do.

    Of parameters per row all must say so.

    Example:
        >>> from aigc.sampling import Greedy, Temperature, TopK
        >>> is_greedy(chain(TopK(3), Greedy())), is_greedy(Temperature(0)), is_greedy(TopK(3))
        (True, True, False)
    """
    if hasattr(value, "sampler"):
        return is_greedy(value.sampler)
    return any(getattr(type(part), "keeps_one", False) or _one_only(part) for part in parts_of(value))


def _one_only(part: Part) -> bool:
    """Whether a parameter has the value, which its class names in `keeps_one_at`, at which one token is left."""
    at = getattr(type(part), "keeps_one_at", None)
    return at is not None and all(bool((torch.as_tensor(found) == at).all()) for _, found in values(part))
