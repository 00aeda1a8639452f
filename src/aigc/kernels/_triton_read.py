"""The first kernel: reads all of every row, once, in slices.

It hands on, for each group of a row, its `peak`, the largest logit; and for each block its `top`, its `mass` relative to
that, and how many tokens are not -inf, or -1 if one is NaN.
"""

import triton
from triton import language as tl

from aigc.kernels._triton_parts import (
    BLOCK,
    CHANGING,
    CHUNK,
    mass_of,
    temperature_of,
)

__all__ = ["read_rows"]


@triton.jit(do_not_specialize=CHANGING)
def read_rows(
    logits: tl.tensor,
    row_stride: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    temperatures: tl.tensor,
    temperature: tl.int64,
    peaks: tl.tensor,
    tops: tl.tensor,
    masses: tl.tensor,
    counts: tl.tensor,
    groups: tl.tensor,
    blocks: tl.tensor,
    GROUP: tl.constexpr,
) -> None:
    """Reads a slice of a row, once."""
    BLOCKS: tl.constexpr = CHUNK // BLOCK
    PER: tl.constexpr = BLOCK // GROUP
    row = tl.program_id(0).to(tl.int64)
    _, far, inverse = temperature_of(temperatures, temperature, row)
    block = tl.program_id(1) * BLOCKS + tl.arange(0, BLOCKS)
    group = block[:, None] * PER + tl.arange(0, PER)[None, :]
    token = group[:, :, None] * GROUP + tl.arange(0, GROUP)[None, None, :]
    place = logits + row * row_stride + token.to(tl.int64) * stride
    x = tl.load(place, mask=token < vocabulary, other=-float("inf")).to(tl.float32)
    # One sum counts both: tokens that are not -inf, and from 2^16 on those that are NaN.
    count = tl.sum(tl.sum((x > -float("inf")).to(tl.int32) + (x != x).to(tl.int32) * 65536, 2), 1)
    x = tl.where(x == x, x, -float("inf"))
    peak = tl.max(x, 2)
    top = tl.max(peak, 1)
    # -inf - -inf is NaN. The row's mass means nothing where the largest is infinite.
    mass = tl.sum(tl.where(x > -float("inf"), mass_of(x, peak[:, :, None], far, inverse), 0.0), 2)
    mass = tl.sum(tl.where(peak > -float("inf"), mass * mass_of(peak, top[:, None], far, inverse), 0.0), 1)
    tl.store(peaks + row * groups + group, peak, mask=group < groups)
    inside = block < blocks
    tl.store(tops + row * blocks + block, top, mask=inside)
    tl.store(masses + row * blocks + block, mass, mask=inside)
    tl.store(counts + row * blocks + block, tl.where(count < 65536, count, -1), mask=inside)
