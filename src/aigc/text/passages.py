"""Passages of real text: an opening that a model goes on from, and what really came next."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from aigc._checks import fail
from aigc.metrics.text import spans

__all__ = ["Passage", "cut", "passages"]


class Passage(NamedTuple):
    """A piece of a text.

    Attributes:
        text: Which one.
        opening: Its beginning.
        rest: What follows.
    """

    text: int
    opening: str
    rest: str


def passages(texts: Sequence[str], *, count: int, opening: int, reach: int) -> list[Passage]:
    """Cuts texts into passages, and takes some that lie evenly over all of them.

    Each text is cut into passages of `opening + reach` units (words, characters of Chinese, marks), one after the other; of
    one shorter than twice the opening, half is the opening.

    Args:
        texts: Real ones.
        count: How many are wanted at most.
        opening: Units of an opening.
        reach: Units after it.

    Raises:
        ParameterError: If no text has two units.

    >>> passages(["a b c d e f", "g"], count=5, opening=1, reach=2)
    [Passage(text=0, opening='a', rest=' b c'), Passage(text=0, opening='d', rest=' e f')]
    """
    found = [passage for i, text in enumerate(texts) for passage in _of(i, text, opening, reach)]
    if not found:
        raise fail("texts", "one of at least 2 words", f"{len(texts)} shorter ones", "Give longer texts.")
    chosen = min(count, len(found))
    return [found[i * len(found) // chosen] for i in range(chosen)]


def _of(i: int, text: str, opening: int, reach: int) -> list[Passage]:
    places, found = spans(text), []
    for first in range(0, len(places), opening + reach):
        units = places[first : first + opening + reach]
        if len(units) < 2:
            break
        middle = units[min(opening, len(units) // 2) - 1][1]
        found.append(Passage(i, text[units[0][0] : middle], text[middle : units[-1][1]]))
    return found


def cut(text: str, most: int, size: Callable[[str], int]) -> str:
    """The longest beginning of whole units whose size is at most some, by halving; `size` grows with the text.

    >>> cut("one two three", 7, len)
    'one two'
    """
    if size(text) <= most:
        return text
    ends = [0, *(end for _, end in spans(text))]
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(text[: ends[middle]]) <= most else (low, middle - 1)
    return text[: ends[low]]
