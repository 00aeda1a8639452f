r"""Steps of cleaning: each does one thing to a text, can be left out, and changes nothing when it is done again.

A step is a callable from a text to a text, or to None, which drops the document; a function of yours is one too.
layout.py has those for lines, markup.py that for HTML.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, Protocol

from aigc._checks import fail, integer

__all__ = [
    "STANDARD",
    "BlankLines",
    "DropShort",
    "LineEndings",
    "Normalise",
    "RemoveControls",
    "RemoveInvisible",
    "Step",
    "TrailingSpace",
]

Form = Literal["NFC", "NFKC"]


class Step(Protocol):
    """Cleans a text."""

    def __call__(self, text: str, /) -> str | None:
        """The text without what the step removes; None drops the document."""
        ...


@dataclass(frozen=True, slots=True)
class Normalise:
    """Brings a text to a normal form of Unicode (Unicode Standard Annex 15), so that equal characters are equal codes.

    Args:
        form: `"NFC"` composes letters and their marks. `"NFKC"` also makes full-width letters and punctuation half-width,
            ligatures letters, and superscripts digits: Chinese text loses its own commas and exclamation marks.

    Example:
        >>> Normalise()("cafe\u0301"), Normalise("NFKC")("ＡＢＣ，")
        ('café', 'ABC,')
    """

    form: Form = "NFC"

    def __post_init__(self) -> None:
        if self.form not in ("NFC", "NFKC"):
            raise fail("form", "'NFC' or 'NFKC'", self.form)

    def __call__(self, text: str, /) -> str:
        """The text, cleaned."""
        return unicodedata.normalize(self.form, text)


@dataclass(frozen=True, slots=True)
class RemoveControls:
    r"""Removes control characters (general category Cc), but for the tabulator and those that end a line or a page.

    Example:
        >>> RemoveControls()("a\x00b\x1b[31mc\td\n")
        'ab[31mc\td\n'
    """

    def __call__(self, text: str, /) -> str:
        """The text, cleaned."""
        return _CONTROLS.sub("", text)


@dataclass(frozen=True, slots=True)
class RemoveInvisible:
    r"""Removes what has no width: byte order marks, zero-width spaces, word joiners and soft hyphens.

    Joiners that emoji, Persian and Indic scripts need are kept, and so are marks of direction.

    Example:
        >>> RemoveInvisible()("\ufeff静\u200b夜思, ex\u00adample")
        '静夜思, example'
    """

    def __call__(self, text: str, /) -> str:
        """The text, cleaned."""
        return _INVISIBLE.sub("", text)


@dataclass(frozen=True, slots=True)
class LineEndings:
    r"""Makes every end of a line or page a line feed: CR LF, CR, VT, FF, NEL, and the separators U+2028 and U+2029.

    Example:
        >>> LineEndings()("a\r\nb\rc\u2028d")
        'a\nb\nc\nd'
    """

    def __call__(self, text: str, /) -> str:
        """The text, cleaned."""
        return _ENDINGS.sub("\n", text)


@dataclass(frozen=True, slots=True)
class TrailingSpace:
    r"""Removes white space before the end of each line; what begins a line, as ideographic spaces do, is kept.

    Example:
        >>> TrailingSpace()("a  \n\u3000\u3000床前\t\n")
        'a\n\u3000\u3000床前\n'
    """

    def __call__(self, text: str, /) -> str:
        """The text, cleaned."""
        return "\n".join(line.rstrip() for line in text.split("\n"))


@dataclass(frozen=True, slots=True)
class BlankLines:
    r"""Keeps at most some blank lines in a row, and none at the beginning and the end of a document.

    Args:
        most: How many, at least 0.

    Example:
        >>> BlankLines(1)("\n\na\n\n\n\nb\n\n")
        'a\n\nb\n'
    """

    most: int = 1

    def __post_init__(self) -> None:
        integer("most", self.most, low=0)

    def __call__(self, text: str, /) -> str:
        """The text, cleaned."""
        kept: list[str] = []
        run = self.most  # of blank lines: none is wanted at the beginning
        lines = text.split("\n")
        ended = lines[-1] == "" and len(lines) > 1
        for line in lines:
            blank = not line or line.isspace()
            run = run + 1 if blank else 0
            if run <= self.most:
                kept.append(line)
        while kept and (not kept[-1] or kept[-1].isspace()):
            kept.pop()
        return "\n".join(kept) + ("\n" if kept and ended else "")


@dataclass(frozen=True, slots=True)
class DropShort:
    """Drops documents of fewer characters, white space around them not counted.

    Args:
        characters: At least 1.

    Example:
        >>> DropShort(3)("静夜思"), DropShort(4)("静夜思 ")
        ('静夜思', None)
    """

    characters: int

    def __post_init__(self) -> None:
        integer("characters", self.characters, low=1)

    def __call__(self, text: str, /) -> str | None:
        """The text, cleaned."""
        return text if len(text.strip()) >= self.characters else None


STANDARD: tuple[Step, ...] = (
    RemoveInvisible(),
    RemoveControls(),
    LineEndings(),
    Normalise(),
    TrailingSpace(),
    BlankLines(),
)
"""What harms no text: the order matters, since marks meet their letters when what stands between them is gone."""

_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
_ENDINGS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
