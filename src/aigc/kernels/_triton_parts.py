"""What the Triton kernels are made of: noise, ordered keys, searches, races. Each becomes a part of a kernel.

A program works on one row. Its scalars are tensors of no dimension; M is the row's largest logit, z = (x - M) / t.
"""

import triton
from triton import language as tl

# Numbers that change from call to call: a kernel is not to be compiled anew for 1, or for multiples of 16.
CHANGING = ["seed", "step", "temperature", "top_k", "top_p", "min_p", "rows", "groups", "blocks", "chunks", "per", "slices"]

__all__ = [
    "BLOCK",
    "CHANGING",
    "CHUNK",
    "EMPTY",
    "FLAT",
    "INF",
    "MOST_GROUPS",
    "MOST_TOKENS",
    "NAN",
    "OK",
    "PARAMETER",
    "USUAL",
    "best",
    "draw_from",
    "draw_in_levels",
    "gumbel",
    "key_of",
    "mass_of",
    "number",
    "start_of",
    "store",
    "temperature_of",
    "tempered",
    "value_of",
    "z_of_block",
]

BLOCK = tl.constexpr(256)  # as in the specification
FLAT = tl.constexpr(1024)  # likewise
CLEAR = tl.constexpr(1e-4)  # nats; no two float32 masses of blocks are together this wrong
MOST_GROUPS = tl.constexpr(128)  # that a list is made from
MOST_TOKENS = tl.constexpr(256)  # that a list holds
USUAL = tl.constexpr(64)  # tokens that are listed where top-k does not ask for more
CHUNK = tl.constexpr(2048)  # tokens of a row that are read at a time

OK, EMPTY, NAN, INF, PARAMETER = (tl.constexpr(status) for status in range(5))  # as in Status


@triton.jit
def _mix(x: tl.tensor) -> tl.tensor:
    """The output function of SplitMix64, on uint64."""
    x += 0x9E3779B97F4A7C15
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)


@triton.jit
def start_of(
    seeds: tl.tensor, seed: tl.tensor, steps: tl.tensor, step: tl.tensor, row: tl.tensor, HASHED: tl.constexpr
) -> tl.tensor:
    """Where a row's noise begins, uint64: `aigc.random.counter` of a seed, which may be hashed already, and a step."""
    if seeds is not None:
        seed = tl.load(seeds + row)
    if steps is not None:
        step = tl.load(steps + row)
    start = seed.to(tl.int64).to(tl.uint64, bitcast=True)
    if not HASHED:
        start = _mix(start)
    return start + step.to(tl.int64).to(tl.uint64, bitcast=True) * 0x3C6EF372FE94F82B


@triton.jit
def gumbel(start: tl.tensor, index: tl.tensor) -> tl.tensor:
    """`aigc.random.gumbel_from`, float64."""
    cell = _mix(start + index.to(tl.int64).to(tl.uint64, bitcast=True)) >> 12
    return -tl.log(-tl.log((cell.to(tl.float64) + 0.5) * 2.220446049250313e-16))


@triton.jit
def number(column: tl.tensor, bits: tl.tensor, row: tl.tensor) -> tl.tensor:
    """A row's parameter, float64: from a column, or else from the bits of a number."""
    if column is None:
        value = bits.to(tl.int64).to(tl.float64, bitcast=True)
    else:
        value = tl.load(column + row).to(tl.float64)
    return value


