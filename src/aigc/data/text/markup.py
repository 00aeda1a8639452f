r"""A step of cleaning that leaves the text of HTML."""

import html
import re
from dataclasses import dataclass

__all__ = ["RemoveHtml"]

_BLOCKS = (
    "address article aside blockquote body br caption center dd details div dl dt fieldset figcaption figure footer form "
)
_BLOCKS += (
    "h1 h2 h3 h4 h5 h6 head header hr html legend li main nav ol option p pre section summary table tbody td tfoot th "
)
_BLOCKS += "thead title tr ul"
_INLINE = (
    "a abbr acronym audio b base bdi bdo big button canvas cite code col colgroup data datalist del dfn dialog em embed "
)
_INLINE += (
    "font i iframe img input ins kbd label link map mark meta meter nobr noscript object optgroup output param picture "
)
_INLINE += (
    "progress q rp rt ruby s samp script select small source span strike strong style sub sup svg template textarea time "
)
_INLINE += "track tt u var video wbr"
_NAMES = "|".join(sorted([*_BLOCKS.split(), *_INLINE.split()], key=len, reverse=True))
_BARE = "allowfullscreen|async|autoplay|checked|controls|defer|disabled|hidden|loop|multiple|muted|nowrap|readonly|required"
_BARE += "|selected"
_ATTRIBUTE = rf"""[\w:.-]++\s*+=\s*+(?:"[^"<>]*+"|'[^'<>]*+'|[^\s"'<>=]++)|(?:{_BARE})\b"""
_TAG = re.compile(rf"<(/?)({_NAMES})((?:\s++(?:{_ATTRIBUTE}))*+)\s*+/?>|<!DOCTYPE[^<>]*+>", re.IGNORECASE)
_HIDDEN = re.compile(r"<(script|style)\b[^<>]*+>|<!--", re.IGNORECASE)
_CLOSE = {name: re.compile(rf"</{name}[^<>]*+>", re.IGNORECASE) for name in ("script", "style")} | {"": re.compile("-->")}
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_AMPERSANDS = re.compile(r"&(?:(?:amp|AMP|#0{0,5}38|#[xX]0{0,4}26);)++")
_BLOCK_NAMES = frozenset(_BLOCKS.split())


@dataclass(frozen=True, slots=True)
class RemoveHtml:
    r"""Removes tags, comments, scripts and styles of HTML, and makes entities what they stand for, until none is left.

    Tags of blocks become a line end, others nothing. Only names of HTML's own elements, with attributes as HTML writes
    them, make a tag, so that `a < b` and `x <y and z> w` are kept; so is an entity without its semicolon.

    Example:
        >>> RemoveHtml()("<p>Fish &amp; <b>chips</b></p><script>x</script>, if a &lt; b")
        '\nFish & chips\n, if a < b'
    """

    def __call__(self, text: str, /) -> str:
        """The text, cleaned."""
        while True:
            made = _ENTITY.sub(_meant, _AMPERSANDS.sub("&", _TAG.sub(_gone, _shown(text))))
            if made == text:
                return text
            text = made


def _gone(tag: re.Match[str]) -> str:
    return "\n" if tag[2] and tag[2].lower() in _BLOCK_NAMES else ""


def _meant(entity: re.Match[str]) -> str:
    meant = html.unescape(entity[0])
    return meant if len(meant) < len(entity[0]) else entity[0]


def _shown(text: str) -> str:
    """The text without comments, scripts and styles; one that is never closed is left."""
    kept, at, missing = [], 0, set()
    for found in _HIDDEN.finditer(text):
        name = (found[1] or "").lower()
        if found.start() < at or name in missing:
            continue
        close = _CLOSE[name].search(text, found.end())
        if close is None:
            missing.add(name)
            continue
        kept.append(text[at : found.start()])
        at = close.end()
    return "".join(kept) + text[at:]
