"""PNG of 8 bits a channel (ISO/IEC 15948): lossless, by the standard library's zlib."""

import struct
import zlib

import numpy as np
import numpy.typing as npt

__all__ = ["png"]

_COLOUR = {
    1: 0,
    2: 4,
    3: 2,
    4: 6,
}  # channels to the format's number for grey, grey and opacity, colours, colours and opacity


def png(levels: npt.NDArray[np.uint8]) -> bytes:
    """Encodes a picture.

    Args:
        levels: `(height, width, channels)`, of 1 to 4 channels.
    """
    height, width, channels = levels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR[channels], 0, 0, 0)
    data = zlib.compress(_filtered(levels.reshape(height, width * channels), channels), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _filtered(rows: npt.NDArray[np.uint8], channels: int) -> bytes:
    """Each row as it is, or as differences from its left or upper neighbour: what looks smallest packs best."""
    left, up = np.zeros_like(rows), np.zeros_like(rows)
    left[:, channels:], up[1:] = rows[:, :-channels], rows[:-1]
    kinds = np.stack([rows, rows - left, rows - up])  # the format's filters 0, 1 and 2; bytes wrap as it wants
    best = np.abs(kinds.view(np.int8).astype(np.int16)).sum(-1).argmin(0)
    chosen = kinds[best, np.arange(len(rows))]
    return np.concatenate([best[:, None].astype(np.uint8), chosen], 1).tobytes()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
