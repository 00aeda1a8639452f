"""The residual nets of SNGAN (Miyato et al., arXiv:1802.05957)."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from aigc import random
from aigc._checks import fail_type, integer
from aigc.nets._shapes import Scale, check_input, check_shape, scales
from aigc.nets._stacks import widths
from aigc.nets._weights import LEFT, Activation, fill, quiet
from aigc.nets._weights import activation as make
from aigc.nets.conditions import Condition, Shift, check_condition, condition_from, condition_json
from aigc.nets.players._judging import Judge
from aigc.nets.players._parts import Norm, Start, channels, conv, norm
from aigc.nets.players._resampling import average, repeat
from aigc.nets.players._spectral import Spectral, settle

__all__ = ["ResNetDiscriminator", "ResNetGenerator"]


class ResNetGenerator(nn.Module):
    """Writes images or sound in (-1, 1) by residual blocks that repeat places, with a tanh at the end.

    The paper has a batch norm before each activation: `norm="batch"`. It is off by default, for the reasons of
    `nets.DCGANGenerator`; what blocks add begins small instead.

    Args:
        latent: Numbers of a latent.
        shape: `(channels, height, width)` or `(channels, length)`, as for `nets.ConvEncoder`.
        width: Channels at the finest two scales; they double at each coarser one, up to 8 times.
        norm: None, `"batch"` or `"layer"`.
        activation: `"relu"`, `"silu"`, `"gelu"`, `"tanh"` or `"leaky_relu"`.
        condition: `nets.Classes`, `nets.Vector` or None; it shifts the channels at each scale.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> ResNetGenerator(64, (3, 32, 32))(torch.zeros(5, 64)).shape
        torch.Size([5, 3, 32, 32])
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        *,
        width: int = 16,
        norm: Norm | None = None,
        activation: Activation = "relu",
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.latent, self.shape = integer("latent", latent, low=1), check_shape(shape, places=(1, 2))
        self.condition = condition_from(condition)
        steps = scales(self.shape[1:])[::-1]
        levels = channels(width, steps)[::-1]
        with torch.device("meta"):
            self.start = Start(self.latent, (levels[0], *steps[0].coarse), condition=self.condition)
            ups = zip(levels, levels[1:], steps, strict=False)
            self.rise = nn.ModuleList(_Rise(b, a, step, norm, activation, self.condition) for b, a, step in ups)
            self.head = _Head(levels[-1], self.shape, norm, activation)
        fill(self, seed, after=activation)
        quiet(self.start.linear, math.sqrt(LEFT[activation]))
        _soften(self, activation)
        self.config = {
            "net": "ResNetGenerator",
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
    """up(V x) + W f(U up(f(x))), with norms before activations."""

    def __init__(
        self, before: int, after: int, step: Scale, norms: Norm | None, name: Activation, condition: Condition | None
    ) -> None:
        super().__init__()
        axes, self.step = len(step.fine), step
        self.norm, self.again = norm(norms, before, axes), norm(norms, after, axes)
        self.first, self.second = conv(before, after, axes), conv(after, after, axes)
        self.past = nn.Identity() if before == after else conv(before, after, axes, kernel=1)
        self.shift, self.activation = Shift(condition, after), make(name)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        inner = self.first(repeat(self.activation(self.norm(x)), self.step))
        inner = self.second(self.activation(self.shift(self.again(inner), condition)))
        return cast("Tensor", repeat(self.past(x), self.step) + inner)


class _Head(nn.Module):
    """A norm, an activation, and a convolution to the data."""

    def __init__(self, width: int, shape: tuple[int, ...], norms: Norm | None, name: Activation) -> None:
        super().__init__()
        self.norm, self.activation = norm(norms, width, len(shape) - 1), make(name)
        self.convolution = conv(width, shape[0], len(shape) - 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.convolution(self.activation(self.norm(x))))


class ResNetDiscriminator(nn.Module):
    """Judges images or sound by residual blocks that average places, each weight divided by its spectral norm.

    The norms follow the weights by a power iteration at each call in training mode; in evaluation mode they stand still.

    Args:
        shape: `(channels, height, width)` or `(channels, length)`, as for `nets.ConvEncoder`.
        width: Channels after the first block; they double at each further one, up to 8 times.
        activation: `"relu"`, `"silu"`, `"gelu"`, `"tanh"` or `"leaky_relu"`.
        spectral: Whether weights are divided by their spectral norms; not those of the auxiliary classifier.
        condition: `nets.Classes`, `nets.Vector` or None; a projection.
        auxiliary: Whether it tells classes too: `classify`.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> ResNetDiscriminator((3, 32, 32))(torch.zeros(5, 3, 32, 32)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        width: int = 16,
        activation: Activation = "relu",
        spectral: bool = True,
        condition: Condition | Mapping[str, int] | None = None,
        auxiliary: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(spectral, bool):
            raise fail_type("spectral", "True or False", spectral)
        self.shape, self.condition = check_shape(shape, places=(1, 2)), condition_from(condition)
        steps = scales(self.shape[1:])
        levels = widths(width, len(steps))
        with torch.device("meta"):
            downs = enumerate(zip([self.shape[0], *levels], levels, steps, strict=False))
            blocks = [_Fall(b, a, step, activation, first=i == 0, spectral=spectral) for i, (b, a, step) in downs]
            still = Scale(steps[-1].coarse, steps[-1].coarse, tuple(1 for _ in steps[-1].coarse))
            self.fall = nn.ModuleList([*blocks, _Fall(levels[-1], levels[-1], still, activation, spectral=spectral)])
            self.activation = make(activation)
            self.judge = Judge(levels[-1], self.condition, auxiliary=auxiliary, spectral=spectral)
        fill(self, seed, after=activation)
        _soften(self, activation)
        self.judge.soften()
        settle(self, random.stream(seed, 1))
        self.config = {
            "net": "ResNetDiscriminator",
            "shape": list(self.shape),
            "width": width,
            "activation": activation,
            "spectral": spectral,
            "condition": condition_json(self.condition),
            "auxiliary": auxiliary,
            "seed": seed,
        }

    def features(self, x: Tensor) -> Tensor:
        """From `(batch, *shape)` to what is judged, `(batch, features)`: sums over places."""
        check_input("x", x, self.shape)
        for fall in self.fall:
            x = fall(x)
        found: Tensor = self.activation(x).flatten(2).sum(2)
        return found

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, *shape)`, and a condition, to logits `(batch,)`: larger is more real."""
        told = check_condition(self.condition, condition, len(x))
        logits: Tensor = self.judge(self.features(x), told)
        return logits

    def classify(self, x: Tensor) -> Tensor:
        """From `(batch, *shape)` to logits of classes, `(batch, classes)`; the body is that of `forward`."""
        return self.judge.classify(self.features(x))


class _Fall(nn.Module):
    """down(V x) + down(W f(U f(x))); the first block has no activation before it, since data are no features."""

    def __init__(
        self, before: int, after: int, step: Scale, name: Activation, *, first: bool = False, spectral: bool
    ) -> None:
        super().__init__()
        axes, self.step = len(step.fine), step
        inner = after if first else before

        def made(inputs: int, outputs: int, kernel: int) -> nn.Module:
            layer = conv(inputs, outputs, axes, kernel=kernel)
            return Spectral(layer) if spectral else layer

        self.first, self.second = made(before, inner, 3), made(inner, after, 3)
        self.past = nn.Identity() if before == after else made(before, after, 1)
        self.before = nn.Identity() if first else make(name)
        self.activation = make(name)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second(self.activation(self.first(self.before(x))))
        return cast("Tensor", self.past(average(x, self.step)) + average(inner, self.step))


def _soften(net: nn.Module, after: Activation) -> None:
    """Makes what n blocks add begin as 1 / n of what passes by them; that is no activation's, and so comes as it was."""
    blocks = [module for module in net.modules() if isinstance(module, _Rise | _Fall)]
    for block in blocks:
        quiet(block.second, math.sqrt(LEFT[after] / len(blocks)))
        quiet(block.past, math.sqrt(LEFT[after]))
