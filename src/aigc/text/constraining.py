"""What a call may ask a text to be: JSON, a match, a choice, text of a grammar."""

from collections.abc import Sequence
from typing import Any, TypedDict

from aigc._checks import fail
from aigc.sampling import Choices, Grammar, Json, Regex
from aigc.sampling.constraints import Constraint

__all__ = ["ConstraintOptions", "constraint"]


class ConstraintOptions(TypedDict, total=False):
    """What every way to write takes, at most one of them: see `aigc.sampling.Constrained`."""

    json: Any
    regex: str | None
    choices: Sequence[str] | None
    grammar: str | None


def constraint(*, json: Any, regex: str | None, choices: Sequence[str] | None, grammar: str | None) -> Constraint | None:
    """The constraint that is asked for.

    Raises:
        ParameterError: If there are two of them, or it cannot be followed.

    >>> constraint(json=None, regex="a+", choices=None, grammar=None)
    Regex(pattern='a+')
    """
    asked = {"json": (Json, json), "regex": (Regex, regex), "choices": (Choices, choices), "grammar": (Grammar, grammar)}
    given = {name: (kind, value) for name, (kind, value) in asked.items() if value is not None}
    if len(given) > 1:
        raise fail(" and ".join(given), "given one at a time", {name: value for name, (_, value) in given.items()})
    return next((kind(value) for kind, value in given.values()), None)
