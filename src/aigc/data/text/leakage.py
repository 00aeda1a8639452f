"""How much of a held-out text stands in the text for training too."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from aigc import random
from aigc._checks import integer, number
from aigc.data.text._minhash import UInts, normal, run_hashes
from aigc.data.text.documents import Document, documents_of
from aigc.data.text.duplicates import find_duplicates
from aigc.errors import DataError

__all__ = ["Leakage", "Leaked", "leakage"]

_PIECE = 2**20
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Leaked:
    """A held-out document of which much stands in the text for training.

    Attributes:
        name: Its name.
        share: Of its runs.
        runs: How many it has, of those looked for.
    """

    name: str
    share: float
    runs: int


@dataclass(frozen=True, slots=True)
class Leakage:
    """What a held-out part has in common with the part for training.

    Attributes:
        share: Of the runs of characters of the held-out documents, how many stand in training documents, in [0, 1].
        runs: How many runs that rests on.
        run: Characters of a run.
        documents: Held-out documents.
        short: Those among them without a single run, so that nothing is said of them here.
        near: Held-out documents that equal one for training, or nearly; None if not looked for.
        worst: The documents with the largest shares, at most 20, none with 0.

    Example:
        >>> from aigc.data.text import Corpus
        >>> found = leakage(Corpus.of(["to be, or not to be"]), Corpus.of(["or not to be!", "quite another"]), run=5)
        >>> print(found)
        44.4% of 18 held-out runs of 5 characters stand in training documents; 0 of 2 held-out documents are near duplicates
        >>> found.worst[0]
        Leaked(name='0', share=0.8888888888888888, runs=9)
    """

    share: float
    runs: int
    run: int
    documents: int
    short: int
    near: int | None
    worst: tuple[Leaked, ...] = field(repr=False)

    def check(self, *, at_most: float = 0.01) -> "Leakage":
        """Returns itself if at most that share leaked, of runs and of documents.

        Raises:
            DataError: If more did; the sentence names the worst document.

        Example:
            >>> from aigc.data.text import Corpus
            >>> leakage(Corpus.of(["abcdef"]), Corpus.of(["ghijkl"]), run=5).check().share
            0.0
        """
        number("at_most", at_most, low=0.0, high=1.0)
        if self.share <= at_most and (self.near or 0) <= at_most * self.documents:
            return self
        worst = f" Worst is {self.worst[0].name!r} with {self.worst[0].share:.1%}." if self.worst else ""
        cure = "Drop duplicates before splitting with without_duplicates(), or split by=... so that what belongs together "
        raise DataError(f"{self}.{worst} {cure}stays together.")

    def __str__(self) -> str:
        text = f"{self.share:.1%} of {self.runs:,} held-out runs of {self.run} characters stand in training documents"
        if self.near is None:
            return text
        return f"{text}; {self.near:,} of {self.documents:,} held-out documents are near duplicates"


def leakage(
    train: Iterable[str | Document],
    held_out: Iterable[str | Document],
    *,
    run: int = 50,
    near: float | None = 0.8,
    most: int = 10_000_000,
    seed: int = 0,
) -> Leakage:
    """Counts what a held-out part has in common with the part for training.

    Texts are compared in NFC, every run of white space as one space. A run of characters is known by 64 bits of a hash: of
    m runs looked for among n, m n / 2^64 are found by chance.

    Args:
        train: Something that can be run through twice, such as a `Corpus` or a list.
        held_out: Likewise.
        run: Characters of a run. 50 are about ten English words, long enough that chance does not make them; in Chinese 13
            are about as much.
        near: The least similarity of near duplicates, as for `find_duplicates`; None does not look for them.
        most: Distinct runs looked for: if the held-out part has more, those whose hashes are least stand for all. Each
            takes 8 bytes of memory.
        seed: Of the search for near duplicates.

    Raises:
        DataError: If either part has no document, or other ones the second time.
        ParameterError: If an argument is out of range, or an iterator, which is empty the second time.
    """
    integer("run", run, low=1, high=10_000)
    integer("most", most, low=1)
    if near is not None:
        number("near", near, low=1e-9, high=1.0)
    random.check_seed("seed", seed)
    known, asked = documents_of("train", train, again=True), documents_of("held_out", held_out, again=True)
    wanted, limit = _wanted(asked, run, most)
    found = np.zeros(len(wanted), dtype=np.bool_)
    trained = _mark(known, wanted, found, run, limit)
    worst, counts = _shares(asked, wanted, found, run, limit)
    documents, short, runs, hits = counts
    if not trained or not documents:
        raise DataError(f"both parts must have documents, got {trained} for training and {documents} held out.")
    close = None if near is None else _near(known, trained, asked, documents, near=near, seed=seed)
    return Leakage(hits / runs if runs else 0.0, runs, run, documents, short, close, worst)


def _hashes(document: Document, run: int) -> list[UInts]:
    text = normal(document.text)
    if len(text) < run:
        return []
    return [run_hashes(text[start : start + _PIECE + run - 1], run) for start in range(0, len(text) - run + 1, _PIECE)]


def _wanted(documents: Iterable[Document], run: int, most: int) -> tuple[UInts, np.uint64]:
    """The hashes of the runs of documents, sorted; and the largest that is looked for."""
    limit = np.uint64(np.iinfo(np.uint64).max)
    wanted = np.empty(0, dtype=np.uint64)
    waiting: list[UInts] = []
    size = 0
    for document in documents:
        for hashes in _hashes(document, run):
            waiting.append(hashes[hashes <= limit])
            size += len(waiting[-1])
        if size > _PIECE:
            wanted, limit = _merged(wanted, waiting, most, limit)
            waiting, size = [], 0
    return _merged(wanted, waiting, most, limit)


def _merged(wanted: UInts, waiting: list[UInts], most: int, limit: np.uint64) -> tuple[UInts, np.uint64]:
    merged = np.unique(np.concatenate([wanted, *waiting]))
    if len(merged) > most:
        merged = merged[:most].copy()
        limit = merged[-1]
    return merged, limit


def _mark(documents: Iterable[Document], wanted: UInts, found: npt.NDArray[np.bool_], run: int, limit: np.uint64) -> int:
    count = 0
    for document in documents:
        count += 1
        for hashes in _hashes(document, run):
            places = _places(hashes[hashes <= limit], wanted)
            found[places[places >= 0]] = True
    return count


def _places(hashes: UInts, wanted: UInts) -> npt.NDArray[np.int64]:
    """Where hashes are among the sorted ones; -1 if they are not."""
    if not len(wanted):
        return np.full(len(hashes), -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
    return np.where(wanted[places] == hashes, places, -1)


def _shares(
    documents: Iterable[Document], wanted: UInts, found: npt.NDArray[np.bool_], run: int, limit: np.uint64
) -> tuple[tuple[Leaked, ...], tuple[int, int, int, int]]:
    """The worst documents; and how many there are, how many are too short, runs, and runs found."""
    worst: list[Leaked] = []
    count = short = total = hits = 0
    for document in documents:
        count += 1
        parts = _hashes(document, run)
        short += not parts
        runs = marked = 0
        for hashes in parts:
            places = _places(hashes[hashes <= limit], wanted)
            runs += len(places)
            marked += int(found[places].sum())
        total, hits = total + runs, hits + marked
        if marked:
            worst = sorted([*worst, Leaked(document.name, marked / runs, runs)], key=lambda leaked: -leaked.share)[:_LISTED]
    return tuple(worst), (count, short, total, hits)


def _near(
    train: Iterable[Document], trained: int, held_out: Iterable[Document], documents: int, *, near: float, seed: int
) -> int:
    """How many held-out documents are duplicates of training documents."""
    found = find_duplicates(_Both((train, held_out)), near=near, seed=seed, given=trained)
    if found.documents != trained + documents:
        what = f"both parts must be the same whenever they are run through, got {trained + documents} documents and then "
        raise DataError(f"{what}{found.documents}. Make lists of them.")
    return len(found.found)


@dataclass(frozen=True, slots=True)
class _Both:
    """Documents of one part behind those of another."""

    parts: tuple[Iterable[Document], ...]

    def __iter__(self) -> Iterator[Document]:
        return (document for part in self.parts for document in part)
