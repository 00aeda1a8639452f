"""What metrics return: numbers together with the protocol that they were measured by, which `str` prints."""

import math
from dataclasses import dataclass, field

from torch import Tensor

__all__ = [
    "C2ST",
    "DensityCoverage",
    "FrechetDistance",
    "InceptionScore",
    "KernelDistance",
    "ModeCoverage",
    "PrecisionRecall",
]

INCEPTION = "inception"  # the published names FID, KID and Inception score are for this extractor alone


def _features(extractor: str, version: str) -> str:
    return f"features: {extractor} {version}".rstrip()


def _sets(result: "FrechetDistance | KernelDistance | PrecisionRecall | DensityCoverage | C2ST") -> str:
    counts = f"{result.n_real:,} real, {result.n_fake:,} generated"
    return f"{_features(result.extractor, result.version)}; {counts}"


@dataclass(frozen=True, slots=True)
class FrechetDistance:
    """The squared Frechet distance of two sets of features, taken as Gaussian.

    Attributes:
        value: `mean_term + covariance_term`; at least 0.
        mean_term: The squared distance of the means.
        covariance_term: What the covariances differ.
        extractor: Name of the extractor of the features.
        version: Its version.
        dim: Dimensions of the features.
        n_real: Examples of the real set.
        n_fake: Examples of the generated set.

    Example:
        >>> print(FrechetDistance(12.34, 2.0, 10.34, "pixels", "", 784, 10_000, 10_000))
        Frechet distance 12.34 (features: pixels; 10,000 real, 10,000 generated)
        >>> print(FrechetDistance(12.34, 2.0, 10.34, "inception", "2015-12-05", 2048, 50_000, 50_000))
        FID 12.34 (features: inception 2015-12-05; 50,000 real, 50,000 generated)
    """

    value: float
    mean_term: float
    covariance_term: float
    extractor: str
    version: str
    dim: int
    n_real: int
    n_fake: int

    def __str__(self) -> str:
        return f"{'FID' if self.extractor == INCEPTION else 'Frechet distance'} {self.value:.4g} ({_sets(self)})"


@dataclass(frozen=True, slots=True)
class KernelDistance:
    """The squared maximum mean discrepancy of two sets of features, unbiased.

    Attributes:
        value: Of all examples at once; may be negative.
        mean: Over the subsets, the published protocol; None if there were none.
        standard_error: Of that mean as an estimate of `value`: the deviation over the root of the number of subsets.
            How much other data would differ is not in it.
        deviation: Standard deviation over the subsets: what publications print after the plus-minus.
        subsets: How many; None if there were none.
        size: Examples of each set in a subset.
        seed: Of the subsets.
        extractor: Name of the extractor of the features.
        version: Its version.
        dim: Dimensions of the features.
        n_real: Examples of the real set.
        n_fake: Examples of the generated set.

    Example:
        >>> print(KernelDistance(0.012, 0.0121, 0.0001, 0.001, 100, 1000, 0, "pixels", "", 784, 5000, 5000))
        Kernel distance 0.012, 0.0121 +- 0.0001 over 100 subsets of 1,000 (features: pixels; 5,000 real, 5,000 generated)
    """

    value: float
    mean: float | None
    standard_error: float | None
    deviation: float | None
    subsets: int | None
    size: int | None
    seed: int
    extractor: str
    version: str
    dim: int
    n_real: int
    n_fake: int

    def __str__(self) -> str:
        name = "KID" if self.extractor == INCEPTION else "Kernel distance"
        over = ""
        if self.subsets is not None:
            over = f", {self.mean:.4g} +- {self.standard_error:.1g} over {self.subsets} subsets of {self.size:,}"
        return f"{name} {self.value:.4g}{over} ({_sets(self)})"


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """How much of what is generated lies among the real, and how much of the real among what is generated.

    Attributes:
        precision: In [0, 1].
        recall: In [0, 1].
        k: Which neighbour's distance is a radius.
        extractor: Name of the extractor of the features.
        version: Its version.
        dim: Dimensions of the features.
        n_real: Examples of the real set.
        n_fake: Examples of the generated set.

    Example:
        >>> print(PrecisionRecall(0.9, 0.5, 3, "pixels", "", 784, 5000, 5000))
        Precision 0.9000, recall 0.5000 (k = 3; features: pixels; 5,000 real, 5,000 generated)
    """

    precision: float
    recall: float
    k: int
    extractor: str
    version: str
    dim: int
    n_real: int
    n_fake: int

    def __str__(self) -> str:
        return f"Precision {self.precision:.4f}, recall {self.recall:.4f} (k = {self.k}; {_sets(self)})"


