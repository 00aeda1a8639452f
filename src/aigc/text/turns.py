"""Whose turn it is: threads share a model and a tokenizer, and use each one at a time.

A model in training is switched to evaluation while it runs, its caches may be shared, and a fast tokenizer refuses two
callers at once. So each model and each tokenizer has a lock, held for one step or one text. The lock belongs to the object,
not to a `Generator`, because two of them may hold the same one.
"""

import threading
import weakref
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager

__all__ = ["lock_of", "worker_of"]

_registry = threading.Lock()
_locks: "weakref.WeakKeyDictionary[object, AbstractContextManager[object]]" = weakref.WeakKeyDictionary()
_workers: "weakref.WeakKeyDictionary[object, Executor]" = weakref.WeakKeyDictionary()


def lock_of(thing: object) -> AbstractContextManager[object]:
    """The lock of a model or a tokenizer, the same one for as long as the object lives."""
    with _registry:
        return _locks.setdefault(thing, threading.RLock())


def worker_of(model: object) -> Executor:
    """The thread on which asynchronous streams of a model run.

    One thread is enough, for steps of one model take turns anyway; and the event loop's own threads stay free for others.
    """
    with _registry:
        if model not in _workers:
            _workers[model] = ThreadPoolExecutor(1, thread_name_prefix="aigc")
        return _workers[model]
