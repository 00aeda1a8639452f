"""CUDA graphs: a step is recorded once, and then replayed by one launch instead of some hundreds.

A graph is a list of kernels and addresses. So what a step reads and writes must stay where it is: tokens, positions, noise
and slots are tensors that each step changes in place. What changes in shape (more slots, fewer rows) is recorded anew. So
slots are read in windows that double, and rows that ended keep their places until half of all have ended.

    Recorder       runs work, and records it; on CUDA by `torch.cuda.graph`
    GraphForward   `SlotForward` whose steps are replayed
    GraphSteps     the same with the draw recorded too, for samplers that the Triton kernel does whole

A step runs as it is until the device has everything that it needs for it, and is recorded the second time. If it cannot be
recorded, it goes on running as it is.
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from aigc import kernels, random
from aigc.kernels import Draw
from aigc.sampling import Categorical, Noise, Sampler, select
from aigc.text.forwards import AloneForward, Network, PaddedForward, SlotForward
from aigc.text.loop import Forward, Loop, PlainSteps, Steps
from aigc.text.slots import BUCKET

__all__ = ["CudaRecorder", "GraphForward", "GraphSteps", "Recorder", "begin", "recorder", "rounded"]

_STRIDE = 512  # windows double up to this, and grow by this from there on: at most so many slots are read for nothing

Work = Callable[[], None]


class Recorder(Protocol):
    """Runs a step's work on a device.

    Attributes:
        draws: Whether draws stay on the device, so that they can be recorded.
    """

    draws: bool

    def run(self, work: Work) -> None:
        """Runs work as it is, so that nothing is left to be prepared when it is recorded."""
        ...

    def record(self, work: Work) -> Work:
        """Records what work does to tensors, without doing it, and returns what does it."""
        ...


class CudaRecorder:
    """Records CUDA graphs. Those of one batch share their memory, for no two of them run at once.

    All of it runs on one stream of the device, so that graphs which share cuBLAS' workspace follow one another.
    """

    def __init__(self, device: torch.device) -> None:
        self.draws = kernels.backend(device) == "triton"
        self._device = device
        self._index = torch.cuda.current_device() if device.index is None else device.index
        self._stream = _stream(self._index)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, work: Work) -> None:
        """Runs work on the side stream, after what was asked of the device before, and before what will be."""
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            work()
        here.wait_stream(self._stream)

    def record(self, work: Work) -> Work:
        """Captures work."""
        graph = torch.cuda.CUDAGraph()
        try:
            # The outer context gives the caller's stream back, which the inner one does not where a capture fails.
            with (
                torch.cuda.stream(self._stream),
                torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                work()
        except BaseException:
            _recover(self._index, self._pool)
            raise
        self._graph = graph  # the graph before lives on until this one shares its memory
        return lambda: self.run(graph.replay)


class GraphForward:
    """Rows from slot 0, whose steps are recorded.

    Rows that ended keep their places until half of all rows have ended, since the rows that are left must be recorded anew.
    For the same reason rows do not fork: `Plan.begin` makes a `SlotForward` of those that will.

    Args:
        network: The model.
        prompts: Token ids of each row.
        strict: Whether a step that cannot be recorded is an error.

    Attributes:
        recorder: What records steps.
        tokens: What the next step reads, one for each place.
        problem: Why a step could not be recorded, if one could not.
    """

    def __init__(self, network: Network, prompts: Sequence[Sequence[int]], *, strict: bool = False) -> None:
        made = recorder(network.device)
        assert made is not None, "nothing records steps on this device"
        self.recorder: Recorder = made
        self.tokens = torch.zeros(len(prompts), dtype=torch.int64, device=network.device)
        self.problem: str | None = None
        self._slots, self._strict = SlotForward(network, prompts), strict
        self._weights = network.weights()  # a graph knows their addresses: if the model is moved, they must not be freed
        self._places = torch.arange(len(prompts), device=network.device)  # of the rows that go on
        self._window, self._ready = 0, False
        self._replay: Work | None = None
        self._logits = torch.empty(0)

    def prefill(self) -> Tensor:
        """Reads the prompts."""
        return self._slots.prefill()

    def step(self, tokens: Tensor) -> Tensor:
        """Reads one token per row that goes on. What it returns is a copy: the next step overwrites the logits."""
        self.tokens.index_copy_(0, self._places, tokens)
        self.turn(self._read)
        return self._logits[self._places]

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        self.leave(alive)

    def leave(self, alive: Tensor) -> Tensor | None:
        """Forgets all rows but some, and returns the places that are left, if the others were really cleared."""
        places = self._places[alive]
        if 2 * len(places) > len(self.tokens) and self.problem is None:
            self._places = places
            return None
        self._slots.select(places)
        self.tokens, self._places = self.tokens[places], torch.arange(len(places), device=places.device)
        self._replay, self._ready = None, False
        return places

    def going_on(self, rows: Tensor) -> Tensor:
        """What belongs to rows that go on, from what has a number for each place."""
        return rows if len(self._places) == len(rows) else rows[self._places]

    def read(self) -> Tensor:
        """Reads `tokens`: a part of a step's work."""
        return self._slots.read(self.tokens)

    def turn(self, work: Work) -> None:
        """Does the work of one step, which reads once: as it is at first, and then as it was recorded."""
        window = self._slots.widen(rounded)
        if window != self._window:
            self._window, self._replay, self._ready = window, None, False
        if self._ready and self._replay is None and self.problem is None:
            self._record(work)
        if self._replay is not None:
            self._replay()
        else:
            self.recorder.run(work)
            self._ready = True

    def _record(self, work: Work) -> None:
        try:
            self._replay = self.recorder.record(work)
        except Exception as error:  # to end a capture that failed fails again, and says less
            self.problem = _told(error.__context__ or error)
        if self.problem is not None and self._strict:
            raise RuntimeError(self.problem)

    def _read(self) -> None:
        self._logits = self.read()


