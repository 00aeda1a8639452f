"""Clusters of points by k-means, keyed by a generator, in float64."""

import torch
from torch import Tensor

from aigc.metrics._distances import squared

__all__ = ["kmeans"]

_STEPS = 100
_BLOCK = 4096


def kmeans(x: Tensor, count: int, *, rng: torch.Generator, restarts: int = 5) -> Tensor:
    """Finds which of `count` clusters each point is in: k-means++ (Arthur and Vassilvitskii, 2007), then Lloyd's steps.

    Args:
        x: float64 `(points, features)`.
        count: Clusters, at most as many as points; where fewer points differ, some stay empty.
        rng: Of the first centres.
        restarts: How often it is begun anew; the one of the least squared distances is kept, the first of equal ones.

    Returns:
        int64 `(points,)`.
    """
    best, least = torch.empty(0, dtype=torch.int64), torch.inf
    for _ in range(restarts):
        centres = _spread(x, count, rng)
        index, cost = _nearest(x, centres)
        for _ in range(_STEPS):
            sizes = index.bincount(minlength=count)
            sums = torch.zeros_like(centres).index_add_(0, index, x)
            centres = torch.where(sizes[:, None] > 0, sums / sizes[:, None].clamp(min=1), centres)
            before = index
            index, cost = _nearest(x, centres)
            if torch.equal(index, before):
                break
        if cost < least:
            best, least = index, cost
    return best


def _nearest(x: Tensor, centres: Tensor) -> tuple[Tensor, float]:
    """The nearest centre of each point, the first of those that tie, and the sum of squared distances."""
    found = [squared(rows, centres).min(1) for rows in torch.split(x, _BLOCK)]
    return torch.cat([each.indices for each in found]), float(sum(float(each.values.sum()) for each in found))


def _spread(x: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Points far from each other: each is drawn by its squared distance to the nearest one drawn before."""
    chosen = [int(torch.randint(len(x), (), generator=rng))]
    distance = (x - x[chosen[0]]).square().sum(-1)
    while len(chosen) < count:
        weights = distance if float(distance.sum()) > 0 else torch.ones_like(distance)
        edges = weights.cumsum(0)
        drawn = float(torch.rand((), generator=rng, dtype=torch.float64) * edges[-1])
        chosen.append(min(int(torch.searchsorted(edges, drawn, right=True)), len(x) - 1))
        distance = torch.minimum(distance, (x - x[chosen[-1]]).square().sum(-1))
    return x[chosen]
