"""Conditions as models take them from a caller."""

from typing import Any

from torch import Tensor

from aigc._checks import fail, fail_type

__all__ = ["check_kind", "one_each", "repeated"]


def check_kind(condition: Any) -> Tensor:
    """Checks that a condition is a tensor; the nets know which."""
    if not isinstance(condition, Tensor):
        cure = "Call torch.tensor on the list, of one class or one row of numbers for each."
        raise fail_type("condition", "a tensor of classes (n,) or of numbers (n, size)", condition, cure)
    if not condition.ndim:
        raise fail("condition", "a tensor of classes (n,) or of numbers (n, size)", "a scalar", "Call condition[None].")
    return condition


def repeated(condition: Tensor | None, times: int) -> Tensor | None:
    """A condition for each of several codes of an example."""
    if condition is None:
        return None
    return check_kind(condition).repeat(times, *(1 for _ in condition.shape[1:]))


def one_each(condition: Tensor | None, rows: int) -> Tensor | None:
    """A condition for each of some rows: one that is theirs together, or as many."""
    if condition is None:
        return None
    if len(check_kind(condition)) not in (1, rows):
        raise fail("condition", f"one, or {rows}, one for each", len(condition))
    return condition.expand(rows, *condition.shape[1:])
