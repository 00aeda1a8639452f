"""CUDA graphs without CUDA: records a step's operations, and replays them on the same memory.

A tape forgets Python as a graph does: numbers are those of the recording, and tensors are known by their memory. What a
graph cannot hold (a value read on the host, memory from the host) fails while it is recorded. Recording leaves all tensors
as they were.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aigc import kernels
from aigc.kernels import Draw, Parameters, _operators
from aigc.kernels._types import Noise

Work = Callable[[], None]
HOST = (
    "item",
    "_local_scalar_dense",
    "lift_fresh",
    "nonzero",
    "equal",
    "is_nonzero",
)  # what waits for the device, or copies to it


class Tape(TorchDispatchMode):
    """The operations of one recording."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.before: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ in HOST:
            raise RuntimeError(f"{func} is not permitted when a stream is capturing")
        for given, argument in zip(args, func._schema.arguments, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.before.append((given, given.clone()))
        out = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, out))
        return out

    def rewind(self) -> None:
        for tensor, value in reversed(self.before):
            tensor.copy_(value)
        self.before.clear()

    def replay(self) -> None:
        for func, args, kwargs, out in self.calls:
            for old, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class TapeRecorder:
    """A `Recorder` of tapes.

    Attributes:
        runs: Steps that ran as they are.
        replays: Steps that were replayed.
        tapes: Recordings.
    """

    def __init__(self, *, draws: bool = True) -> None:
        self.draws = draws
        self.runs = self.replays = self.tapes = 0

    def run(self, work: Work) -> None:
        self.runs += 1
        work()

    def record(self, work: Work) -> Work:
        self.tapes += 1
        tape = Tape()
        try:
            with tape:
                work()
        finally:
            tape.rewind()

        def replay() -> None:
            self.replays += 1
            tape.replay()

        return replay


def draw(logits: torch.Tensor, given: Parameters, start: torch.Tensor) -> Draw:
    """`kernels.run` as one operation, which a tape can hold: the Triton kernel is no more to a graph."""
    integers, reals = _operators.sample(logits, Noise(start, 0, hashed=True), given.flat(), False)
    return kernels._unpacked(integers, reals, logits.shape[:-1])
