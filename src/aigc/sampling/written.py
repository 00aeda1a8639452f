"""Filters that go by what was written: how much, and what."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from aigc._checks import fail, fail_type, string
from aigc.kernels import Draw
from aigc.sampling._ids import check_ids, drawable, inside, refuse_empty, tensor
from aigc.sampling._numbers import Parametric, check
from aigc.sampling.noise import Noise
from aigc.sampling.words import Words

__all__ = ["BannedStrings", "ForcedPrefix", "MinTokens"]

_APART = b"\xff"  # no byte of UTF-8, and so of no string; a token may have it
_NO_WORDS = "Run the filter in a Generator, or bind it."


@dataclass(frozen=True, slots=True, repr=False)
class MinTokens(Parametric):
    """Lets no text end before it has so many tokens: until then the ids that end a text are cut.

    The prompt does not count, and stop strings end a text all the same.

    Args:
        count: At least 0.
        ends: The ids that end a text; those of the tokenizer, if they are left out.

    Raises:
        ParameterError: If a row may not write so many tokens, before anything is written; or if there are no `ends` and no
            tokenizer.
        GenerationError: If a row has no other tokens than ends; in a sampler that row alone ends.

    Example:
        >>> from aigc.sampling import Noise
        >>> f = MinTokens(1, ends=[2])
        >>> state = f.start([[0]])
        >>> f.apply(torch.tensor([[1.0, 2.0, 3.0]]), state, Noise.of(torch.tensor([7]), 0))
        tensor([[1., 2., -inf]])
    """

    count: int | Tensor
    ends: Iterable[int] | None = field(default=None, kw_only=True)

    per_row: ClassVar[tuple[str, ...]] = ("count",)

    def __post_init__(self) -> None:
        check("min_tokens", self.count, "an integer of at least 0", low=0, whole=True)
        if self.ends is not None:
            object.__setattr__(self, "ends", check_ids("ends", self.ends, least=0))

    def bind(self, words: Words) -> "MinTokens":
        """The filter with the ends of a tokenizer, if it was given none."""
        bound = MinTokens(self.count, ends=sorted(words.ends)) if self.ends is None else self
        inside("ends", bound._ends(), words.size)
        return bound

    def within(self, limits: Sequence[int]) -> "MinTokens":
        """Checks that the rows may write so many tokens."""
        counts = self.count.expand(len(limits)).tolist() if isinstance(self.count, Tensor) else [self.count] * len(limits)
        for count, limit in zip(counts, limits, strict=True):
            if count > limit:
                raise fail("min_tokens", f"at most {limit}, the maximum of the row", count, "Raise max_new_tokens.")
        return self

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """The state is how many tokens each row has."""
        self._ends()
        return torch.zeros(len(prompts), dtype=torch.int64)

    def apply(self, logits: Tensor, state: Tensor, noise: Noise) -> Tensor:
        """Cuts the ends of rows that are too short."""
        inside("ends", self._ends(), logits.shape[-1])
        short = state < torch.as_tensor(self.count, device=state.device)
        if self._ends() and bool(short.any()):
            had = drawable(logits) & short.to(logits.device)
            logits[had.nonzero(), tensor(self._ends(), logits)] = -math.inf
            refuse_empty(self, had, logits, "Put it before the filters that cut, or leave tokens that do not end a text.")
        return logits

    def update(self, state: Tensor, draw: Draw) -> Tensor:
        """Each row has one more."""
        return state + 1

    def _ends(self) -> tuple[int, ...]:
        if self.ends is None:
            raise fail("ends", "the ids that end a text, where there is no tokenizer", None, f"Give ends=. {_NO_WORDS}")
        return tuple(self.ends)


@dataclass(frozen=True, slots=True, repr=False)
class ForcedPrefix(Parametric):
    """Makes each text begin with some tokens; after them it goes on freely.

    Args:
        prefix: A text, which is encoded by itself, without special tokens; or token ids.

    Raises:
        ParameterError: If a row may not write so many tokens, before anything is written; or if it is a text, and there is
            no tokenizer.
        GenerationError: If a filter before this one cut the token that is to come; in a sampler that row alone ends.

    Example:
        >>> from aigc.sampling import Noise
        >>> f = ForcedPrefix([0, 1])
        >>> state = f.start([[0]])
        >>> f.apply(torch.tensor([[1.0, 2.0, 3.0]]), state, Noise.of(torch.tensor([7]), 0))
        tensor([[1., -inf, -inf]])
    """

    prefix: str | Iterable[int]

    def __post_init__(self) -> None:
        if isinstance(self.prefix, str):
            string("prefix", self.prefix)
        else:
            object.__setattr__(self, "prefix", _in_order("prefix", self.prefix))
        if not self.prefix:
            raise fail("prefix", "a text or ids, at least one token", self.prefix, "Leave the filter out to have it off.")

    def bind(self, words: Words) -> "ForcedPrefix":
        """The filter with ids in place of a text."""
        bound = ForcedPrefix(words.encode(self.prefix)) if isinstance(self.prefix, str) else self
        inside("prefix", bound._ids(), words.size)
        return bound

    def within(self, limits: Sequence[int]) -> "ForcedPrefix":
        """Checks that the rows may write so many tokens."""
        length, least = len(self._ids()), min(limits)
        if length > least:
            wanted = f"of at most {least} tokens, the maximum of a row"
            raise fail("prefix", wanted, f"{length} tokens", "Raise max_new_tokens.")
        return self

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """The state is how many tokens each row has."""
        self._ids()
        return torch.zeros(len(prompts), dtype=torch.int64)

    def apply(self, logits: Tensor, state: Tensor, noise: Noise) -> Tensor:
        """Cuts all but the token that is to come."""
        ids = self._ids()
        inside("prefix", ids, logits.shape[-1])
        if not bool((state < len(ids)).any()):
            return logits
        state = state.to(logits.device)
        forced = drawable(logits) & (state < len(ids))
        token = tensor(ids, logits)[state.clamp(max=len(ids) - 1), None]
        only = torch.full_like(logits, -math.inf).scatter_(-1, token, logits.gather(-1, token))
        left = only.where(forced[:, None], logits)
        refuse_empty(self, forced, left, "Put it before the filters that cut.")
        return left

    def update(self, state: Tensor, draw: Draw) -> Tensor:
        """Each row has one more."""
        return state + 1

    def _ids(self) -> tuple[int, ...]:
        if isinstance(self.prefix, str):
            raise fail("prefix", "token ids, where there is no tokenizer", self.prefix, _NO_WORDS)
        return tuple(self.prefix)


@dataclass(frozen=True, slots=True, repr=False)
class BannedStrings(Parametric):
    """Keeps strings out of a text, however tokens split them: cuts each token that would complete one.

    Strings are compared byte by byte, as the tokenizer spells its tokens: upper case is not lower case, "bad" is in " bad",
    and a character that Unicode can write in two ways is two strings. A token that only begins a string is not cut. What
    tokens complete a string is found once for each beginning of it that is written.

    Args:
        strings: At least one, none empty.
        prompt: Whether a string may not begin in the prompt either; else the text is looked at from its own beginning.

    Raises:
        ParameterError: If there is no tokenizer.
        GenerationError: If a row has no other tokens than those that complete a string.

    Example:
        >>> BannedStrings(["cannot", "不能"])
        BannedStrings(('cannot', '不能'))
    """

    strings: Sequence[str]
    prompt: bool = field(default=False, kw_only=True)
    _spelt: "_Spelt | None" = field(default=None, kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.strings, str) or not isinstance(self.strings, Iterable):
            raise fail_type("banned_strings", "a list of strings", self.strings)
        object.__setattr__(self, "strings", tuple(self.strings))
        for i, banned in enumerate(self.strings):
            if not string(f"banned_strings[{i}]", banned):
                raise fail(f"banned_strings[{i}]", "a string of at least one character", banned)
        if not self.strings:
            raise fail("banned_strings", "at least one string", self.strings, "Leave the filter out to have it off.")
        if not isinstance(self.prompt, bool):
            raise fail_type("prompt", "True or False", self.prompt)

    def bind(self, words: Words) -> "BannedStrings":
        """The filter on the spelling of a tokenizer."""
        return BannedStrings(self.strings, prompt=self.prompt, _spelt=_Spelt(self.strings, words.spelling[: words.size]))

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """The state is the longest beginning of a string that each row ends in, by its number."""
        spelt = self._words()
        return torch.tensor([spelt.after(0, prompt) if self.prompt else 0 for prompt in prompts], dtype=torch.int64)

    def apply(self, logits: Tensor, state: Tensor, noise: Noise) -> Tensor:
        """Cuts what would complete a string."""
        spelt, had = self._words(), drawable(logits)
        for begun in set(state.tolist()):
            rows = (had & (state == begun).to(logits.device)).nonzero()
            logits[rows, spelt.completing(begun).to(logits.device)] = -math.inf
        refuse_empty(self, had, logits, "Put it before the filters that cut.")
        return logits

    def update(self, state: Tensor, draw: Draw) -> Tensor:
        """Each row ends in the token that was drawn."""
        spelt = self._words()
        pairs = zip(state.tolist(), draw.token.tolist(), strict=True)
        return torch.tensor([spelt.after(begun, [token]) for begun, token in pairs], dtype=torch.int64)

    def _words(self) -> "_Spelt":
        if self._spelt is None:
            raise fail("banned_strings", "bound to a tokenizer, which says how tokens are spelt", self, _NO_WORDS)
        return self._spelt


class _Spelt:
    """What tokens make of banned strings: the automaton of Aho and Corasick (1975), over tokens.

    A place is a beginning of a string, shorter than it; that with number 0 is empty.
    """

    def __init__(self, strings: Sequence[str], spelling: Sequence[bytes]) -> None:
        self._spelling = spelling
        self._strings = sorted({string.encode() for string in strings})
        self._places = sorted({string[:length] for string in self._strings for length in range(len(string))})
        self._number = {place: i for i, place in enumerate(self._places)}
        self._longest = max(map(len, self._places))
        self._all = _APART + _APART.join(spelling)
        self._starts = np.cumsum([1, *(len(spelt) + 1 for spelt in spelling)])
        self._whole = set().union(*map(self._tokens, self._strings))
        self._completing: dict[int, Tensor] = {}

    def completing(self, place: int) -> Tensor:
        """The tokens that complete a string after a place."""
        if place not in self._completing:
            begun = self._places[place]
            missing = {
                string[length:]
                for string in self._strings
                for length in range(1, len(string))
                if begun.endswith(string[:length])
            }
            tokens = self._whole.union(*(self._tokens(_APART + part) for part in missing))
            self._completing[place] = torch.tensor(sorted(tokens), dtype=torch.int64)
        return self._completing[place]

    def after(self, place: int, tokens: Sequence[int]) -> int:
        """The place after some more tokens."""
        for token in tokens:
            if 0 <= token < len(self._spelling):  # else it is padding, or a row that could not be drawn from
                text = self._places[place] + self._spelling[token]
                ends = (text[i:] for i in range(max(0, len(text) - self._longest), len(text) + 1))
                place = next(self._number[end] for end in ends if end in self._number)
        return place

    def _tokens(self, part: bytes) -> set[int]:
        """The tokens that have some bytes in them; that begin with them, if `_APART` comes first."""
        first = len(part) - len(part.removeprefix(_APART))
        found, place = [], self._all.find(part)
        while place >= 0:
            found.append(place + first)
            place = self._all.find(part, place + 1)
        at = np.array(found, dtype=np.int64)
        token = np.searchsorted(self._starts, at, side="right") - 1
        return set(token[self._starts[token] == at].tolist() if first else token.tolist())


def _in_order(name: str, ids: object) -> tuple[int, ...]:
    """Checks ids of which some may come again."""
    if isinstance(ids, Tensor):
        ids = ids.tolist()
    if not isinstance(ids, Sequence) or isinstance(ids, bytes):
        raise fail_type(name, "a text, or token ids", ids)
    check_ids(name, ids, least=0)
    return tuple(ids)
