"""Argument checks, so that the sentence of an error is written once.

Every function returns the value it was given, checked and narrowed, or raises. The sentence is always
`{name} must be {condition}, got {value!r}. {cure}`.
"""

import math
import operator
from collections.abc import Callable
from typing import Any, TypeVar

from aigc.errors import MissingExtraError, ParameterError, TypeParameterError

__all__ = ["fail", "fail_type", "instance", "integer", "number", "one_of", "require_extra"]

T = TypeVar("T")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def fail(name: str, condition: str, value: object, cure: str = "") -> ParameterError:
    """Builds the error for an argument whose value is out of range; the caller raises it."""
    return ParameterError(f"{name} must be {condition}, got {_shown(value)}. {cure}".rstrip())


def fail_type(name: str, condition: str, value: object, cure: str = "") -> TypeParameterError:
    """Builds the error for an argument of the wrong type; the caller raises it."""
    shown = f"{_shown(value)} of type {type(value).__name__}"
    return TypeParameterError(f"{name} must be {condition}, got {shown}. {cure}".rstrip())


def integer(name: str, value: object, *, low: int | None = None, high: int | None = None, cure: str = "") -> int:
    """Checks a whole number in `[low, high]`; a bool or a float is a type error."""
    bounds = _bounds("an integer", low, high)
    if isinstance(value, bool):
        raise fail_type(name, bounds, value, cure)
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # raising is what it is called for
    except TypeError:
        raise fail_type(name, bounds, value, cure) from None
    if (low is not None and number < low) or (high is not None and number > high):
        raise fail(name, bounds, value, cure)
    return number


def number(
    name: str,
    value: object,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    cure: str = "",
) -> float:
    """Checks a finite real number in `[low, high]`, or `(low, high]` with `open_low`; NaN is out of range."""
    left, right = "(" if open_low else "[", ")" if high == math.inf else "]"
    if low == -math.inf:
        left = "("
    condition = f"a number in {left}{low:g}, {high:g}{right}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise fail_type(name, condition, value, cure)
    inside = math.isfinite(value) and low <= value <= high and not (open_low and value == low)
    if not inside:
        raise fail(name, condition, value, cure)
    return float(value)


def instance(name: str, value: object, kind: type[T], condition: str, cure: str = "") -> T:
    """Checks a value's type; `condition` says in words what was wanted."""
    if not isinstance(value, kind):
        raise fail_type(name, condition, value, cure)
    return value


def one_of(name: str, value: object, choices: tuple[T, ...], cure: str = "") -> T:
    """Checks that a value is one of a few."""
    for choice in choices:
        if value == choice and type(value) is type(choice):
            return choice
    raise fail(name, "one of " + ", ".join(repr(choice) for choice in choices), value, cure)


def require_extra(load: Callable[[], Any], package: str, extra: str) -> Any:
    """Imports an optional package, or says which extra installs it."""
    try:
        return load()
    except ImportError as error:
        raise MissingExtraError(f"{package} is not installed. Run: pip install 'aigc[{extra}]'") from error


def _bounds(noun: str, low: int | None, high: int | None) -> str:
    if low is None and high is None:
        return noun
    if high is None:
        return f"{noun} of at least {low}"
    if low is None:
        return f"{noun} of at most {high}"
    return f"{noun} in [{low}, {high}]"
