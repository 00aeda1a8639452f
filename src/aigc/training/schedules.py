r"""Schedules: a number for each step. They multiply a learning rate, or are the weight of a divergence.

A schedule is a function from the step's number to a float, and a pure one, so that a resumed run needs no memory of it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from aigc._checks import fail, integer, number

__all__ = ["Constant", "Cosine", "Cyclical", "Exponential", "Linear", "Schedule"]

Schedule = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Constant:
    """The same number at every step, after a linear rise from 0 over `warmup` steps.

    Example:
        >>> [Constant(0.5, warmup=2)(step) for step in range(4)]
        [0.25, 0.5, 0.5, 0.5]
    """

    value: float = 1.0
    warmup: int = 0

    def __post_init__(self) -> None:
        integer("warmup", self.warmup, low=0)
        number("value", self.value)

    def __call__(self, step: int) -> float:
        """The number at a step."""
        return self.value * _rise(step, self.warmup)


@dataclass(frozen=True, slots=True)
class Linear:
    """From one number to another in a straight line over `steps` steps, and then that number.

    Example:
        >>> [Linear(0.0, 1.0, steps=4)(step) for step in range(6)]
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    first: float
    last: float
    steps: int
    warmup: int = 0

    def __post_init__(self) -> None:
        _check(self.first, self.last, self.steps, self.warmup)

    def __call__(self, step: int) -> float:
        """The number at a step."""
        share = min(max(step - self.warmup, 0) / (self.steps - self.warmup), 1.0)
        return (self.first + (self.last - self.first) * share) * _rise(step, self.warmup)


@dataclass(frozen=True, slots=True)
class Cosine:
    r"""From one number to another along half a cosine (Loshchilov and Hutter, arXiv:1608.03983).

    $$ v(i) = l + \tfrac12 (f - l) \left(1 + \cos \frac{\pi (i - w)}{n - w}\right) $$

    Args:
        first: f.
        last: l, from step n on.
        steps: n.
        warmup: w, the steps of a linear rise from 0 to f.

    Example:
        >>> [round(Cosine(steps=4)(step), 3) for step in range(6)]
        [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    steps: int
    first: float = 1.0
    last: float = 0.0
    warmup: int = 0

    def __post_init__(self) -> None:
        _check(self.first, self.last, self.steps, self.warmup)

    def __call__(self, step: int) -> float:
        """The number at a step."""
        share = min(max(step - self.warmup, 0) / (self.steps - self.warmup), 1.0)
        return (self.last + (self.first - self.last) * (1 + math.cos(math.pi * share)) / 2) * _rise(step, self.warmup)


@dataclass(frozen=True, slots=True)
class Exponential:
    r"""From one number to another by a constant factor a step: as long between 1 and 0.1 as between 0.1 and 0.01.

    $$ v(i) = f\, (l / f)^{\min(i / n, 1)} $$

    Args:
        steps: n.
        first: f, above 0.
        last: l, above 0, from step n on.

    Example:
        >>> [round(Exponential(steps=4, last=0.01)(step), 4) for step in range(6)]
        [1.0, 0.3162, 0.1, 0.0316, 0.01, 0.01]
    """

    steps: int
    first: float = 1.0
    last: float = 0.01

    def __post_init__(self) -> None:
        integer("steps", self.steps, low=1)
        for name in ("first", "last"):
            if not number(name, getattr(self, name)) > 0:
                raise fail(name, "a number above 0", getattr(self, name), "Take Cosine to reach 0.")

    def __call__(self, step: int) -> float:
        """The number at a step."""
        return float(self.first * (self.last / self.first) ** min(step / self.steps, 1.0))


@dataclass(frozen=True, slots=True)
class Cyclical:
    """Rises from 0 to a number again and again (Fu et al., arXiv:1903.10145).

    Args:
        value: The largest.
        period: Steps of a cycle.
        rise: The share of a cycle in which it rises, in (0, 1].

    Example:
        >>> [Cyclical(1.0, period=4, rise=0.5)(step) for step in range(6)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
    """

    value: float
    period: int
    rise: float = 0.5

    def __post_init__(self) -> None:
        integer("period", self.period, low=1)
        number("value", self.value)
        if not 0 < number("rise", self.rise) <= 1:
            raise fail("rise", "in (0, 1]", self.rise)

    def __call__(self, step: int) -> float:
        """The number at a step."""
        return self.value * min(step % self.period / (self.period * self.rise), 1.0)


def _rise(step: int, warmup: int) -> float:
    return min((step + 1) / warmup, 1.0) if warmup else 1.0


def _check(first: float, last: float, steps: int, warmup: int) -> None:
    number("first", first)
    number("last", last)
    integer("warmup", warmup, low=0)
    integer("steps", steps, low=warmup + 1, cure="A schedule is longer than its warm-up.")
