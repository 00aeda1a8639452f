"""Hypothesis strategies for rows of logits, with everything that goes wrong in practice."""

import math

import torch
from hypothesis import strategies as st
from torch import Tensor

FLOATS = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


@st.composite
def logits(draw: st.DrawFn, *, rows: int | None = None, bad: bool = False) -> Tensor:
    """A batch `(rows, vocab)`: ties, plateaus, masks, flat and peaked rows, 1 to 1,500 columns; NaN and inf if `bad`."""
    count = rows or draw(st.integers(1, 5))
    vocab = draw(st.one_of(st.integers(1, 12), st.integers(1, 400), st.sampled_from([255, 256, 257, 1025, 1500])))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    x = torch.randn(count, vocab, generator=generator) * draw(st.sampled_from([0.0, 1e-3, 1.0, 4.0, 30.0]))
    for row in range(count):
        x[row] = _shaped(x[row], draw(st.sampled_from(["plain", "ties", "masked", "finfo", "one", "plateau"])), generator)
        if bad:
            _spoil(x[row], draw(st.sampled_from(["fine", "fine", "nan", "inf", "empty"])))
    x = x.to(draw(st.sampled_from(FLOATS)))
    return draw(st.sampled_from([x, torch.stack([x, x], -1)[..., 0], x.t().contiguous().t()]))


def _shaped(row: Tensor, shape: str, generator: torch.Generator) -> Tensor:
    hit = torch.rand(row.shape, generator=generator) < 0.5
    hit[int(row.argmax())] = False
    if shape == "ties":
        return row.round()
    if shape == "masked":
        return row.masked_fill(hit, -math.inf)
    if shape == "finfo":
        return row.masked_fill(hit, torch.finfo(torch.bfloat16).min)
    if shape == "one":
        return torch.full_like(row, -math.inf).index_fill(0, row.argmax(), 3.0)
    if shape == "plateau":
        return row.masked_fill(hit, float(row.median()))
    return row


def _spoil(row: Tensor, how: str) -> None:
    if how == "nan":
        row[len(row) // 2] = math.nan
    if how == "inf":
        row[-1] = math.inf
    if how == "empty":
        row.fill_(-math.inf)


top_k = st.one_of(st.none(), st.integers(1, 8), st.integers(1, 2000))
top_p = st.one_of(st.none(), st.sampled_from([0.05, 0.3, 0.5, 0.9, 0.99, 1.0]), st.floats(0.001, 1.0))
min_p = st.one_of(st.none(), st.sampled_from([0.001, 0.05, 0.5, 1.0]))
temperature = st.one_of(st.none(), st.sampled_from([0.0, 0.01, 0.5, 1.0, 3.0]))
seed = st.integers(-(2**63), 2**63 - 1)
step = st.integers(0, 10_000)
