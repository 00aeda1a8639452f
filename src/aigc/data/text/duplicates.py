r"""Documents that stand in a corpus twice, exactly or nearly.

Two passes: the first writes what is compared of each document to temporary files; the second reads the texts of those that
meet others, and compares them with the ones kept so far. Memory holds about 40 bytes of a document, and some hundred for
each band of one that meets another; the texts themselves stay on the disk.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from aigc import random
from aigc._checks import integer, number
from aigc.data.text import _minhash
from aigc.data.text._minhash import Bands, UInts
from aigc.data.text.documents import Document, documents_of
from aigc.errors import DataError

__all__ = ["Duplicate", "Duplicates", "find_duplicates"]

_BUFFER = 4096  # documents whose keys are written at once


class Duplicate(NamedTuple):
    """A document that is there already.

    Attributes:
        place: Its place in the corpus.
        name: Its name.
        of: The place of the document that is kept, which comes before it.
        of_name: That one's name.
        similarity: The Jaccard similarity of the two; 1 if they are equal but for white space and normal form.
    """

    place: int
    name: str
    of: int
    of_name: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Duplicates:
    r"""What is in a corpus twice.

    Attributes:
        documents: How many documents there are, these included.
        found: Each document that is a duplicate of one that is kept, in the order of the corpus. No kept one is listed.
        near: The least similarity; None if only equal texts were looked for.
        recall: The probability that a pair of exactly that similarity is found; more similar ones are found more surely.

    Example:
        >>> from aigc.data.text import Corpus
        >>> corpus = Corpus.of(["白日依山尽，黄河入海流。", "Hello", "白日依山尽， 黄河入海流。", "Hello\n"])
        >>> print(find_duplicates(corpus, near=0.3))
        2 of 4 documents are duplicates: 1 equal, 1 near (similarity of at least 0.3, found with probability 0.998)
    """

    documents: int
    found: tuple[Duplicate, ...] = field(repr=False)
    near: float | None
    recall: float

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The places of each document that is kept and has duplicates, and of these behind it."""
        groups: dict[int, list[int]] = {}
        for duplicate in self.found:
            groups.setdefault(duplicate.of, [duplicate.of]).append(duplicate.place)
        return tuple(tuple(group) for _, group in sorted(groups.items()))

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """Of each document, whether it is kept."""
        kept = np.ones(self.documents, dtype=np.bool_)
        kept[[duplicate.place for duplicate in self.found]] = False
        return kept

    def __str__(self) -> str:
        equal = sum(duplicate.similarity == 1.0 for duplicate in self.found)
        text = f"{len(self.found):,} of {self.documents:,} documents are duplicates: {equal:,} equal"
        if self.near is None:
            return text
        sure = f"similarity of at least {self.near:g}, found with probability {self.recall:.3f}"
        return f"{text}, {len(self.found) - equal:,} near ({sure})"


def find_duplicates(
    documents: Iterable[str | Document],
    *,
    near: float | None = 0.8,
    run: int = 5,
    hashes: int = 128,
    seed: int = 0,
    given: int = 0,
) -> Duplicates:
    r"""Finds documents whose text stands in the corpus before, exactly or nearly.

    Texts are compared in NFC, every run of white space as one space. Near is a Jaccard similarity
    $J = |A \cap B| / |A \cup B|$ of the sets of runs of characters of at least `near`. Candidates come from MinHash (Broder
    1997) and bands, and J is then computed exactly, so that no pair is listed that is less similar; a pair may be missed,
    with the probability that `recall` says. A document is listed only with one that is kept, never with another duplicate.

    Args:
        documents: Something that can be run through twice, such as a `Corpus` or a list.
        near: In (0, 1]; None finds equal texts only.
        run: Characters of a run. 5 suits Chinese and short English texts; take 9 for long ones.
        hashes: Of a signature: more find more surely, and cost more.
        seed: Of the hashes. The same seed gives the same result.
        given: So many documents at the beginning are kept whatever they are, and the others are compared with these alone.

    Returns:
        The duplicates; what comes first in the corpus is kept.

    Raises:
        DataError: If there is no document, or there are others the second time.
        ParameterError: If an argument is out of range, or an iterator, which is empty the second time.

    Example:
        >>> from aigc.data.text import Corpus
        >>> poem = "空山不见人，但闻人语响。返景入深林，复照青苔上。"
        >>> find_duplicates(Corpus.of([poem, "Another text", poem.replace("复", "又")]), near=0.6).groups
        ((0, 2),)
    """
    if near is not None:
        number("near", near, low=1e-9, high=1.0)
    integer("run", run, low=1, high=1000)
    integer("hashes", hashes, low=1, high=4096)
    integer("given", given, low=0)
    random.check_seed("seed", seed)
    documents = documents_of("documents", documents, again=True)
    bands = _minhash.bands_for(near if near is not None else 1.0, hashes)
    with tempfile.TemporaryDirectory() as folder:
        with _Keys(Path(folder), bands if near is not None else Bands(0, 0)) as keys:
            factors = _minhash.multipliers(hashes, seed)
            for document in documents:
                text = _minhash.normal(document.text)
                keys.add(
                    text, _minhash.band_keys(text, run, factors, bands) if near is not None else np.empty(0, np.uint64)
                )
        first = keys.equal()
        if not len(first):
            raise DataError("the corpus must have at least one document, and has none. Look at what was filtered out.")
        met = keys.meetings(first)
        with open(Path(folder) / "texts", "w+b") as file:
            found = tuple(_compared(documents, first, met, keys, _Kept(file, run), near, given))
    return Duplicates(len(first), found, near, 1.0 if near is None else _minhash.probability(near, bands))


