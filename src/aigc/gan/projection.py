"""Finding the latents of data: so that a person can change their own picture."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from aigc import random
from aigc._checks import fail, integer, number
from aigc._models.data import check_alike, check_given
from aigc.gan.drawing import generate, has_styles, latents, styles
from aigc.gan.playing import call

if TYPE_CHECKING:
    from aigc.gan.model import GAN

__all__ = ["Projection", "project"]

_PRIOR = 1e-3  # how much latents are drawn to where they are likely
_SMALLEST = 4  # pixels of a side that are not averaged any more


class Projection(NamedTuple):
    """The latents of data, as `project` found them.

    Attributes:
        latents: `(n, latent)`, or styles `(n, styles)`.
        data: What they become, `(n, *data)`.
        error: The root mean squared difference from the data, `(n,)`.
        space: `"z"` or `"w"`: for `GAN.generate` and `GAN.interpolate`.

    Example:
        >>> Projection(torch.zeros(1, 4), torch.zeros(1, 2), torch.tensor([0.5]), "z").error
        tensor([0.5000])
    """

    latents: Tensor
    data: Tensor
    error: Tensor
    space: str


def project(
    gan: "GAN",
    x: Tensor,
    *,
    steps: int = 200,
    lr: float = 0.05,
    starts: int = 256,
    seed: int = 0,
    condition: Tensor | None = None,
    features: Callable[[Tensor], Tensor] | None = None,
    space: str | None = None,
) -> Projection:
    """Finds latents whose data are near given ones: `gan.project(x)` (Abdal et al., arXiv:1904.03189).

    Each begins at the nearest of some samples and descends the squared difference, of images also at coarser scales. What
    is found for one owes nothing to the others. The nearest on the way is returned. No generator can write everything: look
    at `error`, and at the data that came out.

    Args:
        gan: The model.
        x: Data, `(n, *data)`, in any float type.
        steps: Of Adam.
        lr: Its learning rate, which falls to 0.
        starts: Samples among which each begins.
        seed: Of these samples.
        condition: What the generator is told, one for each.
        features: What else shall be near, such as those of a perceptual net: from data to `(n, features)`.
        space: `"z"`, or `"w"` for styles, the default where there are any.

    Raises:
        ParameterError: If data are of another shape, not finite, or of images not in [0, 1].

    Example:
        >>> from aigc import GAN, nets
        >>> gan = GAN(nets.MLPGenerator(2, (3,), hidden=(8,)), nets.MLPDiscriminator((3,), hidden=(8,)), latent=2)
        >>> x = gan.sample(1, seed=0)
        >>> bool(gan.project(x).error < 0.05)
        True
    """
    steps, starts = integer("steps", steps, low=1), integer("starts", starts, low=1)
    lr = number("lr", lr, low=0)
    if space not in (None, "z", "w"):
        raise fail("space", "'z' or 'w'", space)
    space = space or ("w" if has_styles(gan.average) else "z")
    check_given(gan, "x", x)
    own = next(gan.parameters())
    target, condition = gan.inward(x.to(own.device, own.dtype)), gan.told(condition, len(x))
    net: Any = gan.average
    write: Any = (lambda w, told: net.synthesis(w)) if space == "w" else (lambda z, told: call(net, z, told))
    first = _nearest(gan, target, _starts(gan, starts, seed), condition, space)
    found = _descend(first, target, steps, lr, lambda code: write(code, condition), features, space == "z")
    with torch.no_grad():
        data = gan.outward(generate(net, found, condition, space=space))
    error = (data - x.to(data)).flatten(1).square().mean(1).sqrt()
    return Projection(found, data, error, space)


def _descend(first: Tensor, target: Tensor, steps: int, lr: float, write: Any, features: Any, prior: bool) -> Tensor:
    """The best latents on the way down, each for itself; in float32 at least, as half of it is too coarse."""
    kind = torch.promote_types(first.dtype, torch.float32)
    code = first.to(kind, copy=True).requires_grad_()
    adam = torch.optim.Adam([code], lr=lr)
    best, least = code.detach().clone(), torch.full((len(first),), float("inf"), dtype=kind, device=first.device)
    wanted = None if features is None else features(target).detach()
    with torch.enable_grad():
        for step in range(steps + 1):
            out = write(code.to(first.dtype))
            loss = _difference(out.to(kind), target.to(kind))
            if wanted is not None:
                loss = loss + (features(out) - wanted).to(kind).square().flatten(1).mean(1)
            with torch.no_grad():
                better = loss < least
                best[better], least[better] = code[better], loss[better]
            if step == steps:
                return best.to(first.dtype)
            total = loss + (_PRIOR * code.square().mean(1) if prior else 0)
            (code.grad,) = torch.autograd.grad(total.sum(), [code])
            adam.param_groups[0]["lr"] = lr * (1 - step / steps)
            adam.step()
    return best


def _difference(out: Tensor, target: Tensor) -> Tensor:
    """The mean squared difference of each, at all scales, `(n,)`."""
    total = (out - target).flatten(1).square().mean(1)
    pool = {3: F.avg_pool1d, 4: F.avg_pool2d}.get(out.ndim)
    while pool is not None and min(out.shape[2:]) >= 2 * _SMALLEST:
        out, target = pool(out, 2), pool(target, 2)
        total = total + (out - target).flatten(1).square().mean(1)
    return total


def _starts(gan: "GAN", starts: int, seed: int) -> Tensor:
    z = latents(gan.latent, random.streams(seed, starts), None)
    own = next(gan.parameters())
    return z.to(own.device, own.dtype)


@torch.no_grad()
def _nearest(gan: "GAN", target: Tensor, z: Tensor, condition: Tensor | None, space: str) -> Tensor:
    """For each of the data, the sample that is nearest."""
    found = []
    for i, one in enumerate(target):
        told = None if condition is None else condition[i : i + 1].expand(len(z), *condition.shape[1:])
        code = z if space == "z" else styles(gan, z, told)
        out = generate(gan.average, code, told, space=space)
        check_alike("x", target, out)
        found.append(code[_difference(out, one.expand_as(out)).argmin()])
    return torch.stack(found)
