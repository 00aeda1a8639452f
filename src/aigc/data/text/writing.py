"""From a corpus to token files, a piece of a document at a time."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigc.checkpoint import atomic_folder
from aigc.data._files import path_of
from aigc.data.text._encoding import Encoder, encoder
from aigc.data.text._pieces import pieces
from aigc.data.text._progress import Reporter, Watcher
from aigc.data.text.corpus import Corpus
from aigc.data.text.documents import Document, documents_of
from aigc.data.text.manifest import FORMAT, Entry
from aigc.data.text.tokenizer import END
from aigc.data.text.tokens import BOUNDARIES, CORPUS, DOCUMENTS, TOKENIZER, TOKENS, Tokens
from aigc.errors import AigcError, DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["write_tokens"]

_PIECE = 2**16  # characters of a text that are encoded at once
_BATCH = 2**19  # characters whose tokens are in memory
_SMALL = 2**16  # ids that fit 16 bits


def write_tokens(
    corpus: Iterable[str | Document],
    path: str | Path,
    *,
    tokenizer: "Tokenizer | Callable[[str], Sequence[int]]",
    end: str | int = END,
    vocabulary: int | None = None,
    progress: Watcher = None,
) -> Tokens:
    """Writes a corpus as token files, all or nothing, with a manifest of its documents.

    Texts are encoded without special tokens, and what looks like one in a text is text: "<|endoftext|>" in a text becomes
    the tokens of these letters. Only of a token that the tokenizer does not know as special, or of a function, can the end
    come to be in a document; then nothing is written, since a model would learn to end there. Texts of more than 65,536
    characters are encoded in pieces, cut at the end of a line if they can be: byte-level tokenizers lose nothing by it. If
    anything fails, the place stays as it was.

    Args:
        corpus: Run through once; a document is in memory as long as it is encoded.
        path: A new or empty folder, or one that holds token files, which are replaced.
        tokenizer: A `tokenizers.Tokenizer`, a fast tokenizer of transformers, or a function from a text to ids.
        end: The token that ends a document, or its id.
        vocabulary: How many tokens there are; None asks the tokenizer.
        progress: A callable that takes a `Preparation`; True for a line on standard error, False for none; by default a
            line if that is a terminal.

    Raises:
        DataError: If the corpus has no document, an id is outside the vocabulary, a document has the token that ends
            documents in it, or the disk is full.
        ParameterError: If an argument is out of range, or the folder holds something else.

    Example:
        >>> import tempfile
        >>> from aigc.data.text import Corpus, train_tokenizer
        >>> corpus = Corpus.of(["窗前明月光", "疑是地上霜"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tokens = write_tokens(corpus, f"{folder}/tokens", tokenizer=train_tokenizer(corpus, size=300))
        ...     tokens.count, tokens.bytes, next(tokens.entries()).name
        (28, 30, '0')
    """
    place, made = path_of("path", path), encoder(tokenizer, end, vocabulary)
    documents = documents_of("corpus", corpus)
    reporter = Reporter(progress, total=corpus.count if isinstance(corpus, Corpus) else None)
    try:
        with atomic_folder(place) as beside:
            about = _written(documents, beside, made, reporter)
            about["history"] = list(corpus.history) if isinstance(corpus, Corpus) else []
            (beside / CORPUS).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            if made.json:
                (beside / TOKENIZER).write_text(made.json, encoding="utf-8")
    except AigcError:
        raise  # some of ours are OSErrors too
    except OSError as error:
        cure = "Nothing was left behind: make room, or write elsewhere."
        raise DataError(f"{place} cannot be written: {error.strerror or error}. {cure}") from error
    return Tokens.open(place)


def _written(corpus: Iterable[Document], folder: Path, made: Encoder, reporter: Reporter) -> dict[str, Any]:
    """Writes the three large files, and returns what is true of all."""
    dtype = "<u2" if made.vocabulary <= _SMALL else "<u4"
    with ExitStack() as stack:
        ids, boundaries, documents = (stack.enter_context((folder / n).open("wb")) for n in (TOKENS, BOUNDARIES, DOCUMENTS))
        boundaries.write(bytes(8))
        digest, count, tokens, before, characters, size = hashlib.sha256(), 0, 0, 0, 0, 0
        for batch in _batches(corpus):
            for (_, document, last), found in zip(batch, made.encode([text for text, *_ in batch]), strict=True):
                array = made.checked(found, document.name)
                ids.write(array.astype(dtype).tobytes())
                tokens += len(array)
                if not last:
                    continue
                entry = _entry(document, tokens - before)
                documents.write(json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n")
                boundaries.write(np.array(tokens, dtype="<i8").tobytes())
                digest.update(bytes.fromhex(entry.sha256))
                count, before = count + 1, tokens
                characters, size = characters + entry.characters, size + entry.bytes
            reporter(count, characters, tokens)
    if not tokens:
        raise DataError(
            f"corpus must have at least one token, got none of {count} documents. Look at what was filtered out."
        )
    reporter(count, characters, tokens, done=True)
    return {
        "format": FORMAT, "dtype": dtype, "vocabulary": made.vocabulary, "end": made.end, "documents": count,
        "tokens": tokens, "characters": characters, "bytes": size, "corpus": digest.hexdigest(), "tokenizer": made.identity,
    }  # fmt: skip


def _entry(document: Document, tokens: int) -> Entry:
    data = document.text.encode()
    return Entry(
        document.name,
        document.source,
        document.licence,
        hashlib.sha256(data).hexdigest(),
        len(document.text),
        len(data),
        tokens,
    )


_Piece = tuple[str, Document, bool]  # a text to encode, the document that it is of, and whether it is the last of that


def _batches(corpus: Iterable[Document]) -> Iterator[list[_Piece]]:
    batch: list[_Piece] = []
    size = 0
    for document in corpus:
        cut = list(pieces(document.text, _PIECE))
        for number, piece in enumerate(cut, start=1):
            batch.append((piece, document, number == len(cut)))
            size += len(piece)
            if size >= _BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
