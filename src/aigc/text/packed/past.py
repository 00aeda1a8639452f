"""Keys and values of prompts that were read, for prompts that begin alike: what a session keeps between calls.

Only whole blocks of a prompt are kept. They have the bits that reading them again would give (see `attention.py`), so a
text is the same with a past and without.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from aigc._checks import integer
from aigc.text.packed.slots import BLOCK, Slots

__all__ = ["Past"]


@dataclass(frozen=True, slots=True)
class _Read:
    """A prompt that was read: its ids, in whole blocks, and keys and values of each layer."""

    ids: tuple[int, ...]
    keys: list[Tensor]
    values: list[Tensor]


class Past:
    """Prompts that were read of late.

    Args:
        tokens: How many tokens to keep at most; the prompts that were used last stay.

    Attributes:
        read: How many prompt tokens were read.
        reused: How many were not, as they were kept.
    """

    def __init__(self, tokens: int) -> None:
        self._most = integer("tokens", tokens, low=BLOCK)
        self._kept: list[_Read] = []  # the last used last
        self._owner: object = None
        self.read = self.reused = 0

    @property
    def tokens(self) -> int:
        """How many tokens are kept."""
        return sum(len(read.ids) for read in self._kept)

    def belong(self, owner: object) -> None:
        """Forgets everything if it was read by another decoder, that is, by other weights."""
        if owner is not self._owner:
            self._owner = owner
            self._kept.clear()

    def recall(self, prompt: Sequence[int], slots: Slots, row: int) -> int:
        """Puts the longest beginning of a prompt that is kept into a row; returns its length. A token is always left."""
        shared = [_common(read.ids, prompt) for read in self._kept]
        longest = max(shared, default=0)
        length = min(longest, len(prompt) - 1) // BLOCK * BLOCK
        if length:
            read = self._kept.pop(shared.index(longest))
            self._kept.append(read)
            slots.restore(row, [keys[:, : length // BLOCK] for keys in read.keys], [v[:, :length] for v in read.values])
        self.reused, self.read = self.reused + length, self.read + len(prompt) - length
        return length

    def keep(self, prompt: Sequence[int], slots: Slots, row: int) -> None:
        """Keeps the whole blocks of a prompt that a row holds."""
        length = min(len(prompt), self._most) // BLOCK * BLOCK
        ids = tuple(prompt[:length])
        if not length or any(read.ids[:length] == ids for read in self._kept):
            return
        self._kept = [read for read in self._kept if ids[: len(read.ids)] != read.ids]  # not what it goes on from
        self._kept.append(_Read(ids, *slots.copy(row, length // BLOCK)))
        while self.tokens > self._most:
            self._kept.pop(0)

    def close(self) -> None:
        """Forgets everything, and keeps nothing from now on: a stream may still run."""
        self._most = 0
        self._kept = []


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
