"""How a text is cut into the units that are counted, for English and Chinese alike."""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from aigc._checks import fail, fail_type, function

__all__ = ["GIVEN", "Tokenize", "Units", "check_texts", "count_units", "in_units", "rule_of", "spans", "units_of", "words"]

Units = Sequence[Hashable]
Tokenize = Callable[[str], Sequence[Hashable]]
GIVEN = "given"  # the rule of texts that were units already

_CUTS = "a function from a string to a sequence of its units"

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
        ParameterError: If there are too few, or all are empty; or if units cannot be told apart, since they have no hash.

    Example:
        >>> count_units(["a b a", [7, 7]], words)
        [[0, 1, 0], [2, 2]]
    """
    check_texts(texts, tokenize, least=least)
    numbers: dict[Hashable, int] = {}
    found = []
    for i, text in enumerate(texts):
        units = units_of(f"texts[{i}]", text, tokenize)
        try:
            found.append([numbers.setdefault(unit, len(numbers)) for unit in units])
        except TypeError:
            raise fail_type(f"texts[{i}]", "of units that have a hash, such as strings or ids", units) from None
    if not numbers:
        raise fail("texts", "of at least one unit", f"{len(texts)} texts without any", "Leave empty texts out.")
    return found


def check_texts(texts: Sequence[str | Units], tokenize: Tokenize, *, least: int = 1) -> None:
    """Checks what is measured, and by what it is cut.

    Example:
        >>> check_texts(["a b", [7, 7]], words)
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        raise fail_type("texts", "a sequence of strings, or of sequences of units", texts, "Put one text into a list.")
    if len(texts) < least:
        raise fail("texts", f"at least {least}", len(texts), "Give more texts.")
    if tokenize is None:
        raise fail_type("tokenize", _CUTS, tokenize)
    function("tokenize", tokenize, _CUTS)


def units_of(name: str, text: str | Units, tokenize: Tokenize) -> Units:
    """The units of a text.

    Example:
        >>> units_of("texts[0]", "a b", words), units_of("texts[1]", [7, 7], words)
        (['a', 'b'], [7, 7])
    """
    if isinstance(text, bytes) or not isinstance(text, Sequence):
        cure = "Decode bytes; call x.tolist() on a tensor of ids."
        raise fail_type(name, "a string or a sequence of units", text, cure)
    found: Any = tokenize(text) if isinstance(text, str) else text
    if isinstance(found, Iterable) and not isinstance(found, Sequence):
        found = list(found)
    if not isinstance(found, Sequence):
        raise fail_type("tokenize", _CUTS, found, "That is what it returned.")
    return found


def rule_of(texts: Sequence[str | Units], tokenize: Tokenize) -> str:
    """How texts were cut: the name of the function, or "given" of those that were units already.

    Example:
        >>> rule_of(["a b"], words), rule_of([[7, 7]], words), rule_of(["a b", [7, 7]], words)
        ('words', 'given', 'words or given')
    """
    name = str(getattr(tokenize, "__name__", type(tokenize).__name__))
    cut = {isinstance(text, str) for text in texts}
    return {frozenset([True]): name, frozenset([False]): GIVEN}.get(frozenset(cut), f"{name} or {GIVEN}")


def in_units(count: int, rule: str) -> str:
    """How many units there are, and how they were cut.

    Example:
        >>> in_units(1_000, "words"), in_units(7, "given")
        ('1,000 units by words', '7 units as given')
    """
    return f"{count:,} units {'as' if rule == GIVEN else 'by'} {rule}"


def _string(name: str, text: object) -> str:
    if not isinstance(text, str):
        raise fail_type(name, "a string", text)
    return text