class GraphSteps:
    """Steps whose draw is recorded with the forward: the token goes from one to the next without leaving the device.

    Args:
        model: The rows' model, with their prompts.
        sampler: One that the kernel does whole; so it has no state but its parameters.
        prompts: The rows' prompts.
        seeds: One per row.
    """

    def __init__(
        self, model: GraphForward, sampler: Categorical, *, prompts: Sequence[Sequence[int]], seeds: Sequence[int]
    ) -> None:
        self._model, self._sampler, self._prompts = model, sampler, prompts
        self._start = random.counter(torch.tensor(seeds, dtype=torch.int64), 0).to(model.tokens.device)
        self._state: Any = None
        self._drawn: Draw | None = None
        self._ahead = False

    def draw(self) -> Draw:
        """Draws, if it was not done ahead. The next step overwrites it."""
        if not self._ahead:
            self.ahead()
        self._ahead = False
        assert self._drawn is not None
        return Draw(*map(self._model.going_on, self._drawn))

    def ahead(self) -> None:
        """Does the next step, draw and all."""
        if self._drawn is None:
            logits = self._model.prefill()
            drawn, self._state = self._sampler.step(logits, self._sampler.init(self._prompts), Noise(self._start))
            self._take(drawn)
        else:
            self._model.turn(self._work)
        self._ahead = True

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        places = self._model.leave(alive.to(self._start.device, non_blocking=True))
        if places is None or self._drawn is None:
            return
        self._start, self._state = self._start[places], select(self._state, places)
        self._drawn = Draw(*(field[places] for field in self._drawn))

    def _work(self) -> None:
        logits = self._model.read()
        drawn, _ = self._sampler.step(logits, self._state, Noise(self._start))
        self._take(drawn)

    def _take(self, drawn: Draw) -> None:
        self._drawn = drawn
        self._model.tokens.copy_(drawn.token.clamp(min=0))  # a row without a token is dropped, and reads whatever it likes
        self._start.copy_(random.advance(self._start, 1))


def begin(
    model: Forward,
    sampler: Sampler[Any],
    *,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    limits: Sequence[int],
    device: torch.device,
) -> Loop:
    """Starts the loop that suits a forward, a sampler and a device."""
    steps: Steps
    if isinstance(model, GraphForward) and model.recorder.draws and isinstance(sampler, Categorical) and sampler.fused:
        steps = GraphSteps(model, sampler, prompts=prompts, seeds=seeds)
    else:
        steps = PlainSteps(model, sampler, prompts=prompts, seeds=seeds)
    # A row that ended at its limit may be read once more. An encoder-decoder has no position for that, and a masked model
    # does not write from left to right.
    causal = isinstance(model, SlotForward | PaddedForward | AloneForward) and device.type != "cpu"
    return Loop(steps, limits, late=causal or isinstance(model, GraphForward))


def recorder(device: torch.device) -> Recorder | None:
    """What records steps on a device; None where they run as they are."""
    return CudaRecorder(device) if device.type == "cuda" and not torch.version.hip else None


def rounded(slots: int) -> int:
    """The window of a step that is recorded: few, so that few are recorded.

    >>> [rounded(slots) for slots in (1, 65, 129, 300, 513, 1025)]
    [64, 128, 256, 512, 1024, 1536]
    """
    return max(BUCKET, min(1 << (slots - 1).bit_length(), -(-slots // _STRIDE) * _STRIDE))


def _recover(index: int, pool: Any) -> None:
    """Undoes what torch leaves of a capture that failed, which would break whatever the process does next on the device.

    Before 2.12 the allocator counts the capture as under way, and gives no memory back any more; and the device's own
    generator counts as captured, and draws no more. (Pull request 180395 of torch has the first.) Where there is nothing to
    undo, or torch does it otherwise, nothing is done: the error that is under way is the one to be told.
    """
    with contextlib.suppress(RuntimeError, AttributeError):  # it was ended; or torch has another name for it
        torch._C._cuda_endAllocateToPool(index, pool)
    with contextlib.suppress(RuntimeError, AttributeError):
        generator = torch.cuda.default_generators[index]
        state = generator.get_state()
        try:
            torch.rand(1, device=generator.device, generator=generator)
        except RuntimeError:
            generator.graphsafe_set_state(generator.clone_state())  # the same numbers, and no capture
        else:
            generator.set_state(state)


def _told(error: BaseException) -> str:
    """In a function of its own: a name for the error would tie all that its traceback holds, a batch, into a cycle."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


@lru_cache
def _stream(device: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # in torch without CUDA
