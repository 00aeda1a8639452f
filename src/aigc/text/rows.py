"""A row: one text that is being written, with everything that belongs to it alone."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from aigc.kernels import Status
from aigc.text.decoding import TextDecoder
from aigc.text.results import Chunk, Completion, FinishReason
from aigc.text.stopping import StopStrings

__all__ = ["Framed", "Request", "Row", "Step", "Written"]


class Framed(NamedTuple):
    """How an encoded prompt becomes a row: see `Request`."""

    ids: tuple[int, ...]
    source: tuple[int, ...]
    limit: int


@dataclass(frozen=True, slots=True)
class Request:
    """What a row starts from: nothing in it depends on the rows beside it.

    Attributes:
        index: The row's place in the call.
        prompt: The prompt as given.
        ids: The ids that the first token is written after, or, in a masked model's text, into: at least one.
        seed: The row's own seed.
        limit: How many tokens it may write, at least one.
        source: The ids that an encoder reads; empty where there is none.
        negative: The ids that guidance reads instead of a prompt; empty without guidance.
    """

    index: int
    prompt: str
    ids: tuple[int, ...]
    seed: int
    limit: int
    source: tuple[int, ...] = ()
    negative: tuple[int, ...] = ()

    @property
    def read(self) -> tuple[int, ...]:
        """What the model reads before the first token is drawn."""
        return self.source or self.ids

    def unwritten(self, *, logprobs: bool) -> Completion:
        """What an interrupted call returns for a row that it did not begin."""
        return Completion("", (), () if logprobs else None, "interrupted", self.seed, self.prompt)


class Written(Protocol):
    """A text in the making: a `Row`, or a text with gaps."""

    finish_reason: FinishReason | None

    @property
    def request(self) -> Request:
        """What it started from."""
        ...

    @property
    def whole(self) -> bool:
        """Whether it is finished to its last piece."""
        ...

    def push(self, token: int, logprob: float, *, end: bool) -> Chunk:
        """Takes a token that was drawn."""
        ...

    def end(self, status: Status) -> Chunk:
        """Ends it without a token."""
        ...

    def completion(self, *, logprobs: bool, interrupted: bool = False) -> Completion:
        """The text as a value."""
        ...


@dataclass(slots=True)
class Row:
    """The text of a request so far."""

    request: Request
    decoder: TextDecoder
    stops: StopStrings
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    status: Status = Status.OK
    score: float | None = None

    def fork(self) -> "Row":
        """A copy, for a text that goes on otherwise."""
        tokens, logprobs, pieces = list(self.tokens), list(self.logprobs), list(self.pieces)
        decoder, stops = self.decoder.fork(), replace(self.stops)
        return replace(self, decoder=decoder, stops=stops, tokens=tokens, logprobs=logprobs, pieces=pieces)

    def push(self, token: int, logprob: float, *, end: bool) -> Chunk:
        """Takes a token that was drawn; `end` says that it is an end-of-text token."""
        text = "" if end else self.stops.push(self.decoder.push(token))
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if self.stops.hit:
            self.finish_reason = "stop"
        elif end:
            self.finish_reason = "eos"
        elif len(self.tokens) >= self.request.limit:
            self.finish_reason = "length"
        if self.finish_reason in ("eos", "length"):
            text += self._flush()
        self.pieces.append(text)
        return Chunk(self.request.index, text, token, logprob, self.finish_reason)

    def end(self, status: Status) -> Chunk:
        """Ends the row: it is done, or its logits gave no token. What it wrote so far is kept."""
        text = self._flush()
        if status is Status.DONE:
            self.finish_reason = "stop"
        else:
            self.status, self.finish_reason = status, "error"
        if self.pieces:
            self.pieces[-1] += text
        return Chunk(self.request.index, text, None, None, self.finish_reason)

    @property
    def whole(self) -> bool:
        """Whether the row is finished to its last piece, wherever an interrupt may have struck `push`."""
        return self.finish_reason is not None and self.status is Status.OK and len(self.pieces) == len(self.tokens)

    def completion(self, *, logprobs: bool, interrupted: bool = False) -> Completion:
        """The text as a value: finished, or as far as it came."""
        written = len(self.pieces)  # an interrupt may have come between a token and its piece
        return Completion(
            text="".join(self.pieces),
            tokens=tuple(self.tokens[:written]),
            logprobs=tuple(self.logprobs[:written]) if logprobs else None,
            finish_reason="interrupted" if interrupted or self.finish_reason is None else self.finish_reason,
            seed=self.request.seed,
            prompt=self.request.prompt,
            status=self.status,
            pieces=tuple(self.pieces),
            score=self.score,
        )

    def chunks(self, index: int) -> list[Chunk]:
        """The chunks of a text that was written before it was known to be wanted, as the row of this index."""
        drawn = zip(self.pieces, self.tokens, self.logprobs, strict=True)
        chunks = [Chunk(index, piece, token, logprob) for piece, token, logprob in drawn]
        if self.status is not Status.OK or not chunks:
            return [*chunks, Chunk(index, "", None, None, self.finish_reason)]
        return [*chunks[:-1], replace(chunks[-1], finish_reason=self.finish_reason)]

    def _flush(self) -> str:
        text = self.stops.push(self.decoder.finish())
        if self.stops.hit:
            self.finish_reason = "stop"
        return text + self.stops.finish()


Step = list[tuple[Written, Chunk]]  # what one step of the loop did: a chunk for each row that went on
