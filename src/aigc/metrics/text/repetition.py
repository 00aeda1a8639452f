"""Whether texts repeat themselves, and how long they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aigc._checks import fail, fail_type, integer, number
from aigc.metrics.text.diversity import ngrams
from aigc.metrics.text.words import Tokenize, Units, check_texts, count_units, in_units, rule_of, units_of, words

__all__ = ["Lengths", "Repetition", "lengths", "repetition"]


@dataclass(frozen=True, slots=True)
class Repetition:
    """How much texts repeat themselves; real text does so too, a little.

    Attributes:
        repeated: Share of n-grams that occurred in the same text before, the mean over texts that have one; in [0, 1).
        near: Share of units that are among the `window` before them in the same text, of all units.
        longest: Units of the longest run that occurs again in its text.
        longest_text: The place of that text; the first of several.
        n: Units of an n-gram.
        window: Units that are looked back on.
        texts: How many.
        measured: Texts of at least n units.
        units: Of all texts.
        rule: How texts were cut into units; "given" if they were units already.

    Example:
        >>> print(repetition(["to be or not to be"], n=2, window=4))
        Repeated 2-grams 20.0%, units among the 4 before 33.3%, longest repeated run 2 (1 of 1 texts, 6 units by words)
    """

    repeated: float
    near: float
    longest: int
    longest_text: int
    n: int
    window: int
    texts: int
    measured: int
    units: int
    rule: str

    def __str__(self) -> str:
        figures = f"Repeated {self.n}-grams {self.repeated:.1%}, units among the {self.window} before {self.near:.1%}"
        counts = f"{self.measured:,} of {self.texts:,} texts, {in_units(self.units, self.rule)}"
        return f"{figures}, longest repeated run {self.longest:,} ({counts})"


def repetition(texts: Sequence[str | Units], *, n: int = 4, window: int = 32, tokenize: Tokenize = words) -> Repetition:
    r"""Measures how much texts repeat themselves, each by itself (Welleck et al., arXiv:1908.04319).

    The share of repeated n-grams is $1 - \text{distinct} / \text{all}$ of each text (their seq-rep-n); `near` is the share
    of units that occur among the `window` units before (Fu et al., arXiv:2012.14660, rep-w). A run that occurs again may
    overlap itself: of "ha ha ha" the longest is 2. The longer a text, the more of it is repeated: compare texts of like
    lengths.

    Args:
        texts: Strings, or sequences of units such as token ids.
        n: At least 1.
        window: At least 1.
        tokenize: From a string to its units.

    Raises:
        ParameterError: If no text has n units.

    Example:
        >>> found = repetition([[1, 2, 3, 1, 2, 3, 1, 2, 3]], n=3)
        >>> found.longest, round(found.repeated, 3)
        (6, 0.571)
    """
    n, window = integer("n", n, low=1), integer("window", window, low=1)
    found = count_units(texts, tokenize)
    shares = [1 - len({*ngrams(text, n)}) / (len(text) - n + 1) for text in found if len(text) >= n]
    if not shares:
        cure = "Take a smaller n or longer texts."
        raise fail("texts", f"one of at least {n} units", f"at most {max(map(len, found))} in one", cure)
    units = sum(map(len, found))
    near = sum(_near(text, window) for text in found) / units
    runs = [_longest_repeat(text) for text in found]
    longest = max(runs)
    counts = (len(found), len(shares), units, rule_of(texts, tokenize))
    return Repetition(math.fsum(shares) / len(shares), near, longest, runs.index(longest), n, window, *counts)


def _near(text: list[int], window: int) -> int:
    """How many units occurred among the `window` before them."""
    last: dict[int, int] = {}
    count = 0
    for i, unit in enumerate(text):
        count += i - last.get(unit, -window - 1) <= window
        last[unit] = i
    return count


def _longest_repeat(text: list[int]) -> int:
    """The length of the longest run that occurs twice, by a suffix automaton (Blumer et al., 1985), in linear time.

    A state stands for the runs that end at the same places; the state that its link names ends at more places, so at two at
    least, and every run that does is in one of these.
    """
    nexts: list[dict[int, int]] = [{}]
    link, length = [-1], [0]
    last = 0
    for unit in text:
        new = len(nexts)
        nexts.append({})
        link.append(0)
        length.append(length[last] + 1)
        at = last
        while at >= 0 and unit not in nexts[at]:
            nexts[at][unit] = new
            at = link[at]
        if at >= 0:
            after = nexts[at][unit]
            if length[after] != length[at] + 1:
                after = _split(nexts, link, length, at, after, unit)
            link[new] = after
        last = new
    return max(length[state] for state in link[1:]) if text else 0


def _split(nexts: list[dict[int, int]], link: list[int], length: list[int], at: int, state: int, unit: int) -> int:
    """Parts the shorter runs of a state from the longer ones."""
    copy = len(nexts)
    nexts.append(dict(nexts[state]))
    link.append(link[state])
    length.append(length[at] + 1)
    while at >= 0 and nexts[at].get(unit) == state:
        nexts[at][unit] = copy
        at = link[at]
    link[state] = copy
    return copy


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long texts are.

    Attributes:
        mean: Units of a text.
        quantiles: Pairs of a probability and the length below which so many are, interpolated as numpy does by default.
        texts: How many.
        units: Of all texts.
        rule: How texts were cut into units; "given" if they were units already.

    Example:
        >>> print(lengths(["a b", "a b c d", "a"]))
        2.333 units a text; 5%: 1.1, 25%: 1.5, 50%: 2, 75%: 3, 95%: 3.8 (3 texts, 7 units by words)
    """

    mean: float
    quantiles: tuple[tuple[float, float], ...]
    texts: int
    units: int
    rule: str

    def __str__(self) -> str:
        shown = ", ".join(f"{q:.0%}: {value:.4g}" for q, value in self.quantiles)
        return f"{self.mean:.4g} units a text; {shown} ({self.texts:,} texts, {in_units(self.units, self.rule)})"


def lengths(
    texts: Sequence[str | Units],
    *,
    quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
    tokenize: Tokenize = words,
) -> Lengths:
    """Measures how long texts are, in units.

    Args:
        texts: At least one; an empty one has length 0. `tokenize=list` counts characters.
        quantiles: In [0, 1].
        tokenize: From a string to its units.

    Example:
        >>> lengths(["静夜思", "春晓"], quantiles=[0.5], tokenize=list).quantiles
        ((0.5, 2.5),)
    """
    check_texts(texts, tokenize)
    if isinstance(quantiles, str | bytes) or not isinstance(quantiles, Sequence):
        raise fail_type("quantiles", "a sequence of numbers in [0, 1]", quantiles, "Put one into a list.")
    asked = [number(f"quantiles[{i}]", q, low=0, high=1) for i, q in enumerate(quantiles)]
    sizes = [len(units_of(f"texts[{i}]", text, tokenize)) for i, text in enumerate(texts)]
    values = np.quantile(sizes, asked).tolist() if asked else []
    rule = rule_of(texts, tokenize)
    return Lengths(sum(sizes) / len(sizes), tuple(zip(asked, values, strict=True)), len(sizes), sum(sizes), rule)
