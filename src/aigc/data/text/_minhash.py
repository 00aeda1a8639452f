r"""MinHash signatures of texts, and their bands: what two texts have in common without comparing all pairs.

A text is the set of its runs of n characters; a signature holds the least of k hashes of that set. Two signatures agree in
a place with a probability of the Jaccard similarity J of the sets (Broder 1997), so that the r places of a band all agree
with J^r, and at least one of b bands with 1 - (1 - J^r)^b (Mining of Massive Datasets, 3.4).
"""

import unicodedata
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from aigc import random
from aigc.data.text._pieces import pieces

__all__ = ["Bands", "band_keys", "bands_for", "jaccard", "multipliers", "normal", "probability", "run_hashes", "runs"]

UInts = npt.NDArray[np.uint64]
Factors = npt.NDArray[np.uint32]
_ROWS = 1024  # hashes multiplied at once: a block that stays in the cache
_PIECE = 2**18
_ENOUGH = 0.99


class Bands(NamedTuple):
    """How a signature is cut.

    Attributes:
        bands: How many.
        rows: Hashes of each.
    """

    bands: int
    rows: int


def probability(similarity: float, bands: Bands) -> float:
    """The probability that two texts of a similarity have a band in common.

    >>> round(probability(0.8, Bands(20, 6)), 4)
    0.9977
    """
    return 1.0 - (1.0 - similarity**bands.rows) ** bands.bands


def bands_for(similarity: float, hashes: int) -> Bands:
    """The longest bands with which a pair of that similarity is found with a probability of at least 0.99.

    >>> bands_for(0.8, 128)
    Bands(bands=21, rows=6)
    """
    cuts = [Bands(hashes // rows, rows) for rows in range(1, hashes + 1)]
    return next((cut for cut in reversed(cuts) if probability(similarity, cut) >= _ENOUGH), cuts[0])


def normal(text: str) -> str:
    """The form in which texts are compared: NFC, and every run of white space one space, none at the ends."""
    made: list[str] = []
    gap = False
    for piece in pieces(text):
        gap = gap or piece[:1].isspace()
        plain = " ".join(unicodedata.normalize("NFC", piece).split())
        if plain:
            made += [" ", plain] if gap and made else [plain]
            gap = False
        gap = gap or piece[-1:].isspace()
    return "".join(made)


def runs(text: str, n: int) -> set[str]:
    """The runs of n characters of a text; of a shorter one, itself.

    >>> sorted(runs("abcd", 3)), runs("ab", 3)
    (['abc', 'bcd'], {'ab'})
    """
    return {text[i : i + n] for i in range(max(1, len(text) - n + 1))}


def jaccard(a: set[str], b: set[str]) -> float:
    """The share of the runs of two texts that both have.

    >>> jaccard(runs("abcd", 3), runs("bcde", 3))
    0.3333333333333333
    """
    both = len(a & b)
    return both / (len(a) + len(b) - both)


def run_hashes(text: str, n: int) -> UInts:
    """A hash of each run of n characters, in order; of a shorter text, one of all of it."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.uint64)
    n = min(n, len(codes))
    total = np.full(len(codes) - n + 1, n, dtype=np.uint64)
    for place in range(n):
        total *= np.uint64(_PRIME)
        total += codes[place : place + len(total)]
    return _mixed(total)


def multipliers(hashes: int, seed: int) -> Factors:
    """Odd numbers of 32 bits, one for each hash function: h -> h * m mod 2^32 of a hash h that is mixed well.

    32 bits take half the time of 64. That two runs share a hash makes pairs meet that need not; they are compared exactly.
    """
    keys = np.array([random.stream(seed, i) for i in range(hashes)], dtype=np.uint64)
    return (_mixed(keys) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)


def band_keys(text: str, n: int, factors: Factors, bands: Bands) -> UInts:
    """A number of 64 bits for each band of a text's signature."""
    least = np.full(len(factors), np.iinfo(np.uint32).max, dtype=np.uint32)
    for start in range(0, max(1, len(text) - n + 1), _PIECE):
        hashes = (run_hashes(text[start : start + _PIECE + n - 1], n) >> np.uint64(32)).astype(np.uint32)
        for first in range(0, len(hashes), _ROWS):
            np.minimum(least, (hashes[first : first + _ROWS, None] * factors).min(0), out=least)
    table = least[: bands.bands * bands.rows].reshape(bands.bands, bands.rows)
    total = np.arange(1, bands.bands + 1, dtype=np.uint64)
    for column in range(bands.rows):
        total = _mixed(total * np.uint64(_PRIME) + table[:, column].astype(np.uint64))
    return total


_PRIME = 0x9E3779B97F4A7C15


def _mixed(x: UInts) -> UInts:
    """SplitMix64's output function."""
    x = x + np.uint64(_PRIME)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
