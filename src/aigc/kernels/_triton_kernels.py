"""The three kernels of the Triton path; `_triton.py` launches them, `_triton_parts.py` has their parts.

What they hand on lies in memory that `_triton.py` lays out: for each group of a row its `peak`; for each block its `top`, its
`mass` relative to that, and how many tokens are not -inf, or -1 if one is NaN; and for each row a list of tokens, and whether it
still waits for `search_rows`.
"""

import triton
from triton import language as tl

from aigc.kernels._triton_parts import (
    best,
    gumbel,
    key_of,
    mass_of,
    number,
    race,
    start_of,
    tempered,
    value_of,
)

__all__ = ["draw_rows", "read_rows", "search_rows"]

BLOCK = tl.constexpr(256)  # as in the specification
FLAT = tl.constexpr(1024)  # likewise
CLEAR = tl.constexpr(1e-4)  # nats; no float32 mass of a block is this wrong
LISTED = tl.constexpr(128)  # groups that a list is made from, at most
LIST = tl.constexpr(256)  # tokens of a list, at most
USUAL = tl.constexpr(64)  # tokens that are listed where top-k does not ask for more
CHUNK = tl.constexpr(2048)  # tokens of a row that are read at a time

OK, EMPTY, NAN, INF, PARAMETER = (tl.constexpr(status) for status in range(5))


@triton.jit
def _temperature(column: tl.tensor, bits: tl.tensor, row: tl.tensor) -> tl.tensor:
    """The temperature in float64, and as a float32 that can be divided by."""
    t = number(column, bits, row)
    t = tl.where(t > 0, t, 1.0)
    return t, tl.minimum(tl.maximum(t, 1.1754943508222875e-38), 3.4028234663852886e38).to(tl.float32)


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
    _, t = _temperature(temperatures, temperature, row)
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


@triton.jit
def _store(
    integers: tl.tensor,
    reals: tl.tensor,
    rows: tl.tensor,
    row: tl.tensor,
    token: tl.tensor,
    kept: tl.tensor,
    status: tl.tensor,
    logprob: tl.tensor,
    mass: tl.tensor,
    tau: tl.tensor,
) -> None:
    """Writes what a row came to: integers `(3, rows)`, reals `(3, rows)`."""
    tl.store(integers + row, token)
    tl.store(integers + rows + row, kept)
    tl.store(integers + 2 * rows + row, status)
    tl.store(reals + row, logprob)
    tl.store(reals + rows + row, mass)
    tl.store(reals + 2 * rows + row, tau)


@triton.jit
def _block_of(
    logits: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    block: tl.tensor,
    top: tl.tensor,
    t: tl.tensor,
    tau: tl.tensor,
    log_min_p: tl.tensor,
) -> tl.tensor:
    """The tokens of a block, and their z: -inf where cut."""
    token = block * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(logits + token.to(tl.int64) * stride, mask=token < vocabulary, other=-float("inf")).to(tl.float32)
    z = tempered(x, top, t)
    return token, tl.where((x >= tau) & (x > -float("inf")) & (z >= log_min_p), z, -float("inf"))


@triton.jit
def _draw_in_levels(
    logits: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    mass: tl.tensor,
    top: tl.tensor,
    t: tl.tensor,
    tau: tl.tensor,
    log_min_p: tl.tensor,
    start: tl.tensor,
    BLOCKS: tl.constexpr,
) -> tl.tensor:
    """A block by its mass, float64 `(BLOCKS,)`, then a token of it; returns the token and its z."""
    block = tl.arange(0, BLOCKS)
    score = tl.log(mass) + gumbel(start, -1 - block)
    chosen = best(score, block)
    near = (score >= tl.max(score) - CLEAR).to(tl.int32)
    if tl.sum(near) > 1:  # masses in float32 do not tell which is first
        exact = tl.full([], -float("inf"), tl.float64)
        while tl.sum(near) > 0:
            next = tl.min(tl.where(near > 0, block, BLOCKS))
            _, z = _block_of(logits, stride, vocabulary, next, top, t, tau, log_min_p)
            one = tl.log(tl.sum(tl.exp(z))) + gumbel(start, -1 - next)
            chosen = tl.where(one > exact, next, chosen)
            exact = tl.maximum(one, exact)
            near = tl.where(block == next, 0, near)
    token, z = _block_of(logits, stride, vocabulary, chosen, top, t, tau, log_min_p)
    drawn = best(z + gumbel(start, token), token)
    return drawn, tl.sum(tl.where(token == drawn, z, 0.0))


