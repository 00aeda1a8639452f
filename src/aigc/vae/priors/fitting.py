r"""Mixtures fitted after training to the codes of the data: expectation-maximisation."""

import math

import torch
from torch import Tensor

from aigc import random
from aigc._checks import fail, fail_type, integer, number
from aigc.vae._clusters import centres, nearest
from aigc.vae.priors.mixtures import FullMixture, Mixture

__all__ = ["fit_mixture"]


@torch.no_grad()
def fit_mixture(
    z: Tensor,
    *,
    components: int,
    seed: int,
    covariance: str = "diagonal",
    steps: int = 200,
    tolerance: float = 1e-6,
    floor: float = 1e-6,
) -> Mixture | FullMixture:
    r"""Fits a mixture of Gaussians to codes by expectation-maximisation (Dempster, Laird & Rubin, 1977).

    Codes drawn from the posteriors of the data are draws from the aggregate posterior, so that the mixture is the prior
    that the decoder was trained on (Ghosh et al., arXiv:1903.12436). It begins at centres found by k-means; each step
    raises the likelihood of the codes, but for what `floor` adds.

    Args:
        z: Codes, `(n, latent)`, n at least `components`.
        components: How many, at least 1.
        seed: Of the centres that it begins with.
        covariance: `"diagonal"`, or `"full"`.
        steps: At most.
        tolerance: It ends when a step raises the mean log-density by less, in nats.
        floor: Added to each variance, as a share of the mean variance of the codes.

    Returns:
        A prior, in the precision and on the device of the codes.

    Raises:
        ParameterError: If there are too few codes, or they are not finite.

    Example:
        >>> rng = torch.Generator().manual_seed(0)
        >>> z = torch.randn(1000, 1, generator=rng) + torch.tensor([-5.0, 5.0]).repeat(500)[:, None]
        >>> fit_mixture(z, components=2, seed=0).mean.flatten().sort().values.round().tolist()
        [-5.0, 5.0]
    """
    components, steps = integer("components", components, low=1), integer("steps", steps, low=1)
    floor, tolerance = number("floor", floor, low=0), number("tolerance", tolerance, low=0)
    if not isinstance(z, Tensor):
        raise fail_type("z", f"at least {components} codes, (n, latent)", z)
    if z.ndim != 2 or len(z) < components or not z.shape[1]:
        raise fail("z", f"at least {components} codes, (n, latent)", tuple(z.shape))
    if not bool(z.isfinite().all()):
        raise fail("z", "finite", f"{int((~z.isfinite()).sum())} values that are NaN or infinite")
    if covariance not in ("diagonal", "full"):
        raise fail("covariance", "'diagonal' or 'full'", covariance)
    x = z.detach().double().cpu()
    least = floor * max(float(x.var(0, correction=0).mean()), 1e-12)
    rng = torch.Generator().manual_seed(random.stream(random.check_seed("seed", seed), 0))
    found = centres(x, components, rng=rng, steps=10)
    share = torch.nn.functional.one_hot(nearest(x, found), components).double()
    weights, mean, tril = _maximise(x, share, found, covariance, least)
    before = -math.inf
    for _ in range(steps):
        joint = weights.log() + _log_prob(x, mean, tril)
        now = float(torch.logsumexp(joint, 1).mean())
        if now - before < tolerance:
            break
        before = now
        weights, mean, tril = _maximise(x, joint.softmax(1), mean, covariance, least)
    return _prior(z, weights, mean, tril, covariance)


def _maximise(x: Tensor, share: Tensor, mean: Tensor, covariance: str, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and Cholesky factors of the components that share the codes so; an empty one stays where it was."""
    sizes = share.sum(0)
    full = sizes.clamp(min=1e-10)
    mean = torch.where(sizes[:, None] > 1e-10, share.T @ x / full[:, None], mean)
    factors = []
    for c in range(len(sizes)):
        error = x - mean[c]
        if covariance == "full":
            spread = (share[:, c, None] * error).T @ error / full[c]
            factors.append(torch.linalg.cholesky(spread + least * torch.eye(x.shape[1], dtype=x.dtype)))
        else:
            factors.append(((share[:, c, None] * error.square()).sum(0) / full[c] + least).sqrt().diag())
    return (full / full.sum()), mean, torch.stack(factors)


def _log_prob(x: Tensor, mean: Tensor, tril: Tensor) -> Tensor:
    """Of each code under each component, `(n, components)`."""
    columns = []
    for centre, factor in zip(mean, tril, strict=True):
        whitened = torch.linalg.solve_triangular(factor, (x - centre).T, upper=False)
        columns.append(-whitened.square().sum(0) / 2 - factor.diagonal().log().sum())
    return torch.stack(columns, 1) - x.shape[1] * math.log(2 * math.pi) / 2


def _prior(z: Tensor, weights: Tensor, mean: Tensor, tril: Tensor, covariance: str) -> Mixture | FullMixture:
    components, latent = mean.shape
    if covariance == "full":
        full = FullMixture(latent, components=components).to(z)
        for buffer, value in ((full.logits, weights.log()), (full.mean, mean), (full.tril, tril)):
            buffer.copy_(value)
        return full
    diagonal = Mixture(latent, components=components).to(z)
    scales = tril.diagonal(dim1=-2, dim2=-1).log()
    for parameter, value in ((diagonal.logits, weights.log()), (diagonal.mean, mean), (diagonal.log_std, scales)):
        parameter.copy_(value)
    return diagonal
