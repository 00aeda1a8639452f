r"""Diagonal Gaussians, and mixtures of them.

A density of our own: `torch.distributions` draws from the global generator only, and loses the small KL divergences to
rounding.
"""

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor

from aigc._checks import fail

__all__ = ["LIMIT", "DiagonalGaussian", "mixture_log_prob"]

LIMIT = 15.0  # of |log sigma| as nets predict it: sigma is in [3e-7, 3e6], and its square far from what float32 cannot hold
_HALF_LOG_TAU = math.log(2 * math.pi) / 2


class DiagonalGaussian(NamedTuple):
    r"""The density $\mathcal{N}(\mu, \operatorname{diag} \sigma^2)$ over the last axis.

    Attributes:
        mean: $\mu$, `(*batch, features)`.
        log_std: $\log \sigma$, of the same shape; results are accurate for $|\log \sigma| \le 15$.

    Example:
        >>> q = DiagonalGaussian(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
        >>> q.kl_standard(), q.kl_standard(per_dimension=True)
        (tensor([0.5000]), tensor([[0.5000, 0.0000]]))
        >>> q.rsample(torch.zeros(3, 1, 2)).shape
        torch.Size([3, 1, 2])
    """

    mean: Tensor
    log_std: Tensor

    @classmethod
    def read(cls, parameters: Tensor) -> Self:
        r"""Reads the output of an encoder: means, then $\log \sigma$, which is cut to [-15, 15].

        Args:
            parameters: `(*batch, 2 * features)`; lower precisions are raised to float32.

        Raises:
            ParameterError: If the last axis is odd.

        Example:
            >>> DiagonalGaussian.read(torch.zeros(3, 8)).mean.shape
            torch.Size([3, 4])
        """
        if not parameters.ndim or parameters.shape[-1] % 2:
            cure = "An encoder returns the mean and the log standard deviation of each latent dimension."
            raise fail("parameters", "(*batch, 2 * features)", tuple(parameters.shape), cure)
        parameters = parameters if parameters.dtype == torch.float64 else parameters.float()
        mean, log_std = parameters.chunk(2, dim=-1)
        return cls(mean, log_std.clamp(-LIMIT, LIMIT))

    def log_prob(self, value: Tensor, /) -> Tensor:
        r"""The log-density in nats, $-\tfrac12 \sum_j [(v_j - \mu_j)^2 / \sigma_j^2 + \log 2 \pi \sigma_j^2]$.

        Args:
            value: Broadcasts with the mean, `(*, features)`.

        Returns:
            `(*,)`, the last axis summed over.
        """
        whitened = (value - self.mean) * (-self.log_std).exp()
        return -(whitened.square() / 2 + self.log_std + _HALF_LOG_TAU).sum(-1)

    def rsample(self, noise: Tensor) -> Tensor:
        r"""Draws by reparametrisation, $\mu + \sigma \epsilon$, so that gradients reach both (Kingma & Welling,
        arXiv:1312.6114).

        Args:
            noise: $\epsilon$, standard normal; it broadcasts with the mean, so `(k, *batch, features)` draws k codes.
        """  # noqa: D205
        return self.mean + self.log_std.exp() * noise

    def kl_standard(self, *, per_dimension: bool = False) -> Tensor:
        r"""The divergence from the standard normal, $\tfrac12 \sum_j (\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2)$.

        Args:
            per_dimension: Whether the terms of the sum are returned, `(*batch, features)`.

        Returns:
            $\mathrm{KL}(q \,\|\, \mathcal{N}(0, I))$ in nats, `(*batch,)`.
        """
        each = (self.mean.square() + _excess(2 * self.log_std)) / 2
        return each if per_dimension else each.sum(-1)

    def kl(self, other: "DiagonalGaussian", /, *, per_dimension: bool = False) -> Tensor:
        r"""The divergence from another Gaussian, $\mathrm{KL}(\text{self} \,\|\, \text{other})$ in nats.

        Args:
            other: p, which broadcasts.
            per_dimension: Whether the terms of the sum over dimensions are returned, `(*batch, features)`.

        Returns:
            `(*batch,)`.
        """
        whitened = (self.mean - other.mean) * (-other.log_std).exp()
        each = (whitened.square() + _excess(2 * (self.log_std - other.log_std))) / 2
        return each if per_dimension else each.sum(-1)

    def entropy(self) -> Tensor:
        r"""The differential entropy in nats, $\sum_j \log \sigma_j + \tfrac12 \log 2 \pi e$; `(*batch,)`."""
        return (self.log_std + (_HALF_LOG_TAU + 0.5)).sum(-1)

    def detach(self) -> "DiagonalGaussian":
        """The same density, of which no gradient is taken."""
        return DiagonalGaussian(self.mean.detach(), self.log_std.detach())


def mixture_log_prob(z: Tensor, log_weights: Tensor, components: DiagonalGaussian) -> Tensor:
    r"""The log-density of a mixture, $\log \sum_c w_c \mathcal{N}(z; \mu_c, \sigma_c^2)$.

    Differences are taken before they are squared, which a product of matrices would not do: memory grows with rows times
    components times features, and narrow components stay exact.

    Args:
        z: `(*, features)`.
        log_weights: $\log w$, normalised, `(components,)`.
        components: `(components, features)`.

    Returns:
        `(*,)`, in nats.

    Example:
        >>> one = DiagonalGaussian(torch.zeros(1, 2), torch.zeros(1, 2))
        >>> mixture_log_prob(torch.zeros(3, 2), torch.zeros(1), one)
        tensor([-1.8379, -1.8379, -1.8379])
    """
    return torch.logsumexp(log_weights + components.log_prob(z[..., None, :]), dim=-1)


def _excess(x: Tensor) -> Tensor:
    """exp(x) - 1 - x, which is never negative, and not 0 where x is small."""
    return torch.expm1(x) - x
