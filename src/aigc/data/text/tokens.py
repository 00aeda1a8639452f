"""A corpus as tokens, on the disk: written whole or not at all, mapped into memory when it is read.

A folder holds `tokens.bin`, the ids of all documents behind each other, little-endian, in 16 bits if the vocabulary allows
and else in 32; `boundaries.bin`, where each document begins and the last ends, 64 bits; `documents.jsonl`, a line of each;
`corpus.json`, what is true of all; `tokenizer.json`; and `manifest.json`, size and SHA-256 of the others. The tokens that
end documents are not in it: packing puts them in.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aigc._checks import fail, flag, integer
from aigc.data._files import path_of
from aigc.data.text._mapped import Mapped
from aigc.data.text.manifest import FORMAT, Entry, Manifest, entry_of
from aigc.data.text.tokenizer import tokenizer_hash
from aigc.errors import DataError, DataNotFoundError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["BOUNDARIES", "CORPUS", "DOCUMENTS", "TOKENIZER", "TOKENS", "Tokens"]

TOKENS, BOUNDARIES, DOCUMENTS, CORPUS, TOKENIZER = (
    "tokens.bin", "boundaries.bin", "documents.jsonl", "corpus.json", "tokenizer.json",
)  # fmt: skip
_SUMS = "manifest.json"
_AGAIN = "Write it again with write_tokens()."
_TYPES: dict[str, type] = {
    "dtype": str, "vocabulary": int, "end": int, "documents": int, "tokens": int, "characters": int, "bytes": int,
    "corpus": str, "tokenizer": str, "history": list,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Documents as token ids, read from the disk as they are asked for.

    `len(x)` says how many documents there are, and `x[i]` is one of them, int64. Worker processes may read it.

    Attributes:
        folder: Where.
        vocabulary: How many tokens there are.
        end: The one that ends a document; it is in no document.
        count: Tokens of all documents.
        characters: Of all documents, in code points.
        bytes: Of all documents, in UTF-8.
        corpus: The SHA-256 of all texts' digests.
        tokenizer: The SHA-256 of the tokenizer; empty if that was a function.
        history: What was done to the corpus before.

    Example:
        >>> import tempfile
        >>> from aigc.data.text import Corpus, train_tokenizer, write_tokens
        >>> corpus = Corpus.of(["静夜思", "To be"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = write_tokens(corpus, f"{folder}/tokens", tokenizer=train_tokenizer(corpus, kind="bytes"))
        ...     found = Tokens.open(f"{folder}/tokens", verify=True)
        ...     len(found), found.count, found[1]
        (2, 14, array([ 52,  79, 221,  66,  69]))
    """

    folder: Path
    vocabulary: int
    end: int
    count: int
    characters: int
    bytes: int
    corpus: str
    tokenizer: str
    history: tuple[str, ...]
    _ids: Mapped = field(repr=False)
    _boundaries: Mapped = field(repr=False)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> "Tokens":
        """Opens what `write_tokens` wrote.

        Args:
            path: The folder.
            verify: Whether every byte is read and compared with its hash; sizes always are.

        Raises:
            DataNotFoundError: If there is no such folder.
            DataError: If a file is missing, cut, damaged, or contradicts another.
        """
        folder, verify = path_of("path", path), flag("verify", verify)
        if not folder.is_dir():
            raise DataNotFoundError(f"path must be a folder of tokens, got {str(folder)!r}, which does not exist.")
        for name, entry in _sums(folder).items():
            _verify(folder / name, entry, verify)
        about = _about(folder)
        ids, boundaries = Mapped(folder / TOKENS, about["dtype"]), Mapped(folder / BOUNDARIES, "<i8")
        fits = len(ids) == about["tokens"] and len(boundaries) == about["documents"] + 1
        if not fits or boundaries.at(0) != 0 or boundaries.at(len(boundaries) - 1) != len(ids):
            raise DataError(f"{folder} holds boundaries of other tokens. {_AGAIN}")
        names = ("vocabulary", "end", "characters", "bytes", "corpus", "tokenizer")
        told = {name: about[name] for name in names}
        return cls(folder, **told, count=about["tokens"], history=tuple(about["history"]), _ids=ids, _boundaries=boundaries)

    def __len__(self) -> int:
        return len(self._boundaries) - 1

    def __getitem__(self, index: int) -> npt.NDArray[np.int64]:
        place = index if index >= 0 else index + len(self)
        if not 0 <= place < len(self):
            raise IndexError(f"index {index} is out of range: there are {len(self)} documents")
        return self.read(*self.bounds(place))

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokens.open, (self.folder,)

    def bounds(self, index: int) -> tuple[int, int]:
        """Where a document's tokens begin and end among all.

        Raises:
            ParameterError: If there is no such document.
        """
        integer("index", index, low=0, high=len(self) - 1)
        start, stop = self._boundaries.read(index, index + 2).tolist()
        return start, stop

    def lengths(self) -> npt.NDArray[np.int64]:
        """How many tokens each document has."""
        return np.diff(self._boundaries.read(0, len(self._boundaries)))

    def read(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Some tokens of all, whatever documents they are of."""
        return self._ids.read(start, stop)

    def where(self, target: int) -> int:
        """The document that has a target, of all targets in order: each document has its tokens and one end."""
        return bisect_right(range(len(self)), target, key=lambda i: self._boundaries.at(i) + i) - 1

    def entries(self) -> Iterator[Entry]:
        """What is known of each document, in order.

        Raises:
            DataError: If a line of the file cannot be read.
        """
        with open(self.folder / DOCUMENTS, encoding="utf-8") as lines:
            for line in lines:
                try:
                    value = json.loads(line)
                except ValueError as error:
                    raise DataError(f"{self.folder / DOCUMENTS} is damaged: {error}. {_AGAIN}") from error
                yield entry_of(value)

    def manifest(self) -> Manifest:
        """All of that as a value, to be kept with a model: some hundred bytes a document."""
        return Manifest(self.corpus, self.tokenizer, self.vocabulary, self.history, tuple(self.entries()))

    def check_tokenizer(self, tokenizer: "Tokenizer") -> None:
        """Checks that a tokenizer is the one that made these tokens.

        Raises:
            DataError: If it is another.
        """
        inner = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if self.tokenizer and tokenizer_hash(inner) != self.tokenizer:
            raise DataError(f"{self.folder} was written with another tokenizer, which is in it as {TOKENIZER}. {_AGAIN}")


def _sums(folder: Path) -> dict[str, Any]:
    """Sizes and hashes of all files."""
    value = _json(folder / _SUMS)
    files = value.get("files")
    if not isinstance(files, dict) or not {TOKENS, BOUNDARIES, DOCUMENTS, CORPUS} <= files.keys():
        raise DataError(f"{folder} is no folder of tokens. {_AGAIN}")
    if not files.keys() <= {TOKENS, BOUNDARIES, DOCUMENTS, CORPUS, TOKENIZER}:
        raise DataError(f"{folder / _SUMS} lists files that are none of ours. {_AGAIN}")
    return files


def _verify(file: Path, entry: Any, hashed: bool) -> None:
    if not isinstance(entry, dict) or not {"size", "sha256"} <= entry.keys():
        raise DataError(f"{file.parent / _SUMS} says nothing checkable of {file.name}. {_AGAIN}")
    if not file.is_file():
        raise DataNotFoundError(f"{file} is missing. {_AGAIN}")
    size = file.stat().st_size
    if size != entry["size"]:
        raise DataError(f"{file} has {size} bytes instead of {entry['size']}. {_AGAIN}")
    if not hashed:
        return
    with open(file, "rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != entry["sha256"]:
            raise DataError(f"{file} has been changed or damaged: its SHA-256 is another. {_AGAIN}")


def _about(folder: Path) -> dict[str, Any]:
    value = _json(folder / CORPUS)
    if value.get("format") != FORMAT:
        raise DataError(f"{folder / CORPUS} is of format {value.get('format')!r}, and {FORMAT} is read here. {_AGAIN}")
    wrong = [name for name, kind in _TYPES.items() if not isinstance(value.get(name), kind)]
    if wrong or value["dtype"] not in ("<u2", "<u4"):
        raise DataError(f"{folder / CORPUS} is damaged: {', '.join(wrong) or 'dtype'} cannot be. {_AGAIN}")
    return value


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataNotFoundError(f"{file} cannot be read: {error.strerror}. {_AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not JSON: {error}. {_AGAIN}") from error
    if not isinstance(value, dict):
        raise fail(str(file), "a JSON object", value)
    return value
