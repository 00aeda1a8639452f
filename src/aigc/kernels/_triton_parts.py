"""What the Triton kernels are made of: noise, ordered keys, searches, races. Each becomes a part of a kernel.

A program works on one row. Its scalars are tensors of no dimension; M is the row's largest logit, z = (x - M) / t.
"""

import triton
from triton import language as tl

__all__ = ["best", "gumbel", "key_of", "mass_of", "number", "race", "start_of", "tempered", "value_of"]


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
def mass_of(x: tl.tensor, top: tl.tensor, t: tl.tensor) -> tl.tensor:
    """exp(z) in float32, for what is compared with p; t is float32."""
    return tl.exp((x - top) / t)


@triton.jit
def best(score: tl.tensor, ids: tl.tensor) -> tl.tensor:
    """The first of the ids, of those with the largest score."""
    return tl.min(tl.where(score == tl.max(score), ids, 2147483647))


@triton.jit
def race(
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
        ids: Where the tokens are listed, in order.
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
