r"""What a VAE has learned to use: rate, distortion, mutual information, active units; and a warning at collapse.

The divergence from the prior splits in two (Hoffman & Johnson, "ELBO surgery", 2016),

$$ \mathbb{E}_n \mathrm{KL}(q(z \mid x_n) \,\|\, p) = I_q(n; z) + \mathrm{KL}(\bar q(z) \,\|\, p), \qquad
   \bar q(z) = \frac1N \sum_n q(z \mid x_n), $$

what a code says of which example it came from, at most log N, and how far all codes together are from the prior. Each is
estimated from one code per example; the three estimates add up exactly.
"""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from aigc._checks import fail, integer
from aigc.vae.gaussian import DiagonalGaussian, mixture_log_prob

__all__ = [
    "Diagnosis",
    "active_units",
    "aggregate_divergence",
    "aggregate_log_prob",
    "collapsed",
    "diagnose",
    "diagnose_hierarchy",
    "mutual_information",
    "rate",
]


class _Prior(Protocol):
    def log_prob(self, z: Tensor, /) -> Tensor: ...


class Diagnosis(NamedTuple):
    """What a VAE uses its codes for, over some data; in nats per example.

    Attributes:
        rate: The mean divergence from posterior to prior, which is `mutual_information + aggregate_divergence`.
        distortion: The mean negative log-likelihood of the data given their codes.
        mutual_information: Between a code and the number of its example; at most log of their number. NaN for a hierarchy.
        aggregate_divergence: From the mixture of all posteriors to the prior: what samples of the prior lack. Likewise.
        active_units: Dimensions whose posterior mean varies over the data.
        latent: Dimensions.

    Example:
        >>> Diagnosis(5.0, 80.0, 4.0, 1.0, active_units=7, latent=16).warning is None
        True
    """

    rate: float
    distortion: float
    mutual_information: float
    aggregate_divergence: float
    active_units: int
    latent: int

    @property
    def warning(self) -> str | None:
        """A sentence if the posterior has collapsed; see `collapsed`."""
        return collapsed(self.active_units, self.latent)


@torch.no_grad()
def diagnose(
    posterior: DiagonalGaussian, z: Tensor, prior: _Prior, log_likelihood: Tensor, *, threshold: float = 0.01
) -> Diagnosis:
    """Looks at a VAE through the codes of some data.

    Args:
        posterior: Of N examples, `(N, latent)`.
        z: A code drawn from each, `(N, latent)`.
        prior: Has `log_prob(z)`.
        log_likelihood: Of each example given its code, `(N,)`.
        threshold: See `active_units`.

    Example:
        >>> from aigc.vae.priors import StandardNormal
        >>> q = DiagonalGaussian(torch.tensor([[-1.0], [1.0]]), torch.full((2, 1), -9.0))
        >>> found = diagnose(q, q.mean, StandardNormal(1), torch.zeros(2))
        >>> round(found.mutual_information, 4), found.active_units
        (0.6931, 1)
    """
    _check(posterior, z)
    if log_likelihood.shape != z.shape[:1]:
        raise fail("log_likelihood", f"of shape ({len(z)},), one for each code", tuple(log_likelihood.shape))
    own, base = posterior.log_prob(z).cpu().double(), prior.log_prob(z).cpu().double()
    all_of_them = aggregate_log_prob(posterior, z)
    return Diagnosis(
        rate=_mean(own - base),
        distortion=_mean(-log_likelihood),
        mutual_information=_mean(own - all_of_them),
        aggregate_divergence=_mean(all_of_them - base),
        active_units=active_units(posterior.mean, threshold=threshold),
        latent=z.shape[-1],
    )


@torch.no_grad()
def diagnose_hierarchy(divergence: Tensor, mean: Tensor, log_likelihood: Tensor, *, threshold: float = 0.01) -> Diagnosis:
    """Looks at a hierarchy through the codes of some data; how its rate splits is not known, and said as NaN.

    Args:
        divergence: Of each layer, `(N, layers)`.
        mean: Codes without noise, `(N, latent)`.
        log_likelihood: Of each example given its codes, `(N,)`.
        threshold: See `active_units`.
    """
    return Diagnosis(
        rate=_mean(divergence.sum(-1)),
        distortion=_mean(-log_likelihood),
        mutual_information=math.nan,
        aggregate_divergence=math.nan,
        active_units=active_units(mean, threshold=threshold),
        latent=mean.shape[-1],
    )


def rate(posterior: DiagonalGaussian, z: Tensor, prior: _Prior) -> float:
    r"""Estimates $\mathbb{E}_n \mathrm{KL}(q(z \mid x_n) \,\|\, p)$ in nats, from a code of each example.

    Example:
        >>> from aigc.vae.priors import StandardNormal
        >>> q = DiagonalGaussian(torch.zeros(2, 1), torch.zeros(2, 1))
        >>> rate(q, q.mean, StandardNormal(1))
        0.0
    """
    return _mean(posterior.log_prob(z) - prior.log_prob(z))


