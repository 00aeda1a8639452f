"""How a text is cut into the units that are counted, for English and Chinese alike."""

import re
from collections.abc import Callable, Hashable, Iterator, Sequence

from aigc._checks import fail, fail_type

__all__ = ["Tokenize", "Units", "count_units", "spans", "words"]

Units = Sequence[Hashable]
Tokenize = Callable[[str], Sequence[Hashable]]

# Han with its iteration mark and zero, then kana: scripts without spaces, of which each character is a unit.
_SINGLE = (
    "\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_LETTER = rf"(?:(?![{_SINGLE}])[\w\u0300-\u036f])"
_UNIT = re.compile(rf"[{_SINGLE}]|{_LETTER}+(?:['\u2019-]{_LETTER}+)*|\S")


def words(text: str) -> list[str]:
    """Cuts a text into units: characters of Chinese, words of what has spaces, and marks.

    Each character of Han or kana is a unit; other letters, digits, combining marks and underscores that stand together are
    one, with apostrophes and hyphens between them; any other character that is not a space is a unit by itself. Case is
    kept. Nothing is lost but spaces.

    Example:
        >>> words("It's well-known: 床前明月光。")
        ["It's", 'well-known', ':', '床', '前', '明', '月', '光', '。']
    """
    return _UNIT.findall(_string("text", text))


def spans(text: str) -> list[tuple[int, int]]:
    """Where each unit of `words` begins and ends.

    Example:
        >>> spans("a 月光")
        [(0, 1), (2, 3), (3, 4)]
    """
    return [match.span() for match in _UNIT.finditer(_string("text", text))]


def count_units(texts: Sequence[str | Units], tokenize: Tokenize, *, least: int = 1) -> list[list[int]]:
    """Cuts texts into units, and numbers these as they come; sequences that are no strings are taken as units already.

    Args:
        texts: At least `least`.
        tokenize: From a string to its units.
        least: How many texts are needed.

    Raises:
        ParameterError: If there are too few, or all are empty.

    Example:
        >>> count_units(["a b a", [7, 7]], words)
        [[0, 1, 0], [2, 2]]
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        raise fail_type("texts", "a sequence of strings, or of sequences of units", texts, "Put one text into a list.")
    if len(texts) < least:
        raise fail("texts", f"at least {least}", len(texts), "Give more texts.")
    numbers: dict[Hashable, int] = {}
    found = []
    for i, text in enumerate(texts):
        found.append([numbers.setdefault(unit, len(numbers)) for unit in _cut(f"texts[{i}]", text, tokenize)])
    if not numbers:
        raise fail("texts", "of at least one unit", f"{len(texts)} texts without any", "Leave empty texts out.")
    return found


def _cut(name: str, text: str | Units, tokenize: Tokenize) -> Iterator[Hashable]:
    if isinstance(text, bytes) or not isinstance(text, Sequence):
        cure = "Decode bytes; call x.tolist() on a tensor of ids."
        raise fail_type(name, "a string or a sequence of units", text, cure)
    return iter(tokenize(text) if isinstance(text, str) else text)


def _string(name: str, text: object) -> str:
    if not isinstance(text, str):
        raise fail_type(name, "a string", text)
    return text
