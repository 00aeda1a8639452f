"""From an iterator that computes to an asynchronous one that does not block."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from typing import Generic, TypeVar

__all__ = ["iterate"]

T = TypeVar("T")


async def iterate(make: Callable[[], Iterator[list[T]]], worker: Executor) -> AsyncGenerator[T, None]:
    """Yields the items of the lists of an iterator that is made, and asked for each list, on a worker thread.

    Nothing runs ahead: a list is computed when the last one is used up. When the consumer stops or is cancelled, the list
    that is being computed is the last one, and then the iterator is closed.
    """
    pull, context = _Pull(make), contextvars.copy_context()
    loop = asyncio.get_running_loop()
    try:
        while (items := await loop.run_in_executor(worker, context.run, pull.next)) is not None:
            for item in items:
                yield item
    finally:
        pull.stop()


class _Pull(Generic[T]):
    """An iterator that one thread asks, and another may stop at any time without waiting."""

    def __init__(self, make: Callable[[], Iterator[list[T]]]) -> None:
        self._make = make
        self._iterator: Iterator[list[T]] | None = None
        self._over = False
        self._busy = threading.Lock()

    def next(self) -> list[T] | None:
        """The next list; None after the last."""
        try:
            with self._busy:
                if self._over:
                    return None
                if self._iterator is None:
                    self._iterator = self._make()
                return next(self._iterator, None)
        finally:
            self._settle()

    def stop(self) -> None:
        """Closes the iterator, now or as soon as the list that is being computed is there."""
        self._over = True
        self._settle()

    def _settle(self) -> None:
        # Whoever stops sets `_over` before it tries the lock; whoever computes looks at it after it has let go of the lock.
        # So one of the two sees the other, and closes.
        if self._over and self._busy.acquire(blocking=False):
            try:
                iterator, self._iterator = self._iterator, None
                if iterator is not None and hasattr(iterator, "close"):
                    iterator.close()
            finally:
                self._busy.release()
