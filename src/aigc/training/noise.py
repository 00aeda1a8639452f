"""The noise of one phase of one training step."""

from typing import Any

import torch
from torch import Tensor

from aigc import random

__all__ = ["Noise"]


class Noise:
    """What is random in one phase of one step: a function of (seed, step, phase) and of an example's place in the batch.

    An example has the same noise however its batch is split, into micro-batches or among processes: each call draws for the
    whole batch, and returns the rows at hand. Calls in the same order return the same numbers.

    Args:
        seed: Of the run.
        step: The step's number.
        phase: The phase's place among those of the step.
        rows: The places of the examples at hand in the whole batch, as a slice.
        batch: How many examples the whole batch has.
        device: Where numbers are drawn and returned.

    Example:
        >>> whole = Noise(0, 7, 0, rows=slice(0, 4), batch=4).normal(2)
        >>> half = Noise(0, 7, 0, rows=slice(2, 4), batch=4).normal(2)
        >>> torch.equal(whole[2:], half)
        True
    """

    def __init__(
        self,
        seed: int,
        step: int,
        phase: int,
        *,
        rows: slice,
        batch: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.step, self.rows, self.batch = step, rows, batch
        self.rng = torch.Generator(device).manual_seed(random.stream(random.counter_int(seed, step), phase))

    def normal(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Standard normal numbers, `(examples at hand, *shape)`."""
        return self._rows(torch.randn, shape, dtype)

    def uniform(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Uniform numbers in [0, 1), `(examples at hand, *shape)`."""
        return self._rows(torch.rand, shape, dtype)

    def bernoulli(self, probabilities: Tensor) -> Tensor:
        """Zeros and ones of some probabilities, whose rows are the examples at hand."""
        uniform = self.uniform(*probabilities.shape[1:], dtype=probabilities.dtype).to(probabilities.device)
        return (uniform < probabilities).to(probabilities.dtype)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Integers in [0, high), int64 `(examples at hand, *shape)`."""
        whole = torch.randint(high, (self.batch, *shape), generator=self.rng, device=self.rng.device)
        return whole[self.rows]

    def _rows(self, draw: Any, shape: tuple[int, ...], dtype: torch.dtype | None) -> Tensor:
        whole: Tensor = draw((self.batch, *shape), generator=self.rng, device=self.rng.device, dtype=dtype or torch.float32)
        return whole[self.rows]
