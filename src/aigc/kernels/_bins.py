"""The threshold of a row that no list settles: a flat row, of which thousands of tokens survive.

Nothing is sorted but a small part. A token's distance from the largest, d = M - x, is never negative, so the bits of d as
a float are in the order of d, and the first 14 of them after the sign (8 of the exponent, 6 of the fraction) sort the row
into bins about 1% of the distance wide, whatever its scale: logits close together, masks of -1e9 and infinite distances
alike. The running count, or mass, of the bins says in which one the k-th token lies, or the end of the nucleus, and only
that bin is sorted. A plateau of ties costs a sort of its length, and is exact like everything else.
"""

import math

import numpy as np

from aigc.kernels._masses import Array, masses, tempered

__all__ = ["at_least", "kth", "nucleus"]

_CHUNK = 2**16  # tokens sorted into bins at a time; their places take twice the memory of the logits


def kth(x: Array, top: float, k: int) -> float:
    """The k-th largest logit: the smallest with less than k above it."""
    bins = _bins(x, top)
    running = _histogram(bins, None).cumsum()
    bin_ = int(running.searchsorted(k))
    inside = x[bins == bin_]
    place = len(inside) - (k - int(running[bin_ - 1] if bin_ else 0))
    return float(np.partition(inside, place)[place])


def nucleus(x: Array, top: float, divisor: float | None, mass: Array, goal: float, floor: float) -> float:
    """The smallest logit with less than a goal of mass above it.

    Args:
        x: The row.
        top: The largest.
        divisor: The temperature; None is 1.
        mass: Of each token; 0 below the floor.
        goal: Positive.
        floor: What is smaller has been cut.
    """
    bins = _bins(x, top)
    running = _histogram(bins, mass).cumsum()
    goal = min(goal, float(running[-1]))  # p may be so near 1 that a sum in float32 passes the sum of all
    bin_ = int(running.searchsorted(goal))
    inside = np.sort(x[(bins == bin_) & (x >= floor)])[::-1]
    if inside[0] == inside[-1]:  # a plateau
        return float(inside[0])
    added = masses(inside, top, divisor).cumsum(dtype=np.float64)
    added += running[bin_ - 1] if bin_ else 0.0
    return float(inside[min(int(added.searchsorted(goal)), len(inside) - 1)])


def at_least(x: Array, top: float, divisor: float | None, log_min_p: float) -> float:
    """The smallest logit with z of at least a bound: that of min-p."""
    smallest = math.inf
    for first in range(0, len(x), _CHUNK):
        part = x[first : first + _CHUNK]
        smallest = min(smallest, float(part.min(where=tempered(part, top, divisor) >= log_min_p, initial=math.inf)))
    return smallest


def _bins(x: Array, top: float) -> Array:
    distance = np.abs(x.dtype.type(top) - x)  # not -0, whose sign bit is set
    integer, shift = (np.int32, 17) if x.dtype == np.float32 else (np.int64, 46)
    bins: Array = distance.view(integer)
    bins >>= shift
    return bins


def _histogram(bins: Array, mass: Array | None) -> Array:
    size = int(bins.max()) + 1
    total: Array = np.zeros(size)
    for first in range(0, len(bins), _CHUNK):
        at = slice(first, first + _CHUNK)
        total += np.bincount(bins[at], None if mass is None else mass[at], size)
    return total
