"""A document: a text, and what is known of it."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aigc._checks import fail, fail_type
from aigc.errors import ParameterError

__all__ = ["Document", "Turn", "as_document", "documents_of"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side of a conversation says; an instruction and its answer are two turns.

    Attributes:
        role: Who, for instance `"user"`; of a pair of fields, the field's name.
        content: The words.

    Raises:
        TypeParameterError: If one is no string.

    Example:
        >>> Turn("user", "Hello")
        Turn(role='user', content='Hello')
    """

    role: str
    content: str

    def __post_init__(self) -> None:
        if not isinstance(self.role, str):
            raise fail_type("role", "a string", self.role)
        if not isinstance(self.content, str):
            raise fail_type("content", "a string", self.content)


@dataclass(frozen=True, slots=True)
class Document:
    r"""A text, and where it comes from.

    Attributes:
        text: Any Unicode, but no half of a surrogate pair, which no file can hold. Of turns, their contents, one a line.
        name: What messages call it.
        source: The file it was read from, relative to what `texts` was given.
        licence: Under which it may be used; None if nobody said.
        fields: What stood beside it: title, author, label and so on.
        turns: Of a conversation, or of an instruction and its answer; empty for plain text.

    Raises:
        ParameterError: If an argument has another type, or the text or a turn has half of a surrogate pair.

    Example:
        >>> Document("床前明月光", name="静夜思", fields={"author": "李白"}).sha256[:8]
        'c9dd2e40'
    """

    text: str
    name: str = ""
    source: str = ""
    licence: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()

    def __post_init__(self) -> None:
        # Corpora have millions: what is right is seen at once.
        strings = isinstance(self.text, str) and isinstance(self.name, str) and isinstance(self.source, str)
        licensed = self.licence is None or isinstance(self.licence, str)
        fields = type(self.fields) is dict or isinstance(self.fields, Mapping)
        if not (strings and licensed and fields and isinstance(self.turns, tuple)):
            raise self._wrong()
        if not self.text.isascii():
            _check_halves("text", self.text)
        for place, turn in enumerate(self.turns):
            if not isinstance(turn, Turn):
                raise fail_type(f"turns[{place}]", "a Turn", turn)
            if not turn.content.isascii():
                _check_halves(f"turns[{place}]", turn.content)

    def _wrong(self) -> ParameterError:
        """The error of what has another type."""
        for name in ("text", "name", "source"):
            if not isinstance(getattr(self, name), str):
                return fail_type(name, "a string", getattr(self, name))
        if self.licence is not None and not isinstance(self.licence, str):
            return fail_type("licence", "a string or None", self.licence)
        if not isinstance(self.fields, Mapping):
            return fail_type("fields", "a mapping", self.fields)
        return fail_type("turns", "a tuple of Turns", self.turns, "Call tuple(turns).")

    @property
    def sha256(self) -> str:
        """Of the text in UTF-8, as hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def saying(self, contents: Sequence[str]) -> "Document":
        r"""The same document with another text, or with other contents of its turns.

        Example:
            >>> Document("a\nb", turns=(Turn("user", "a"), Turn("assistant", "b"))).saying(["c", "d"]).text
            'c\nd'
        """
        if not self.turns:
            (text,) = contents
            return replace(self, text=text)
        turns = tuple(Turn(turn.role, said) for turn, said in zip(self.turns, contents, strict=True))
        return replace(self, text="\n".join(contents), turns=turns)

    @property
    def contents(self) -> tuple[str, ...]:
        """What `saying` takes: the text, or what each turn says."""
        return tuple(turn.content for turn in self.turns) or (self.text,)


def _check_halves(name: str, text: str) -> None:
    halves = unpaired(text)
    if halves is not None:
        cure = "Replace them; no file can hold them."
        raise fail(name, "without halves of surrogate pairs", text[halves], cure)


def unpaired(text: str) -> int | None:
    """Where the first half of a surrogate pair stands."""
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def as_document(value: "Document | str", number: int, name: str = "documents") -> Document:
    """Takes a string for a document that is named by its number."""
    if isinstance(value, Document):
        return value
    if isinstance(value, str):
        return Document(value, name=str(number))
    raise fail_type(f"{name}[{number}]", "a string or a Document", value)


def documents_of(name: str, value: object, *, again: bool = False) -> Iterable[Document]:
    """Checks what is run through as documents; strings are named by their numbers.

    Args:
        name: The argument.
        value: What was given.
        again: Whether it is run through more than once, which an iterator cannot be: the second time it is empty.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        cure = "Read files by aigc.data.texts(path); put one text into a list."
        raise fail_type(name, "a Corpus or another iterable of Documents or strings", value, cure)
    if again and isinstance(value, Iterator):
        cure = "An iterator is empty the second time: make a list of it."
        raise fail_type(name, "something that can be run through twice, such as a Corpus or a list", value, cure)
    return _Documents(name, value)


@dataclass(frozen=True, slots=True, eq=False)
class _Documents:
    name: str
    values: Iterable[Any]

    def __iter__(self) -> Iterator[Document]:
        return (as_document(value, number, self.name) for number, value in enumerate(self.values))
