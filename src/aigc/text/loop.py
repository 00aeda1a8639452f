"""The decode loop: forward, draw, hand the tokens out, let finished rows go.

It knows token ids only: no text, no tokenizer, no transformers. Whoever reads the tokens says when a row is done.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from aigc import random
from aigc.kernels import Status
from aigc.sampling import Noise, Sampler, select

__all__ = ["Drawn", "Forward", "Loop", "Revealing"]


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


class Drawn(NamedTuple):
    """What one step drew for one row; `token` is meaningless unless `status` is OK."""

    row: int
    token: int
    logprob: float
    status: Status


class Loop(Iterator[list[Drawn]]):
    """Draws a token for every row that goes on, each time it is asked.

    Args:
        model: The rows' model, with their prompts.
        sampler: Draws the tokens.
        prompts: The rows' prompts, for samplers that remember them.
        seeds: One per row.
    """

    def __init__(
        self, model: Forward, sampler: Sampler[Any], *, prompts: Sequence[Sequence[int]], seeds: Sequence[int]
    ) -> None:
        self._model = model
        self._sampler = sampler
        self._prompts = prompts
        self._rows = list(range(len(prompts)))
        self._start = random.counter(torch.tensor(seeds, dtype=torch.int64), 0)
        self._done: set[int] = set()
        self._tokens: Tensor | None = None
        self._state: Any = None

    def drop(self, row: int) -> None:
        """Ends a row: it leaves the batch before the next step."""
        self._done.add(row)

    def __next__(self) -> list[Drawn]:
        # Not a generator: inference mode is thread state, and must not stay on while the caller holds the tokens.
        with torch.inference_mode():
            self._leave()
            if not self._rows:
                raise StopIteration
            return self._draw(self._forward())

    def _leave(self) -> None:
        if not self._done:
            return
        keep = [i for i, row in enumerate(self._rows) if row not in self._done]
        self._rows, self._done = [self._rows[i] for i in keep], set()
        if keep and self._tokens is not None:
            alive = torch.tensor(keep, device=self._tokens.device)
            self._tokens, self._start = self._tokens[alive], self._start[alive]
            self._state = select(self._state, alive)
            self._model.select(alive)

    def _forward(self) -> Tensor:
        if self._tokens is not None:
            return self._model.step(self._tokens)
        logits = self._model.prefill()
        self._start = self._start.to(logits.device)
        self._state = self._sampler.init(self._prompts)
        return logits

    def _draw(self, logits: Tensor) -> list[Drawn]:
        draw, self._state = self._sampler.step(logits, self._state, Noise(self._start))
        self._start = random.advance(self._start, 1)
        self._tokens = draw.token.clamp(min=0)  # a row without a token is dropped before the next step
        drawn = zip(self._rows, draw.token.tolist(), draw.logprob.tolist(), draw.status.tolist(), strict=True)
        events = [Drawn(row, token, logprob, Status(status)) for row, token, logprob, status in drawn]
        self._done.update(event.row for event in events if event.status is not Status.OK)
        return events
