r"""The nets of R3GAN (Huang et al., "The GAN is dead; long live the GAN!", arXiv:2501.05441): residual, no normalisation.

Blocks are $x + W_3 f(W_2 f(W_1 x + b_1) + b_2)$: a 1-wide convolution to twice the channels, a grouped 3-wide one, a 1-wide
one back, with leaky rectifiers. $W_3$ begins at 0 and the others are scaled by $L^{-1/4}$ for L blocks (Zhang et al.,
"Fixup initialization", arXiv:1901.09321), so that at first a block is the identity, and the net is affine. Between scales
are bilinear resampling and 1-wide convolutions.
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from aigc._checks import integer
from aigc.nets._blocks import Down, Up
from aigc.nets._shapes import Scale, check_input, check_shape, scales
from aigc.nets._weights import LEFT, activation, fill, quiet
from aigc.nets.conditions import Condition, Shift, check_condition, condition_from, condition_json
from aigc.nets.players._judging import Judge
from aigc.nets.players._parts import channels, conv, sides
from aigc.nets.players._resampling import coarser, finer

__all__ = ["R3Discriminator", "R3Generator"]

_GROUP = 16  # channels of a group, as in the paper's nets
_EXPANSION = 2


class R3Generator(nn.Module):
    """Writes images or sound by the residual blocks of R3GAN; its output is not squashed.

    Args:
        latent: Numbers of a latent.
        shape: `(channels, height, width)` or `(channels, length)`, as for `nets.ConvEncoder`.
        width: Channels at the finest two scales; they double at each coarser one, up to 8 times.
        blocks: Residual blocks at each scale but the finest.
        finest: Residual blocks at the finest scale, which take most of the time; the paper has as many as elsewhere. With 0
            one transposed convolution writes the data from the scale before.
        condition: `nets.Classes`, `nets.Vector` or None; it is one more input of the first layer.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> R3Generator(64, (3, 32, 32))(torch.zeros(5, 64)).shape
        torch.Size([5, 3, 32, 32])
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        *,
        width: int = 32,
        blocks: int = 1,
        finest: int = 0,
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.latent, self.shape = integer("latent", latent, low=1), check_shape(shape, places=(1, 2))
        self.condition = condition_from(condition)
        steps = scales(self.shape[1:])[::-1]
        levels, counts = _levels(width, steps, blocks, finest)
        levels, counts = levels[::-1], counts[::-1]
        axes = len(steps[0].fine)
        with torch.device("meta"):
            self.start = nn.Linear(self.latent, levels[0])
            self.shift = Shift(self.condition, levels[0])
            self.basis = nn.Parameter(torch.empty(levels[0], *steps[0].coarse))
            self.blocks = nn.ModuleList(_Blocks(count, w, axes) for w, count in zip(levels, counts, strict=True))
            ups = zip(levels, levels[1:], steps, strict=False)
            self.rise = nn.ModuleList(_Rise(b, a, step) for b, a, step in ups)
            one = conv(levels[-1], self.shape[0], axes, kernel=1)
            self.head = one if finest else Up(levels[-1], self.shape[0], steps[-1])
        fill(self, seed, after=None)
        _fix_up(self)
        self.config = {
            "net": "R3Generator",
            "latent": self.latent,
            "shape": list(self.shape),
            "width": width,
            "blocks": blocks,
            "finest": finest,
            "condition": condition_json(self.condition),
            "seed": seed,
        }

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, latent)`, and a condition, to `(batch, *shape)`."""
        check_input("z", z, (self.latent,))
        told = check_condition(self.condition, condition, len(z))
        first: Tensor = self.shift(self.start(z), told)
        x = first.reshape(*first.shape, *(1 for _ in self.shape[1:])) * self.basis
        for i, blocks in enumerate(self.blocks):
            x = blocks(self.rise[i - 1](x) if i else x)
        return cast("Tensor", self.head(x))


class R3Discriminator(nn.Module):
    """Judges images or sound by the residual blocks of R3GAN.

    Args:
        shape: `(channels, height, width)` or `(channels, length)`, as for `nets.ConvEncoder`.
        width: Channels at the finest two scales; they double at each coarser one, up to 8 times.
        blocks: Residual blocks at each scale but the finest.
        finest: Residual blocks at the finest scale, which take most of the time. With 0 one strided convolution reads the
            data into the scale after.
        condition: `nets.Classes`, `nets.Vector` or None; a projection.
        auxiliary: Whether it tells classes too: `classify`.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> R3Discriminator((3, 32, 32))(torch.zeros(5, 3, 32, 32)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        width: int = 32,
        blocks: int = 1,
        finest: int = 0,
        condition: Condition | Mapping[str, int] | None = None,
        auxiliary: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.condition = check_shape(shape, places=(1, 2)), condition_from(condition)
        steps = scales(self.shape[1:])
        levels, counts = _levels(width, steps, blocks, finest)
        axes, kept = len(steps[0].fine), steps[len(steps) + 1 - len(levels) :]
        with torch.device("meta"):
            one = conv(self.shape[0], levels[0], axes, kernel=1)
            self.stem = one if finest else Down(self.shape[0], levels[0], steps[0], None, None)
            self.blocks = nn.ModuleList(_Blocks(count, w, axes) for w, count in zip(levels, counts, strict=True))
            self.fall = nn.ModuleList(_Fall(b, a, step) for b, a, step in zip(levels, levels[1:], kept, strict=False))
            self.basis = nn.Parameter(torch.empty(levels[-1], *sides(steps)[-1]))
            self.judge = Judge(levels[-1], self.condition, auxiliary=auxiliary)
        fill(self, seed, after=None)
        _fix_up(self)
        self.judge.soften()
        with torch.no_grad():
            self.basis.mul_(1 / math.sqrt(math.prod(sides(steps)[-1])))
        self.config = {
            "net": "R3Discriminator",
            "shape": list(self.shape),
            "width": width,
            "blocks": blocks,
            "finest": finest,
            "condition": condition_json(self.condition),
            "auxiliary": auxiliary,
            "seed": seed,
        }

    def features(self, x: Tensor) -> Tensor:
        """From `(batch, *shape)` to what is judged, `(batch, features)`."""
        check_input("x", x, self.shape)
        x = self.stem(x) if isinstance(self.stem, nn.Conv1d | nn.Conv2d) else self.stem(x, None)
        for i, blocks in enumerate(self.blocks):
            x = blocks(self.fall[i - 1](x) if i else x)
        return (x * self.basis).flatten(2).sum(2)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, *shape)`, and a condition, to logits `(batch,)`: larger is more real."""
        told = check_condition(self.condition, condition, len(x))
        logits: Tensor = self.judge(self.features(x), told)
        return logits

    def classify(self, x: Tensor) -> Tensor:
        """From `(batch, *shape)` to logits of classes, `(batch, classes)`; the body is that of `forward`."""
        return self.judge.classify(self.features(x))


class _Blocks(nn.Sequential):
    """Several residual blocks, or none."""

    def __init__(self, count: int, width: int, axes: int) -> None:
        super().__init__(*(_Block(width, axes) for _ in range(count)))


class _Block(nn.Module):
    """An inverted bottleneck (Sandler et al., arXiv:1801.04381) with groups (Xie et al., arXiv:1611.05431)."""

    def __init__(self, width: int, axes: int) -> None:
        super().__init__()
        wide = _EXPANSION * width
        self.first = conv(width, wide, axes, kernel=1)
        self.second = conv(wide, wide, axes, groups=wide // math.gcd(wide, _GROUP))
        self.third = conv(wide, width, axes, kernel=1, bias=False)
        self.activation = activation("leaky_relu")

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", x + self.third(self.activation(self.second(self.activation(self.first(x))))))


class _Rise(nn.Module):
    """One scale up; channels change where there are fewer places."""

    def __init__(self, before: int, after: int, step: Scale) -> None:
        super().__init__()
        self.step = step
        self.mix = nn.Identity() if before == after else conv(before, after, len(step.fine), kernel=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return finer(self.mix(x), self.step)


class _Fall(nn.Module):
    """One scale down; channels change where there are fewer places."""

    def __init__(self, before: int, after: int, step: Scale) -> None:
        super().__init__()
        self.step = step
        self.mix = nn.Identity() if before == after else conv(before, after, len(step.fine), kernel=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.mix(coarser(x, self.step)))


def _levels(width: int, steps: Sequence[Scale], blocks: int, finest: int) -> tuple[list[int], list[int]]:
    """Channels and blocks of each scale with features, the finest first; the finest of all only where it has blocks."""
    common, last = integer("blocks", blocks, low=1), integer("finest", finest, low=0)
    found = channels(width, steps)
    counts = [last, *(common for _ in steps)]
    return (found, counts) if last else (found[1:], counts[1:])


def _fix_up(net: nn.Module) -> None:
    """Scales a net's residual blocks as for depth: their last convolutions to 0."""
    blocks = [module for module in net.modules() if isinstance(module, _Block)]
    gain = len(blocks) ** -0.25 / math.sqrt(LEFT["leaky_relu"])  # -1 / (2 m - 2) with m = 3 layers a block
    for block in blocks:
        quiet(block.first, gain)
        quiet(block.second, gain)
        quiet(block.third, 0.0)
