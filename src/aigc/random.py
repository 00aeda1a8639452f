r"""Noise as a pure function of (seed, step, index).

No generator is kept and none is advanced, so a row draws the same noise alone or in any batch, on any device, after any
other row has finished; and the noise of one token can be had without that of the others.

The bits are SplitMix64's output function (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014) applied twice: `mix(mix(seed) + step * c + index)`. The seed is hashed to a far place of the 64-bit ring, so
that neighbouring seeds share no counters; steps of one seed are c apart, so that none of their indices meet. A uniform
takes 52 of the 64 bits and lies at the middle of its cell, so it is never 0 and never 1.
"""

import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aigc._checks import fail, fail_type, integer

__all__ = [
    "Seeds",
    "advance",
    "check_seed",
    "counter",
    "counter_int",
    "fresh_seed",
    "gumbel",
    "gumbel_from",
    "normal",
    "stream",
    "streams",
    "uniform",
    "uniform_array",
    "uniform_from",
]

Seeds = int | Sequence[int] | Tensor | None

_WEYL = -7046029254386353131  # 2^64 / golden ratio, as a signed number
_FIRST, _SECOND = -4658895280553007687, -7723592293110705685
_STEP = 0x3C6EF372FE94F82B  # odd, so that steps of one seed never meet; and not the Weyl constant
_MASK = 2**64 - 1


