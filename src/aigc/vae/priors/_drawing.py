"""Draws of a prior, one seed a sample; and checks."""

import torch
from torch import Tensor

from aigc import random
from aigc._checks import fail, fail_type

__all__ = ["check_codes", "check_seeds", "choices", "normals"]

_CODE, _CHOICE = 0, 1  # steps of the noise of a seed; likelihoods draw data with steps 2 and 3


def check_codes(z: Tensor, latent: int) -> None:
    """Checks codes.

    Raises:
        ParameterError: If their last axis is not the latent one.
        TypeParameterError: If they are no tensor.
    """
    if not isinstance(z, Tensor):
        cure = "" if z is None else "Call torch.as_tensor(z)."
        raise fail_type("z", f"a tensor of codes of {latent} dimensions, (*, {latent})", z, cure)
    if not z.ndim or z.shape[-1] != latent:
        raise fail("z", f"codes of {latent} dimensions, (*, {latent})", tuple(z.shape))


def check_seeds(seeds: Tensor) -> Tensor:
    """Checks seeds.

    Raises:
        TypeParameterError: If they are not int64 `(n,)`.
    """
    if not isinstance(seeds, Tensor) or seeds.dtype != torch.int64 or seeds.ndim != 1:
        shown = (seeds.dtype, tuple(seeds.shape)) if isinstance(seeds, Tensor) else seeds
        raise fail_type("seeds", "an int64 tensor (n,), one seed for each sample", shown)
    return seeds


def normals(seeds: Tensor, latent: int) -> Tensor:
    """Standard normal numbers of each seed, float64 `(n, latent)`."""
    check_seeds(seeds)
    return random.normal(seeds[:, None], torch.arange(latent, device=seeds.device), step=_CODE)


def choices(seeds: Tensor, probabilities: Tensor) -> Tensor:
    """A component for each seed, int64 `(n,)` on the device of the probabilities `(components,)`."""
    uniform = random.uniform(check_seeds(seeds), _CHOICE, 0).to(probabilities.device)
    edges = probabilities.double().cumsum(0)
    return torch.searchsorted(edges[:-1].contiguous(), uniform)
