"""Nets by configuration, and pairs of nets that suit data of a shape."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from aigc import random
from aigc._checks import fail, fail_type
from aigc.nets._shapes import check_sequence
from aigc.nets.causal import CausalTransformer
from aigc.nets.conditions import Condition
from aigc.nets.convolutional import ConvDecoder, ConvEncoder
from aigc.nets.grids import GridDecoder, GridEncoder
from aigc.nets.hierarchical import HierarchicalDecoder, HierarchicalEncoder
from aigc.nets.mlp import MLPDecoder, MLPEncoder
from aigc.nets.players import (
    DCGANDiscriminator,
    DCGANGenerator,
    Discriminator,
    Generator,
    MLPDiscriminator,
    MLPGenerator,
    R3Discriminator,
    R3Generator,
    ResNetDiscriminator,
    ResNetGenerator,
    StyleGenerator,
)

__all__ = ["Decoder", "Encoder", "Kind", "Net", "build", "for_images", "for_sounds", "hierarchical", "spatial"]

Kind = Literal["conv", "residual", "mlp"]
Encoder = MLPEncoder | ConvEncoder
Decoder = MLPDecoder | ConvDecoder
Net = (
    Encoder
    | Decoder
    | HierarchicalEncoder
    | HierarchicalDecoder
    | GridEncoder
    | GridDecoder
    | CausalTransformer
    | Generator
    | Discriminator
)

NETS: dict[str, type[Net]] = {
    "CausalTransformer": CausalTransformer,
    "ConvDecoder": ConvDecoder,
    "ConvEncoder": ConvEncoder,
    "DCGANDiscriminator": DCGANDiscriminator,
    "DCGANGenerator": DCGANGenerator,
    "GridDecoder": GridDecoder,
    "GridEncoder": GridEncoder,
    "HierarchicalDecoder": HierarchicalDecoder,
    "HierarchicalEncoder": HierarchicalEncoder,
    "MLPDecoder": MLPDecoder,
    "MLPDiscriminator": MLPDiscriminator,
    "MLPEncoder": MLPEncoder,
    "MLPGenerator": MLPGenerator,
    "R3Discriminator": R3Discriminator,
    "R3Generator": R3Generator,
    "ResNetDiscriminator": ResNetDiscriminator,
    "ResNetGenerator": ResNetGenerator,
    "StyleGenerator": StyleGenerator,
}


def build(config: Mapping[str, Any]) -> Net:
    """Builds a net by the configuration of another, with the weights that other began with.

    The name in it is looked up in a fixed table; nothing is imported.

    Args:
        config: What a net's `.config` says.

    Raises:
        ParameterError: If there is no such net, or an argument is unknown, missing or out of range.

    Example:
        >>> net = MLPEncoder((1, 8, 8), 2, hidden=(16,), seed=7)
        >>> net.config["net"], net.config["hidden"], net.config["seed"]
        ('MLPEncoder', [16], 7)
        >>> (build(net.config).head.weight == net.head.weight).all()
        tensor(True)
    """
    if not isinstance(config, Mapping):
        raise fail_type("config", "what a net's .config says", config)
    name = config.get("net")
    if not isinstance(name, str) or name not in NETS:
        raise fail("config['net']", f"one of {', '.join(NETS)}", name, "Give nets of your own to from_pretrained.")
    given = {key: value for key, value in config.items() if key != "net"}
    known = inspect.signature(NETS[name]).parameters
    missing = [key for key, argument in known.items() if argument.default is argument.empty and key not in given]
    if missing or not set(given) <= set(known):
        raise fail("config", f"arguments of {name}: {', '.join(known)}", sorted(given))
    return NETS[name](**given)


def for_images(
    shape: Sequence[int],
    latent: int,
    *,
    kind: Kind = "conv",
    condition: Condition | None = None,
    outputs: int = 1,
    seed: int = 0,
) -> tuple[Encoder, Decoder]:
    """Builds an encoder and a decoder for images.

    Args:
        shape: `(channels, height, width)`: any sides, of which one is above 4; an MLP takes any.
        latent: Features.
        kind: `"conv"` is small and fast; `"residual"` has several times the layers; `"mlp"` knows no places.
        condition: `nets.Classes`, `nets.Vector` or None.
        outputs: Parameters of the likelihood for each number: its `size`.
        seed: Of the first weights of both.

    Raises:
        ParameterError: If an argument is out of range.

    Example:
        >>> import torch
        >>> encoder, decoder = for_images((1, 28, 28), 32)
        >>> mean, log_std = encoder(torch.zeros(5, 1, 28, 28)).chunk(2, -1)
        >>> decoder(mean).shape
        torch.Size([5, 1, 28, 28])
    """
    sides = check_sequence("shape", shape)
    if len(sides) != 3:
        raise fail("shape", "(channels, height, width)", sides)
    return _pair(sides, latent, kind, condition, outputs, seed, _width(sides))


def for_sounds(
    shape: Sequence[int],
    latent: int,
    *,
    kind: Kind = "conv",
    condition: Condition | None = None,
    outputs: int = 1,
    seed: int = 0,
) -> tuple[Encoder, Decoder]:
    """Builds an encoder and a decoder for sound, or other signals along one axis.

    Args:
        shape: `(channels, length)`: any length above 8; an MLP takes any.
        latent: As for `for_images`.
        kind: As for `for_images`.
        condition: As for `for_images`.
        outputs: As for `for_images`.
        seed: As for `for_images`.

    Raises:
        ParameterError: If an argument is out of range.

    Example:
        >>> import torch
        >>> encoder, decoder = for_sounds((1, 8192), 64, outputs=2)
        >>> decoder(encoder(torch.zeros(5, 1, 8192))[:, :64]).shape
        torch.Size([5, 2, 1, 8192])
    """
    sides = check_sequence("shape", shape)
    if len(sides) != 2:
        raise fail("shape", "(channels, length)", sides)
    return _pair(sides, latent, kind, condition, outputs, seed, _width(sides))


def hierarchical(
    shape: Sequence[int],
    channels: Sequence[int] = (16, 8, 4),
    *,
    width: int = 32,
    blocks: int = 1,
    finest: int = 0,
    condition: Condition | None = None,
    outputs: int = 1,
    seed: int = 0,
) -> tuple[HierarchicalEncoder, HierarchicalDecoder]:
    """Builds both nets of a hierarchy of latents.

    Args:
        shape: `(channels, height, width)` or `(channels, length)`.
        channels: Of the latent of each layer, the coarsest first; usually two to four.
        width: Channels of the finest scales.
        blocks: Residual blocks at each scale but the finest.
        finest: Residual blocks at the finest scale, which take the most time; with them it can have a latent too.
        condition: `nets.Classes`, `nets.Vector` or None.
        outputs: Parameters of the likelihood for each number: its `size`.
        seed: Of the first weights of both.

    Raises:
        ParameterError: If an argument is out of range, or there are more layers than scales.

    Example:
        >>> import torch
        >>> encoder, decoder = hierarchical((1, 28, 28), (4, 2), width=8)
        >>> decoder(torch.zeros(5, decoder.latent)).shape
        torch.Size([5, 1, 28, 28])
    """
    common: dict[str, Any] = {"width": width, "blocks": blocks, "finest": finest, "condition": condition}
    # The decoder first: it names `channels` where they are too many.
    decoder = HierarchicalDecoder(channels, shape, outputs=outputs, seed=random.stream(seed, 1), **common)
    return HierarchicalEncoder(shape, len(decoder.channels), seed=random.stream(seed, 0), **common), decoder


def spatial(
    shape: Sequence[int],
    features: int,
    *,
    steps: int | None = None,
    width: int | None = None,
    blocks: int = 1,
    finest: int = 0,
    condition: Condition | None = None,
    outputs: int = 1,
    seed: int = 0,
) -> tuple[GridEncoder, GridDecoder]:
    """Builds an encoder and a decoder whose code is a grid of vectors, or a row of them: for discrete codes.

    Args:
        shape: `(channels, height, width)` or `(channels, length)`.
        features: Of the vector at each place.
        steps: How often sides are halved, or a length quartered: see `GridEncoder`.
        width: Channels of the finest scales; by default 64, 32 or 16, the fewer the larger the data.
        blocks: Residual blocks at each scale but the finest.
        finest: Residual blocks at the finest scale, which take the most time.
        condition: `nets.Classes`, `nets.Vector` or None.
        outputs: Parameters of the likelihood for each number: its `size`.
        seed: Of the first weights of both.

    Raises:
        ParameterError: If an argument is out of range.

    Example:
        >>> import torch
        >>> encoder, decoder = spatial((1, 28, 28), 16)
        >>> encoder.space, decoder(encoder(torch.zeros(5, 1, 28, 28))).shape
        ((7, 7), torch.Size([5, 1, 28, 28]))
    """
    sides = check_sequence("shape", shape)
    chosen = _width(sides) if width is None else width
    common: dict[str, Any] = {"steps": steps, "width": chosen, "blocks": blocks, "finest": finest, "condition": condition}
    encoder = GridEncoder(sides, features, seed=random.stream(seed, 0), **common)
    return encoder, GridDecoder(features, sides, outputs=outputs, seed=random.stream(seed, 1), **common)


def _width(sides: tuple[int, ...]) -> int:
    """Channels at the finest scales that suit data of a shape."""
    if len(sides) == 2:
        return 32
    largest = max(sides[1:], default=1)
    return 64 if largest <= 16 else 32 if largest <= 64 else 16


def _pair(
    shape: tuple[int, ...],
    latent: int,
    kind: Kind,
    condition: Condition | None,
    outputs: int,
    seed: int,
    width: int,
) -> tuple[Encoder, Decoder]:
    if kind not in get_args(Kind):
        raise fail("kind", f"one of {', '.join(get_args(Kind))}", kind)
    one, two = random.stream(seed, 0), random.stream(seed, 1)
    if kind == "mlp":
        decoder = MLPDecoder(latent, shape, outputs=outputs, condition=condition, seed=two)
        return MLPEncoder(shape, latent, condition=condition, seed=one), decoder
    blocks = 2 if kind == "residual" else 0
    return (
        ConvEncoder(shape, latent, blocks=blocks, condition=condition, seed=one, width=width),
        ConvDecoder(latent, shape, outputs=outputs, blocks=blocks, condition=condition, seed=two, width=width),
    )
