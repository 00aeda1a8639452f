"""Parts of small pictures as SVG, drawn by hand: they need nothing, and follow the reader's light or dark scheme."""

import html
from collections.abc import Iterable

__all__ = ["DARK", "STYLE", "WIDTH", "figure", "mark", "standalone", "ticks", "words"]

WIDTH = 680

# Colours that keep a contrast of 4.5 to 1 on their page, and are told apart without colour by their order and shape.
STYLE = """
.p-page{fill:#ffffff}.p-ink{fill:#1f2328}.p-muted{fill:#59636e}.p-grid{stroke:#d8dee4;stroke-width:1;fill:none}
.p-axis{stroke:#8c959f;stroke-width:1;fill:none}.p-0{fill:#57606a}.p-1{fill:#0969da}.p-2{fill:#bc4c00}
.p-s0{stroke:#57606a}.p-s1{stroke:#0969da}.p-s2{stroke:#bc4c00}.p-line{fill:none;stroke-width:2;stroke-linejoin:round}
.p-band{stroke-width:9;stroke-opacity:.28;fill:none}.p-thin{stroke-width:1.5;fill:none}
.p-text{font:13px system-ui,-apple-system,"Segoe UI","Noto Sans","PingFang SC","Noto Sans CJK SC",sans-serif}
.p-small{font-size:12px}
"""
DARK = """
.p-page{fill:#0d1117}.p-ink{fill:#e6edf3}.p-muted{fill:#9198a1}.p-grid{stroke:#30363d}.p-axis{stroke:#656c76}
.p-0{fill:#b1bac4}.p-1{fill:#58a6ff}.p-2{fill:#f0883e}.p-s0{stroke:#b1bac4}.p-s1{stroke:#58a6ff}.p-s2{stroke:#f0883e}
"""


def figure(caption: str, parts: Iterable[str], *, height: float) -> str:
    """A picture of some parts, to be put into a page that has `STYLE`; the caption is what is read out instead of it."""
    box = f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}"'
    said = html.escape(caption)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{said}"><title>{said}</title>'
    return head + "".join(parts) + "</svg>"


def standalone(svg: str) -> str:
    """A picture as a file of its own, with its style and a page under it."""
    style = f"<style>{STYLE}@media (prefers-color-scheme:dark){{{DARK}}}</style>"
    page = '<rect class="p-page" width="100%" height="100%"/>'
    head, rest = svg.split(">", 1)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}>{style}{page}{rest}\n'


def ticks(low: float, high: float) -> list[float]:
    """Round numbers that reach over an interval, four to eight of them."""
    if not high > low:
        pad = abs(low) / 10 or 1.0
        low, high = low - pad, high + pad
    step = 10.0 ** _magnitude((high - low) / 4)
    step *= max(factor for factor in (1, 2, 2.5, 5) if factor * step <= (high - low) / 4 or factor == 1)
    first, last = int(low // step), -int(-high // step)
    return [round(step * i, 12) for i in range(first, last + 1)]


def _magnitude(value: float) -> int:
    return int(f"{value:e}".split("e")[1])


def mark(series: int, x: float, y: float) -> str:
    """A disc, a square or a diamond."""
    if series == 0:
        return f'<circle class="p-0" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>'
    if series == 1:
        return f'<rect class="p-1" x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" rx="1.5"/>'
    return f'<path class="p-2" d="M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z"/>'


def words(x: float, y: float, text: str, kind: str, anchor: str, *, small: bool = False, more: str = "") -> str:
    size = " p-small" if small else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}'.rstrip()
    return f'<text class="p-text {kind}{size}" {place}>{html.escape(text)}</text>'
