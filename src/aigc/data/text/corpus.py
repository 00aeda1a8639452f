"""A corpus: documents that are read as they are asked for, and what is made of one without reading it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from aigc import random
from aigc._checks import fail, fail_type
from aigc.data._examples import Skipped
from aigc.data.text.cleaning import STANDARD, Step
from aigc.data.text.documents import Document, as_document
from aigc.data.text.duplicates import Duplicates, find_duplicates
from aigc.data.text.effects import Effects, check_steps, cleaned, effects, name_of
from aigc.data.text.splitting import By, check_share, cut, held_out, key_of
from aigc.errors import DataError

__all__ = ["Corpus", "Split", "Summary"]


class Summary(NamedTuple):
    """What a corpus amounts to.

    Attributes:
        documents: How many.
        characters: Of all texts, in code points.
        bytes: Of all texts, in UTF-8.
        sha256: Of the digests of all texts, in order: two corpora with the same are the same, to the letter.

    Example:
        >>> Corpus.of(["静夜思", "a"]).summary()[:3]
        (2, 4, 10)
    """

    documents: int
    characters: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    r"""Documents, read anew each time they are run through; `texts` makes one of files, `Corpus.of` of strings.

    What its methods return is a corpus of the same kind, which does its work when it is run through.

    Attributes:
        documents: What is run through, as often as needed, always in one order.
        count: How many there are; None as long as nobody counted.
        skipped: What of the files could not be read and was left out.
        history: What was done to it, in words that a manifest keeps.

    Example:
        >>> corpus = Corpus.of(["Hello \r\n", "静夜思", "Hello"]).clean().without_duplicates(near=None)
        >>> [document.text for document in corpus], corpus.history[1]
        (['Hello\n', '静夜思'], 'without_duplicates(near=None)')
    """

    documents: Iterable[Document] = field(repr=False)
    count: int | None = None
    skipped: tuple[Skipped, ...] = ()
    history: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.documents, str | Iterator) or not isinstance(self.documents, Iterable):
            cure = "Read files by aigc.data.texts(path); give what is in memory to Corpus.of()."
            raise fail_type("documents", "Documents that can be run through again and again", self.documents, cure)

    @classmethod
    def of(cls, documents: Sequence[str | Document]) -> "Corpus":
        """Makes a corpus of what is in memory; strings are named by their numbers.

        Raises:
            ParameterError: If there is none, or one is something else.

        Example:
            >>> [document.name for document in Corpus.of(["a", Document("b", name="second")])]
            ['0', 'second']
        """
        if isinstance(documents, str) or not isinstance(documents, Sequence):
            raise fail_type("documents", "a sequence of strings or Documents", documents)
        made = tuple(as_document(document, number) for number, document in enumerate(documents))
        if not made:
            raise fail("documents", "at least one", documents)
        return cls(made, len(made))

    def __iter__(self) -> Iterator[Document]:
        return iter(self.documents)

    def __add__(self, other: "Corpus") -> "Corpus":
        """One corpus behind another."""
        if not isinstance(other, Corpus):
            return NotImplemented
        count = None if self.count is None or other.count is None else self.count + other.count
        return Corpus(_Chained((self, other)), count, self.skipped + other.skipped, self.history + other.history)

    def summary(self) -> Summary:
        """Counts documents, characters and bytes, and hashes all texts: one run through it.

        Raises:
            DataError: If there is no document.
        """
        digest, documents, characters, size = hashlib.sha256(), 0, 0, 0
        for document in self:
            data = document.text.encode()
            documents, characters, size = documents + 1, characters + len(document.text), size + len(data)
            digest.update(hashlib.sha256(data).digest())
        if not documents:
            raise DataError("the corpus must have at least one document, and has none. Look at what was filtered out.")
        return Summary(documents, characters, size, digest.hexdigest())

    def clean(self, steps: Sequence[Step] = STANDARD) -> "Corpus":
        """Cleans each document as it is read; what a step drops, or leaves nothing of, is left out.

        Args:
            steps: In this order. `effects` says what they do.

        Example:
            >>> from aigc.data.text import DropShort, RemoveHtml
            >>> [document.text for document in Corpus.of(["<b>静夜思</b>", "a"]).clean([RemoveHtml(), DropShort(2)])]
            ['静夜思']
        """
        checked = check_steps(steps)
        return self._made(_Cleaned(self.documents, checked), f"clean({', '.join(map(name_of, checked))})")

    def effects(self, steps: Sequence[Step] = STANDARD) -> Effects:
        """Says what steps of cleaning would do: one run through it."""
        return effects(self, check_steps(steps))

    def where(self, keep: Callable[[Document], bool]) -> "Corpus":
        """Keeps the documents of which a function says so.

        Example:
            >>> [document.text for document in Corpus.of(["a", "bb"]).where(lambda document: len(document.text) > 1)]
            ['bb']
        """
        if not callable(keep):
            raise fail_type("keep", "a function from a document to whether it is kept", keep)
        return self._made(_Where(self.documents, keep), f"where({getattr(keep, '__name__', 'a function')})")

    def duplicates(self, *, near: float | None = 0.8, run: int = 5, hashes: int = 128, seed: int = 0) -> Duplicates:
        """Finds documents that stand here twice, exactly or nearly: `find_duplicates` says how."""
        return find_duplicates(self, near=near, run=run, hashes=hashes, seed=seed)

    def without_duplicates(
        self, found: Duplicates | None = None, *, near: float | None = 0.8, run: int = 5, hashes: int = 128, seed: int = 0
    ) -> "Corpus":
        """Leaves out documents of which another one before is kept.

        Args:
            found: What `duplicates` of this corpus returned; None looks for them now, with the other arguments.
            near: As for `find_duplicates`.
            run: Likewise.
            hashes: Likewise.
            seed: Likewise.
        """
        if found is None:
            found = self.duplicates(near=near, run=run, hashes=hashes, seed=seed)
        if not isinstance(found, Duplicates):
            raise fail_type("found", "what duplicates() of this corpus returned", found, "A similarity is near=0.8.")
        if self.count is not None and self.count != found.documents:
            raise fail("found", f"the duplicates of this corpus of {self.count} documents", f"those of {found.documents}")
        made = self._made(_Kept(self.documents, found.kept), f"without_duplicates(near={found.near})")
        return replace(made, count=found.documents - len(found.found))

    def split(self, *, held_out: float = 0.1, seed: int = 0, by: By = None) -> "Split":
        """Holds documents out: each by its own text and the seed alone, whatever else is in the corpus.

        A document is held out if its hash, as a number in [0, 1), is below `held_out`: adding others moves none, equal
        texts stay together, and the share is met as well as that many throws of a coin would. For a third part, split the
        part for training again, with another seed.

        Args:
            held_out: The share, between 0 and 1.
            seed: An int.
            by: A field, or a function of a document: documents with the same value stay together, for instance those of an
                author. None goes by the text.

        Raises:
            DataError: If one part has no document, or a document lacks the field.

        Example:
            >>> poems = [Document(f"poem {i}", fields={"author": "abcdefgh"[i % 8]}) for i in range(80)]
            >>> split = Corpus.of(poems).split(held_out=0.3, by="author")
            >>> split.held_out.count, sorted({document.fields["author"] for document in split.held_out})
            (20, ['f', 'h'])
        """
        share, seed = check_share("held_out", held_out), random.check_seed("seed", seed)
        rest, out = (_Side(self.documents, share, seed, by, side) for side in (False, True))
        counts = [0, 0]
        for document in self:
            counts[out.holds(document)] += 1
        for count, name in zip(counts, ("for training", "held out"), strict=True):
            if not count:
                what = f"no document of {sum(counts)} is {name} with held_out={share:g} and seed={seed}"
                raise DataError(f"{what}. Give another seed or share, or split long documents with split_tail().")
        named = f"held_out={share:g}, seed={seed}, by={by if by is None or isinstance(by, str) else 'a function'}"
        return Split(
            replace(self._made(rest, f"split({named}).train"), count=counts[0]),
            replace(self._made(out, f"split({named}).held_out"), count=counts[1]),
        )

    def split_tail(self, *, held_out: float = 0.1) -> "Split":
        """Holds the last part of each document out: for one long text, such as a novel.

        Of n characters, the first `int(n * (1 - held_out))` are for training.

        Args:
            held_out: The share, between 0 and 1.

        Raises:
            DataError: If a document is too short to have both parts.

        Example:
            >>> [[document.text for document in part] for part in Corpus.of(["0123456789"]).split_tail(held_out=0.2)]
            [['01234567'], ['89']]
        """
        share = check_share("held_out", held_out)
        parts = [_Cut(self.documents, share, tail) for tail in (False, True)]
        names = [f"split_tail(held_out={share:g}).{side}" for side in ("train", "held_out")]
        return Split(*(replace(self._made(part, name), count=self.count) for part, name in zip(parts, names, strict=True)))

    def _made(self, documents: Iterable[Document], done: str) -> "Corpus":
        return Corpus(documents, None, self.skipped, (*self.history, done))


class Split(NamedTuple):
    """A corpus in two.

    Attributes:
        train: What a model may see.
        held_out: What it may not.

    Example:
        >>> Split(*Corpus.of(["abc"]).split_tail(held_out=0.5)).held_out.count
        1
    """

    train: Corpus
    held_out: Corpus


@dataclass(frozen=True, slots=True, eq=False)
class _Chained:
    parts: tuple[Iterable[Document], ...]

    def __iter__(self) -> Iterator[Document]:
        return (document for part in self.parts for document in part)


@dataclass(frozen=True, slots=True, eq=False)
class _Cleaned:
    documents: Iterable[Document]
    steps: tuple[Step, ...]

    def __iter__(self) -> Iterator[Document]:
        for document in self.documents:
            made = cleaned(document, self.steps)
            if made is not None:
                yield made


@dataclass(frozen=True, slots=True, eq=False)
class _Where:
    documents: Iterable[Document]
    keep: Callable[[Document], bool]

    def __iter__(self) -> Iterator[Document]:
        return filter(self.keep, self.documents)


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    documents: Iterable[Document]
    kept: npt.NDArray[np.bool_]

    def __iter__(self) -> Iterator[Document]:
        return compress(self.documents, self.kept)


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    documents: Iterable[Document]
    share: float
    seed: int
    by: By
    side: bool

    def holds(self, document: Document) -> bool:
        """Whether a document is held out."""
        return held_out(key_of(document, self.by), self.share, self.seed)

    def __iter__(self) -> Iterator[Document]:
        return (document for document in self.documents if self.holds(document) is self.side)


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    documents: Iterable[Document]
    share: float
    tail: bool

    def __iter__(self) -> Iterator[Document]:
        for document in self.documents:
            at = cut(document.text, self.share)
            if not 0 < at < len(document.text):
                raise DataError(f"document {document.name!r} has {len(document.text)} characters, too few for both parts.")
            if document.turns:
                raise DataError(f"document {document.name!r} is a conversation, which has no last part. Use split().")
            yield document.saying([document.text[at:] if self.tail else document.text[:at]])
