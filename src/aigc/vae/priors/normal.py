r"""What a prior is, and the one that all begin with."""

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from aigc import random
from aigc._checks import fail, fail_type, integer
from aigc.vae.gaussian import DiagonalGaussian

__all__ = ["Prior", "StandardNormal", "check_codes", "check_seeds", "choices", "normals"]

_CODE, _CHOICE = 0, 1  # steps of the noise of a seed; likelihoods draw data with steps 2 and 3


class Prior(Protocol):
    """A density over codes: an `nn.Module` with these names.

    Attributes:
        latent: Dimensions of a code.

    Example:
        >>> StandardNormal(3).latent
        3
    """

    latent: int

    def log_prob(self, z: Tensor, /) -> Tensor:
        """The log-density in nats, `(*,)`, of codes `(*, latent)`."""
        ...

    def sample(self, seeds: Tensor, /) -> Tensor:
        """Draws a code for each seed, a function of that seed alone: int64 `(n,)` to `(n, latent)`."""
        ...

    def kl(self, posterior: Any, /) -> Tensor | None:
        """The divergence of a posterior from it, `(batch, latent)`; None where it has no closed form."""
        ...


class StandardNormal(nn.Module):
    r"""The standard normal, $\mathcal{N}(0, I)$.

    Args:
        latent: Dimensions of a code.

    Example:
        >>> prior = StandardNormal(2)
        >>> prior.log_prob(torch.zeros(3, 2))
        tensor([-1.8379, -1.8379, -1.8379])
        >>> torch.equal(prior.sample(torch.tensor([7, 0]))[1:], prior.sample(torch.tensor([0])))
        True
    """

    like: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = integer("latent", latent, low=1)
        self.register_buffer("like", torch.zeros(()), persistent=False)  # where the module is, and in what precision

    def log_prob(self, z: Tensor, /) -> Tensor:
        """The log-density in nats, `(*,)`, of codes `(*, latent)`."""
        check_codes(z, self.latent)
        return -z.square().sum(-1) / 2 - self.latent * math.log(2 * math.pi) / 2

    def sample(self, seeds: Tensor, /) -> Tensor:
        """Draws a code for each seed, `(n, latent)`."""
        return normals(seeds, self.latent).to(self.like)

    def kl(self, posterior: Any, /) -> Tensor | None:
        """The divergence of a `DiagonalGaussian`, `(batch, latent)`."""
        return posterior.kl_standard(per_dimension=True) if isinstance(posterior, DiagonalGaussian) else None


def check_codes(z: Tensor, latent: int) -> None:
    """Checks codes.

    Raises:
        ParameterError: If their last axis is not the latent one.
    """
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
