r"""Fewer places and more places: bilinear, by repetition, by averages; for any sides, along one axis or two.

Bilinear resampling by a factor f has the kernel $(1, \dots, f, \dots, 1) / f^2$ along each axis, [1, 2, 1] / 4 for halves.
Beyond its border a signal has its last value, so that a constant stays one. All of it is additions of slices: a depthwise
convolution of the same kernel takes as long forward and up to twice as long in a double backward on a CPU, and
`interpolate` longer; and an element's sum has the same order in any batch.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from aigc.nets._shapes import Scale

__all__ = ["average", "coarser", "finer", "repeat"]


def finer(x: Tensor, step: Scale) -> Tensor:
    """More places, by linear interpolation along each axis.

    Example:
        >>> finer(torch.tensor([[[0.0, 4.0]]]), Scale((4,), (2,), (2,)))
        tensor([[[0., 2., 4., 4.]]])
    """
    for axis, (side, by) in enumerate(zip(step.fine, step.factors, strict=True), start=2):
        if by > 1:
            after = torch.cat([x.narrow(axis, 1, x.shape[axis] - 1), x.narrow(axis, -1, 1)], axis)
            parts = [x, *(torch.lerp(x, after, part / by) for part in range(1, by))]
            x = torch.stack(parts, axis + 1).flatten(axis, axis + 1).narrow(axis, 0, side)
    return x


def coarser(x: Tensor, step: Scale) -> Tensor:
    """Fewer places, by weighted means of the places about every second, or every f-th.

    Example:
        >>> coarser(torch.tensor([[[0.0, 4.0, 0.0, 4.0]]]), Scale((4,), (2,), (2,)))
        tensor([[[1., 2.]]])
    """
    for axis, by in enumerate(step.factors, start=2):
        if by > 1:
            x = _thin(x, axis, by)
    return x


def _thin(x: Tensor, axis: int, by: int) -> Tensor:
    first, missing = x.narrow(axis, 0, 1), -x.shape[axis] % by
    if missing:
        x = torch.cat([x, *([x.narrow(axis, -1, 1)] * missing)], axis)
    cells = x.reshape(*x.shape[:axis], -1, by, *x.shape[axis + 1 :]).unbind(axis + 1)
    here = cells[0] * (1 / by)
    before = torch.zeros_like(here)
    for part in range(1, by):
        here = here + cells[part] * ((by - part) / by**2)
        before = before + cells[part] * (part / by**2)
    border = first * ((by - 1) / (2 * by))  # the sum of part / by^2
    return here + torch.cat([border, before.narrow(axis, 0, before.shape[axis] - 1)], axis)


def repeat(x: Tensor, step: Scale) -> Tensor:
    """More places, each with the value of the place it came from.

    Example:
        >>> repeat(torch.tensor([[[0.0, 4.0]]]), Scale((4,), (2,), (2,)))
        tensor([[[0., 0., 4., 4.]]])
    """
    for axis, (side, by) in enumerate(zip(step.fine, step.factors, strict=True), start=2):
        if by > 1:
            x = torch.stack([x] * by, axis + 1).flatten(axis, axis + 1).narrow(axis, 0, side)
    return x


def average(x: Tensor, step: Scale) -> Tensor:
    """Fewer places, by means of those that go together: fewer of them at an end that does not divide.

    Example:
        >>> average(torch.tensor([[[0.0, 4.0, 1.0]]]), Scale((3,), (2,), (2,)))
        tensor([[[2., 1.]]])
    """
    pool = F.avg_pool1d if len(step.factors) == 1 else F.avg_pool2d
    found: Tensor = pool(x, step.factors, stride=step.factors, ceil_mode=True)
    return found
