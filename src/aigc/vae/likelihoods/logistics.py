r"""Data on a grid in [0, 1], such as the 256 levels of an image: logistic densities, integrated over each level's bin."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc._checks import fail, integer
from aigc.vae.gaussian import LIMIT
from aigc.vae.likelihoods._reading import check_numbers, noise, read, shaped, total

__all__ = ["DiscretisedLogistic", "LogisticMixture"]


class DiscretisedLogistic(nn.Module):
    r"""Levels $x_i \in \{0, \tfrac{1}{B-1}, \dots, 1\}$, with a location m and a log scale for each (Kingma et al.,
    arXiv:1606.04934).

    $$ P(x) = \sigma\Big(\frac{x + h - m}{s}\Big) - \sigma\Big(\frac{x - h - m}{s}\Big), \qquad h = \frac{1}{2 (B - 1)} $$

    where the bin of 0 reaches to $-\infty$ and that of 1 to $\infty$, so that the B levels add up to 1 exactly. It is
    computed as $\sigma(a) \sigma(-b) (1 - e^{b - a})$, which cancels nothing however far x is from m.

    Args:
        bins: B, at least 2.

    Example:
        >>> every = torch.arange(256)[:, None] / 255
        >>> DiscretisedLogistic().log_prob(torch.zeros(256, 2), every).exp().sum()
        tensor(1.)
    """  # noqa: D205

    size = 2

    def __init__(self, bins: int = 256) -> None:
        super().__init__()
        self.bins = integer("bins", bins, low=2)

    def log_prob(self, parameters: Tensor, x: Tensor, /) -> Tensor:
        """The log-probability in nats, `(rows,)`; see `Likelihood`."""
        found = read(parameters, x, 2)
        return total(_log_mass(x.to(found.dtype), found[:, :, 0], found[:, :, 1], self.bins))

    def mean(self, parameters: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """The expectation over levels, `(rows, *data)`; near an edge it is not the location."""
        found = shaped(parameters, 2, shape)
        return _expectation(found[:, 0], found[:, 1], self.bins)

    def sample(self, parameters: Tensor, seeds: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """Levels in [0, 1], `(rows, *data)`."""
        found = shaped(parameters, 2, shape)
        return _draw(noise(seeds, found[:, 0]), found[:, 0], found[:, 1], self.bins)

    def check(self, x: Tensor, /) -> None:
        """Checks that values are levels in [0, 1]."""
        _check_levels(x, self.bins)

    def extra_repr(self) -> str:
        """Its bins."""
        return f"bins={self.bins}"


class LogisticMixture(nn.Module):
    r"""Levels as for `DiscretisedLogistic`, with a mixture of K for each (Salimans et al., arXiv:1701.05517).

    $$ P(x) = \sum_c \pi_c P_c(x) $$

    `size` is 3K: the logits of $\pi$, the locations, the log scales. Numbers are independent given their parameters; the
    paper's dependence between the colours of a pixel is not there.

    Args:
        components: K, at least 1.
        bins: B, at least 2.

    Example:
        >>> every = torch.arange(8)[:, None] / 7
        >>> LogisticMixture(2, bins=8).log_prob(torch.zeros(8, 6), every).exp().sum()
        tensor(1.)
    """

    def __init__(self, components: int, *, bins: int = 256) -> None:
        super().__init__()
        self.components = integer("components", components, low=1)
        self.bins = integer("bins", bins, low=2)
        self.size = 3 * self.components

    def log_prob(self, parameters: Tensor, x: Tensor, /) -> Tensor:
        """The log-probability in nats, `(rows,)`; see `Likelihood`."""
        logits, location, log_scale = read(parameters, x, self.size).chunk(3, dim=2)
        each = _log_mass(x.to(logits.dtype)[:, None], location, log_scale, self.bins)
        return total(torch.logsumexp(logits.log_softmax(2) + each, dim=2))

    def mean(self, parameters: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """The expectation over levels, `(rows, *data)`."""
        logits, location, log_scale = shaped(parameters, self.size, shape).chunk(3, dim=1)
        return (logits.softmax(1) * _expectation(location, log_scale, self.bins)).sum(1)

    def sample(self, parameters: Tensor, seeds: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """Levels in [0, 1], `(rows, *data)`."""
        logits, location, log_scale = shaped(parameters, self.size, shape).chunk(3, dim=1)
        edges = logits.double().softmax(1).cumsum(1)
        which = (noise(seeds, logits[:, 0], more=1)[:, None] > edges[:, :-1]).sum(1, keepdim=True)
        location, log_scale = (value.gather(1, which)[:, 0] for value in (location, log_scale))
        return _draw(noise(seeds, location), location, log_scale, self.bins)

    def check(self, x: Tensor, /) -> None:
        """Checks that values are levels in [0, 1]."""
        _check_levels(x, self.bins)

    def extra_repr(self) -> str:
        """Its parameters."""
        return f"{self.components}, bins={self.bins}"


def _log_mass(x: Tensor, location: Tensor, log_scale: Tensor, bins: int) -> Tensor:
    """log(sigma(a) - sigma(b)), a and b the whitened edges of the bin of x."""
    log_scale = log_scale.clamp(-LIMIT, LIMIT)
    inverse = (-log_scale).exp()
    half = 0.5 / (bins - 1)
    upper, lower = (x + half - location) * inverse, (x - half - location) * inverse
    below = F.logsigmoid(upper).where(x < 1 - half, torch.zeros_like(upper))
    above = F.logsigmoid(-lower).where(x > half, torch.zeros_like(upper))
    width = torch.log(-torch.expm1(-2 * half * inverse))
    return below + above + width.where((x > half) & (x < 1 - half), torch.zeros_like(upper))


def _expectation(location: Tensor, log_scale: Tensor, bins: int) -> Tensor:
    """The mean level: the sum of the probabilities that it is at least the first, the second and so on."""
    inverse = (-log_scale.clamp(-LIMIT, LIMIT)).exp()
    levels = torch.zeros_like(location)
    for level in range(1, bins):
        levels = levels + ((location - (level - 0.5) / (bins - 1)) * inverse).sigmoid()
    return levels / (bins - 1)


def _draw(uniform: Tensor, location: Tensor, log_scale: Tensor, bins: int) -> Tensor:
    """A logistic number, at the nearest level."""
    drawn = location.double() + log_scale.double().clamp(-LIMIT, LIMIT).exp() * (uniform.log() - torch.log1p(-uniform))
    return ((drawn * (bins - 1)).round().clamp(0, bins - 1) / (bins - 1)).to(location.dtype)


def _check_levels(x: Tensor, bins: int) -> None:
    check_numbers(x, low=0, high=1, cure="Scale the data, or take Gaussian().")
    level = x.double() * (bins - 1)
    off = (level - level.round()).abs() > 0.1  # what half precision leaves of 255 levels is within 0.07
    if bool(off.any()):
        cure = f"Round: (x * {bins - 1}).round() / {bins - 1}; or take ContinuousBernoulli()."
        raise fail("x", f"on the {bins} levels i / {bins - 1}", float(x[off][0]), cure)
