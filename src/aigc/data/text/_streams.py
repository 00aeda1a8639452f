"""The lines of a file, of any size, packed or not, in any encoding: as bytes of UTF-8, so that offsets are exact."""

import codecs
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from aigc._checks import fail, fail_type
from aigc.data._files import Files
from aigc.errors import DataError, DataNotFoundError

__all__ = ["LARGEST", "Stamp", "check_encoding", "decoded", "lines", "stamp"]

LARGEST = 2**26  # bytes of one document, which is in memory several times while it is cleaned
_BOM = codecs.BOM_UTF8
_PIECE = 2**20
_GIVE = "Give the encoding it has, or leave such files out with skip_unreadable=True."


class Stamp(NamedTuple):
    """What tells a file that was changed: cheap, and no proof."""

    size: int
    changed: int


def stamp(path: Path) -> Stamp:
    """A file's stamp now."""
    try:
        found = path.stat()
    except OSError as error:
        raise DataNotFoundError(f"{path.as_posix()} is gone; it was there before.") from error
    return Stamp(found.st_size, found.st_mtime_ns)


def check_encoding(name: object) -> str:
    """Checks that an encoding exists, and is one of text."""
    if not isinstance(name, str):
        raise fail_type("encoding", "the name of an encoding", name)
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        raise fail("encoding", "one that Python knows", name, 'Examples: "utf-8", "gb18030", "latin-1".') from None
    if not getattr(found, "_is_text_encoding", True) or found.name == "undefined":
        raise fail("encoding", "an encoding of text", name)
    return "utf-8" if found.name in ("utf-8", "utf-8-sig") else found.name


def lines(files: Files, index: int, encoding: str) -> Iterator[bytes]:
    """The lines of a file as UTF-8, each with its end: a line feed, but for the last.

    A byte order mark at the beginning is left out. Lines of UTF-8 are not decoded here; those of other encodings are.

    Raises:
        DataError: If the file cannot be read or unpacked, or, in another encoding than UTF-8, decoded; or has a line
            of more than `LARGEST` bytes.
    """
    where = files.where(index)
    try:
        with ExitStack() as stack:
            stream = _opened(files, index, stack)
            yield from _plain(stream, where) if encoding == "utf-8" else _transcoded(stream, encoding, where)
    except UnicodeDecodeError as error:
        raise undecodable(where, _first_bad(files, index, encoding) or error, encoding) from error
    except UnicodeError as error:  # no byte order mark, half of a surrogate pair, and what else a codec says of the whole
        raise DataError(f"{where} cannot be decoded as {encoding}: {error}. {_GIVE}") from error
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError):
            raise DataNotFoundError(f"{where} is gone; it was there before.") from None
        raise DataError(f"{where} cannot be read: {error}. Mend or remove it, or give skip_unreadable=True.") from error


def decoded(data: bytes | bytearray, where: str, *, offset: int) -> str:
    """The text of bytes of UTF-8.

    Args:
        data: Which.
        where: The file, for messages.
        offset: Of the first byte, in the file.

    Raises:
        DataError: That names the offset of the first byte that cannot be.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise undecodable(where, _At(offset + error.start, data[error.start]), "utf-8") from error


class _At(NamedTuple):
    """A byte that cannot be decoded."""

    offset: int
    byte: int


def undecodable(where: str, found: _At | UnicodeDecodeError, encoding: str) -> DataError:
    """The error of a byte that cannot be decoded."""
    at = found if isinstance(found, _At) else _At(found.start, found.object[found.start])
    what = f"{where} cannot be decoded as {encoding}: byte 0x{at.byte:02x} at offset {at.offset}"
    return DataError(f"{what}. {_GIVE}")


def _opened(files: Files, index: int, stack: ExitStack) -> IO[bytes]:
    name = files.names[index]
    if files.root.is_dir():
        stream: IO[bytes] = stack.enter_context((files.root / name).open("rb"))
    else:
        archive = stack.enter_context(zipfile.ZipFile(files.root))
        stream = stack.enter_context(archive.open(name))
    if not name.lower().endswith(".gz"):
        return stream
    return cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=stream, mode="rb")))


def _plain(stream: IO[bytes], where: str) -> Iterator[bytes]:
    first = True
    while line := stream.readline(LARGEST + 1):
        if len(line) > LARGEST:
            raise DataError(f"{where} has a line of more than {LARGEST} bytes. Break it into several.")
        if first and line.startswith(_BOM):
            line = line[len(_BOM) :]
        first = False
        if line:
            yield line


def _transcoded(stream: IO[bytes], encoding: str, where: str) -> Iterator[bytes]:
    first = True
    with io.TextIOWrapper(stream, encoding=encoding, newline="\n") as reader:
        while line := reader.readline(LARGEST + 1):
            if len(line) > LARGEST:
                raise DataError(f"{where} has a line of more than {LARGEST} characters. Break it into several.")
            if first:
                line = line.removeprefix("\ufeff")
            first = False
            yield line.encode()


def _first_bad(files: Files, index: int, encoding: str) -> _At | None:
    """Reads a file once more to find where it cannot be decoded: a reader of lines does not say."""
    decoder: Any = codecs.getincrementaldecoder(encoding)()
    with ExitStack() as stack:
        stream, before = _opened(files, index, stack), 0
        while True:
            piece = stream.read(_PIECE)
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                return _At(before - held + error.start, error.object[error.start])
            if not piece:
                return None
            before += len(piece)
