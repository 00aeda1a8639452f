"""The parameters of a preset, as they are read."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, SupportsIndex

from aigc._checks import fail_type, integer
from aigc.sampling._numbers import check
from aigc.sampling.filters import Greedy, TopP
from aigc.sampling.parts import Part
from aigc.sampling.shaping import LogitBias

__all__ = ["MOST", "Given", "bias", "nucleus"]

MOST = 1e308


class Given(NamedTuple):
    """The parameters of a call."""

    system: str
    values: Mapping[str, Any]
    defaults: Mapping[str, Any]
    everywhere: bool  # whether defaults hold for filters that nobody asked for

    def get(self, name: str) -> Any:
        """What was given; else None, or the default."""
        return self.values.get(name, self.defaults[name] if self.everywhere else None)

    def number(self, name: str, *, low: float = -MOST, high: float = MOST, above: bool = False, rest: bool = False) -> Any:
        """A number in a range, None if it was not given; the default if it is the rest of a filter."""
        value = self.values.get(name, self.defaults[name]) if rest else self.get(name)
        if value is not None:
            below = [f"at most {high}"] if high < MOST else []
            over = [f"above {low}" if above else f"at least {low}"] if low > -MOST else []
            wanted = "a finite number" if not over + below else f"a number, {' and '.join(over + below)}"
            check(self.named(name), value, wanted, low=low, high=high, above_low=above, per_row=False)
        return value

    def whole(self, name: str, *, low: int, rest: bool = False) -> Any:
        """The same of integers."""
        value = self.values.get(name, self.defaults[name]) if rest else self.get(name)
        return value if value is None else integer(self.named(name), value, low=low)

    def flag(self, name: str, otherwise: bool) -> bool:
        """The same of true or false."""
        value = self.get(name)
        if value is None:
            return otherwise
        if not isinstance(value, bool):
            raise fail_type(self.named(name), "a bool", value)
        return value

    def named(self, name: str) -> str:
        """A parameter, as errors name it."""
        return f"{name} of {self.system}"


def nucleus(p: float | None) -> list[Part]:
    """Top-p, which keeps the most likely token alone at 0."""
    if p is None or p >= 1:
        return []
    return [TopP(p)] if p > 0 else [Greedy()]


def bias(given: Given) -> list[Part]:
    """Biases by id, which may be written in digits; as a dict or as pairs; False bans."""
    biases = given.get("logit_bias")
    if biases is None:
        return []
    name, wanted = given.named("logit_bias"), "a dict from tokens to numbers, or pairs of them"
    if isinstance(biases, str | bytes) or not isinstance(biases, Iterable):
        raise fail_type(name, wanted, biases)
    pairs = list(biases.items() if isinstance(biases, Mapping) else biases)
    if not all(
        isinstance(pair, Sequence) and len(pair) == 2 and isinstance(pair[0], str | SupportsIndex) for pair in pairs
    ):
        raise fail_type(name, wanted, biases)
    if not pairs:
        return []
    numbers = [(token, -math.inf if number is False else number) for token, number in pairs]
    digits = [isinstance(token, str) and token.isdecimal() for token, _ in pairs]
    return [LogitBias({int(token) if id else token: number for id, (token, number) in zip(digits, numbers, strict=True)})]