@triton.jit
def key_of(x: tl.tensor) -> tl.tensor:
    """Integers in the order of float32 numbers, 0 and -0 alike."""
    bits = tl.where(x == 0, 0.0, x).to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def value_of(key: tl.tensor) -> tl.tensor:
    """The number of a key."""
    return (key ^ ((key >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def tempered(x: tl.tensor, top: tl.tensor, t: tl.tensor) -> tl.tensor:
    """Z in float64, for what is decided."""
    return (x.to(tl.float64) - top.to(tl.float64)) / t


@triton.jit
def mass_of(x: tl.tensor, top: tl.tensor, far: tl.tensor, inverse: tl.tensor) -> tl.tensor:
    """exp(z) in float32, for what is compared with p."""
    return tl.exp((x - top) * far * inverse)


@triton.jit
def best(score: tl.tensor, ids: tl.tensor) -> tl.tensor:
    """The first of the ids, of those with the largest score."""
    return tl.min(tl.where(score == tl.max(score), ids, 2147483647))


@triton.jit
def draw_from(
    logits: tl.tensor,
    stride: tl.tensor,
    ids: tl.tensor,
    count: tl.tensor,
    top: tl.tensor,
    t: tl.tensor,
    start: tl.tensor,
    CHUNK: tl.constexpr,
) -> tl.tensor:
    """Draws one of some tokens, of which there is at least one: returns it, its z, and the mass of all.

    Args:
        logits: Where the row begins.
        stride: From a token of it to the next.
        ids: Where the tokens are listed.
        count: How many there are.
        top: M.
        t: The temperature, float64.
        start: Where the row's noise begins.
        CHUNK: How many are worked on at a time.
    """
    score = tl.full([], -float("inf"), tl.float64)
    token = tl.full([], 0, tl.int32)
    chosen = tl.full([], 0.0, tl.float64)
    mass = tl.full([], 0.0, tl.float64)
    for first in range(0, count, CHUNK):
        place = first + tl.arange(0, CHUNK)
        inside = place < count
        some = tl.load(ids + place, mask=inside, other=0)
        z = tempered(tl.load(logits + some.to(tl.int64) * stride, mask=inside, other=0.0).to(tl.float32), top, t)
        scores = tl.where(inside, z + gumbel(start, some), -float("inf"))
        largest = tl.max(scores)
        if largest > score:
            score = largest
            token = best(scores, some)
            chosen = tl.sum(tl.where(inside & (some == token), z, 0.0))
        mass += tl.sum(tl.where(inside, tl.exp(z), 0.0))
    return token, chosen, mass


@triton.jit
def temperature_of(column: tl.tensor, bits: tl.tensor, row: tl.tensor) -> tl.tensor:
    """The temperature, float64, and what to multiply by instead: two float32, for 1 / t alone may be 0 or infinite."""
    t = number(column, bits, row)
    t = tl.where(t > 0, t, 1.0)
    far = tl.where(t < 1e-19, 1e19, tl.where(t > 1e19, 1e-19, 1.0))
    near = tl.minimum(tl.maximum(t * far, 1.1754943508222875e-38), 3.4028234663852886e38).to(tl.float32)
    return t, far.to(tl.float32), 1.0 / near


@triton.jit
def z_of_block(
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
def draw_in_levels(
    logits: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    mass: tl.tensor,
    most: tl.tensor,
    top: tl.tensor,
    t: tl.tensor,
    tau: tl.tensor,
    log_min_p: tl.tensor,
    start: tl.tensor,
    BLOCKS: tl.constexpr,
) -> tl.tensor:
    """A block by its mass, then a token of it; returns the token and its z.

    The masses of blocks, float64 `(BLOCKS,)`, are at least `mass` and at most `most`: where that leaves a choice, they are
    summed anew.
    """
    block = tl.arange(0, BLOCKS)
    noise = gumbel(start, -1 - block)
    score = tl.log(mass) + noise
    near = (tl.log(most) + noise >= tl.max(score) - CLEAR).to(tl.int32)
    chosen = best(score, block)
    if tl.sum(near) > 1:  # masses in float32 do not tell which is first
        exact = tl.full([], -float("inf"), tl.float64)
        while tl.sum(near) > 0:
            one = tl.min(tl.where(near > 0, block, BLOCKS))
            _, z = z_of_block(logits, stride, vocabulary, one, top, t, tau, log_min_p)
            found = tl.log(tl.sum(tl.exp(z))) + gumbel(start, -1 - one)
            chosen = tl.where(found > exact, one, chosen)
            exact = tl.maximum(found, exact)
            near = tl.where(block == one, 0, near)
    token, z = z_of_block(logits, stride, vocabulary, chosen, top, t, tau, log_min_p)
    drawn = best(z + gumbel(start, token), token)
    return drawn, tl.sum(tl.where(token == drawn, z, 0.0))


@triton.jit
def store(
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
