"""Mean and covariance of features that come in parts: in batches, or in several processes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor

from aigc._checks import fail, fail_type, integer
from aigc.metrics._reading import exact, read, same_source
from aigc.metrics.features.contract import UNNAMED, FeatureExtractor, Features, extracted

__all__ = ["Moments"]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    r"""How many feature vectors there are, their mean, and how they scatter about it; in float64.

    Two parts become one by the rule of Chan, Golub and LeVeque (1979), which subtracts no large numbers:

    $$ \mu = \mu_a + \frac{n_b}{n} \delta, \qquad S = S_a + S_b + \frac{n_a n_b}{n} \delta \delta^\top, \qquad
       \delta = \mu_b - \mu_a. $$

    A value: `update` and `merge` return another.

    Attributes:
        n: Feature vectors.
        mean: `(d,)`.
        scatter: $S = \sum_i (x_i - \mu)(x_i - \mu)^\top$, `(d, d)`.
        extractor: Name of the extractor of the features.
        version: Its version.

    Example:
        >>> x = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
        >>> found = Moments.of(x[:10])
        >>> for batch in x[10:].split(64):
        ...     found = found.update(batch)
        >>> found
        Moments(n=1000, dim=3, extractor='unnamed', version='')
        >>> torch.allclose(found.covariance, x.double().T.cov())
        True
    """

    n: int
    mean: Tensor
    scatter: Tensor
    extractor: str = UNNAMED
    version: str = ""

    def __post_init__(self) -> None:
        integer("n", self.n, low=0)
        shape = tuple(self.scatter.shape)
        if self.mean.ndim != 1 or shape != (*self.mean.shape, *self.mean.shape):
            raise fail("mean and scatter", "of shapes (d,) and (d, d)", f"{tuple(self.mean.shape)} and {shape}")
        if self.mean.dtype != torch.float64 or self.scatter.dtype != torch.float64:
            raise fail_type("mean and scatter", "float64", f"{self.mean.dtype} and {self.scatter.dtype}")

    def __repr__(self) -> str:
        return f"Moments(n={self.n}, dim={self.dim}, extractor={self.extractor!r}, version={self.version!r})"

    @classmethod
    def of(cls, features: Tensor | Features) -> Self:
        """Those of features `(n, d)`; n may be 0, for a process that has none."""
        found = read("features", features, least=0)
        x = found.values
        mean = x.mean(0) if len(x) else x.new_zeros(x.shape[1])
        centred = x - mean
        return cls(len(x), mean, centred.T @ centred, found.extractor, found.version)

    @classmethod
    def extract(cls, extractor: FeatureExtractor, data: Tensor | Iterable[Tensor], *, batch_size: int = 256) -> Self:
        """Those of the features of data, of which no more than a batch is held at once.

        Args:
            extractor: Any `FeatureExtractor`.
            data: `(n, *data)`, or batches of that form, such as a generator that samples from a model.
            batch_size: Examples at once, where data is one tensor.
        """
        found: Self | None = None
        for values in extracted(extractor, data, batch_size=batch_size):
            batch = cls.of(Features(values, extractor.name, extractor.version))
            found = batch if found is None else found.merge(batch)
        if found is None:
            raise fail("data", "at least one batch", "none")
        return found

    @classmethod
    def known(cls, mean: Tensor, covariance: Tensor, *, n: int, extractor: str = UNNAMED, version: str = "") -> Self:
        """Those that somebody else computed, such as the published statistics of a data set.

        Args:
            mean: `(d,)`.
            covariance: `(d, d)`, symmetric, over n - 1.
            n: Examples that they are of, at least 2.
            extractor: Name of the extractor.
            version: Its version.

        Raises:
            ParameterError: If the covariance is not symmetric, has an eigenvalue below -1e-6 of its trace (rounding to
                float32 moves none by more than a tenth of that), or anything is not finite.

        Example:
            >>> Moments.known(torch.zeros(2), torch.eye(2), n=50_000).covariance
            tensor([[1., 0.],
                    [0., 1.]], dtype=torch.float64)
        """
        mean, covariance = exact(mean, "mean"), exact(covariance, "covariance")
        if not (mean.isfinite().all() and covariance.isfinite().all()):
            raise fail("mean and covariance", "finite", "nan or infinity")
        if covariance.ndim != 2 or not _symmetric(covariance):
            raise fail("covariance", "a symmetric matrix", tuple(covariance.shape))
        if bool((covariance.diagonal() < 0).any()):
            raise fail("covariance", "of variances of at least 0", float(covariance.diagonal().min()))
        least = _least(covariance)
        if least < 0:
            cure = "Compute it in float64, of examples as they are."
            raise fail("covariance", "of eigenvalues of at least 0", least, cure)
        return cls(n, mean, covariance * (integer("n", n, low=2) - 1), extractor, version)

    @property
    def dim(self) -> int:
        """Dimensions of the features."""
        return len(self.mean)

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance, over n - 1: `(d, d)`."""
        if self.n < 2:
            raise fail("n", "at least 2 for a covariance", self.n)
        return self.scatter / (self.n - 1)

    def update(self, batch: Tensor | Features) -> Self:
        """These and a batch of features `(n, d)` together; a bare tensor counts as of no named extractor."""
        return self.merge(type(self).of(batch))

    def merge(self, other: Self) -> Self:
        """These and others together: `a + b`."""
        same_source("other", (self.extractor, self.version), (other.extractor, other.version))
        if other.dim != self.dim:
            raise fail("other", f"of {self.dim} dimensions", other.dim)
        n = self.n + other.n
        if not n:
            return self
        delta = other.mean.to(self.mean.device) - self.mean
        between = torch.outer(delta, delta) * (self.n * other.n / n)
        scatter = self.scatter + other.scatter.to(self.scatter.device) + between
        return type(self)(n, self.mean + delta * (other.n / n), scatter, self.extractor, self.version)

    def __add__(self, other: Self) -> Self:
        return self.merge(other)

    def over_processes(self) -> Self:
        """Those of all processes together, the same in each; these, where `torch.distributed` was not started.

        Every process calls it, with moments of as many dimensions; one without data gives those of `(0, d)`.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return self
        own = self.mean.device
        sent = torch.device("cuda") if dist.get_backend() == "nccl" else own  # which sends nothing that is on the CPU
        ours = torch.cat([self.mean.new_tensor([self.n]), self.mean * self.n]).to(sent)
        dist.all_reduce(ours)
        n = round(float(ours[0]))
        mean = (ours[1:] / max(n, 1)).to(own)
        delta = self.mean - mean
        scatter = (self.scatter + torch.outer(delta, delta) * self.n).to(sent)
        dist.all_reduce(scatter)
        return type(self)(n, mean, scatter.to(own), self.extractor, self.version)


def _least(covariance: Tensor) -> float:
    """The smallest eigenvalue, if it is further below 0 than rounding brings it; else 0."""
    allowed = 1e-6 * float(covariance.trace())
    shifted = covariance + allowed * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    if not int(torch.linalg.cholesky_ex(shifted).info):
        return 0.0
    least = float(torch.linalg.eigvalsh(covariance)[0])
    return least if least < -allowed else 0.0


def _symmetric(x: Tensor) -> bool:
    """Whether it is, up to rounding of float32."""
    return x.shape[0] == x.shape[1] and float((x - x.mT).abs().max()) <= 1e-6 * float(x.abs().max())
