"""Nets whose code has places of its own: a grid of vectors for images, a row of them for sound; for discrete codes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aigc._checks import fail, fail_type, integer
from aigc.nets._blocks import convolution, soften
from aigc.nets._shapes import Scale, check_input, check_shape, scales
from aigc.nets._stacks import Ascending, Descending, last, widths
from aigc.nets._weights import LEFT, Activation, fill, quiet
from aigc.nets._weights import activation as make
from aigc.nets.conditions import Condition, Shift, check_condition, condition_from, condition_json

__all__ = ["GridDecoder", "GridEncoder"]

_IMAGE, _LARGE, _SOUND = 8, 16, 128  # places of a code along a side: of images up to 64, of larger ones, of sounds


class GridEncoder(nn.Module):
    """Reads images or sound into a vector of features at each place of a coarse grid, by strided convolutions.

    Sides of images are halved, and lengths of sound quartered, as often as `steps` says. No layer mixes examples.

    Args:
        shape: `(channels, height, width)` or `(channels, length)`, of any size above 4, or 8.
        features: Of each vector.
        steps: How often places become fewer, at least 1. By default, until the sides of an image are at most 8, or 16 if
            one is above 64, and a sound's length is at most 128.
        width: Channels after the first convolution; they double at each further one, up to 8 times.
        blocks: Residual blocks at each scale but the finest; 0 for a plain net.
        finest: Residual blocks at the finest scale, which take the most time.
        activation: `"relu"`, `"silu"`, `"gelu"` or `"tanh"`.
        condition: `nets.Classes`, `nets.Vector` or None.
        seed: Of the first weights.

    Attributes:
        space: The places of the code, `(height, width)` or `(length,)`.
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> GridEncoder((1, 28, 28), 64)(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 64, 7, 7])
        >>> GridEncoder((1, 4096), 16, steps=2, width=8)(torch.zeros(5, 1, 4096)).shape
        torch.Size([5, 16, 256])
    """

    def __init__(
        self,
        shape: Sequence[int],
        features: int,
        *,
        steps: int | None = None,
        width: int = 32,
        blocks: int = 1,
        finest: int = 0,
        activation: Activation = "silu",
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.features = check_shape(shape, places=(1, 2)), integer("features", features, low=1)
        self.condition = condition_from(condition)
        counts = integer("blocks", blocks, low=0), integer("finest", finest, low=0)
        taken = _taken(self.shape[1:], steps)
        self.space = taken[-1].coarse
        channels = widths(width, len(taken))
        with torch.device("meta"):
            self.body = Descending(self.shape[0], channels, taken, counts, activation, self.condition)
            self.head = convolution(channels[-1], self.features, len(self.space))
        fill(self, seed, after=activation)
        soften(self, activation)
        own = {"net": "GridEncoder", "shape": list(self.shape), "features": self.features}
        self.config = own | _config(len(taken), width, counts, activation, self.condition, seed)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, *shape)`, and a condition, to `(batch, features, *space)`."""
        check_input("x", x, self.shape)
        told = check_condition(self.condition, condition, len(x))
        out: Tensor = self.head(self.body(x, told)[0])
        return out


class GridDecoder(nn.Module):
    """Writes the parameters of a likelihood for images or sound: the scales of `GridEncoder`, the other way.

    Args:
        features: Of the vector at each place of the code.
        shape: `(channels, height, width)` or `(channels, length)`, of any size above 4, or 8.
        outputs: Parameters for each number of the data: the likelihood's `size`.
        steps: As in the encoder.
        width: Channels at the finest scales, as in the encoder.
        blocks: Residual blocks at each scale but the finest; 0 for a plain net.
        finest: Residual blocks at the finest scale, which take the most time.
        activation: `"relu"`, `"silu"`, `"gelu"` or `"tanh"`.
        condition: `nets.Classes`, `nets.Vector` or None.
        seed: Of the first weights.

    Attributes:
        space: The places of the code, `(height, width)` or `(length,)`.
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> GridDecoder(64, (3, 32, 32))(torch.zeros(5, 64, 8, 8)).shape
        torch.Size([5, 3, 32, 32])
        >>> GridDecoder(4, (3, 32, 32), outputs=2, steps=1)(torch.zeros(5, 4, 16, 16)).shape
        torch.Size([5, 2, 3, 32, 32])
    """

    def __init__(
        self,
        features: int,
        shape: Sequence[int],
        *,
        outputs: int = 1,
        steps: int | None = None,
        width: int = 32,
        blocks: int = 1,
        finest: int = 0,
        activation: Activation = "silu",
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.features, self.shape = integer("features", features, low=1), check_shape(shape, places=(1, 2))
        self.outputs = integer("outputs", outputs, low=1)
        self.condition = condition_from(condition)
        counts = integer("blocks", blocks, low=0), integer("finest", finest, low=0)
        taken = _taken(self.shape[1:], steps)
        self.space = taken[-1].coarse
        channels = widths(width, len(taken))
        with torch.device("meta"):
            self.start = convolution(self.features, channels[-1], len(self.space))
            self.shift, self.activation = Shift(self.condition, channels[-1]), make(activation)
            self.body = Ascending(channels, taken, counts, activation, self.condition)
            self.head = last(width, self.outputs * self.shape[0], taken[0], counts)
        fill(self, seed, after=activation)
        soften(self, activation)
        quiet(self.start, LEFT[activation] ** 0.5)  # no activation comes before it
        quiet(self.head, 0.1)
        own = {"net": "GridDecoder", "features": self.features, "shape": list(self.shape), "outputs": self.outputs}
        self.config = own | _config(len(taken), width, counts, activation, self.condition, seed)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, features, *space)`, and a condition, to `(batch, outputs, *shape)`.

        One output has no axis of its own.
        """
        check_input("z", z, (self.features, *self.space))
        told = check_condition(self.condition, condition, len(z))
        out: Tensor = self.head(self.body(self.activation(self.shift(self.start(z), told)), told))
        return out.reshape(len(z), *((self.outputs,) if self.outputs > 1 else ()), *self.shape)


def _taken(places: tuple[int, ...], steps: int | None) -> list[Scale]:
    """The scales that a code is away from the data."""
    every = scales(places)
    if steps is not None:
        if isinstance(steps, bool) or not isinstance(steps, int):
            raise fail_type("steps", "an integer, or None", steps)
        if not 1 <= steps <= len(every):
            raise fail("steps", f"an integer in [1, {len(every)}] for {places} places", steps)
        return every[:steps]
    most = _SOUND if len(places) == 1 else _IMAGE if max(places) <= 64 else _LARGE
    enough = [number for number, step in enumerate(every, 1) if max(step.coarse) <= most]
    return every[: enough[0]]


def _config(
    steps: int, width: int, counts: tuple[int, int], activation: str, condition: Condition | None, seed: int
) -> dict[str, Any]:
    """The arguments that both have, as JSON."""
    return {
        "steps": steps,
        "width": width,
        "blocks": counts[0],
        "finest": counts[1],
        "activation": activation,
        "condition": condition_json(condition),
        "seed": seed,
    }
