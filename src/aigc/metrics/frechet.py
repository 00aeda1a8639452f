"""The Frechet distance of two sets of features."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from aigc._checks import fail
from aigc.metrics._reading import read, same_source
from aigc.metrics.features.contract import Features
from aigc.metrics.moments import Moments
from aigc.metrics.results import FrechetDistance

__all__ = ["frechet_distance"]


class _Gaussian(NamedTuple):
    """A mean and a factor F of the covariance, which is F^T F; F has no more rows than the data or dimensions."""

    mean: Tensor
    factor: Tensor
    n: int
    source: tuple[str, str]


def frechet_distance(real: Tensor | Features | Moments, fake: Tensor | Features | Moments) -> FrechetDistance:
    r"""Measures how far two sets of features are apart, each taken as a Gaussian (Heusel et al., arXiv:1706.08500).

    $$ \|\mu_1 - \mu_2\|^2 + \operatorname{tr}\big(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2}\big), $$

    the square of the 2-Wasserstein distance of the Gaussians; covariances are over n - 1. No root of a matrix is taken:
    with $\Sigma_i = F_i^\top F_i$ the second term is the smallest $\|F_1 - O F_2\|_F^2$ of all orthogonal O, which an SVD
    of $F_1 F_2^\top$ finds. It is a sum of squares and so never negative; singular covariances, and fewer examples than
    dimensions, need no special care. Symmetric; the same for features that are rotated; c^2 times as large for features
    that are c times as large.

    On average too large, by about a term in 1/n: compare only distances of as many examples, and read them against that of
    two halves of the real set. Better where smaller.

    Args:
        real: Features of the real set, `(n, d)`, n at least 2; or their moments.
        fake: Features of the generated set, or their moments.

    Returns:
        The distance, its two terms, and what it was measured by. It is called FID only if the features are of the published
        InceptionV3 (`Features(values, "inception", version)`).

    Raises:
        ParameterError: If a set is too small, not finite, of other dimensions or of another extractor than the other.

    Example:
        >>> x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
        >>> print(frechet_distance(x, x + 1))
        Frechet distance 4 (features: unnamed; 500 real, 500 generated)
        >>> found = frechet_distance(x, Moments.of(2 * x))  # covariances C and 4 C: tr C
        >>> round(found.covariance_term, 9) == round(float(x.double().T.cov().trace()), 9)
        True
    """
    a, b = _gaussian("real", real), _gaussian("fake", fake)
    same_source("fake", a.source, b.source)
    if len(a.mean) != len(b.mean):
        raise fail("fake", f"of {len(a.mean)} dimensions, as real is", len(b.mean), "Extract both in the same way.")
    device = a.mean.device
    mean = float((a.mean - b.mean.to(device)).square().sum())
    covariance = _bures(a.factor, b.factor.to(device))
    name, version = a.source
    return FrechetDistance(mean + covariance, mean, covariance, name, version, len(a.mean), a.n, b.n)


def _gaussian(name: str, given: Tensor | Features | Moments) -> _Gaussian:
    if isinstance(given, Moments):
        if given.n < 2:
            raise fail(name, "moments of at least 2 examples", given.n)
        return _Gaussian(given.mean, _root(given.covariance), given.n, (given.extractor, given.version))
    found = read(name, given, least=2)
    mean = found.values.mean(0)
    factor = _triangle(found.values, mean) / math.sqrt(len(found) - 1)
    return _Gaussian(mean, factor, len(found), (found.extractor, found.version))


def _triangle(x: Tensor, mean: Tensor) -> Tensor:
    """R with R^T R = (x - mean)^T (x - mean) and at most d rows; the covariance itself would lose half the digits."""
    n, d = x.shape
    if n <= d:
        return x - mean
    found = x.new_empty(0, d)
    for block in torch.split(x, max(d, 1024)):
        found = torch.linalg.qr(torch.cat([found, block - mean]), mode="r").R
    return found


def _root(covariance: Tensor) -> Tensor:
    """F with F^T F = covariance. Eigenvalues that are 0 up to rounding are left out, as their roots would not be small."""
    values, vectors = torch.linalg.eigh((covariance + covariance.mT) / 2)
    kept = values > values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
    root: Tensor = values[kept].sqrt()[:, None] * vectors[:, kept].mT
    return root


def _bures(a: Tensor, b: Tensor) -> float:
    """The smallest |a - O b|^2 of all O with orthonormal rows or columns."""
    if len(a) > len(b):
        a, b = b, a
    u, _, v = torch.linalg.svd(a @ b.mT, full_matrices=False)
    return float((b - (u @ v).mT @ a).square().sum())
