"""Sampling without a GPU's help, on any device, and without sorting the vocabulary.

Rows come to the host, and are worked on there one by one: see `_row.py`. So a row's bits cannot depend on the rows beside
it, and one row's arrays, which fit in the processor's cache, are all that is allocated. For arrays of this size an
operation of numpy costs a fraction of one of torch (`docs/adr/0004-rows-on-the-host.md`).
"""

import math
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aigc import random
from aigc.kernels import _row
from aigc.kernels._masses import Array
from aigc.kernels._parameters import Parameters
from aigc.kernels._row import Filters
from aigc.kernels._types import Noise, Status

__all__ = ["race", "sample", "survivors", "threshold"]


def sample(logits: Tensor, given: Parameters, noise: Noise) -> tuple[Tensor, Tensor]:
    """Draws one token per row of `logits` `(rows, vocab)`: int64 token, kept and status, float32 logprob and mass."""
    rows, vocabulary = logits.shape
    if isinstance(given.temperature, float) and given.temperature == 0:
        drawn = [_first(x) for x in _rows(logits)]
    else:
        starts = noise.start(rows).numpy()[:, None]
        with np.errstate(all="ignore"):
            drawn = list(map(_drawn, _rows(logits), _filters(given, vocabulary, rows), starts))
    token, kept, status, logprob, mass = zip(*drawn, strict=True) if drawn else [()] * 5
    integers = torch.from_numpy(np.array((token, kept, status), dtype=np.int64))
    reals = torch.from_numpy(np.array((logprob, mass), dtype=np.float32))
    on_host = logits.device.type == "cpu"
    return (integers, reals) if on_host else (integers.to(logits.device), reals.to(logits.device))


def _drawn(x: Array, filters: Filters, start: Array) -> tuple[int, int, int, float, float]:
    """Token, kept, status, logprob and mass of a row."""
    top = float(np.maximum.reduce(x))
    if filters.divisor == 0 or not math.isfinite(top):
        return _first(x)
    token, kept, logprob, mass = _row.draw(x, top, filters, start)
    return token, kept, Status.OK, logprob, mass


def _first(x: Array) -> tuple[int, int, int, float, float]:
    """The same of a row of which the first of the largest is taken, or that is bad."""
    place = int(x.argmax())  # of a NaN, if there is one
    top = float(x[place])
    if math.isfinite(top):
        return place, 1, Status.OK, 0.0, 1.0
    status = Status.NAN if math.isnan(top) else Status.INF if top > 0 else Status.EMPTY
    return -1, 0, status, math.nan, math.nan


def threshold(logits: Tensor, given: Parameters) -> Tensor:
    """Returns the smallest logit that the filters keep, `(rows,)`, in the dtype of `logits` `(rows, vocab)`."""
    rows, vocabulary = logits.shape
    tau = np.empty(rows, dtype=np.float64)
    with np.errstate(all="ignore"):
        for i, (x, filters) in enumerate(zip(_rows(logits), _filters(given, vocabulary, rows), strict=True)):
            top = float(x.max())
            tau[i] = _row.threshold(x, top, filters) if math.isfinite(top) else top
    return torch.from_numpy(tau).to(logits.dtype).to(logits.device)


def survivors(logits: Tensor, given: Parameters) -> list[tuple[Array, Array] | None]:
    """The ids, in order, and tempered logits of what the filters keep in each row of `logits` `(rows, vocab)`.

    None where they are more than `FLAT`, or where the row is bad.
    """
    rows, vocabulary = logits.shape
    found: list[tuple[Array, Array] | None] = []
    with np.errstate(all="ignore"):
        for x, filters in zip(_rows(logits), _filters(given, vocabulary, rows), strict=True):
            top = float(np.maximum.reduce(x))
            if not math.isfinite(top):
                found.append(None)
            elif filters.divisor == 0:
                found.append((np.array([x.argmax()]), np.zeros(1)))
            else:
                found.append(_row.survivors(x, top, filters))
    return found


def race(ids: Array, z: Array, start: Array) -> tuple[Array, Array, Array]:
    """Draws one of the listed tokens of each row: the token, its log-probability, and how many were there.

    Args:
        ids: Their ids `(rows, most)`, each row in order.
        z: Their logits `(rows, most)`, float64; -inf where there is none.
        start: Where the noise of each row begins, int64 `(rows, 1)`.
    """
    with np.errstate(all="ignore"):
        z = z - z.max(-1, keepdims=True)
        mass = np.exp(z)
        race = np.log(random.uniform_array(start, ids)) / mass
        best = race.argmax(-1)
        row = np.arange(len(ids))
        logprob = z[row, best] - np.log(mass.sum(-1))
    return ids[row, best], logprob, (z > -math.inf).sum(-1)


def _rows(logits: Tensor) -> Iterator[Array]:
    """Rows on the host, contiguous, float32 or float64: one at a time, if they have to be converted."""
    logits = logits.detach().cpu()
    if logits.dtype == torch.bfloat16:
        return map(_widened, logits.contiguous().view(torch.int16).numpy())
    if logits.dtype not in (torch.float32, torch.float64):
        return (row.float().contiguous().numpy() for row in logits)
    array = logits.numpy()
    return iter(array if array.flags.c_contiguous else map(np.ascontiguousarray, array))


def _widened(bits: Array) -> Array:
    """bfloat16 as float32, which has the same first 16 bits.

    Not by torch, whose second thread, once woken for a long row, would go on running beside all that follows.
    """
    wide = bits.view(np.uint16).astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def _filters(given: Parameters, vocabulary: int, rows: int) -> Iterator[Filters]:
    """What each row's filters do; one that does nothing is None."""
    if not any(isinstance(value, Tensor) for value in given):
        return repeat(_one(vocabulary, *given), rows)
    return (_one(vocabulary, *row) for row in given.by_row(rows))


def _one(vocabulary: int, t: Any, k: Any, p: Any, m: Any) -> Filters:
    return Filters(
        None if t == 1 else t,
        None if k is None or k >= vocabulary else k,
        None if p == 1 else p,
        math.log(m) if m else None,
    )
