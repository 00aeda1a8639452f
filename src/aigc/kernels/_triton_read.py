"""The first kernel: reads all of every row, once, in slices.

It hands on, for each group of a row, its `peak`, the largest logit; and for each block its `top`, its `mass` relative to
that, and how many tokens are not -inf, or -1 if one is NaN.
"""

import triton
from triton import language as tl

from aigc.kernels._triton_parts import (
    BLOCK,
    CHUNK,
    mass_of,
    temperature_of,
)

__all__ = ["read_rows"]


@triton.jit
def read_rows(
    logits: tl.tensor,
    row_stride: tl.int64,
    stride: tl.int64,
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
    GROUPS: tl.constexpr = CHUNK // GROUP
    BLOCKS: tl.constexpr = CHUNK // BLOCK
    row, slice = tl.program_id(0).to(tl.int64), tl.program_id(1)
    _, t = temperature_of(temperatures, temperature, row)
    group = slice * GROUPS + tl.arange(0, GROUPS)
    block = slice * BLOCKS + tl.arange(0, BLOCKS)
    token = group[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    place = logits + row * row_stride + token.to(tl.int64) * stride
    x = tl.load(place, mask=token < vocabulary, other=-float("inf")).to(tl.float32)
    nan = tl.max(tl.reshape(tl.max((x != x).to(tl.int32), 1), (BLOCKS, BLOCK // GROUP)), 1)
    count = tl.sum(tl.reshape(tl.sum((x > -float("inf")).to(tl.int32), 1), (BLOCKS, BLOCK // GROUP)), 1)
    x = tl.where(x == x, x, -float("inf"))
    peak = tl.max(x, 1)
    top = tl.max(tl.reshape(peak, (BLOCKS, BLOCK // GROUP)), 1)
    # -inf - -inf is NaN. The row's mass means nothing where the largest is infinite.
    mass = tl.sum(tl.where(x > -float("inf"), mass_of(x, peak[:, None], t), 0.0), 1)
    above = tl.reshape(tl.broadcast_to(top[:, None], (BLOCKS, BLOCK // GROUP)), (GROUPS,))
    mass = tl.where(peak > -float("inf"), mass * mass_of(peak, above, t), 0.0)
    tl.store(peaks + row * groups + group, peak, mask=group < groups)
    tl.store(tops + row * blocks + block, top, mask=block < blocks)
    mass = tl.sum(tl.reshape(mass, (BLOCKS, BLOCK // GROUP)), 1)
    tl.store(masses + row * blocks + block, mass, mask=block < blocks)
    tl.store(counts + row * blocks + block, tl.where(nan > 0, -1, count), mask=block < blocks)
