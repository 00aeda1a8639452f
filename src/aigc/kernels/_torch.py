"""Sampling without a GPU's help, on any device, and without sorting the vocabulary.

Rows come to the host, and are worked on there one by one: see `_row.py`. So a row's bits cannot depend on the rows beside
it, and one row's arrays, which fit in the processor's cache, are all that is allocated. For arrays of this size an
operation of numpy costs a fraction of one of torch (`docs/adr/0004-rows-on-the-host.md`).
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aigc.kernels._masses import Array
from aigc.kernels._parameters import Parameters
from aigc.kernels._row import Filters, draw
from aigc.kernels._row import threshold as row_threshold
from aigc.kernels._types import Noise, Status

__all__ = ["sample", "threshold"]


def sample(logits: Tensor, given: Parameters, noise: Noise) -> tuple[Tensor, Tensor]:
    """Draws one token per row of `logits` `(rows, vocab)`: int64 token, kept and status, float32 logprob and mass."""
    count, vocabulary = logits.shape
    integers, reals = np.zeros((3, count), dtype=np.int64), np.zeros((2, count), dtype=np.float32)
    if isinstance(given.temperature, float) and given.temperature == 0:
        _greedy(logits, integers, reals)
    else:
        with np.errstate(all="ignore"):
            starts = noise.start(count).numpy()
            for i, (x, filters) in enumerate(zip(_rows(logits), _filters(given, count, vocabulary), strict=True)):
                top = float(np.maximum.reduce(x))
                if not math.isfinite(top):
                    integers[:, i], reals[:, i] = (-1, 0, _status(top)), math.nan
                elif filters.divisor == 0:
                    integers[:2, i], reals[1, i] = (x.argmax(), 1), 1.0
                else:
                    token, logprob, kept, mass = draw(x, top, filters, starts[i : i + 1])
                    integers[:2, i], reals[:, i] = (token, kept), (logprob, mass)
    packed = torch.from_numpy(integers), torch.from_numpy(reals)
    return packed if logits.device.type == "cpu" else (packed[0].to(logits.device), packed[1].to(logits.device))


def _greedy(logits: Tensor, integers: Array, reals: Array) -> None:
    integers[1], reals[1] = 1, 1.0
    for i, x in enumerate(_rows(logits)):
        integers[0, i] = place = x.argmax()  # of a NaN, if there is one
        if not math.isfinite(x[place]):
            integers[:, i], reals[:, i] = (-1, 0, _status(x[place])), math.nan


def threshold(logits: Tensor, given: Parameters) -> Tensor:
    """Returns the smallest logit that the filters keep, `(rows,)`, in the dtype of `logits` `(rows, vocab)`."""
    tau = np.empty(len(logits), dtype=np.float64)
    with np.errstate(all="ignore"):
        for i, (x, filters) in enumerate(zip(_rows(logits), _filters(given, *logits.shape), strict=True)):
            top = float(x.max())
            tau[i] = row_threshold(x, top, filters) if math.isfinite(top) else top
    return torch.from_numpy(tau).to(logits.dtype).to(logits.device)


def _rows(logits: Tensor) -> Iterator[Array]:
    """Rows on the host, contiguous, float32 or float64."""
    if logits.device.type == "cpu" and logits.dtype in (torch.float32, torch.float64):
        array = logits.detach().numpy()
        yield from array if array.flags.c_contiguous else map(np.ascontiguousarray, array)
        return
    # What is copied at a time is no larger than the logits.
    portion = max(1, len(logits) // 2)
    for first in range(0, len(logits), portion):
        part = logits[first : first + portion].detach()
        yield from part.cpu().to(torch.float64 if logits.dtype == torch.float64 else torch.float32).contiguous().numpy()


def _filters(given: Parameters, rows: int, vocabulary: int) -> Iterator[Filters]:
    """What each row's filters do; one that does nothing is None."""
    if not any(isinstance(value, Tensor) for value in given):
        return iter([_one(vocabulary, *given)] * rows)
    columns = (value.flatten().tolist() if isinstance(value, Tensor) else [value] * rows for value in given)
    return (_one(vocabulary, *row) for row in zip(*columns, strict=True))


def _one(vocabulary: int, t: Any, k: Any, p: Any, m: Any) -> Filters:
    return Filters(
        None if t == 1 else t,
        None if k is None or k >= vocabulary else k,
        None if p == 1 else p,
        None if not m else math.log(m),
    )


def _status(top: float) -> Status:
    return Status.NAN if math.isnan(top) else Status.INF if top > 0 else Status.EMPTY
