r"""Regular expressions of Python: read by Python's own parser, and written in the engine's language.

The same texts match, to the character: classes such as \w are spelt out as Python understands them. What a finite automaton
cannot do is refused by name.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache

# Python's parser has no public name. It is the one definition of what a pattern means.
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from aigc._checks import fail, fail_type

__all__ = ["Class", "Either", "Node", "Row", "Times", "parsed", "written"]

Ranges = tuple[tuple[int, int], ...]


class Class(NamedTuple):
    """One character of some; ranges of code points, in order and apart."""

    ranges: Ranges


class Row(NamedTuple):
    """Parts, one after the other."""

    parts: "tuple[Node, ...]"


class Either(NamedTuple):
    """One of several."""

    ways: "tuple[Node, ...]"


class Times(NamedTuple):
    """A part several times; `high` None is any number."""

    low: int
    high: int | None
    part: "Node"


Node = Class | Row | Either | Times

_CURE = "Write it without: classes, groups, alternatives and repetitions can be followed."
_FLAGS = re.UNICODE | re.ASCII | re.VERBOSE | re.DOTALL
_NAMES = {
    c.ASSERT: "look-around",
    c.ASSERT_NOT: "look-around",
    c.GROUPREF: "references to groups",
    c.GROUPREF_EXISTS: "references to groups",
    c.ATOMIC_GROUP: "atomic groups",
    c.POSSESSIVE_REPEAT: "possessive repetitions",
    c.AT: "anchors and word boundaries within",
}
_SURROGATES = (0xD800, 0xDFFF)  # half a character cannot be written
# A text that ends in U+FFFD would lose it, as decoders take that for half a character; so no class has it but by name.
_UNWRITTEN = (_SURROGATES, (0xFFFD, 0xFFFD))
_LAST = sys.maxunicode


def parsed(pattern: object) -> Node:
    """Reads a pattern.

    Raises:
        ParameterError: If Python does not know it, or it needs more than a finite automaton.
    """
    if not isinstance(pattern, str):
        raise fail_type("regex", "a pattern, as a string", pattern)
    try:
        tree = _parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise fail("regex", "a pattern that Python knows", pattern, f"It says: {error}.") from error
    if tree.state.flags & ~_FLAGS:
        raise fail("regex", "without flags but a, s and x", pattern, "For either case write classes: [Yy]es.")
    return _Reader(pattern, tree.state.flags).sequence(tree, first=True, last=True)


def written(node: Node) -> str:
    """The pattern in the engine's language."""
    if isinstance(node, Class):
        ranges = "".join(f"\\x{{{low:X}}}-\\x{{{high:X}}}" for low, high in node.ranges)
        return f"[{ranges}]" if ranges else "[^\\x{0}-\\x{10FFFF}]"
    if isinstance(node, Row):
        return "".join(map(written, node.parts))
    if isinstance(node, Either):
        return f"(?:{'|'.join(map(written, node.ways))})"
    return f"(?:{written(node.part)}){{{node.low},{'' if node.high is None else node.high}}}"


class _Reader:
    def __init__(self, pattern: str, flags: int) -> None:
        self._pattern, self._ascii, self._all = pattern, bool(flags & re.ASCII), bool(flags & re.DOTALL)

    def sequence(self, items: Iterable[Any], *, first: bool, last: bool) -> Row:
        """Parts in a row; anchors say nothing where the whole text is matched, and are left out."""
        parts = list(items)
        while first and parts and parts[0] in [(c.AT, c.AT_BEGINNING), (c.AT, c.AT_BEGINNING_STRING)]:
            parts = parts[1:]
        while last and parts and parts[-1] in [(c.AT, c.AT_END), (c.AT, c.AT_END_STRING)]:
            parts = parts[:-1]
        end = len(parts) - 1
        made = (self._one(op, of, first=first and i == 0, last=last and i == end) for i, (op, of) in enumerate(parts))
        return Row(tuple(made))

    def _one(self, op: Any, of: Any, *, first: bool, last: bool) -> Node:
        if op in (c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN):
            return Class(self._class(op, of))
        if op is c.BRANCH:
            return Either(tuple(self.sequence(each, first=first, last=last) for each in of[1]))
        if op is c.SUBPATTERN and not (of[1] or of[2]):
            return self.sequence(of[3], first=first, last=last)
        if op in (c.MAX_REPEAT, c.MIN_REPEAT):  # how much is matched first makes no difference to what is
            low, high, body = of
            part = self.sequence(body, first=False, last=False)
            return Times(int(low), None if high is c.MAXREPEAT else int(high), part)
        name = _NAMES.get(op, "flags within groups" if op is c.SUBPATTERN else str(op).lower())
        raise fail("regex", f"without {name}", self._pattern, _CURE)

    def _class(self, op: Any, of: Any) -> Ranges:
        if op is c.LITERAL:
            return _merged([(of, of)])
        if op is c.NOT_LITERAL:
            return _without([(of, of), *_UNWRITTEN])
        if op is c.ANY:
            return _without(_UNWRITTEN if self._all else [(10, 10), *_UNWRITTEN])
        negated = of[0] == (c.NEGATE, None)
        found = [part for kind, value in of[negated:] for part in self._member(kind, value)]
        return _without([*found, *_UNWRITTEN]) if negated else _merged(found)

    def _member(self, kind: Any, value: Any) -> Ranges:
        if kind is c.LITERAL:
            return ((value, value),)
        if kind is c.RANGE:
            return ((int(value[0]), int(value[1])),)
        name = str(value).removeprefix("CATEGORY_")
        found = _category(name.removeprefix("NOT_"), self._ascii)
        return _without([*found, *_UNWRITTEN]) if name.startswith("NOT_") else found


@lru_cache(maxsize=8)
def _category(name: str, ascii: bool) -> Ranges:
    r"""What \d, \s and \w match."""
    match = re.compile({"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}[name], re.ASCII if ascii else 0).match
    return _merged([(code, code) for code in range(128 if ascii else _LAST + 1) if match(chr(code))])


def _without(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """Every character but some."""
    found, begin = [], 0
    for low, high in sorted(ranges):
        if low > begin:
            found.append((begin, low - 1))
        begin = max(begin, high + 1)
    return (*found, (begin, _LAST)) if begin <= _LAST else tuple(found)


def _merged(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """The same characters, in order, without surrogates."""
    return _without([*_without(ranges), _SURROGATES])
