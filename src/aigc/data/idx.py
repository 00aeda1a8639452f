"""IDX, the format of MNIST: two zeros, a type, how many dimensions, their lengths, the numbers; all big-endian."""

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from aigc._checks import fail, fail_type
from aigc.data._files import path_of, write_whole
from aigc.errors import DataError, DataNotFoundError

__all__ = ["Labelled", "mnist", "read_idx", "write_idx"]

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CODES = {
    torch.uint8: 0x08,
    torch.int8: 0x09,
    torch.int16: 0x0B,
    torch.int32: 0x0C,
    torch.float32: 0x0D,
    torch.float64: 0x0E,
}
_PIECE = 2**20  # bytes read at a time: what a damaged header claims is never believed before it is read


class Labelled(NamedTuple):
    """Images and what they show.

    Attributes:
        images: float32, `(n, channels, height, width)`, in [0, 1].
        labels: int64, `(n,)`.

    Example:
        >>> images, labels = Labelled(torch.zeros(2, 1, 28, 28), torch.tensor([7, 2]))
        >>> images[labels == 7].shape
        torch.Size([1, 1, 28, 28])
    """

    images: Tensor
    labels: Tensor


def read_idx(path: str | Path) -> Tensor:
    """Reads an IDX file, packed by gzip or not.

    Args:
        path: Which.

    Returns:
        uint8, int8, int16, int32, float32 or float64, of the file's own shape; every number as it is in the file.

    Raises:
        DataNotFoundError: If there is none.
        DataError: If it is something else, truncated, longer than it says, or damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_idx(f"{folder}/numbers", torch.arange(6, dtype=torch.uint8).view(2, 3))
        ...     read_idx(f"{folder}/numbers")
        tensor([[0, 1, 2],
                [3, 4, 5]], dtype=torch.uint8)
    """
    place = path_of("path", path)
    try:
        with open(place, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.open(file) if packed else file as opened:
                return _read(cast("IO[bytes]", opened), place)
    except FileNotFoundError:
        raise DataNotFoundError(f"path must be an IDX file that exists, got {str(place)!r}.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{str(place)!r} cannot be read: {error}") from error


def write_idx(path: str | Path, numbers: Tensor) -> None:
    """Writes a tensor as an IDX file, packed by gzip where its name ends in `.gz`.

    Args:
        path: Where; a file that is there already is replaced, in one stroke.
        numbers: uint8, int8, int16, int32, float32 or float64, of 1 to 255 dimensions.

    Raises:
        ParameterError: If the type or the number of dimensions has no place in the format.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_idx(f"{folder}/labels.gz", torch.tensor([1, 2], dtype=torch.int16))
        ...     read_idx(f"{folder}/labels.gz")
        tensor([1, 2], dtype=torch.int16)
    """
    if not isinstance(numbers, Tensor) or numbers.dtype not in _CODES:
        wanted = f"a tensor of one of {', '.join(str(dtype).removeprefix('torch.') for dtype in _CODES)}"
        raise fail_type("numbers", wanted, getattr(numbers, "dtype", numbers))
    if not 1 <= numbers.ndim <= 255 or any(length >= 2**32 for length in numbers.shape):
        raise fail("numbers", "of 1 to 255 dimensions, each shorter than 2^32", tuple(numbers.shape))
    code = _CODES[numbers.dtype]
    header = bytes([0, 0, code, numbers.ndim]) + np.array(numbers.shape, dtype=">u4").tobytes()
    data = header + numbers.detach().cpu().numpy().astype(_TYPES[code]).tobytes()
    write_whole(path, gzip.compress(data, mtime=0) if str(path).endswith(".gz") else data)


def mnist(folder: str | Path, *, train: bool = True) -> Labelled:
    """Reads MNIST, or a set in its form such as Fashion-MNIST, from a folder with the official names.

    The names are `train-images-idx3-ubyte` or `t10k-images-idx3-ubyte` and the like for labels, with `.gz` or without.

    Args:
        folder: Where they are.
        train: Whether the training images, else the test images.

    Returns:
        Images in [0, 1] of one channel, and labels.

    Raises:
        DataNotFoundError: If a file is not there.
        DataError: If one is damaged, or there are not as many labels as images.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_idx(f"{folder}/t10k-images-idx3-ubyte.gz", torch.full((1, 2, 2), 255, dtype=torch.uint8))
        ...     write_idx(f"{folder}/t10k-labels-idx1-ubyte.gz", torch.tensor([7], dtype=torch.uint8))
        ...     mnist(folder, train=False)
        Labelled(images=tensor([[[[1., 1.],
                  [1., 1.]]]]), labels=tensor([7]))
    """
    if not isinstance(train, bool):
        raise fail_type("train", "True for the training images or False for the test images", train)
    part = "train" if train else "t10k"
    pixels = pictures(_named(path_of("folder", folder), f"{part}-images", 3))
    return Labelled(pixels[:, None].float() / 255, companion(pixels, _named(Path(folder), f"{part}-labels", 1)))


def pictures(path: Path) -> Tensor:
    """The grey pictures of an IDX file: uint8, `(n, height, width)`."""
    pixels = read_idx(path)
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or not pixels.numel():
        found = f"{str(pixels.dtype).removeprefix('torch.')} of shape {tuple(pixels.shape)}"
        raise DataError(f"{str(path)!r} must hold pictures, uint8 of shape (n, height, width); it holds {found}.")
    return pixels


def companion(pixels: Tensor, path: Path) -> Tensor:
    """The labels of pictures: int64, `(n,)`."""
    labels = read_idx(path)
    if labels.is_floating_point() or labels.shape != pixels.shape[:1]:
        found = f"{str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}"
        raise DataError(f"{str(path)!r} must hold {len(pixels)} labels, one for each picture; it holds {found}.")
    return labels.long()


def labels_beside(path: Path) -> Path:
    """Where the labels of a file of pictures are by the names of MNIST."""
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    if name == path.name:
        raise DataError(f"{str(path)!r} has no file of labels beside it: its name would have to say `images`.")
    return path.with_name(name)


def _named(folder: Path, start: str, dimensions: int) -> Path:
    names = [f"{start}{dot}idx{dimensions}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataNotFoundError(f"folder must hold {names[0]} or {names[1]}, got {str(folder)!r}.")


def _read(file: IO[bytes], path: Path) -> Tensor:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES or not start[3]:
        raise DataError(f"{str(path)!r} is no IDX file: it begins with {start.hex(' ') or 'nothing'}.")
    lengths = file.read(4 * start[3])
    if len(lengths) < 4 * start[3]:
        raise DataError(f"{str(path)!r} is truncated within its header.")
    shape = [int(length) for length in np.frombuffer(lengths, dtype=">u4")]
    kind = np.dtype(_TYPES[start[2]])
    wanted = math.prod(shape) * kind.itemsize
    data = bytearray()
    while len(data) <= wanted and (piece := file.read(min(_PIECE, wanted + 1 - len(data)))):
        data += piece
    if len(data) != wanted:
        state = "truncated" if len(data) < wanted else "longer than it says"
        had = f"at least {len(data)}" if len(data) > wanted else str(len(data))
        raise DataError(f"{str(path)!r} is {state}: shape {tuple(shape)} takes {wanted} bytes, and it has {had}.")
    return torch.from_numpy(np.frombuffer(bytes(data), dtype=kind).astype(kind.newbyteorder("=")).reshape(shape))
