"""Where a constrained text stands: what may follow, and how it can be closed. A value: a token leads to another one."""

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aigc.sampling.constraints._engine import check
from aigc.sampling.constraints._lexicon import Lexicon

__all__ = ["Closer", "Following", "Reading", "Selecting"]


class Reading(Protocol):
    """A text so far, with a way to complete it. A value: the same steps lead to the same, whatever was asked before."""

    @property
    def complete(self) -> bool:
        """Whether the text satisfies the constraint as it is."""
        ...

    @property
    def closing(self) -> bytes | None:
        """A continuation that completes the text; None if none is known."""
        ...

    def allowed(self) -> NDArray[np.bool_] | list[int]:
        """The tokens that may follow: a mask of all that are spelt, or ids."""
        ...

    def after(self, token: int) -> "Reading":
        """The text with a token that was allowed, and with a closing if one is found soon."""
        ...

    def within(self, most: int) -> "Reading":
        """The same text with such a closing, if one is found with patience; else with the shortest found."""
        ...

    def shortened(self) -> "Reading":
        """The same text with a shorter closing, if one is found."""
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

    @property
    def closing(self) -> bytes | None:
        """The rest of the fewest tokens."""
        spelt = {rest: counts[0] for rest, counts in self._rests.items() if counts[0] is not None}
        return min(spelt, key=spelt.__getitem__, default=None)

    def allowed(self) -> list[int]:
        """The tokens that begin a rest which can be spelt to its end."""
        ids, rests = self._lexicon.ids, self._rests.items()
        ways = [rest[:end] for rest, counts in rests for end in range(1, len(counts)) if counts[end] is not None]
        return [id for text in dict.fromkeys(ways) for id in ids.get(text, ())]

    def after(self, token: int) -> "Selecting":
        """The text with one more token."""
        text = self._lexicon.spelling[token]
        return Selecting(self._lexicon, [rest[len(text) :] for rest in self._rests if rest.startswith(text)])

    def within(self, most: int) -> "Selecting":
        """Its closing is the shortest."""
        del most
        return self

    def shortened(self) -> "Selecting":
        """Its closing is the shortest."""
        return self


class Closer(Protocol):
    """How the text of a grammar can be closed; a value."""

    @property
    def closing(self) -> bytes | None:
        """As for `Reading`."""
        ...

    def after(self, text: bytes) -> "Closer":
        """As for `Reading`, of bytes."""
        ...

    def within(self, most: int) -> "Closer":
        """As for `Reading`."""
        ...

    def shortened(self) -> "Closer":
        """As for `Reading`."""
        ...


class Following:
    """A text that follows a grammar, as the engine reads it.

    Args:
        lexicon: The tokens.
        matcher: The engine's; never changed once it is here.
        closer: The way to its end.
    """

    def __init__(self, lexicon: Lexicon, matcher: Any, closer: Closer) -> None:
        self._lexicon, self._matcher, self._closer = lexicon, matcher, closer

    @property
    def complete(self) -> bool:
        """Whether the text satisfies the grammar."""
        return bool(self._matcher.is_accepting())

    @property
    def closing(self) -> bytes | None:
        """A continuation that completes the text; None if none is known."""
        return self._closer.closing

    def allowed(self) -> NDArray[np.bool_]:
        """The mask of the engine."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        check(self._matcher)
        return np.unpackbits(bits, bitorder="little")[: len(self._lexicon.spelling)].view(np.bool_)

    def after(self, token: int) -> "Following":
        """The text with one more token."""
        matcher = self._matcher.deep_copy()
        matcher.consume_token(token)
        check(matcher)
        return Following(self._lexicon, matcher, self._closer.after(self._lexicon.spelling[token]))

    def within(self, most: int) -> "Following":
        """The same text with a closing of at most so many tokens, or the shortest that is found."""
        return Following(self._lexicon, self._matcher, self._closer.within(most))

    def shortened(self) -> "Following":
        """The same text with a shorter closing, if one is found."""
        return Following(self._lexicon, self._matcher, self._closer.shortened())
