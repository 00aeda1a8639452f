"""Texts from files: a folder, an archive, or one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from aigc._checks import fail, fail_type, flag
from aigc.data._examples import Skipped
from aigc.data._files import Files, listing, path_of
from aigc.data.text._reader import EMPTY, SUFFIXES, Form, Reader, ReadFiles, form_of
from aigc.data.text._streams import Stamp, check_encoding, stamp
from aigc.data.text.corpus import Corpus
from aigc.data.text.dividing import Division, Whole
from aigc.data.text.documents import Document
from aigc.errors import DataError, DataNotFoundError

__all__ = ["texts"]

_WHOLE = Whole()


def texts(
    source: str | Path,
    *,
    field: str | Sequence[str] = "text",
    title: str | None = None,
    columns: Sequence[str] | None = None,
    divide: Division = _WHOLE,
    encoding: str = "utf-8",
    form: Form | None = None,
    licence: str | None = None,
    skip_unreadable: bool = False,
) -> Corpus:
    r"""Finds texts, and reads each when it is asked for.

    Every file is read once now, so that what is damaged is found before training; a document is in memory only as long as
    it is used. Files are `.txt` and `.md`, JSON Lines (`.jsonl`, `.ndjson`), and tables (`.csv` with the quotation marks of
    RFC 4180, `.tsv` with none), each also packed with gzip.

    Args:
        source: A folder, with all folders under it; a zip archive; or one file. The order is that of the names.
        field: Of records: the field that holds the text, or a list of turns, each with `role` and `content`; or several
            fields, such as `("prompt", "completion")`, which become turns. All other fields become `Document.fields`; one
            called `licence` or `license` is the document's.
        title: Of records: the field that holds the document's name; None names them by file and line.
        columns: Of tables: names of the columns, where the first row does not say them.
        divide: How documents are told apart within a file of text: `Whole()`, `Lines()`, `Blank()`, `Heading(pattern)` or
            `Pieces(size)`.
        encoding: Of all files. A byte order mark of UTF-8 is left out.
        form: `"text"`, `"jsonl"`, `"csv"` or `"tsv"`, for all files; None goes by their endings.
        licence: Of all documents that do not say theirs.
        skip_unreadable: Whether files, lines and records that cannot be read are left out, and listed in `.skipped`. Those
            without any text always are.

    Raises:
        DataNotFoundError: If there is nothing there.
        DataError: If a file or record cannot be read; the sentence names it, and where a byte cannot be decoded.
        ParameterError: If an argument is out of range.

    Example:
        >>> import tempfile
        >>> from aigc.data.text import Blank
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.txt").write_text("窗前明月光\n\nTo be, or not to be\n", encoding="utf-8")
        ...     _ = Path(folder, "b.jsonl").write_text('{"text": "Hello", "author": "me"}\n')
        ...     corpus = texts(folder, divide=Blank(), licence="CC0")
        ...     [(document.name, document.text) for document in corpus], corpus.count
        ([('a.txt:1', '窗前明月光'), ('a.txt:3', 'To be, or not to be'), ('b.jsonl:1', 'Hello')], 3)
    """
    reader = Reader(
        _files(path_of("source", source), form),
        form,
        _division(divide),
        check_encoding(encoding),
        _field(field),
        _optional("title", title),
        None if columns is None else _names("columns", columns),
        _optional("licence", licence),
    )
    return _surveyed(reader, flag("skip_unreadable", skip_unreadable))


def _files(path: Path, form: Form | None) -> Files:
    if form is not None and form not in get_args(Form):
        raise fail("form", f"one of {', '.join(map(repr, get_args(Form)))}, or None", form)
    if path.is_file() and path.suffix.lower() != ".zip" and form is None and form_of(path.name) is None:
        raise fail("source", f"a file that ends in one of {', '.join(SUFFIXES)}", str(path), "Say what it is with form=.")
    return listing(path, SUFFIXES if form is None else ("",), "texts")


def _surveyed(reader: Reader, skip: bool) -> Corpus:
    """Reads everything once."""
    kept: list[int] = []
    stamps: list[Stamp] = []
    skipped: list[Skipped] = []
    count = 0
    for index in range(len(reader.files.names)):
        stamps.append(stamp(reader.files.path(index)))
        found, bad = 0, len(skipped)
        try:
            for document in reader.documents(index):
                if isinstance(document, Document):
                    found += 1
                elif skip or document.reason.endswith(EMPTY):
                    skipped.append(document)
                else:
                    raise DataError(document.reason)
        except DataError as error:
            if not skip:
                raise
            skipped[bad:] = [Skipped(reader.files.where(index), str(error))]
            continue
        if not found and len(skipped) == bad:
            where = reader.files.where(index)
            skipped.append(Skipped(where, f"{where} {EMPTY}"))
        kept.append(index)
        count += found
    if not count:
        reason = skipped[0].reason if skipped else ""
        raise DataNotFoundError(f"source must hold at least one text, and holds none; {reason}")
    return Corpus(ReadFiles(reader, tuple(kept), tuple(stamps)), count, tuple(skipped))


def _division(value: object) -> Division:
    if not callable(getattr(value, "parts", None)) or isinstance(value, type):
        raise fail_type("divide", "Whole(), Lines(), Blank(), Heading(pattern), Pieces(size) or the like", value)
    found: Division = value  # type: ignore[assignment]  # as far as can be seen
    return found


def _field(value: object) -> str | tuple[str, ...]:
    return value if isinstance(value, str) else _names("field", value)


def _names(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence) or not all(isinstance(x, str) for x in value):
        raise fail_type(name, "a sequence of names", value)
    if not value or len(set(value)) < len(value):
        raise fail(name, "at least one name, none of them twice", value)
    return tuple(value)


def _optional(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise fail_type(name, "a string or None", value)
    return value
