"""Examples that are read as they are asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from aigc.data._files import Files
from aigc.errors import DataError

__all__ = ["Examples", "Skipped", "Source", "surveyed"]


class Skipped(NamedTuple):
    """A file that was left out.

    Attributes:
        file: Its name.
        reason: What was wrong with it.
    """

    file: str
    reason: str


class Source(Protocol):
    """What examples are read from."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def read(self, index: int) -> Tensor:
        """One of them."""
        ...

    def all(self) -> Tensor:
        """All of them, behind each other."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Images or sounds by number, read when they are asked for; `images` and `sounds` make these.

    `len(x)` says how many there are. `x[i]` is a float tensor of shape `x.shape`; with labels, it and an int64 scalar.
    Worker processes may read it. `aigc.training.fit` takes it as it is.

    Attributes:
        source: What they are read from.
        shape: Of each: `(channels, height, width)`, or `(channels, length)`.
        classes: Names of classes, sorted; empty without labels.
        labels: Each one's place among them, int64, `(n,)`; None without labels.
        skipped: Files that could not be read and were left out.
        rate: Numbers a second, of sounds.

    Example:
        >>> import tempfile
        >>> from aigc.data import images, write_png
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i in range(3):
        ...         write_png(f"{folder}/{i}.png", torch.full((1, 2, 2), i / 2))
        ...     found = images(folder)
        ...     len(found), found.shape, found.tensor().mean((1, 2, 3))
        (3, (1, 2, 2), tensor([0.0000, 0.5020, 1.0000]))
    """

    source: Source = field(repr=False)
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    labels: Tensor | None = field(default=None, repr=False)
    skipped: tuple[Skipped, ...] = ()
    rate: int | None = None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Tensor | tuple[Tensor, Tensor]:
        place = index if index >= 0 else index + len(self)
        if not 0 <= place < len(self):
            raise IndexError(f"index {index} is out of range: there are {len(self)} examples")
        example = self.source.read(place)
        return example if self.labels is None else (example, self.labels[place])

    def tensor(self) -> Tensor:
        """All of them in memory: `(n, *shape)`, which trains fastest where it fits."""
        return self.source.all()


class Survey(NamedTuple):
    """What was seen of files."""

    shape: tuple[int, ...]
    kept: tuple[int, ...]
    skipped: tuple[Skipped, ...]


def surveyed(files: Files, look: Callable[[int], tuple[int, ...]], *, skip: bool, cure: str) -> Survey:
    """Looks at each file, and checks that all have one shape.

    Args:
        files: Their names.
        look: From a file's place to its shape; raises a `DataError` where it cannot be read.
        skip: Whether files that cannot be read are left out.
        cure: What to do about shapes that differ.

    Raises:
        DataError: If a file cannot be read, or has another shape than the first; or none can be read.
    """
    kept: list[int] = []
    skipped: list[Skipped] = []
    shape: tuple[int, ...] = ()
    for index in range(len(files.names)):
        try:
            found = look(index)
        except DataError as error:
            if not skip:
                raise
            skipped.append(Skipped(files.where(index), str(error)))
            continue
        if kept and found != shape:
            first = files.where(kept[0])
            raise DataError(f"{files.where(index)} has shape {found}, and {first} has {shape}. {cure}")
        shape = found
        kept.append(index)
    if not kept:
        raise DataError(f"none of {len(skipped)} files can be read; {skipped[0].reason}")
    return Survey(shape, tuple(kept), tuple(skipped))


def stacked(source: Source) -> Tensor:
    """Examples read one by one into one tensor."""
    first = source.read(0)
    made = torch.empty(len(source), *first.shape)
    made[0] = first
    for index in range(1, len(source)):
        made[index] = source.read(index)
    return made
