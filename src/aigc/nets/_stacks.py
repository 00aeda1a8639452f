"""Convolutions from fine to coarse and back: what convolutional nets and hierarchies are made of."""

from collections.abc import Sequence

from torch import Tensor, nn

from aigc._checks import integer
from aigc.nets._blocks import Blocks, Down, Rise, Up, convolution
from aigc.nets._shapes import Scale
from aigc.nets._weights import Activation
from aigc.nets.conditions import Condition

__all__ = ["Ascending", "Descending", "ascending", "last", "widths"]


def widths(width: int, steps: int) -> list[int]:
    """Channels at each scale but the finest, the finer first.

    Example:
        >>> widths(32, 5)
        [32, 64, 128, 256, 256]
    """
    width = integer("width", width, low=1)
    return [width * 2 ** min(step, 3) for step in range(steps)]


def last(width: int, outputs: int, step: Scale, blocks: tuple[int, int]) -> nn.Module:
    """The layer that writes the parameters: a step up by itself, unless blocks at the finest scale come before it."""
    return convolution(width, outputs, len(step.fine)) if blocks[1] else Up(width, outputs, step)


class Descending(nn.Module):
    """From fine to coarse: `(batch, inputs, *places)` to one tensor a scale, the coarsest first.

    Args:
        inputs: Channels of the data.
        channels: At each scale but the finest, the finer first.
        steps: Between scales.
        blocks: At each scale but the finest, and at the finest; where these are 0, it has no features.
        name: Of the activation.
        condition: Or None.
    """

    def __init__(
        self,
        inputs: int,
        channels: Sequence[int],
        steps: Sequence[Scale],
        blocks: tuple[int, int],
        name: Activation,
        condition: Condition | None,
    ) -> None:
        super().__init__()
        axes, width = len(steps[0].fine), channels[0]
        self.stem = convolution(inputs, width, axes) if blocks[1] else None
        self.fine = Blocks(blocks[1], width, axes, name, condition)
        before = [width if blocks[1] else inputs, *channels[:-1]]
        self.down = nn.ModuleList(
            Down(b, after, step, name, condition) for b, after, step in zip(before, channels, steps, strict=True)
        )
        self.blocks = nn.ModuleList(Blocks(blocks[0], width, axes, name, condition) for width in channels)

    def forward(self, x: Tensor, condition: Tensor | None) -> list[Tensor]:
        """From `(batch, inputs, *places)`."""
        found = []
        if self.stem is not None:
            x = self.fine(self.stem(x), condition)
            found.append(x)
        for down, block in zip(self.down, self.blocks, strict=True):
            x = block(down(x, condition), condition)
            found.append(x)
        return found[::-1]


class Ascending(nn.Module):
    """From coarse to fine; the last step is the head's, unless there are blocks at the finest scale."""

    def __init__(
        self,
        channels: Sequence[int],
        steps: Sequence[Scale],
        blocks: tuple[int, int],
        name: Activation,
        condition: Condition | None,
    ) -> None:
        super().__init__()
        levels = ascending(channels, blocks)
        ups = zip(levels, levels[1:], steps[::-1], strict=False)
        self.rise = nn.ModuleList(Rise(b, after, step, name, condition) for (b, _), (after, _), step in ups)
        axes = len(steps[0].fine)
        self.blocks = nn.ModuleList(Blocks(count, width, axes, name, condition) for width, count in levels)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """From `(batch, channels, *places)` at the coarsest scale."""
        for i, block in enumerate(self.blocks):
            x = block(self.rise[i - 1](x, condition) if i else x, condition)
        return x


def ascending(channels: Sequence[int], blocks: tuple[int, int]) -> list[tuple[int, int]]:
    """Channels and blocks of each scale, the coarsest first; the finest only where it has blocks.

    Example:
        >>> ascending([32, 64], (2, 0)), ascending([32, 64], (2, 1))
        ([(64, 2), (32, 2)], [(64, 2), (32, 2), (32, 1)])
    """
    return [(width, blocks[0]) for width in channels[::-1]] + ([(channels[0], blocks[1])] if blocks[1] else [])
