"""A document: a text, and what is known of it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aigc._checks import fail, fail_type

__all__ = ["Document", "Turn", "as_document"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side of a conversation says; an instruction and its answer are two turns.

    Attributes:
        role: Who, for instance `"user"`; of a pair of fields, the field's name.
        content: The words.

    Example:
        >>> Turn("user", "Hello")
        Turn(role='user', content='Hello')
    """

    role: str
    content: str


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
        ParameterError: If the text has half of a surrogate pair.

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
        if not isinstance(self.text, str):
            raise fail_type("text", "a string", self.text)
        halves = unpaired(self.text)
        if halves is not None:
            raise fail(
                "text", "without halves of surrogate pairs", self.text[halves], "Replace them; no file can hold them."
            )

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


def unpaired(text: str) -> int | None:
    """Where the first half of a surrogate pair stands."""
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def as_document(value: "Document | str", number: int) -> Document:
    """Takes a string for a document that is named by its number."""
    if isinstance(value, Document):
        return value
    if isinstance(value, str):
        return Document(value, name=str(number))
    raise fail_type(f"documents[{number}]", "a string or a Document", value)
