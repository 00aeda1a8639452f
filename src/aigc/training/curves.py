"""The losses of a run as a picture: curves over steps, as SVG."""

import math
from collections.abc import Mapping, Sequence

from aigc import _svg
from aigc._checks import fail

__all__ = ["MOST", "drawn"]

MOST = 6  # curves that can be told apart
_POINTS = 400  # of a curve; of more, the means of neighbours
_LEFT, _RIGHT, _HEIGHT = 64, 24, 260
_FEW = 12  # points that are also marked

Point = tuple[float, float]


def drawn(steps: Sequence[int], values: Mapping[str, Sequence[float]], *, caption: str) -> str:
    """Draws numbers over steps; what is not finite is left out, and its neighbours are joined.

    Args:
        steps: Of a run.
        values: By name, as many as steps; of more than 400, means of neighbours are drawn. The legend says the last itself.
        caption: What is read out instead of it.

    Raises:
        ParameterError: If there is nothing to draw, or more than 6 curves.
    """
    curves = {name: _points(steps, each) for name, each in values.items()}
    if not any(curves.values()):
        raise fail("names", "of numbers that were measured", sorted(values), "Log more often, with log_every.")
    if len(curves) > MOST:
        raise fail("names", f"at most {MOST} names", sorted(curves), "Choose some.")
    known = [point for points in curves.values() for point in points]
    across, up = (_svg.ticks(min(some), max(some)) for some in zip(*known, strict=True))
    top = 16 + 24 * len(curves)

    def place(x: float, y: float) -> Point:
        right, down = (x - across[0]) / (across[-1] - across[0]), (up[-1] - y) / (up[-1] - up[0])
        return _LEFT + (_svg.WIDTH - _LEFT - _RIGHT) * right, top + _HEIGHT * down

    parts = [_svg.words((_LEFT + _svg.WIDTH - _RIGHT) / 2, top + _HEIGHT + 38, "steps", "p-muted", "middle", small=True)]
    for tick in across:
        x, _ = place(tick, up[0])
        parts.append(f'<path class="p-grid" d="M{x:.1f} {top}v{_HEIGHT}"/>')
        parts.append(_svg.words(x, top + _HEIGHT + 18, f"{tick:,g}", "p-muted", "middle", small=True))
    for tick in up:
        _, y = place(across[0], tick)
        parts.append(f'<path class="p-grid" d="M{_LEFT} {y:.1f}H{_svg.WIDTH - _RIGHT}"/>')
        parts.append(_svg.words(_LEFT - 10, y + 4, f"{tick:g}", "p-muted", "end", small=True))
    for number, (name, points) in enumerate(curves.items()):
        parts.append(_line(number, [(_LEFT, 16 + 24 * number), (_LEFT + 28, 16 + 24 * number)]))
        newest = f": {[value for value in values[name] if math.isfinite(value)][-1]:.4g}" if points else ""
        parts.append(_svg.words(_LEFT + 38, 20 + 24 * number, name + newest, "p-ink", "start"))
        parts.append(_line(number, [place(*point) for point in points]))
    return _svg.figure(caption, parts, height=top + _HEIGHT + 50)


def _points(steps: Sequence[int], values: Sequence[float]) -> list[Point]:
    """Those that were measured, and means of neighbours where there are many."""
    found = [(float(step), value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
    size = max(1, math.ceil(len(found) / _POINTS))
    groups = [found[first : first + size] for first in range(0, len(found), size)]
    return [(math.fsum(x for x, _ in group) / len(group), math.fsum(y for _, y in group) / len(group)) for group in groups]


def _line(number: int, points: Sequence[Point]) -> str:
    """A curve, and its points where they are few."""
    if not points:
        return ""
    series, dash = (number + 1) % 3, ' stroke-dasharray="6 4"' if number >= 3 else ""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    marks = [f'<circle class="p-{series}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points if len(points) != 2]
    return f'<path class="p-line p-s{series}"{dash} d="{path}"/>' + "".join(marks if len(points) <= _FEW else [])
