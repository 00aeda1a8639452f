"""What a model was trained on: each document's name, source, licence and hash, as a value that is kept with the model."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from types import NoneType
from typing import Any

from aigc.data.text.documents import Document, documents_of
from aigc.errors import DataError

__all__ = ["FORMAT", "Entry", "Manifest", "entry_of"]

FORMAT = 1
_SHOWN = 3  # names of each kind of change in a message


@dataclass(frozen=True, slots=True)
class Entry:
    """A document of a manifest.

    Attributes:
        name: Its name.
        source: The file it came from.
        licence: Under which it may be used; None if nobody said.
        sha256: Of its text, in UTF-8.
        characters: Of its text.
        bytes: Of its text, in UTF-8.
        tokens: How many it became, that at its end not counted.

    Example:
        >>> Entry("静夜思", "poems.tsv", None, "0" * 64, 24, 72, 30).licence is None
        True
    """

    name: str
    source: str
    licence: str | None
    sha256: str
    characters: int
    bytes: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a corpus held when it was made tokens.

    Attributes:
        corpus: The SHA-256 of all texts' digests, in order, as `Corpus.summary` has it.
        tokenizer: The SHA-256 of the tokenizer.
        vocabulary: Its tokens.
        history: What was done to the corpus before.
        documents: In order.
        format: Of this manifest.

    Example:
        >>> from aigc.data.text import Corpus
        >>> entry = Entry("0", "", "CC0", Document("abc").sha256, 3, 3, 3)
        >>> manifest = Manifest(Corpus.of(["abc"]).summary().sha256, "0" * 64, 256, (), (entry,))
        >>> Manifest.from_json(manifest.to_json()) == manifest, manifest.licences
        (True, {'CC0': 1})
        >>> manifest.check(Corpus.of(["abcd"]))
        Traceback (most recent call last):
            ...
        aigc.errors.DataError: the corpus changed since: 1 changed ('0'). Train anew, or go on with the corpus as it was.
    """

    corpus: str
    tokenizer: str
    vocabulary: int
    history: tuple[str, ...]
    documents: tuple[Entry, ...] = field(repr=False)
    format: int = FORMAT

    @property
    def licences(self) -> dict[str | None, int]:
        """How many documents there are of each licence; None stands for those of which nobody said."""
        return dict(Counter(entry.licence for entry in self.documents))

    def by_source(self) -> "Manifest":
        """Makes one entry of all documents of a source and a licence: what is left of a corpus too large to be listed.

        An entry has the sums of what it is made of, and the hash that `Corpus.summary` gives of its documents. `check`
        needs the whole: to it, every source of several documents seems changed.

        Example:
            >>> digest = Document("春").sha256
            >>> entries = [Entry(name, "poems.tsv", "CC0", digest, 1, 3, 1) for name in "ab"]
            >>> [one] = Manifest("0" * 64, "0" * 64, 256, (), tuple(entries)).by_source().documents
            >>> one.name, one.source, one.bytes
            ('2 documents', 'poems.tsv', 6)
        """
        groups: dict[tuple[str, str | None], list[Entry]] = {}
        for entry in self.documents:
            groups.setdefault((entry.source, entry.licence), []).append(entry)
        return replace(self, documents=tuple(_joined(entries) for entries in groups.values()))

    def to_json(self) -> str:
        """The manifest as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Reads what `to_json` wrote.

        Raises:
            DataError: If it is something else.
        """
        try:
            value: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"a manifest must be JSON: {error}. Was it cut?") from error
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise DataError(f"a manifest must be a JSON object of format {FORMAT}, got {str(value)[:80]!r}.")
        made = _checked(value, _MANIFEST, "the whole")
        if not all(isinstance(line, str) for line in made["history"]):
            raise DataError(f"a manifest must have strings as 'history', got {str(made['history'])[:80]!r}.")
        documents = tuple(entry_of(entry) for entry in made["documents"])
        return cls(**{**made, "history": tuple(made["history"]), "documents": documents})

    def check(self, corpus: Iterable[str | Document]) -> None:
        """Checks that a corpus is, to the letter and in order, what this manifest is of: one run through it.

        Raises:
            DataError: That names documents which were changed, removed, added, or stand elsewhere.
        """
        now = [(document.source, document.name, document.sha256) for document in documents_of("corpus", corpus)]
        then = [(entry.source, entry.name, entry.sha256) for entry in self.documents]
        if now == then:
            return
        gone, new = Counter(then) - Counter(now), Counter(now) - Counter(then)
        changed = sorted(Counter(key[:2] for key in gone.elements()) & Counter(key[:2] for key in new.elements()))
        removed = sorted(key[:2] for key in gone if key[:2] not in changed)
        added = sorted(key[:2] for key in new if key[:2] not in changed)
        parts = [_listed(what, names) for what, names in (("changed", changed), ("removed", removed), ("added", added))]
        found = "; ".join(part for part in parts if part) or "the same documents stand in another order"
        raise DataError(f"the corpus changed since: {found}. Train anew, or go on with the corpus as it was.")


def _joined(entries: list[Entry]) -> Entry:
    if len(entries) == 1:
        return entries[0]
    digest = sha256(b"".join(bytes.fromhex(entry.sha256) for entry in entries)).hexdigest()
    sums = [sum(counts) for counts in zip(*((one.characters, one.bytes, one.tokens) for one in entries), strict=True)]
    return Entry(f"{len(entries):,} documents", entries[0].source, entries[0].licence, digest, *sums)


def _listed(what: str, names: list[tuple[str, str]]) -> str:
    if not names:
        return ""
    shown = ", ".join(repr(name) for _, name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{len(names):,} {what} ({shown}{more})"


_ENTRY: dict[str, tuple[type, ...]] = {
    "name": (str,), "source": (str,), "licence": (str, NoneType), "sha256": (str,),
    "characters": (int,), "bytes": (int,), "tokens": (int,),
}  # fmt: skip
_MANIFEST: dict[str, tuple[type, ...]] = {
    "corpus": (str,), "tokenizer": (str,), "vocabulary": (int,), "history": (list,), "documents": (list,), "format": (int,),
}  # fmt: skip


def entry_of(value: Any) -> Entry:
    """Reads an entry from what JSON has of it."""
    return Entry(**_checked(value, _ENTRY, "a document"))


def _checked(value: Any, types: dict[str, tuple[type, ...]], noun: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != types.keys():
        raise DataError(f"{noun} of a manifest must have {', '.join(types)}, got {str(value)[:80]!r}.")
    for name, wanted in types.items():
        if not isinstance(value[name], wanted) or isinstance(value[name], bool):
            raise DataError(
                f"{noun} of a manifest must have {wanted[0].__name__} as {name!r}, got {str(value[name])[:80]!r}."
            )
    return dict(value)
