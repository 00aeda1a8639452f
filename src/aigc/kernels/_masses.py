"""Masses of the tokens of one row: exp(z), z = (x - M) / t.

Divisions by extreme temperatures, and logarithms of masses that vanish, overflow to the infinities that are meant; whoever
calls these turns numpy's warnings off.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SMALLEST", "Array", "masses", "tempered"]

Array = npt.NDArray[Any]

_NEAR = 1e-19
SMALLEST = {np.dtype(kind): float(np.finfo(kind).min) for kind in (np.float32, np.float64)}  # but for -inf
_TINY = {np.dtype(kind): float(np.finfo(kind).tiny) for kind in (np.float32, np.float64)}


def masses(x: Array, top: float, divisor: float | None) -> Array:
    """exp(z) of a whole row in its own dtype: right to 4 parts in 10^7 in float32, wherever z is not far below 0."""
    number = x.dtype.type
    z = x - number(top)
    if divisor is not None:
        if not _NEAR < divisor < 1 / _NEAR:  # rounded to float32, it could be 0 or infinite; and 0 / 0 is NaN
            far = 1 / _NEAR if divisor < 1 else _NEAR
            z *= number(far)
            divisor = min(max(divisor * far, _TINY[x.dtype]), -SMALLEST[x.dtype])
        z /= number(divisor)
    mass: Array = np.exp(z, z)
    return mass


def tempered(values: Array, top: float, divisor: float | None) -> Array:
    """Z of some logits, float64."""
    z: Array = values.astype(np.float64)
    z -= top
    if divisor is not None:
        z /= divisor
    return z
