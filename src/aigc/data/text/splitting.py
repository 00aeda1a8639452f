"""Which part of a corpus a document belongs to: a function of a seed and the document alone."""

import hashlib
from collections.abc import Callable
from typing import Any

from aigc._checks import fail, fail_type, number
from aigc.data.text.documents import Document
from aigc.errors import DataError

__all__ = ["By", "check_share", "cut", "held_out", "key_of"]

By = str | Callable[[Document], str] | None


def check_share(name: str, value: object) -> float:
    """Checks a share that leaves something on both sides."""
    share = number(name, value, low=0.0, high=1.0)
    if share in (0.0, 1.0):
        raise fail(name, "a number between 0 and 1, both excluded", value)
    return share


def held_out(key: str, share: float, seed: int) -> bool:
    """Whether a key is held out: its hash, as a number in [0, 1), is below the share.

    >>> sum(held_out(str(i), 0.1, 0) for i in range(1000))
    96
    """
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def key_of(document: Document, by: By) -> str:
    """What decides where a document goes: its text, or what its group is called.

    Raises:
        DataError: If it has no such field.
    """
    if by is None:
        return document.sha256
    value: Any = by(document) if callable(by) else document.fields.get(by)
    if value is None:
        have = ", ".join(map(repr, document.fields)) or "none"
        raise DataError(f"document {document.name!r} has no field {by!r}; it has {have}. Give another by=, or by=None.")
    if not isinstance(value, str | int):
        raise fail_type("by", "the name of a field that holds strings, or a function that returns them", value)
    return str(value)


def cut(text: str, share: float) -> int:
    """Where the last share of a text begins, in characters.

    >>> cut("0123456789", 0.1)
    9
    """
    return int(len(text) * (1 - share))
