"""The draw in two levels, from a row of which many tokens survive: a block by its mass, then a token in it.

The specification takes the masses of blocks in float64. Here they are known in float32, which may not tell the first of two
blocks that score almost alike; such a row, one in some thousands, is drawn as specified.
"""

import math

import numpy as np
import torch

from aigc import random
from aigc.kernels import reference
from aigc.kernels._masses import Array, tempered
from aigc.kernels.reference import BLOCK

__all__ = ["draw"]

_CLEAR = 1e-4  # nats; no two float32 masses of blocks are together this wrong


def draw(x: Array, top: float, divisor: float | None, mass: Array, tau: float, start: Array) -> tuple[int, float, float]:
    """Returns the token, its z, and the mass of all that survives.

    Args:
        x: The row, of which more than `reference.FLAT` tokens survive.
        top: The largest.
        divisor: The temperature; None is 1.
        mass: Of each token; 0 where it is cut.
        tau: What is smaller is cut.
        start: Where the row's noise begins, int64 `(1,)`.
    """
    blocks = _block_masses(mass)
    scores = np.log(blocks)
    scores += _gumbel(start, np.arange(-1, -1 - len(blocks), -1))
    second, first = np.partition(scores, len(scores) - 2)[-2:]
    if first - second < _CLEAR:
        token, z = _as_specified(x, top, divisor, tau, start)
    else:
        at = int(scores.argmax()) * BLOCK
        inside = x[at : at + BLOCK]
        zs = tempered(inside, top, divisor)
        zs[inside < tau] = -math.inf
        place = int((zs + _gumbel(start, np.arange(at, at + len(zs)))).argmax())
        token, z = at + place, float(zs[place])
    return token, z, float(blocks.sum())


def _block_masses(mass: Array) -> Array:
    whole = len(mass) // BLOCK * BLOCK
    blocks = mass[:whole].reshape(-1, BLOCK).sum(-1)
    if whole < len(mass):
        blocks = np.append(blocks, mass[whole:].sum())
    double: Array = blocks.astype(np.float64)
    return double


def _gumbel(start: Array, index: Array) -> Array:
    noise = np.log(random.uniform_array(start, index))
    np.log(np.negative(noise, noise), noise)
    return np.negative(noise, noise)


def _as_specified(x: Array, top: float, divisor: float | None, tau: float, start: Array) -> tuple[int, float]:
    z = torch.from_numpy(tempered(x, top, divisor))[None]
    keep = torch.from_numpy((x >= tau) & (x > -math.inf))[None]
    token = int(reference.draw(z, keep, torch.from_numpy(start)))
    return token, float(z[0, token])
