"""A file of numbers, mapped into memory and read in parts."""

import mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["Mapped"]

_HELD = 2**26  # bytes read before their pages are given back: they stay in the system's cache, but not in the process
_AROUND = 2**16  # bytes that the system maps around what is read


class Mapped:
    """Whole numbers of a file, as int64, read where they are asked for. It must not be empty.

    Args:
        path: The file.
        dtype: Of its numbers, little-endian.
    """

    def __init__(self, path: Path, dtype: str) -> None:
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._numbers = np.frombuffer(self._map, dtype=dtype)
        self._touched = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def read(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """A copy of some numbers."""
        part = self._numbers[start:stop].astype(np.int64)
        self._count(part.size * self._numbers.itemsize)
        return part

    def at(self, place: int) -> int:
        """One of them."""
        self._count(0)
        return int(self._numbers[place])

    def _count(self, size: int) -> None:
        self._touched += size + _AROUND
        if self._touched >= _HELD and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._touched = 0