def mutual_information(posterior: DiagonalGaussian, z: Tensor) -> float:
    r"""Estimates $I_q(n; z)$ in nats, in expectation in [0, log N] (Hoffman & Johnson, 2016).

    Args:
        posterior: Of N examples, `(N, latent)`.
        z: A code drawn from each, `(N, latent)`.

    Example:
        >>> far = DiagonalGaussian(torch.tensor([[-9.0], [9.0]]), torch.zeros(2, 1))
        >>> round(mutual_information(far, far.mean), 4)
        0.6931
    """
    _check(posterior, z)
    return _mean(posterior.log_prob(z).cpu().double() - aggregate_log_prob(posterior, z))


def aggregate_divergence(posterior: DiagonalGaussian, z: Tensor, prior: _Prior) -> float:
    r"""Estimates $\mathrm{KL}(\bar q(z) \,\|\, p)$ in nats, from a code of each example.

    Example:
        >>> from aigc.vae.priors import StandardNormal
        >>> q = DiagonalGaussian(torch.zeros(2, 1), torch.zeros(2, 1))
        >>> round(aggregate_divergence(q, q.mean, StandardNormal(1)), 6) + 0.0
        0.0
    """
    return _mean(aggregate_log_prob(posterior, z) - prior.log_prob(z).cpu().double())


def aggregate_log_prob(posterior: DiagonalGaussian, z: Tensor, *, chunk: int = 64) -> Tensor:
    r"""The log-density of the aggregate posterior, $\log \tfrac1N \sum_n q(z \mid x_n)$.

    Args:
        posterior: Of N examples, `(N, latent)`.
        z: `(rows, latent)`.
        chunk: Rows at once; memory grows with this times N times latent.

    Returns:
        float64 on the CPU, `(rows,)`.

    Example:
        >>> q = DiagonalGaussian(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> aggregate_log_prob(q, torch.zeros(1, 1))
        tensor([-0.9189], dtype=torch.float64)
    """
    exact = DiagonalGaussian(posterior.mean.cpu().double(), posterior.log_std.cpu().double())
    weights = exact.mean.new_full((len(exact.mean),), len(exact.mean)).log().neg()
    parts = torch.split(z.cpu().double(), integer("chunk", chunk, low=1))
    return torch.cat([mixture_log_prob(part, weights, exact) for part in parts])


def active_units(mean: Tensor, *, threshold: float = 0.01) -> int:
    r"""Counts the dimensions with $\operatorname{Var}_x \mathbb{E}_{q(z \mid x)}[z_j]$ above a threshold (Burda et al.,
    arXiv:1509.00519).

    Args:
        mean: Posterior means, `(N, latent)`, N at least 2.
        threshold: On the variance, above 0; the paper's is 0.01.

    Example:
        >>> active_units(torch.tensor([[0.0, -1.0], [0.0, 1.0]]))
        1
    """  # noqa: D205
    if mean.ndim != 2 or len(mean) < 2:
        raise fail("mean", "posterior means of at least 2 examples, (N, latent)", tuple(mean.shape))
    if not threshold > 0:
        raise fail("threshold", "a number above 0", threshold)
    if not bool(mean.isfinite().all()):
        raise fail("mean", "finite", f"{int((~mean.isfinite()).sum())} values that are NaN or infinite")
    return int((mean.double().var(0) > threshold).sum())


def collapsed(active: int, latent: int) -> str | None:
    """Says in a sentence that the posterior has collapsed, where fewer than a tenth of the dimensions are active, or none.

    Args:
        active: Active units.
        latent: Dimensions.

    Returns:
        The warning; None if there is no reason for one.

    Example:
        >>> collapsed(0, 16).split(',')[0]
        'The posterior has collapsed: 0 of 16 latent dimensions are active'
        >>> collapsed(3, 16) is None
        True
    """
    if active and active >= latent / 10:
        return None
    return (
        f"The posterior has collapsed: {active} of {latent} latent dimensions are active, and the decoder ignores the "
        "others. Let beta rise from 0 (ELBO(beta=Linear(0.0, 1.0, steps=...))), set free_bits, or take a weaker decoder "
        "or a smaller latent."
    )


def _mean(values: Tensor) -> float:
    return float(values.detach().cpu().double().mean())


def _check(posterior: DiagonalGaussian, z: Tensor) -> None:
    if z.ndim != 2 or posterior.mean.shape != z.shape:
        raise fail("z", f"one code for each posterior, {tuple(posterior.mean.shape)}", tuple(z.shape))
