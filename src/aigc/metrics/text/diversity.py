"""How varied a set of texts is: distinct n-grams, their entropy, and how far texts are like each other."""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aigc._checks import fail, integer
from aigc.metrics.text.words import Tokenize, Units, count_units, in_units, rule_of, words

__all__ = ["Distinct", "NgramEntropy", "SelfBleu", "distinct_n", "ngram_entropy", "ngrams", "self_bleu"]


@dataclass(frozen=True, slots=True)
class Distinct:
    """The share of different n-grams.

    Attributes:
        value: `distinct / total`; in (0, 1].
        n: Units of an n-gram.
        distinct: Different n-grams.
        total: All of them.
        texts: That were read, whole or in part.
        units: That were read.
        rule: How texts were cut into units; "given" if they were units already.

    Example:
        >>> print(Distinct(0.75, 2, 3, 4, 1, 5, "words"))
        distinct-2 0.7500 (3 of 4 n-grams; 1 texts, 5 units by words)
    """

    value: float
    n: int
    distinct: int
    total: int
    texts: int
    units: int
    rule: str

    def __str__(self) -> str:
        counts = f"{self.distinct:,} of {self.total:,} n-grams; {self.texts:,} texts, {in_units(self.units, self.rule)}"
        return f"distinct-{self.n} {self.value:.4f} ({counts})"


@dataclass(frozen=True, slots=True)
class NgramEntropy:
    """How evenly n-grams are used.

    Attributes:
        value: Bits; at most `log2(total)`, so compare sets of as many n-grams.
        n: Units of an n-gram.
        distinct: Different n-grams.
        total: All of them.
        texts: That were read, whole or in part.
        units: That were read.
        rule: How texts were cut into units; "given" if they were units already.

    Example:
        >>> print(NgramEntropy(2.0, 1, 4, 4, 1, 4, "words"))
        Entropy of 1-grams 2 bits of at most 2 (4 n-grams; 1 texts, 4 units by words)
    """

    value: float
    n: int
    distinct: int
    total: int
    texts: int
    units: int
    rule: str

    def __str__(self) -> str:
        counts = f"{self.total:,} n-grams; {self.texts:,} texts, {in_units(self.units, self.rule)}"
        return f"Entropy of {self.n}-grams {self.value:.4g} bits of at most {math.log2(self.total):.4g} ({counts})"


@dataclass(frozen=True, slots=True)
class SelfBleu:
    """How much of each text occurs in the others; lower is more varied.

    Attributes:
        value: The mean over texts; in [0, 1].
        n: The longest n-grams that count.
        texts: How many.
        units: Of all texts.
        rule: How texts were cut into units; "given" if they were units already.

    Example:
        >>> print(SelfBleu(0.31, 4, 100, 5_000, "words"))
        self-BLEU-4 0.3100 (add-one smoothing above n = 1; 100 texts, 5,000 units by words)
    """

    value: float
    n: int
    texts: int
    units: int
    rule: str

    def __str__(self) -> str:
        counts = f"{self.texts:,} texts, {in_units(self.units, self.rule)}"
        return f"self-BLEU-{self.n} {self.value:.4f} (add-one smoothing above n = 1; {counts})"


def distinct_n(
    texts: Sequence[str | Units], *, n: int = 2, units: int | None = None, tokenize: Tokenize = words
) -> Distinct:
    """Measures the share of different n-grams among all of a set of texts (Li et al., arXiv:1510.03055).

    It falls with the amount of text, whoever wrote it: compare sets cut to the same number of `units`. No n-gram reaches
    from one text into the next. Higher is more varied.

    Args:
        texts: Strings, or sequences of units such as token ids.
        n: At least 1.
        units: Reads so many only, text by text in their order; None reads all.
        tokenize: From a string to its units.

    Raises:
        ParameterError: If no text has n units, or there are fewer than `units`.

    Example:
        >>> print(distinct_n(["the sea and the sea"], n=2))
        distinct-2 0.7500 (3 of 4 n-grams; 1 texts, 5 units by words)
    """
    found, counts = _counted(texts, n, units, tokenize)
    total = sum(counts.values())
    read = (sum(map(bool, found)), sum(map(len, found)), rule_of(texts, tokenize))
    return Distinct(len(counts) / total, n, len(counts), total, *read)


def ngram_entropy(
    texts: Sequence[str | Units], *, n: int = 1, units: int | None = None, tokenize: Tokenize = words
) -> NgramEntropy:
    r"""Measures how evenly n-grams are used: $-\sum_g \hat p(g) \log_2 \hat p(g)$ of their observed shares.

    On average too low, by about `(distinct - 1) / (2 total ln 2)` bits where most n-grams are seen often, and by more else:
    compare sets cut to the same number of `units`.

    Args:
        texts: As for `distinct_n`.
        n: As for `distinct_n`.
        units: As for `distinct_n`.
        tokenize: As for `distinct_n`.

    Example:
        >>> print(ngram_entropy(["明月明月"]))
        Entropy of 1-grams 1 bits of at most 2 (4 n-grams; 1 texts, 4 units by words)
    """
    found, counts = _counted(texts, n, units, tokenize)
    total = sum(counts.values())
    value = math.fsum(count / total * math.log2(total / count) for count in counts.values())
    read = (sum(map(bool, found)), sum(map(len, found)), rule_of(texts, tokenize))
    return NgramEntropy(value, n, len(counts), total, *read)


