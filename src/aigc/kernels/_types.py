"""The values that all kernels share."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Draw", "Parameters", "Status"]


class Status(IntEnum):
    """What became of a row.

    Example:
        >>> Status.OK == 0, Status(2).name
        (True, 'NAN')
    """

    OK = 0
    """A token was drawn."""
    EMPTY = 1
    """Every logit was -inf: there is nothing to draw."""
    NAN = 2
    """A logit was NaN."""
    INF = 3
    """A logit was +inf."""


class Draw(NamedTuple):
    """One draw per row; every field has the shape `(*rows,)`.

    A row that is not OK has token -1, logprob and mass NaN, and kept 0. It never disturbs the others.

    Attributes:
        token: The token's id, int64.
        logprob: Its log-probability in nats under the filtered distribution, float32.
        kept: How many tokens survived the filters, int64.
        mass: The share of the probability, after temperature, that the survivors had, float32.
        status: A `Status`, int64.
    """

    token: Tensor
    logprob: Tensor
    kept: Tensor
    mass: Tensor
    status: Tensor


@dataclass(frozen=True, slots=True)
class Parameters:
    """Filter parameters, checked, as columns `(rows, 1)`; None where a filter is off for all rows.

    Attributes:
        divisor: The temperature, float64; 1 where it is 0.
        greedy: Where the temperature is 0, bool.
        top_k: int64; the size of the vocabulary or more is off.
        top_p: float64; 1 is off.
        log_min_p: float64; -inf is off.
        all_greedy: Known to hold for every row, and so for every selection of rows.
        largest_k: No row has a larger top-k.
        surely_cut: Every row has a top-p or a min-p that is on.
    """

    divisor: Tensor | None = None
    greedy: Tensor | None = None
    top_k: Tensor | None = None
    top_p: Tensor | None = None
    log_min_p: Tensor | None = None
    all_greedy: bool = False
    largest_k: int | None = None
    surely_cut: bool = False

    def select(self, rows: Tensor) -> "Parameters":
        """The parameters of some rows, given by index or mask."""
        return self._each(lambda column: column[rows.to(column.device)])

    def to(self, device: torch.device) -> "Parameters":
        """The same on another device."""
        return self._each(lambda column: column.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Parameters":
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {name: change(value) for name, value in columns.items() if isinstance(value, Tensor)}
        return replace(self, **changed) if changed else self
