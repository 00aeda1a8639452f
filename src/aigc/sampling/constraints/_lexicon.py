"""The words of a tokenizer as constraints need them: which bytes a token adds, and which tokens make up bytes."""

import threading
from collections.abc import Container, Sequence
from functools import cached_property, lru_cache
from typing import Any, cast
from weakref import WeakKeyDictionary

from aigc.errors import ModelError
from aigc.sampling.constraints._engine import engine
from aigc.sampling.words import Words

__all__ = ["Lexicon", "lexicon_of"]

_BYTES = tuple(bytes([byte]) for byte in range(256))


class Lexicon:
    """The tokens that may stand inside of a constrained text: neither special ones nor those that end a text.

    Args:
        words: The tokenizer.
    """

    def __init__(self, words: Words) -> None:
        self.ends = tuple(sorted(words.ends))
        self.spelling = [b"" if id in words.ends else text for id, text in enumerate(words.spelling)]
        self.ids: dict[bytes, list[int]] = {}
        for id, text in enumerate(self.spelling):
            if text:
                self.ids.setdefault(text, []).append(id)
        if not self.ids:
            raise ModelError("no token of the tokenizer is spelt, so that no text can be constrained.")
        self.spaced = tuple(id for id, text in enumerate(self.spelling) if text[:1] == b" ")
        self._longest = max(map(len, self.ids))
        self.split = lru_cache(maxsize=None)(self._split)

    @cached_property
    def bytewise(self) -> bool:
        """Whether each byte is a token, so that n bytes are never more than n tokens."""
        return all(byte in self.ids for byte in _BYTES)

    @cached_property
    def atoms(self) -> tuple[bytes, ...]:
        """The spellings that others are made of: whatever can be written can be written with them."""
        if self.bytewise:
            return _BYTES
        found: set[bytes] = set()
        for text in sorted(self.ids, key=len):
            if _counts(text, found, len(text) - 1)[0] is None:
                found.add(text)
        return tuple(sorted(found))

    @cached_property
    def whole(self) -> Any:
        """The engine's tokenizer of all tokens."""
        return _tokenizer(self.spelling)

    @cached_property
    def small(self) -> Any:
        """The engine's tokenizer of the atoms alone, in which closings are looked for."""
        return _tokenizer(self.atoms)

    def counts(self, text: bytes) -> list[int | None]:
        """The fewest tokens that spell each end of some bytes, the whole first; None where none do."""
        return _counts(text, self.ids, self._longest)

    def fits(self, text: bytes, most: int) -> bool:
        """Whether at most so many tokens spell some bytes."""
        if self.bytewise and len(text) <= most:
            return True
        count = self.counts(text)[0]
        return count is not None and count <= most

    def openings(self, text: bytes, most: int) -> list[int]:
        """The tokens that some bytes may begin with, so that at most so many spell them all."""
        rests = enumerate(self.counts(text))
        good = [text[:end] for end, rest in rests if end and rest is not None and rest < most]
        return [id for part in good for id in self.ids.get(part, ())]

    def _split(self, text: bytes) -> list[int] | None:
        """The atoms that spell some bytes, by their places."""
        if self.bytewise:
            return list(text)
        parts = _cut(text, _counts(text, self.places, self._longest), self.places)
        return None if parts is None else [self.places[part] for part in parts]

    @cached_property
    def places(self) -> dict[bytes, int]:
        """Where each atom is among them."""
        return {text: place for place, text in enumerate(self.atoms)}


def lexicon_of(words: Words) -> Lexicon:
    """The lexicon of a tokenizer; made once for each."""
    with _LOCK:
        if words not in _LEXICONS:
            _LEXICONS[words] = Lexicon(words)
        return _LEXICONS[words]


_LEXICONS: WeakKeyDictionary[Words, Lexicon] = WeakKeyDictionary()
_LOCK = threading.Lock()


def _counts(text: bytes, known: Container[bytes], longest: int) -> list[int | None]:
    """The fewest known parts that make up each end of some bytes."""
    counts: list[int | None] = [None] * len(text) + [0]
    for begin in range(len(text) - 1, -1, -1):
        ends = range(begin + 1, min(len(text), begin + longest) + 1)
        found = (rest for end in ends if (rest := counts[end]) is not None and text[begin:end] in known)
        least = min(found, default=None)
        counts[begin] = None if least is None else least + 1
    return counts


def _cut(text: bytes, counts: Sequence[int | None], known: Container[bytes]) -> list[bytes] | None:
    """The fewest known parts that make up some bytes."""
    if counts[0] is None:
        return None
    parts, begin = [], 0
    while begin < len(text):
        left = cast("int", counts[begin]) - 1
        end = next(e for e in range(len(text), begin, -1) if counts[e] == left and text[begin:e] in known)
        parts.append(text[begin:end])
        begin = end
    return parts


class _Tokens:
    """Tokens as the engine wants to be told of them; what it must not use it takes for special."""

    bos_token_id = None

    def __init__(self, spelling: Sequence[bytes]) -> None:
        self.eos_token_id = len(spelling)
        self.special_token_ids = [id for id, text in enumerate(spelling) if not text] + [len(spelling)]
        self.tokens = [text or b"\xff<%d>" % id for id, text in enumerate(spelling)] + [b"\xff<end>"]

    def __call__(self, text: bytes) -> list[int]:
        raise AssertionError("grammars are compiled with no_forcing, and nothing is tokenized")


def _tokenizer(spelling: Sequence[bytes]) -> Any:
    llguidance = engine()
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Tokens(spelling)), n_vocab=len(spelling) + 1)
