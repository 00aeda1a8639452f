"""How far a run has come: a value for a callable of the user's, or one line on the terminal."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aigc._checks import fail_type

__all__ = ["Progress", "Reporter", "Watcher"]

_PAUSE = 0.5  # seconds between two prints on a terminal
_LOG_PAUSE = 10.0  # seconds between two lines elsewhere


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        step: Steps done, those before a resumption too.
        total: Steps of the whole run.
        values: The newest means of losses and what is reported beside them.
        examples_per_second: Over this call.
        seconds: Since this call began.
        seconds_left: What the rest will take at that pace.

    Example:
        >>> print(Progress(500, 2000, {"loss": 1.25}, 12_000.0, 5.0, 15.0))
        step 500/2,000, loss 1.25, 12,000 examples/s, 0:15 left
    """

    step: int
    total: int
    values: Mapping[str, float]
    examples_per_second: float
    seconds: float
    seconds_left: float

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.values.items() if "/" not in name)
        pace = f"{self.examples_per_second:,.0f} examples/s"
        return f"step {self.step:,}/{self.total:,}, {values}, {pace}, {_clock(self.seconds_left)} left"


Watcher = bool | Callable[[Progress], object] | None


class Reporter:
    """Tells whoever watches.

    Args:
        progress: A callable, True for a line on standard error, False for silence, None for a line if that is a terminal.
        total: Steps of the whole run.
        start: Steps done before.
    """

    def __init__(self, progress: Watcher, *, total: int, start: int) -> None:
        if progress is not None and not callable(progress) and not isinstance(progress, bool):
            raise fail_type("progress", "True, False, None or a callable that takes a Progress", progress)
        self._tell = progress if callable(progress) else None
        self._line = progress is True or (progress is None and sys.stderr.isatty())
        self._total, self._begin = total, start
        self._start = time.monotonic()
        self._last = float("-inf") if sys.stderr.isatty() else self._start
        self._width = self._examples = 0
        self._now: Progress | None = None

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the means of the steps up to `step`, which is done."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        left = seconds / max(step - self._begin, 1) * (self._total - step)
        self._now = Progress(step, self._total, values, self._examples / seconds, seconds, left)
        if self._tell is not None:
            self._tell(self._now)
        elif self._line and time.monotonic() - self._last >= (_PAUSE if sys.stderr.isatty() else _LOG_PAUSE):
            self._last = time.monotonic()
            self._write("" if sys.stderr.isatty() else "\n")

    def count(self, examples: int) -> None:
        """Takes a step's examples in."""
        self._examples += examples

    def close(self) -> None:
        """Ends the line, with its last state."""
        if self._line and self._now is not None:
            self._write("\n")

    def _write(self, end: str) -> None:
        text = str(self._now)
        sys.stderr.write(("\r" + text.ljust(self._width) if sys.stderr.isatty() else text) + end)
        sys.stderr.flush()
        self._width = len(text)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
