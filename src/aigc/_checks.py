"""Argument checks, so that the sentence of an error is written once.

A check returns the value it was given, checked and narrowed, or raises. The sentence is always
`{name} must be {condition}, got {value!r}. {cure}`.
"""

import math
import operator
from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import Any

from aigc.errors import ParameterError, TypeParameterError

__all__ = [
    "encodable",
    "fail",
    "fail_type",
    "flag",
    "function",
    "integer",
    "known",
    "number",
    "positive",
    "sequence",
    "string",
]


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
    if isinstance(value, bool):
        raise fail_type(name, _bounds("an integer", low, high), value, cure)
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # raising is what it is called for
    except TypeError:
        raise fail_type(name, _bounds("an integer", low, high), value, cure) from None
    if (low is not None and number < low) or (high is not None and number > high):
        raise fail(name, _bounds("an integer", low, high), value, cure)
    return number


def number(name: str, value: object, *, low: float = -math.inf, high: float = math.inf) -> float:
    """Checks a finite number in `[low, high]`; a bool is a type error."""
    unbounded = {(True, True): "a finite number", (False, True): f"a finite number of at least {low:g}"}
    condition = unbounded.get((low == -math.inf, high == math.inf), f"a number in [{low:g}, {high:g}]")
    if isinstance(value, bool) or not isinstance(value, Real):
        raise fail_type(name, condition, value, _plainly(name, value))
    found = float(value)
    if not math.isfinite(found) or not low <= found <= high:
        raise fail(name, condition, value)
    return found


def known(given: Mapping[str, object], names: Collection[str]) -> None:
    """Checks the names of arguments that were taken as `**parts`: of a name that nobody reads, Python says nothing."""
    for name, value in given.items():
        if name not in names:
            raise fail_type(name, "left out: there is no such argument", value, f"There are {', '.join(sorted(names))}.")


def positive(name: str, value: object, *, of: str = "a number", cure: str = "") -> float:
    """Checks a number above 0, which may be infinite; a bool is a type error."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise fail_type(name, f"{of} above 0", value, _plainly(name, value) or cure)
    if not float(value) > 0:
        raise fail(name, f"{of} above 0", value, cure)
    return float(value)


def encodable(name: str, value: str) -> str:
    """Checks that a string has no half of a surrogate pair, for which there are no bytes and no tokens."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise fail(name, "text without lone surrogates", value, "Decode it with errors='replace'.") from None
    return value


def flag(name: str, value: object) -> bool:
    """Checks a switch: True or False, not what Python would take for one of them."""
    if not isinstance(value, bool):
        raise fail_type(name, "True or False", value, "Call bool(x) on what is one by another type.")
    return value


def function(name: str, value: object, condition: str) -> None:
    """Checks something to be called, or None."""
    if value is not None and not callable(value):
        raise fail_type(name, condition, value)


def sequence(name: str, value: Any, of: str, *, cure: str = "") -> Sequence[Any]:
    """Checks a list or another sequence, which can be gone through again and again."""
    if not isinstance(value, Sequence):
        raise fail_type(name, f"a sequence of {of}", value, cure)
    return value


def string(name: str, value: object, *, of: str = "a string") -> str:
    """Checks a string that UTF-8 can write: one without half of a surrogate pair."""
    if not isinstance(value, str):
        raise fail_type(name, of, value)
    return encodable(name, value)


def _plainly(name: str, value: object) -> str:
    """The cure for a number that is one of numpy or torch."""
    return f"Give float({name})." if getattr(value, "ndim", None) == 0 else ""


def _bounds(noun: str, low: int | None, high: int | None) -> str:
    if low is None and high is None:
        return noun
    if high is None:
        return f"{noun} of at least {low}"
    if low is None:
        return f"{noun} of at most {high}"
    return f"{noun} in [{low}, {high}]"
