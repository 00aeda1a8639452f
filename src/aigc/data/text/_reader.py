"""From files to documents."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aigc.data._examples import Skipped
from aigc.data._files import Files
from aigc.data.text._records import Record, json_records, table_records
from aigc.data.text._streams import Stamp, decoded, lines, stamp
from aigc.data.text.dividing import Division
from aigc.data.text.documents import Document, Turn, unpaired
from aigc.errors import DataError

__all__ = ["EMPTY", "SUFFIXES", "Form", "ReadFiles", "Reader", "form_of"]

Form = Literal["text", "jsonl", "csv", "tsv"]

_FORMS: dict[str, Form] = {
    ".txt": "text", ".md": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv",
}  # fmt: skip
SUFFIXES = tuple(suffix + packed for suffix in _FORMS for packed in ("", ".gz"))
_LICENCES = ("licence", "license")
EMPTY = "holds no text."


def form_of(name: str) -> Form | None:
    """What a file is, by its ending."""
    plain = name.lower().removesuffix(".gz")
    return next((form for suffix, form in _FORMS.items() if plain.endswith(suffix)), None)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the documents of files, one after the other.

    Attributes:
        files: Which.
        form: Of all files; None goes by their endings.
        divide: Of files of text.
        encoding: Of all files.
        field: Of records: what holds the text.
        title: Of records: what holds the name; None numbers them.
        columns: Of tables; None reads them from the first row.
        licence: Of all documents but those that say theirs.
    """

    files: Files
    form: Form | None
    divide: Division
    encoding: str
    field: str | tuple[str, ...]
    title: str | None
    columns: tuple[str, ...] | None
    licence: str | None

    def documents(self, index: int) -> Iterator[Document | Skipped]:
        """The documents of a file, and what of it cannot be read.

        Raises:
            DataError: If the whole file cannot.
        """
        name, where = self.files.names[index], self.files.where(index)
        form = self.form or form_of(name) or "text"
        raw = lines(self.files, index, self.encoding)
        if form == "text":
            yield from self._parts(raw, name, where)
            return
        if form == "jsonl":
            records = json_records(raw, where)
        else:
            mark = "\t" if form == "tsv" else ","
            records = table_records(raw, where, mark=mark, quoted=form == "csv", columns=self.columns)
        for record in records:
            yield self._document(record, name, where)

    def _parts(self, raw: Iterator[bytes], name: str, where: str) -> Iterator[Document | Skipped]:
        for part in self.divide.parts(raw, where):
            place = f"{where}:{part.line}" if part.line else where
            try:
                text = decoded(part.data, where, offset=part.offset)
            except DataError as error:
                if not self.divide.alone:
                    raise
                yield Skipped(place, str(error))
                continue
            if not text.strip():
                yield Skipped(place, f"{place} {EMPTY}")
                continue
            called = part.name or (f"{name}:{part.line}" if part.line else name)
            yield Document(text, called, name, self.licence)

    def _document(self, record: Record, name: str, where: str) -> Document | Skipped:
        place = f"{where}:{record.line}"
        if record.error is not None:
            return Skipped(place, str(record.error))
        try:
            text, turns = _said(record.values, self.field, place)
            called = f"{name}:{record.line}" if self.title is None else _string(record.values, self.title, place)
        except DataError as error:
            return Skipped(place, str(error))
        if not text.strip():
            return Skipped(place, f"{place} {EMPTY}")
        if unpaired(text) is not None:
            return Skipped(place, f"{place} has half of a surrogate pair. Replace it.")
        licence = next((value for key in _LICENCES if isinstance(value := record.values.get(key), str)), self.licence)
        used = (self.field,) if isinstance(self.field, str) else self.field
        fields = {key: value for key, value in record.values.items() if key not in used}
        return Document(text, called, name, licence, fields, turns)


def _said(values: Mapping[str, Any], field: str | tuple[str, ...], place: str) -> tuple[str, tuple[Turn, ...]]:
    if isinstance(field, tuple):
        turns = tuple(Turn(name, _string(values, name, place)) for name in field)
    elif isinstance(values.get(field), list):
        turns = tuple(_turn(value, f"{place}: {field}[{i}]") for i, value in enumerate(values[field]))
    else:
        return _string(values, field, place), ()
    return "\n".join(turn.content for turn in turns), turns


def _turn(value: Any, place: str) -> Turn:
    if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("role", "content")):
        raise DataError(f"{place} must have the strings 'role' and 'content', got {str(value)[:80]!r}.")
    return Turn(value["role"], value["content"])


def _string(values: Mapping[str, Any], field: str, place: str) -> str:
    if field not in values:
        raise DataError(f"{place} has no field {field!r}; it has {', '.join(map(repr, values))}. Give field=, or title=.")
    value = values[field]
    if not isinstance(value, str):
        raise DataError(f"{place} has {str(value)[:40]!r} of type {type(value).__name__} in {field!r}, where text belongs.")
    return value


@dataclass(frozen=True, slots=True)
class ReadFiles:
    """The documents of all files that can be read, from the beginning as often as asked.

    Attributes:
        reader: What reads them.
        kept: Places of the files.
        stamps: What the files were when they were first read.
    """

    reader: Reader
    kept: tuple[int, ...]
    stamps: Sequence[Stamp]

    def __iter__(self) -> Iterator[Document]:
        for index in self.kept:
            path = self.reader.files.path(index)
            if stamp(path) != self.stamps[index]:
                raise DataError(f"{path.as_posix()} was changed since the corpus was opened. Open it again with texts().")
            for found in self.reader.documents(index):
                if isinstance(found, Document):
                    yield found
