r"""What a prior is, and the one that all begin with."""

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from aigc._checks import integer
from aigc.vae.gaussian import DiagonalGaussian
from aigc.vae.priors._drawing import check_codes, normals

__all__ = ["Prior", "StandardNormal"]


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
