"""Token ids that filters are given, and rows that a filter must not empty."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from aigc._checks import fail, fail_type, integer
from aigc.errors import GenerationError

__all__ = ["Emptied", "check_ids", "drawable", "inside", "refuse_empty", "tensor"]

_MOST = 2**31 - 1


class Emptied(GenerationError):
    """A filter leaves a row nothing to draw: an error to whoever calls the filter; in a sampler the row ends, and no other.

    Attributes:
        part: The filter.
        left: The logits as it leaves them.
    """

    def __init__(self, message: str, part: object, left: Tensor) -> None:
        super().__init__(message)
        self.part, self.left = part, left


def check_ids(name: str, ids: Any, *, least: int = 1) -> tuple[int, ...]:
    """Checks token ids, and drops those that come twice.

    Args:
        name: The parameter.
        ids: Any iterable of ints, or a tensor of them.
        least: How many there must be.
    """
    if isinstance(ids, Tensor):
        ids = ids.flatten().tolist()
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise fail_type(name, "token ids, as ints", ids)
    found = tuple(dict.fromkeys(integer(f"{name}[{i}]", value, low=0, high=_MOST) for i, value in enumerate(ids)))
    if len(found) < least:
        raise fail(name, "at least one token id", ids, "Leave the filter out to have it off.")
    return found


def inside(name: str, ids: Sequence[int], size: int) -> None:
    """Checks ids against the length of a row of logits, now that it is known."""
    if ids and max(ids) >= size:
        raise fail(name, f"made of ids below {size}, the length of a row of logits", max(ids), "Is it another tokenizer's?")


def tensor(ids: Sequence[int], like: Tensor) -> Tensor:
    """Ids beside logits."""
    return torch.tensor(ids, dtype=torch.int64, device=like.device)


def drawable(logits: Tensor) -> Tensor:
    """Which rows can be drawn from: those without NaN and +inf that have more than -inf."""
    return logits.amax(-1).isfinite()


def refuse_empty(part: object, had: Tensor, logits: Tensor, cure: str) -> None:
    """Raises where a row that `had` a token to draw has none in `logits` `(*rows, vocab)`, which a filter would return.

    Raises:
        Emptied: Says which filter, and which row.
    """
    emptied = had & ~drawable(logits)
    if bool(emptied.any()):
        row = int(emptied.flatten().int().argmax())
        what = f"{type(part).__name__} leaves row {row} of the batch no token that can be drawn. {cure}"
        raise Emptied(what, part, logits)
