"""What a model was trained on, kept with it and in its folder: the manifests of its corpora, the first one first."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Self, overload

from aigc.data.text import Manifest
from aigc.errors import DataError, ModelFileError

if TYPE_CHECKING:
    from aigc.text.generator import Generator

__all__ = ["FILE", "Known", "read", "write"]

FILE = "trained_on.json"
_KEPT = "_trained_on"  # of the model, for several Generators may hold it


class Known:
    """`gen.trained_on`, of whichever `Generator` holds the model."""

    @overload
    def __get__(self, gen: None, kind: type) -> Self: ...
    @overload
    def __get__(self, gen: "Generator", kind: type) -> tuple[Manifest, ...]: ...
    def __get__(self, gen: "Generator | None", kind: type) -> Self | tuple[Manifest, ...]:
        found: tuple[Manifest, ...] = () if gen is None else vars(gen.model).get(_KEPT, ())
        return self if gen is None else found

    def __set__(self, gen: "Generator", manifests: tuple[Manifest, ...]) -> None:
        if manifests:
            vars(gen.model)[_KEPT] = manifests
        else:
            vars(gen.model).pop(_KEPT, None)


def write(folder: Path, manifests: tuple[Manifest, ...]) -> None:
    """Writes manifests into a folder, if there are any.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder), (Manifest("0" * 64, "", 300, (), ()),))
        ...     [manifest.vocabulary for manifest in read(Path(folder))]
        [300]
    """
    if manifests:
        whole = [json.loads(manifest.to_json()) for manifest in manifests]
        (folder / FILE).write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> tuple[Manifest, ...]:
    """Reads what `write` wrote; nothing where it wrote nothing.

    Raises:
        ModelFileError: If the file is damaged.
    """
    if not (folder / FILE).exists():
        return ()
    try:
        whole = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return tuple(Manifest.from_json(json.dumps(one)) for one in whole)
    except (DataError, ValueError, TypeError, RecursionError, OSError) as error:
        raise ModelFileError(f"{folder / FILE} is damaged: {error} Remove it to load the model without it.") from error
