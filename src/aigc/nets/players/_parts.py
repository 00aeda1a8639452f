"""Small parts of generators and discriminators: convolutions, normalisations, channels at each scale."""

import math
from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

from torch import Tensor, nn

from aigc._checks import fail, integer
from aigc.nets._shapes import Scale
from aigc.nets._stacks import widths
from aigc.nets._weights import Activation, activation
from aigc.nets.conditions import Condition, Shift

__all__ = ["Norm", "Start", "channels", "conv", "norm", "sides"]

Norm = Literal["batch", "layer"]

_CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d}
_BATCH: dict[int, Any] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d}


def conv(inputs: int, outputs: int, axes: int, *, kernel: int = 3, groups: int = 1, bias: bool = True) -> nn.Module:
    """A convolution along one axis or two that keeps all places."""
    made: nn.Module = _CONVOLUTIONS[axes](inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=bias)
    return made


def norm(name: Norm | None, width: int, axes: int, *, of: str = "generator") -> nn.Module:
    """A normalisation of the units of a layer, or none.

    Args:
        name: `"batch"` takes its statistics from the batch, in training mode, and so mixes examples there; in evaluation
            mode it has those it kept. `"layer"` takes them from each example.
        width: Units, or channels.
        axes: Of places.
        of: A discriminator takes no batch norm: gradients of one example's logit would depend on the others, and penalties
            would no longer be per example.
    """
    if name is None:
        return nn.Identity()
    known = get_args(Norm) if of == "generator" else ("layer",)
    if name not in known:
        cure = "Batch norm mixes examples, and penalties are per example." if name == "batch" else ""
        raise fail("norm", f"one of {', '.join(known)}, or None", name, cure)
    if name == "layer":
        return nn.LayerNorm(width) if axes == 0 else nn.GroupNorm(1, width)
    return cast("nn.Module", _BATCH[axes](width))


def channels(width: int, steps: Sequence[Scale]) -> list[int]:
    """Channels at each scale, the finest first: `width` at the finest two, then doubling, up to 8 times.

    Example:
        >>> from aigc.nets._shapes import scales
        >>> channels(16, scales((32, 32)))
        [16, 16, 32, 64]
    """
    return [integer("width", width, low=1), *widths(width, len(steps))]


def sides(steps: Sequence[Scale]) -> list[tuple[int, ...]]:
    """Places at each scale, the finest first."""
    return [step.fine for step in steps] + [steps[-1].coarse]


class Start(nn.Module):
    """From a latent and a condition to features at the coarsest scale: a linear layer, a norm and an activation."""

    def __init__(
        self,
        latent: int,
        shape: tuple[int, ...],
        *,
        condition: Condition | None,
        norms: Norm | None = None,
        name: Activation | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.linear = nn.Linear(latent, math.prod(shape))
        self.norm = norm(norms, shape[0], len(shape) - 1)
        self.shift = Shift(condition, shape[0])
        self.activation = nn.Identity() if name is None else activation(name)

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """From `(batch, latent)` to `(batch, *shape)`."""
        x = self.norm(self.linear(z).reshape(len(z), *self.shape))
        return cast("Tensor", self.activation(self.shift(x, condition)))
