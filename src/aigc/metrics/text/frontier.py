"""How far two sets of texts are apart: the divergence frontier of their features."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from aigc._checks import fail, fail_type, flag, integer, number
from aigc.metrics._reading import generator, pair, permutation
from aigc.metrics.features.contract import Features
from aigc.metrics.text._kmeans import kmeans

__all__ = ["DivergenceFrontier", "Frontier", "divergence_frontier", "mauve"]

_STEP = 1 / 32  # of the quadrature: halving it changes no digit that float64 has
_POINTS = 65  # of the curve that is kept for a picture


class Frontier(NamedTuple):
    """The divergence frontier of two discrete distributions.

    Attributes:
        area: Under the frontier; in (0, 1], 1 of equal distributions.
        integral: The frontier integral; in [0, 1], 0 of equal distributions.
        curve: Points of the frontier, float64 `(points, 2)`, from the first axis to the second.
    """

    area: float
    integral: float
    curve: Tensor


@dataclass(frozen=True, slots=True)
class DivergenceFrontier:
    """How far two sets of features are apart, as the area under their divergence frontier; higher is nearer.

    Attributes:
        area: Of the observed shares of the clusters; in (0, 1].
        smoothed: With half an example added to each cluster of each set (Krichevsky and Trofimov).
        integral: The frontier integral of the observed shares; in [0, 1], 0 where they are equal.
        baseline: `smoothed` of one half of the real set against the other, `part` examples each: what a perfect generator
            has at that size.
        at_part: `smoothed` of a half of the real set against as many generated examples, to be read beside it.
        part: Examples of each set in these two.
        clusters: That features were sorted into.
        part_clusters: In `baseline` and `at_part`.
        scaling: Of the divergences.
        seed: Of the clusters and the halves.
        extractor: Name of the extractor of the features.
        version: Its version.
        dim: Dimensions of the features.
        n_real: Examples of the real set.
        n_fake: Examples of the generated set.
        curve: Points of the frontier, float64 `(points, 2)`.

    Example:
        >>> x, y = torch.randn(2, 200, 4, generator=torch.Generator().manual_seed(0))
        >>> near, far = mauve(x, y), mauve(x, y + 3)
        >>> near.smoothed > 0.8, far.smoothed < 0.1, near.part
        (True, True, 100)
    """

    area: float
    smoothed: float
    integral: float
    baseline: float
    at_part: float
    part: int
    clusters: int
    part_clusters: int
    scaling: float
    seed: int
    extractor: str
    version: str
    dim: int
    n_real: int
    n_fake: int
    curve: Tensor = field(repr=False, compare=False)

    def __str__(self) -> str:
        halves = f"of {self.part:,} against {self.part:,}: {self.at_part:.4f}, and {self.baseline:.4f} of real against real"
        source = f"features: {self.extractor} {self.version}".rstrip()
        sets = f"{source}; {self.n_real:,} real, {self.n_fake:,} generated; {self.clusters:,} clusters"
        return f"Frontier area {self.area:.4f}, smoothed {self.smoothed:.4f}; smoothed {halves} ({sets})"


def divergence_frontier(p: Tensor, q: Tensor, *, scaling: float = 5.0) -> Frontier:
    r"""Measures the divergence frontier of two discrete distributions (Djolonga et al., arXiv:1905.10768).

    With $R_\lambda = \lambda P + (1 - \lambda) Q$ the frontier is the curve of
    $(e^{-c \mathrm{KL}(Q | R_\lambda)}, e^{-c \mathrm{KL}(P | R_\lambda)})$, joined to (0, 1) and (1, 0); its area is that
    of MAUVE (Pillutla et al., arXiv:2102.01454). 1 of equal distributions; of distributions without anything in common
    $c B(c + 1, c)$, 0.004 at c = 5. The area has no closed form else, and is integrated over the log-odds of $\lambda$ by a
    double exponential rule to about 12 digits, not by a few dozen points. The frontier integral (Liu et al.,
    arXiv:2106.07898) is in closed form:

    $$ 2 \int_0^1 \lambda \mathrm{KL}(P | R_\lambda) + (1 - \lambda) \mathrm{KL}(Q | R_\lambda) \, d\lambda
       = \sum_i \frac{p_i + q_i}{2} - \frac{p_i q_i}{p_i - q_i} \ln \frac{p_i}{q_i}. $$

    Both are symmetric.

    Args:
        p: Probabilities, or counts: at least 0, of a sum above 0.
        q: Of the same outcomes.
        scaling: c, above 0.

    Raises:
        ParameterError: If one has negative or infinite entries, or they are not of the same length.

    Example:
        >>> p = torch.tensor([0.5, 0.5])
        >>> found = divergence_frontier(p, p)
        >>> found.area, found.integral
        (1.0, 0.0)
        >>> apart = divergence_frontier(torch.tensor([1, 0]), torch.tensor([0, 1]))
        >>> round(apart.area, 9), apart.integral  # 5 B(6, 5) = 5 * 5! 4! / 10!
        (0.003968254, 1.0)
    """
    p, q = _distribution("p", p), _distribution("q", q)
    if len(p) != len(q):
        raise fail("q", f"of {len(p)} outcomes, as p is", len(q))
    c = _positive("scaling", scaling)
    if torch.equal(p, q):
        return Frontier(1.0, 0.0, torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]], dtype=torch.float64))
    # The corner at equal weights, what lies above it, and what lies right of it: each is as smooth as the other.
    x, y = _along(p, q, torch.zeros(1, dtype=torch.float64), c)
    area = min(1.0, float(x * y) + _above(p, q, c) + _above(q, p, c))
    a, b = _along(p, q, torch.linspace(-12, 12, _POINTS, dtype=torch.float64), c)
    ends = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    curve = torch.cat([ends[:1], torch.stack([a, b], 1).flip(0), ends[1:]])
    return Frontier(area, _integral(p, q), curve)


def mauve(
    real: Tensor | Features,
    fake: Tensor | Features,
    *,
    clusters: int | None = None,
    scaling: float = 5.0,
    restarts: int = 5,
    standardise: bool = True,
    seed: int = 0,
) -> DivergenceFrontier:
    """Measures how far two sets of texts are apart, by features of them: MAUVE's idea (Pillutla et al., arXiv:2102.01454).

    Both sets are sorted into clusters together, and the shares of the clusters compared by `divergence_frontier`. The
    clusters need not mean anything by themselves: they find what differs even where features are coarse (Pimentel et al.,
    arXiv:2205.12914). Published MAUVE takes GPT-2's features and principal components of them; a number of this function
    is comparable only with another one of the same features, sizes and clusters.

    The area is biased: small sets of the same law look different. So `smoothed` is less so, and `baseline` is what two
    halves of the real set have, beside `at_part` of a half and as many generated ones, at the same size and clusters.

    Args:
        real: Features of real texts, `(n, d)`, n at least 4.
        fake: Features of generated ones, `(m, d)`, m at least 2.
        clusters: At least 2, at most the smaller set; by default a tenth of the smaller set, from 2 to 500.
        scaling: Of the divergences, above 0; 5 as published.
        restarts: Of the k-means.
        standardise: Divides each feature by its deviation over both sets, so that no large one decides alone.
        seed: Of the clusters and the halves.

    Raises:
        ParameterError: If a set is too small, not finite, of other dimensions or of another extractor than the other.

    Example:
        >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> mauve(x, x).area
        1.0
    """
    rng, standardise = generator(seed), flag("standardise", standardise)
    x, y, facts = pair(real, fake, least=(4, 2), cure="Give features of more texts.")
    c, restarts = _positive("scaling", scaling), integer("restarts", restarts, low=1)
    part = min(len(x) // 2, len(y))
    count = _clusters("clusters", clusters, min(len(x), len(y)))
    few = min(count, _clusters("clusters", None, part)) if clusters is None else min(count, part)

    def measure(a: Tensor, b: Tensor, k: int) -> tuple[Frontier, float]:
        one, other = _shares(a, b, k, rng=rng, restarts=restarts, standardise=standardise)
        return divergence_frontier(one, other, scaling=c), divergence_frontier(one + 0.5, other + 0.5, scaling=c).area

    whole, smoothed = measure(x, y, count)
    halves = x[permutation(len(x), rng, x)]
    half, rest = halves[:part], halves[part : 2 * part]
    baseline = measure(half, rest, few)[1]
    at_part = measure(half, y[permutation(len(y), rng, y)][:part], few)[1]
    figures = (whole.area, smoothed, whole.integral, baseline, at_part)
    return DivergenceFrontier(*figures, part, count, few, c, seed, **facts, curve=whole.curve)


def _along(p: Tensor, q: Tensor, odds: Tensor, c: float) -> tuple[Tensor, Tensor]:
    """The curve at log-odds of lambda."""
    mixed = odds.sigmoid()[:, None] * p + (-odds).sigmoid()[:, None] * q
    return (-c * _relative(q, mixed)).exp(), (-c * _relative(p, mixed)).exp()


def _relative(one: Tensor, mixed: Tensor) -> Tensor:
    """KL of one law from each of several."""
    seen = one > 0
    found: Tensor = (one[seen] * (one[seen] / mixed[:, seen]).log()).sum(1)
    return found


def _above(p: Tensor, q: Tensor, c: float) -> float:
    """The integral of x dy over log-odds above 0, where it falls as their exponential: by a double exponential rule."""
    t = torch.arange(-4.5, 4.5, _STEP, dtype=torch.float64)
    odds = (t - (-t).exp()).exp()
    x, y = _along(p, q, odds, c)
    more, less = odds.sigmoid()[:, None], (-odds).sigmoid()[:, None]
    seen = p > 0
    rate = (p * (p - q) / (more * p + less * q))[:, seen].sum(1)  # minus the slope of KL(P | R) in lambda
    return float((c * x * y * rate * (more * less)[:, 0] * odds * (1 + (-t).exp())).sum()) * _STEP


def _integral(p: Tensor, q: Tensor) -> float:
    """The frontier integral, in closed form."""
    both = (p > 0) & (q > 0)
    a, b = p[both], q[both]
    ratio = (a - b) / b
    # a ln(a / b) / (a - b) * b, and its limit, a, where both are nearly equal
    near = ratio.abs() < 1e-6
    mean = torch.where(near, a * (1 - ratio / 2), a * ratio.log1p() / torch.where(near, 1.0, ratio))
    return max(0.0, float((p + q).sum() / 2 - mean.sum()))


def _shares(
    a: Tensor, b: Tensor, k: int, *, rng: torch.Generator, restarts: int, standardise: bool
) -> tuple[Tensor, Tensor]:
    """How many of each set are in each cluster, on the CPU."""
    both = torch.cat([a, b]).cpu()
    both = both - both.mean(0)
    if standardise:
        spread = both.square().mean(0).sqrt()
        both = both / torch.where(spread > 0, spread, 1.0)
    index = kmeans(both, k, rng=rng, restarts=restarts)
    one, other = (part.bincount(minlength=k).double() for part in (index[: len(a)], index[len(a) :]))
    return one, other


def _clusters(name: str, given: int | None, smaller: int) -> int:
    if given is None:
        return max(2, min(500, smaller // 10))
    return integer(name, given, low=2, high=smaller, cure="There must be no more than examples of the smaller set.")


def _positive(name: str, value: float) -> float:
    if number(name, value, low=0) <= 0:
        raise fail(name, "above 0", value)
    return float(value)


def _distribution(name: str, given: Tensor) -> Tensor:
    if not isinstance(given, Tensor) or given.ndim != 1:
        shown = tuple(given.shape) if isinstance(given, Tensor) else given
        raise fail_type(name, "a tensor of probabilities or counts (outcomes,)", shown)
    values = given.detach().cpu().double()
    if not bool(values.isfinite().all()) or bool((values < 0).any()) or not float(values.sum()) > 0:
        raise fail(name, "finite, at least 0, and of a sum above 0", values.tolist())
    return values / values.sum()
