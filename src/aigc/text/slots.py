"""Where keys and values live: token i of a row is in slot i of that row, whatever its neighbours hold.

Left padding moves every row to the right by an amount that depends on its batch mates, and with it every sum over the
past. Here a row starts at slot 0 and writes at its own position; a mask hides the slots that it has not filled. A row's
logits then have the same bits in any batch wherever the products' own kernels allow it; `plan.py` tries that.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BUCKET", "LayerSlots", "Positions", "causal_mask", "round_up"]

BUCKET = 64  # slots are read and allocated in multiples of this, so that few shapes occur


def round_up(slots: int) -> int:
    """Rounds a number of slots up to whole buckets.

    >>> round_up(1), round_up(64), round_up(65)
    (64, 64, 128)
    """
    return -(-slots // BUCKET) * BUCKET


@dataclass(slots=True)
class Positions:
    """What one forward writes and reads; one object is shared by all layers of a cache.

    Attributes:
        write: The slot of each incoming token, int64 of shape `(rows, queries)`.
        window: How many slots are read. Every filled slot lies below it.
        room: How many slots must exist, at least `window`.
    """

    write: Tensor
    window: int
    room: int


class LayerSlots:
    """One layer's keys and values, each of shape `(rows, heads, slots, features)`."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def put(self, keys: Tensor, values: Tensor, at: Positions) -> tuple[Tensor, Tensor]:
        """Writes the incoming keys and values to their slots, and returns all that are read."""
        self.keys = _put(self.keys, keys, at)
        self.values = _put(self.values, values, at)
        return self.keys[:, :, : at.window], self.values[:, :, : at.window]

    def select(self, alive: Tensor) -> None:
        """Keeps some rows, given by index."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[alive], self.values[alive]

    @classmethod
    def gather(cls, layers: "list[LayerSlots]", source: list[int]) -> "LayerSlots":
        """Builds rows out of single-row layers: row i becomes a copy of `layers[source[i]]`."""
        joined = cls()
        joined.keys = _gather([layer.keys for layer in layers], source)
        joined.values = _gather([layer.values for layer in layers], source)
        return joined


def causal_mask(at: Positions, *, dtype: torch.dtype, sliding: int | None = None) -> Tensor:
    """Returns the additive mask `(rows, 1, queries, window)`: 0 where a token may look, the least float elsewhere.

    The token at position i looks at slots j with `0 <= i - j`, and `i - j < sliding` where attention slides.

    >>> at = Positions(torch.tensor([[2]]), window=4, room=4)
    >>> causal_mask(at, dtype=torch.float32).isfinite().all().item(), causal_mask(at, dtype=torch.float32)[0, 0, 0] == 0
    (True, tensor([ True,  True,  True, False]))
    """
    slot = torch.arange(at.window, device=at.write.device)
    distance = at.write[:, None, :, None] - slot
    hidden = distance < 0
    if sliding is not None:
        hidden |= distance >= sliding
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, torch.finfo(dtype).min)


def _put(store: Tensor | None, incoming: Tensor, at: Positions) -> Tensor:
    rows, heads, _, features = incoming.shape
    filled = 0 if store is None else store.shape[2]
    if filled < at.room:
        grown = incoming.new_zeros(rows, heads, max(round_up(at.room), 2 * filled), features)
        if store is not None:
            grown[:, :, :filled] = store
        store = grown
    assert store is not None
    index = at.write[:, None, :, None].expand(-1, heads, -1, features)
    return store.scatter_(2, index, incoming)


def _gather(stores: list[Tensor | None], source: list[int]) -> Tensor:
    filled = [store for store in stores if store is not None]
    _, heads, _, features = filled[0].shape
    joined = filled[0].new_zeros(len(source), heads, max(store.shape[2] for store in filled), features)
    for row, origin in enumerate(source):
        joined[row, :, : filled[origin].shape[2]] = filled[origin][0]
    return joined
