"""How far a call has come: a value for a callable of the user's, or one line on the terminal."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from aigc._checks import fail_type
from aigc.errors import GenerationError
from aigc.text.rows import Step

__all__ = ["Progress", "Reporter", "Watcher"]

MANY = 200  # texts from which a terminal shows progress without being asked
_PAUSE = 0.5  # seconds between two reports while no text is finished, and between two prints of the line
_LOG_PAUSE = 10.0  # seconds between two lines where the output is no terminal


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call has come.

    Attributes:
        done: Texts finished by this call; those that `resume=` or `skip=` brought along are not counted.
        total: Texts that this call has to write; None if the prompts are an iterator without a length.
        tokens: Tokens drawn so far, in finished texts and others.
        seconds: Since the first text began.
    """

    done: int
    total: int | None
    tokens: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """What the rest will take at the pace so far; None as long as there is nothing to tell it from."""
        if self.total is None or not self.done:
            return None
        return self.seconds / self.done * (self.total - self.done)

    def __str__(self) -> str:
        of = "" if self.total is None else f"/{self.total:,}"
        pace = f"{self.tokens / self.seconds:,.0f} tokens/s" if self.seconds > 0 else "starting"
        left = "" if self.seconds_left is None else f", {_clock(self.seconds_left)} left"
        return f"{self.done:,}{of} texts, {pace}, {_clock(self.seconds)}{left}"


Watcher = bool | Callable[[Progress], object] | None


class Reporter:
    """Counts what steps wrote, and tells whoever watches: whenever a text is finished, and from time to time between.

    Args:
        progress: A callable; True for a line on standard error; False for silence; None for a line if the texts are many
            and standard error is a terminal.
        total: Texts to write, if that is known.
    """

    def __init__(self, progress: Watcher, *, total: int | None) -> None:
        if progress is None:
            progress = (total is None or total >= MANY) and sys.stderr.isatty()
        if not callable(progress) and not isinstance(progress, bool):
            raise fail_type("progress", "True, False, None or a callable that takes a Progress", progress)
        self._line = _Line() if progress is True else None
        self._tell = progress if callable(progress) else self._line
        self._total = total
        self._done = self._tokens = 0
        self._start = self._last = time.monotonic()

    def step(self, step: Step) -> None:
        """Takes in what one step wrote.

        Raises:
            GenerationError: If whoever watches raises; the error is its cause.
        """
        if self._tell is None:
            return
        finished = sum(chunk.finish_reason is not None for _, chunk in step)
        self._done += finished
        self._tokens += sum(chunk.token is not None for _, chunk in step)
        now = time.monotonic()
        if finished or now - self._last >= _PAUSE:
            self._last = now
            try:
                self._tell(self.now)
            except Exception as error:
                raise GenerationError(f"progress failed: {type(error).__name__}: {error}. See the cause.") from error

    @property
    def now(self) -> Progress:
        """The state as a value."""
        return Progress(self._done, self._total, self._tokens, time.monotonic() - self._start)

    def close(self) -> None:
        """Ends the line, with its last state."""
        if self._line is not None:
            self._line.close(self.now)


class _Line:
    """One line that is written over on a terminal; elsewhere a new line now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic() if not self._terminal else float("-inf")
        self._width = 0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= (_PAUSE if self._terminal else _LOG_PAUSE):
            self._last = now
            self._write(progress, "" if self._terminal else "\n")

    def close(self, progress: Progress) -> None:
        self._write(progress, "\n")

    def _write(self, progress: Progress, end: str) -> None:
        text = str(progress)
        sys.stderr.write(("\r" + text.ljust(self._width) if self._terminal else text) + end)
        sys.stderr.flush()
        self._width = len(text)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
