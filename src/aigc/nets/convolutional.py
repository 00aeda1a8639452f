"""Convolutional nets, plain and residual, for images of any size and for sound."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from aigc._checks import integer
from aigc.nets._blocks import soften
from aigc.nets._shapes import check_input, check_shape, scales
from aigc.nets._stacks import Ascending, Descending, last, widths
from aigc.nets._weights import Activation, fill, quiet
from aigc.nets._weights import activation as make
from aigc.nets.conditions import Condition, Shift, check_condition, condition_from, condition_json

__all__ = ["ConvDecoder", "ConvEncoder"]


class ConvEncoder(nn.Module):
    """Reads images or sound by strided convolutions into a mean and a log standard deviation for each latent feature.

    Sides of images are halved until they are at most 4, and lengths of sound quartered until they are at most 8. No layer
    mixes examples: there is no batch norm.

    Args:
        shape: `(channels, height, width)` or `(channels, length)`, of any size above these.
        latent: Features.
        width: Channels after the first convolution; they double at each further one, up to 8 times.
        blocks: Residual blocks at each scale but the finest; 0 for a plain net.
        finest: Residual blocks at the finest scale, which take the most time.
        activation: `"relu"`, `"silu"`, `"gelu"`, `"tanh"` or `"leaky_relu"`.
        condition: `nets.Classes`, `nets.Vector` or None.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> ConvEncoder((1, 28, 28), 32)(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 64])
        >>> ConvEncoder((1, 4096), 32, width=8, blocks=1)(torch.zeros(5, 1, 4096)).shape
        torch.Size([5, 64])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        *,
        width: int = 32,
        blocks: int = 0,
        finest: int = 0,
        activation: Activation = "silu",
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.latent = check_shape(shape, places=(1, 2)), integer("latent", latent, low=1)
        self.condition = condition_from(condition)
        counts = integer("blocks", blocks, low=0), integer("finest", finest, low=0)
        steps = scales(self.shape[1:])
        channels = widths(width, len(steps))
        with torch.device("meta"):
            self.body = Descending(self.shape[0], channels, steps, counts, activation, self.condition)
            self.head = nn.Linear(channels[-1] * math.prod(steps[-1].coarse), 2 * self.latent)
        fill(self, seed, after=activation)
        soften(self, activation)
        quiet(self.head, 0.1)  # the posterior begins near the standard normal
        self.config = {
            "net": "ConvEncoder",
            "shape": list(self.shape),
            "latent": self.latent,
            "width": width,
            "blocks": blocks,
            "finest": finest,
            "activation": activation,
            "condition": condition_json(self.condition),
            "seed": seed,
        }

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, *shape)`, and a condition, to `(batch, 2 * latent)`."""
        check_input("x", x, self.shape)
        told = check_condition(self.condition, condition, len(x))
        out: Tensor = self.head(self.body(x, told)[0].flatten(1))
        return out


class ConvDecoder(nn.Module):
    """Writes the parameters of a likelihood for images or sound: the scales of `ConvEncoder`, the other way.

    Args:
        latent: Features.
        shape: `(channels, height, width)` or `(channels, length)`, of any size above 4, or 8.
        outputs: Parameters for each number of the data: the likelihood's `size`.
        width: Channels at the finest scales, as in the encoder.
        blocks: Residual blocks at each scale but the finest; 0 for a plain net.
        finest: Residual blocks at the finest scale, which take the most time.
        activation: `"relu"`, `"silu"`, `"gelu"`, `"tanh"` or `"leaky_relu"`.
        condition: `nets.Classes`, `nets.Vector` or None.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> ConvDecoder(32, (3, 32, 32))(torch.zeros(5, 32)).shape
        torch.Size([5, 3, 32, 32])
        >>> ConvDecoder(32, (3, 32, 32), outputs=2, blocks=1)(torch.zeros(5, 32)).shape
        torch.Size([5, 2, 3, 32, 32])
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        *,
        outputs: int = 1,
        width: int = 32,
        blocks: int = 0,
        finest: int = 0,
        activation: Activation = "silu",
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.latent, self.shape = integer("latent", latent, low=1), check_shape(shape, places=(1, 2))
        self.outputs = integer("outputs", outputs, low=1)
        self.condition = condition_from(condition)
        counts = integer("blocks", blocks, low=0), integer("finest", finest, low=0)
        steps = scales(self.shape[1:])
        channels = widths(width, len(steps))
        self.coarse = (channels[-1], *steps[-1].coarse)
        with torch.device("meta"):
            self.start = nn.Linear(self.latent, math.prod(self.coarse))
            self.shift, self.activation = Shift(self.condition, channels[-1]), make(activation)
            self.body = Ascending(channels, steps, counts, activation, self.condition)
            self.head = last(width, self.outputs * self.shape[0], steps[0], counts)
        fill(self, seed, after=activation)
        soften(self, activation)
        quiet(self.head, 0.1)
        self.config = {
            "net": "ConvDecoder",
            "latent": self.latent,
            "shape": list(self.shape),
            "outputs": self.outputs,
            "width": width,
            "blocks": blocks,
            "finest": finest,
            "activation": activation,
            "condition": condition_json(self.condition),
            "seed": seed,
        }

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, latent)`, and a condition, to `(batch, outputs, *shape)`; one output has no axis of its own."""
        check_input("z", z, (self.latent,))
        told = check_condition(self.condition, condition, len(z))
        start = self.activation(self.shift(self.start(z).reshape(len(z), *self.coarse), told))
        out: Tensor = self.head(self.body(start, told))
        return out.reshape(len(z), *((self.outputs,) if self.outputs > 1 else ()), *self.shape)
