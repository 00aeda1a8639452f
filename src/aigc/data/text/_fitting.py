"""Best-fit-decreasing bin packing of many items of few sizes (Ding et al. 2024, arXiv:2404.10830), in bulk."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Bins", "best_fit"]

Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Items by bin.

    Attributes:
        items: Of all bins, behind each other.
        starts: Where each bin's begin, and the last's end.
    """

    items: Array
    starts: Array

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> Array:
        return self.items[self.starts[index] : self.starts[index + 1]]


def best_fit(costs: Array, items: Array, capacity: int) -> Bins:
    """Packs items, the largest first, each into the fullest bin that has room for it, or a new one.

    Items of one cost are placed at once: while the fullest bin with room has room for another, it stays the fullest, so it
    takes as many as fit before the next bin has its turn.

    Args:
        costs: In [1, capacity].
        items: Their names.
        capacity: Of a bin.

    Returns:
        Bins; the items of each in the order in which they were placed. Bins are numbered as they were opened.
    """
    order = np.argsort(-costs, kind="stable")
    sizes, counts = np.unique(costs, return_counts=True)
    home = np.empty(len(costs), dtype=np.int64)
    room: dict[int, list[Array]] = {}  # bins by the room that they have
    bins = at = 0
    for size, count in zip(sizes[::-1].tolist(), counts[::-1].tolist(), strict=True):
        end = at + count
        for space in sorted(have for have in room if have >= size):
            if at == end:
                break
            at = _fill(home[at:end], room, space, size) + at
        if at < end:
            each = capacity // size
            new = np.arange(bins, bins + -(-(end - at) // each))
            bins += len(new)
            room.setdefault(capacity, []).append(new)
            at = _fill(home[at:end], room, capacity, size) + at
    place = np.argsort(home, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(home, minlength=bins))]).astype(np.int64)
    return Bins(items[order][place], starts)


def _fill(home: Array, room: dict[int, list[Array]], space: int, size: int) -> int:
    """Puts items of one size into bins with one space, says in `home` where they are, and returns how many."""
    open_bins = np.concatenate(room.pop(space))
    each = space // size
    used = min(len(open_bins), -(-len(home) // each))
    placed = min(len(home), used * each)
    home[:placed] = np.repeat(open_bins[:used], each)[:placed]
    if used < len(open_bins):
        room.setdefault(space, []).append(open_bins[used:])
    full = placed // each
    if full:
        room.setdefault(space - each * size, []).append(open_bins[:full])
    if full < used:
        room.setdefault(space - (placed - full * each) * size, []).append(open_bins[full:used])
    return placed
