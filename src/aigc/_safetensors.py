"""What a safetensors file says it holds, read from its header alone, and believed only as far as the file goes."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch

from aigc.errors import ModelFileError

__all__ = ["DTYPES", "TensorInfo", "read_header", "weight_files"]

_LARGEST_HEADER = 100_000_000  # bytes; the format's own limit

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "BOOL": torch.bool,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
}  # fmt: skip


class TensorInfo(NamedTuple):
    """A tensor as its header describes it."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_header(file: Path) -> dict[str, TensorInfo]:
    """Reads the names, types and shapes of a file's tensors.

    Raises:
        ModelFileError: If the file is empty, cut off, or no safetensors file.
    """
    size = file.stat().st_size
    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little") if size >= 8 else 0
        if not 2 <= length <= min(size - 8, _LARGEST_HEADER):
            raise _damaged(file, f"it has {size} bytes and no readable header")
        try:
            header: Any = json.loads(stream.read(length))
            tensors = {name: _entry(entry, size - 8 - length) for name, entry in header.items() if name != "__metadata__"}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(file, f"its header is not what safetensors writes ({error})") from error
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: the one, or the shards of its index, each inside the folder.

    Raises:
        ModelFileError: If an index is malformed, or names a file that is missing or outside the folder.
    """
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        # The names that transformers reads; others beside them are adapters, or the same weights once more.
        return sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(index, f"it is no index of shards ({error})") from error
    return [_inside(folder, index, name) for name in names]


def _inside(folder: Path, index: Path, name: Any) -> Path:
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
        raise ModelFileError(f"{index} names {name!r}, which is not a file of its own folder. Do not load this model.")
    if not (folder / name).is_file():
        raise ModelFileError(f"{index} names {name!r}, which is missing. Download the model again.")
    return folder / name


def _entry(entry: dict[str, Any], room: int) -> TensorInfo:
    start, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    info = TensorInfo(DTYPES[entry["dtype"]], shape)
    whole = all(isinstance(n, int) and n >= 0 for n in (*shape, start, end))
    if not whole or end > room or end - start != info.numel * info.dtype.itemsize:
        raise ValueError(f"a tensor of shape {list(shape)} at bytes {start} to {end}, where {room} follow")
    return info


def _damaged(file: Path, why: str) -> ModelFileError:
    return ModelFileError(f"{file} is damaged: {why}. Download or save the model again.")
