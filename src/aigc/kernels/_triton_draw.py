"""The second kernel: a program a row, which draws it if a list of its largest logits settles it, or if it is not cut."""

import triton
from triton import language as tl

from aigc.kernels._triton_parts import (
    CHANGING,
    EMPTY,
    FLAT,
    INF,
    MOST_GROUPS,
    MOST_TOKENS,
    NAN,
    OK,
    PARAMETER,
    USUAL,
    best,
    draw_in_levels,
    gumbel,
    key_of,
    number,
    start_of,
    store,
    tempered,
    value_of,
    z_of_block,
)

__all__ = ["draw_rows"]


@triton.jit
def _enough(peak: tl.tensor, least: tl.tensor, tokens: tl.tensor, top: tl.tensor) -> tl.tensor:
    """A key with at least so many maxima of groups that large, but not many more if no tie prevents it.

    No more than three quarters of the groups, or the list would be much of a row that has few groups.
    """
    key, lowest = key_of(peak), key_of(tl.full([], -float("inf"), tl.float32))
    found = (peak > -float("inf")).to(tl.int32)
    most = tl.minimum(MOST_GROUPS, tl.maximum(least.to(tl.int32), tl.sum(found) * 3 // 4))
    most = tl.where(tokens > MOST_TOKENS, most, MOST_GROUPS)
    low, high = lowest, key_of(top) + 1
    while (tl.sum(tl.where(key >= low, found, 0)) > most) & (low + 1 < high):
        middle = (low & high) + ((low ^ high) >> 1)  # the mean, without overflow
        many = tl.sum(tl.where(key >= middle, found, 0)) >= least
        low, high = tl.where(many, middle, low), tl.where(many, high, middle)
    return low


@triton.jit
def _list(
    logits: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    peaks: tl.tensor,
    groups: tl.tensor,
    least: tl.tensor,
    tokens: tl.tensor,
    top: tl.tensor,
    room: tl.tensor,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
) -> tl.tensor:
    """Lists so many of a row's largest tokens and some more: all that are at least `low`.

    Returns the tokens `(MOST_TOKENS,)`, in the order of their logits, the logits, how many there are, and `low`, -inf where
    the whole row is listed. With more than `MOST_TOKENS`, as there may be where many tie, the list is not to be used.
    """
    group = tl.arange(0, GROUPS)
    peak = tl.load(peaks + group, mask=group < groups, other=-float("inf"))
    low = _enough(peak, least, tokens, top)
    chosen = ((peak > -float("inf")) & (key_of(peak) >= low)).to(tl.int32)
    place = tl.cumsum(chosen, 0) - 1
    tl.store(room + place, group, mask=(chosen > 0) & (place < MOST_GROUPS))
    tl.debug_barrier()
    each = tl.arange(0, MOST_GROUPS)
    some = tl.load(room + each, mask=each < tl.sum(chosen), other=0)
    token = some[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    inside = (each < tl.sum(chosen))[:, None] & (token < vocabulary)
    x = tl.load(logits + token.to(tl.int64) * stride, mask=inside, other=-float("inf")).to(tl.float32)
    token, x = tl.reshape(token, (MOST_GROUPS * GROUP,)), tl.reshape(x, (MOST_GROUPS * GROUP,))
    large = ((x > -float("inf")) & (key_of(x) >= low)).to(tl.int32)
    place = tl.cumsum(large, 0) - 1
    room += MOST_GROUPS
    tl.store(room + place, token, mask=(large > 0) & (place < MOST_TOKENS))
    tl.debug_barrier()
    each = tl.arange(0, MOST_TOKENS)
    token = tl.load(room + each, mask=each < tl.sum(large), other=0)
    inside = each < tl.sum(large)
    x = tl.load(logits + token.to(tl.int64) * stride, mask=inside, other=-float("inf")).to(tl.float32)
    # The key above, the token below: those that tie are in the order of the vocabulary.
    order = tl.sort((key_of(x).to(tl.int64) << 32) | (0x7FFFFFFF - token).to(tl.int64), descending=True)
    count = tl.sum(large) + tl.where(tl.sum(chosen) > MOST_GROUPS, MOST_TOKENS, 0)
    return 0x7FFFFFFF - (order & 0x7FFFFFFF).to(tl.int32), value_of((order >> 32).to(tl.int32)), count, value_of(low)


@triton.jit
def _settle(
    x: tl.tensor,
    z: tl.tensor,
    count: tl.tensor,
    low: tl.tensor,
    vocabulary: tl.tensor,
    total: tl.tensor,
    k: tl.tensor,
    p: tl.tensor,
    m: tl.tensor,
) -> tl.tensor:
    """Which tokens of a list survive, and whether they are all that does: the certificate of `_row.py`."""
    rank = tl.arange(0, MOST_TOKENS)
    listed = rank < count
    tau = tl.full([], -float("inf"), tl.float32)
    if k <= count:
        tau = tl.max(tl.where(rank == k - 1, x, -float("inf")))
    if p < 1:
        mass = tl.where(listed & (x >= tau), tl.exp(z), 0.0)
        running = tl.cumsum(mass, 0)
        goal = p * tl.where(k < vocabulary, tl.sum(mass), total)
        if tl.max(running) >= goal:
            tau = tl.maximum(tau, tl.min(tl.where((mass > 0) & (running - mass < goal), x, float("inf"))))
    enough = z >= tl.log(m)
    certain = (tau > -float("inf")) | ((m > 0) & (tl.sum((listed & (enough == 0)).to(tl.int32)) > 0))
    # With a k beyond the list, top-p renormalises over more than the list.
    certain = certain & ((k >= vocabulary) | (k <= count) | (p == 1))
    return listed & (x >= tau) & enough, certain | (low == -float("inf"))


@triton.jit(do_not_specialize=CHANGING)
def draw_rows(
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
    peaks: tl.tensor,
    tops: tl.tensor,
    masses: tl.tensor,
    counts: tl.tensor,
    lists: tl.tensor,
    waits: tl.tensor,
    integers: tl.tensor,
    reals: tl.tensor,
    rows: tl.tensor,
    groups: tl.tensor,
    blocks: tl.tensor,
    HASHED: tl.constexpr,
    TAU: tl.constexpr,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCKS: tl.constexpr,
) -> None:
    """Says which rows are bad, and draws the others if that is soon done; `waits` says which remain."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * row_stride
    lists += row * (MOST_GROUPS + FLAT)
    block = tl.arange(0, BLOCKS)
    block_top = tl.load(tops + row * blocks + block, mask=block < blocks, other=-float("inf"))
    count = tl.load(counts + row * blocks + block, mask=block < blocks, other=0)
    top = tl.max(block_top)
    t, k = number(temperatures, temperature, row), number(top_ks, top_k, row)
    p, m = number(top_ps, top_p, row), number(min_ps, min_p, row)
    valid = (t >= 0) & (t < float("inf")) & (k >= 1) & (p > 0) & (p <= 1) & (m >= 0) & (m <= 1)
    status = tl.where(top == float("inf"), INF, tl.where(top == -float("inf"), EMPTY, OK))
    status = tl.where(tl.min(count) < 0, NAN, status)
    status = tl.where(valid, status, PARAMETER)
    waiting = 0
    if status != OK:
        tau = tl.where((status == NAN) | (status == PARAMETER), float("nan"), top)
        store(integers, reals, rows, row, -1, 0, status, float("nan"), float("nan"), tau)
    elif t == 0:
        first = best(block_top, block)
        token, z = z_of_block(logits, stride, vocabulary, first, top, t + 1, top, -float("inf"))
        drawn = best(z, token)
        store(integers, reals, rows, row, drawn, 1, status, 0.0, 1.0, top)
    else:
        start = start_of(seeds, seed, steps, step, row, HASHED)
        mass = tl.load(masses + row * blocks + block, mask=block < blocks, other=0.0)
        mass = mass.to(tl.float64) * tl.exp(tempered(block_top, top, t))
        total = tl.sum(mass)
        kept = tl.sum(count)
        waiting = 1
        if (k >= vocabulary) & (p == 1) & (m == 0):
            if (kept > FLAT) & (not TAU):
                waiting = 0
                drawn, z = draw_in_levels(
                    logits, stride, vocabulary, mass, mass, top, t, -float("inf"), -float("inf"), start, BLOCKS
                )
                store(integers, reals, rows, row, drawn, kept, status, z - tl.log(total), 1.0, top)
        else:
            least = tl.where(k < vocabulary, tl.maximum(k, USUAL), USUAL)
            if least <= MOST_GROUPS:
                token, x, listed, low = _list(
                    logits, stride, vocabulary, peaks + row * groups, groups, least, kept, top, lists, GROUP, GROUPS
                )
                z = tempered(x, top, t)
                keep, certain = _settle(x, z, listed, low, vocabulary, total, k, p, m)
                if certain & (listed <= MOST_TOKENS):
                    waiting = 0
                    drawn = best(tl.where(keep, z + gumbel(start, token), -float("inf")), token)
                    kept_mass = tl.sum(tl.where(keep, tl.exp(z), 0.0))
                    logprob = tl.sum(tl.where(keep & (token == drawn), z, 0.0)) - tl.log(kept_mass)
                    share, tau = tl.minimum(kept_mass / total, 1.0), tl.min(tl.where(keep, x, float("inf")))
                    store(integers, reals, rows, row, drawn, tl.sum(keep.to(tl.int32)), status, logprob, share, tau)
    tl.store(waits + row, waiting)
