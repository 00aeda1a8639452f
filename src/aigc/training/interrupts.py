"""Ctrl-C between two steps, never within one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Interrupt", "deferred"]


class Interrupt:
    """Whether Ctrl-C was struck."""

    def __init__(self) -> None:
        self.struck = False


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Holds the first Ctrl-C back for whoever looks at `struck`; a second one raises at once, as usual.

    Outside the main thread, where no signal arrives, and where the process ignores Ctrl-C, it does nothing. The handler
    that was there is put back.

    Example:
        >>> with deferred() as interrupt:
        ...     interrupt.struck
        False
    """
    interrupt = Interrupt()
    before: Any = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield interrupt
        return

    def handle(number: int, frame: Any) -> None:
        if interrupt.struck:
            before(number, frame)
        interrupt.struck = True

    signal.signal(signal.SIGINT, handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
