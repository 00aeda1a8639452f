"""Pairs of a generator and a discriminator that suit data of a shape."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from aigc import random
from aigc._checks import fail
from aigc.nets._shapes import check_sequence
from aigc.nets.conditions import Condition
from aigc.nets.players.dcgan import DCGANDiscriminator, DCGANGenerator
from aigc.nets.players.mlp import MLPDiscriminator, MLPGenerator
from aigc.nets.players.r3 import R3Discriminator, R3Generator
from aigc.nets.players.resnet import ResNetDiscriminator, ResNetGenerator
from aigc.nets.players.style import StyleGenerator

__all__ = ["Discriminator", "GANKind", "Generator", "gan_for_images", "gan_for_sounds"]

GANKind = Literal["r3", "dcgan", "resnet", "style", "mlp"]
Generator = MLPGenerator | DCGANGenerator | ResNetGenerator | R3Generator | StyleGenerator
Discriminator = MLPDiscriminator | DCGANDiscriminator | ResNetDiscriminator | R3Discriminator

# Channels at the finest scales for images of up to 32 pixels a side: a step of training takes half a second on one core.
_WIDTHS: dict[str, tuple[int, int]] = {
    "r3": (32, 32),
    "dcgan": (32, 32),
    "resnet": (16, 16),
    "style": (16, 32),
    "mlp": (256, 256),
}
_MADE: dict[str, tuple[type[Generator], type[Discriminator]]] = {
    "r3": (R3Generator, R3Discriminator),
    "dcgan": (DCGANGenerator, DCGANDiscriminator),
    "resnet": (ResNetGenerator, ResNetDiscriminator),
    "style": (StyleGenerator, R3Discriminator),
    "mlp": (MLPGenerator, MLPDiscriminator),
}


def gan_for_images(
    shape: Sequence[int],
    latent: int,
    *,
    kind: GANKind = "r3",
    condition: Condition | None = None,
    auxiliary: bool = False,
    width: int | None = None,
    seed: int = 0,
) -> tuple[Generator, Discriminator]:
    """Builds a generator and a discriminator for images.

    Args:
        shape: `(channels, height, width)`: any sides, of which one is above 4; an MLP takes any.
        latent: Numbers of a latent.
        kind: `"r3"`, the residual nets of R3GAN; `"dcgan"`, plain convolutions; `"resnet"`, those of SNGAN, with spectral
            norms in the discriminator; `"style"`, a style-based generator with the discriminator of R3GAN; `"mlp"`.
        condition: `nets.Classes`, `nets.Vector` or None.
        auxiliary: Whether the discriminator tells classes too.
        width: Channels at the finest scales of both, or units of each layer; by size and kind, if it is left out.
        seed: Of the first weights of both.

    Raises:
        ParameterError: If an argument is out of range.

    Example:
        >>> import torch
        >>> generator, discriminator = gan_for_images((1, 28, 28), 64)
        >>> images = generator(torch.zeros(5, 64))
        >>> images.shape, discriminator(images).shape
        (torch.Size([5, 1, 28, 28]), torch.Size([5]))
    """
    sides = check_sequence("shape", shape)
    if len(sides) != 3:
        raise fail("shape", "(channels, height, width)", sides)
    largest = max(sides[1:])
    scale = 2.0 if largest <= 16 else 1.0 if largest <= 32 else 0.5
    return _pair(sides, latent, kind, _widths(kind, width, scale), seed, condition, auxiliary)


def gan_for_sounds(
    shape: Sequence[int],
    latent: int,
    *,
    kind: GANKind = "r3",
    condition: Condition | None = None,
    auxiliary: bool = False,
    width: int | None = None,
    seed: int = 0,
) -> tuple[Generator, Discriminator]:
    """Builds a generator and a discriminator for sounds, or other signals along one axis.

    Args:
        shape: `(channels, length)`: any length above 8; an MLP takes any.
        latent: Numbers of a latent.
        kind: As for `gan_for_images`.
        condition: As for `gan_for_images`.
        auxiliary: As for `gan_for_images`.
        width: As for `gan_for_images`.
        seed: As for `gan_for_images`.

    Raises:
        ParameterError: If an argument is out of range.

    Example:
        >>> import torch
        >>> generator, discriminator = gan_for_sounds((1, 4096), 64)
        >>> discriminator(generator(torch.zeros(5, 64))).shape
        torch.Size([5])
    """
    sides = check_sequence("shape", shape)
    if len(sides) != 2:
        raise fail("shape", "(channels, length)", sides)
    return _pair(sides, latent, kind, _widths(kind, width, 1.0 if sides[1] <= 1024 else 0.5), seed, condition, auxiliary)


def _widths(kind: str, width: int | None, scale: float) -> tuple[int, int]:
    """Those of the generator and the discriminator."""
    if kind not in get_args(GANKind):
        raise fail("kind", f"one of {', '.join(get_args(GANKind))}", kind)
    if width is not None:
        return width, width
    one, two = _WIDTHS[kind]
    return (one, two) if kind == "mlp" else (round(one * scale), round(two * scale))


def _pair(
    shape: tuple[int, ...],
    latent: int,
    kind: GANKind,
    widths: tuple[int, int],
    seed: int,
    condition: Condition | None,
    auxiliary: bool,
) -> tuple[Generator, Discriminator]:
    keys: list[dict[str, Any]] = [{"hidden": (width,) * 3} if kind == "mlp" else {"width": width} for width in widths]
    writer: Any
    reader: Any
    writer, reader = _MADE[kind]
    return (
        writer(latent, shape, condition=condition, seed=random.stream(seed, 0), **keys[0]),
        reader(shape, condition=condition, auxiliary=auxiliary, seed=random.stream(seed, 1), **keys[1]),
    )