@triton.jit
def _enough(peak: tl.tensor, least: tl.tensor, top: tl.tensor) -> tl.tensor:
    """A key with at least so many maxima of groups that large, but no more than `LISTED` if no tie prevents it."""
    key, lowest = key_of(peak), key_of(tl.full([], -float("inf"), tl.float32))
    found = (peak > -float("inf")).to(tl.int32)
    low, high = lowest, key_of(top) + 1
    while (tl.sum(tl.where(key >= low, found, 0)) > LISTED) & (low + 1 < high):
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
    top: tl.tensor,
    room: tl.tensor,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
) -> tl.tensor:
    """Lists so many of a row's largest tokens and some more: all that are at least `low`.

    Returns the tokens `(LIST,)`, in the order of their logits, the logits, how many there are, and `low`, -inf where the whole row
    is listed. With more than `LIST`, as there may be where many tie, the list is not to be used.
    """
    group = tl.arange(0, GROUPS)
    peak = tl.load(peaks + group, mask=group < groups, other=-float("inf"))
    low = _enough(peak, least, top)
    chosen = ((peak > -float("inf")) & (key_of(peak) >= low)).to(tl.int32)
    place = tl.cumsum(chosen, 0) - 1
    tl.store(room + place, group, mask=(chosen > 0) & (place < LISTED))
    tl.debug_barrier()
    each = tl.arange(0, LISTED)
    some = tl.load(room + each, mask=each < tl.sum(chosen), other=0)
    token = some[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    inside = (each < tl.sum(chosen))[:, None] & (token < vocabulary)
    x = tl.load(logits + token.to(tl.int64) * stride, mask=inside, other=-float("inf")).to(tl.float32)
    token, x = tl.reshape(token, (LISTED * GROUP,)), tl.reshape(x, (LISTED * GROUP,))
    large = ((x > -float("inf")) & (key_of(x) >= low)).to(tl.int32)
    place = tl.cumsum(large, 0) - 1
    room += LISTED
    tl.store(room + place, token, mask=(large > 0) & (place < LIST))
    tl.debug_barrier()
    each = tl.arange(0, LIST)
    token = tl.load(room + each, mask=each < tl.sum(large), other=0)
    inside = each < tl.sum(large)
    x = tl.load(logits + token.to(tl.int64) * stride, mask=inside, other=-float("inf")).to(tl.float32)
    # The key above, the token below: those that tie are in the order of the vocabulary.
    order = tl.sort((key_of(x).to(tl.int64) << 32) | (0x7FFFFFFF - token).to(tl.int64), descending=True)
    count = tl.sum(large) + tl.where(tl.sum(chosen) > LISTED, LIST, 0)
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
    rank = tl.arange(0, LIST)
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
    certain = certain & ((k >= vocabulary) | (k <= count) | (p == 1))  # else, of which all is p?
    return listed & (x >= tau) & enough, certain | (low == -float("inf"))


@triton.jit
def draw_rows(
    logits: tl.tensor,
    row_stride: tl.int64,
    stride: tl.int64,
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
    lists += row * (LISTED + FLAT)
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
        tau = tl.where(status == NAN, float("nan"), top)
        _store(integers, reals, rows, row, -1, 0, status, float("nan"), float("nan"), tau)
    elif t == 0:
        first = best(block_top, block)
        token, z = _block_of(logits, stride, vocabulary, first, top, t + 1, top, -float("inf"))
        drawn = best(z, token)
        _store(integers, reals, rows, row, drawn, 1, status, 0.0, 1.0, top)
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
                drawn, z = _draw_in_levels(
                    logits, stride, vocabulary, mass, top, t, -float("inf"), -float("inf"), start, BLOCKS
                )
                _store(integers, reals, rows, row, drawn, kept, status, z - tl.log(total), 1.0, top)
        else:
            least = tl.where(k < vocabulary, tl.maximum(k, USUAL), USUAL)
            if least <= LISTED:
                token, x, listed, low = _list(
                    logits, stride, vocabulary, peaks + row * groups, groups, least, top, lists, GROUP, GROUPS
                )
                z = tempered(x, top, t)
                keep, certain = _settle(x, z, listed, low, vocabulary, total, k, p, m)
                if certain & (listed <= LIST):
                    waiting = 0
                    drawn = best(tl.where(keep, z + gumbel(start, token), -float("inf")), token)
                    kept_mass = tl.sum(tl.where(keep, tl.exp(z), 0.0))
                    logprob = tl.sum(tl.where(keep & (token == drawn), z, 0.0)) - tl.log(kept_mass)
                    share, tau = tl.minimum(kept_mass / total, 1.0), tl.min(tl.where(keep, x, float("inf")))
                    _store(integers, reals, rows, row, drawn, tl.sum(keep.to(tl.int32)), status, logprob, share, tau)
    tl.store(waits + row, waiting)


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
    t: tl.tensor,
    COUNT: tl.constexpr,
    PIVOTS: tl.constexpr,
) -> tl.tensor:
    """The mass, or number, of a row's tokens above each pivot, of those with keys of at least `floor`."""
    total = tl.full((PIVOTS,), 0.0, tl.float64)
    for first in range(0, vocabulary, CHUNK):
        x = _read(logits, stride, vocabulary, first + tl.arange(0, CHUNK))
        key = key_of(x)
        inside = (x > -float("inf")) & (key >= floor)
        if COUNT:
            weight = tl.where(inside, 1.0, 0.0)
        else:
            weight = tl.where(inside, mass_of(x, top, t), 0.0)
        total += tl.sum(tl.where(key[None, :] > pivots[:, None], weight[None, :], 0.0), 1).to(tl.float64)
    return total


@triton.jit
def _search_row(
    logits: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    goal: tl.tensor,
    floor: tl.tensor,
    top: tl.tensor,
    t: tl.tensor,
    COUNT: tl.constexpr,
) -> tl.tensor:
    """`search` over a whole row, with eight pivots a pass."""
    high = key_of(top)
    low = key_of(tl.full([], -float("inf"), tl.float32)) - 1
    while low + 1 < high:
        span = high.to(tl.int64) - low.to(tl.int64)
        pivots = (low.to(tl.int64) + span * tl.arange(0, 8) // 8).to(tl.int32)
        below = _above(logits, stride, vocabulary, pivots, floor, top, t, COUNT, 8) < goal
        high = tl.minimum(high, tl.min(tl.where(below, pivots, high)))
        low = tl.max(tl.where(below, low, pivots))
    return high


@triton.jit
def search_rows(
    logits: tl.tensor,
    row_stride: tl.int64,
    stride: tl.int64,
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
    integers: tl.tensor,
    reals: tl.tensor,
    rows: tl.tensor,
    blocks: tl.tensor,
    HASHED: tl.constexpr,
    BLOCKS: tl.constexpr,
) -> None:
    """Draws the rows that wait: finds the threshold in the whole row, then draws in one level or in two."""
    row = tl.program_id(0).to(tl.int64)
    if tl.load(waits + row) != 0:
        logits += row * row_stride
        lists += row * (LISTED + FLAT)
        masses += row * blocks
        block = tl.arange(0, BLOCKS)
        block_top = tl.load(tops + row * blocks + block, mask=block < blocks, other=-float("inf"))
        top = tl.max(block_top)
        t, t32 = _temperature(temperatures, temperature, row)
        k, p, m = number(top_ks, top_k, row), number(top_ps, top_p, row), number(min_ps, min_p, row)
        mass = tl.load(masses + block, mask=block < blocks, other=0.0)
        total = tl.sum(mass.to(tl.float64) * tl.exp(tempered(block_top, top, t)))
        tau = key_of(tl.full([], -float("inf"), tl.float32))
        if k < vocabulary:
            tau = tl.maximum(tau, _search_row(logits, stride, vocabulary, k, tau, top, t32, True))
        if p < 1:
            goal = p * total
            if k < vocabulary:
                one = tl.full((1,), 0, tl.int32) + tau - 1
                goal = p * tl.sum(_above(logits, stride, vocabulary, one, tau, top, t32, False, 1))
            tau = tl.maximum(tau, _search_row(logits, stride, vocabulary, goal, tau, top, t32, False))
        start = start_of(seeds, seed, steps, step, row, HASHED)
        tl.debug_barrier()  # all have read the masses that are written over
        kept, smallest = _cut_row(logits, stride, vocabulary, tau, tl.log(m), top, t, t32, masses, blocks, lists + LISTED)
        tl.debug_barrier()
        if kept > FLAT:
            left = tl.load(masses + block, mask=block < blocks, other=0.0).to(tl.float64)
            mass_kept = tl.sum(left)
            drawn, z = _draw_in_levels(logits, stride, vocabulary, left, top, t, value_of(tau), tl.log(m), start, BLOCKS)
        else:
            drawn, z, mass_kept = race(logits, stride, lists + LISTED, kept, top, t, start, 128)
        share = tl.minimum(mass_kept / total, 1.0)
        _store(integers, reals, rows, row, drawn, kept, OK, z - tl.log(mass_kept), share, smallest)


@triton.jit
def _cut_row(
    logits: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    tau: tl.tensor,
    log_min_p: tl.tensor,
    top: tl.tensor,
    t: tl.tensor,
    t32: tl.tensor,
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
        mass = tl.sum(tl.reshape(tl.where(keep, mass_of(x, top, t32), 0.0), (BLOCKS, BLOCK)), 1)
        block = first // BLOCK + tl.arange(0, BLOCKS)
        tl.store(masses + block, mass, mask=block < blocks)
        place = kept + tl.cumsum(keep.to(tl.int32), 0) - 1
        tl.store(room + place, token, mask=keep & (place < FLAT))
        kept += tl.sum(keep.to(tl.int32))
        smallest = tl.minimum(smallest, tl.min(tl.where(keep, x, float("inf"))))
    return kept, smallest
