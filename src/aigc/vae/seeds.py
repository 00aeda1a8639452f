"""Seeds of samples: one for each."""

from collections.abc import Sequence

import torch
from torch import Tensor

from aigc import random
from aigc._checks import fail

__all__ = ["Seeds", "seeds_of"]

Seeds = int | Sequence[int] | Tensor | None


def seeds_of(seed: Seeds, n: int) -> Tensor:
    """The seeds of n samples, int64 `(n,)`: those given, or the streams (seed, i) of one, or of fresh entropy.

    Example:
        >>> seeds_of([3, 5], 2), len(seeds_of(0, 4))
        (tensor([3, 5]), 4)
    """
    if isinstance(seed, Tensor | Sequence) and not isinstance(seed, str | bytes):
        seeds = torch.as_tensor(seed, dtype=torch.int64)
        if seeds.shape != (n,):
            raise fail("seed", f"one int, or {n} ints, one for each sample", f"{seeds.numel()} ints")
        return seeds
    base = random.fresh_seed() if seed is None else random.check_seed("seed", seed)
    return torch.tensor([random.stream(base, i) for i in range(n)], dtype=torch.int64)
