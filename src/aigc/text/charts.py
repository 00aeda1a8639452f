"""Small pictures of a report as SVG, drawn by hand: they need nothing, and follow the reader's light or dark scheme."""

import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["DARK", "STYLE", "Picture", "Spread", "curves", "dumbbells", "spreads", "standalone"]

WIDTH = 680
_LEFT, _RIGHT = 190, 24  # room for labels on the left; and for the last tick
_ROW = 32

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


class Picture(NamedTuple):
    """A picture of a report.

    Attributes:
        name: Of its file, without an ending.
        caption: What it shows; also what is read out instead of it.
        svg: The picture, to be put into a page that has `STYLE`.
    """

    name: str
    caption: str
    svg: str


class Spread(NamedTuple):
    """A figure with its interval, or the middle of a law with its tails.

    Attributes:
        series: Which colour, 0 to 2.
        middle: The figure.
        low: The lower end.
        high: The upper end.
        inner: A narrower part that is drawn thick, if there is one.
    """

    series: int
    middle: float
    low: float
    high: float
    inner: tuple[float, float] | None = None


def dumbbells(name: str, caption: str, rows: Sequence[tuple[str, Sequence[float]]], *, legend: Sequence[str]) -> Picture:
    """Draws shares of 0 to 1, one row each: the first series as a bar that the marks of the others are read against."""
    height = 44 + _ROW * len(rows) + 26
    parts = [
        _legend(legend, bar=True),
        *_scale((0, 0.25, 0.5, 0.75, 1), ("0", "0.25", "0.5", "0.75", "1"), 0, 1, 44, height - 26),
    ]
    for i, (label, values) in enumerate(rows):
        y = 44 + _ROW * i + _ROW / 2
        real, *places = (_x(value, 0, 1) for value in values)
        parts.append(_text(_LEFT - 14, y + 4, label, "p-ink", "end"))
        for series, x in enumerate(places, 1):
            level = y + (series - (len(places) + 1) / 2) * 11  # side by side, so that none hides another
            parts.append(f'<line class="p-axis" x1="{real:.1f}" x2="{x:.1f}" y1="{level:.1f}" y2="{level:.1f}"/>')
            parts.append(_mark(series, x, level))
        parts.append(_bar(real, y))
    return _picture(name, caption, height, parts)


def spreads(name: str, caption: str, rows: Sequence[tuple[str, Spread]], *, unit: str) -> Picture:
    """Draws figures with their intervals, one row each, on a scale that fits them."""
    low, high = min(row.low for _, row in rows), max(row.high for _, row in rows)
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    top = 14
    height = top + _ROW * len(rows) + 44
    parts = _scale(ticks, [f"{tick:g}" for tick in ticks], low, high, top, height - 44)
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, height - 6, unit, "p-muted", "middle", small=True))
    for i, (label, row) in enumerate(rows):
        y = top + _ROW * i + _ROW / 2
        a, b = _x(row.low, low, high), _x(row.high, low, high)
        parts.append(_text(_LEFT - 14, y + 4, label, "p-ink", "end"))
        parts.append(f'<line class="p-thin p-s{row.series}" x1="{a:.1f}" x2="{b:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        if row.inner is not None:
            c, d = (_x(value, low, high) for value in row.inner)
            parts.append(f'<line class="p-band p-s{row.series}" x1="{c:.1f}" x2="{d:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_mark(row.series, _x(row.middle, low, high), y))
    return _picture(name, caption, height, parts)


def curves(
    name: str,
    caption: str,
    lines: Sequence[tuple[int, Sequence[tuple[float, float]]]],
    *,
    legend: Sequence[str],
    axes: tuple[str, str],
) -> Picture:
    """Draws curves in the unit square."""
    side, left, top = 300, _LEFT, 44
    parts = [_legend(legend, first=1)]
    for tick in (0.0, 0.5, 1.0):
        x, y = left + side * tick, top + side * (1 - tick)
        parts.append(f'<path class="p-grid" d="M{x:.1f} {top}V{top + side}M{left} {y:.1f}H{left + side}"/>')
        parts.append(_text(x, top + side + 18, f"{tick:g}", "p-muted", "middle", small=True))
        parts.append(_text(left - 10, y + 4, f"{tick:g}", "p-muted", "end", small=True))
    for series, points in lines:
        path = "M" + "L".join(f"{left + side * x:.1f} {top + side * (1 - y):.1f}" for x, y in points)
        dash = ' stroke-dasharray="6 4"' if series == 2 else ""
        parts.append(f'<path class="p-line p-s{series}"{dash} d="{path}"/>')
    parts.append(_text(left + side / 2, top + side + 38, axes[0], "p-muted", "middle", small=True))
    middle = f'transform="rotate(-90 {left - 44} {top + side / 2})"'
    parts.append(_text(left - 44, top + side / 2, axes[1], "p-muted", "middle", small=True, more=middle))
    return _picture(name, caption, top + side + 50, parts)


def standalone(picture: Picture) -> str:
    """A picture as a file of its own, with its style and a page under it."""
    style = f"<style>{STYLE}@media (prefers-color-scheme:dark){{{DARK}}}</style>"
    page = '<rect class="p-page" width="100%" height="100%"/>'
    head, rest = picture.svg.split(">", 1)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}>{style}{page}{rest}\n'


def _picture(name: str, caption: str, height: float, parts: Iterable[str]) -> Picture:
    box = f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}"'
    label = html.escape(caption)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{label}"><title>{label}</title>'
    return Picture(name, caption, head + "".join(parts) + "</svg>")


def _x(value: float, low: float, high: float) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - low) / (high - low)


def _scale(ticks: Sequence[float], labels: Sequence[str], low: float, high: float, top: float, bottom: float) -> list[str]:
    parts = []
    for tick, label in zip(ticks, labels, strict=True):
        x = _x(tick, low, high)
        parts.append(f'<path class="p-grid" d="M{x:.1f} {top:.0f}V{bottom:.0f}"/>')
        parts.append(_text(x, bottom + 18, label, "p-muted", "middle", small=True))
    return parts


def _ticks(low: float, high: float) -> list[float]:
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


def _legend(names: Sequence[str], *, first: int = 0, bar: bool = False) -> str:
    parts, x = [], 20.0
    for series, name in enumerate(names, first):
        parts.append(_bar(x, 20) if bar and not series else _mark(series, x, 20))
        parts.append(_text(x + 12, 24, name, "p-ink", "start"))
        x += 40 + sum(13 if ord(character) > 0x2E80 else 7.2 for character in name)
    return "".join(parts)


def _bar(x: float, y: float) -> str:
    return f'<rect class="p-0" x="{x - 2:.1f}" y="{y - 12:.1f}" width="4" height="24" rx="1"/>'


def _mark(series: int, x: float, y: float) -> str:
    """A disc, a square or a diamond."""
    if series == 0:
        return f'<circle class="p-0" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>'
    if series == 1:
        return f'<rect class="p-1" x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" rx="1.5"/>'
    return f'<path class="p-2" d="M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str, *, small: bool = False, more: str = "") -> str:
    size = " p-small" if small else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}'.rstrip()
    return f'<text class="p-text {kind}{size}" {place}>{html.escape(text)}</text>'
