r"""Data in [0, 1]: two values, or all of them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc._checks import fail
from aigc.vae.likelihoods._reading import check_numbers, first, noise, read, shaped, total

__all__ = ["Bernoulli", "ContinuousBernoulli"]

_NEAR = 0.25  # below it, series: their error is under 1e-14, and that of the closed forms grows


class Bernoulli(nn.Module):
    r"""Data that are 0 or 1, with a logit l for each.

    $$ \log p(x) = \sum_i x_i l_i - \log(1 + e^{l_i}) $$

    Example:
        >>> x = torch.tensor([[1.0, 0.0]])
        >>> Bernoulli().log_prob(torch.zeros(1, 2), x)
        tensor([-1.3863])
    """

    size = 1

    def log_prob(self, parameters: Tensor, x: Tensor, /) -> Tensor:
        """The log-probability in nats, `(rows,)`; see `Likelihood`."""
        logits = first(read(parameters, x, 1))
        target = x.to(logits.dtype).expand_as(logits)
        return -total(F.binary_cross_entropy_with_logits(logits, target, reduction="none"))

    def mean(self, parameters: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """The probability of 1, `(rows, *data)`."""
        return shaped(parameters, 1, shape)[:, 0].sigmoid()

    def sample(self, parameters: Tensor, seeds: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """Zeros and ones, `(rows, *data)`."""
        mean = self.mean(parameters, shape)
        return (noise(seeds, mean) < mean).to(mean.dtype)

    def check(self, x: Tensor, /) -> None:
        """Checks that each value is 0 or 1."""
        cure = "Binarise the data, or take ContinuousBernoulli() or DiscretisedLogistic()."
        check_numbers(x, low=0, high=1, cure=cure)
        between = (x != 0) & (x != 1)
        if bool(between.any()):
            raise fail("x", "0 or 1 for Bernoulli()", float(x[between][0]), cure)


class ContinuousBernoulli(nn.Module):
    r"""Data in [0, 1], with a density that rises or falls as an exponential (Loaiza-Ganem & Cunningham, arXiv:1907.06845).

    $$ p(x) = C(\lambda) \lambda^x (1 - \lambda)^{1 - x} = \frac{l\, e^{l x}}{e^l - 1}, \qquad
       l = \log \frac{\lambda}{1 - \lambda}, \quad
       C(\lambda) = \frac{2 \tanh^{-1}(1 - 2 \lambda)}{1 - 2 \lambda} $$

    which is 1 at l = 0; a series is summed near it. A `Bernoulli` on such data, without C, is no density.

    Example:
        >>> ContinuousBernoulli().log_prob(torch.zeros(1, 2), torch.tensor([[0.3, 0.9]]))
        tensor([0.])
    """

    size = 1

    def log_prob(self, parameters: Tensor, x: Tensor, /) -> Tensor:
        """The log-density in nats, `(rows,)`; see `Likelihood`."""
        logits = first(read(parameters, x, 1))
        return total(logits * (x.to(logits.dtype) - 0.5) - _log_sinhc(logits / 2))

    def mean(self, parameters: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        r"""The expectation $\tfrac12 + \tfrac12 (\coth \tfrac l2 - \tfrac 2l)$, `(rows, *data)`; this is not $\lambda$."""
        return 0.5 + _langevin(shaped(parameters, 1, shape)[:, 0] / 2) / 2

    def sample(self, parameters: Tensor, seeds: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """Numbers in [0, 1], `(rows, *data)`, by the inverse of the distribution function."""
        logits = shaped(parameters, 1, shape)[:, 0]
        uniform = noise(seeds, logits)
        l = logits.double()  # noqa: E741  # as in the formula
        down, far = -l.abs(), l.abs() > 1e-8
        # The density of -l is that of l mirrored: the exponent is never above 0.
        fallen = torch.log1p(uniform * torch.expm1(down)) / down.where(far, torch.ones_like(down))
        drawn = uniform.where(~far, fallen.where(l < 0, 1 - fallen))
        return drawn.clamp(0, 1).to(logits.dtype)

    def check(self, x: Tensor, /) -> None:
        """Checks that values are in [0, 1]."""
        check_numbers(x, low=0, high=1, cure="Scale the data, or take Gaussian().")


def _log_sinhc(h: Tensor) -> Tensor:
    """log(sinh(h) / h)."""
    near = h.abs() < _NEAR
    square = h.where(near, torch.zeros_like(h)).square()
    series = square * (1 / 6 - square * (1 / 180 - square * (1 / 2835 - square * (1 / 37800 - square / 467775))))
    far = h.abs().where(~near, torch.ones_like(h))
    return series.where(near, far + torch.log(-torch.expm1(-2 * far)) - torch.log(far) - math.log(2))


def _langevin(h: Tensor) -> Tensor:
    """coth(h) - 1/h."""
    near = h.abs() < _NEAR
    small = h.where(near, torch.zeros_like(h))
    square = small.square()
    series = small * (1 / 3 - square * (1 / 45 - square * (2 / 945 - square * (1 / 4725 - square * (2 / 93555)))))
    far = h.where(~near, torch.ones_like(h))
    return series.where(near, 1 / torch.tanh(far) - 1 / far)
