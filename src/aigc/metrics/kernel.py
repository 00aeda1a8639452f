"""The kernel distance of two sets of features."""

import math

import torch
from torch import Tensor

from aigc._checks import integer
from aigc.metrics._reading import generator, pair, permutation
from aigc.metrics.features.contract import Features
from aigc.metrics.results import KernelDistance

__all__ = ["kid"]


def kid(
    real: Tensor | Features,
    fake: Tensor | Features,
    *,
    subsets: int | None = 100,
    size: int = 1000,
    seed: int = 0,
    block: int = 1024,
) -> KernelDistance:
    r"""Measures how far two sets of features are apart by a kernel, without bias (Binkowski et al., arXiv:1801.01401).

    $$ \frac{\sum_{i \ne j} k(x_i, x_j)}{n (n-1)} + \frac{\sum_{i \ne j} k(y_i, y_j)}{m (m-1)}
       - \frac{2}{nm} \sum_{i,j} k(x_i, y_j), \qquad k(x, y) = \Big(\frac{x \cdot y}{d} + 1\Big)^3, $$

    the squared maximum mean discrepancy, which sees differences in moments up to the third. Its expectation is 0 if both
    sets have the same law, at any n, so that it may be negative. Symmetric. Better where smaller.

    Args:
        real: Features of the real set, `(n, d)`.
        fake: Features of the generated set, `(m, d)`.
        subsets: How many pairs of subsets the published protocol takes the mean over; None is none.
        size: Examples of each set in a subset, at least 2.
        seed: Of the subsets.
        block: Rows of kernel values at once; memory grows with this times n.

    Returns:
        The estimate from all examples (which varies least), mean and deviation over the subsets, and what they were
        measured by. It is called KID only if the features are of the published InceptionV3.

    Raises:
        ParameterError: If a set is smaller than a subset, not finite, or of another extractor than the other.

    Example:
        >>> x, y = torch.randn(2, 400, 8, generator=torch.Generator().manual_seed(0))
        >>> found = kid(x, y, subsets=50, size=100)
        >>> abs(found.value) < 0.05, kid(x, y + 1, subsets=None).value > 1
        (True, True)
    """
    least, block = 2, integer("block", block, low=1)
    if subsets is not None:
        subsets, least = integer("subsets", subsets, low=2, cure="None is off."), integer("size", size, low=2)
    x, y, facts = pair(real, fake, least=(least, least), cure="Give more, or a smaller size.")
    rng, value = generator(seed), _discrepancy(x, y, block)
    if subsets is None:
        return KernelDistance(value, None, None, None, None, None, seed, **facts)
    each = []
    for _ in range(subsets):
        a, b = (z[permutation(len(z), rng, z)[:size]] for z in (x, y))
        each.append(_discrepancy(a, b, block))
    over = torch.tensor(each, dtype=torch.float64)
    deviation = float(over.std())
    return KernelDistance(
        value, float(over.mean()), deviation / math.sqrt(subsets), deviation, subsets, size, seed, **facts
    )


def _discrepancy(x: Tensor, y: Tensor, block: int) -> float:
    cross = _sum(x, y, block) / (len(x) * len(y))
    return _within(x, block) + _within(y, block) - 2 * cross


def _within(x: Tensor, block: int) -> float:
    """The mean of the kernel over pairs of different examples: each pair once."""
    total = 0.0
    for first in range(0, len(x), block):
        rows = x[first : first + block]
        total += 2 * _sum(rows, x[first + block :], block)
        total += _sum(rows, rows, block) - float(_cubed(rows.square().sum(1), x.shape[1]).sum())
    return total / (len(x) * (len(x) - 1))


def _sum(x: Tensor, y: Tensor, block: int) -> float:
    return math.fsum(float(_cubed(rows @ y.mT, x.shape[1]).sum()) for rows in torch.split(x, block))


def _cubed(products: Tensor, d: int) -> Tensor:
    return (products / d + 1).pow(3)
