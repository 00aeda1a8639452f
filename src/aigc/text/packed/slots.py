"""Keys and values of rows, in blocks of slots: token i of a row is in slot i, whatever the other rows hold.

Values are `(rows, kv_heads, slots, features)`. Keys are `(rows, kv_heads, blocks, features, BLOCK)`, with a block's slots
side by side, so that products with all of them are a weighted sum of `features` rows (see `attention.py`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from aigc.text.packed.parts import Attention

__all__ = ["BLOCK", "Places", "Slots"]

BLOCK = 64


class Slots:
    """The past of some rows, for all layers.

    Args:
        layers: The layers' attention.
        rows: How many rows.
        blocks: How many blocks each has at first.
        dtype: Of keys and values.
    """

    def __init__(self, layers: Sequence[Attention], *, rows: int, blocks: int, dtype: torch.dtype) -> None:
        self.rows, self.blocks, self.dtype = rows, blocks, dtype
        shapes = [(rows, layer.kv_heads, blocks, layer.size, BLOCK) for layer in layers]
        # Zeros, as what is not filled yet is multiplied by 0, and must not be NaN.
        self.keys = [torch.zeros(shape, dtype=dtype) for shape in shapes]
        self.values = [torch.zeros(r, h, n * BLOCK, d, dtype=dtype) for r, h, n, d, _ in shapes]

    def write(self, layer: int, keys: Tensor, values: Tensor, at: "Places") -> None:
        """Writes keys and values `(tokens, kv_heads, features)` to their places."""
        # Rows, blocks and slots of a block lead; heads and features are what is written.
        self.keys[layer].permute(0, 2, 4, 1, 3)[at.row, at.block, at.offset] = keys
        self.values[layer].permute(0, 2, 1, 3)[at.row, at.slot] = values

    def read(self, layer: int, row: int, blocks: int) -> tuple[Tensor, Tensor]:
        """Keys and values `(kv_heads, slots, features)` of a row's first blocks."""
        keys = self.keys[layer][row, :, :blocks]
        return keys.transpose(2, 3).flatten(1, 2), self.values[layer][row, :, : blocks * BLOCK]

    def copy(self, row: int, blocks: int) -> tuple[list[Tensor], list[Tensor]]:
        """Copies a row's first blocks: keys and values of each layer."""
        keys = [keys[row, :, :blocks].clone() for keys in self.keys]
        return keys, [values[row, :, : blocks * BLOCK].clone() for values in self.values]

    def restore(self, row: int, keys: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        """Puts what was copied into a row."""
        for store, part in zip([*self.keys, *self.values], [*keys, *values], strict=True):
            store[row, :, : part.shape[1]] = part

    def reserve(self, slots: int) -> None:
        """Makes room for so many slots in each row."""
        needed = -(-slots // BLOCK)
        if needed <= self.blocks:
            return
        more = max(needed, min(2 * self.blocks, self.blocks + 32)) - self.blocks
        self.keys = [_longer(keys, more) for keys in self.keys]
        self.values = [_longer(values, more * BLOCK) for values in self.values]
        self.blocks += more

    def select(self, rows: Tensor) -> "Slots":
        """Copies some rows, each as often as it is named."""
        chosen = Slots((), rows=len(rows), blocks=self.blocks, dtype=self.dtype)
        chosen.keys = [keys[rows] for keys in self.keys]
        chosen.values = [values[rows] for values in self.values]
        return chosen

    def apart(self, rows: Sequence[int], lengths: Sequence[int]) -> "tuple[Slots, list[int]]":
        """Gives each of some rows slots of its own, those of `lengths` tokens copied; returns where each row is now.

        The first row that is in a place stays there; the others go where nobody is, or all are copied if there is no room.
        """
        spare = sorted(set(range(self.rows)) - set(rows))
        if len(rows) - len(set(rows)) > len(spare):
            return self.select(torch.tensor(rows)), list(range(len(rows)))
        places: list[int] = []
        for row, length in zip(rows, lengths, strict=True):
            place = spare.pop(0) if row in places else row
            if place != row:
                blocks = -(-length // BLOCK)
                for keys, values in zip(self.keys, self.values, strict=True):
                    keys[place, :, :blocks] = keys[row, :, :blocks]
                    values[place, :, : blocks * BLOCK] = values[row, :, : blocks * BLOCK]
                    # What is not filled yet is multiplied by 0, and who was here before may have left NaN.
                    keys[place, :, blocks:], values[place, :, blocks * BLOCK :] = 0, 0
            places.append(place)
        return self, places


class Places(NamedTuple):
    """Where tokens are written: row and slot, and the slot's block and place in it, int64 `(tokens,)` each."""

    row: Tensor
    slot: Tensor
    block: Tensor
    offset: Tensor

    @staticmethod
    def of(row: Tensor, slot: Tensor) -> "Places":
        """Places from rows and slots."""
        return Places(row, slot, slot // BLOCK, slot % BLOCK)


def _longer(store: Tensor, more: int) -> Tensor:
    shape = list(store.shape)
    shape[2] = more
    return torch.cat([store, store.new_zeros(shape)], 2)
