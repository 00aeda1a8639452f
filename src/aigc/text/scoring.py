"""The log-probability of a text, of any length."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

__all__ = ["token_logprobs", "windows"]

_ROWS = 256  # positions whose log-softmax is taken at once: bounds the float copy of the vocabulary


def windows(length: int, context: int | None) -> Iterator[tuple[int, int, int]]:
    """Yields `(start, first, end)`: a forward over `[start, end)` that scores the tokens `[first, end)`.

    Every token but the first is scored once, and has the whole text before it, or at least half a context of it.

    >>> list(windows(7, None)), list(windows(10, 4))
    ([(0, 1, 7)], [(0, 1, 4), (2, 4, 6), (4, 6, 8), (6, 8, 10)])
    """
    if context is None or length <= context:
        yield 0, 1, length
        return
    stride = max(1, context // 2)
    yield 0, 1, context
    for first in range(context, length, stride):
        end = min(first + stride, length)
        yield end - context, first, end


def token_logprobs(logits: Callable[[Tensor], Tensor], ids: Tensor, *, context: int | None) -> list[float]:
    r"""Returns $\log p(x_i \mid x_{<i})$ in nats for every token of `ids` `(length,)` but the first.

    Args:
        logits: A forward without cache: `(1, length)` ids to `(1, length, vocabulary)` logits.
        ids: The text, begin token included.
        context: The model's longest sequence.
    """
    result: list[float] = []
    for start, first, end in windows(len(ids), context):
        if end - start < 2:
            continue
        scores = logits(ids[None, start:end])[0, first - start - 1 : end - start - 1]
        for rows, targets in zip(torch.split(scores, _ROWS), torch.split(ids[first:end], _ROWS), strict=True):
            chosen = rows.float().log_softmax(-1).gather(-1, targets[:, None])
            result.extend(chosen[:, 0].tolist())
    return result
