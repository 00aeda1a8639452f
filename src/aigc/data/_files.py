"""Files of a folder or a zip archive, in an order that their names alone decide."""

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from aigc._checks import fail_type
from aigc._writing import path_of, write_whole
from aigc.errors import DataError, DataNotFoundError

__all__ = ["Files", "listing", "numbered", "path_of", "write_whole"]

_LARGEST = 2**31  # bytes of one file: more is not a picture, nor a recording that fits in memory several times


@dataclass(frozen=True, slots=True)
class Files:
    """Names under a root, sorted.

    Attributes:
        root: A folder, or a zip archive.
        names: Relative to the root, with forward slashes.
    """

    root: Path
    names: tuple[str, ...]

    def where(self, index: int) -> str:
        """A file's full name, for messages."""
        return f"{self.root.as_posix()}/{self.names[index]}"

    def path(self, index: int) -> Path:
        """What lies on the disk: a file of a folder, or the archive."""
        return self.root / self.names[index] if self.root.is_dir() else self.root

    def read(self, index: int) -> bytes:
        """A file's bytes.

        Raises:
            DataError: If it cannot be read.
        """
        name = self.names[index]
        try:
            if self.root.is_dir():
                return _bounded(self.root / name)
            found = _archive(str(self.root), self.root.stat().st_mtime_ns, os.getpid())
            if found.getinfo(name).file_size > _LARGEST:
                raise DataError(f"{self.where(index)} is larger than {_LARGEST} bytes.")
            return found.read(name)
        except FileNotFoundError:
            raise DataNotFoundError(f"{self.where(index)} is gone; it was there before.") from None
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError) as error:
            raise DataError(f"{self.where(index)} cannot be read: {error}") from error


def listing(source: str | Path, suffixes: Sequence[str], noun: str) -> Files:
    """Finds the files with some endings in a folder and all under it, in a zip archive, or the one file named.

    Hidden files and folders, and the `__MACOSX` of archives, are left out.

    Raises:
        DataNotFoundError: If there is no such path, or nothing of the kind is there.
    """
    root = path_of("source", source)
    if root.is_dir():
        found, place = list(_in_folder(root)), "folder"
    elif root.suffix.lower() == ".zip" and root.is_file():
        found, place = _in_archive(root), "archive"
    elif root.is_file():
        return Files(root.parent, (root.name,))
    else:
        raise DataNotFoundError(f"source must be a file or folder that exists, got {str(root)!r}.")
    names = sorted(name for name in found if _wanted(name, suffixes))
    if not names:
        raise DataNotFoundError(f"the {place} {str(root)!r} must hold {noun} ({', '.join(suffixes)}); it holds none.")
    return Files(root, tuple(names))


def numbered(files: Files, labels: bool | Callable[[str], str]) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """Names of classes, sorted, and each file's place among them.

    Args:
        files: Their names.
        labels: False for none; True for the first sub-folder of a name; or a function from a name to its class.

    Raises:
        DataError: If a file lies in no sub-folder.
    """
    if labels is False:
        return (), None
    if labels is not True and not callable(labels):
        raise fail_type("labels", "True, False, or a function from a file's name to its class", labels)
    of = _first_folder if labels is True else labels
    given = []
    for index, name in enumerate(files.names):
        label = of(name)
        if not isinstance(label, str):
            raise fail_type("labels", "a function that returns strings", label)
        if not label:
            raise DataError(
                f"{files.where(index)} lies in no sub-folder, so it has no class. Move it, or give labels=False."
            )
        given.append(label)
    classes = tuple(sorted(set(given)))
    places = {label: place for place, label in enumerate(classes)}
    return classes, tuple(places[label] for label in given)


def _bounded(path: Path) -> bytes:
    if path.stat().st_size > _LARGEST:
        raise DataError(f"{path} is larger than {_LARGEST} bytes.")
    return path.read_bytes()


def _wanted(name: str, suffixes: Sequence[str]) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and name.lower().endswith(tuple(suffixes))


def _first_folder(name: str) -> str:
    return name.split("/")[0] if "/" in name else ""


def _in_folder(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        for name in names:
            yield (Path(folder) / name).relative_to(root).as_posix()


def _in_archive(root: Path) -> list[str]:
    try:
        with zipfile.ZipFile(root) as archive:
            return [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{str(root)!r} is no zip archive that can be read: {error}") from error


@lru_cache(maxsize=4)
def _archive(path: str, changed: int, process: int) -> zipfile.ZipFile:
    """An open archive: its directory is long to read. One a process, since forked ones would share the file's place."""
    del changed, process
    return zipfile.ZipFile(path)
