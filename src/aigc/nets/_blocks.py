"""Convolutions along one axis or two that make places fewer or more, and residual blocks."""

import math
from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F

from aigc.nets._shapes import Scale
from aigc.nets._weights import LEFT, Activation, activation, quiet
from aigc.nets.conditions import Condition, Shift

__all__ = ["Blocks", "Down", "Rise", "Up", "convolution", "soften"]

# By the number of axes; Any, since the types of torch's layers want a tuple of a known length.
_LAYERS: dict[int, tuple[Any, Any]] = {1: (nn.Conv1d, nn.ConvTranspose1d), 2: (nn.Conv2d, nn.ConvTranspose2d)}


def convolution(inputs: int, outputs: int, axes: int) -> nn.Module:
    """A convolution that keeps all places, with a kernel of 3."""
    made: nn.Module = _LAYERS[axes][0](inputs, outputs, 3, padding=1)
    return made


class Down(nn.Module):
    """Divides the places: sides that do not divide get zeros at their end first. Without an activation it is linear."""

    def __init__(
        self, inputs: int, outputs: int, scale: Scale, name: Activation | None, condition: Condition | None
    ) -> None:
        super().__init__()
        made = _LAYERS[len(scale.fine)][0]
        self.convolution = made(inputs, outputs, _kernel(scale), stride=scale.factors, padding=_padding(scale))
        self.shift = Shift(condition, outputs)
        self.activation = nn.Identity() if name is None else activation(name)
        missing = [c * by - f for c, by, f in zip(scale.coarse, scale.factors, scale.fine, strict=True)]
        self.missing = [number for count in reversed(missing) for number in (0, count)]  # as F.pad wants it

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        x = F.pad(x, self.missing) if any(self.missing) else x
        return cast("Tensor", self.activation(self.shift(self.convolution(x), condition)))


class Up(nn.Module):
    """Multiplies the places: what `Down` had to add to a side is cut off."""

    def __init__(self, inputs: int, outputs: int, scale: Scale) -> None:
        super().__init__()
        made = _LAYERS[len(scale.fine)][1]
        self.convolution = made(inputs, outputs, _kernel(scale), stride=scale.factors, padding=_padding(scale))
        self.places = scale.fine

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        for axis, side in enumerate(self.places, start=2):
            x = x.narrow(axis, 0, side)
        return x


class Rise(nn.Module):
    """One scale up, with a condition and an activation."""

    def __init__(self, before: int, after: int, step: Scale, name: Activation, condition: Condition | None) -> None:
        super().__init__()
        self.up, self.shift, self.activation = Up(before, after, step), Shift(condition, after), activation(name)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        return cast("Tensor", self.activation(self.shift(self.up(x), condition)))


class Block(nn.Module):
    """x + W f(V f(x)), with a condition between (He et al., arXiv:1603.05027)."""

    def __init__(self, width: int, axes: int, name: Activation, condition: Condition | None) -> None:
        super().__init__()
        self.first, self.second = convolution(width, width, axes), convolution(width, width, axes)
        self.shift = Shift(condition, width)
        self.activation = activation(name)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        inner = self.shift(self.first(self.activation(x)), condition)
        return cast("Tensor", x + self.second(self.activation(inner)))


class Blocks(nn.Module):
    """Several residual blocks, or none."""

    def __init__(self, count: int, width: int, axes: int, name: Activation, condition: Condition | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, axes, name, condition) for _ in range(count))

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(x, condition)
        return x


def soften(net: nn.Module, after: Activation) -> None:
    """Makes the last weights of each of n residual blocks smaller, so that each adds 1 / n of what an activation leaves.

    So the second moment grows by (1 + 1/n)^n < e at most, however deep the net.
    """
    found = list(_blocks(net))
    for block in found:
        quiet(block.second, math.sqrt(LEFT[after] / len(found)))


def _blocks(net: nn.Module) -> Iterator[Block]:
    return (module for module in net.modules() if isinstance(module, Block))


def _kernel(scale: Scale) -> tuple[int, ...]:
    """Twice the stride, so that each place is met as often as its neighbours, or 3 where nothing is divided."""
    return tuple(2 * by if by > 1 else 3 for by in scale.factors)


def _padding(scale: Scale) -> tuple[int, ...]:
    return tuple(by // 2 if by > 1 else 1 for by in scale.factors)