def _constant(value: float, dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.tensor(value, dtype=dtype, device="cpu")


# A tensor of no dimension goes with tensors of any device, and takes half the time of a Python number.
_ADD, _TIMES, _TIMES_AGAIN = _constant(_WEYL), _constant(_FIRST), _constant(_SECOND)
_SHIFTS = {bits: (_constant(bits), _constant(2 ** (64 - bits) - 1)) for bits in (12, 27, 30, 31)}
_U_ADD, _U_TIMES, _U_TIMES_AGAIN = (np.uint64(value & _MASK) for value in (_WEYL, _FIRST, _SECOND))
_U12, _U27, _U30, _U31 = (np.uint64(bits) for bits in (12, 27, 30, 31))
_U_ONE = np.float64(1).view(np.uint64)
_HALF, _CELL = _constant(0.5, torch.float64), _constant(2.0**-52, torch.float64)


def uniform(seed: int | Tensor, step: int | Tensor, index: int | Tensor) -> Tensor:
    """Returns uniforms in the open interval (0, 1).

    Args:
        seed: An int in [-2^63, 2^63), or an int64 tensor.
        step: Likewise, for instance the position of a token.
        index: Likewise, for instance the token's id. The three broadcast.

    Returns:
        float64, of the broadcast shape, on the device of the tensors given.

    Example:
        >>> uniform(0, 0, torch.arange(3))
        tensor([0.6524, 0.1664, 0.5099], dtype=torch.float64)
        >>> uniform(torch.tensor([7, 0]), 0, 2)[1] == uniform(0, 0, 2)
        tensor(True)
    """
    device = next((x.device for x in (seed, step, index) if isinstance(x, Tensor)), torch.device("cpu"))
    return _uniform(counter(_int64("seed", seed, device), step), _int64("index", index, device))


def gumbel(seed: int | Tensor, step: int | Tensor, index: int | Tensor) -> Tensor:
    r"""Returns standard Gumbel noise, $-\log(-\log u)$: adding it to logits and taking the largest draws from them.

    Args:
        seed: As for `uniform`.
        step: As for `uniform`.
        index: As for `uniform`.

    Returns:
        float64, of the broadcast shape, always finite, in [-3.6, 36.8].

    Example:
        >>> gumbel(0, 0, torch.arange(3)).isfinite().all()
        tensor(True)
    """
    return uniform(seed, step, index).log_().neg_().log_().neg_()


def counter(seed: Tensor, step: int | Tensor) -> Tensor:
    """Returns where the noise of (seed, step) begins: `gumbel_from` adds the index.

    A loop that draws with the same seeds again and again hashes them once with `counter(seed, 0)` and moves on with
    `advance`.

    Args:
        seed: int64.
        step: An int, or int64.

    Example:
        >>> start = counter(torch.tensor([7]), 3)
        >>> gumbel_from(start, torch.tensor([5])) == gumbel(7, 3, 5)
        tensor([True])
    """
    return advance(_mix(_int64("seed", seed, seed.device)), step)


def counter_int(seed: int, step: int) -> int:
    """Returns `counter` of a seed and a step that are ints: an int that fits 64 bits with its sign.

    Example:
        >>> torch.tensor([counter_int(7, 3)]) == counter(torch.tensor([7]), 3)
        tensor([True])
    """
    return _signed(_mix_int(seed & _MASK) + step * _STEP)


def advance(start: Tensor, step: int | Tensor) -> Tensor:
    """Moves a counter on by some steps.

    Example:
        >>> torch.equal(advance(counter(torch.tensor([7]), 1), 2), counter(torch.tensor([7]), 3))
        True
    """
    if isinstance(step, Tensor):
        return start + _int64("step", step, start.device) * _STEP
    return start + _signed(check_seed("step", step) * _STEP)


def uniform_from(start: Tensor, index: Tensor) -> Tensor:
    """Returns the uniforms of `uniform` at counters; the two broadcast.

    Example:
        >>> uniform_from(counter(torch.tensor([7]), 3), torch.tensor([5])) == uniform(7, 3, 5)
        tensor([True])
    """
    return _uniform(start, index)


def gumbel_from(start: Tensor, index: Tensor) -> Tensor:
    """Returns the noise of `gumbel` at counters; the two broadcast.

    Example:
        >>> torch.equal(gumbel_from(counter(torch.tensor([0]), 0), torch.arange(3)), gumbel(0, 0, torch.arange(3)))
        True
    """
    return _uniform(start, index).log_().neg_().log_().neg_()


def uniform_array(start: npt.NDArray[np.int64], index: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Returns the uniforms of `uniform_from`, bit for bit, of arrays: several times faster where there are few.

    Example:
        >>> start = counter(torch.tensor([7]), 3)
        >>> uniform_array(start.numpy(), np.array([5])) == uniform_from(start, torch.tensor([5])).numpy()
        array([ True])
    """
    x = _mix_array(start.view(np.uint64) + index.view(np.uint64))
    x >>= _U12
    x |= _U_ONE  # the bits of 1 + cell / 2^52
    y: npt.NDArray[np.float64] = x.view(np.float64)
    y -= 1 - 2.0**-53
    return y


def _mix_array(x: Any) -> Any:
    """Mixes an array of uint64 in place."""
    x += _U_ADD
    x ^= x >> _U30
    x *= _U_TIMES
    x ^= x >> _U27
    x *= _U_TIMES_AGAIN
    x ^= x >> _U31
    return x


def normal(seed: int | Tensor, index: int | Tensor, *, step: int | Tensor = 0) -> Tensor:
    r"""Returns standard normal noise, $\Phi^{-1}(u)$.

    Args:
        seed: As for `uniform`.
        index: As for `uniform`, for instance the place of a number in a latent code.
        step: As for `uniform`.

    Returns:
        float64, of the broadcast shape, always finite.

    Example:
        >>> normal(0, torch.arange(100_000)).std().round(decimals=2)
        tensor(1., dtype=torch.float64)
    """
    noise: Tensor = torch.special.ndtri(uniform(seed, step, index))
    return noise


def stream(seed: int, row: int) -> int:
    """Derives the seed of one row of a call: an int in [0, 2^63) that can be given as a seed itself.

    Example:
        >>> stream(0, 0) == stream(0, 0), stream(0, 0) == stream(0, 1), stream(0, 1) == stream(1, 0)
        (True, False, False)
    """
    key = _mix_int(check_seed("seed", seed) & _MASK)
    return _mix_int(key + integer("row", row, low=0)) >> 1


def streams(seed: Seeds, n: int) -> Tensor:
    """Derives a seed for each of n rows.

    Args:
        seed: An int, from which row i takes `stream(seed, i)`; or n ints, which are taken as they are; or None for fresh
            entropy.
        n: How many.

    Returns:
        int64, `(n,)`, on the CPU.

    Raises:
        ParameterError: If there are fewer or more than n, or one does not fit 64 bits.
        TypeParameterError: If one is no int.

    Example:
        >>> streams(7, 3)[1].item() == stream(7, 1), streams([5, 6], 2).tolist()
        (True, [5, 6])
    """
    n = integer("n", n, low=0)
    if isinstance(seed, Tensor | Sequence) and not isinstance(seed, str | bytes):
        if isinstance(seed, Tensor):
            if seed.dtype == torch.bool or seed.is_floating_point() or seed.is_complex():
                raise fail_type("seed", f"{n} ints, one for each sample", seed.dtype)
            seeds = seed.to("cpu", torch.int64)
        else:
            seeds = torch.tensor([check_seed(f"seed[{i}]", each) for i, each in enumerate(seed)], dtype=torch.int64)
        if seeds.shape != (n,):
            raise fail("seed", f"one int, or {n} ints, one for each sample", f"{seeds.numel()} ints")
        return seeds
    base = fresh_seed() if seed is None else check_seed("seed", seed)
    return torch.tensor([stream(base, i) for i in range(n)], dtype=torch.int64)


def fresh_seed() -> int:
    """Returns a seed of the operating system's entropy, in [0, 2^62); no generator is involved.

    Example:
        >>> fresh_seed() != fresh_seed()
        True
    """
    return secrets.randbits(62)


def check_seed(name: str, value: object) -> int:
    """Checks a seed: an int that fits 64 bits with its sign.

    Example:
        >>> check_seed("seed", 7)
        7
    """
    return integer(name, value, low=-(2**63), high=2**63 - 1)


def _uniform(start: Tensor, index: Tensor) -> Tensor:
    return _shift(_mix(start + index), 12).double().add_(_HALF).mul_(_CELL)


def _signed(x: int) -> int:
    """The int64 that has the lower 64 bits of a Python int."""
    return (x + 2**63) % 2**64 - 2**63


def _int64(name: str, value: int | Tensor, device: torch.device) -> Tensor:
    if isinstance(value, Tensor):
        if value.dtype != torch.int64:
            raise fail_type(name, "an int or an int64 tensor", value.dtype)
        return value
    return torch.tensor(check_seed(name, value), device=device)


def _mix(x: Tensor) -> Tensor:
    # int64 wraps as uint64 would.
    x = x + _ADD
    x = x.bitwise_xor_(_shift(x, 30)).mul_(_TIMES)
    x = x.bitwise_xor_(_shift(x, 27)).mul_(_TIMES_AGAIN)
    return x.bitwise_xor_(_shift(x, 31))


def _shift(x: Tensor, bits: int) -> Tensor:
    """A logical shift to the right; that of int64 copies the sign, hence the mask."""
    by, mask = _SHIFTS[bits]
    return torch.bitwise_right_shift(x, by).bitwise_and_(mask)


def _mix_int(x: int) -> int:
    x = (x + _WEYL) & _MASK
    x = ((x ^ (x >> 30)) * (_FIRST & _MASK)) & _MASK
    x = ((x ^ (x >> 27)) * (_SECOND & _MASK)) & _MASK
    return x ^ (x >> 31)
