"""A sampler that writes only what a constraint allows, and comes to an end in time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc._checks import fail, fail_type
from aigc.kernels import Draw, Status
from aigc.sampling.constraints._lexicon import Lexicon, lexicon_of
from aigc.sampling.constraints._reading import Reading
from aigc.sampling.constraints.kinds import Constraint
from aigc.sampling.noise import Noise
from aigc.sampling.parts import Part, take
from aigc.sampling.samplers import Sampler, as_sampler
from aigc.sampling.state import select
from aigc.sampling.words import Words, bind, within

__all__ = ["Constrained", "is_constrained"]

_PATIENCE = 32  # tokens that are refused one by one, before what is left is the closing that is known
_NO_LIMIT = 2**31


class _Bound(NamedTuple):
    words: Words
    lexicon: Lexicon
    start: Reading


class _Row(NamedTuple):
    """Where a row stands; its text is over where there is no reading."""

    reading: Reading | None
    left: int  # tokens that it may still write
    joined: bool = False  # whether the tokenizer swallows a space before the next token, as at the beginning of a text

    @property
    def complete(self) -> bool:
        return self.reading is None or self.reading.complete


@dataclass(frozen=True, slots=True)
class _State:
    inner: Any
    rows: tuple[_Row, ...]

    def select(self, alive: Tensor) -> "_State":
        return _State(select(self.inner, alive), tuple(self.rows[row] for row in alive.tolist()))


@dataclass(frozen=True, slots=True, init=False)
class Constrained:
    r"""Draws with a sampler from the tokens that a constraint allows: what is written satisfies it, always.

    Before the sampler sees the logits, those of all other tokens become -inf, so that each step draws from

    $$ p(v) \propto f(x)_v \, [\text{some text that begins with what is written and } v \text{ satisfies the constraint}] $$

    where f is what the sampler does to logits. Where few tokens are left to write, a token from which no end in time is
    known is not drawn either: it is banned, and the row draws again with the same noise. An end-of-text token is allowed
    where the text is complete; where it is complete and nothing may follow, nothing else is.

    Args:
        sampler: A sampler, a filter or a chain of filters.
        constraint: `Json`, `Regex`, `Choices` or `Grammar`.

    Raises:
        TypeParameterError: If either is something else.

    Example:
        >>> from aigc import Generator
        >>> from aigc.sampling import Choices, Temperature
        >>> sampler = Constrained(Temperature(1.0), Choices(["by land", "by sea"]))
        >>> Generator.default().generate("They went", sampler=sampler, seed=0)[0].text in ("by land", "by sea")
        True
    """

    sampler: Sampler[Any]
    constraint: Constraint
    bound: _Bound | None = field(default=None, repr=False, compare=False, kw_only=True)
    limits: tuple[int, ...] | None = field(default=None, repr=False, compare=False, kw_only=True)

    def __init__(
        self,
        sampler: Sampler[Any] | Part,
        constraint: Constraint,
        *,
        bound: _Bound | None = None,
        limits: tuple[int, ...] | None = None,
    ) -> None:
        if isinstance(constraint, type) or not hasattr(constraint, "start") or hasattr(constraint, "apply"):
            raise fail_type("constraint", "Json, Regex, Choices or Grammar", constraint)
        made = as_sampler(sampler)
        if is_constrained(made):
            raise fail("sampler", "without a constraint, to be given one", made, "One text follows one constraint.")
        for name, value in (("sampler", made), ("constraint", constraint), ("bound", bound), ("limits", limits)):
            object.__setattr__(self, name, value)

    def take(self, rows: Tensor) -> "Constrained":
        """The sampler of some rows, given by index."""
        limits = None if self.limits is None else tuple(self.limits[row] for row in rows.tolist())
        return replace(self, sampler=take(self.sampler, rows), limits=limits)

    def bind(self, words: Words) -> "Constrained":
        """The sampler on the words of a tokenizer."""
        lexicon = lexicon_of(words)
        bound = _Bound(words, lexicon, self.constraint.start(lexicon))
        return replace(self, sampler=bind(self.sampler, words), bound=bound)

    def within(self, limits: Sequence[int]) -> "Constrained":
        """The sampler for rows of some lengths.

        Raises:
            ParameterError: If a row is too short for any text of the constraint.
        """
        for most in sorted(set(limits)):
            self._opened(most)
        return replace(self, sampler=within(self.sampler, limits), limits=tuple(limits))

    def init(self, prompts: Sequence[Sequence[int]]) -> _State:
        """Every row begins before its first token."""
        words, lexicon, _ = self._on_words()
        limits = self.limits or (_NO_LIMIT,) * len(prompts)
        opened = {most: self._opened(most) for most in set(limits)}
        joined = [_swallows(words, lexicon, prompt) for prompt in prompts]
        rows = tuple(_Row(opened[left], left, space) for left, space in zip(limits, joined, strict=True))
        return _State(self.sampler.init(prompts), rows)

    def step(self, logits: Tensor, state: _State, noise: Noise) -> tuple[Draw, _State]:
        """Draws; a row that is complete, and has no token left to say so, is `DONE`."""
        x = self._masked(logits, state)
        draw, inner = self.sampler.step(x, state.inner, noise)
        rows = [self._after(row, token) for row, token in zip(state.rows, draw.token.tolist(), strict=True)]
        late = [i for i, row in enumerate(rows) if row is None]
        for i in late:
            rows[i] = self._again(x, i, state, noise)
        if late:
            draw, inner = self.sampler.step(x, state.inner, noise)
        kept = tuple(before if row is None else row for before, row in zip(state.rows, rows, strict=True))
        return _told(draw, logits, state.rows), _State(inner, kept)

    def _masked(self, logits: Tensor, state: _State) -> Tensor:
        """The logits of what is allowed; rows that cannot be drawn from stay as they are, for the draw to report."""
        lexicon = self._on_words().lexicon
        allowed = np.zeros(logits.shape, dtype=np.bool_)
        for row, top, mask in zip(state.rows, logits.amax(-1).tolist(), allowed, strict=True):
            if math.isfinite(top):
                _mark(row, lexicon, mask)
            else:
                mask[:] = True
        return torch.where(torch.from_numpy(allowed).to(logits.device), logits, -torch.inf)

    def _after(self, row: _Row, token: int) -> _Row | None:
        """The row with a token; None if no end in time is known then."""
        lexicon, left = self._on_words().lexicon, row.left - 1
        if token < 0:
            return row
        if row.reading is None or token in lexicon.ends:
            return _Row(None, left)
        reading = row.reading.after(token)
        end = reading.closing
        return _Row(reading, left) if end is not None and lexicon.fits(end, left) else None

    def _again(self, x: Tensor, i: int, state: _State, noise: Noise) -> _Row | None:
        """Bans tokens of row i in its logits `x[i]` until one may be drawn; then the closing that is known is left."""
        at, row = torch.tensor([i], device=x.device), state.rows[i]
        inner, own = select(state.inner, at), noise.select(at)
        assert row.reading is not None, "of a text that is over, no token is refused"
        reading = row.reading.shortened()
        row = row._replace(reading=reading)
        for tries in range(_PATIENCE + 1):
            token = int(self.sampler.step(x[at], inner, own)[0].token)
            if (after := self._after(row, token)) is not None:
                return after
            x[i, token] = -torch.inf
            if tries == _PATIENCE - 1:
                keep = self._on_words().lexicon.openings(reading.closing or b"", row.left)
                keep += self._on_words().lexicon.ends if row.complete else ()
                x[i] = torch.full_like(x[i], -torch.inf).index_copy(0, torch.tensor(keep, device=x.device), x[i, keep])
        return None

    def _on_words(self) -> _Bound:
        if self.bound is None:
            raise fail("sampler", "bound to a tokenizer", self, "Give it to a Generator, or call its bind(words).")
        return self.bound

    def _opened(self, most: int) -> Reading:
        """A text before its first token, with an end in time."""
        _, lexicon, start = self._on_words()
        reading = start.within(most)
        end = reading.closing
        if end is None:
            cure = "Shorten what it requires, or see whether this tokenizer can spell it."
            raise fail("constraint", "one to which an end can be found", self.constraint, cure)
        if not lexicon.fits(end, most):
            needed = lexicon.counts(end)[0]
            wanted = f"{needed} at least, to hold the shortest text that was found for {_short(self.constraint)}"
            raise fail("max_new_tokens", wanted, most, "Where a prompt is long, the context leaves less.")
        return reading


def is_constrained(value: object) -> bool:
    """Says whether a sampler follows a constraint, by itself or around another or for one of its rows.

    Example:
        >>> from aigc.sampling import Choices, TopK
        >>> is_constrained(Constrained(TopK(3), Choices(["a"]))), is_constrained(TopK(3))
        (True, False)
    """
    if isinstance(value, Constrained):
        return True
    inner = [getattr(value, "sampler", None), *getattr(value, "samplers", ())]
    return any(is_constrained(each) for each in inner if each is not None)


def _mark(row: _Row, lexicon: Lexicon, mask: NDArray[np.bool_]) -> None:
    """Marks the tokens that a row allows."""
    if row.reading is not None:
        found = row.reading.allowed()
        if isinstance(found, list):
            mask[found] = True
        else:
            mask[: len(found)] = found[: len(mask)]
        if row.joined:
            mask[list(lexicon.spaced)] = False
    if row.complete:
        mask[list(lexicon.ends)] = True


def _told(draw: Draw, logits: Tensor, rows: Sequence[_Row]) -> Draw:
    """The draw, with rows told apart that are done, and whose filters left nothing of what is allowed."""
    empty = [i for i, status in enumerate(draw.status.tolist()) if status == Status.EMPTY]
    if not empty:
        return draw
    status = draw.status.clone()
    for i in empty:
        if bool(logits[i].amax().isfinite()):
            status[i] = int(Status.DONE if rows[i].complete else Status.BANNED)
    return draw._replace(status=status)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _swallows(words: Words, lexicon: Lexicon, prompt: Sequence[int]) -> bool:
    """Whether a space that begins the text is lost, as tokenizers lose that before a first word."""
    if not lexicon.spaced:
        return False
    context = list(prompt[-4:])
    before, after = words.decode(context), words.decode([*context, lexicon.spaced[0]])
    return not after.removeprefix(before).startswith(" ")
