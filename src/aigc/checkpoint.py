"""Checkpoints: a folder of `config.json`, `model.safetensors` and `manifest.json`, written whole or not at all.

A folder is written beside its place, each file flushed to the disk, and then renamed; the manifest holds the size and
the SHA-256 of every other file, and is checked before any of them is believed. Only JSON and safetensors are read: no
pickle, and no name in a file is ever imported.
"""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from aigc._checks import fail, fail_type
from aigc._safetensors import DTYPES, read_header
from aigc._writing import path_of
from aigc.errors import ModelFileError, ModelNotFoundError

__all__ = ["Checkpoint", "atomic_folder", "check_state", "load", "read_json", "refuse_pickle", "save", "verify"]

MANIFEST = "manifest.json"
FORMAT = 1
_LARGEST_JSON = 64 * 2**20  # bytes
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


class Checkpoint(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        config: The constructor's arguments, as JSON has them.
        tensors: The state, on the CPU.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]


def save(folder: str | Path, *, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes a checkpoint, all or nothing; one that is there already is replaced.

    Args:
        folder: A new or empty folder, or an older checkpoint.
        config: Anything JSON can hold.
        tensors: Of real dtypes, any strides. Tensors that share memory are written once each.

    Raises:
        ParameterError: If the folder holds something else than a checkpoint, or a value cannot be written.

    Example:
        >>> import torch
        >>> with tempfile.TemporaryDirectory() as place:
        ...     save(f"{place}/model", config={"width": 3}, tensors={"weight": torch.ones(3)})
        ...     load(f"{place}/model")
        Checkpoint(config={'width': 3}, tensors={'weight': tensor([1., 1., 1.])})
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.dtype not in DTYPES.values():
            wanted = f"a tensor of one of {', '.join(str(dtype).removeprefix('torch.') for dtype in DTYPES.values())}"
            raise fail_type(f"tensors[{name!r}]", wanted, getattr(tensor, "dtype", tensor))
        if name == "__metadata__":
            raise fail("tensors", "named otherwise than the format's own entry", name)
    try:
        text = json.dumps(dict(config), indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise fail("config", "what JSON can hold", dict(config), str(error)) from error
    with atomic_folder(folder) as beside:
        (beside / "config.json").write_text(text + "\n", encoding="utf-8")
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        save_file(plain, beside / "model.safetensors", metadata={"format": "pt"})


def load(folder: str | Path) -> Checkpoint:
    """Reads a checkpoint that `save` wrote, each file checked against the manifest first.

    Raises:
        ModelNotFoundError: If there is no such folder.
        ModelFileError: If a file is missing, damaged or not in the manifest.

    Example:
        >>> load("no/such/folder")
        Traceback (most recent call last):
        aigc.errors.ModelNotFoundError: folder must be a checkpoint, got 'no/such/folder', which does not exist.
    """
    place = path_of("folder", folder)
    if not place.is_dir():
        raise ModelNotFoundError(f"folder must be a checkpoint, got {str(folder)!r}, which does not exist.")
    if not verify(place):
        raise ModelFileError(
            f"{place / MANIFEST} is missing, so nothing in the folder can be trusted. Save the model again."
        )
    file = place / "model.safetensors"
    if not file.exists():
        raise ModelFileError(f"{file} is missing. Download or save the model again.")
    read_header(file)
    try:
        # Copies: views of a file lie where its header ends, not at multiples of 64 bytes, and linear algebra adds up in
        # another order there; and they follow what is done to the file later.
        tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    except SafetensorError as error:
        raise ModelFileError(f"{file} cannot be read: {error}") from error
    return Checkpoint(read_json(place / "config.json"), tensors)


@contextlib.contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """Yields a temporary folder beside a place, and renames it to that place when all is written.

    Whatever the block raises, the place stays as it was. The manifest is added at the end. Replacing a folder takes two
    renames, the old one away and the new one in; should the machine stop between them, the old one is found beside, its
    name ending in `.old`.

    Args:
        folder: Where the files shall be: new, empty, or holding a manifest of ours.

    Raises:
        ParameterError: If the place holds something else.

    Example:
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with atomic_folder(f"{place}/new") as beside:
        ...         _ = (beside / "notes.txt").write_text("kept")
        ...     verify(f"{place}/new")
        True
    """
    place = path_of("folder", folder).resolve()
    if place.exists() and not _is_ours(place):
        raise fail("folder", "new, empty, or a folder written by aigc", str(folder), "Choose another, or empty it.")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".new", dir=place.parent))
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise fail("folder", "where one can be made", str(folder), f"Choose another: {error.strerror}.") from error
    try:
        yield beside
        _write_manifest(beside)
        _flush(beside)
        _swap(beside, place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def verify(folder: str | Path) -> bool:
    """Checks every file of a folder against its manifest; False if it has none.

    Raises:
        ModelFileError: If a file is missing, cut off or changed, or the manifest itself is not one of ours.

    Example:
        >>> with tempfile.TemporaryDirectory() as place:
        ...     save(f"{place}/model", config={}, tensors={})
        ...     verify(f"{place}/model"), verify(place)
        (True, False)
    """
    place = Path(folder)
    if not (place / MANIFEST).is_file():
        return False
    manifest = read_json(place / MANIFEST)
    files = manifest.get("files")
    if manifest.get("format") != FORMAT or not isinstance(files, dict):
        raise ModelFileError(f"{place / MANIFEST} is not a manifest of format {FORMAT}. Save the model again.")
    for name, entry in files.items():
        _verify_file(place, name, entry)
    for file in place.iterdir():
        if file.suffix in (".json", ".safetensors") and file.name not in {MANIFEST, *files}:
            raise ModelFileError(f"{file} is not in the manifest beside it. Remove it, or save the model again.")
    return True


def read_json(file: str | Path) -> dict[str, Any]:
    """Reads a JSON object of reasonable size.

    Raises:
        ModelFileError: If the file is missing, too large, or no JSON object.

    Example:
        >>> with tempfile.TemporaryDirectory() as place:
        ...     _ = Path(place, "a.json").write_text('{"a": 1}')
        ...     read_json(Path(place, "a.json"))
        {'a': 1}
    """
    path = Path(file)
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ModelFileError(f"{path} has more than {_LARGEST_JSON} bytes, which no configuration needs.")
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}. Download or save the model again.") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is not JSON: {error}. Download or save the model again.") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{path} must hold a JSON object, got {type(value).__name__}.")
    return value


