"""Centres to begin with: k-means++ and Lloyd's steps, all of it keyed by a generator."""

import torch
from torch import Tensor

__all__ = ["assigned", "centres", "nearest"]


def centres(x: Tensor, count: int, *, rng: torch.Generator, steps: int) -> Tensor:
    """Finds centres of points: k-means++ (Arthur & Vassilvitskii, 2007), then Lloyd's steps.

    Args:
        x: `(points, features)`, on the CPU.
        count: How many centres; where there are fewer different points, some are the same.
        rng: Of the choice.
        steps: Of Lloyd.

    Returns:
        `(count, features)`.
    """
    found = _spread(x, count, rng)
    for _ in range(steps):
        sums, sizes = assigned(x, nearest(x, found), count)
        found = torch.where(sizes[:, None] > 0, sums / sizes[:, None].clamp(min=1), found)
    return found


def assigned(x: Tensor, index: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Sums `(count, features)` and numbers `(count,)` of the points of each centre."""
    sums = x.new_zeros(count, x.shape[1]).index_add_(0, index, x)
    return sums, torch.bincount(index, minlength=count).to(x.dtype)


def nearest(x: Tensor, codes: Tensor) -> Tensor:
    """The nearest code of each point, the first of those that tie; int64 `(points,)`.

    Whatever precision a caller computes in, this is float32 or better.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, codes = (v if v.dtype == torch.float64 else v.float() for v in (x.detach(), codes))
        return (codes.square().sum(-1) / 2 - x @ codes.T).argmin(-1)


def _spread(x: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Points far from each other: each is drawn by its squared distance to the nearest one drawn before."""
    chosen = [int(torch.randint(len(x), (), generator=rng))]
    distance = (x - x[chosen[0]]).square().sum(-1)
    while len(chosen) < count:
        weights = distance if float(distance.sum()) > 0 else torch.ones_like(distance)
        edges = weights.double().cumsum(0)
        drawn = torch.rand((), generator=rng, dtype=torch.float64) * edges[-1]
        chosen.append(min(int(torch.searchsorted(edges, drawn, right=True)), len(x) - 1))
        distance = torch.minimum(distance, (x - x[chosen[-1]]).square().sum(-1))
    return x[chosen]
