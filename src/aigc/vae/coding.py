"""From data to codes and back: flat, or as a hierarchy of latents whose codes one decoder draws from coarse to fine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor, nn

from aigc._checks import fail, fail_type
from aigc._models.conditions import repeated
from aigc.nets import Descent
from aigc.vae import estimates
from aigc.vae.bounds import Terms
from aigc.vae.doors import check_shape, code_type, weight_type
from aigc.vae.estimates import LogLikelihood, importance_noise
from aigc.vae.gaussian import DiagonalGaussian
from aigc.vae.priors import StandardNormal

if TYPE_CHECKING:
    from aigc.vae.model import VAE

__all__ = [
    "Descends",
    "HierarchicalTerms",
    "check_hierarchy",
    "codes",
    "estimated",
    "posterior",
    "read_by",
    "terms",
    "told",
]


_ALONE = "A layer's posterior depends on those above it."


@runtime_checkable
class Descends(Protocol):
    """A decoder whose posterior is its own: it draws the codes of a hierarchy itself, as `nets.HierarchicalDecoder` does.

    Attributes:
        sizes: Numbers of each layer's latent.

    Example:
        >>> from aigc import nets
        >>> isinstance(nets.HierarchicalDecoder((2,), (1, 8, 8), width=4), Descends)
        True
    """

    sizes: Sequence[int]

    def descend(self, features: Any, noise: Tensor, condition: Tensor | None = None) -> Descent:
        """From an encoder's features and standard normal noise `(batch, latent)`."""
        ...


def descends(decoder: nn.Module) -> TypeGuard[Descends]:
    """Whether a decoder is a hierarchy: `isinstance` of a Protocol takes longer than the mathematics of a small step."""
    return hasattr(decoder, "descend")


class HierarchicalTerms(NamedTuple):
    r"""What a hierarchy says of a batch: `Terms` for k samples, b examples and l layers.

    $$ \log p(x) \ge \mathbb{E}_q \Big[ \log p(x \mid z)
       - \sum_i \mathrm{KL}\big(q(z_i \mid z_{<i}, x) \,\|\, p(z_i \mid z_{<i})\big) \Big] $$

    Each layer's divergence is in closed form, given what was drawn above it.

    Attributes:
        log_likelihood: $\log p(x \mid z)$, `(k, b)`.
        z: Codes, standard normal under the prior, `(k, b, latent)`.
        divergences: Of each layer, nats, `(k, b, l)`.
        log_ratios: $\log q(z_i \mid z_{<i}, x) - \log p(z_i \mid z_{<i})$ of what was drawn, `(k, b, l)`.
        sizes: Dimensions of each layer.

    Example:
        >>> ones = torch.ones(1, 2, 2)
        >>> said = HierarchicalTerms(torch.zeros(1, 2), torch.zeros(1, 2, 3), ones, ones, sizes=(1, 2))
        >>> said.log_weights(), said.divergence().sum(-1)
        (tensor([[-2., -2.]]), tensor([2., 2.]))
    """

    log_likelihood: Tensor
    z: Tensor
    divergences: Tensor
    log_ratios: Tensor
    sizes: Sequence[int]

    def log_weights(self, *, detached: bool = False) -> Tensor:
        """The log-weights, `(k, b)`; see `Terms`."""
        if detached:
            raise fail("gradient", "'standard' for a hierarchy", "stl or dreg", _ALONE)
        return self.log_likelihood - self.log_ratios.sum(-1)

    def divergence(self) -> Tensor:
        """The divergence of each layer, mean over the samples, `(b, l)`."""
        return self.divergences.mean(0)

    def dimensions(self, columns: int) -> Tensor:
        """How many dimensions each column of the divergence is about, `(l,)`."""
        return torch.tensor(self.sizes, device=self.z.device)


def terms(vae: "VAE", x: Tensor, noise: Tensor, condition: Tensor | None) -> Terms | HierarchicalTerms:
    """What a bound is made of, for noise `(k, b, latent)`."""
    k, b = len(noise), len(x)
    if descends(vae.decoder):
        seen = _descent(vae, x, noise, condition)
        said = vae.likelihood.log_prob(seen.parameters, x).view(k, b)
        drawn, divergences, ratios = (part.view(k, b, -1) for part in (seen.codes, seen.divergences, seen.log_ratios))
        return HierarchicalTerms(said, drawn, divergences, ratios, tuple(vae.decoder.sizes))
    z = (q := posterior(vae, x, condition)).rsample(noise)
    parameters = told(vae.decoder, _as_data(vae, z.flatten(0, 1), x), repeated(condition, k))
    return Terms(vae.likelihood.log_prob(parameters, x).view(k, b), q, z, vae.prior)


