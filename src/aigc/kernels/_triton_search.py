"""The last kernel: a program a row, which draws what is left: rows that were split, or else it looks in the whole row."""

import triton
from triton import language as tl

from aigc.kernels._triton_narrow import bounds_of, is_narrowed, whole_of
from aigc.kernels._triton_parts import (
    BLOCK,
    CHANGING,
    CHUNK,
    FLAT,
    MOST_GROUPS,
    OK,
    draw_from,
    draw_in_levels,
    key_of,
    mass_of,
    number,
    start_of,
    store,
    temperature_of,
    tempered,
    value_of,
)
from aigc.kernels._triton_split import draw_split

__all__ = ["search_rows"]


@triton.jit
def _read(logits: tl.tensor, stride: tl.tensor, vocabulary: tl.tensor, token: tl.tensor) -> tl.tensor:
    return tl.load(logits + token.to(tl.int64) * stride, mask=token < vocabulary, other=-float("inf")).to(tl.float32)


@triton.jit
def _above(
    logits: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    pivots: tl.tensor,
    floor: tl.tensor,
    top: tl.tensor,
    far: tl.tensor,
    inverse: tl.tensor,
    COUNT: tl.constexpr,
    PIVOTS: tl.constexpr,
) -> tl.tensor:
    """The mass, or number, of a row's tokens above each pivot, of those with keys of at least `floor`."""
    AT_ONCE: tl.constexpr = 8  # chunks whose sums meet before they are reduced: fewer would wait, more would round
    total = tl.full((PIVOTS,), 0.0, tl.float64)
    for some in range(0, vocabulary, AT_ONCE * CHUNK):
        found = tl.full((PIVOTS, CHUNK), 0.0, tl.float32)
        for first in range(some, tl.minimum(some + AT_ONCE * CHUNK, vocabulary), CHUNK):
            x = _read(logits, stride, vocabulary, first + tl.arange(0, CHUNK))
            key = key_of(x)
            inside = (x > -float("inf")) & (key >= floor)
            if COUNT:
                weight = tl.where(inside, 1.0, 0.0)
            else:
                weight = tl.where(inside, mass_of(x, top, far, inverse), 0.0)
            found += tl.where(key[None, :] > pivots[:, None], weight[None, :], 0.0)
        total += tl.sum(found, 1).to(tl.float64)
    return total


