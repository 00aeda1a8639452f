"""Whose turn it is: threads share a model and a tokenizer, and use each one at a time.

A model in training is switched to evaluation while it runs, its caches may be shared, and a fast tokenizer refuses two
callers at once. So each model and each tokenizer has a lock, held for one step or one text. The lock belongs to the object,
not to a `Generator`, because two of them may hold the same one. Who needs both takes the model's first.
"""

import threading
import weakref
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

__all__ = ["lock_of", "worker_of"]

_registry = threading.Lock()
_locks: "weakref.WeakKeyDictionary[object, AbstractContextManager[object]]" = weakref.WeakKeyDictionary()
_workers: "weakref.WeakKeyDictionary[object, Executor]" = weakref.WeakKeyDictionary()


def lock_of(*things: object) -> AbstractContextManager[object]:
    """The lock of a model or a tokenizer, the same one for as long as the object lives; of several, all their locks."""
    with _registry:
        locks = [_locks.setdefault(thing, threading.RLock()) for thing in sorted(things, key=id)]
    return locks[0] if len(locks) == 1 else _All(locks)


class _All(AbstractContextManager[None]):
    """Several locks, always taken in the same order, so that two threads never wait for each other."""

    def __init__(self, locks: list[AbstractContextManager[object]]) -> None:
        self._locks = locks

    def __enter__(self) -> None:
        for lock in self._locks:
            lock.__enter__()

    def __exit__(self, *error: Any) -> None:
        for lock in reversed(self._locks):
            lock.__exit__(*error)


def worker_of(model: object) -> Executor:
    """The thread on which asynchronous streams of a model run.

    One thread is enough, for steps of one model take turns anyway; and the event loop's own threads stay free for others.
    """
    with _registry:
        if model not in _workers:
            _workers[model] = ThreadPoolExecutor(1, thread_name_prefix="aigc")
        return _workers[model]
