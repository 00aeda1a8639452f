"""From seeds to latents, and from latents to data."""

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aigc import nets, random
from aigc._checks import fail, fail_type, number
from aigc.gan.playing import call

if TYPE_CHECKING:
    from aigc.gan.model import GAN

__all__ = ["check_latents", "copied", "end", "generate", "has_styles", "latents", "styles"]


def copied(generator: nn.Module) -> nn.Module:
    """A generator of the same weights, which is not trained."""
    return copy.deepcopy(generator).eval().requires_grad_(False)


def has_styles(generator: nn.Module) -> bool:
    """Whether a generator maps latents to styles first."""
    return callable(getattr(generator, "mapping", None)) and callable(getattr(generator, "synthesis", None))


def latents(size: int, seeds: Tensor, truncation: float | None) -> Tensor:
    r"""Latents of seeds, `(n, size)`, each a function of its own seed.

    With truncation t they are $\Phi^{-1}$ of uniforms between $\Phi(-2t)$ and $\Phi(2t)$: normal numbers within 2t.
    """
    place = torch.arange(size)
    if truncation is None:
        return random.normal(seeds[:, None], place).float()
    _check_truncation(truncation)
    low = math.erfc(2 * truncation / math.sqrt(2)) / 2
    inner: Tensor = torch.special.ndtri(low + random.uniform(seeds[:, None], 0, place) * (1 - 2 * low))
    return inner.float()


def styles(gan: "GAN", z: Tensor, condition: Tensor | None) -> Tensor:
    """Styles of latents."""
    if not has_styles(gan.average):
        raise fail("space", "'z': this generator has no styles", "w", 'Build the model with kind="style".')
    mapped: Tensor = call(gan.average.mapping, z, condition)  # type: ignore[arg-type]  # a method
    return mapped


def generate(
    generator: nn.Module, x: Tensor, condition: Tensor | None, *, truncation: float | None = None, space: str = "z"
) -> Tensor:
    """What a generator writes, row by row the same whoever else is asked for."""
    if space not in ("z", "w"):
        raise fail("space", "'z' or 'w'", space)
    if not has_styles(generator):
        if space == "w" or truncation is not None:
            name, value = ("space", space) if space == "w" else ("truncation", truncation)
            raise fail(name, "left out: this generator has no styles", value, 'Build the model with kind="style".')
        return nets.in_groups(generator, [x] if condition is None else [x, condition])
    if truncation is not None:
        _check_truncation(truncation)
    net: Any = generator
    if space == "z":
        return nets.in_groups(net, [x] if condition is None else [x, condition], truncation=truncation)
    if truncation is not None:
        x = net.truncate(x, truncation, condition=condition)
    return nets.in_groups(net.synthesis, [x])


def end(gan: "GAN", name: str, x: int | Tensor, space: str, condition: Tensor | None) -> Tensor:
    """An end of an interpolation: latents as they are, or those of a seed."""
    own = next(gan.parameters())
    if isinstance(x, Tensor) and x.ndim:
        return check_latents(gan, name, x, space).to(own.device, own.dtype)
    seed = random.check_seed(name, x.item() if isinstance(x, Tensor) else x)
    z = latents(gan.latent, torch.tensor([seed]), None).to(own.device, own.dtype)
    return (z if space == "z" else styles(gan, z, gan.told(condition, 1)))[0]


def check_latents(gan: "GAN", name: str, x: Any, space: str) -> Tensor:
    """Checks latents, or styles, which only their net knows the number of."""
    wanted = f"floats of shape (n, {gan.latent})" if space == "z" else "floats of shape (n, styles)"
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise fail_type(name, wanted, getattr(x, "dtype", x), "Call torch.as_tensor(x, dtype=torch.float32).")
    if not x.ndim or (space == "z" and x.shape[-1] != gan.latent):
        raise fail(name, wanted, tuple(x.shape))
    return x


def _check_truncation(truncation: float) -> None:
    if not 0 < number("truncation", truncation) <= 1:
        raise fail("truncation", "in (0, 1]", truncation, "None is off.")