def refuse_pickle(folder: str | Path) -> None:
    """Raises if the only weights of a folder are pickles, which can run any code when they are read.

    Raises:
        ModelFileError: With the way to convert them.

    Example:
        >>> with tempfile.TemporaryDirectory() as place:
        ...     refuse_pickle(place)
    """
    place = Path(folder)
    pickles = sorted(file.name for file in place.iterdir() if file.suffix in _PICKLES and "training_args" not in file.name)
    if pickles and not any(place.glob("*.safetensors")):
        raise ModelFileError(
            f"{place} has its weights in {pickles[0]}, a pickle, which can run any code when it is read. aigc reads "
            "safetensors only. If you trust its origin, convert it in a sandbox: "
            "`state = torch.load(file, weights_only=True)`, then `safetensors.torch.save_file(state, 'model.safetensors')`."
        )


def check_state(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Checks that a state has exactly the tensors that a model expects, each of its shape.

    Args:
        expected: Shapes by name.
        tensors: What was read.
        source: Where from, for the error.

    Raises:
        ModelFileError: That lists what is missing, left over or misshapen.

    Example:
        >>> import torch
        >>> check_state({"weight": (3,)}, {"weight": torch.ones(3)}, source="model.safetensors")
    """
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    wrong = [
        f"{name} {tuple(tensors[name].shape)} for {tuple(expected[name])}"
        for name in sorted(expected.keys() & tensors.keys())
        if tuple(tensors[name].shape) != tuple(expected[name])
    ]
    parts = (("missing", missing), ("left over", extra), ("misshapen", wrong))
    found = [f"{len(names)} {what} ({', '.join(names[:3])})" for what, names in parts if names]
    if found:
        raise ModelFileError(f"{source} does not fit the model: {'; '.join(found)}. Is it of another model or version?")


def _is_ours(place: Path) -> bool:
    """Whether a folder may be replaced: it is empty, or holds nothing but what a manifest of ours lists."""
    if not place.is_dir():
        return False
    found = {file.relative_to(place).as_posix() for file in place.rglob("*") if not file.is_dir()}
    if not found:
        return True
    try:
        manifest = read_json(place / MANIFEST)
    except ModelFileError:
        return False
    files = manifest.get("files")
    return manifest.get("format") == FORMAT and isinstance(files, dict) and found <= {MANIFEST, *files}


def _verify_file(place: Path, name: str, entry: Any) -> None:
    file = place / name
    if "\0" in name or len(name) > 1024:
        raise ModelFileError(f"{place / MANIFEST} names a file that cannot be. Save the model again.")
    if Path(name).is_absolute() or ".." in Path(name).parts or place.resolve() not in file.resolve().parents:
        raise ModelFileError(f"{place / MANIFEST} names {name!r}, which lies outside its folder. Do not load this model.")
    if not isinstance(entry, dict) or not {"size", "sha256"} <= entry.keys():
        raise ModelFileError(f"{place / MANIFEST} says nothing checkable of {name!r}. Save the model again.")
    if not file.is_file():
        raise ModelFileError(f"{file} is missing. Download or save the model again.")
    size = file.stat().st_size
    if size != entry["size"]:
        raise ModelFileError(f"{file} has {size} bytes instead of {entry['size']}. Download or save the model again.")
    if _digest(file) != entry["sha256"]:
        raise ModelFileError(
            f"{file} has been changed or damaged: its SHA-256 is another. Download or save the model again."
        )


def _write_manifest(folder: Path) -> None:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST)
    entries = {
        file.relative_to(folder).as_posix(): {"size": file.stat().st_size, "sha256": _digest(file)} for file in files
    }
    text = json.dumps({"format": FORMAT, "files": entries}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _digest(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    """Forces files and directory entries to the disk, so that a rename cannot come before what it names."""
    # safetensors and mkdtemp make private what they make; all get the mode that the user's umask gave the manifest.
    mode = stat.S_IMODE((folder / MANIFEST).stat().st_mode)
    for path in [*folder.rglob("*"), folder]:
        path.chmod(mode | (mode & 0o444) >> 2 if path.is_dir() else mode)
        _fsync(path)


def _fsync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle to flush for a directory
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _swap(beside: Path, place: Path) -> None:
    old = beside.with_suffix(".old")
    replaced = place.exists()
    if replaced:
        os.rename(place, old)
    try:
        os.rename(beside, place)
    except OSError:
        if replaced:
            os.rename(old, place)
        raise
    _fsync(place.parent)
    if replaced:
        shutil.rmtree(old, ignore_errors=True)
