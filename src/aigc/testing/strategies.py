"""Hypothesis strategies for logits, with everything that goes wrong in practice, and for parameters and seeds."""

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import DrawFn, SearchStrategy
except ImportError:
    raise ImportError("aigc.testing needs hypothesis: pip install 'aigc[testing]'") from None

__all__ = ["DTYPES", "logits", "min_p", "seeds", "steps", "temperature", "top_k", "top_p"]

T = TypeVar("T")

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

_LENGTHS = (255, 256, 257, 1024, 1025, 1500, 4097, 32_000, 50_257, 128_256, 262_144)
_SCALES = (0.0, 1e-42, 1e-3, 1.0, 4.0, 30.0)  # flat, subnormal, nearly flat, ..., peaked
_SHAPES = ("plain", "plain", "ties", "masked", "finite masks", "one", "plateau", "clustered")


@st.composite
def logits(
    draw: DrawFn,
    *,
    rows: int | None = None,
    columns: int | None = None,
    most: int = 1500,
    dtypes: Sequence[torch.dtype] = DTYPES,
    bad: bool = False,
) -> Tensor:
    """Draws a batch of logits, `(rows, columns)`.

    Rows are flat, subnormal or peaked; with ties, plateaus, -inf, masks of the least finite number, one token alone, or the
    largest all in one place. Memory is laid out by rows, by columns, or with gaps.

    Args:
        draw: Given by Hypothesis.
        rows: How many; 1 to 5 by default.
        columns: How many; 1 to `most` by default, often few, often near a power of 2.
        most: The most columns, up to 262,144.
        dtypes: What the batch may be made of.
        bad: Whether some rows hold NaN, +inf or nothing but -inf.

    Example:
        >>> from hypothesis import find
        >>> find(logits(rows=2, columns=3, dtypes=[torch.float32]), lambda x: True).shape
        torch.Size([2, 3])
    """
    count = rows or draw(st.integers(1, 5))
    lengths = [n for n in _LENGTHS if n <= most]
    few = st.one_of(st.integers(1, min(12, most)), st.integers(1, min(400, most)))
    length = columns or draw(st.one_of(few, st.sampled_from(lengths)) if lengths else few)
    dtype = draw(st.sampled_from(dtypes))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    x = torch.randn(count, length, generator=generator) * draw(st.sampled_from(_SCALES))
    for row in range(count):
        x[row] = _shaped(x[row], draw(st.sampled_from(_SHAPES)), dtype, generator)
        if bad:
            _spoil(x[row], draw(st.sampled_from(("fine", "fine", "nan", "inf", "empty"))))
    x = x.to(dtype)
    return draw(st.sampled_from((x, torch.stack((x, x), -1)[..., 0], x.t().contiguous().t())))


def top_k(*, off: bool = True) -> SearchStrategy[int | None]:
    """Draws a top-k, often small, sometimes more than the vocabulary; None too, if `off`.

    Example:
        >>> from hypothesis import find
        >>> find(top_k(off=False), lambda k: k > 3)
        4
    """
    return _maybe(st.one_of(st.integers(1, 8), st.integers(1, 2000)), off)


def top_p(*, off: bool = True) -> SearchStrategy[float | None]:
    """Draws a top-p in (0, 1]; None too, if `off`.

    Example:
        >>> from hypothesis import find
        >>> find(top_p(off=False), lambda p: p == 1)
        1.0
    """
    return _maybe(st.one_of(st.sampled_from((0.05, 0.3, 0.5, 0.9, 0.99, 1 - 1e-9, 1.0)), st.floats(0.001, 1.0)), off)


def min_p(*, off: bool = True) -> SearchStrategy[float | None]:
    """Draws a min-p in (0, 1]; None too, if `off`.

    Example:
        >>> from hypothesis import find
        >>> find(min_p(off=False), lambda m: m > 0.4)
        0.5
    """
    return _maybe(st.sampled_from((0.001, 0.05, 0.5, 1.0)), off)


def temperature(*, off: bool = True) -> SearchStrategy[float | None]:
    """Draws a temperature, 0 among them; None too, if `off`.

    Example:
        >>> from hypothesis import find
        >>> find(temperature(off=False), lambda t: t > 1)
        3.0
    """
    return _maybe(st.sampled_from((0.0, 0.01, 0.5, 1.0, 3.0)), off)


def seeds() -> SearchStrategy[int]:
    """Draws a seed: any int of 64 bits with its sign.

    Example:
        >>> from hypothesis import find
        >>> find(seeds(), lambda seed: seed < 0)
        -1
    """
    return st.integers(-(2**63), 2**63 - 1)


def steps() -> SearchStrategy[int]:
    """Draws a step.

    Example:
        >>> from hypothesis import find
        >>> find(steps(), lambda step: step > 9)
        10
    """
    return st.integers(0, 10_000)


def _maybe(strategy: SearchStrategy[T], off: bool) -> SearchStrategy[T | None]:
    return st.one_of(st.none(), strategy) if off else strategy


def _shaped(row: Tensor, shape: str, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    some = torch.rand(row.shape, generator=generator) < 0.5
    some[int(row.argmax())] = False
    if shape == "ties":
        return row.round()
    if shape == "masked":
        return row.masked_fill(some, -math.inf)
    if shape == "finite masks":
        return row.masked_fill(some, max(torch.finfo(dtype).min, torch.finfo(torch.float32).min))
    if shape == "one":
        return torch.full_like(row, -math.inf).index_fill(0, row.argmax(), 3.0)
    if shape == "plateau":
        return row.masked_fill(some, float(row.median()))
    if shape == "clustered":
        return row.sort(descending=True).values.roll(len(row) // 3)
    return row


def _spoil(row: Tensor, how: str) -> None:
    if how == "nan":
        row[len(row) // 2] = math.nan
    if how == "inf":
        row[-1] = math.inf
    if how == "empty":
        row.fill_(-math.inf)
