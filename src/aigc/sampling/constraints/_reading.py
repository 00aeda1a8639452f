"""Where a constrained text stands: what may follow, and how it can be closed. A value: a token leads to another one."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aigc.errors import GenerationError
from aigc.sampling.constraints import _closing
from aigc.sampling.constraints._engine import reason
from aigc.sampling.constraints._lexicon import Lexicon

__all__ = ["Following", "Reading", "Selecting"]

_TRIES = 1_500  # states that a step may look at for a closing: some milliseconds
_TRIES_AT_FIRST = 60_000
_TURNS = 64
_FAR = 4096  # bytes: no closing is followed farther


class Reading(Protocol):
    """A text so far."""

    @property
    def complete(self) -> bool:
        """Whether the text satisfies the constraint as it is."""
        ...

    def allowed(self) -> NDArray[np.bool_] | list[int]:
        """The tokens that may follow: a mask of all that are spelt, or ids."""
        ...

    def after(self, token: int) -> "Reading":
        """The text with a token that was allowed."""
        ...

    def closing(self, most: int, *, patient: bool = False) -> bytes | None:
        """A continuation that completes the text, of at most so many tokens if one is found; None if none is."""
        ...

    def shorten(self) -> None:
        """Looks for a shorter one, now that tokens are few."""
        ...


class Selecting:
    """A text that is to be one of several: exact, and without an engine.

    Args:
        lexicon: The tokens.
        rests: How each of those goes on that begin like the text.
    """

    def __init__(self, lexicon: Lexicon, rests: Iterable[bytes]) -> None:
        self._lexicon = lexicon
        self._rests = {rest: lexicon.counts(rest) for rest in rests}

    @property
    def complete(self) -> bool:
        """Whether the text is one of them."""
        return b"" in self._rests

    def allowed(self) -> list[int]:
        """The tokens that begin a rest which can be spelt to its end."""
        ids, rests = self._lexicon.ids, self._rests.items()
        ways = [rest[:end] for rest, counts in rests for end in range(1, len(counts)) if counts[end] is not None]
        return [id for text in dict.fromkeys(ways) for id in ids.get(text, ())]

    def after(self, token: int) -> "Selecting":
        """The text with one more token."""
        text = self._lexicon.spelling[token]
        return Selecting(self._lexicon, [rest[len(text) :] for rest in self._rests if rest.startswith(text)])

    def closing(self, most: int, *, patient: bool = False) -> bytes | None:
        """The rest of the fewest tokens."""
        del most, patient
        spelt = {rest: counts[0] for rest, counts in self._rests.items() if counts[0] is not None}
        return min(spelt, key=spelt.__getitem__, default=None)

    def shorten(self) -> None:
        """There is none."""


class Following:
    """A text that follows a grammar, as the engine reads it.

    Two matchers read the same text: that of the whole vocabulary says what may follow, and in that of the atoms closings
    are looked for. Neither is changed once it is here.

    Args:
        lexicon: The tokens.
        whole: The matcher of all tokens.
        small: The matcher of the atoms.
        known: A continuation that completes the text; None if none is known.
    """

    def __init__(self, lexicon: Lexicon, whole: Any, small: Any, known: bytes | None = None) -> None:
        self._lexicon, self._whole, self._small = lexicon, whole, small
        self._known = known

    @property
    def complete(self) -> bool:
        """Whether the text satisfies the grammar."""
        return bool(self._small.is_accepting())

    def allowed(self) -> NDArray[np.bool_]:
        """The mask of the engine."""
        bits = np.frombuffer(self._whole.compute_bitmask(), dtype=np.uint8)
        _check(self._whole)
        return np.unpackbits(bits, bitorder="little")[: len(self._lexicon.spelling)].view(np.bool_)

    def after(self, token: int) -> "Following":
        """The text with one more token."""
        text = self._lexicon.spelling[token]
        whole, small = self._whole.deep_copy(), self._small.deep_copy()
        whole.consume_token(token)
        small.consume_tokens(self._lexicon.split(text))
        _check(whole)
        _check(small)
        known = self._known
        if known is not None and known.startswith(text):
            known = known[len(text) :]
        elif known is not None and not _closing.follows(small, known, self._lexicon):
            known = None
        return Following(self._lexicon, whole, small, known)

    def closing(self, most: int, *, patient: bool = False) -> bytes | None:
        """The continuation that is known, or a shorter one where that is too long."""

        def fits(text: bytes) -> bool:
            return self._lexicon.fits(text, most)

        if self._known is not None and fits(self._known):
            return self._known
        for way in self._ways(fits, patient=patient):
            self._learn(way())
            if self._known is not None and fits(self._known):
                break
        return self._known

    def shorten(self) -> None:
        """Looks for a shorter one than is known."""
        self._learn(_closing.search(self._small, self._lexicon, lambda text: True, shorter=self._length, tries=_TRIES))

    def _learn(self, text: bytes | None) -> None:
        if text is not None and len(text) < self._length:
            self._known = text

    def _ways(self, fits: Callable[[bytes], bool], *, patient: bool) -> Iterator[Callable[[], bytes | None]]:
        """How a closing is looked for, the cheapest first."""
        small, lexicon = self._small, self._lexicon
        yield lambda: _closing.straight(small, lexicon, shorter=self._length, turns=_TURNS)
        if patient or self._known is None:
            yield lambda: _closing.search(small, lexicon, fits, shorter=self._length, tries=_TRIES)
        if self._known is None:
            yield lambda: _closing.straight(small, lexicon, shorter=self._length, turns=_FAR)
        if patient:
            yield lambda: _closing.search(small, lexicon, fits, shorter=self._length, tries=_TRIES_AT_FIRST)
            yield lambda: _closing.search(small, lexicon, fits, shorter=self._length, tries=_TRIES_AT_FIRST, every=True)

    @property
    def _length(self) -> int:
        """How long a closing that is worth to be looked for may not be."""
        return _FAR if self._known is None else len(self._known)


def _check(matcher: Any) -> None:
    if matcher.is_error():
        raise GenerationError(f"the engine of constraints gave up: {reason(matcher)}. Simplify the schema or the grammar.")
