"""What texts share with a corpus, word for word: the longest run of characters of each, and where it comes from."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from aigc._checks import fail_type, integer
from aigc.metrics.text._corpus import Corpus
from aigc.metrics.text._windows import Windows

__all__ = ["Overlap", "OverlapIndex", "Run"]

_LONGEST = 1024  # characters of the longest runs that have windows of their own
_REACH = 16  # characters compared at once, at each place

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Run:
    """A run of characters that a text has in common with a document of the corpus.

    Attributes:
        length: Characters.
        start: Where it begins in the text.
        document: Which document, in the order they were given.
        offset: Where it begins there, in characters.

    Example:
        >>> run = OverlapIndex(["the quick brown fox"], n=5).longest("a quick brown dog")
        >>> run, "a quick brown dog"[run.start : run.start + run.length]
        (Run(length=13, start=1, document=0, offset=3), ' quick brown ')
    """

    length: int
    start: int
    document: int
    offset: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """What some texts have in common with a corpus.

    Attributes:
        n: The shortest run that counts, in characters.
        runs: Of each text the longest run of at least n characters, or None.
        characters: Of the texts.
        documents: Of the corpus.
        corpus_characters: Of the corpus.

    Example:
        >>> index = OverlapIndex(["the quick brown fox"], n=5)
        >>> print(index.search(["a quick brown dog", "nothing of it"]))
        50.0% of 2 texts share 5 characters or more, the longest run 13 (30 characters; corpus: 1 documents, 19 characters)
    """

    n: int
    runs: tuple[Run | None, ...]
    characters: int
    documents: int
    corpus_characters: int

    @property
    def lengths(self) -> tuple[int, ...]:
        """Of each text the longest run; 0 where it is shorter than n."""
        return tuple(0 if run is None else run.length for run in self.runs)

    @property
    def count(self) -> int:
        """Texts with a run of at least n characters."""
        return sum(run is not None for run in self.runs)

    @property
    def share(self) -> float:
        """`count` of all texts; in [0, 1]."""
        return self.count / len(self.runs)

    @property
    def longest(self) -> int:
        """The longest run of all texts; 0 where all are shorter than n."""
        return max(self.lengths)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Wilson's interval of the share, of other texts of the same kind."""
        z, n, p = NormalDist().inv_cdf((1 + confidence) / 2), len(self.runs), self.share
        middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        low, high = ((middle + sign * spread) / (1 + z * z / n) for sign in (-1, 1))
        return max(0.0, low), min(1.0, high)

    def __str__(self) -> str:
        found = f"{self.share:.1%} of {len(self.runs):,} texts share {self.n:,} characters or more"
        corpus = f"corpus: {self.documents:,} documents, {self.corpus_characters:,} characters"
        return f"{found}, the longest run {self.longest:,} ({self.characters:,} characters; {corpus})"


class _Found(NamedTuple):
    """A run by its place in the corpus as a whole."""

    length: int
    start: int
    position: int


