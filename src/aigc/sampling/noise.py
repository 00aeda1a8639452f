"""The noise of one step, as a value."""

from typing import NamedTuple

import torch
from torch import Tensor

from aigc import random

__all__ = ["Noise"]


class Noise(NamedTuple):
    """The noise of one step: a value that answers for its rows.

    Attributes:
        start: Where each row's noise begins, `aigc.random.counter(seed, step)`, int64 `(rows,)`.

    Example:
        >>> noise = Noise.of(torch.tensor([1, 2]), 0)
        >>> noise.gumbel(torch.arange(3)).shape, noise.select(torch.tensor([1])) == Noise.of(torch.tensor([2]), 0)
        (torch.Size([2, 3]), True)
    """

    start: Tensor

    @classmethod
    def of(cls, seed: Tensor, step: int | Tensor) -> "Noise":
        """The noise of seeds, int64 `(rows,)`, at the position of the token being drawn."""
        return cls(random.counter(seed, step))

    def gumbel(self, tokens: Tensor) -> Tensor:
        """Gumbel noise of token ids `(tokens,)` or `(rows, tokens)`, float64 `(rows, tokens)`."""
        return random.gumbel_from(self.start[:, None], tokens)

    def uniform(self, tag: int) -> Tensor:
        """One uniform per row, float64 `(rows,)`; tags below `-2^32` never meet a token's or a block's noise."""
        return random.uniform_from(self.start, torch.tensor(tag, device=self.start.device))

    def select(self, rows: Tensor) -> "Noise":
        """The noise of some rows, given by index."""
        return Noise(self.start[rows])
