"""GIF89a: frames of at most 256 colours, packed by LZW; and how these colours are chosen."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["gif", "lzw"]

Bytes = npt.NDArray[np.uint8]

_LONGEST = 12  # bits of a code
_FINE = 2  # bits of a channel that are left aside when colours are counted


def gif(frames: Bytes, *, delays: Sequence[int], scale: int) -> bytes:
    """Encodes an animation that runs again and again.

    Up to 256 colours are kept as they are; of more, 256 are chosen for each frame.

    Args:
        frames: `(n, height, width, channels)`, of 1 channel or 3.
        delays: How long each is shown, in hundredths of a second.
        scale: Pixels of the file for each of a frame, along each side.
    """
    height, width = frames.shape[1] * scale, frames.shape[2] * scale
    shared = _exact(frames)
    out = [b"GIF89a", struct.pack("<HHBBB", width, height, 0x70, 0, 0)]
    out.append(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")  # again and again
    for i, delay in enumerate(delays):
        table, places = (shared[0], shared[1][i]) if shared is not None else _chosen(frames[i])
        bits = max(2, (len(table) - 1).bit_length())
        padded = np.zeros((2**bits, 3), dtype=np.uint8)
        padded[: len(table)] = table
        out.append(struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 0x04, delay, 0, 0))
        out += [struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0x80 | (bits - 1)), padded.tobytes(), bytes([bits])]
        packed = lzw(places.repeat(scale, 0).repeat(scale, 1).tobytes(), bits)
        out += [bytes([len(part)]) + part for part in (packed[i : i + 255] for i in range(0, len(packed), 255))]
        out.append(b"\0")
    return b"".join(out) + b"\x3b"


def lzw(data: bytes, bits: int) -> bytes:
    """Packs bytes below 2^bits by the variable-length codes of GIF (Welch 1984)."""
    clear, last = 1 << bits, 1 << _LONGEST
    codes, widths = [clear], [bits + 1]
    known: dict[int, int] = {}
    new, width = clear + 2, bits + 1
    before = data[0]
    for byte in data[1:]:
        key = before << 8 | byte
        code = known.get(key)
        if code is not None:
            before = code
            continue
        codes.append(before)
        widths.append(width)
        before = byte
        if new < last:
            known[key] = new
            width += new >> width  # 1 where the new code is the first that is too long
            new += 1
        else:
            codes.append(clear)
            widths.append(width)
            known.clear()
            new, width = clear + 2, bits + 1
    codes += [before, clear + 1]
    # The reader learns a code after the last one too, and may lengthen its codes by it.
    widths += [width, min(width + (new >> width), _LONGEST) if new < last else width]
    spread = np.array(codes)[:, None] >> np.arange(_LONGEST) & 1
    kept = np.arange(_LONGEST) < np.array(widths)[:, None]
    return np.packbits(spread[kept].astype(np.uint8), bitorder="little").tobytes()


def _exact(frames: Bytes) -> tuple[Bytes, Bytes] | None:
    """All colours, and the place of each pixel's among them, `(n, height, width)`; None if there are more than 256."""
    if frames.shape[3] == 1:
        grey = np.arange(256, dtype=np.uint8)
        return grey[:, None].repeat(3, 1), frames[..., 0]
    found, places = np.unique(_packed(frames), return_inverse=True)
    if len(found) > 256:
        return None
    table = np.stack([found >> 16, found >> 8 & 255, found & 255], 1).astype(np.uint8)
    return table, places.reshape(frames.shape[:3]).astype(np.uint8)


def _chosen(frame: Bytes) -> tuple[Bytes, Bytes]:
    """At most 256 colours for a frame, and the place of each pixel's nearest among them, `(height, width)`."""
    wide: Any = frame.reshape(-1, 3).astype(np.float64)
    _, cells, counts = np.unique(_packed((frame >> _FINE).astype(np.uint8)), return_inverse=True, return_counts=True)
    colours = _means(cells.reshape(-1), wide, counts)
    table = _cut(colours, counts)
    return np.rint(table).astype(np.uint8), _nearest(colours, table).astype(np.uint8)[cells].reshape(frame.shape[:2])


def _packed(colours: Bytes) -> Any:
    """Colours as one number each."""
    return colours.reshape(-1, 3).astype(np.int64) @ [65536, 256, 1]


def _means(groups: Any, values: Any, counts: Any) -> Any:
    """Sums of values by group, over counts."""
    return np.stack([np.bincount(groups, values[:, c], minlength=len(counts)) for c in range(3)], 1) / counts[:, None]


def _cut(colours: Any, counts: Any) -> Any:
    """At most 256 colours by median cut, where the box with the largest squared error is cut at its mean."""
    boxes = [np.arange(len(colours))]
    errors = [_error(colours, counts, boxes[0])]
    while len(boxes) < 256 and max(errors)[0] > 0:
        at = errors.index(max(errors))
        axis, middle = errors[at][1:]
        box = boxes[at]
        low = colours[box, axis] <= middle
        boxes[at : at + 1] = [box[low], box[~low]]
        errors[at : at + 1] = [_error(colours, counts, half) for half in boxes[at : at + 2]]
    return np.stack([np.average(colours[box], axis=0, weights=counts[box]) for box in boxes])


def _error(colours: Any, counts: Any, box: Any) -> tuple[float, int, float]:
    """A box's squared error along its longest axis, that axis, and its mean there."""
    mean = np.average(colours[box], axis=0, weights=counts[box])
    squares = (np.square(colours[box] - mean) * counts[box, None]).sum(0)
    axis = int(squares.argmax())
    return (float(squares[axis]) if len(box) > 1 else 0.0), axis, float(mean[axis])


def _nearest(colours: Any, table: Any) -> Any:
    """The place of the nearest colour of a table; squared distance up to what is the same for all."""
    return (np.square(table).sum(1) - 2 * colours @ table.T).argmin(1)
