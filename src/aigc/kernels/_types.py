"""The values that all kernels return."""

from enum import IntEnum
from typing import NamedTuple

from torch import Tensor

__all__ = ["Draw", "Status"]


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
