"""What was written, as penalties look at it: how often each token occurs, and where its end has occurred before.

Both are values whose tensors lead with the rows. A step is a few operations on as many numbers as there are tokens, never a
pass over the vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["Counts", "Repeats", "repeats_of"]


class Counts(NamedTuple):
    """How often each token occurs among the last ones of each row.

    Rows are as wide as the longest. Where a row has no token there stands a 0, with the count of the token 0: so all places
    of one id agree, and what is written back to logits by id does not depend on the order of writing.

    Attributes:
        ids: `(rows, width)`, int64; with a window, oldest first.
        times: How often the id beside it occurs, `(rows, width)`, int32.
        filled: How many places hold a token, `(rows,)`, int64.
    """

    ids: Tensor
    times: Tensor
    filled: Tensor

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]], window: int | None) -> "Counts":
        """Counts the tokens of texts, or the last `window` of each."""
        rows = [np.asarray(text if window is None else text[-window:], dtype=np.int64) for text in texts]
        found = [np.unique(row, return_inverse=True, return_counts=True) for row in rows]
        if window is None:  # nothing will leave: each token needs one place only
            rows, times = [each[0] for each in found], [each[2] for each in found]
        else:
            times = [each[2][each[1].reshape(-1)] for each in found]
        width = max(map(len, rows), default=0)
        ids, counts = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.int32)
        for i, (row, count) in enumerate(zip(rows, times, strict=True)):
            free = width - len(row)
            ids[i, free:], counts[i, free:] = row, count
            counts[i, :free] = max(count[row == 0], default=0)
        filled = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        return cls(torch.from_numpy(ids), torch.from_numpy(counts), filled)

    def after(self, token: Tensor, window: int | None) -> "Counts":
        """Counts one more token per row, `(rows,)`; a row without one is over, and whatever stands there is harmless."""
        token = token.clamp(min=0)[:, None]
        ids, times, filled = (each.to(token.device) for each in self)
        if window is not None and ids.shape[1] == window:
            leaves = (ids == ids[:, :1]) & (filled == window)[:, None]
            ids, times = ids[:, 1:], (times - leaves.int())[:, 1:]
        ids, times = torch.cat([ids, token], 1), pad(times, (0, 1))
        same = ids == token
        times = times.where(~same, (times * same).amax(1, keepdim=True) + 1)
        return Counts(ids, times, (filled + 1).clamp(max=ids.shape[1]))


class Repeats(NamedTuple):
    """How many of the last tokens of each row stand at each place of it.

    Attributes:
        ids: The tokens, oldest first, ending at the right, `(rows, width)`, int64; -1 where there is none.
        lengths: How many tokens that end in this place are the tokens that the row ends with, `(rows, width)`, int64; of
            the last place, which is the end itself, 0.
    """

    ids: Tensor
    lengths: Tensor

    def after(self, token: Tensor, window: int | None) -> "Repeats":
        """The state after one more token per row, `(rows,)`.

        A repeat grows by one where the same token follows, and ends where another does.
        """
        token = token.clamp(min=0)[:, None]
        ids, lengths = (each.to(token.device) for each in self)
        grown = (pad(lengths, (1, 0))[:, :-1] + 1) * (ids == token)
        ids, lengths = torch.cat([ids, token], 1), pad(grown, (0, 1))
        return Repeats(ids, lengths) if window is None else Repeats(ids[:, -window:], lengths[:, -window:])

    def before(self) -> Tensor:
        """How long the repeat is that ends before each place, and begins in sight, `(rows, width)`."""
        place = torch.arange(self.ids.shape[1], device=self.ids.device)
        return torch.minimum(pad(self.lengths, (1, 0))[:, :-1], place)


def repeats_of(texts: Sequence[Sequence[int]], most: Sequence[int]) -> Repeats:
    """Finds where the ends of texts have occurred before.

    Args:
        texts: The tokens of each row.
        most: How many tokens at the end of each row may count as repeated.
    """
    width = max(map(len, texts), default=0)
    ids = np.full((len(texts), width), -1, np.int64)
    lengths = np.zeros((len(texts), width), np.int64)
    for i, (text, limit) in enumerate(zip(texts, most, strict=True)):
        if len(text):
            ids[i, width - len(text) :] = text
            lengths[i, width - len(text) :] = np.minimum(_suffixes(list(text)), limit)
    return Repeats(torch.from_numpy(ids), torch.from_numpy(lengths))


def _suffixes(text: list[int]) -> list[int]:
    """How many tokens that end in each place are those that the text ends with: the Z-function of the text backwards."""
    backwards = text[::-1]
    size = len(text)
    lengths = [0] * size
    left = right = 0  # the repeat found so far that reaches farthest
    for i in range(1, size):
        n = min(right - i, lengths[i - left]) if i < right else 0
        while i + n < size and backwards[n] == backwards[i + n]:
            n += 1
        lengths[i] = n
        if i + n > right:
            left, right = i, i + n
    return lengths[::-1]
