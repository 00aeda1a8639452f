"""Speculation that changes no token: guess some, read them in one forward, and keep those that are what is drawn.

A draw is a function of the logits, the seed and the step alone. So the token after each guess is drawn as it would have
been, from logits with the same bits, and a guess is right exactly when it is that token. Nothing is accepted by chance, as
in speculative sampling (Leviathan et al. 2023), and the text is the same with and without.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from aigc import random
from aigc._checks import integer
from aigc.kernels import Status
from aigc.sampling import Noise, Sampler
from aigc.text.loop import Drawn
from aigc.text.packed.linear import LANES

__all__ = ["DraftModel", "Drafter", "Lookup", "PromptLookup", "SpeculativeLoop", "Verifier", "Writing"]


FREE = LANES - 1  # guesses that a lone row reads at no cost
MOST = 24  # guesses at a time
TRUST = 0.5


class Verifier(Protocol):
    """What speculation needs of a model: several tokens of a row at once, and to forget the wrong ones."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """How many tokens each row holds."""
        ...

    def prefill(self) -> Tensor:
        """Reads the prompts, and returns the logits after each."""
        ...

    def read(self, tokens: Sequence[Sequence[int]]) -> list[Tensor]:
        """Reads some more tokens of each row, and returns the logits after each."""
        ...

    def rewind(self, lengths: Sequence[int]) -> None:
        """Forgets the last tokens of rows."""
        ...

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        ...


class Drafter(Protocol):
    """Guesses how rows go on.

    Attributes:
        cheap: Whether guesses cost next to nothing to make, so that one may make them and not read them.
    """

    cheap: bool

    def draft(self, rows: "Sequence[Writing]", limits: Sequence[int]) -> list[list[int]]:
        """Returns guesses for each row, at most so many, or none."""
        ...

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        ...


@dataclass(slots=True)
class Writing:
    """A row in the making.

    Attributes:
        row: Its place in the call.
        tokens: Prompt and text.
        prompt: The length of the prompt.
        sampler: Its own.
        state: Of the sampler, after the last token.
        start: Where the noise of its first step begins, int64 `(1,)`.
        room: How many tokens it may write.
        hope: How many guesses to make next: more after right ones, fewer after wrong ones.
        trust: How often the first guess was right of late.
    """

    row: int
    tokens: list[int]
    prompt: int
    sampler: Sampler[Any]
    state: Any
    start: Tensor
    room: int
    hope: int = FREE
    trust: float = 0.5

    def draw(self, logits: Tensor, *, ahead: int, state: Any) -> tuple[Drawn, Any]:
        """Draws the token `ahead` of the next from logits `(vocabulary,)`, and returns the next state with it."""
        noise = Noise(random.advance(self.start, len(self.tokens) - self.prompt + ahead))
        draw, after = self.sampler.step(logits[None], state, noise)
        return Drawn(self.row, int(draw.token), float(draw.logprob), Status(int(draw.status))), after


class SpeculativeLoop(Iterator[list[Drawn]]):
    """Like `Loop`, but hands out as many tokens of a row as its guesses were right, and one more.

    Args:
        model: The rows' model, with their prompts.
        drafter: Guesses.
        samplers: One per row.
        prompts: The rows' prompts.
        seeds: One per row.
        rooms: How many tokens each row may write.

    Attributes:
        drafted: Guesses that were read.
        accepted: Guesses that were right.
    """

    def __init__(
        self,
        model: Verifier,
        drafter: Drafter,
        samplers: Sequence[Sampler[Any]],
        *,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        rooms: Sequence[int],
    ) -> None:
        self._model, self._drafter = model, drafter
        self._rows = [
            Writing(
                i, list(prompt), len(prompt), sampler, sampler.init([prompt]), random.counter(torch.tensor([seed]), 0), room
            )
            for i, (prompt, sampler, seed, room) in enumerate(zip(prompts, samplers, seeds, rooms, strict=True))
        ]
        self._done: set[int] = set()
        self._began = False
        self.drafted = self.accepted = 0

    def drop(self, row: int) -> None:
        """Ends a row: it leaves the batch before the next step."""
        self._done.add(row)

    def __next__(self) -> list[Drawn]:
        with torch.inference_mode():
            self._leave()
            if not self._rows:
                raise StopIteration
            if not self._began:
                self._began = True
                first = zip(self._rows, self._model.prefill(), strict=True)
                return [drawn for row, logits in first for drawn in self._take(row, logits[None], [])]
            return self._step()

    def _leave(self) -> None:
        keep = [i for i, row in enumerate(self._rows) if row.row not in self._done]
        if len(keep) < len(self._rows):
            self._rows, self._done = [self._rows[i] for i in keep], set()
            if keep:
                self._model.select(torch.tensor(keep))
                self._drafter.select(torch.tensor(keep))

    def _step(self) -> list[Drawn]:
        limits = [min(row.hope, row.room - (len(row.tokens) - row.prompt) - 1) for row in self._rows]
        drafts = self._drafter.draft(self._rows, limits)
        # Four tokens are read as fast as one. Beyond that a guess costs time, and one made for nothing must be trusted.
        costs = self._drafter.cheap and len(self._rows) > 1
        tried = [[] if costs and row.trust < TRUST else draft for row, draft in zip(self._rows, drafts, strict=True)]
        logits = self._model.read([[row.tokens[-1], *draft] for row, draft in zip(self._rows, tried, strict=True)])
        events: list[Drawn] = []
        for row, draft, seen, guessed in zip(self._rows, tried, logits, drafts, strict=True):
            drawn = self._take(row, seen, draft)
            events += drawn
            if guessed:
                row.trust += (float(drawn[0].token == guessed[0]) - row.trust) / 4
        self._model.rewind([len(row.tokens) - 1 for row in self._rows])
        return events

    def _take(self, row: Writing, logits: Tensor, draft: Sequence[int]) -> list[Drawn]:
        """Draws after each right guess, from `logits` `(guesses + 1, vocabulary)`."""
        events: list[Drawn] = []
        for i, seen in enumerate(logits):
            drawn, row.state = row.draw(seen, ahead=0, state=row.state)
            events.append(drawn)
            if drawn.status is not Status.OK:
                self._done.add(row.row)
                break
            row.tokens.append(drawn.token)
            if i < len(draft) and drawn.token != draft[i]:
                break
        right = len(events) - 1
        self.drafted, self.accepted = self.drafted + len(draft), self.accepted + right
        if draft:
            row.hope = min(2 * row.hope, MOST) if right == len(draft) else max(FREE, right)
        return events


@dataclass(frozen=True, slots=True)
class PromptLookup:
    """Guesses that a text goes on as it did the last time that its last tokens occurred in it (Saxena 2023).

    It helps where a text copies from its prompt: summaries, edits, code. Elsewhere it costs next to nothing.

    Args:
        ngram: How many last tokens must have occurred before, at least 1.
        tokens: How many tokens to guess at most, at least 1.

    Example:
        >>> PromptLookup(ngram=2)
        PromptLookup(ngram=2, tokens=16)
    """

    ngram: int = 2
    tokens: int = 16

    def __post_init__(self) -> None:
        integer("ngram", self.ngram, low=1)
        integer("tokens", self.tokens, low=1)

    def start(self, rows: int) -> "Lookup":
        """A drafter for a batch."""
        return Lookup(self, [_Index() for _ in range(rows)])


@dataclass(slots=True)
class _Index:
    """Where each run of tokens was last seen to end, and how much of the row is in it."""

    ends: dict[tuple[int, ...], int] = field(default_factory=dict)
    read: int = 0


@dataclass(slots=True)
class Lookup:
    """The drafter of `PromptLookup`."""

    given: PromptLookup
    indices: list[_Index]
    cheap: bool = True

    def draft(self, rows: Sequence[Writing], limits: Sequence[int]) -> list[list[int]]:
        """Guesses."""
        return [self._draft(row.tokens, index, limit) for row, index, limit in zip(rows, self.indices, limits, strict=True)]

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        self.indices = [self.indices[i] for i in alive.tolist()]

    def _draft(self, tokens: list[int], index: _Index, limit: int) -> list[int]:
        size = self.given.ngram
        for end in range(max(index.read, size), len(tokens)):  # the last run itself is left out: nothing follows it yet
            index.ends[tuple(tokens[end - size : end])] = end
        index.read = len(tokens)
        at = index.ends.get(tuple(tokens[-size:]))
        return [] if at is None else tokens[at : at + max(0, min(limit, self.given.tokens))]


class DraftModel:
    """A smaller model that draws with the same noise, and so the same token wherever it sees about the same.

    Args:
        model: The draft model's forward, with the rows' prompts.
        context: The longest sequence that it takes; None for any.
        tokens: How many tokens to guess at most.
    """

    cheap = False

    def __init__(self, model: Verifier, *, context: int | None, tokens: int = 4) -> None:
        self._model, self._context, self._tokens = model, context, tokens
        self._began = False

    def draft(self, rows: Sequence[Writing], limits: Sequence[int]) -> list[list[int]]:
        """Guesses: each row draws from the draft model's logits as it would from the model's own."""
        longest = max(len(row.tokens) for row in rows) + self._tokens
        if self._context is not None and longest > self._context:
            return [[] for _ in rows]
        if not self._began:
            self._model.prefill()
            self._began = True
        drafts: list[list[int]] = [[] for _ in rows]
        states = [row.state for row in rows]
        fed = self._model.lengths
        new = [row.tokens[length:] for row, length in zip(rows, fed, strict=True)]
        for ahead in range(max(0, min(self._tokens, max(limits)))):
            logits = self._model.read(new)
            for i, row in enumerate(rows):
                drawn, states[i] = row.draw(logits[i][-1], ahead=ahead, state=states[i])
                drafts[i].append(max(0, drawn.token))
            new = [[draft[-1]] for draft in drafts]
        # What was guessed is forgotten: the next turn reads what was drawn.
        self._model.rewind([min(length, len(row.tokens)) for row, length in zip(rows, self._model.lengths, strict=True)])
        return [draft[: max(0, limit)] for draft, limit in zip(drafts, limits, strict=True)]

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        self._model.select(alive)
