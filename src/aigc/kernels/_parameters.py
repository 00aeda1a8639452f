"""Filter parameters, checked once: a number for all rows, or a number for each."""

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aigc._checks import fail, fail_type

__all__ = ["Number", "Parameters", "checked", "parameters", "same_device"]

Number = float | Tensor


class Parameters(NamedTuple):
    """What the filters do; made by `parameters`. A field is a number, a column `(rows, 1)`, or None: off for all rows.

    Attributes:
        temperature: 0 takes the first of the largest logits.
        top_k: The size of the vocabulary or more is off.
        top_p: In a column, 1 is off.
        min_p: In a column, 0 is off.

    Example:
        >>> Parameters(top_k=3)
        Parameters(temperature=None, top_k=3, top_p=None, min_p=None)
    """

    temperature: float | Tensor | None = None
    top_k: int | Tensor | None = None
    top_p: float | Tensor | None = None
    min_p: float | Tensor | None = None

    def select(self, rows: Tensor) -> "Parameters":
        """The parameters of some rows, given by index or mask."""
        return self._changed(lambda column: column[rows.to(column.device)])

    def by_row(self, rows: int) -> list[tuple[Any, ...]]:
        """The four of each row, as numbers."""
        if not any(isinstance(value, Tensor) for value in self):
            return [tuple(self)] * rows
        lists = (value.flatten().tolist() if isinstance(value, Tensor) else [value] * rows for value in self)
        return list(zip(*lists, strict=True))

    def columns(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Temperature, top-k, top-p and log(min-p) for `logits` `(rows, vocab)`, `(rows, 1)`; off is 1, vocab, 1, -inf."""
        off = (1.0, logits.shape[-1], 1.0, 0.0)
        rows = [[other if x is None else x for x, other in zip(row, off, strict=True)] for row in self.by_row(len(logits))]
        reals = torch.tensor([(t, p, math.log(m) if m else -math.inf) for t, _, p, m in rows], dtype=torch.float64)
        t, p, log_m = reals.view(-1, 3, 1).to(logits.device).unbind(1)
        return t, torch.tensor([[k] for _, k, _, _ in rows], device=logits.device), p, log_m

    def flat(self) -> "Parameters":
        """The same with tensors `(rows,)`, as a call has them."""
        return self._changed(lambda column: column[:, 0])

    def to(self, device: torch.device) -> "Parameters":
        """The same on another device."""
        return self._changed(lambda column: column.to(device))

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "Parameters":
        fields: list[Any] = [change(value) if isinstance(value, Tensor) else value for value in self]
        return Parameters(*fields)


def parameters(
    rows: torch.Size | tuple[int, ...],
    *,
    temperature: Number | None = None,
    top_k: int | Tensor | None = None,
    top_p: Number | None = None,
    min_p: Number | None = None,
    device: torch.device | None = None,
) -> Parameters:
    """Checks filter parameters, once for any number of draws.

    The values of a tensor are read to be checked, which waits for its device.

    Args:
        rows: The shape of the batch: that of a tensor of one number per row.
        temperature: As for `aigc.kernels.sample`.
        top_k: As for `aigc.kernels.sample`.
        top_p: As for `aigc.kernels.sample`.
        min_p: As for `aigc.kernels.sample`.
        device: Where the logits are. A tensor of one number per row must be there too.

    Raises:
        ParameterError: If a parameter is out of range, of the wrong shape or on another device.

    Example:
        >>> from aigc import kernels
        >>> kernels.parameters((2,), temperature=0.5, top_k=torch.tensor([3, 4]))
        Parameters(temperature=0.5, top_k=tensor([[3],
                [4]]), top_p=None, min_p=None)
    """
    return checked(rows, device, temperature, top_k, top_p, min_p)


def checked(
    rows: torch.Size | tuple[int, ...],
    device: torch.device | None,
    *given: Number | None,
    read: bool = True,
) -> Parameters:
    """Like `parameters`, in the order of its fields; `read` says whether to read the values of tensors on a device."""
    found: list[Any] = list(given)
    for i, (value, range_) in enumerate(zip(found, _RANGES, strict=True)):
        if isinstance(value, Tensor) and not value.ndim and value.device.type == "cpu":
            value = None if value == range_.off else value.item()
            found[i] = value
        if isinstance(value, Tensor):
            found[i] = _tensor(range_, value, rows, device, read)
        elif value is not None:
            found[i] = _number(range_, value)
    return Parameters(*found)


def same_device(a: torch.device, b: torch.device) -> bool:
    """Whether two devices are one; `cuda` may be any of them."""
    return a.type == b.type and (a.index == b.index or a.index is None or b.index is None)


_NUMBERS = (int, float, np.integer, np.floating)
_OFF = "Leave it out to have it off."  # the argument, or the filter


class _Range(NamedTuple):
    name: str
    condition: str
    low: float
    above_low: bool  # the low end is excluded
    high: float
    neutral: float  # a number that does nothing
    off: float  # what stands for off in a tensor, where None cannot
    whole: bool


_RANGES = (
    _Range("temperature", "a finite number of at least 0", 0.0, False, math.inf, 1.0, 1.0, False),
    _Range("top_k", "an integer of at least 1", 1, False, math.inf, math.inf, math.inf, True),
    _Range("top_p", "a number in (0, 1]", 0.0, True, 1.0, 1.0, 1.0, False),
    _Range("min_p", "a number in (0, 1]", 0.0, True, 1.0, math.inf, 0.0, False),
)


def _number(range_: _Range, value: float) -> float | None:
    name, condition, low, above_low, high, neutral, _, whole = range_
    if whole and hasattr(value, "__index__") and not isinstance(value, bool):
        value = operator.index(value)
    if isinstance(value, bool) or not isinstance(value, int if whole else _NUMBERS):
        raise fail_type(name, condition, value, _OFF)
    if not (low < value or (value == low and not above_low)) or not value <= high or value == math.inf:
        raise fail(name, condition, value, _OFF)
    if value == neutral:
        return None
    if whole:
        return min(value, 2**62)
    try:
        return float(value)
    except OverflowError:
        raise fail(name, condition, value, _OFF) from None


def _tensor(
    range_: _Range, value: Tensor, rows: torch.Size | tuple[int, ...], device: torch.device | None, read: bool
) -> Tensor:
    name, condition, low, above_low, high, _, off, whole = range_
    if value.is_complex() or value.dtype == torch.bool or (whole and value.is_floating_point()):
        raise fail(
            name, f"{condition}, in a tensor of such numbers", value.dtype, f"Call {name}.{'long' if whole else 'float'}()."
        )
    if value.ndim and value.shape != torch.Size(rows):
        raise fail(name, f"a number, or one for each row, of shape {tuple(rows)}", tuple(value.shape), f"Reshape {name}.")
    if device is not None and not same_device(value.device, device):
        raise fail(name, f"on {device}, as the logits are", value.device, f"Call {name}.to(logits.device).")
    if read:
        inside = (value > low) | (value == off) if above_low else value >= low
        if not bool((inside & (value <= high) & (value < math.inf)).all()):
            raise fail(name, condition, value.tolist(), _OFF)
    return value.expand(rows).reshape(-1, 1)
