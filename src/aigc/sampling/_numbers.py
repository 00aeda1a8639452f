"""Parameters of filters: a number, or a tensor with one number per row. Checked once, when a filter is made."""

import math
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from aigc._checks import fail, fail_type

__all__ = ["Parametric", "check", "column", "cure", "values"]

_FLOATS = (float, np.floating)
_NUMBERS = (int, np.integer, *_FLOATS)


class Parametric:
    """Prints a filter as it is written, `TopK(50)`, and says which of its fields may hold one number per row."""

    __slots__ = ()
    per_row: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        shown = []
        for field in fields(self):  # type: ignore[arg-type]  # whoever inherits is a dataclass
            value = getattr(self, field.name)
            if field.repr and not _same(value, field.default):
                value = value.tolist() if isinstance(value, Tensor) else value
                shown.append(f"{field.name}={value!r}" if field.kw_only else repr(value))
        return f"{type(self).__name__}({', '.join(shown)})"


def check(
    name: str,
    value: Any,
    condition: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above_low: bool = False,
    whole: bool = False,
    per_row: bool = True,
) -> None:
    """Checks a finite number in a range, or a tensor of such numbers, one per row.

    Args:
        name: The parameter.
        value: What was given.
        condition: What it must be, as the error says it: `"a number in (0, 1]"`.
        low: The least.
        high: The largest.
        above_low: Whether the least itself is excluded.
        whole: Whether it must be an integer.
        per_row: Whether a tensor is allowed.

    Raises:
        ParameterError: If it is out of range.
        TypeParameterError: If it is no such number.
    """
    wanted = condition + (", or a tensor of one per row" if per_row else "")
    if isinstance(value, Tensor) and per_row:
        if value.is_complex() or value.dtype == torch.bool or (whole and value.is_floating_point()) or value.ndim > 1:
            raise fail_type(name, wanted, value)
        numbers = value.flatten().tolist()
    elif isinstance(value, _NUMBERS) and not isinstance(value, bool) and not (whole and isinstance(value, _FLOATS)):
        numbers = [value]
    else:
        raise fail_type(name, wanted, value, cure(value, per_row=per_row))
    for number in numbers:
        if not (low < number if above_low else low <= number) or not number <= high or math.isinf(number):
            raise fail(name, wanted, value.tolist() if isinstance(value, Tensor) else value)


def cure(value: object, *, per_row: bool = True) -> str:
    """What to give in place of a parameter that is no number."""
    if value is None:
        return "Leave the filter out to have it off."
    several = per_row and isinstance(value, list | tuple | np.ndarray)
    return "For one per row give torch.tensor(...)." if several else ""


def column(value: float | Tensor, logits: Tensor) -> Tensor:
    """A parameter beside logits `(*rows, vocab)`: float64 `(*rows, 1)`."""
    return torch.as_tensor(value, dtype=torch.float64, device=logits.device).expand(logits.shape[:-1])[..., None]


def values(part: Any) -> list[tuple[str, Any]]:
    """The parameters of a filter that may hold one number per row, with their names."""
    return [(name, getattr(part, name)) for name in getattr(type(part), "per_row", ())]


def _same(value: Any, default: Any) -> bool:
    return not isinstance(value, Tensor) and type(value) is type(default) and bool(value == default)