class OverlapIndex:
    """Finds runs of characters that texts have in common with a corpus, exactly.

    Windows of w = (n + 1) // 2 characters are hashed at every k = n - w + 1 positions of the corpus, so that any run of at
    least n characters of one document holds a whole window (the idea of winnowing, Schleimer et al., 2003). Every window of
    a text is looked up, and each match compared with the corpus itself, to both sides, until it ends: nothing is missed,
    and nothing is found that is not there. The same is kept for 2n, 4n, ... characters, and asked first, as long windows
    have few matches. A run never reaches over the end of a document. Characters are code points, compared as they are:
    normalise both sides alike.

    Memory is 1, 2 or 4 bytes a character of the corpus (of up to 255, 65,535 or more different characters) and some 48
    bytes for each n characters. Slow only where texts and corpus both have long runs of one character.

    Args:
        texts: The documents of the corpus; an iterable is read once.
        n: The shortest run that is found, at least 1. Of 50 characters English hardly has one by chance; of Chinese, 14.

    Raises:
        ParameterError: If there is no document, or n is below 1.

    Example:
        >>> index = OverlapIndex(["床前明月光，疑是地上霜。"], n=4)
        >>> index.longest("今夜明月光，疑是故人来").length, index.longest("举头望明月")
        (6, None)
    """

    def __init__(self, texts: Iterable[str], *, n: int = 50) -> None:
        self._n = integer("n", n, low=1)
        self._corpus = Corpus(texts)
        sizes = [self._n]
        while 2 * sizes[-1] <= min(_LONGEST, self._corpus.longest):
            sizes.append(2 * sizes[-1])
        self._levels = [Windows(self._corpus, n=size) for size in reversed(sizes)]

    @property
    def n(self) -> int:
        """The shortest run that is found."""
        return self._n

    @property
    def documents(self) -> int:
        """Documents of the corpus."""
        return len(self._corpus)

    @property
    def characters(self) -> int:
        """Characters of the corpus."""
        return self._corpus.characters

    @property
    def nbytes(self) -> int:
        """Bytes that the index and the corpus take."""
        return self._corpus.numbers.nbytes + sum(level.hashes.nbytes + level.positions.nbytes for level in self._levels)

    def __repr__(self) -> str:
        return f"OverlapIndex({self.documents:,} documents, {self.characters:,} characters, n={self.n})"

    def search(self, texts: Sequence[str]) -> Overlap:
        """Finds the longest run of each text, and the share of texts that have one.

        Args:
            texts: At least one.
        """
        if isinstance(texts, str | bytes) or not isinstance(texts, Sequence) or not len(texts):
            raise fail_type("texts", "a sequence of at least one string", texts, "Put one text into a list.")
        runs = tuple(self.longest(text) for text in texts)
        return Overlap(self._n, runs, sum(map(len, texts)), self.documents, self.characters)

    def longest(self, text: str) -> Run | None:
        """Finds the longest run of a text; None if it is shorter than n.

        Of several as long, the first in the text; of several places in the corpus, the first.
        """
        if not isinstance(text, str):
            raise fail_type("text", "a string", text)
        if len(text) < self._n:
            return None
        numbers = self._corpus.translate(text)
        best = _Found(0, 0, 0)
        for level in self._levels:
            if len(text) < level.n:
                continue
            for starts, positions in level.matches(numbers):
                best = self._improve(level, numbers, starts, positions, best)
            if best.length >= level.n:
                break  # all that are so long were found
        if best.length < self._n:
            return None
        return Run(best.length, best.start, *self._corpus.place(best.position))

    def _improve(self, level: Windows, text: _Ints, starts: _Ints, positions: _Ints, best: _Found) -> _Found:
        """The longest run through some pairs, if it comes before the best so far."""
        # A run has a window among its first k places, and is measured there, so that it goes `reach` further at least.
        reach = max(level.n, best.length) - level.every
        starts, positions = self._may_reach(text, starts, positions, reach)
        right = self._extend(text, starts, positions, 1)
        left = self._extend(text, starts - 1, positions - 1, -1)
        total, starts, positions = left + right, starts - left, positions - left
        if not len(total) or int(total.max()) < max(best.length, self._n):
            return best
        longest = total == total.max()
        found = min(zip(starts[longest].tolist(), positions[longest].tolist(), strict=True))
        new = _Found(int(total.max()), *found)
        return min(best, new, key=lambda run: (-run.length, run.start, run.position))

    def _may_reach(self, text: _Ints, starts: _Ints, positions: _Ints, reach: int) -> tuple[_Ints, _Ints]:
        """Pairs whose characters agree `reach` further on: a quick look that leaves most out."""
        inside = (starts + reach < len(text)) & (positions + reach < len(self._corpus.numbers))
        starts, positions = starts[inside], positions[inside]
        agree = self._corpus.numbers[positions + reach] == text[starts + reach]
        return starts[agree], positions[agree]

    def _extend(self, text: _Ints, starts: _Ints, positions: _Ints, way: int) -> _Ints:
        """How many characters agree from each pair of places on, to the right (1) or the left (-1)."""
        corpus = self._corpus.numbers
        lengths = np.zeros(len(starts), dtype=np.int64)
        going, steps = np.arange(len(starts)), way * np.arange(_REACH)
        while len(going):
            a = (starts[going] + way * lengths[going])[:, None] + steps
            b = (positions[going] + way * lengths[going])[:, None] + steps
            here, there = text[a.clip(0, len(text) - 1)], corpus[b.clip(0, len(corpus) - 1)]
            agree = (here == there) & (a >= 0) & (a < len(text)) & (b >= 0) & (b < len(corpus))
            more = np.where(agree.all(1), _REACH, agree.argmin(1))
            lengths[going] += more
            going = going[more == _REACH]
        return lengths
