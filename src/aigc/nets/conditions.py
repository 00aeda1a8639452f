"""Conditions: what a net is told besides its input, a class or a vector."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aigc._checks import fail, fail_type, integer

__all__ = ["Classes", "Condition", "Shift", "Vector", "check_condition", "condition_from", "condition_json"]


@dataclass(frozen=True, slots=True)
class Classes:
    """One of several classes, as int64 of shape `(batch,)`.

    Args:
        count: How many there are, at least 1.

    Example:
        >>> from aigc import nets
        >>> encoder, decoder = nets.for_images((1, 8, 8), 2, condition=nets.Classes(10))
        >>> decoder(torch.zeros(3, 2), torch.tensor([0, 7, 9])).shape
        torch.Size([3, 1, 8, 8])
    """

    count: int

    def __post_init__(self) -> None:
        integer("count", self.count, low=1)


@dataclass(frozen=True, slots=True)
class Vector:
    """Numbers of about unit size, as floats of shape `(batch, size)`.

    Args:
        size: How many, at least 1.

    Example:
        >>> from aigc import nets
        >>> encoder, decoder = nets.for_images((1, 8, 8), 2, condition=nets.Vector(5))
        >>> decoder(torch.zeros(3, 2), torch.ones(3, 5)).shape
        torch.Size([3, 1, 8, 8])
    """

    size: int

    def __post_init__(self) -> None:
        integer("size", self.size, low=1)


Condition = Classes | Vector


def condition_from(value: Condition | Mapping[str, int] | None) -> Condition | None:
    """Reads a condition as JSON has it.

    Example:
        >>> condition_from({"classes": 10})
        Classes(count=10)
    """
    if value is None or isinstance(value, Classes | Vector):
        return value
    if isinstance(value, Mapping) and len(value) == 1 and set(value) <= {"classes", "vector"}:
        ((kind, size),) = value.items()
        return Classes(size) if kind == "classes" else Vector(size)
    raise fail_type("condition", "nets.Classes(count), nets.Vector(size) or None", value)


def condition_json(condition: Condition | None) -> dict[str, int] | None:
    """A condition as JSON has it; the inverse of `condition_from`.

    Example:
        >>> condition_json(Vector(5))
        {'vector': 5}
    """
    if condition is None:
        return None
    return {"classes": condition.count} if isinstance(condition, Classes) else {"vector": condition.size}


def check_condition(wanted: Condition | None, given: Tensor | None, batch: int) -> Tensor | None:
    """Checks what a net is given as its condition.

    Whether classes are in range is looked at where that costs nothing: on an accelerator it would have to be waited for.

    Raises:
        ParameterError: If it is missing, not wanted, of another shape, or out of range.
        TypeParameterError: If it is of another type.

    Example:
        >>> check_condition(Classes(3), torch.tensor([0, 2]), 2)
        tensor([0, 2])
    """
    if wanted is None or given is None:
        if wanted is not None or given is not None:
            how = "left out: the net was built without one" if wanted is None else f"given: the net was built with {wanted}"
            cure = "Give the data alone, or build the net with a condition."
            cure = cure if wanted is None else "Say condition=..., one for each example; for fit, give (data, condition)."
            raise fail("condition", how, "None" if given is None else _kind(given), cure)
        return None
    if isinstance(wanted, Vector):
        if not isinstance(given, Tensor) or not given.is_floating_point():
            raise fail_type("condition", f"floats of shape ({batch}, {wanted.size})", _kind(given), "Call x.float().")
        if tuple(given.shape) != (batch, wanted.size):
            raise fail("condition", f"of shape ({batch}, {wanted.size})", tuple(given.shape))
        return given
    if not isinstance(given, Tensor) or given.dtype != torch.int64:
        raise fail_type("condition", f"classes, int64 of shape ({batch},)", _kind(given), "Call labels.long().")
    if tuple(given.shape) != (batch,):
        raise fail("condition", f"of shape ({batch},)", tuple(given.shape), "Give one class for each example.")
    if given.device.type == "cpu" and batch and not (int(given.min()) >= 0 and int(given.max()) < wanted.count):
        low, high = int(given.min()), int(given.max())
        built = "" if low < 0 else f", or build the net with nets.Classes({high + 1})"
        raise fail("condition", f"classes in [0, {wanted.count - 1}]", (low, high), f"Number classes from 0{built}.")
    return given


class Shift(nn.Module):
    """Adds what a condition says to each unit of a layer: the same as if it were one more input of the layer.

    Args:
        condition: None adds nothing.
        width: Units, or channels, of the layer.

    Example:
        >>> Shift(Vector(2), 3)(torch.zeros(4, 3, 8, 8), torch.ones(4, 2)).shape
        torch.Size([4, 3, 8, 8])
    """

    def __init__(self, condition: Condition | None, width: int) -> None:
        super().__init__()
        self.of: nn.Module | None = None
        if isinstance(condition, Classes):
            rows = torch.empty(condition.count, width)  # given, since first values of its own would wake the compiler
            self.of = nn.Embedding.from_pretrained(rows, freeze=False)  # type: ignore[no-untyped-call]
        elif isinstance(condition, Vector):
            self.of = nn.Linear(condition.size, width, bias=False)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """`x` of shape `(batch, width, *places)`."""
        if self.of is None:
            return x
        shift: Tensor = self.of(condition)
        return x + shift.reshape(*shift.shape, *(1 for _ in range(x.ndim - 2)))


def _kind(value: Any) -> Any:
    return (value.dtype, tuple(value.shape)) if isinstance(value, Tensor) else value