@triton.jit
def _search_row(
    logits: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    goal: tl.tensor,
    floor: tl.tensor,
    low: tl.tensor,
    high: tl.tensor,
    top: tl.tensor,
    far: tl.tensor,
    inverse: tl.tensor,
    COUNT: tl.constexpr,
) -> tl.tensor:
    """The smallest key above `low`, and at most `high`, with less than a goal above it; eight pivots a pass."""
    while low + 1 < high:
        span = high.to(tl.int64) - low.to(tl.int64)
        pivots = (low.to(tl.int64) + span * tl.arange(0, 8) // 8).to(tl.int32)
        below = _above(logits, stride, vocabulary, pivots, floor, top, far, inverse, COUNT, 8) < goal
        high = tl.minimum(high, tl.min(tl.where(below, pivots, high)))
        low = tl.max(tl.where(below, low, pivots))
    return high


@triton.jit
def _cut_row(
    logits: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    tau: tl.tensor,
    log_min_p: tl.tensor,
    top: tl.tensor,
    t: tl.tensor,
    far: tl.tensor,
    inverse: tl.tensor,
    masses: tl.tensor,
    blocks: tl.tensor,
    room: tl.tensor,
) -> tl.tensor:
    """Writes the mass of what survives of each block, and the first tokens that survive; returns how many and the least."""
    BLOCKS: tl.constexpr = CHUNK // BLOCK
    kept, smallest = tl.full([], 0, tl.int32), tl.full([], float("inf"), tl.float32)
    for first in range(0, vocabulary, CHUNK):
        token = first + tl.arange(0, CHUNK)
        x = _read(logits, stride, vocabulary, token)
        keep = (x > -float("inf")) & (key_of(x) >= tau)
        if log_min_p > -float("inf"):
            keep = keep & (tempered(x, top, t) >= log_min_p)
        mass = tl.sum(tl.reshape(tl.where(keep, mass_of(x, top, far, inverse), 0.0), (BLOCKS, BLOCK)), 1)
        block = first // BLOCK + tl.arange(0, BLOCKS)
        tl.store(masses + block, mass, mask=block < blocks)
        place = kept + tl.cumsum(keep.to(tl.int32), 0) - 1
        tl.store(room + place, token, mask=keep & (place < FLAT))
        kept += tl.sum(keep.to(tl.int32))
        smallest = tl.minimum(smallest, tl.min(tl.where(keep, x, float("inf"))))
    return kept, smallest


@triton.jit
def _draw_whole(
    logits: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    masses: tl.tensor,
    room: tl.tensor,
    low: tl.tensor,
    high: tl.tensor,
    top: tl.tensor,
    t: tl.tensor,
    far: tl.tensor,
    inverse: tl.tensor,
    total: tl.tensor,
    k: tl.tensor,
    p: tl.tensor,
    log_min_p: tl.tensor,
    start: tl.tensor,
    blocks: tl.tensor,
    BLOCKS: tl.constexpr,
) -> tl.tensor:
    """Draws from a whole row: the token, its z, the mass that is kept, of how many tokens, and the least of them."""
    tau = key_of(tl.full([], -float("inf"), tl.float32))
    if k < vocabulary:
        tau = _search_row(logits, stride, vocabulary, k, tau, low, high, top, far, inverse, True)
    if p < 1:
        goal = p * total
        if k < vocabulary:
            one = tl.full((1,), 0, tl.int32) + tau - 1
            goal = p * tl.sum(_above(logits, stride, vocabulary, one, tau, top, far, inverse, False, 1))
        nucleus = _search_row(logits, stride, vocabulary, goal, tau, low, high, top, far, inverse, False)
        tau = tl.maximum(tau, nucleus)
    tl.debug_barrier()  # all have read the masses that are written over
    kept, least = _cut_row(logits, stride, vocabulary, tau, log_min_p, top, t, far, inverse, masses, blocks, room)
    tl.debug_barrier()
    if kept > FLAT:
        block = tl.arange(0, BLOCKS)
        left = tl.load(masses + block, mask=block < blocks, other=0.0).to(tl.float64)
        mass = tl.sum(left)
        drawn, z = draw_in_levels(logits, stride, vocabulary, left, left, top, t, value_of(tau), log_min_p, start, BLOCKS)
    else:
        drawn, z, mass = draw_from(logits, stride, room, kept, top, t, start, 128)
    return drawn, z, mass, kept, least


@triton.jit(do_not_specialize=CHANGING)
def search_rows(
    logits: tl.tensor,
    row_stride: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    seeds: tl.tensor,
    seed: tl.int64,
    steps: tl.tensor,
    step: tl.int64,
    temperatures: tl.tensor,
    temperature: tl.int64,
    top_ks: tl.tensor,
    top_k: tl.int64,
    top_ps: tl.tensor,
    top_p: tl.int64,
    min_ps: tl.tensor,
    min_p: tl.int64,
    tops: tl.tensor,
    masses: tl.tensor,
    lists: tl.tensor,
    waits: tl.tensor,
    partials: tl.tensor,
    weights: tl.tensor,
    kept: tl.tensor,
    counts: tl.tensor,
    leasts: tl.tensor,
    tokens: tl.tensor,
    integers: tl.tensor,
    reals: tl.tensor,
    rows: tl.tensor,
    blocks: tl.tensor,
    chunks: tl.tensor,
    slices: tl.tensor,
    HASHED: tl.constexpr,
    BLOCKS: tl.constexpr,
    CHUNKS: tl.constexpr,
    NARROWED: tl.constexpr,
) -> None:
    """Draws the rows that wait: finds the threshold, then draws in one level or in two."""
    row = tl.program_id(0).to(tl.int64)
    if tl.load(waits + row) != 0:
        logits += row * row_stride
        room = lists + row * (MOST_GROUPS + FLAT) + MOST_GROUPS
        t, far, inverse = temperature_of(temperatures, temperature, row)
        k, p, m = number(top_ks, top_k, row), number(top_ps, top_p, row), number(min_ps, min_p, row)
        block_top, top, total = whole_of(tops, masses, row, blocks, t, BLOCKS)
        start = start_of(seeds, seed, steps, step, row, HASHED)
        low = key_of(tl.full([], -float("inf"), tl.float32)) - 1
        high = key_of(top)
        waiting = 1
        if NARROWED:
            if is_narrowed(vocabulary, k, p, m):
                _, low, high, goal = bounds_of(
                    partials, row, rows, chunks, block_top, top, total, vocabulary, t, k, p, 2, CHUNKS
                )
                each, maybe = tl.arange(0, CHUNKS), counts + (rows + row) * slices
                if tl.sum(tl.load(maybe + each, mask=each < slices, other=0)) <= FLAT:
                    waiting = 0
                    drawn, z, mass, number_kept, least = draw_split(
                        logits, stride, vocabulary, weights + row * chunks, kept, counts, leasts, tokens, room, low, high,
                        goal, top, t, far, inverse, k, tl.log(m), start, row, rows, blocks, chunks, slices, BLOCKS, CHUNKS,
                    )  # fmt: skip
                    share = tl.minimum(mass / total, 1.0)
                    store(integers, reals, rows, row, drawn, number_kept, OK, z - tl.log(mass), share, least)
        if waiting == 1:
            drawn, z, mass, number_kept, least = _draw_whole(
                logits, stride, vocabulary, masses + row * blocks, room, low, high, top, t, far, inverse, total, k, p,
                tl.log(m), start, blocks, BLOCKS,
            )  # fmt: skip
            share = tl.minimum(mass / total, 1.0)
            store(integers, reals, rows, row, drawn, number_kept, OK, z - tl.log(mass), share, least)
