"""One row of logits on the host: its threshold and its draw.

    _row.py      a short list of the largest logits, and the proof that it holds all that survives: nearly every row
    _bins.py     the threshold of a row that no list settles
    _blocks.py   the draw in two levels, where many tokens survive

A list is a thousand times shorter than a vocabulary, and nearly always enough: every token that is at least `low`, where
`low` comes from a look at every 64th token. The certificate: if the threshold of the filters, computed from the list, is
not below `low`, it is that of the whole row, ties and all. Top-k needs k tokens in the list. Top-p compares the running
mass of the list with p times that of the whole row, or of what top-k left. Min-p knows its threshold anyway.

The row is float32 (float64 where the logits are), and so are the masses of its tokens: good enough to compare with p.
What is drawn is decided in float64, on the survivors only.
"""

import math
from typing import NamedTuple

import numpy as np

from aigc import random
from aigc.kernels import _bins, _blocks
from aigc.kernels._masses import SMALLEST, Array, masses, tempered
from aigc.kernels.reference import FLAT

__all__ = ["Drawn", "Filters", "draw", "survivors", "threshold"]

_STRIDE = 64  # of the tokens that are looked at first
_SPARE = 4  # how many times longer than needed a list is made, for that look is a sample


class Filters(NamedTuple):
    """What the filters do to one row; None is off."""

    divisor: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    log_min_p: float | None = None


class Drawn(NamedTuple):
    """A draw from one row, as in `Draw`."""

    token: int
    kept: int
    logprob: float
    mass: float


class _List(NamedTuple):
    """Some tokens, in order: all that are at least `low`; all that are not -inf, where it is -inf."""

    ids: Array
    values: Array
    low: float


def draw(x: Array, top: float, filters: Filters, start: Array) -> Drawn:
    """Draws a token from a row `(vocab,)`.

    Args:
        x: float32 or float64, contiguous.
        top: The largest, which is finite.
        filters: What they do.
        start: Where the row's noise begins, int64 `(1,)`.
    """
    if filters[1:] == (None, None, None):
        return _draw_from_all(x, top, filters.divisor, start)
    mass = masses(x, top, filters.divisor)
    total = float(np.add.reduce(mass))
    listed, tau = _settle(x, top, filters, mass, total)
    values = x if listed is None else listed.values
    inside = (values >= tau).nonzero()[0]
    kept = len(inside)
    if kept > FLAT:
        mass *= x >= tau
        token, z, kept_mass = _blocks.draw(x, top, filters.divisor, mass, tau, start)
    else:
        ids = inside if listed is None else listed.ids[inside]
        token, z, kept_mass = _race(ids, tempered(values[inside], top, filters.divisor), start)
    # The two sums are rounded differently; a share is at most the whole.
    return Drawn(token, kept, z - math.log(kept_mass), min(kept_mass / total, 1.0))


def threshold(x: Array, top: float, filters: Filters) -> float:
    """The smallest logit that the filters keep; arguments as for `draw`."""
    if filters[1:] == (None, None, None):
        return float(x[x > -math.inf].min())
    mass = masses(x, top, filters.divisor)
    listed, tau = _settle(x, top, filters, mass, float(np.add.reduce(mass)))
    values = x if listed is None else listed.values
    return float(values[values >= tau].min())


def survivors(x: Array, top: float, filters: Filters) -> tuple[Array, Array] | None:
    """The ids of what the filters keep, in order, and their z; None where they are more than `FLAT`. As for `draw`."""
    mass = masses(x, top, filters.divisor)
    listed, tau = _settle(x, top, filters, mass, float(np.add.reduce(mass)))
    values = x if listed is None else listed.values
    inside = (values >= tau).nonzero()[0]
    if len(inside) > FLAT:
        return None
    ids = inside if listed is None else listed.ids[inside]
    return ids, tempered(values[inside], top, filters.divisor)


