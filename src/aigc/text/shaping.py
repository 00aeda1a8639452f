"""What filters leave of a model's distribution, for whoever chooses tokens by other rules than a draw."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aigc import random
from aigc.kernels import Draw, Status
from aigc.sampling import Categorical, Noise, select

__all__ = ["Shape", "best", "verdict"]


class Shape(NamedTuple):
    """The filters of a prompt's rows, with what they remember of each: a value.

    Attributes:
        sampler: Its filters; nothing is drawn.
        state: After the last token of each row.
        start: Where the noise of the next step begins, int64 `(1,)`: filters may have noise, the same for all rows.
    """

    sampler: Categorical
    state: Any
    start: Tensor

    @classmethod
    def begin(cls, sampler: Categorical, prompt: Sequence[int], seed: int) -> "Shape":
        """The filters of one row, after its prompt."""
        return cls(sampler, sampler.init([prompt]), random.counter(torch.tensor([seed]), 0))

    def filtered(self, logits: Tensor) -> Tensor:
        """Logits `(rows, vocabulary)` as the filters leave them, float32 whatever they were, so that all rows are alike."""
        start = self.start.to(logits.device).expand(len(logits))
        return self.sampler.filtered(logits, self.state, Noise(start)).float()

    def follow(self, parents: Tensor, tokens: Tensor, logprobs: Tensor) -> "Shape":
        """The filters of rows that go on from `parents`, each with a token."""
        ones = torch.ones_like(tokens)
        draw = Draw(tokens, logprobs, ones, torch.ones_like(logprobs), torch.zeros_like(tokens))
        state = self.sampler.updated(select(self.state, parents), draw)
        return Shape(self.sampler, state, random.advance(self.start, 1))


def verdict(top: float) -> Status:
    """What is wrong with a row, by the largest of its logits."""
    if top != top:
        return Status.NAN
    return {torch.inf: Status.INF, -torch.inf: Status.EMPTY}.get(top, Status.OK)


def best(values: Tensor, count: int) -> list[list[tuple[float, int]]]:
    """The largest numbers of each row and where they are, largest first; of those that tie, the first.

    Args:
        values: `(rows, width)`; a row with NaN is not ordered.
        count: How many of each row, or all where that is more.
    """
    count = min(count, values.shape[-1])
    top, at = values.topk(count)
    # Of equal numbers topk takes any. Where more tie with the last than are taken, the row is sorted.
    last = top[:, -1:]
    tied = ((values >= last).sum(-1) > count) & (last[:, 0] > -torch.inf)
    for row in tied.nonzero()[:, 0].tolist():
        order = values[row].sort(descending=True, stable=True)
        top[row], at[row] = order.values[:count], order.indices[:count]
    pairs = zip(top.tolist(), at.tolist(), strict=True)
    return [sorted(zip(*pair, strict=True), key=lambda found: (-found[0], found[1])) for pair in pairs]
