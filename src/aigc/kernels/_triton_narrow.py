"""Kernels over slices of rows that wait: they narrow down where the threshold is, and split rows there.

A row's threshold is the smallest key with less than a goal above it: mass, for top-p, or a number of tokens, for top-k.
Each pass weighs what lies above `PIVOTS` pivots, in all chunks of all rows at once; each program of the next pass adds the
chunks up again. Sums are kept by chunk, so that they do not depend on how many chunks a program has.

Rows with both filters, of which the second depends on the first, are not narrowed down here.
"""

import triton
from triton import language as tl

from aigc.kernels._triton_parts import (
    BLOCK,
    CHANGING,
    CHUNK,
    FLAT,
    MOST_GROUPS,
    key_of,
    mass_of,
    number,
    temperature_of,
    tempered,
    value_of,
)

__all__ = ["bounds_of", "cut_slices", "is_narrowed", "narrow_slices", "whole_of"]

PIVOTS = tl.constexpr(32)
PART = tl.constexpr(256)  # tokens that are weighed at a time


@triton.jit
def whole_of(
    tops: tl.tensor, masses: tl.tensor, row: tl.tensor, blocks: tl.tensor, t: tl.tensor, BLOCKS: tl.constexpr
) -> tl.tensor:
    """The largest logit of each block of a row, and of all, and the mass of all, float64."""
    block = tl.arange(0, BLOCKS)
    block_top = tl.load(tops + row * blocks + block, mask=block < blocks, other=-float("inf"))
    mass = tl.load(masses + row * blocks + block, mask=block < blocks, other=0.0)
    top = tl.max(block_top)
    return block_top, top, tl.sum(mass.to(tl.float64) * tl.exp(tempered(block_top, top, t)))


@triton.jit
def is_narrowed(vocabulary: tl.tensor, k: tl.tensor, p: tl.tensor, m: tl.tensor) -> tl.tensor:
    """Whether a row that waits is one for these kernels: one whose filters a list does not settle, unless many tie."""
    return ((k < vocabulary) & (k > MOST_GROUPS) & (p == 1)) | ((k >= vocabulary) & ((p < 1) | (m > 0)))


