"""Masses of the tokens of one row: exp(z), z = (x - M) / t."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "masses", "tempered"]

Array = npt.NDArray[Any]


def masses(x: Array, top: float, divisor: float | None) -> Array:
    """exp(z) of a whole row in its own dtype: right to 4 parts in 10^7 in float32, wherever z is not far below 0."""
    number = x.dtype.type
    z = x - number(top)
    if divisor is not None:
        # Rounded to float32, an extreme temperature would be 0 or infinite, and 0 / 0 and inf / inf are NaN.
        limits = np.finfo(x.dtype)
        with np.errstate(over="ignore"):
            z /= number(min(max(divisor, limits.tiny), limits.max))
    mass: Array = np.exp(z, z)
    return mass


def tempered(values: Array, top: float, divisor: float | None) -> Array:
    """Z of some logits, float64."""
    z: Array = values.astype(np.float64)
    z -= top
    if divisor is not None:
        with np.errstate(over="ignore"):
            z /= divisor
    return z
