"""Draws a row that was split into tokens that survive, that may, and that do not: only the second are looked at."""

import triton
from triton import language as tl

from aigc.kernels._triton_parts import FLAT, draw_from, draw_in_levels, key_of, mass_of, tempered, value_of

__all__ = ["draw_split"]


@triton.jit
def _listed(tokens: tl.tensor, counts: tl.tensor, ends: tl.tensor, slices: tl.tensor, SLICES: tl.constexpr) -> tl.tensor:
    """The first `FLAT` tokens of the lists of all slices, and which of these places there are."""
    each, place = tl.arange(0, SLICES), tl.arange(0, FLAT)
    count = tl.load(counts + each, mask=each < slices, other=0)
    tl.debug_barrier()  # `ends` may be in use
    tl.store(ends + each, tl.cumsum(count, 0), mask=each < slices)
    tl.debug_barrier()
    there = place < tl.sum(count)
    before = tl.full((FLAT,), 0, tl.int32)  # how many slices end at or before a place: found by halving
    half = tl.full([], SLICES // 2, tl.int32)
    while half > 0:
        last = before + half - 1
        end = tl.load(ends + last, mask=last < slices, other=2147483647)
        before = tl.where(end <= place, before + half, before)
        half = half // 2
    end = tl.load(ends + before, mask=there & (before < slices), other=2147483647)
    before = tl.where(end <= place, before + 1, before)
    first = tl.load(ends + before - 1, mask=there & (before > 0), other=0)
    return tl.load(tokens + before * FLAT + place - first, mask=there, other=0), there


@triton.jit
def _search_list(
    key: tl.tensor, weight: tl.tensor, base: tl.tensor, goal: tl.tensor, low: tl.tensor, high: tl.tensor
) -> tl.tensor:
    """The smallest key above `low`, and at most `high`, with less than a goal above it.

    All keys between the two are listed; what is at least `high` weighs `base`.
    """
    while low + 1 < high:
        middle = (low & high) + ((low ^ high) >> 1)  # the mean, without overflow
        below = base + tl.sum(tl.where(key > middle, weight, 0.0)) < goal
        low, high = tl.where(below, low, middle), tl.where(below, middle, high)
    return high


@triton.jit
def draw_split(
    logits: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    weights: tl.tensor,
    masses: tl.tensor,
    counts: tl.tensor,
    leasts: tl.tensor,
    tokens: tl.tensor,
    room: tl.tensor,
    low: tl.tensor,
    high: tl.tensor,
    goal: tl.tensor,
    top: tl.tensor,
    t: tl.tensor,
    far: tl.tensor,
    inverse: tl.tensor,
    k: tl.tensor,
    log_min_p: tl.tensor,
    start: tl.tensor,
    row: tl.tensor,
    rows: tl.tensor,
    blocks: tl.tensor,
    chunks: tl.tensor,
    slices: tl.tensor,
    BLOCKS: tl.constexpr,
    CHUNKS: tl.constexpr,
) -> tl.tensor:
    """The token, its z, the mass that is kept, of how many tokens, and the least of them. See `cut_slices`."""
    each, place = tl.arange(0, CHUNKS), tl.arange(0, FLAT)
    sure, maybe = counts + row * slices, counts + (rows + row) * slices
    ends = counts + (2 * rows + row) * slices
    token, there = _listed(tokens + (rows + row) * slices * FLAT, maybe, ends, slices, CHUNKS)
    x = tl.load(logits + token.to(tl.int64) * stride, mask=there, other=-float("inf")).to(tl.float32)
    weight = tl.where(k < vocabulary, 1.0, mass_of(x, top, far, inverse)).to(tl.float64)
    base = tl.sum(tl.load(weights + each, mask=each < chunks, other=0.0).to(tl.float64))
    tau = _search_list(key_of(x), tl.where(there, weight, 0.0), base, goal, low, high)
    z = tempered(x, top, t)
    survives = there & (key_of(x) >= tau) & (z >= log_min_p)
    many = tl.sum(tl.load(sure + each, mask=each < slices, other=0))
    kept = many + tl.sum(survives.to(tl.int32))
    least = tl.min(tl.load(leasts + row * slices + each, mask=each < slices, other=float("inf")))
    least = tl.minimum(least, tl.min(tl.where(survives, x, float("inf"))))
    if kept > FLAT:
        block = tl.arange(0, BLOCKS)
        some = tl.load(masses + row * blocks + block, mask=block < blocks, other=0.0).to(tl.float64)
        more = tl.load(masses + (rows + row) * blocks + block, mask=block < blocks, other=0.0).to(tl.float64)
        mass = tl.sum(some) + tl.sum(tl.where(survives, tl.exp(z), 0.0))
        drawn, z_drawn = draw_in_levels(
            logits, stride, vocabulary, some, some + more, top, t, value_of(tau), log_min_p, start, BLOCKS
        )
    else:
        tl.store(room + many + tl.cumsum(survives.to(tl.int32), 0) - 1, token, mask=survives)
        token, there = _listed(tokens + row * slices * FLAT, sure, ends, slices, CHUNKS)
        tl.store(room + place, token, mask=there)
        tl.debug_barrier()
        drawn, z_drawn, mass = draw_from(logits, stride, room, kept, top, t, start, 128)
    return drawn, z_drawn, mass, kept, least
