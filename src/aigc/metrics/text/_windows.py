"""Windows of a corpus, hashed and sorted: where in it a run of characters may be."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from aigc.metrics.text._corpus import BETWEEN, Corpus

__all__ = ["Windows"]

_BLOCK = 2**19  # windows hashed at once
_PAIRS = 2**18  # pairs of places handed out at once
_FACTOR = np.uint64(0x9E3779B97F4A7C15)

_Ints = npt.NDArray[np.int64]


class Windows:
    """Windows of w = (n + 1) // 2 characters, at every k = n - w + 1 positions of a corpus.

    Any run of at least n = w + k - 1 characters of one document holds one of them whole, and begins at most k - 1 before.

    Attributes:
        n: The runs that are sure to be found are of this length or longer.
        every: k.
        window: w.
        hashes: Sorted, uint64.
        positions: Where each window begins in the corpus; those of equal hashes ascend.
    """

    def __init__(self, corpus: Corpus, *, n: int) -> None:
        self.n, self.window = n, (n + 1) // 2
        self.every = n - self.window + 1
        numbers, last = corpus.numbers, len(corpus.numbers) - self.window + 1
        hashes, kept = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
        for first in range(0, max(0, last), _BLOCK * self.every):
            positions = np.arange(first, min(first + _BLOCK * self.every, last), self.every)
            sums, inside = _hash(numbers, positions, self.window)
            hashes.append(sums[inside])
            kept.append(positions[inside])
        found, places = np.concatenate(hashes), np.concatenate(kept)
        order = np.argsort(found, kind="stable")
        small: Any = np.int32 if len(numbers) < 2**31 else np.int64
        self.hashes, self.positions = found[order], places[order].astype(small)

    def matches(self, text: _Ints) -> Iterator[tuple[_Ints, _Ints]]:
        """Pairs of a place in a text and one in the corpus whose windows have the same hash, some at a time."""
        hashes, inside = _hash(text, np.arange(len(text) - self.window + 1), self.window)
        places = inside.nonzero()[0]
        low = np.searchsorted(self.hashes, hashes[places], side="left")
        high = np.searchsorted(self.hashes, hashes[places], side="right")
        found = high > low
        places, low, counts = places[found], low[found], (high - low)[found]
        ends = counts.cumsum()
        total = int(ends[-1]) if len(ends) else 0
        for first in range(0, total, _PAIRS):
            pair = np.arange(first, min(first + _PAIRS, total))
            which = np.searchsorted(ends, pair, side="right")
            entry = low[which] + pair - (ends[which] - counts[which])
            yield places[which], self.positions[entry].astype(np.int64)


def _hash(numbers: npt.NDArray[Any], positions: _Ints, w: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """Hashes of the windows at some positions, and which of them are of characters of one document alone."""
    sums = np.zeros(len(positions), dtype=np.uint64)
    inside = np.ones(len(positions), dtype=bool)
    for step in range(w):
        column = numbers[positions + step]
        inside &= column > BETWEEN
        sums *= _FACTOR
        sums += column.astype(np.uint64)
    sums ^= sums >> np.uint64(29)
    return sums * _FACTOR, inside
