"""How a text can be brought to an end: a short continuation after which a grammar is satisfied.

The engine says which tokens may follow, and not how far the end is. So ends are looked for: first by going straight for
closing marks, then the shortest texts first. What is found is proved by the engine, which followed it. That nothing shorter
was overlooked is not: of states that look alike only some are followed.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, compress, count
from typing import Any

import numpy as np

from aigc.sampling.constraints._engine import check
from aigc.sampling.constraints._lexicon import Lexicon

__all__ = ["Searching"]

_TRIES = 1_500  # states that a step may look at: some milliseconds
_TRIES_AT_FIRST = 60_000
_TURNS = 256
_FAR = 4096  # bytes: no closing is followed farther
_CLOSERS = b']},123456789"0'  # what ends a list, an object or a number; then a number; then a string
_CLASSES = (range(0x20), range(0x30, 0x3A), range(0x41, 0x5B), range(0x61, 0x7B), range(0x80, 0xC0), range(0xC0, 0x100))
_MANY = 8
_LONGER = 8  # bytes by which a closing of fewer tokens may be longer than the shortest


_Way = Callable[..., bytes | None]  # from the length that a closing must be below to one


class Searching:
    """A text of a grammar, with the closing that was found; a value.

    Args:
        lexicon: The tokens.
        matcher: Where the text stands, in the engine's tokenizer of atoms; never changed once it is here.
        closing: A continuation that completes it; None if none is known.
    """

    def __init__(self, lexicon: Lexicon, matcher: Any, closing: bytes | None = None) -> None:
        self._lexicon, self._matcher, self.closing = lexicon, matcher, closing

    def after(self, text: bytes) -> "Searching":
        """The text with more bytes; with the same closing where it still is one, else with one that is found soon."""
        matcher, closing = self._matcher.deep_copy(), self.closing
        matcher.consume_tokens(self._lexicon.split(text))
        check(matcher)
        if closing is not None and closing.startswith(text):
            closing = closing[len(text) :]
        elif closing is not None and not _follows(matcher, closing, self._lexicon):
            closing = None
        if closing is None:
            ways = Searching(self._lexicon, matcher)._soon()
            closing = next((found for way in ways if (found := way(_FAR)) is not None), None)
        return Searching(self._lexicon, matcher, closing)

    def within(self, most: int) -> "Searching":
        """The same text with a closing of at most so many tokens, or the shortest that is found."""
        best = self
        for way in chain(self._soon(), self._long(most)):
            if best.closing is not None and self._lexicon.fits(best.closing, most):
                break
            text = way(best._length)
            best = best if text is None else Searching(self._lexicon, self._matcher, text)
        return best

    def shortened(self) -> "Searching":
        """The same text with the closing that goes straight, if it is shorter."""
        text = _straight(self._matcher, self._lexicon, shorter=self._length, turns=_TURNS)
        return self if text is None else Searching(self._lexicon, self._matcher, text)

    def _soon(self) -> Iterator[_Way]:
        """The ways to a closing that are tried at any step."""
        yield lambda length: _straight(self._matcher, self._lexicon, shorter=length, turns=_TURNS)
        yield lambda length: _search(self._matcher, self._lexicon, None, shorter=length, tries=_TRIES)
        yield lambda length: _straight(self._matcher, self._lexicon, shorter=length, turns=_FAR)

    def _long(self, most: int) -> Iterator[_Way]:
        """The ways that are tried once, for a text that has no room."""
        fits = partial(self._lexicon.fits, most=most)
        for every in (False, True):
            yield lambda length, every=every: _search(
                self._matcher, self._lexicon, fits, shorter=length, tries=_TRIES_AT_FIRST, every=every
            )

    @property
    def _length(self) -> int:
        """Closings of so many bytes are not worth looking for."""
        return _FAR if self.closing is None else len(self.closing)


def _follows(matcher: Any, text: bytes, lexicon: Lexicon) -> bool:
    """Whether a text may follow, and satisfies the grammar then."""
    parts = lexicon.split(text)
    after = matcher.deep_copy()
    return parts is not None and bool(after.consume_tokens(parts)) and bool(after.is_accepting())


def _straight(matcher: Any, lexicon: Lexicon, *, shorter: int, turns: int) -> bytes | None:
    """The continuation that takes a closing mark at each of some turns: short for JSON, maybe none for other grammars."""
    matcher = matcher.deep_copy()
    text = _forced(matcher, lexicon)
    for _ in range(turns):
        if matcher.is_accepting() or len(text) >= shorter:
            return text if len(text) < shorter else None
        part = _closer(_allowed(matcher, lexicon), lexicon)
        if part is None:
            return None
        matcher.consume_token(part)
        text += lexicon.atoms[part] + _forced(matcher, lexicon)
    return None


def _search(
    matcher: Any, lexicon: Lexicon, fits: Callable[[bytes], bool] | None, *, shorter: int, tries: int, every: bool = False
) -> bytes | None:
    """Looks for a continuation that closes and fits, the shortest in bytes first; else returns the shortest that closes.

    Args:
        matcher: Where the text stands, in the engine's tokenizer of atoms.
        lexicon: The tokens.
        fits: Whether a continuation is short enough; None takes the first.
        shorter: How long one is known that does not fit, in bytes.
        tries: The most states to look at.
        every: Whether to try every byte, and not only a few of those that stand for many, as letters do in a string.
    """
    order, seen = count(), Counter[tuple[int, bytes]]()
    waiting = [(0, next(order), b"", matcher)]
    nearest: bytes | None = None
    while waiting:
        _, _, text, at = heapq.heappop(waiting)
        if at.is_accepting():
            if fits is None or fits(text):
                return text
            if nearest is None:
                nearest, shorter = text, min(shorter, len(text) + _LONGER)
            continue
        for part in _children(_allowed(at, lexicon), lexicon, every=every):
            tries -= 1
            if tries < 0:
                return nearest
            after = at.deep_copy()
            after.consume_token(part)
            grown = text + lexicon.atoms[part] + _forced(after, lexicon)
            # States of like length that allow the same are most often one state: a few of them are enough.
            key = len(grown), after.compute_bitmask() + bytes([after.is_accepting()])
            seen[key] += 1
            if len(grown) < shorter and seen[key] <= (_MANY if every else 2):
                heapq.heappush(waiting, (len(grown), next(order), grown, after))
    return nearest


def _allowed(matcher: Any, lexicon: Lexicon) -> bytes:
    """For each atom a byte, 1 if it may follow."""
    bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
    return bits[: len(lexicon.atoms)].tobytes()


def _forced(matcher: Any, lexicon: Lexicon) -> bytes:
    """Goes on as far as there is one way only, and returns what was written."""
    text: bytes = matcher.compute_ff_bytes()
    parts = lexicon.split(text) if text else None
    if not parts:
        return b""
    matcher.consume_tokens(parts)
    return text


def _closer(allowed: bytes, lexicon: Lexicon) -> int | None:
    """The atom that most likely closes something."""
    within = _first(b"z", allowed, lexicon) is not None  # most likely a string
    found = _first(b'"a' if within else _CLOSERS, allowed, lexicon)
    first = allowed.find(1)
    return found if found is not None else first if first >= 0 else None


def _first(wanted: bytes, allowed: bytes, lexicon: Lexicon) -> int | None:
    places = (lexicon.places.get(bytes([byte]), -1) for byte in wanted)
    return next((place for place in places if place >= 0 and allowed[place]), None)


def _children(allowed: bytes, lexicon: Lexicon, *, every: bool) -> list[int]:
    """The atoms to try: of a class of which many may follow, such as letters, the first two and the last."""
    parts = list(compress(range(len(allowed)), allowed))
    if every or len(parts) <= _MANY:
        return parts
    chosen: list[int] = []
    classes: dict[int, list[int]] = {}
    for part in parts:
        byte = lexicon.atoms[part][0]
        group = next((i for i, members in enumerate(_CLASSES) if byte in members), -1)
        if group < 0:
            chosen.append(part)
        else:
            classes.setdefault(group, []).append(part)
    for members in classes.values():
        chosen += members if len(members) <= _MANY else [*members[:2], members[-1]]
    return chosen
