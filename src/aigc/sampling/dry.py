"""DRY: a penalty that grows with the length of the repetition that a token would go on with."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from aigc._checks import fail, fail_type, integer
from aigc.kernels import Draw
from aigc.sampling._history import Repeats, repeats_of
from aigc.sampling._numbers import Parametric, check, column
from aigc.sampling.noise import Noise
from aigc.sampling.penalties import finite
from aigc.sampling.words import Words

__all__ = ["DRY"]


class _State(NamedTuple):
    repeats: Repeats
    breaks: Tensor  # (rows, width) bool: tokens that break a sequence by themselves
    ends: "_Ends"


@dataclass(frozen=True, slots=True)
class _Ends:
    """The last bytes of each row, in which a breaker of several tokens may have begun."""

    rows: tuple[bytes, ...]

    def select(self, alive: Tensor) -> "_Ends":
        return _Ends(tuple(self.rows[i] for i in alive.tolist()))


@dataclass(frozen=True, slots=True, repr=False)
class DRY(Parametric):
    r"""Penalizes tokens that would go on with a repetition, the more the longer it is already.

    $$ x_v \mapsto x_v - m \, b^{\,n_v - a} \quad \text{where } n_v \ge a $$

    and $n_v$ is the length of the longest sequence that the text ends with and that was followed by $v$ before. A sequence
    ends at a breaker: it is neither part of a repetition nor penalized. It is p-e-w's "Don't repeat yourself"
    (text-generation-webui, pull request 5677). A logit that would overflow becomes the least finite number.

    Args:
        multiplier: m, at least 0; 0 changes nothing.
        base: b, at least 1.
        allowed_length: a, at least 1: so long a sequence may occur again.
        window: How many of the last tokens are looked at; None looks at all, prompt included.
        breakers: Strings that break a sequence, or ids of tokens that do. A string does so where its last byte is written,
            in whatever tokens; a token that holds it whole is never penalized.

    Example:
        >>> from aigc.sampling import Noise
        >>> dry = DRY(1.0, allowed_length=1, breakers=())
        >>> state = dry.start([[0, 1, 2, 0, 1]])  # 0, 1 was followed by 2
        >>> dry.apply(torch.zeros(1, 3), state, Noise.of(torch.tensor([7]), 0))
        tensor([[ 0.0000,  0.0000, -1.7500]])
    """

    multiplier: float | Tensor
    base: float | Tensor = field(default=1.75, kw_only=True)
    allowed_length: int | Tensor = field(default=2, kw_only=True)
    window: int | None = field(default=None, kw_only=True)
    breakers: Sequence[str | int] = field(default=("\n", ":", '"', "*"), kw_only=True)
    _spelling: Sequence[bytes] | None = field(default=None, kw_only=True, repr=False, compare=False)

    per_row: ClassVar[tuple[str, ...]] = ("multiplier", "base", "allowed_length")

    def __post_init__(self) -> None:
        check("multiplier of DRY", self.multiplier, "a finite number of at least 0", low=0)
        check("base of DRY", self.base, "a finite number of at least 1", low=1)
        check("allowed_length of DRY", self.allowed_length, "an integer of at least 1", low=1, whole=True)
        if self.window is not None:
            integer("window of DRY", self.window, low=1, cure="None looks at all tokens.")
        if isinstance(self.breakers, str | bytes) or not isinstance(self.breakers, Sequence):
            raise fail_type("breakers of DRY", "a sequence of strings and token ids", self.breakers)
        for i, each in enumerate(self.breakers):
            if not isinstance(each, str):
                integer(f"breakers[{i}] of DRY", each, low=0, cure="It is a string or the id of a token.")
            elif not each:
                raise fail(f"breakers[{i}] of DRY", "a string that is not empty", each)

    def bind(self, words: Words) -> "DRY":
        """DRY that knows how tokens are spelt; without strings among the breakers, it need not know."""
        return replace(self, _spelling=words.spelling) if self._texts() else self

    def start(self, prompts: Sequence[Sequence[int]]) -> _State:
        """Finds where the ends of the prompts occurred before.

        Raises:
            ParameterError: If a breaker is a string, and DRY is bound to no tokenizer.
        """
        if self._texts() and self._spelling is None:
            cure = "Call bind(words) first, as Generator does."
            raise fail("breakers of DRY", "token ids where no tokenizer is at hand", self.breakers, cure)
        texts = [text if self.window is None else text[-self.window :] for text in prompts]
        width = max(map(len, texts), default=0)
        breakers, breaks = self._reader(), torch.zeros(len(texts), width, dtype=torch.bool)
        ends, since = [], []
        for i, text in enumerate(texts):
            end, free = b"", 0  # the last bytes, and how many tokens since the last breaker
            for place, token in enumerate(text, width - len(text)):
                alone, broken, end = breakers.read(token, end)
                if alone:
                    breaks[i, place] = True
                free = 0 if broken else free + 1
            ends.append(end)
            since.append(free)
        return _State(repeats_of(texts, since), breaks, _Ends(tuple(ends)))

    def apply(self, logits: Tensor, state: _State, noise: Noise) -> Tensor:
        """Penalizes."""
        repeats = Repeats(*(each.to(logits.device) for each in state.repeats))
        length = repeats.before()
        excess = length - column(self.allowed_length, logits)
        hit = (excess >= 0) & (repeats.ids >= 0) & ~state.breaks.to(logits.device)
        if not repeats.ids.shape[1] or (logits.device.type == "cpu" and not hit.any()):
            return logits
        ids = repeats.ids.clamp(min=0)
        x = logits.gather(-1, ids)
        growth = (column(self.base, logits) ** excess).clamp(max=torch.finfo(torch.float64).max)
        penalty = column(self.multiplier, logits) * growth
        changed = finite(x - penalty.masked_fill(~hit, 0.0), x, logits.dtype)
        # A token may have followed several repetitions: the longest of them counts, whatever the order of writing.
        return logits.scatter_reduce_(-1, ids, changed, "amin")

    def update(self, state: _State, draw: Draw) -> _State:
        """Looks for the new end."""
        breakers = self._reader()
        read = [breakers.read(token, end) for token, end in zip(draw.token.tolist(), state.ends.rows, strict=True)]
        alone, broken = torch.tensor([each[:2] for each in read], dtype=torch.bool, device=draw.token.device).T
        ids, lengths = state.repeats.after(draw.token, self.window)
        breaks = torch.cat([state.breaks.to(alone.device), alone[:, None]], 1)[:, -ids.shape[1] :]
        return _State(Repeats(ids, lengths * ~broken[:, None]), breaks, _Ends(tuple(each[2] for each in read)))

    def _texts(self) -> list[bytes]:
        return [each.encode() for each in self.breakers if isinstance(each, str)]

    def _reader(self) -> "_Breakers":
        return _Breakers(
            self._texts(), frozenset(each for each in self.breakers if isinstance(each, int)), self._spelling or ()
        )


class _Breakers(NamedTuple):
    texts: Sequence[bytes]
    ids: frozenset[int]
    spelling: Sequence[bytes]

    def read(self, token: int, end: bytes) -> tuple[bool, bool, bytes]:
        """Whether a token breaks by itself, whether it does after the bytes before it, and the last bytes then."""
        new = self.spelling[token] if 0 <= token < len(self.spelling) else b""
        alone = token in self.ids or any(text in new for text in self.texts)
        keep = max(map(len, self.texts), default=1) - 1
        if not keep:
            return alone, alone, b""
        both = end + new
        # A breaker that ended before this token must not be found again.
        broken = alone or any(text in both[-len(new) - len(text) + 1 :] for text in self.texts if new and len(text) > 1)
        return alone, broken, both[-keep:]