@triton.jit
def _first_pivots(
    block_top: tl.tensor,
    top: tl.tensor,
    total: tl.tensor,
    vocabulary: tl.tensor,
    t: tl.tensor,
    k: tl.tensor,
    p: tl.tensor,
) -> tl.tensor:
    """Evenly down to where so little is left that top-p keeps it out; for top-k, to where there are likely enough.

    There are n tokens that are at least the n-th largest maximum of blocks, and k is above `MOST_GROUPS`: for n of no more,
    the threshold is at most that. How far apart the middle ones are says how far down it may be, whatever some blocks hold.
    """
    each = tl.arange(0, PIVOTS).to(tl.float64)
    first, reach = top.to(tl.float64), -tl.log((1 - p) * total / vocabulary) * t
    if k < vocabulary:
        order, place = tl.sort(block_top, descending=True), tl.arange(0, block_top.shape[0])
        found = tl.sum((block_top > -float("inf")).to(tl.int32))
        nth = tl.minimum(MOST_GROUPS, found // 4)
        first = tl.sum(tl.where(place == nth, order, 0.0)).to(tl.float64)
        reach = 16 * (first - tl.sum(tl.where(place == found * 3 // 4, order, 0.0)))
    return key_of((first - reach * each / (PIVOTS - 1)).to(tl.float32))


@triton.jit
def _pivots_between(low: tl.tensor, high: tl.tensor) -> tl.tensor:
    """Evenly by value, or by key where that is not finite."""
    each = tl.arange(0, PIVOTS) + 1
    a, b = value_of(low).to(tl.float64), value_of(high).to(tl.float64)
    by_value = key_of((a + (b - a) * each.to(tl.float64) / (PIVOTS + 1)).to(tl.float32))
    span = high.to(tl.int64) - low.to(tl.int64)
    by_key = (low.to(tl.int64) + span * each // (PIVOTS + 1)).to(tl.int32)
    return tl.where(low > key_of(tl.full([], -float("inf"), tl.float32)), by_value, by_key)


@triton.jit
def bounds_of(
    partials: tl.tensor,
    row: tl.tensor,
    rows: tl.tensor,
    chunks: tl.tensor,
    block_top: tl.tensor,
    top: tl.tensor,
    total: tl.tensor,
    vocabulary: tl.tensor,
    t: tl.tensor,
    k: tl.tensor,
    p: tl.tensor,
    PASSES: tl.constexpr,
    CHUNKS: tl.constexpr,
) -> tl.tensor:
    """The threshold is above `low`, and at most `high`; with the goal, and the pivots of the next pass."""
    high = key_of(top)
    low = key_of(tl.full([], -float("inf"), tl.float32)) - 1
    goal = tl.where(k < vocabulary, k, p * total)
    pivots = _first_pivots(block_top, top, total, vocabulary, t, k, p)
    chunk, each = tl.arange(0, CHUNKS)[:, None], tl.arange(0, PIVOTS)[None, :]
    for n in tl.static_range(PASSES):
        place = partials + ((n * rows + row) * chunks + chunk) * PIVOTS + each
        above = tl.sum(tl.load(place, mask=chunk < chunks, other=0.0).to(tl.float64), 0)
        below = above < goal
        high = tl.minimum(high, tl.min(tl.where(below, pivots, high)))
        low = tl.maximum(low, tl.max(tl.where(below, low, pivots)))
        pivots = _pivots_between(low, high)
    if (k >= vocabulary) & (p == 1):  # min-p alone needs no search, and nobody wrote what was read here
        high = key_of(tl.full([], -float("inf"), tl.float32))
        low = high - 1
    return pivots, low, high, goal


@triton.jit(do_not_specialize=CHANGING)
def narrow_slices(
    logits: tl.tensor,
    row_stride: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
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
    waits: tl.tensor,
    partials: tl.tensor,
    rows: tl.tensor,
    blocks: tl.tensor,
    chunks: tl.tensor,
    per: tl.tensor,
    BLOCKS: tl.constexpr,
    CHUNKS: tl.constexpr,
    PASS: tl.constexpr,
) -> None:
    """Weighs what is above the pivots of a pass, in some chunks of a row."""
    row = tl.program_id(0).to(tl.int64)
    if tl.load(waits + row) != 0:
        t, far, inverse = temperature_of(temperatures, temperature, row)
        k, p, m = number(top_ks, top_k, row), number(top_ps, top_p, row), number(min_ps, min_p, row)
        if is_narrowed(vocabulary, k, p, m) & ((k < vocabulary) | (p < 1)):
            block_top, top, total = whole_of(tops, masses, row, blocks, t, BLOCKS)
            pivots, _, _, _ = bounds_of(
                partials, row, rows, chunks, block_top, top, total, vocabulary, t, k, p, PASS, CHUNKS
            )
            each = tl.arange(0, PIVOTS)
            first = tl.program_id(1) * per
            for chunk in range(first, tl.minimum(first + per, chunks)):
                found = tl.full((PIVOTS, PART), 0.0, tl.float32)
                for part in range(0, CHUNK, PART):
                    token = chunk * CHUNK + part + tl.arange(0, PART)
                    place = logits + row * row_stride + token.to(tl.int64) * stride
                    x = tl.load(place, mask=token < vocabulary, other=-float("inf")).to(tl.float32)
                    weight = tl.where(k < vocabulary, 1.0, mass_of(x, top, far, inverse))
                    weight = tl.where(x > -float("inf"), weight, 0.0)
                    found += tl.where(key_of(x)[None, :] > pivots[:, None], weight[None, :], 0.0)
                tl.store(partials + ((PASS * rows + row) * chunks + chunk) * PIVOTS + each, tl.sum(found, 1))


@triton.jit(do_not_specialize=CHANGING)
def cut_slices(
    logits: tl.tensor,
    row_stride: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
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
    waits: tl.tensor,
    partials: tl.tensor,
    weights: tl.tensor,
    kept: tl.tensor,
    counts: tl.tensor,
    leasts: tl.tensor,
    tokens: tl.tensor,
    rows: tl.tensor,
    blocks: tl.tensor,
    chunks: tl.tensor,
    per: tl.tensor,
    BLOCKS: tl.constexpr,
    CHUNKS: tl.constexpr,
) -> None:
    """Splits some chunks of a row into tokens that survive, that may, and that do not.

    Those from `high` on survive, if min-p lets them; those between `low` and `high` may. Of both it writes the mass of each
    block `(2, rows, blocks)`, and for each slice how many there are `(2, rows, slices)` and the first of them
    `(2, rows, slices, FLAT)`; the latter whatever min-p says, for the search comes first. Of what is at least `high`,
    whatever min-p says, the weight of each chunk; of what survives, the least of each slice.
    """
    PER: tl.constexpr = CHUNK // BLOCK
    row, slices = tl.program_id(0).to(tl.int64), tl.num_programs(1)
    if tl.load(waits + row) != 0:
        t, far, inverse = temperature_of(temperatures, temperature, row)
        k, p, m = number(top_ks, top_k, row), number(top_ps, top_p, row), number(min_ps, min_p, row)
        if is_narrowed(vocabulary, k, p, m):
            block_top, top, total = whole_of(tops, masses, row, blocks, t, BLOCKS)
            _, low, high, _ = bounds_of(partials, row, rows, chunks, block_top, top, total, vocabulary, t, k, p, 2, CHUNKS)
            log_m, mine = tl.log(m), row * slices + tl.program_id(1)
            sure_count, maybe_count = tl.full([], 0, tl.int32), tl.full([], 0, tl.int32)
            least = tl.full([], float("inf"), tl.float32)
            first = tl.program_id(1) * per
            for chunk in range(first, tl.minimum(first + per, chunks)):
                token = chunk * CHUNK + tl.arange(0, CHUNK)
                place = logits + row * row_stride + token.to(tl.int64) * stride
                x = tl.load(place, mask=token < vocabulary, other=-float("inf")).to(tl.float32)
                key, mass = key_of(x), mass_of(x, top, far, inverse)
                sure = (x > -float("inf")) & (key >= high)
                maybe = (x > -float("inf")) & (key > low) & (key < high)
                weight = tl.where(k < vocabulary, 1.0, mass)
                tl.store(weights + row * chunks + chunk, tl.sum(tl.where(sure, weight, 0.0)))
                passes = sure | maybe
                if log_m > -float("inf"):
                    passes = passes & (tempered(x, top, t) >= log_m)
                sure = sure & passes
                block = chunk * PER + tl.arange(0, PER)
                of_sure = tl.sum(tl.reshape(tl.where(sure, mass, 0.0), (PER, BLOCK)), 1)
                of_maybe = tl.sum(tl.reshape(tl.where(maybe & passes, mass, 0.0), (PER, BLOCK)), 1)
                tl.store(kept + row * blocks + block, of_sure, mask=block < blocks)
                tl.store(kept + (rows + row) * blocks + block, of_maybe, mask=block < blocks)
                at = sure_count + tl.cumsum(sure.to(tl.int32), 0) - 1
                tl.store(tokens + mine * FLAT + at, token, mask=sure & (at < FLAT))
                at = maybe_count + tl.cumsum(maybe.to(tl.int32), 0) - 1
                tl.store(tokens + (rows * slices + mine) * FLAT + at, token, mask=maybe & (at < FLAT))
                sure_count += tl.sum(sure.to(tl.int32))
                maybe_count += tl.sum(maybe.to(tl.int32))
                least = tl.minimum(least, tl.min(tl.where(sure, x, float("inf"))))
            tl.store(counts + mine, sure_count)
            tl.store(counts + rows * slices + mine, maybe_count)
            tl.store(leasts + mine, least)
