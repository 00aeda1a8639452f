"""Squared distances of many points, in blocks, by one product of matrices each."""

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["inside", "radii", "squared"]


def squared(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances, `(len(x), len(y))`; exact up to rounding of the squared norms."""
    found = torch.addmm(y.square().sum(1)[None], x, y.mT, alpha=-2).add_(x.square().sum(1)[:, None])
    return found.clamp_(min=0)


def radii(x: Tensor, k: int, *, block: int) -> Tensor:
    """The squared distance of each point from its k-th nearest neighbour, itself not counted."""
    found = []
    for first in range(0, len(x), block):
        distances = squared(x[first : first + block], x)
        own = torch.arange(len(distances), device=x.device)
        distances[own, first + own] = torch.inf
        found.append(distances.topk(k, dim=1, largest=False).values[:, -1])
    return torch.cat(found)


def inside(points: Tensor, centres: Tensor, radius: Tensor, *, block: int) -> Iterator[Tensor]:
    """Which points lie strictly within which balls: bool, `(some points, balls)`, block by block.

    Features of images often are at the very distance of a radius, as where a set is compared with itself. What is equal to
    the radius as far as the rounding of the product lets one see is not within it, as in exact arithmetic.
    """
    about = centres.square().sum(1) + radius
    rounding = 4 * (points.shape[1] + 8) * torch.finfo(points.dtype).eps
    for rows in torch.split(points, block):
        slack = rounding * (rows.square().sum(1)[:, None] + about)
        yield squared(rows, centres) < radius - slack
