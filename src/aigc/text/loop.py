"""The decode loop: forward, draw, hand the tokens out, let finished rows go.

It knows token ids only: no text, no tokenizer, no transformers. Whoever reads the tokens says when a row is done. On a
device that computes by itself the loop works late: it starts the next forward before it reads the tokens that were drawn,
and the device never waits for the host. A row that ended has then taken part in one forward for nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from aigc import random
from aigc.kernels import Draw, Status
from aigc.sampling import Noise, Sampler, select

__all__ = ["Drawn", "Forward", "Loop", "PlainSteps", "Revealing", "Steps"]


class Forward(Protocol):
    """What the loop needs of a language model: token ids in, logits of the next token out.

    It keeps the past of the rows; both tensors it returns are `(rows, vocabulary)`, in any floating dtype.
    """

    def prefill(self) -> Tensor:
        """Reads the prompts, and returns the logits after each."""
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """Reads one more token per row, int64 of shape `(rows,)`."""
        ...

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some, given by index. One that is named again goes on as a row of its own."""
        ...


class Revealing(Forward, Protocol):
    """A forward that can show what it makes of each token before the head.

    Attributes:
        reveal: Whether it does; set before the prompts are read.
        hidden: Of each row, the last layer's states of the tokens that were read last, `(tokens, width)`.
    """

    reveal: bool
    hidden: list[Tensor]


class Steps(Protocol):
    """A model and a sampler at work on some rows."""

    def draw(self) -> Draw:
        """Draws the next token of each row; the tensors may be overwritten by what comes after."""
        ...

    def ahead(self) -> None:
        """Starts on the next step; whoever draws without it does all of the step then."""
        ...

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some, given by index."""
        ...


class Drawn(NamedTuple):
    """What one step drew for one row; `token` is meaningless unless `status` is OK."""

    row: int
    token: int
    logprob: float
    status: Status


class PlainSteps:
    """Any forward, then any sampler, which sees no row that ended.

    Args:
        model: The rows' model, with their prompts.
        sampler: Draws the tokens.
        prompts: The rows' prompts, for samplers that remember them.
        seeds: One per row.
    """

    def __init__(
        self, model: Forward, sampler: Sampler[Any], *, prompts: Sequence[Sequence[int]], seeds: Sequence[int]
    ) -> None:
        self._model, self._sampler, self._prompts = model, sampler, prompts
        self._start = random.counter(torch.tensor(seeds, dtype=torch.int64), 0)
        self._tokens: Tensor | None = None
        self._logits: Tensor | None = None  # after the last tokens, if they were read already
        self._state: Any = None

    def draw(self) -> Draw:
        """Draws, after a forward if there was none ahead."""
        if self._logits is None:
            self.ahead()
        logits, self._logits = self._logits, None
        assert logits is not None
        draw, self._state = self._sampler.step(logits, self._state, Noise(self._start))
        self._start = random.advance(self._start, 1)
        self._tokens = draw.token.clamp(min=0)  # a row without a token is dropped before the next step
        return draw

    def ahead(self) -> None:
        """Runs the next forward."""
        if self._tokens is not None:
            self._logits = self._model.step(self._tokens)
            return
        self._logits = self._model.prefill()
        self._start = self._start.to(self._logits.device)
        self._state = self._sampler.init(self._prompts)

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        alive = alive.to(self._start.device, non_blocking=True)
        self._start, self._state = self._start[alive], select(self._state, alive)
        self._tokens = None if self._tokens is None else self._tokens[alive]
        self._logits = None if self._logits is None else self._logits[alive]
        self._model.select(alive)


class Loop(Iterator[list[Drawn]]):
    """Draws a token for every row that goes on, each time it is asked.

    Args:
        steps: The model and the sampler.
        limits: How many tokens each row may write: not enforced, but no forward is started that no row has a use for.
        late: Whether to start the next forward before the tokens are read.
    """

    def __init__(self, steps: Steps, limits: Sequence[int], *, late: bool = False) -> None:
        self._steps, self._limits, self._late = steps, limits, late
        self._rows = list(range(len(limits)))
        self._drawn = 0
        self._done: set[int] = set()
        self._failed: list[Exception] = []  # one at most

    def drop(self, row: int) -> None:
        """Ends a row: it leaves the batch before the next step."""
        self._done.add(row)

    def __next__(self) -> list[Drawn]:
        # Not a generator: inference mode is thread state, and must not stay on while the caller holds the tokens.
        with torch.inference_mode():
            keep = [i for i, row in enumerate(self._rows) if row not in self._done]
            if not keep:
                self._failed.clear()  # its traceback holds this loop, and so it is not kept: nor is it when it is raised
                raise StopIteration
            if self._failed:
                self._done.update(self._rows)  # half a forward has run: nothing can be drawn from it
                raise self._failed.pop()
            if len(keep) < len(self._rows):
                self._rows = [self._rows[i] for i in keep]
                self._steps.select(torch.tensor(keep))
            read = _sent(self._steps.draw())
            self._drawn += 1
            if self._late and any(self._limits[row] > self._drawn for row in self._rows):
                self._start_ahead()
            drawn = zip(self._rows, *read(), strict=True)
        events = [Drawn(row, token, logprob, Status(status)) for row, token, logprob, status in drawn]
        self._done.update(event.row for event in events if event.status is not Status.OK)
        return events

    def _start_ahead(self) -> None:
        try:
            self._steps.ahead()
        except Exception as error:
            # The tokens of this step are good, and may be the last: the error is raised by the next step, if there is one.
            self._failed.append(error)


def _sent(draw: Draw) -> Callable[[], tuple[list[Any], list[Any], list[Any]]]:
    """Sends a draw's token, log-probability and status to the host, and returns what waits for them and reads them."""
    token, logprob, status = draw.token, draw.logprob, draw.status
    if not token.is_cuda:
        lists = token.tolist(), logprob.tolist(), status.tolist()
        return lambda: lists
    copies = [
        torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True) for x in (token, logprob, status)
    ]
    arrived = torch.cuda.current_stream(token.device).record_event()

    def read() -> tuple[list[Any], list[Any], list[Any]]:
        arrived.synchronize()
        first, second, third = (copy.tolist() for copy in copies)
        return first, second, third

    return read
