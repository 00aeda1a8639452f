"""How far a corpus is prepared: a value for a callable of the user's, or a line on the terminal."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from aigc._checks import fail_type

__all__ = ["Preparation", "Reporter", "Watcher"]

_PAUSE, _LOG_PAUSE = 0.5, 10.0  # seconds between two prints, on a terminal and elsewhere


@dataclass(frozen=True, slots=True)
class Preparation:
    """How far a corpus is prepared.

    Attributes:
        documents: Done so far.
        total: How many there are; None if nobody counted.
        characters: Done so far.
        tokens: Written so far.
        seconds: Since it began.

    Example:
        >>> print(Preparation(50, 200, 10_000, 3_000, 2.0))
        document 50/200, 10,000 characters, 3,000 tokens, 5,000 characters/s
    """

    documents: int
    total: int | None
    characters: int
    tokens: int
    seconds: float

    def __str__(self) -> str:
        total = "" if self.total is None else f"/{self.total:,}"
        pace = f"{self.characters / max(self.seconds, 1e-9):,.0f} characters/s"
        return f"document {self.documents:,}{total}, {self.characters:,} characters, {self.tokens:,} tokens, {pace}"


Watcher = bool | Callable[[Preparation], object] | None


class Reporter:
    """Tells whoever watches.

    Args:
        progress: A callable, True for a line on standard error, False for silence, None for a line if that is a terminal.
        total: Documents of the corpus, if anybody counted.
    """

    def __init__(self, progress: Watcher, *, total: int | None) -> None:
        if progress is not None and not callable(progress) and not isinstance(progress, bool):
            raise fail_type("progress", "True, False, None or a callable that takes a Preparation", progress)
        self._tell = progress if callable(progress) else None
        self._terminal = sys.stderr.isatty()
        self._line = progress is True or (progress is None and self._terminal)
        self._total, self._start = total, time.monotonic()
        self._last, self._width = self._start, 0

    def __call__(self, documents: int, characters: int, tokens: int, *, done: bool = False) -> None:
        """Takes what was done so far."""
        now = Preparation(documents, self._total, characters, tokens, time.monotonic() - self._start)
        if self._tell is not None:
            self._tell(now)
        elif self._line and (done or time.monotonic() - self._last >= (_PAUSE if self._terminal else _LOG_PAUSE)):
            self._last = time.monotonic()
            text = str(now)
            end = "\n" if done or not self._terminal else ""
            sys.stderr.write(("\r" + text.ljust(self._width) if self._terminal else text) + end)
            sys.stderr.flush()
            self._width = len(text)
