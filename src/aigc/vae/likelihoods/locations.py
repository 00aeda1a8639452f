r"""Real data around a location: Gaussian and Laplace, with a scale that is given, learned, fitted or predicted."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aigc._checks import fail, fail_type
from aigc.vae.gaussian import LIMIT
from aigc.vae.likelihoods._reading import check_numbers, first, noise, read, shaped, total

__all__ = ["Gaussian", "Laplace"]

_KINDS = ("shared", "optimal", "predicted")
_DECAY = 0.99  # of the running error whose scale is "optimal" after training


class Gaussian(nn.Module):
    r"""Real numbers with a mean for each.

    $$ \log p(x) = -\sum_i \frac{(x_i - \mu_i)^2}{2 \sigma^2} + \tfrac12 \log 2 \pi \sigma^2 $$

    Args:
        sigma: One of

            - a number above 0;
            - `"shared"`: one learned parameter, `log_scale`, for all data;
            - `"optimal"`: the best for the batch, $\sigma^{*2}$ = its mean squared error (Rybkin et al., arXiv:2006.13202);
              no gradient is taken of it, and at the optimum none is missing. In evaluation mode it is that of a running
              average over the training batches, so that a density of new data does not depend on their company; before any
              training it is the batch's;
            - `"predicted"`: one for each number, from the decoder: `size` is 2, the means and then $\log \sigma$, which is
              cut to [-15, 15].

    Example:
        >>> x = torch.zeros(1, 4)
        >>> Gaussian(1.0).log_prob(torch.ones(1, 4), x), Gaussian("optimal").log_prob(2 * torch.ones(1, 4), x)
        (tensor([-5.6758]), tensor([-8.4483]))
    """

    def __init__(self, sigma: float | str = "optimal") -> None:
        super().__init__()
        self.sigma = sigma
        self.spread = Spread("sigma", sigma, power=2)
        self.size = self.spread.size

    def log_prob(self, parameters: Tensor, x: Tensor, /) -> Tensor:
        """The log-density in nats, `(rows,)`; see `Likelihood`."""
        found = read(parameters, x, self.size)
        error = x.to(found.dtype) - first(found)
        log_sigma: Tensor = self.spread(found[:, :, -1], error)
        return -total((error * (-log_sigma).exp()).square() / 2 + log_sigma + math.log(2 * math.pi) / 2)

    def mean(self, parameters: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """The means, `(rows, *data)`."""
        return shaped(parameters, self.size, shape)[:, 0]

    def sample(self, parameters: Tensor, seeds: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """Real numbers, `(rows, *data)`."""
        found = shaped(parameters, self.size, shape)
        normal: Tensor = torch.special.ndtri(noise(seeds, found[:, 0]))
        scale: Tensor = self.spread(found[:, -1], None).exp()
        return found[:, 0] + scale * normal.to(found.dtype)

    def check(self, x: Tensor, /) -> None:
        """Checks that values are finite."""
        check_numbers(x)

    def __repr__(self) -> str:
        return f"Gaussian({self.sigma!r})"


class Laplace(nn.Module):
    r"""Real numbers with a median for each, and more of them far from it than a Gaussian has.

    $$ \log p(x) = -\sum_i \frac{|x_i - \mu_i|}{b} + \log 2 b $$

    Args:
        scale: b, as `sigma` of `Gaussian`; the `"optimal"` one is the mean absolute error.

    Example:
        >>> Laplace(1.0).log_prob(torch.ones(1, 2), torch.zeros(1, 2))
        tensor([-3.3863])
    """

    def __init__(self, scale: float | str = "optimal") -> None:
        super().__init__()
        self.scale = scale
        self.spread = Spread("scale", scale, power=1)
        self.size = self.spread.size

    def log_prob(self, parameters: Tensor, x: Tensor, /) -> Tensor:
        """The log-density in nats, `(rows,)`; see `Likelihood`."""
        found = read(parameters, x, self.size)
        error = x.to(found.dtype) - first(found)
        log_scale: Tensor = self.spread(found[:, :, -1], error)
        return -total(error.abs() * (-log_scale).exp() + log_scale + math.log(2))

    def mean(self, parameters: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """The locations, `(rows, *data)`."""
        return shaped(parameters, self.size, shape)[:, 0]

    def sample(self, parameters: Tensor, seeds: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """Real numbers, `(rows, *data)`."""
        found = shaped(parameters, self.size, shape)
        centred = noise(seeds, found[:, 0]) - 0.5
        drawn = -centred.sign() * torch.log1p(-2 * centred.abs())
        scale: Tensor = self.spread(found[:, -1], None).exp()
        return found[:, 0] + scale * drawn.to(found.dtype)

    def check(self, x: Tensor, /) -> None:
        """Checks that values are finite."""
        check_numbers(x)

    def __repr__(self) -> str:
        return f"Laplace({self.scale!r})"


class Spread(nn.Module):
    r"""The log scale of a location family: it maximises the likelihood where $s^p = \overline{|x - \mu|^p}$.

    Args:
        name: What it is called in errors.
        scale: A number, or what `Gaussian` says.
        power: p, 2 or 1.
    """

    def __init__(self, name: str, scale: float | str, *, power: int) -> None:
        super().__init__()
        wanted = f"a number above 0, or one of {', '.join(map(repr, _KINDS))}"
        if isinstance(scale, bool) or not isinstance(scale, int | float | str):
            raise fail_type(name, wanted, scale)
        if scale not in _KINDS if isinstance(scale, str) else not (scale > 0 and math.isfinite(scale)):
            raise fail(name, wanted, scale)
        self.scale, self.power = scale, power
        self.size = 2 if scale == "predicted" else 1
        if scale == "shared":
            self.log_scale = nn.Parameter(torch.zeros(()))
        if scale == "optimal":
            self.error: Tensor
            self.weight: Tensor
            self.register_buffer("error", torch.zeros(()))
            self.register_buffer("weight", torch.zeros(()))

    def forward(self, last: Tensor, error: Tensor | None) -> Tensor:
        """The log scale, which broadcasts with data.

        Args:
            last: The last of the parameters of each number, which is its log scale if that is predicted.
            error: What the data differ from their locations by; None where there are no data.
        """
        if self.scale == "predicted":
            return last.clamp(-LIMIT, LIMIT)
        if self.scale == "shared":
            return self.log_scale.to(last.dtype)
        if self.scale == "optimal":
            return self._fitted(error).to(last.dtype)
        return torch.tensor(math.log(self.scale), dtype=last.dtype, device=last.device)  # type: ignore[arg-type]  # of the four, a number is left

    @torch.no_grad()
    def _fitted(self, error: Tensor | None) -> Tensor:
        if error is not None and (self.training or not bool(self.weight > 0)):
            now = error.abs().pow(self.power).mean()
            if self.training:
                self.error.mul_(_DECAY).add_((1 - _DECAY) * now)
                self.weight.mul_(_DECAY).add_(1 - _DECAY)
        elif bool(self.weight > 0):
            now = self.error / self.weight
        else:
            cure = "Train first, or give the scale as a number."
            raise fail("a scale of 'optimal'", "fitted before data are drawn", "no training step", cure)
        return (now.log() / self.power).clamp(-LIMIT, LIMIT)
