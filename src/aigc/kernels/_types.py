"""The values that all kernels take and return."""

from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from aigc import random

__all__ = ["Draw", "Noise", "Status"]


class Status(IntEnum):
    """What became of a row.

    Example:
        >>> Status.OK == 0, Status(2).name
        (True, 'NAN')
        >>> Status.EMPTY.sentence
        'Every logit was -inf: there is nothing to draw.'
    """

    OK = 0
    """A token was drawn."""
    EMPTY = 1
    """Every logit was -inf."""
    NAN = 2
    """A logit was NaN."""
    INF = 3
    """A logit was +inf."""
    PARAMETER = 4
    """A parameter of the row was out of range, where parameters are read on a GPU; elsewhere that is an error."""
    BANNED = 5
    """No kernel's verdict: a sampler left none of the tokens that its constraint allows."""
    DONE = 6
    """No kernel's verdict: the text is complete, and no token is left that could say so."""

    @property
    def sentence(self) -> str:
        """What became of a row, in a sentence."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.OK: "A token was drawn.",
    Status.EMPTY: "Every logit was -inf: there is nothing to draw.",
    Status.NAN: "A logit was NaN.",
    Status.INF: "A logit was +inf.",
    Status.PARAMETER: "A parameter of the row was out of range.",
    Status.BANNED: "The filters ban every token that the constraint allows.",
    Status.DONE: "The text is complete.",
}


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


class Noise(NamedTuple):
    """The seed and the step of each row: a number, or int64 `(*rows,)`; hashed seeds are what `random.counter` returns."""

    seed: int | Tensor
    step: int | Tensor
    hashed: bool = False

    def start(self, rows: int) -> Tensor:
        """Where the noise of each row begins, int64 `(rows,)`, on the host."""
        if rows == 1 and not self.hashed:  # then Python's integers are several times faster than tensors
            return torch.tensor([random.counter_int(int(self.seed), int(self.step))])
        seed, step = (torch.as_tensor(value).cpu().flatten().expand(rows) for value in (self.seed, self.step))
        return random.advance(seed, step) if self.hashed else random.counter(seed, step)
