"""Records of JSON Lines and of tables: from lines to values by name."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aigc.data.text._streams import LARGEST, decoded
from aigc.errors import DataError

__all__ = ["Record", "json_records", "table_records"]


class Record(NamedTuple):
    """A record, or why there is none.

    Attributes:
        line: The number of its first line.
        values: By name.
        error: What is wrong with it; the others of its file can be read all the same.
    """

    line: int
    values: Mapping[str, Any]
    error: DataError | None = None


def json_records(lines: Iterable[bytes], where: str) -> Iterator[Record]:
    """A record of each line that holds an object; blank lines are none."""
    offset = 0
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                value = json.loads(decoded(line, where, offset=offset))
                if not isinstance(value, dict):
                    raise ValueError(f"it holds {_kind(value)}, not an object")
                yield Record(number, value)
            except DataError as error:
                yield Record(number, {}, error)
            except (ValueError, RecursionError) as error:
                yield Record(number, {}, DataError(f"{where}:{number} is no JSON object: {error}."))
        offset += len(line)


def table_records(
    lines: Iterable[bytes], where: str, *, mark: str, quoted: bool, columns: Sequence[str] | None
) -> Iterator[Record]:
    """A record of each row; blank lines are none.

    Args:
        lines: Of the file.
        where: The file, for messages.
        mark: Between two cells.
        quoted: Whether cells may stand in quotation marks, as RFC 4180 has it.
        columns: Their names; None reads them from the first row.
    """
    names = None if columns is None else list(columns)
    rows = _quoted(lines, where, mark) if quoted else _bare(lines, where, mark)
    for number, cells in rows:
        if isinstance(cells, DataError):
            yield Record(number, {}, cells)
        elif names is None:
            names = cells
            if len(set(names)) < len(names):
                raise DataError(f"{where} names a column twice: {names}. Give columns=.")
        elif len(cells) != len(names):
            what = f"{where}:{number} has {len(cells)} cells, and there are {len(names)} columns ({', '.join(names)})"
            yield Record(number, {}, DataError(f"{what}. Give columns= if the names are wrong."))
        else:
            yield Record(number, dict(zip(names, cells, strict=True)))


_Row = tuple[int, list[str] | DataError]


def _bare(lines: Iterable[bytes], where: str, mark: str) -> Iterator[_Row]:
    offset = 0
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield number, _ended(decoded(line, where, offset=offset)).split(mark)
            except DataError as error:
                yield number, error
        offset += len(line)


def _quoted(lines: Iterable[bytes], where: str, mark: str) -> Iterator[_Row]:
    """Rows whose cells may hold line ends, between quotation marks.

    The csv module would do, but for its limit on cells, which belongs to the process.
    """
    held: list[str] = []
    first, offset, start = 0, 0, 0
    for number, line in enumerate(lines, start=1):
        text = decoded(line, where, offset=offset)
        if not held:
            first, start = number, offset
        offset += len(line)
        held.append(text)
        if offset - start > LARGEST:
            raise _open_quote(where, first)
        if len(held) > 1 and '"' not in text:
            continue  # a cell that is open stays open
        row = _ended("".join(held))
        cells = _cells(row, mark)
        if cells is None:
            continue
        held = []
        if row.strip():
            wrong = DataError(f"{where}:{first} has text behind the quotation mark that ends a cell. Double it.")
            yield first, cells or wrong
    if held:
        raise _open_quote(where, first)


def _open_quote(where: str, line: int) -> DataError:
    return DataError(f"{where}:{line} opens a quotation mark that is never closed. Double quotation marks inside cells.")


def _cells(row: str, mark: str) -> list[str] | None:
    """The cells of a row; none if there cannot be any; None if the last one is still open."""
    if '"' not in row:
        return row.split(mark)
    cells, at = [], 0
    while True:
        if row.startswith('"', at):
            end = _closing(row, at + 1)
            if end < 0:
                return None
            cells.append(row[at + 1 : end].replace('""', '"'))
            end += 1
            if end < len(row) and row[end] != mark:
                return []
        else:
            end = row.find(mark, at)
            end = len(row) if end < 0 else end
            cells.append(row[at:end])
        if end >= len(row):
            return cells
        at = end + 1


def _closing(row: str, at: int) -> int:
    while (at := row.find('"', at)) >= 0 and row.startswith('"', at + 1):
        at += 2
    return at


def _ended(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _kind(value: Any) -> str:
    return (
        "null"
        if value is None
        else {"list": "an array", "str": "a string"}.get(type(value).__name__, "a number or truth value")
    )
