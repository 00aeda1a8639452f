"""The text of a row whose tokens go into gaps: in any order, each between what stands on both sides.

What the user wrote stays as it was written. A tokenizer decodes a gap's token with or without a space before it; where the
user wrote the gap's surroundings the user's spaces hold, and between tokens that stand side by side the tokenizer's do.
"""

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from aigc._checks import fail, integer
from aigc.kernels import Status
from aigc.text.decoding import TextDecoder
from aigc.text.results import Chunk, Completion, FinishReason
from aigc.text.rows import Request

__all__ = ["Decode", "GapRow", "Infilling", "Order", "join", "pieces", "runs"]

Order = Literal["confident", "left to right"]
Decode = Callable[[Sequence[int]], str]

_CONTEXT = 4  # tokens before a gap that tell how its token joins them, as in `decoding`


@dataclass(frozen=True, slots=True)
class Infilling:
    """How a masked model fills several gaps: one at a time, each drawn while those before it stand.

    Gibbs sampling with a masked model (Wang and Cho, 2019, arXiv:1902.04094) draws from no exact joint distribution: the
    conditionals of the model need not fit together (Goyal et al., 2021, arXiv:2106.02736).

    Args:
        order: `"confident"` fills the gap next whose most likely token is the most probable, the first of those that tie,
            as MaskGIT does (Chang et al., 2022, arXiv:2202.04200); `"left to right"` fills them as they are read.
        sweeps: How often all gaps are emptied and drawn anew afterwards, one after the other from left to right.

    Raises:
        ParameterError: If either is something else.

    Example:
        >>> Infilling(order="left to right", sweeps=2)
        Infilling(order='left to right', sweeps=2)
    """

    order: Order = "confident"
    sweeps: int = 0

    def __post_init__(self) -> None:
        if self.order not in ("confident", "left to right"):
            raise fail("order", '"confident" or "left to right"', self.order)
        integer("sweeps", self.sweeps, low=0)


@dataclass(slots=True)
class GapRow:
    """The text of a masked model's row so far; where its tokens go, `place` says.

    Args:
        request: Its `ids` hold the masks.
        decode: From ids to text, without special tokens.
        place: The position that is being drawn.
        mask_token: The mask as a user writes it.
    """

    request: Request
    decode: Decode
    place: Callable[[], int]
    mask_token: str
    drawn: dict[int, tuple[int, float]] = field(default_factory=dict)
    pieces: tuple[str, ...] = ()
    tail: str = ""
    count: int = 0
    finish_reason: FinishReason | None = None
    status: Status = Status.OK

    def push(self, token: int, logprob: float, *, end: bool) -> Chunk:
        """Takes a token that was drawn; the text is whole, and given out, with the last of them."""
        del end  # no token ends a text whose length its gaps have settled
        self.drawn[self.place()] = token, logprob
        self.count += 1
        if self.count >= self.request.limit:
            self.finish_reason = "length"
            tokens = {position: drawn[0] for position, drawn in self.drawn.items()}
            written = self.request.prompt.split(self.mask_token)
            parts = written if len(written) > 1 else None
            *made, self.tail = pieces(self.request.ids, tokens, parts, decode=self.decode)
            self.pieces = tuple(made)
        return Chunk(self.request.index, "".join(self.pieces) + self.tail, token, logprob, self.finish_reason)

    def end(self, status: Status) -> Chunk:
        """Ends the row: its logits gave no token, and a text with gaps is none."""
        self.status, self.finish_reason = status, "error"
        self.pieces = ("",) * len(self.drawn)
        return Chunk(self.request.index, "", None, None, "error")

    @property
    def whole(self) -> bool:
        """Whether the text is finished, wherever an interrupt may have struck `push`."""
        return self.finish_reason is not None and self.status is Status.OK and len(self.pieces) > 0

    def completion(self, *, logprobs: bool, interrupted: bool = False) -> Completion:
        """The finished text as a value, with its tokens in the order of the text; one with gaps left is none."""
        if interrupted or self.finish_reason is None:
            return self.request.unwritten(logprobs=logprobs)
        drawn = [self.drawn[position] for position in sorted(self.drawn)]
        return Completion(
            text="".join(self.pieces) + self.tail,
            tokens=tuple(token for token, _ in drawn),
            logprobs=tuple(logprob for _, logprob in drawn) if logprobs else None,
            finish_reason=self.finish_reason,
            seed=self.request.seed,
            prompt=self.request.prompt,
            status=self.status,
            pieces=self.pieces,
        )


def runs(positions: Sequence[int]) -> Iterator[list[int]]:
    """Yields the stretches of positions that stand side by side.

    >>> list(runs([1, 2, 5, 7, 8]))
    [[1, 2], [5], [7, 8]]
    """
    run: list[int] = []
    for position in positions:
        if run and position != run[-1] + 1:
            yield run
            run = []
        run.append(position)
    if run:
        yield run


def pieces(ids: Sequence[int], tokens: Mapping[int, int], written: Sequence[str] | None, *, decode: Decode) -> list[str]:
    """Returns the text of each gap with what stands between it and the gap before, and last what stands behind them all.

    Args:
        ids: The whole text, masks included.
        tokens: What goes into which position.
        written: The user's text before, between and behind the gaps; None for gaps that go on where a text ended.
        decode: From ids to text, without special tokens.

    >>> pieces([7, 0, 8], {1: 5}, ["is ", "!"], decode=lambda ids: " ".join("abcdefghi"[i] for i in ids))
    ['is f', '!']
    """
    filled = [tokens.get(position, id) for position, id in enumerate(ids)]
    between = iter(written or [""] * (len(tokens) + 1))
    result: list[str] = []
    for run in runs(sorted(tokens)):
        before = decode(filled[max(0, run[0] - _CONTEXT) : run[0]])
        decoder = TextDecoder(decode, prompt=filled[: run[0]])
        made = [decoder.push(filled[position]) for position in run]
        made[-1] += decoder.finish()
        for i, piece in enumerate(made):
            left = next(between)
            if i == 0 and written is not None:
                # Where the tokenizer shows nothing before the gap, or a space of its own, the user's space is the only one.
                result.append(join(left, piece, part=piece[:1] != " " and before[-1:].strip() != ""))
            else:
                result.append(_closed(before, piece))
            before = result[-1] or before
    return [*result, next(between)]


def join(left: str, piece: str, *, part: bool) -> str:
    """Puts a token's text behind what the user wrote before it; `part` says that it goes on with the word there.

    >>> join("is ", " big", part=False), join("quick ", "ly", part=True), join("(", " big", part=False)
    ('is big', 'quickly', '(big')
    >>> join("re", " big", part=False), join("春", " 天", part=False)
    ('re big', '春天')
    """
    word = piece.lstrip(" ")
    if part:
        return left.rstrip() + word
    apart = piece != word and left[-1:].isalnum() and _closed(left, piece) == piece
    return f"{left} {word}" if apart else left + word


def _closed(left: str, piece: str) -> str:
    """Drops the space that a tokenizer sets between two characters that are written without, as those of Chinese are."""
    return piece[1:] if piece[:1] == " " and _wide(left[-1:]) and _wide(piece[1:2]) else piece


def _wide(character: str) -> bool:
    return character != "" and unicodedata.east_asian_width(character) in "WF"