@dataclass(frozen=True, slots=True)
class DensityCoverage:
    """How densely the real lies where is generated, and how much of the real is met.

    Attributes:
        density: At least 0; 1 in expectation if both sets have the same law.
        coverage: In [0, 1]; `expected_coverage` in expectation if both sets have the same law.
        k: Which neighbour's distance is a radius.
        extractor: Name of the extractor of the features.
        version: Its version.
        dim: Dimensions of the features.
        n_real: Examples of the real set.
        n_fake: Examples of the generated set.

    Example:
        >>> print(DensityCoverage(1.02, 0.96, 5, "pixels", "", 784, 200, 200))
        Density 1.0200, coverage 0.9600, 0.9699 of equal laws (k = 5; features: pixels; 200 real, 200 generated)
    """

    density: float
    coverage: float
    k: int
    extractor: str
    version: str
    dim: int
    n_real: int
    n_fake: int

    @property
    def expected_coverage(self) -> float:
        r"""What a perfect generator reaches on average: $1 - \prod_{i=1}^{k} \frac{N - i}{N + M - i}$, whatever the law.

        N examples are real and M generated. Coverage above it says that real examples were copied, or luck.
        """
        n, m = self.n_real, self.n_fake
        return 1 - math.prod((n - i) / (n + m - i) for i in range(1, self.k + 1))

    def __str__(self) -> str:
        covered = f"coverage {self.coverage:.4f}, {self.expected_coverage:.4f} of equal laws"
        return f"Density {self.density:.4f}, {covered} (k = {self.k}; {_sets(self)})"


@dataclass(frozen=True, slots=True)
class InceptionScore:
    """How sure a classifier is of each example, and how varied it finds them.

    Attributes:
        value: In [1, classes]; the mean over the splits.
        deviation: Over the splits; None of one.
        splits: How many; None if all examples were taken together.
        classes: Of the classifier.
        extractor: Name of the classifier.
        version: Its version.
        n_fake: Generated examples.

    Example:
        >>> print(InceptionScore(9.7, None, None, 10, "classifier", "1f00d5aa", 5000))
        Classifier score 9.7 of at most 10 (features: classifier 1f00d5aa; 5,000 generated)
    """

    value: float
    deviation: float | None
    splits: int | None
    classes: int
    extractor: str
    version: str
    n_fake: int

    def __str__(self) -> str:
        name = "Inception score" if self.extractor == INCEPTION else "Classifier score"
        over = "" if self.splits is None else f" +- {self.deviation:.2g} over {self.splits} splits"
        made = f"{_features(self.extractor, self.version)}; {self.n_fake:,} generated"
        return f"{name} {self.value:.4g}{over} of at most {self.classes} ({made})"


@dataclass(frozen=True, slots=True)
class ModeCoverage:
    """How many modes of a law are generated, and how evenly.

    Attributes:
        modes: Modes that are captured.
        total: Modes that there are.
        divergence: KL of the shares of what is generated from those of the reference, in nats; infinite if something is
            generated that the reference has not.
        high_quality: Share of samples near the centre of a mode; None where labels were counted.
        n_fake: Generated examples.
        counts: Samples of each mode, int64 `(total,)`.

    Example:
        >>> import torch
        >>> print(ModeCoverage(25, 25, 0.0051, 0.989, 2500, torch.full((25,), 100)))
        25 of 25 modes, KL 0.0051 nats (0.0048 of a perfect sampler), high quality 98.9% (2,500 generated)
    """

    modes: int
    total: int
    divergence: float
    high_quality: float | None
    n_fake: int
    counts: Tensor = field(repr=False, compare=False)

    @property
    def expected_divergence(self) -> float:
        r"""About what a perfect sampler has, $(K - 1) / 2n$: no finite set has shares exactly as the law."""
        return (self.total - 1) / (2 * self.n_fake)

    def __str__(self) -> str:
        quality = "" if self.high_quality is None else f", high quality {100 * self.high_quality:.1f}%"
        divergence = f"KL {self.divergence:.4f} nats ({self.expected_divergence:.4f} of a perfect sampler)"
        return f"{self.modes:,} of {self.total:,} modes, {divergence}{quality} ({self.n_fake:,} generated)"


@dataclass(frozen=True, slots=True)
class C2ST:
    """How well a classifier tells two sets apart on examples that it was not trained on.

    Attributes:
        accuracy: Share of held-out examples that are told right; 1/2 in expectation if both sets have the same law.
        standard_error: Of the accuracy under equal laws, as permutations of the labels show it.
        z: How many standard errors the accuracy is above 1/2.
        p_value: The probability of an accuracy at least as high under equal laws, by the normal approximation.
        classifier: Which classifier.
        folds: Of the cross-validation.
        permutations: That the standard error is of.
        seed: Of the folds and the permutations.
        extractor: Name of the extractor of the features.
        version: Its version.
        dim: Dimensions of the features.
        n_real: Examples of the real set that were used, as many as of the other.
        n_fake: Examples of the generated set that were used.

    Example:
        >>> print(C2ST(0.55, 0.01, 5.0, 2.9e-7, "neighbours", 5, 200, 0, "pixels", "", 784, 1250, 1250))
        C2ST accuracy 0.5500, z 5.0, p 2.9e-07 (neighbours, 5 folds; features: pixels; 1,250 real, 1,250 generated)
    """

    accuracy: float
    standard_error: float
    z: float
    p_value: float
    classifier: str
    folds: int
    permutations: int
    seed: int
    extractor: str
    version: str
    dim: int
    n_real: int
    n_fake: int

    @property
    def total_variation(self) -> float:
        """The least total variation distance of two laws that a true accuracy of this height proves, 2 accuracy - 1."""
        return max(0.0, 2 * self.accuracy - 1)

    def __str__(self) -> str:
        found = f"C2ST accuracy {self.accuracy:.4f}, z {self.z:.1f}, p {self.p_value:.2g}"
        return f"{found} ({self.classifier}, {self.folds} folds; {_sets(self)})"
