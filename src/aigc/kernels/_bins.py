"""The threshold of a row that no list settles: a flat row, of which thousands of tokens survive.

Nothing is sorted but a small part. A token's distance from the largest, d = M - x, is never negative, so the bits of d as a
float are in the order of d, and the first 14 of them after the sign (8 of the exponent, 6 of the fraction) sort the row into
bins about 1% of the distance wide, whatever its scale: logits close together, masks of -1e9 and infinite distances alike. The
running count, or mass, of the bins says in which one the k-th token lies, or the end of the nucleus, and only that bin is
sorted. A plateau of ties costs a sort of its length, and is exact like everything else.
"""

import math

import numpy as np

from aigc.kernels._masses import Array, tempered

__all__ = ["crossing", "at_least"]

_CHUNK = 2**16  # tokens sorted into bins at a time; their places take twice the memory of the logits


def crossing(x: Array, top: float, mass: Array | None, goal: float) -> float:
    """The smallest logit with less than a goal above it.

    Args:
        x: The row.
        top: The largest.
        mass: Of each token; None counts tokens.
        goal: That much mass, or so many tokens.
    """
    bins = _bins(x, top)
    running = _histogram(bins, mass).cumsum()
    bin_ = min(int(running.searchsorted(goal)), len(running) - 1)
    above = running[bin_ - 1] if bin_ else 0
    inside = (bins == bin_).nonzero()[0]
    inside = inside[(-x[inside]).argsort()]
    added = np.arange(1, len(inside) + 1) if mass is None else mass[inside].cumsum(dtype=np.float64)
    return float(x[inside[min(int((above + added).searchsorted(goal)), len(inside) - 1)]])


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
    bins = distance.view(integer)
    bins >>= shift
    return bins


def _histogram(bins: Array, mass: Array | None) -> Array:
    size = int(bins.max()) + 1
    total = np.zeros(size)
    for first in range(0, len(bins), _CHUNK):
        at = slice(first, first + _CHUNK)
        total += np.bincount(bins[at], None if mass is None else mass[at], size)
    return total
