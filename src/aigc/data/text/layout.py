"""Steps of cleaning that undo a layout: hyphens and line ends of a fixed width, and what a publisher put around a text."""

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise

from aigc._checks import fail, fail_type, integer

__all__ = ["JoinHyphens", "JoinLines", "RemoveBoilerplate"]

_BROKEN = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_])")
_COMPOUND = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)+")
_BEFORE, _AFTER = re.compile(r"[^\W\d_]+\Z"), re.compile(r"[^\W\d_]+")
_LONGEST_WORD = 60
_NEW = tuple(" \t\u3000#>|*-+=•·")  # what begins a line that begins something of its own: an indent, a list, a heading


@dataclass(frozen=True, slots=True)
class JoinHyphens:
    r"""Joins words that were broken at a line end, where a small letter follows.

    The hyphen goes, unless the same text has the word with its hyphen within a line: then it is a compound, and only the
    line end goes.

    Example:
        >>> print(JoinHyphens()("A well-known exam-\nple of the well-\nknown."))
        A well-known example of the well-known.
    """

    def __call__(self, text: str, /) -> str:
        """The text, cleaned."""
        if "-\n" not in text:
            return text
        compounds = {found[0].lower() for found in _COMPOUND.finditer(text)}

        def joined(found: re.Match[str]) -> str:
            after = _AFTER.match(text, found.end(), found.end() + _LONGEST_WORD)
            before = _BEFORE.search(text[max(0, found.start() - _LONGEST_WORD) : found.start()])
            if after is None or before is None or not after[0][0].islower():
                return found[0]
            return "-" if f"{before[0]}-{after[0]}".lower() in compounds else ""

        return _BROKEN.sub(joined, text)


@dataclass(frozen=True, slots=True)
class JoinLines:
    r"""Joins lines that were broken because the next word would not have fitted, so that a paragraph is a line.

    A line of at most `width` columns is joined with the next if it, a space, and the first word of the next have more.
    Verse, lists, indented and blank lines stay as they are, since their lines end before they have to. Between Chinese or
    Japanese characters, each of which counts as a word and has two columns, no space is put.

    Args:
        width: Columns of the layout: those of its longest line.

    Example:
        >>> print(JoinLines(16)("It was the best\nof times, it was\nthe worst.\n\nTo be\nor not."))
        It was the best of times, it was the worst.
        <BLANKLINE>
        To be
        or not.
    """

    width: int

    def __post_init__(self) -> None:
        integer("width", self.width, low=8)

    def __call__(self, text: str, /) -> str:
        """The text, cleaned."""
        lines = text.split("\n")
        made = [lines[0]]
        for last, line in pairwise(lines):
            if self._goes_on(last, line):
                made.append(("" if _solid(last[-1]) or _solid(line[0]) else " ") + line)
            else:
                made.append("\n" + line)
        return "".join(made)

    def _goes_on(self, last: str, line: str) -> bool:
        if not line.strip() or line.startswith(_NEW) or not last.strip() or last[-1].isspace() or line[0].isspace():
            return False
        have = _columns(last, self.width + 1)
        if have > self.width:
            return False
        gap = 0 if _solid(last[-1]) or _solid(line[0]) else 1
        return have + gap + _columns(_first(line, self.width), self.width + 1) > self.width


@dataclass(frozen=True, slots=True)
class RemoveBoilerplate:
    r"""Removes what stands around the texts of a file, up to a line that begins one and from the line that ends it.

    Of several texts each is kept. Without such lines nothing changes.

    Args:
        begin: A regular expression that a line matches somewhere; the default is that of Project Gutenberg.
        end: Likewise.

    Example:
        >>> begin, end = (f"*** {word} OF THE PROJECT GUTENBERG EBOOK X ***" for word in ("START", "END"))
        >>> print(RemoveBoilerplate()(f"Produced by A.\n{begin}\nText\n{end}\nLicence"))
        Text
    """

    begin: str = (
        r"(?i)^\*{2,} ?START OF (THE|THIS) PROJECT GUTENBERG|^\*END\*? ?THE SMALL PRINT|^\*\*\* ?START\*\*THE SMALL PRINT"
    )
    end: str = r"(?i)^\*{2,} ?END OF (THE|THIS) PROJECT GUTENBERG|^End of (the )?Project Gutenberg"

    def __post_init__(self) -> None:
        for name in ("begin", "end"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise fail_type(name, "a regular expression", value)
            try:
                re.compile(value)
            except re.error as error:
                raise fail(name, "a regular expression", value, f"It cannot be read: {error}.") from error

    def __call__(self, text: str, /) -> str:
        """The text, cleaned."""
        begin, end = re.compile(self.begin), re.compile(self.end)
        kept: list[str] = []
        inside, marked, first = True, False, True
        for line in text.split("\n"):
            if begin.search(line):
                # Before the first mark of a beginning nothing belongs to a text, if no end came before it.
                kept = [] if first else kept
                inside, marked, first = True, True, False
            elif end.search(line):
                inside, marked, first = False, True, False
            elif inside:
                kept.append(line)
        return "\n".join(kept) if marked else text


def _wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _solid(character: str) -> bool:
    """Whether lines break beside a character without a space: Chinese and Japanese, but neither Korean nor emoji."""
    hangul = "\u1100" <= character <= "\u11ff" or "\u3130" <= character <= "\u318f" or "\uac00" <= character <= "\ud7af"
    return _wide(character) and not hangul and unicodedata.category(character)[0] in "LP"


def _columns(text: str, most: int) -> int:
    """Columns of a text, of which no more than some matter."""
    if len(text) >= most or text.isascii():
        return len(text)
    return sum(1 + _wide(character) for character in text)


def _first(line: str, most: int) -> str:
    """The part of a line that cannot be broken, as far as it matters."""
    for at, character in enumerate(line[: most + 1]):
        if character.isspace() or (at and _solid(character)):
            return line[:at]
        if _solid(character):
            return character
    return line[: most + 1]
