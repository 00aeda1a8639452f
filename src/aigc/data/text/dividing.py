"""How documents are told apart within a file of text."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from aigc._checks import fail, fail_type, integer
from aigc.data.text._streams import LARGEST
from aigc.errors import DataError

__all__ = ["Blank", "Division", "Heading", "Lines", "Part", "Pieces", "Whole"]


class Part(NamedTuple):
    """A part of a file.

    Attributes:
        data: UTF-8.
        offset: Of its first byte in the file.
        name: Of its own, or empty.
        line: The number of its first line; 0 if it is the whole file.
    """

    data: bytes | bytearray
    offset: int
    name: str
    line: int


class Division(Protocol):
    """Divides a file into documents."""

    alone: bool  # whether a part that cannot be decoded leaves the other parts of its file readable

    def parts(self, lines: Iterable[bytes], where: str) -> Iterator[Part]:
        """The parts of a file, of its lines."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    r"""A file is a document.

    Example:
        >>> [bytes(part.data) for part in Whole().parts([b"a\n", b"b\n"], "file")]
        [b'a\nb\n']
    """

    alone = False

    def parts(self, lines: Iterable[bytes], where: str) -> Iterator[Part]:
        """One part."""
        held = _Held(where)
        for line in lines:
            held.add(line)
        yield Part(held.data, 0, "", 0)


@dataclass(frozen=True, slots=True)
class Lines:
    r"""A line is a document; empty lines are none. Lines end with a line feed, with or without a carriage return before it.

    Example:
        >>> [bytes(part.data) for part in Lines().parts([b"a\r\n", b"\n", b"b"], "file")]
        [b'a', b'b']
    """

    alone = True

    def parts(self, lines: Iterable[bytes], where: str) -> Iterator[Part]:
        """A part for each line."""
        offset = 0
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield Part(line.removesuffix(b"\n").removesuffix(b"\r"), offset, "", number)
            offset += len(line)


@dataclass(frozen=True, slots=True)
class Blank:
    r"""Documents are separated by blank lines.

    Example:
        >>> [bytes(part.data) for part in Blank().parts([b"a\n", b"b\n", b" \n", b"c\n"], "file")]
        [b'a\nb', b'c']
    """

    alone = True

    def parts(self, lines: Iterable[bytes], where: str) -> Iterator[Part]:
        """A part for each run of lines that are not blank."""
        held, offset, start, first = _Held(where), 0, 0, 0
        for number, line in enumerate(lines, start=1):
            if _blank(line):
                if held.data:
                    yield Part(held.take().removesuffix(b"\n").removesuffix(b"\r"), start, "", first)
            else:
                if not held.data:
                    start, first = offset, number
                held.add(line)
            offset += len(line)
        if held.data:
            yield Part(held.take().removesuffix(b"\n").removesuffix(b"\r"), start, "", first)


@dataclass(frozen=True, slots=True)
class Heading:
    r"""Documents begin after lines of a pattern, which name them. What stands before the first is a document of its own.

    Args:
        pattern: A regular expression that a whole line must match; its first group, if it has one, is the name. The heading
            is no part of the text.

    Example:
        >>> lines = [b"=== one\n", b"a\n", b"=== two\n"]
        >>> [(part.name, bytes(part.data)) for part in Heading("=== (.+)").parts(lines, "file")]
        [('one', b'a\n'), ('two', b'')]
    """

    pattern: str = "=== (.+)"
    alone = False

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str):
            raise fail_type("pattern", "a regular expression", self.pattern)
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise fail("pattern", "a regular expression", self.pattern, f"It cannot be read: {error}.") from error

    def parts(self, lines: Iterable[bytes], where: str) -> Iterator[Part]:
        """A part for each heading, and one for what stands before the first."""
        pattern = re.compile(self.pattern)
        held, offset, start, first, name = _Held(where), 0, 0, 1, ""
        for number, line in enumerate(lines, start=1):
            found = pattern.fullmatch(line.decode(errors="replace").removesuffix("\n").removesuffix("\r"))
            offset += len(line)
            if found is None:
                held.add(line)
                continue
            if name or held.data.strip():
                yield Part(held.take(), start, name, first)
            held.take()
            start, first = offset, number + 1
            name = ((found[1] or "") if pattern.groups else found[0]).strip() or f"line {number}"
        if name or held.data.strip():
            yield Part(held.take(), start, name, first)


@dataclass(frozen=True, slots=True)
class Pieces:
    r"""A file is cut into documents of about one size, at ends of lines: for files too large for one.

    Args:
        size: Bytes of UTF-8; a piece ends with the line that reaches it.

    Example:
        >>> [bytes(part.data) for part in Pieces(3).parts([b"ab\n", b"c\n", b"de\n"], "file")]
        [b'ab\n', b'c\nde\n']
    """

    size: int
    alone = False

    def __post_init__(self) -> None:
        integer("size", self.size, low=1, high=LARGEST // 2)

    def parts(self, lines: Iterable[bytes], where: str) -> Iterator[Part]:
        """One part after the other."""
        held, offset, first = _Held(where), 0, 1
        for number, line in enumerate(lines, start=1):
            held.add(line)
            if len(held.data) >= self.size:
                data = held.take()
                yield Part(data, offset, "", first)
                offset, first = offset + len(data), number + 1
        if held.data:
            yield Part(held.take(), offset, "", first)


class _Held:
    """Lines of a part that is not complete."""

    def __init__(self, where: str) -> None:
        self.data, self._where = bytearray(), where

    def add(self, line: bytes) -> None:
        if len(self.data) + len(line) > LARGEST:
            raise DataError(
                f"{self._where} has a document of more than {LARGEST} bytes. Say how its documents are told apart with "
                "divide=, for instance Pieces(10_000_000)."
            )
        self.data += line

    def take(self) -> bytearray:
        data, self.data = self.data, bytearray()
        return data


def _blank(line: bytes) -> bool:
    return not line.strip() or (len(line) < 256 and line.decode(errors="replace").isspace())
