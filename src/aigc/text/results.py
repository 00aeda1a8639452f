"""What generation returns: plain values that print short and show themselves in a notebook."""

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, overload

from aigc.kernels import Status

__all__ = ["Candidate", "Chunk", "Completion", "Completions", "Filled", "FinishReason", "Gap", "Score"]

FinishReason = Literal["eos", "stop", "length", "error", "interrupted"]

_REASONS = {
    "eos": "the model ended the text",
    "stop": "a stop string appeared, or the constraint was fulfilled",
    "length": "the length limit was reached",
    "error": "there was no token to draw",
    "interrupted": "the call was interrupted",
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """One token of one row, as it is written.

    Attributes:
        index: The row, in the order of the completions that `generate` would return.
        text: The whole characters that this token completed; may be empty. A row's chunks join to its text.
        token: The token's id; None in a last chunk that only brings text that was held back, or an error.
        logprob: The token's log-probability in nats, under the distribution that it was drawn from.
        finish_reason: None until the row's last chunk.
    """

    index: int
    text: str
    token: int | None
    logprob: float | None
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Completion:
    """A text that a model wrote, and what is needed to write it again.

    Attributes:
        text: What follows the prompt: whole characters, without the stop string. Of a prompt with masks, the whole filled.
        tokens: The ids drawn, in order, with the end-of-text token where the model drew one.
        logprobs: One log-probability per token, in nats, under the distribution it was drawn from, after temperature
            and filters; None unless asked for.
        finish_reason: `"eos"`, `"stop"` or `"length"`; `"error"` if the model returned logits that no token can be
            drawn from, or filters left none of all or of what a constraint allows, which `status` tells;
            `"interrupted"` if the call ended first, so that the text may lack its end, or all of it. A constrained text
            is whole after each of the first three; it stops if it is complete and the model has no token that ends a text.
        seed: What repeats this text: `generate(completion.prompt, seed=[completion.seed], ...)`.
        prompt: The prompt as it was given.
        status: The kernel's verdict on the last logits: `Status.OK` unless the row ended in error.
        pieces: The text of each token; empty strings where a character took several.
        score: What a search ranked the text by, larger is better: see `BeamSearch` and `BestOf`. None without a search.
    """

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    finish_reason: FinishReason
    seed: int
    prompt: str
    status: Status = Status.OK
    pieces: tuple[str, ...] = field(default=())
    score: float | None = None

    def __repr__(self) -> str:
        return f"Completion({_short(self.text)!r}, {len(self.tokens)} tokens, {self.finish_reason!r}, seed={self.seed})"

    def _repr_html_(self) -> str:
        """Shows the text in a notebook, each token shaded by its probability where that was asked for."""
        chances: Sequence[float | None] = [None] * len(self.pieces)
        if self.logprobs is not None:
            chances = [math.exp(value) for value in self.logprobs]
        body = "".join(_shaded(piece, chance) for piece, chance in zip(self.pieces, chances, strict=True) if piece)
        body += html.escape(self.text[sum(map(len, self.pieces)) :])
        note = f"{len(self.tokens)} tokens, {_REASONS[self.finish_reason]}; seed {self.seed}"
        return (
            f'<div style="white-space:pre-wrap;font-family:serif;line-height:1.6"><span style="opacity:.55">'
            f'{html.escape(self.prompt)}</span>{body}<div style="opacity:.55;font-size:80%">{note}</div></div>'
        )


@dataclass(frozen=True, slots=True, repr=False)
class Completions(Sequence[Completion]):
    """The completions of one call, prompt by prompt: a sequence with the texts at hand."""

    items: tuple[Completion, ...]

    @property
    def texts(self) -> list[str]:
        """The texts alone."""
        return [completion.text for completion in self.items]

    @property
    def unfinished(self) -> list[int]:
        """The places of the texts that an interruption or an error left to be written; `resume=` writes them."""
        return [i for i, completion in enumerate(self.items) if completion.finish_reason == "interrupted"]

    @overload
    def __getitem__(self, index: int) -> Completion: ...
    @overload
    def __getitem__(self, index: slice) -> "Completions": ...
    def __getitem__(self, index: int | slice) -> "Completion | Completions":
        if isinstance(index, slice):
            return Completions(self.items[index])
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Completion]:
        return iter(self.items)

    def __repr__(self) -> str:
        lines = [f"  {completion!r}" for completion in self.items[:8]]
        if len(self) > 8:
            lines.append(f"  ... {len(self) - 8} more")
        left = len(self.unfinished)
        return "\n".join([f"{len(self)} completions{f', {left} of them unfinished' if left else ''}", *lines])

    def _repr_html_(self) -> str:
        return '<hr style="opacity:.3">'.join(completion._repr_html_() for completion in self.items)


@dataclass(frozen=True, slots=True, repr=False)
class Score:
    r"""How well a model predicts a text.

    Attributes:
        tokens: The ids that were predicted, in order. A model whose texts have no begin token predicts all but the first.
        logprobs: $\log p(x_i \mid x_{<i})$ in nats, one per token.
        bytes: The length in UTF-8 of the text that the tokens stand for.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    bytes: int

    @property
    def nats(self) -> float:
        """Minus the log-probability of the text, in nats."""
        return -math.fsum(self.logprobs)

    @property
    def perplexity(self) -> float:
        r"""$\exp(\text{nats} / \text{tokens})$; 1 for an empty text. Not comparable between tokenizers."""
        return math.exp(self.nats / len(self.tokens)) if self.tokens else 1.0

    @property
    def bits_per_byte(self) -> float:
        r"""$\text{nats} / (\ln 2 \cdot \text{bytes})$, comparable between tokenizers; 0 for an empty text."""
        return self.nats / math.log(2) / self.bytes if self.bytes else 0.0

    def __repr__(self) -> str:
        return f"Score({len(self.tokens)} tokens, perplexity={self.perplexity:.2f}, bits_per_byte={self.bits_per_byte:.3f})"


@dataclass(frozen=True, slots=True)
class Candidate:
    r"""A token that may fill a gap.

    Attributes:
        token: The token's id.
        text: Its text, without spaces around it.
        logprob: $\log p(\text{token} \mid \text{the rest of the text})$ in nats, among all tokens of the model.
        filled: The text with this token in its gap; other masks are left as they are.
    """

    token: int
    text: str
    logprob: float
    filled: str


@dataclass(frozen=True, slots=True)
class Gap:
    """What a masked model says of one mask.

    Attributes:
        candidates: The most likely tokens, the likeliest first.
    """

    candidates: tuple[Candidate, ...]

    @property
    def best(self) -> Candidate:
        """The most likely token."""
        return self.candidates[0]


@dataclass(frozen=True, slots=True)
class Filled:
    """A text with masks, and what a masked model says of each.

    Attributes:
        prompt: The text as it was given.
        text: The text with the likeliest token in each gap. Each gap is judged with the others still hidden, so those of
            several gaps need not go together; `generate` fills them one after the other.
        gaps: One per mask, in the order of the text.
    """

    prompt: str
    text: str
    gaps: tuple[Gap, ...]


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _shaded(piece: str, chance: float | None) -> str:
    if chance is None:
        return html.escape(piece)
    # Certain tokens stay clear, and amber deepens with the surprise in bits; the number is in the tooltip.
    surprise = min(1.0, -math.log2(max(chance, 1e-9)) / 12)
    return f'<span title="{chance:.1%}" style="background:rgba(255,150,0,{0.6 * surprise:.2f})">{html.escape(piece)}</span>'