def codes(vae: "VAE", x: Tensor, condition: Tensor | None, noise: Tensor | None = None) -> Tensor:
    """Codes of data `(b, latent)`, drawn with noise of the same shape, or the means: of each layer, given those above."""
    if descends(vae.decoder):
        zero = torch.zeros(1, len(x), vae.latent, device=x.device)
        found = _descent(vae, x, zero if noise is None else noise[None], condition).codes
        return found.to(code_type(found.dtype))
    q = posterior(vae, x, condition)
    return q.mean if noise is None else q.rsample(noise)


def posterior(vae: "VAE", x: Tensor, condition: Tensor | None) -> DiagonalGaussian:
    """What a flat encoder says of codes, `(b, latent)`."""
    if descends(vae.decoder):
        raise fail_type("decoder", "flat, where one Gaussian is the posterior", vae.decoder, "Call encode, or terms.")
    check_shape(vae.shape, x)
    found = DiagonalGaussian.read(told(vae.encoder, x, condition))
    if found.mean.shape != (len(x), vae.latent):
        wanted = f"({len(x)}, {2 * vae.latent}), a mean and a log standard deviation for each latent dimension"
        raise fail("the encoder's output", f"of shape {wanted}", (len(x), 2 * found.mean.shape[-1]))
    return found


def told(net: nn.Module, x: Tensor, condition: Tensor | None) -> Tensor:
    """A net's output."""
    out = net(x) if condition is None else net(x, _told_by(net, condition, x))
    if not isinstance(out, Tensor):
        raise fail_type(f"the output of {type(net).__name__}", "a tensor", out)
    return out


def read_by(net: nn.Module, z: Tensor) -> Tensor:
    """Codes, or the numbers of a condition, in the type of the weights that read them."""
    return z.to(weight_type(net, z.dtype)) if z.is_floating_point() else z


def estimated(vae: "VAE", x: Tensor, condition: Tensor | None, *, samples: int, seed: int, chunk: int) -> LogLikelihood:
    """Estimates log p(x): see `VAE.log_likelihood`."""
    rows = max(1, chunk // samples)
    like: dict[str, Any] = {"device": vae.device, "dtype": code_type(weight_type(vae, torch.float32))}
    parts = []
    for first in range(0, len(x), rows):
        some = x[first : first + rows]
        told = None if condition is None else condition[first : first + rows]

        def log_weights(noise: Tensor, some: Tensor = some, told: Tensor | None = told) -> Tensor:
            return vae.terms(some, noise, told).log_weights()

        noise = importance_noise(seed, range(first, first + len(some)), samples=samples, latent=vae.latent, **like)
        parts.append(estimates.log_likelihood(log_weights, noise, chunk=max(1, chunk // len(some))))
    return LogLikelihood.of(parts)


def check_hierarchy(decoder: nn.Module, prior: Any, bound: Any) -> None:
    """Raises a `ParameterError` if a hierarchy is given a prior, whose own is in its decoder, or a bound it has not."""
    if descends(decoder) and not isinstance(prior, StandardNormal):
        cure = "Leave prior out: the decoder has one for each layer."
        raise fail("prior", "standard normal for a hierarchy", type(prior).__name__, cure)
    gradient = getattr(bound, "gradient", "standard")
    if descends(decoder) and gradient != "standard":
        raise fail("gradient", "'standard' for a hierarchy", gradient, _ALONE)


def _descent(vae: "VAE", x: Tensor, noise: Tensor, condition: Tensor | None) -> Descent:
    """The data are read once, and codes drawn k times."""
    check_shape(vae.shape, x)
    condition = None if condition is None else _told_by(vae.encoder, condition, x)
    features = vae.encoder(x) if condition is None else vae.encoder(x, condition)
    if len(noise) > 1:
        features = [part.repeat(len(noise), *(1 for _ in part.shape[1:])) for part in features]
    descend: Descends = vae.decoder  # type: ignore[assignment]  # the caller asked
    flat = _as_data(vae, noise.flatten(0, 1), x)
    more = () if condition is None else (repeated(condition, len(noise)),)
    return descend.descend(features, flat, *more)


def _told_by(net: nn.Module, condition: Tensor, x: Tensor) -> Tensor:
    """A condition in the type of the weights, where it is not of that of the data."""
    return condition if condition.dtype == x.dtype else read_by(net, condition)


def _as_data(vae: "VAE", z: Tensor, x: Tensor) -> Tensor:
    """Codes in the type of the weights, which is that of data: to look at these takes no time."""
    return z.to(x.dtype) if x.is_floating_point() else read_by(vae.decoder, z)
