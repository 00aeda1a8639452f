"""What a sampler may ask about the words behind token ids: which end a text, and how each is spelt."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, cast

__all__ = ["Words", "bind", "within"]

T = TypeVar("T")


class Words(Protocol):
    """A tokenizer, as far as samplers need one."""

    @property
    def size(self) -> int:
        """How many logits a row has; ids from `len(spelling)` on are padding."""
        ...

    @property
    def ends(self) -> frozenset[int]:
        """The ids that end a text."""
        ...

    @property
    def spelling(self) -> Sequence[bytes]:
        """The bytes that each token adds to a text; empty for special tokens."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        ...


def bind(value: T, words: Words) -> T:
    """Gives a filter or sampler the words that it works on: whatever has a method `bind(words)` is replaced by its result.

    `Generator` binds the samplers of a call to its tokenizer, so that `MinTokens(20)` knows what ends a text.

    Example:
        >>> from aigc.sampling import TopK
        >>> bind(TopK(3), words=None)
        TopK(3)
    """
    found: Any = value
    return cast("T", found.bind(words)) if hasattr(found, "bind") else value


def within(value: T, limits: Sequence[int]) -> T:
    """Tells a filter or sampler how many tokens each row may write: for what has a method `within(limits)`.

    Example:
        >>> from aigc.sampling import TopK
        >>> within(TopK(3), limits=[128])
        TopK(3)
    """
    found: Any = value
    return cast("T", found.within(limits)) if hasattr(found, "within") else value
