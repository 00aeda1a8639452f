"""Where several processes meet after each step, and are told if one of them failed, so that none waits for it for ever."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aigc.errors import TrainingError
from aigc.training.pieces import Processes, length

__all__ = ["Ahead", "Meeting"]


class Meeting:
    """What a process failed at is kept until all meet: it goes on to where the others expect its messages.

    Args:
        among: The processes. One alone raises at once.

    Attributes:
        error: What was kept.
    """

    def __init__(self, among: Processes) -> None:
        self.among = among
        self.error: Exception | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps an error of the block, which sends no messages, or none behind what may fail."""
        try:
            yield
        except Exception as error:
            if self.among.world == 1:
                raise
            self.error = self.error or error

    def meet(self, done: int, *ends: bool, unread: Exception | None = None) -> tuple[bool, ...]:
        """Whether one of all processes says so, of each: one message.

        Args:
            done: Steps done.
            ends: Reasons to end the run, by this process.
            unread: Why it cannot read the next batch, which matters only where the run goes on.

        Raises:
            TrainingError: If another process failed; one that failed itself raises its own error.
        """
        ranks = range(self.among.world)
        mine = [error is not None and rank == self.among.rank for error in (self.error, unread) for rank in ranks]
        found = self.among.any(*ends, *mine)
        said, failed, stuck = found[: len(ends)], found[len(ends) :][: len(ranks)], found[len(ends) :][len(ranks) :]
        own = self.error if any(said) else self.error or unread
        if own is not None:
            raise own
        which = [rank for rank in ranks if failed[rank] or (stuck[rank] and not any(said))]
        if which:
            cure = "Its own error says why; the weights of this one are those after that step."
            raise TrainingError(f"process {which[0]} failed, so that this one ends after {done} steps. {cure}")
        return said


class Ahead(Iterator[Any]):
    """Batches, of which the next one may be read before it is asked for.

    Args:
        batches: All of them.

    Attributes:
        error: Why the next one could not be read ahead.
    """

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches, self._read = batches, list[Any]()
        self.error: Exception | None = None

    def ahead(self) -> None:
        """Reads the next one, and looks whether it is a batch."""
        try:
            batch = next(self._batches)
            length(batch)
            self._read.append(batch)
        except Exception as error:
            self.error = error

    def __next__(self) -> Any:
        return self._read.pop() if self._read else next(self._batches)
