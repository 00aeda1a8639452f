r"""Estimates of log p(x) by importance sampling: exactly as many samples as asked for, with a standard error."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from aigc import random
from aigc._checks import fail, integer

__all__ = ["Estimate", "LogLikelihood", "estimate", "importance_noise", "log_likelihood", "log_mean_exp"]


class Estimate(NamedTuple):
    r"""Estimates of log-likelihoods, one per example.

    Attributes:
        value: $\log \tfrac1k \sum_i w_i$ in nats, float64 `(batch,)` on the CPU; on average a
            lower bound.
        standard_error: Of each, by the delta method: the standard error of the mean weight, divided by that mean. Infinite
            for one sample, which says nothing about it. Heavy-tailed weights make it too small, until k is
            large enough.

    Example:
        >>> estimate(torch.tensor([[0.0], [0.0]])).value
        tensor([0.], dtype=torch.float64)
    """

    value: Tensor
    standard_error: Tensor


class LogLikelihood(NamedTuple):
    r"""The log-likelihood of data under a model, in nats.

    Attributes:
        mean: Over the examples.
        standard_error: Of that mean, $\tfrac1n \sqrt{\sum_j \mathrm{SE}_j^2}$: what importance sampling leaves open, for
            these examples; not how much other examples would differ.
        per_example: Estimates, float64 `(n,)`.

    Example:
        >>> LogLikelihood.of([estimate(torch.zeros(10, 3)), estimate(torch.zeros(10, 1))])
        LogLikelihood(mean=0.0, standard_error=0.0, per_example=tensor([0., 0., 0., 0.], dtype=torch.float64))
    """

    mean: float
    standard_error: float
    per_example: Tensor

    @classmethod
    def of(cls, parts: Iterable[Estimate]) -> "LogLikelihood":
        """Joins the estimates of batches of examples.

        Raises:
            ParameterError: If there are none.
        """
        found = list(parts)
        if not found:
            raise fail("parts", "estimates of at least one example", "none")
        values, errors = (torch.cat([part[i] for part in found]) for i in (0, 1))
        return cls(float(values.mean()), float(errors.square().sum().sqrt()) / len(values), values)


def log_mean_exp(log_weights: Tensor) -> Tensor:
    r"""The log of a mean over the first axis, $\log \tfrac1k \sum_i e^{l_i}$.

    Args:
        log_weights: `(k, *batch)`.

    Returns:
        `(*batch,)`.

    Example:
        >>> log_mean_exp(torch.tensor([[0.0], [1000.0]]))
        tensor([999.3068])
    """
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))


def estimate(log_weights: Tensor) -> Estimate:
    r"""Estimates log p(x) from log-weights $\log p(x, z_i) - \log q(z_i \mid x)$, with a standard error.

    $$ \mathrm{SE} = \frac{s_w}{\sqrt{k}\, \bar w} $$

    where $\bar w$ and $s_w$ are the mean and the standard deviation of the weights.

    Args:
        log_weights: `(k, batch)`.

    Example:
        >>> estimate(torch.tensor([[0.0], [1.0], [2.0]]))
        Estimate(value=tensor([1.3090], dtype=torch.float64), standard_error=tensor([0.5156], dtype=torch.float64))
    """
    if log_weights.ndim != 2 or not len(log_weights):
        raise fail("log_weights", "of shape (k, batch)", tuple(log_weights.shape))
    exact = log_weights.cpu().double()
    value = log_mean_exp(exact)
    relative = (exact - value).exp()  # weights over their mean
    error = relative.std(0) / math.sqrt(len(exact)) if len(exact) > 1 else torch.full_like(value, math.inf)
    return Estimate(value, error)


@torch.no_grad()
def log_likelihood(log_weights: Callable[[Tensor], Tensor], noise: Tensor, *, chunk: int | None = None) -> Estimate:
    r"""Estimates log p(x) of some examples with exactly as many samples as there is noise.

    The value is of the log-weights of all samples together, so that it does not depend on how they are cut into chunks
    beyond the rounding of the nets.

    Args:
        log_weights: From noise `(k', batch, latent)` to $\log p(x, z) - \log q(z \mid x)$ of as many codes, `(k', batch)`.
        noise: Standard normal, `(k, batch, latent)`; see `importance_noise`.
        chunk: At most so many samples at once; None takes all.

    Example:
        >>> from aigc.vae import DiagonalGaussian
        >>> prior, q = (DiagonalGaussian(torch.zeros(2, 3), torch.full((2, 3), s)) for s in (0.0, 0.1))
        >>> def log_weights(noise):
        ...     z = q.rsample(noise)
        ...     return prior.log_prob(z) - q.log_prob(z)  # of nothing observed: p(x) is 1
        >>> noise = importance_noise(0, range(2), samples=1000, latent=3)
        >>> log_likelihood(log_weights, noise, chunk=300).value.abs().max() < 0.05
        tensor(True)
    """
    size = len(noise) if chunk is None else integer("chunk", chunk, low=1)
    parts = []
    for part in torch.split(noise, size):
        found = log_weights(part)
        if found.shape != part.shape[:2]:
            raise fail("log_weights(noise)", f"of shape {tuple(part.shape[:2])}", tuple(found.shape))
        parts.append(found.cpu().double())
    return estimate(torch.cat(parts))


def importance_noise(
    seed: int,
    examples: Sequence[int],
    *,
    samples: int,
    latent: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draws noise for importance sampling: an example's is a function of (seed, its number), whoever shares the batch.

    Args:
        seed: An int.
        examples: Their numbers in the data, such as `range(128, 256)`.
        samples: k, at least 1.
        latent: Dimensions of a code.
        device: Where it is wanted; it is drawn on the CPU, the same for all devices.
        dtype: Of the result.

    Returns:
        Standard normal, `(k, batch, latent)`.

    Example:
        >>> both = importance_noise(0, [4, 5], samples=3, latent=2)
        >>> torch.equal(both[:, 1:], importance_noise(0, [5], samples=3, latent=2))
        True
    """
    seed, samples = random.check_seed("seed", seed), integer("samples", samples, low=1)
    drawn = torch.empty(samples, len(examples), latent)
    for place, example in enumerate(examples):
        generator = torch.Generator().manual_seed(random.stream(seed, example))
        drawn[:, place] = torch.randn(samples, latent, generator=generator)
    return drawn.to(device=device, dtype=dtype)
