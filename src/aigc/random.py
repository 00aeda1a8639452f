r"""Noise as a pure function of (seed, step, index).

No generator is kept and none is advanced, so a row draws the same noise alone or in any batch, on any device, after any
other row has finished; and the noise of one token can be had without that of the others.

The bits are SplitMix64's output function (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014) applied twice: `mix(mix(seed) + step * c + index)`. The seed is hashed to a far place of the 64-bit ring, so
that neighbouring seeds share no counters; steps of one seed are c apart, so that none of their indices meet. A uniform
takes 52 of the 64 bits and lies at the middle of its cell, so it is never 0 and never 1.
"""

import secrets

import torch
from torch import Tensor

from aigc._checks import fail_type, integer

__all__ = [
    "advance",
    "check_seed",
    "counter",
    "fresh_seed",
    "gumbel",
    "gumbel_from",
    "normal",
    "stream",
    "uniform",
    "uniform_from",
]

_WEYL = -7046029254386353131  # 2^64 / golden ratio, as a signed number
_FIRST, _SECOND = -4658895280553007687, -7723592293110705685
_STEP = 0x3C6EF372FE94F82B  # odd, so that steps of one seed never meet; and not the Weyl constant
_MASK = 2**64 - 1


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
    return (_shift(_mix(start + index), 12).double() + 0.5) * 2.0**-52


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
    x = x + _WEYL
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """A logical shift to the right; that of int64 copies the sign, hence the mask."""
    shifted: Tensor = (x >> bits) & (2 ** (64 - bits) - 1)
    return shifted


def _mix_int(x: int) -> int:
    x = (x + _WEYL) & _MASK
    x = ((x ^ (x >> 30)) * (_FIRST & _MASK)) & _MASK
    x = ((x ^ (x >> 27)) * (_SECOND & _MASK)) & _MASK
    return x ^ (x >> 31)
