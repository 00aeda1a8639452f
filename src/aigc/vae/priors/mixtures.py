r"""Mixtures: of Gaussians that are learned or fitted, and of posteriors."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aigc import random
from aigc._checks import fail, integer
from aigc.vae.gaussian import DiagonalGaussian, mixture_log_prob
from aigc.vae.priors._drawing import check_codes, choices, normals

__all__ = ["FullMixture", "Mixture", "VampPrior"]


class Mixture(nn.Module):
    r"""A mixture of diagonal Gaussians, learned with the model.

    $$ p(z) = \sum_c \pi_c \, \mathcal{N}(z; \mu_c, \operatorname{diag} \sigma_c^2) $$

    Args:
        latent: Dimensions of a code.
        components: How many, at least 1.
        seed: Of the means that it begins with, which are standard normal; weights are equal and scales 1.

    Attributes:
        logits: Of the weights, `(components,)`.
        mean: `(components, latent)`.
        log_std: Likewise.

    Example:
        >>> prior = Mixture(2, components=3)
        >>> prior.log_prob(torch.zeros(5, 2)).shape, prior.sample(torch.arange(4)).shape
        (torch.Size([5]), torch.Size([4, 2]))
    """

    def __init__(self, latent: int, *, components: int, seed: int = 0) -> None:
        super().__init__()
        self.latent = integer("latent", latent, low=1)
        self.components = integer("components", components, low=1)
        self.logits = nn.Parameter(torch.zeros(components))
        self.mean = nn.Parameter(random.normal(torch.arange(components)[:, None], torch.arange(latent), step=seed).float())
        self.log_std = nn.Parameter(torch.zeros(components, latent))

    def log_prob(self, z: Tensor, /) -> Tensor:
        """The log-density in nats, `(*,)`, of codes `(*, latent)`."""
        check_codes(z, self.latent)
        return mixture_log_prob(z, self.logits.log_softmax(0), DiagonalGaussian(self.mean, self.log_std))

    @torch.no_grad()
    def sample(self, seeds: Tensor, /) -> Tensor:
        """Draws a code for each seed, `(n, latent)`."""
        which = choices(seeds, self.logits.softmax(0))
        return self.mean[which] + self.log_std[which].exp() * normals(seeds, self.latent).to(self.mean)

    def kl(self, posterior: Any, /) -> Tensor | None:
        """None: there is no closed form."""
        return None


class FullMixture(nn.Module):
    r"""A mixture of Gaussians with full covariances, as `fit_mixture` returns.

    $$ p(z) = \sum_c \pi_c \, \mathcal{N}(z; \mu_c, L_c L_c^\top) $$

    Args:
        latent: Dimensions of a code.
        components: How many, at least 1.

    Attributes:
        logits: Of the weights, `(components,)`.
        mean: `(components, latent)`.
        tril: L, lower triangular with a positive diagonal, `(components, latent, latent)`.

    Example:
        >>> FullMixture(2, components=3).log_prob(torch.zeros(1, 2))
        tensor([-1.8379])
    """

    logits: Tensor
    mean: Tensor
    tril: Tensor

    def __init__(self, latent: int, *, components: int) -> None:
        super().__init__()
        self.latent = integer("latent", latent, low=1)
        self.components = integer("components", components, low=1)
        self.register_buffer("logits", torch.zeros(components))
        self.register_buffer("mean", torch.zeros(components, latent))
        self.register_buffer("tril", torch.eye(latent).repeat(components, 1, 1))

    def log_prob(self, z: Tensor, /) -> Tensor:
        """The log-density in nats, `(*,)`, of codes `(*, latent)`."""
        check_codes(z, self.latent)
        error = (z.reshape(-1, self.latent)[:, None] - self.mean).permute(1, 2, 0)  # (components, latent, rows)
        whitened = torch.linalg.solve_triangular(self.tril, error, upper=False)
        scales = self.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        each = -whitened.square().sum(1) / 2 - (scales + self.latent * math.log(2 * math.pi) / 2)[:, None]
        return torch.logsumexp(self.logits.log_softmax(0)[:, None] + each, dim=0).reshape(z.shape[:-1])

    def sample(self, seeds: Tensor, /) -> Tensor:
        """Draws a code for each seed, `(n, latent)`."""
        which = choices(seeds, self.logits.softmax(0))
        noise = normals(seeds, self.latent).to(self.mean)
        return self.mean[which] + (self.tril[which] * noise[:, None]).sum(-1)

    def kl(self, posterior: Any, /) -> Tensor | None:
        """None: there is no closed form."""
        return None


class VampPrior(nn.Module):
    r"""The mixture of the posteriors of learned pseudo-inputs (Tomczak & Welling, arXiv:1705.07120).

    $$ p(z) = \frac1K \sum_k q(z \mid u_k) $$

    With all data as pseudo-inputs it is the aggregate posterior. The pseudo-inputs are parameters of this module; the
    encoder's are not, as they are the model's. A copy of the model's encoder goes with a copy of the model.

    Args:
        encoder: That of the model: `(n, *data)` to `(n, 2 * latent)`, means and log standard deviations. Give the module
            itself, so that copies of the model follow.
        components: K, at least 1.
        shape: Of an example.
        latent: Dimensions of a code.
        start: Pseudo-inputs to begin with, `(components, *data)`, such as examples of the data; None takes uniform noise in
            [0, 1) of `seed`.
        seed: Of that noise.

    Attributes:
        inputs: The pseudo-inputs, `(components, *data)`.

    Example:
        >>> encoder = nn.Linear(5, 4)
        >>> prior = VampPrior(encoder, components=3, shape=(5,), latent=2)
        >>> prior.log_prob(torch.zeros(7, 2)).shape, [name for name, _ in prior.named_parameters()]
        (torch.Size([7]), ['inputs'])
    """

    def __init__(
        self,
        encoder: Callable[[Tensor], Tensor],
        *,
        components: int,
        shape: Sequence[int],
        latent: int,
        start: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.components = integer("components", components, low=1)
        self.latent, self.shape = integer("latent", latent, low=1), tuple(shape)
        self._encoder = (encoder,)  # in a tuple, so that its parameters are not registered twice
        if start is None:
            place = torch.arange(math.prod(self.shape))
            start = random.uniform(torch.arange(components)[:, None], seed, place).float().view(-1, *self.shape)
        if start.shape != (components, *self.shape):
            raise fail("start", f"of shape {(components, *self.shape)}", tuple(start.shape))
        self.inputs = nn.Parameter(start.detach().clone())

    def posteriors(self) -> DiagonalGaussian:
        """The components, `(components, latent)`."""
        found = DiagonalGaussian.read(self._encoder[0](self.inputs))
        if found.mean.shape != (self.components, self.latent):
            expected = (self.components, 2 * self.latent)
            raise fail("the encoder's output", f"of shape {expected}", (len(found.mean), 2 * found.mean.shape[-1]))
        return found

    def log_prob(self, z: Tensor, /) -> Tensor:
        """The log-density in nats, `(*,)`, of codes `(*, latent)`."""
        check_codes(z, self.latent)
        found = self.posteriors()
        weights = found.mean.new_full((self.components,), -math.log(self.components))
        return mixture_log_prob(z, weights, found)

    @torch.no_grad()
    def sample(self, seeds: Tensor, /) -> Tensor:
        """Draws a code for each seed, `(n, latent)`."""
        found = self.posteriors()
        which = choices(seeds, found.mean.new_full((self.components,), 1 / self.components))
        return found.mean[which] + found.log_std[which].exp() * normals(seeds, self.latent).to(found.mean)

    def kl(self, posterior: Any, /) -> Tensor | None:
        """None: there is no closed form."""
        return None