def self_bleu(texts: Sequence[str | Units], *, n: int = 4, tokenize: Tokenize = words) -> SelfBleu:
    r"""Measures how much of each text occurs in the others: the mean BLEU of each against the rest (Zhu et al.,
    arXiv:1802.01886).

    BLEU is $b \cdot \exp \frac1n \sum_{k=1}^n \log p_k$. $p_k$ is the share of a text's k-grams that occur in another one,
    each counted at most as often as in the text that has it most often; for k > 1 one is added above and below (Lin and
    Och, 2004), so that a text without a common 4-gram does not count as 0. Orders that a text is too short for are left
    out.
    $b = \min(1, e^{1 - r / c})$ of the text's length c and of the nearest length r of another one, the shorter of two. A
    text without units, or without a common unit, has 0. Exact, in time that grows with the text and not with its square. It
    grows with the number of texts: compare sets of as many, of like lengths. Lower is more varied.

    Args:
        texts: At least 2.
        n: The longest n-grams, at least 1.
        tokenize: From a string to its units.

    Example:
        >>> self_bleu(["a b c d", "a b c d"]).value, self_bleu(["a b", "c d"]).value
        (1.0, 0.0)
    """  # noqa: D205
    found = count_units(texts, tokenize, least=2)
    n = integer("n", n, low=1)
    logs = [list[float]() for _ in found]
    for k in range(1, n + 1):
        for log, share in zip(logs, _precisions(found, k), strict=True):
            if share is not None:
                log.append(math.log(share) if share else -math.inf)
    lengths = sorted(map(len, found))
    scores = [
        math.exp(_brevity(len(text), lengths) + sum(log) / len(log)) if text else 0.0
        for text, log in zip(found, logs, strict=True)
    ]
    return SelfBleu(math.fsum(scores) / len(scores), n, len(found), sum(lengths), rule_of(texts, tokenize))


def ngrams(text: Sequence[int], n: int) -> Iterator[tuple[int, ...]]:
    """The runs of n units of a text.

    Example:
        >>> list(ngrams([1, 2, 3], 2))
        [(1, 2), (2, 3)]
    """
    return zip(*(text[i:] for i in range(n)), strict=False)


def _precisions(texts: list[list[int]], k: int) -> Iterator[float | None]:
    """Of each text the smoothed share of its k-grams that others have; None where it has none."""
    counted = [Counter(ngrams(text, k)) for text in texts]
    most: dict[tuple[int, ...], tuple[int, int, int]] = {}  # the most of one text, which text, the most of the others
    for place, counts in enumerate(counted):
        for gram, count in counts.items():
            best, owner, second = most.get(gram, (0, -1, 0))
            most[gram] = (count, place, best) if count > best else (best, owner, max(second, count))
    extra = int(k > 1)
    for place, counts in enumerate(counted):
        total = sum(counts.values())
        if not total:
            yield None
            continue
        shared = 0
        for gram, count in counts.items():
            best, owner, second = most[gram]
            shared += min(count, second if owner == place else best)
        yield (shared + extra) / (total + extra)


def _brevity(length: int, lengths: list[int]) -> float:
    """The logarithm of the brevity penalty of a text against the others, whose lengths are sorted with its own."""
    first, after = bisect_left(lengths, length), bisect_right(lengths, length)
    if after - first > 1:
        return 0.0  # another one is as long
    nearest = min(lengths[max(0, first - 1) : first] + lengths[after : after + 1], key=lambda other: abs(other - length))
    return min(0.0, 1 - nearest / length)


def _counted(
    texts: Sequence[str | Units], n: int, units: int | None, tokenize: Tokenize
) -> tuple[list[list[int]], Counter[tuple[int, ...]]]:
    """The texts that are read, and how often each of their n-grams occurs."""
    n = integer("n", n, low=1)
    found = count_units(texts, tokenize)
    if units is not None:
        left = integer("units", units, low=n)
        if sum(map(len, found)) < left:
            raise fail("units", f"at most {sum(map(len, found))}, which is all there is", units)
        cut = []
        for text in found:
            cut.append(text[:left])
            left -= len(cut[-1])
        found = cut
    counts: Counter[tuple[int, ...]] = Counter()
    for text in found:
        counts.update(ngrams(text, n))
    if not counts:
        longest = max(map(len, found))
        raise fail("texts", f"one of at least {n} units", f"at most {longest} in one", "Take a smaller n or longer texts.")
    return found, counts