def _draw_from_all(x: Array, top: float, divisor: float | None, start: Array) -> Drawn:
    """Draws from all tokens that are not -inf."""
    kept = len(x) if len(x) > FLAT and x.min() > -math.inf else int(np.count_nonzero(x > -math.inf))
    if kept > FLAT:
        token, z, mass = _blocks.draw(x, top, divisor, masses(x, top, divisor), -math.inf, start)
    else:
        ids = (x > -math.inf).nonzero()[0]
        token, z, mass = _race(ids, tempered(x[ids], top, divisor), start)
    return Drawn(token, kept, z - math.log(mass), 1.0)


def _race(ids: Array, z: Array, start: Array) -> tuple[int, float, float]:
    r"""Draws one of some tokens; returns it, its z, and the mass of all.

    The largest $z + g$ with $g = -\log(-\log u)$ is the largest $\log(u) / e^z$, without two of the logarithms.
    """
    mass = np.exp(z)
    race = np.log(random.uniform_array(start, ids))
    race /= mass
    best = int(race.argmax())
    return int(ids[best]), float(z[best]), float(np.add.reduce(mass))


def _settle(x: Array, top: float, filters: Filters, mass: Array, total: float) -> tuple[_List | None, float]:
    """The threshold, and the list that settled it, if one did."""
    least = max(_STRIDE, filters.top_k or 0)
    for length in (_SPARE * least, _SPARE**3 * least):
        listed = _list(x, length)
        if listed is not None:
            tau = _threshold_of(listed, top, filters, total)
            if tau >= listed.low:
                return listed, max(tau, SMALLEST[x.dtype])
    return None, _threshold_of_all(x, top, filters, mass, total)


def _list(x: Array, length: int) -> _List | None:
    """A list of about some length; None if it would be much longer, as it is where there is a plateau."""
    low = -math.inf
    if len(x) > length:
        place = -(length // _STRIDE)
        low = float(np.partition(x[::_STRIDE], place)[place])
    inside = x >= low if low > -math.inf else x > low
    if np.count_nonzero(inside) > max(FLAT, len(x) // 4):  # bins are better then, and take less memory
        return None
    ids = inside.nonzero()[0]
    return _List(ids, x[ids], low)


def _threshold_of(listed: _List, top: float, filters: Filters, total: float) -> float:
    """The threshold as a list has it: that of the row if it is at least `low`, -inf if the list says nothing."""
    _, k, p, log_min_p = filters
    values, tau = listed.values, -math.inf
    if k is not None and k <= len(values):
        tau = float(np.partition(values, -k)[-k])
    elif k is not None and p is not None and listed.low > -math.inf:
        return -math.inf  # top-p renormalises over more than the list
    if p is not None:
        ordered = np.sort(values[values >= tau])[::-1]
        running = np.exp(tempered(ordered, top, filters.divisor)).cumsum()
        place = int(running.searchsorted(p * (total if k is None else running[-1])))
        if place < len(ordered):
            tau = float(ordered[place])
    if log_min_p is not None:
        z = tempered(values, top, filters.divisor)
        enough = z >= log_min_p
        if not enough.all():
            tau = max(tau, float(values[enough].min()))
    return tau


def _threshold_of_all(x: Array, top: float, filters: Filters, mass: Array, total: float) -> float:
    """The threshold without a list."""
    divisor, k, p, log_min_p = filters
    tau = SMALLEST[x.dtype]
    if k is not None:
        tau = max(tau, _bins.kth(x, top, k))
    if p is not None:
        left, all_ = (mass, total) if k is None else _left(mass, x >= tau)
        tau = max(tau, _bins.nucleus(x, top, divisor, left, p * all_, tau))
    if log_min_p is not None:
        tau = max(tau, _bins.at_least(x, top, divisor, log_min_p))
    return tau


def _left(mass: Array, inside: Array) -> tuple[Array, float]:
    """The mass of each token that is left, and of all."""
    left = mass * inside
    return left, float(np.add.reduce(left))
