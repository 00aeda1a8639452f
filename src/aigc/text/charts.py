"""Small pictures of a report as SVG."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from aigc import _svg
from aigc._svg import WIDTH, mark, ticks, words

__all__ = ["Picture", "Spread", "curves", "dumbbells", "spreads", "standalone"]

_LEFT, _RIGHT = 190, 24  # room for labels on the left; and for the last tick
_ROW = 32


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
        parts.append(words(_LEFT - 14, y + 4, label, "p-ink", "end"))
        for series, x in enumerate(places, 1):
            level = y + (series - (len(places) + 1) / 2) * 11  # side by side, so that none hides another
            parts.append(f'<line class="p-axis" x1="{real:.1f}" x2="{x:.1f}" y1="{level:.1f}" y2="{level:.1f}"/>')
            parts.append(mark(series, x, level))
        parts.append(_bar(real, y))
    return _picture(name, caption, height, parts)


def spreads(name: str, caption: str, rows: Sequence[tuple[str, Spread]], *, unit: str) -> Picture:
    """Draws figures with their intervals, one row each, on a scale that fits them."""
    low, high = min(row.low for _, row in rows), max(row.high for _, row in rows)
    places = ticks(low, high)
    low, high = min(low, places[0]), max(high, places[-1])
    top = 14
    height = top + _ROW * len(rows) + 44
    parts = _scale(places, [f"{tick:g}" for tick in places], low, high, top, height - 44)
    parts.append(words((_LEFT + WIDTH - _RIGHT) / 2, height - 6, unit, "p-muted", "middle", small=True))
    for i, (label, row) in enumerate(rows):
        y = top + _ROW * i + _ROW / 2
        a, b = _x(row.low, low, high), _x(row.high, low, high)
        parts.append(words(_LEFT - 14, y + 4, label, "p-ink", "end"))
        parts.append(f'<line class="p-thin p-s{row.series}" x1="{a:.1f}" x2="{b:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        if row.inner is not None:
            c, d = (_x(value, low, high) for value in row.inner)
            parts.append(f'<line class="p-band p-s{row.series}" x1="{c:.1f}" x2="{d:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(mark(row.series, _x(row.middle, low, high), y))
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
        parts.append(words(x, top + side + 18, f"{tick:g}", "p-muted", "middle", small=True))
        parts.append(words(left - 10, y + 4, f"{tick:g}", "p-muted", "end", small=True))
    for series, points in lines:
        path = "M" + "L".join(f"{left + side * x:.1f} {top + side * (1 - y):.1f}" for x, y in points)
        dash = ' stroke-dasharray="6 4"' if series == 2 else ""
        parts.append(f'<path class="p-line p-s{series}"{dash} d="{path}"/>')
    parts.append(words(left + side / 2, top + side + 38, axes[0], "p-muted", "middle", small=True))
    middle = f'transform="rotate(-90 {left - 44} {top + side / 2})"'
    parts.append(words(left - 44, top + side / 2, axes[1], "p-muted", "middle", small=True, more=middle))
    return _picture(name, caption, top + side + 50, parts)


def standalone(picture: Picture) -> str:
    """A picture as a file of its own, with its style and a page under it."""
    return _svg.standalone(picture.svg)


def _picture(name: str, caption: str, height: float, parts: Iterable[str]) -> Picture:
    return Picture(name, caption, _svg.figure(caption, parts, height=height))


def _x(value: float, low: float, high: float) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - low) / (high - low)


def _scale(places: Sequence[float], labels: Sequence[str], low: float, high: float, top: float, bottom: float) -> list[str]:
    parts = []
    for tick, label in zip(places, labels, strict=True):
        x = _x(tick, low, high)
        parts.append(f'<path class="p-grid" d="M{x:.1f} {top:.0f}V{bottom:.0f}"/>')
        parts.append(words(x, bottom + 18, label, "p-muted", "middle", small=True))
    return parts


def _legend(names: Sequence[str], *, first: int = 0, bar: bool = False) -> str:
    parts, x = [], 20.0
    for series, name in enumerate(names, first):
        parts.append(_bar(x, 20) if bar and not series else mark(series, x, 20))
        parts.append(words(x + 12, 24, name, "p-ink", "start"))
        x += 40 + sum(13 if ord(character) > 0x2E80 else 7.2 for character in name)
    return "".join(parts)


def _bar(x: float, y: float) -> str:
    return f'<rect class="p-0" x="{x - 2:.1f}" y="{y - 12:.1f}" width="4" height="24" rx="1"/>'
