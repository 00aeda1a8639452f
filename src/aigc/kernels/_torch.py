"""Sampling without a GPU's help, on any device, and without sorting the vocabulary.

Rows come to the host, and are worked on there one by one: see `_row.py`. So a row's bits cannot depend on the rows beside it,
and one row's arrays, which fit in the processor's cache, are all that is allocated. For arrays of this size an operation of
numpy costs a fraction of one of torch (`docs/adr/0004-rows-on-the-host.md`).
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from aigc.kernels._masses import Array
from aigc.kernels._parameters import Parameters
from aigc.kernels._row import Filters, draw
from aigc.kernels._row import threshold as row_threshold
from aigc.kernels._types import Draw, Status

__all__ = ["sample", "threshold"]


def sample(logits: Tensor, given: Parameters, start: Tensor) -> Draw:
    """Draws one token per row of `logits` `(rows, vocab)`; `start` `(rows,)` is where each row's noise begins."""
    count, vocabulary = logits.shape
    token, kept, status = np.full(count, -1), np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    logprob, mass = np.full(count, np.nan, dtype=np.float32), np.full(count, np.nan, dtype=np.float32)
    starts = _host(start)
    for i, (x, filters) in enumerate(zip(_rows(logits), _filters(given, count, vocabulary), strict=True)):
        top = float(x.max())
        if not math.isfinite(top):
            status[i] = _status(top)
        elif filters.divisor == 0:
            token[i], logprob[i], kept[i], mass[i] = x.argmax(), 0.0, 1, 1.0
        else:
            token[i], logprob[i], kept[i], mass[i] = draw(x, top, filters, starts[i : i + 1])
    fields = map(torch.from_numpy, (token, logprob, kept, mass, status))
    return Draw(*fields if logits.device.type == "cpu" else (field.to(logits.device) for field in fields))


def threshold(logits: Tensor, given: Parameters) -> Tensor:
    """Returns the smallest logit that the filters keep, `(rows,)`, in the dtype of `logits` `(rows, vocab)`."""
    tau = np.empty(len(logits), dtype=np.float64)
    for i, (x, filters) in enumerate(zip(_rows(logits), _filters(given, *logits.shape), strict=True)):
        top = float(x.max())
        tau[i] = row_threshold(x, top, filters) if math.isfinite(top) else top
    return torch.from_numpy(tau).to(logits.dtype).to(logits.device)


def _rows(logits: Tensor) -> Iterator[Array]:
    """Rows on the host, contiguous, float32 or float64."""
    if logits.device.type == "cpu" and logits.dtype in (torch.float32, torch.float64):
        yield from map(np.ascontiguousarray, logits.detach().numpy())
        return
    # What is copied at a time is no larger than the logits.
    for part in logits.detach().split(max(1, len(logits) // 2)):
        yield from part.cpu().to(torch.float64 if logits.dtype == torch.float64 else torch.float32).contiguous().numpy()


def _host(column: Tensor) -> Array:
    array: Array = column.detach().cpu().numpy()
    return array


def _filters(given: Parameters, rows: int, vocabulary: int) -> Iterator[Filters]:
    """What each row's filters do; one that does nothing is None."""
    if not any(isinstance(value, Tensor) for value in given):
        return iter([_one(*given, vocabulary)] * rows)
    columns = (value.flatten().tolist() if isinstance(value, Tensor) else [value] * rows for value in given)
    return (_one(*row, vocabulary) for row in zip(*columns, strict=True))


def _one(t: float | None, k: float | None, p: float | None, m: float | None, vocabulary: int) -> Filters:
    return Filters(
        None if t == 1 else t,
        None if k is None or k >= vocabulary else int(k),
        None if p == 1 else p,
        None if not m else math.log(m),
    )


def _status(top: float) -> Status:
    return Status.NAN if math.isnan(top) else Status.INF if top > 0 else Status.EMPTY
