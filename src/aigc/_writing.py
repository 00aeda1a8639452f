"""Files written whole or not at all."""

import os
import secrets
from pathlib import Path

from aigc._checks import fail, fail_type

__all__ = ["path_of", "write_whole"]


def path_of(name: str, value: object) -> Path:
    """Checks a path."""
    place = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(place, str):
        raise fail_type(name, "a path, as a string or a pathlib.Path", value)
    if not place:
        raise fail(name, "a path, and not empty", value, "Say '.' for the current folder.")
    return Path(place)


def write_whole(path: str | Path, data: bytes) -> None:
    """Writes a file beside its place and renames it, so that nobody ever sees half of it."""
    target = path_of("path", path)
    if not target.parent.is_dir():
        raise fail("path", "in a folder that exists", str(target))
    if target.is_dir():
        raise fail("path", "of a file", str(target), "That is a folder: add a name.")
    beside = target.parent / f".{target.name}.{secrets.token_hex(8)}"
    try:
        with open(beside, "xb") as file:
            file.write(data)
        os.replace(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
