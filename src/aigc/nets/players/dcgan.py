"""DCGAN: strided convolutions and no more (Radford et al., arXiv:1511.06434)."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from aigc._checks import integer
from aigc.nets._blocks import Down, Up
from aigc.nets._shapes import Scale, check_input, check_shape, scales
from aigc.nets._stacks import widths
from aigc.nets._weights import Activation, fill
from aigc.nets._weights import activation as make
from aigc.nets.conditions import Condition, Shift, check_condition, condition_from, condition_json
from aigc.nets.players._judging import Judge
from aigc.nets.players._parts import Norm, Start, norm

__all__ = ["DCGANDiscriminator", "DCGANGenerator"]


class DCGANGenerator(nn.Module):
    """Writes images or sound in (-1, 1) by transposed convolutions, with a tanh at the end.

    The paper has a batch norm before each activation: `norm="batch"`. It is off by default, since it mixes the examples of
    a batch in training mode (not in evaluation mode): gradients then depend on how a batch is cut, and the statistics that
    sampling uses are not those of averaged weights. With a regularised discriminator the net trains without.

    Args:
        latent: Numbers of a latent.
        shape: `(channels, height, width)` or `(channels, length)`, as for `nets.ConvEncoder`.
        width: Channels at the finest scales; they double at each coarser one, up to 8 times.
        norm: None, `"batch"` or `"layer"`.
        activation: `"relu"`, `"silu"`, `"gelu"`, `"tanh"` or `"leaky_relu"`.
        condition: `nets.Classes`, `nets.Vector` or None; it shifts the channels at each scale.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> DCGANGenerator(64, (3, 32, 32))(torch.zeros(5, 64)).shape
        torch.Size([5, 3, 32, 32])
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        *,
        width: int = 32,
        norm: Norm | None = None,
        activation: Activation = "relu",
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.latent, self.shape = integer("latent", latent, low=1), check_shape(shape, places=(1, 2))
        self.condition = condition_from(condition)
        steps = scales(self.shape[1:])[::-1]
        levels = widths(width, len(steps))[::-1]
        told = self.condition
        with torch.device("meta"):
            self.start = Start(self.latent, (levels[0], *steps[0].coarse), condition=told, norms=norm, name=activation)
            ups = zip(levels, levels[1:], steps, strict=False)
            self.rise = nn.ModuleList(_Rise(b, a, step, norm, activation, told) for b, a, step in ups)
            self.head = Up(levels[-1], self.shape[0], steps[-1])
        fill(self, seed, after=activation)
        self.config = {
            "net": "DCGANGenerator",
            "latent": self.latent,
            "shape": list(self.shape),
            "width": width,
            "norm": norm,
            "activation": activation,
            "condition": condition_json(self.condition),
            "seed": seed,
        }

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, latent)`, and a condition, to `(batch, *shape)`."""
        check_input("z", z, (self.latent,))
        told = check_condition(self.condition, condition, len(z))
        x = self.start(z, told)
        for rise in self.rise:
            x = rise(x, told)
        return cast("Tensor", self.head(x)).tanh()


class _Rise(nn.Module):
    """One scale up, with a norm, a condition and an activation."""

    def __init__(
        self, before: int, after: int, step: Scale, norms: Norm | None, name: Activation, condition: Condition | None
    ) -> None:
        super().__init__()
        self.up, self.norm = Up(before, after, step), norm(norms, after, len(step.fine))
        self.shift, self.activation = Shift(condition, after), make(name)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        return cast("Tensor", self.activation(self.shift(self.norm(self.up(x)), condition)))


class DCGANDiscriminator(nn.Module):
    """Judges images or sound by strided convolutions; it has no norm, so that penalties are per example.

    Args:
        shape: `(channels, height, width)` or `(channels, length)`, as for `nets.ConvEncoder`.
        width: Channels after the first convolution; they double at each further one, up to 8 times.
        activation: `"relu"`, `"silu"`, `"gelu"`, `"tanh"` or `"leaky_relu"`.
        condition: `nets.Classes`, `nets.Vector` or None; a projection.
        auxiliary: Whether it tells classes too: `classify`.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> DCGANDiscriminator((3, 32, 32))(torch.zeros(5, 3, 32, 32)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        width: int = 32,
        activation: Activation = "leaky_relu",
        condition: Condition | Mapping[str, int] | None = None,
        auxiliary: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.condition = check_shape(shape, places=(1, 2)), condition_from(condition)
        steps = scales(self.shape[1:])
        levels = widths(width, len(steps))
        with torch.device("meta"):
            downs = zip([self.shape[0], *levels], levels, steps, strict=False)
            self.down = nn.ModuleList(Down(b, a, step, activation, None) for b, a, step in downs)
            self.judge = Judge(levels[-1] * math.prod(steps[-1].coarse), self.condition, auxiliary=auxiliary)
        fill(self, seed, after=activation)
        self.judge.soften()
        self.config = {
            "net": "DCGANDiscriminator",
            "shape": list(self.shape),
            "width": width,
            "activation": activation,
            "condition": condition_json(self.condition),
            "auxiliary": auxiliary,
            "seed": seed,
        }

    def features(self, x: Tensor) -> Tensor:
        """From `(batch, *shape)` to what is judged, `(batch, features)`."""
        check_input("x", x, self.shape)
        for down in self.down:
            x = down(x, None)
        return x.flatten(1)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, *shape)`, and a condition, to logits `(batch,)`: larger is more real."""
        told = check_condition(self.condition, condition, len(x))
        logits: Tensor = self.judge(self.features(x), told)
        return logits

    def classify(self, x: Tensor) -> Tensor:
        """From `(batch, *shape)` to logits of classes, `(batch, classes)`; the body is that of `forward`."""
        return self.judge.classify(self.features(x))
