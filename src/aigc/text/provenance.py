"""What a model was trained on, kept in its folder: the manifests of its corpora, the first one first."""

import json
from pathlib import Path

from aigc.data.text import Manifest
from aigc.errors import DataError, ModelFileError

__all__ = ["FILE", "read", "write"]

FILE = "trained_on.json"


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
