"""Which of two models predicts text better, if one does."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aigc._checks import fail, number
from aigc.metrics.text._bootstrap import check_resampling, interval, sign_flip
from aigc.metrics.text.likelihood import Amount, ScoredText, check_scored, column

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference of two models on the same documents, in bits per byte.

    Attributes:
        first: Bits per byte of the first model.
        second: Of the second.
        difference: `first - second`: below 0 where the first is better.
        low: Of the interval of the difference.
        high: Of the same.
        p_value: Of a test by changes of sign: how often chance alone makes a difference as large.
        margin: What counts as no difference at all.
        confidence: Of the interval; the test's level is what it leaves.
        resamples: Of the interval and the test.
        seed: Of both.
        amount: What they rest on; tokens are those of the first model.

    Example:
        >>> print(Comparison(1.5, 1.6, -0.1, -0.12, -0.08, 0.001, 1e-6, 0.95, 5000, 0, Amount(50, 9000, 9000, 3000)))
        The first is better: 1.5 and 1.6 bits per byte, -0.1 [-0.12, -0.08], p 0.001 (50 documents, 9,000 characters, ...
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    margin: float
    confidence: float
    resamples: int
    seed: int
    amount: Amount

    @property
    def verdict(self) -> Literal["first", "second", "undecided"]:
        """Which is better: the interval must leave out 0, the test agree, and the difference exceed the margin."""
        apart = (self.low > 0 or self.high < 0) and self.p_value <= 1 - self.confidence
        if not apart or abs(self.difference) <= self.margin:
            return "undecided"
        return "first" if self.difference < 0 else "second"

    def __str__(self) -> str:
        says = "Undecided" if self.verdict == "undecided" else f"The {self.verdict} is better"
        spread = f"{self.difference:.3g} [{self.low:.3g}, {self.high:.3g}], p {self.p_value:.2g}"
        how = f"{100 * self.confidence:g}% interval, BCa over pairs of documents"
        return f"{says}: {self.first:.4g} and {self.second:.4g} bits per byte, {spread} ({self.amount}; {how})"


def compare(
    first: Sequence[ScoredText],
    second: Sequence[ScoredText],
    *,
    confidence: float = 0.95,
    margin: float = 1e-6,
    resamples: int = 5000,
    seed: int = 0,
) -> Comparison:
    r"""Compares two models on the same documents, pair by pair.

    $$ \Delta = \frac{\sum_d (\text{nats}^1_d - \text{nats}^2_d)}{\ln 2 \sum_d \text{bytes}_d}, $$

    with a BCa interval over documents that are drawn again, both models' scores of a document together: what makes a
    document hard is hard for both, so the interval is far narrower than those of the models by themselves. An interval of
    few documents is too narrow, so one is called better only if a test by random changes of sign agrees, whose level is
    right for any number: of fewer than 6 documents nothing is decided at 95%. A model is never better than itself.

    Args:
        first: The documents as the first model scored them.
        second: The same ones, in the same order, as the second did.
        confidence: Of the interval; `1 - confidence` is the level of the test.
        margin: Bits per byte that do not count, at least 0: what rounding makes of the same model run in two ways.
        resamples: Of the interval and the test, at least 100.
        seed: Of both.

    Raises:
        ParameterError: If the documents differ, or there is only one.

    Example:
        >>> a = [ScoredText(100.0 + i % 7, 50, 200, 200) for i in range(40)]
        >>> b = [ScoredText(103.0 + i % 5, 60, 200, 200) for i in range(40)]
        >>> compare(a, b).verdict, compare(b, a).verdict, compare(a, a).verdict
        ('first', 'second', 'undecided')
    """
    one, other = check_scored("first", first), check_scored("second", second)
    check_resampling(confidence, resamples, seed)
    number("margin", margin, low=0)
    if len(one) != len(other):
        raise fail("second", f"scores of the same {len(one)} documents", len(other), "Score both on the same texts.")
    if len(one) < 2:
        raise fail("first", "at least 2 documents for an interval", 1, "Cut it into passages that may count as documents.")
    for i, (a, b) in enumerate(zip(one, other, strict=True)):
        if a.bytes != b.bytes:
            cure = "Models without a begin token leave the first token out; score the same bytes with both."
            raise fail(f"second[{i}]", f"of {a.bytes} bytes, as the first model's", b.bytes, cure)
    ours, theirs, size = column(one, "nats"), column(other, "nats"), column(one, "bytes")
    off, bits = ours - theirs, math.log(2)
    low, high = interval(off, size, confidence=confidence, resamples=resamples, seed=seed)
    values = [math.fsum(x.tolist()) / bits / float(size.sum()) for x in (ours, theirs, off)]
    p_value = sign_flip(off, resamples=resamples, seed=seed)
    amount = Amount(len(one), *(sum(getattr(d, name) for d in one) for name in ("characters", "bytes", "tokens")))
    how = (p_value, float(margin), float(confidence), resamples, seed, amount)
    return Comparison(values[0], values[1], values[2], low / bits, high / bits, *how)
