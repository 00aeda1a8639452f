"""Where the numbers of a run go: a CSV file, TensorBoard, or whatever has a method `log`."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from aigc._checks import fail

__all__ = ["CSVLogger", "Logger", "TensorBoardLogger"]


@runtime_checkable
class Logger(Protocol):
    """Takes the numbers of a step."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes numbers by name; all are means since the last call."""
        ...


class CSVLogger:
    """Appends a line per call to a file; a resumed run goes on where its checkpoint was.

    Args:
        path: The file. Its first line names the columns. Where a number was not measured its cell is empty.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     CSVLogger(f"{place}/run.csv").log(0, {"loss": 1.5})
        ...     Path(f"{place}/run.csv").read_text().split()
        ['step,loss', '0,1.5']
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._header: list[str] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Appends a line; lines of this step and later ones, which a resumed run writes anew, are left out first."""
        if not self._header:
            self._begin(step, ["step", *values])
        new = [name for name in values if name not in self._header]
        if new:  # what was not measured so far
            lines = self._read()
            self._header += new
            self._write("w", [self._header, *([*line, *("" for _ in new)] for line in lines[1:])])
        cells = (repr(float(values[name])) if name in values else "" for name in self._header[1:])
        self._write("a", [[str(step), *cells]])

    def _begin(self, step: int, header: list[str]) -> None:
        lines = self._read() if self.path.exists() else []
        if lines and not set(header) <= set(lines[0]):
            found = f"{self.path} with {', '.join(lines[0])}"
            raise fail("path", f"a log of {', '.join(header)}", found, "Take a new file.")
        self._header = lines[0] if lines else header
        kept = [line for line in lines[1:] if len(line) == len(self._header) and int(line[0]) < step]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write("w", [self._header, *kept])

    def _read(self) -> list[list[str]]:
        with open(self.path, newline="", encoding="utf-8") as stream:
            return list(csv.reader(stream))

    def _write(self, mode: str, lines: list[list[str]]) -> None:
        with open(self.path, mode, newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows(lines)


class TensorBoardLogger:
    """Writes for TensorBoard; needs the extra `aigc[train]`.

    Args:
        folder: Where its event files go.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ImportError("TensorBoardLogger needs tensorboard: pip install 'aigc[train]'") from None
        make: Any = SummaryWriter
        self._writer = make(str(folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a point of each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
