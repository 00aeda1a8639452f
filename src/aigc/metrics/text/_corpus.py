"""Texts as one array of small numbers: characters are numbered as they come, and 0 stands between documents."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from aigc._checks import fail, fail_type

__all__ = ["ABSENT", "BETWEEN", "Corpus", "codes"]

BETWEEN = 0
ABSENT = -1  # of a character that the corpus has not; no number of a corpus is negative
_CODES = 0x110000  # code points of Unicode, lone surrogates included


def codes(text: str) -> npt.NDArray[np.uint32]:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32, copy=False)


class Corpus:
    """Documents, one after the other.

    Args:
        texts: Strings; read once.

    Attributes:
        numbers: All characters; uint8 where 255 are different, else uint16, else uint32.
        starts: Where each document begins, int64 `(documents + 1,)`; a document ends one before the next one begins.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
            raise fail_type("texts", "an iterable of strings", texts, "Put one text into a list.")
        self._table: npt.NDArray[np.int32] = np.full(_CODES, ABSENT, dtype=np.int32)
        self._known = 1
        kept, starts, wide = bytearray(), [1], False
        kept += np.array([BETWEEN], dtype=np.uint16).tobytes()
        for place, text in enumerate(texts):
            if not isinstance(text, str):
                raise fail_type(f"texts[{place}]", "a string", text)
            numbers = self._learn(codes(text))
            if not wide and self._known > 2**16:
                kept = bytearray(np.frombuffer(kept, dtype=np.uint16).astype(np.uint32).tobytes())
                wide = True
            kind: Any = np.uint32 if wide else np.uint16
            kept += numbers.astype(kind).tobytes() + np.array([BETWEEN], dtype=kind).tobytes()
            starts.append(starts[-1] + len(text) + 1)
        if len(starts) == 1:
            raise fail("texts", "at least one document", "none", "Give the texts that the model was trained on.")
        whole: npt.NDArray[Any] = np.frombuffer(kept, dtype=np.uint32 if wide else np.uint16)
        self.numbers = whole.astype(np.uint8) if self._known <= 2**8 else whole
        self.starts: npt.NDArray[np.int64] = np.array(starts, dtype=np.int64)

    def __len__(self) -> int:
        """How many documents."""
        return len(self.starts) - 1

    @property
    def characters(self) -> int:
        """Of all documents."""
        return len(self.numbers) - len(self) - 1

    @property
    def longest(self) -> int:
        """Characters of the longest document."""
        return int(np.diff(self.starts).max()) - 1

    def translate(self, text: str) -> npt.NDArray[np.int64]:
        """The numbers of a text's characters, `ABSENT` where the corpus has none."""
        return self._table[codes(text)].astype(np.int64)

    def place(self, position: int) -> tuple[int, int]:
        """The document that a position lies in, and the offset in it."""
        document = int(np.searchsorted(self.starts, position, side="right")) - 1
        return document, position - int(self.starts[document])

    def _learn(self, found: npt.NDArray[np.uint32]) -> npt.NDArray[np.int32]:
        numbers = self._table[found]
        if (numbers == ABSENT).any():
            new = np.unique(found[numbers == ABSENT])
            self._table[new] = np.arange(self._known, self._known + len(new), dtype=np.int32)
            self._known += len(new)
            numbers = self._table[found]
        return numbers