def _compared(
    documents: Iterable[Document],
    first: npt.NDArray[np.int64],
    met: npt.NDArray[np.bool_],
    keys: "_Keys",
    kept: "_Kept",
    near: float | None,
    given: int,
) -> Iterator[Duplicate]:
    """Runs through the documents again. One that equals another shares its fate."""
    names: dict[int, str] = {}
    of: dict[int, tuple[int, float]] = {}  # the firsts of equals that are near one that is kept
    wanted = set(np.unique(first[first != np.arange(len(first))]).tolist())
    table = keys.rows(np.flatnonzero(met))
    for place, document in _again(documents, len(first)):
        head = int(first[place])
        if head == place and met[place]:
            row = next(table)
            text = _minhash.normal(document.text)
            best = kept.nearest(text, row, near or 1.0) if place >= given else None
            if best is not None:
                of[place] = best
                yield Duplicate(place, document.name, best[0], names[best[0]], best[1])
            elif not given or place < given:
                kept.keep(place, text, row)
        elif head != place and place >= given:
            target, similarity = of.get(head, (head, 1.0))
            if not given or target < given:
                yield Duplicate(place, document.name, target, names[target], similarity)
        if head == place and (met[place] or place in wanted):
            names[place] = document.name


def _again(documents: Iterable[Document], count: int) -> Iterator[tuple[int, Document]]:
    """Runs through documents for the second time, with their places."""
    found = 0
    for found, document in enumerate(documents, start=1):
        if found > count:
            break
        yield found - 1, document
    if found != count:
        now = "more" if found > count else f"{found}"
        what = f"the documents must be the same whenever they are run through, got {count} and then {now}"
        raise DataError(f"{what}. Make a list of them.")


class _Kept:
    """Texts that are kept, on the disk, by the keys of their bands."""

    def __init__(self, file: IO[bytes], run: int) -> None:
        self._file, self._run = file, run
        self._places: dict[int, tuple[int, int, int]] = {}  # offset, bytes, runs
        self._by_key: dict[int, list[int]] = {}
        self._read = lru_cache(maxsize=16)(self._runs)

    def nearest(self, text: str, keys: list[int], near: float) -> tuple[int, float] | None:
        """The most similar text so far that is near enough, the first of those; with its similarity."""
        candidates = sorted({place for key in keys for place in self._by_key.get(key, ())})
        if not candidates:
            return None
        runs = _minhash.runs(text, self._run)
        best: tuple[int, float] | None = None
        for place in candidates:
            low, high = sorted((len(runs), self._places[place][2]))
            if low / high < near:
                continue  # not even if one set held the other
            similarity = _minhash.jaccard(runs, self._read(place))
            if similarity >= near and (best is None or similarity > best[1]):
                best = place, similarity
        return best

    def keep(self, place: int, text: str, keys: list[int]) -> None:
        """Takes a text in."""
        data = text.encode()
        self._file.seek(0, 2)
        self._places[place] = self._file.tell(), len(data), len(_minhash.runs(text, self._run))
        self._file.write(data)
        for key in keys:
            self._by_key.setdefault(key, []).append(place)

    def _runs(self, place: int) -> set[str]:
        offset, size, _ = self._places[place]
        self._file.seek(offset)
        return _minhash.runs(self._file.read(size).decode(), self._run)


class _Keys:
    """What is compared of all documents, in files: a digest, and the key of each band."""

    def __init__(self, folder: Path, bands: Bands) -> None:
        self._digests = folder / "digests"
        self._bands = [folder / f"band{i}" for i in range(bands.bands)]
        self._waiting: tuple[list[bytes], list[UInts]] = [], []
        self._count = 0

    def __enter__(self) -> "_Keys":
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def add(self, text: str, keys: UInts) -> None:
        """Takes a document in."""
        self._waiting[0].append(hashlib.blake2b(text.encode(), digest_size=16).digest())
        self._waiting[1].append(keys)
        self._count += 1
        if len(self._waiting[0]) >= _BUFFER:
            self._write()

    def _write(self) -> None:
        digests, keys = self._waiting
        with open(self._digests, "ab") as file:
            file.write(b"".join(digests))
        if self._bands and keys:
            for path, column in zip(self._bands, np.array(keys).T, strict=True):
                with open(path, "ab") as file:
                    file.write(np.ascontiguousarray(column).tobytes())
        self._waiting = [], []

    def equal(self) -> npt.NDArray[np.int64]:
        """Of each document, the place of the first that equals it."""
        return _firsts(np.fromfile(self._digests, dtype=np.uint64).reshape(-1, 2))

    def meetings(self, first: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Of each document, whether it has a band in common with one that does not equal it."""
        alone = first == np.arange(len(first))
        places = np.flatnonzero(alone)
        met = np.zeros(len(first), dtype=np.bool_)
        for path in self._bands:
            keys = np.fromfile(path, dtype=np.uint64)[places]
            order = np.argsort(keys, kind="stable")
            same = keys[order][1:] == keys[order][:-1]
            met[places[order[1:][same]]] = True
            met[places[order[:-1][same]]] = True
        return met

    def rows(self, places: npt.NDArray[np.int64]) -> Iterator[list[int]]:
        """The keys of some documents, one after the other."""
        for start in range(0, len(places), _BUFFER):
            part = places[start : start + _BUFFER]
            columns = [np.memmap(path, dtype=np.uint64, mode="r")[part] for path in self._bands]
            yield from np.stack(columns, axis=1).tolist()


def _firsts(digests: UInts) -> npt.NDArray[np.int64]:
    """The least place among those of equal digests, which are two numbers each."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable, so that equal ones stay in order
    same = (digests[order][1:] == digests[order][:-1]).all(1)
    begins = np.concatenate([[True], ~same]) if len(order) else np.empty(0, np.bool_)
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[begins][np.cumsum(begins) - 1]
    return first
