"""Ways between codes: straight lines, great circles, closed walks."""

import torch
from torch import Tensor

from aigc import random
from aigc._checks import fail, integer

__all__ = ["between", "lerp", "slerp", "walk"]


def lerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """The points of the straight line from a to b.

    Args:
        a: `(*batch, features)`.
        b: Likewise.
        share: How far, in [0, 1], `(points,)`.

    Returns:
        `(points, *batch, features)`; the ends are a and b themselves.

    Example:
        >>> lerp(torch.zeros(2), torch.ones(2), torch.tensor([0.0, 0.25, 1.0]))[:, 0]
        tensor([0.0000, 0.2500, 1.0000])
    """
    return torch.lerp(a, b, share.to(a).view(-1, *(1 for _ in a.shape)))


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    r"""The points of the great circle from a to b (Shoemake, 1985), with lengths that go evenly from one to the other.

    $$ \frac{\sin((1 - s) \omega)}{\sin \omega} \hat a + \frac{\sin(s \omega)}{\sin \omega} \hat b $$

    In many dimensions normal codes lie near a sphere, and the middle of a straight line is far inside it. Where a and b
    point the same way or opposite ways there is no circle, and the line is taken.

    Args:
        a: `(*batch, features)`.
        b: Likewise.
        share: As for `lerp`.

    Example:
        >>> slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.5]))
        tensor([[0.7071, 0.7071]])
    """
    long, short = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    one, two = a / long.clamp(min=1e-12), b / short.clamp(min=1e-12)
    omega = (one * two).sum(-1, keepdim=True).clamp(-1, 1).acos()
    s = share.to(a).view(-1, *(1 for _ in a.shape))
    sine = omega.sin()
    curved = (((1 - s) * omega).sin() * one + (s * omega).sin() * two) / sine.clamp(min=1e-12)
    curved = curved * torch.lerp(long, short, s)
    straight = (sine < 1e-4) | (long == 0) | (short == 0)
    return torch.where(straight, lerp(a, b, share), curved)


def between(a: Tensor, b: Tensor, *, steps: int, spherical: bool) -> Tensor:
    """The codes of an interpolation, ends included.

    Args:
        a: `(*batch, features)`.
        b: Likewise.
        steps: Points, at least 2.
        spherical: Along a great circle instead of a line.

    Returns:
        `(steps, *batch, features)`.

    Example:
        >>> between(torch.zeros(1), torch.ones(1), steps=3, spherical=False).flatten()
        tensor([0.0000, 0.5000, 1.0000])
    """
    if a.shape != b.shape:
        raise fail("b", f"of the shape of a, {tuple(a.shape)}", tuple(b.shape))
    share = torch.linspace(0, 1, integer("steps", steps, low=2))
    return (slerp if spherical else lerp)(a, b, share)


def walk(latent: int, *, frames: int, stops: int, seed: int) -> Tensor:
    """A closed walk through normal codes along great circles: as an animation it has no seam.

    Args:
        latent: Features of a code.
        frames: Points of the walk, at least as many as stops.
        stops: Codes that it passes, at least 2.
        seed: Of these codes.

    Returns:
        `(frames, latent)`.

    Example:
        >>> walk(3, frames=12, stops=4, seed=0).shape
        torch.Size([12, 3])
    """
    stops = integer("stops", stops, low=2)
    frames = integer("frames", frames, low=stops)
    codes = random.normal(random.stream(seed, 0), torch.arange(stops)[:, None] * latent + torch.arange(latent)).float()
    edges = [frames * i // stops for i in range(stops + 1)]
    parts = []
    for i in range(stops):
        count = edges[i + 1] - edges[i]
        parts.append(slerp(codes[i], codes[(i + 1) % stops], torch.arange(count) / count))
    return torch.cat(parts)
