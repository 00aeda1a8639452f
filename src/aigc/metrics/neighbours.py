"""Fidelity and diversity apart: precision, recall, density and coverage, from balls about each example."""

import torch
from torch import Tensor

from aigc._checks import integer
from aigc.metrics._distances import inside, radii
from aigc.metrics._reading import Pair, pair
from aigc.metrics.features.contract import Features
from aigc.metrics.results import DensityCoverage, PrecisionRecall

__all__ = ["density_coverage", "precision_recall"]


def precision_recall(real: Tensor | Features, fake: Tensor | Features, *, k: int = 3, block: int = 1024) -> PrecisionRecall:
    r"""Measures which share of what is generated is real, and which share of the real is generated (Kynkaanniemi et al.,
    arXiv:1904.06991).

    Each set becomes the union of balls about its examples, each of the radius of the k-th nearest neighbour in the same
    set; precision is the share of generated examples that lie in the union of the real, recall the share of real ones in
    the union of the generated. Strictly within, and an example is not its own neighbour, as in the reference implementation
    `prdc` of Naeem et al. Swapping the sets swaps the two. One outlier has a large ball, which either set may profit from;
    `density_coverage` hardly notices it.

    Args:
        real: Features of the real set, `(n, d)`, n above k.
        fake: Features of the generated set.
        k: At least 1.
        block: Rows of distances at once; memory grows with this times n. The result does not depend on it.

    Raises:
        ParameterError: If a set has too few examples for k, is not finite, or of another extractor than the other.

    Example:
        >>> x, y = torch.randn(2, 300, 2, generator=torch.Generator().manual_seed(0))
        >>> found = precision_recall(x, 0.3 * y)  # all of it real, and not all of the real
        >>> found.precision > 0.9, found.recall < 0.6
        (True, True)
    """  # noqa: D205
    x, y, facts = _read(real, fake, k, both=True)
    block = integer("block", block, low=1)
    precision = torch.cat([within.any(1) for within in inside(y, x, radii(x, k, block=block), block=block)])
    recall = torch.cat([within.any(1) for within in inside(x, y, radii(y, k, block=block), block=block)])
    return PrecisionRecall(_share(precision), _share(recall), k, **facts)


def density_coverage(real: Tensor | Features, fake: Tensor | Features, *, k: int = 5, block: int = 1024) -> DensityCoverage:
    r"""Measures how densely the real lies where is generated, and how much of the real is met (Naeem et al.,
    arXiv:2002.09797).

    $$ \text{density} = \frac{1}{kM} \sum_{j=1}^M \sum_{i=1}^N 1\big[|y_j - x_i| < r_k(x_i)\big], \qquad
       \text{coverage} = \frac1N \sum_{i=1}^N 1\big[\exists j: |y_j - x_i| < r_k(x_i)\big], $$

    $r_k(x_i)$ being the distance of a real example from its k-th nearest real neighbour. Not symmetric. If both sets have
    the same continuous law, density is 1 in expectation and coverage `expected_coverage`, whatever the law.

    Args:
        real: Features of the real set, `(N, d)`, N above k.
        fake: Features of the generated set, `(M, d)`.
        k: At least 1.
        block: Rows of distances at once; memory grows with this times N. The result does not depend on it.

    Raises:
        ParameterError: If a set has too few examples for k, is not finite, or of another extractor than the other.

    Example:
        >>> x, y = torch.randn(2, 300, 2, generator=torch.Generator().manual_seed(0))
        >>> found = density_coverage(x, 0.3 * y)  # all of it real, and not all of the real
        >>> abs(found.density - 1) < 0.2, found.coverage < 0.6 < found.expected_coverage
        (True, True)
    """  # noqa: D205
    x, y, facts = _read(real, fake, k, both=False)
    block = integer("block", block, low=1)
    met = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    count = 0
    for within in inside(y, x, radii(x, k, block=block), block=block):
        count += int(within.sum())
        met |= within.any(0)
    return DensityCoverage(count / (k * len(y)), _share(met), k, **facts)


def _read(real: Tensor | Features, fake: Tensor | Features, k: int, *, both: bool) -> Pair:
    """Both sets, moved so that the real mean is 0: distances stay, and their rounding becomes small."""
    needed = integer("k", k, low=1) + 1
    cure = f"A {k}-th neighbour needs {needed} examples: give more, or a smaller k."
    x, y, facts = pair(real, fake, least=(needed, needed if both else 1), cure=cure)
    mean = x.mean(0)
    return Pair(x - mean, y - mean, facts)


def _share(which: Tensor) -> float:
    return int(which.sum()) / len(which)
