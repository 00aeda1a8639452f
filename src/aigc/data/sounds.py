"""Sound from WAV files and back: linear PCM of 8 to 32 bits and floats, by the standard library alone."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aigc._checks import fail, fail_type, integer
from aigc.data._examples import Examples, stacked, surveyed
from aigc.data._files import Files, listing, numbered, path_of, write_whole
from aigc.errors import DataError, DataNotFoundError

__all__ = ["Sound", "read_wav", "sounds", "write_wav"]

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_SKIP = "Mend or remove it, or leave such files out with skip_unreadable=True."


class Sound(NamedTuple):
    """A recording.

    Attributes:
        samples: float, `(channels, length)`, in [-1, 1].
        rate: Samples a second.

    Example:
        >>> Sound(torch.zeros(1, 8000), rate=8000).samples.shape[-1] / 8000  # seconds
        1.0
    """

    samples: Tensor
    rate: int


def read_wav(path: str | Path) -> Sound:
    """Reads a WAV file: PCM of 8, 16, 24 or 32 bits, or floats.

    Whole numbers n of b bits become n / 2^(b - 1); those of 8 bits, which have no sign, (n - 128) / 128.

    Args:
        path: Which.

    Returns:
        float32, where every number of up to 24 bits is exact; float64 for 32 bits.

    Raises:
        DataNotFoundError: If there is none.
        DataError: If it is something else, packed, truncated, or damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_wav(f"{folder}/a.wav", torch.tensor([0.0, 0.5, -1.0]), rate=8000)
        ...     read_wav(f"{folder}/a.wav")
        Sound(samples=tensor([[ 0.0000,  0.5000, -1.0000]]), rate=8000)
    """
    place = path_of("path", path)
    if not place.is_file():
        raise DataNotFoundError(f"path must be a WAV file that exists, got {str(place)!r}.")
    return _decoded(Files(place.parent, (place.name,)).read(0), str(place))


def write_wav(path: str | Path, samples: Tensor, *, rate: int, bits: Literal[8, 16, 24, 32] = 16) -> None:
    """Writes a WAV file of PCM.

    A number x becomes round(2^(b - 1) x); 2^(b - 1) itself has no place among b bits, and becomes the largest that has.

    Args:
        path: Where; a file that is there already is replaced, in one stroke.
        samples: float, `(length,)` or `(channels, length)`, in [-1, 1].
        rate: Samples a second.
        bits: Of each.

    Raises:
        ParameterError: If samples are out of range or NaN, or another argument is.

    Example:
        >>> import tempfile
        >>> wave = torch.sin(2 * torch.pi * 440 * torch.arange(8000) / 8000)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_wav(f"{folder}/a.wav", wave, rate=8000)
        ...     (read_wav(f"{folder}/a.wav").samples[0] - wave).abs().max() <= 2**-15
        tensor(True)
    """
    if integer("bits", bits) not in (8, 16, 24, 32):
        raise fail("bits", "8, 16, 24 or 32", bits)
    rate = integer("rate", rate, low=1, high=2**31)
    values = _checked(samples)
    levels = np.clip(np.rint(values * 2.0 ** (bits - 1)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1).astype(np.int64)
    width, channels = bits // 8, len(values)
    whole = (levels.T + (128 if bits == 8 else 0)).astype("<i4")
    data = np.ascontiguousarray(whole)[..., None].view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    if len(data) > 2**32 - 64:
        raise fail("samples", "of less than 4 GiB, more than which a WAV file cannot say", f"{len(data)} bytes")
    head = struct.pack("<HHIIHH", _PCM, channels, rate, rate * channels * width, channels * width, bits)
    body = b"WAVE" + _chunk(b"fmt ", head) + _chunk(b"data", data)
    write_whole(path, b"RIFF" + struct.pack("<I", len(body)) + body)


def sounds(
    source: str | Path,
    *,
    length: int | None = None,
    channels: Literal[1] | None = None,
    labels: bool | Callable[[str], str] = False,
    skip_unreadable: bool = False,
) -> Examples:
    """Finds WAV files, and reads each when it is asked for, as float32 `(channels, length)` in [-1, 1].

    Args:
        source: A folder, with all folders under it; a zip archive; or one file. The order is that of the names.
        length: Samples; longer sounds are cut at the end, and silence is put behind shorter ones. None takes them as they
            are: that they differ is an error.
        channels: 1 takes the mean of all channels; None takes what the files have.
        labels: True reads classes from the first sub-folder; a function maps a name relative to the source to its class.
        skip_unreadable: Whether damaged files are left out, and listed in `.skipped`.

    Returns:
        Examples; `.rate` is what all files have in common.

    Raises:
        DataNotFoundError: If there is nothing there.
        DataError: If a file cannot be read, or differs in shape or rate; the sentence names it.
        ParameterError: If an argument is out of range.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_wav(f"{folder}/7_george.wav", torch.zeros(5), rate=8000)
        ...     write_wav(f"{folder}/2_george.wav", torch.full((3,), 0.5), rate=8000)
        ...     found = sounds(folder, length=4, labels=lambda name: name.split("_")[0])
        ...     found.classes, found[0]
        (('2', '7'), (tensor([[0.5000, 0.5000, 0.5000, 0.0000]]), tensor(0)))
    """
    if channels is not None and integer("channels", channels) != 1:
        raise fail("channels", "1 or None", channels)
    if length is not None:
        integer("length", length, low=1)
    files = listing(source, (".wav",), "WAV files")
    all_of_it = _Recordings(files, tuple(range(len(files.names))), length, channels)
    rates: dict[int, str] = {}

    def look(index: int) -> tuple[int, ...]:
        sound = all_of_it.sound(index)
        rates.setdefault(sound.rate, files.where(index))
        return tuple(sound.samples.shape)

    cure = "Give length= to bring all to one length, or channels=1."
    survey = surveyed(files, look, skip=skip_unreadable, cure=cure)
    if len(rates) > 1:
        (first, one), (second, other) = list(rates.items())[:2]
        raise DataError(f"{other} has {second} samples a second, and {one} has {first}. Convert them to one rate.")
    classes, places = numbered(files, labels)
    found = None if places is None else torch.tensor([places[index] for index in survey.kept])
    kept = _Recordings(files, survey.kept, length, channels)
    return Examples(kept, survey.shape, classes, found, survey.skipped, next(iter(rates)))


@dataclass(frozen=True, slots=True)
class _Recordings:
    """WAV files."""

    files: Files
    kept: tuple[int, ...]
    length: int | None
    channels: Literal[1] | None

    def __len__(self) -> int:
        return len(self.kept)

    def read(self, index: int) -> Tensor:
        return self.sound(index).samples

    def all(self) -> Tensor:
        return stacked(self)

    def sound(self, index: int) -> Sound:
        """A recording of the length and the channels asked for."""
        place = self.kept[index]
        try:
            samples, rate = _decoded(self.files.read(place), self.files.where(place))
        except DataError as error:
            raise DataError(f"{error} {_SKIP}") from error
        if self.channels == 1:
            samples = samples.mean(0, keepdim=True)
        if self.length is not None:
            samples = torch.nn.functional.pad(samples[:, : self.length], (0, max(0, self.length - samples.shape[1])))
        return Sound(samples.float().contiguous(), rate)


def _decoded(data: bytes, where: str) -> Sound:
    try:
        chunks = _chunks(data)
        head, body = chunks[b"fmt "], chunks[b"data"]
        kind, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", head)
        if kind == _EXTENSIBLE and len(head) >= 26:
            kind = struct.unpack_from("<H", head, 24)[0]
        if not channels or not rate or not block or block != channels * bits // 8:
            raise DataError(f"says {channels} channels, {rate} samples a second and {bits} bits in {block} bytes")
        if len(body) % block or not body:
            raise DataError(f"has {len(body)} bytes of samples of {block} bytes")
        return Sound(torch.from_numpy(_samples(body, kind, bits).reshape(-1, channels).T.copy()), rate)
    except KeyError as error:
        raise DataError(f"{where} is no WAV file that can be read: it has no part {error}.") from None
    except (DataError, struct.error) as error:
        raise DataError(f"{where} is no WAV file that can be read: it {error}.") from None


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The first part of each name in a RIFF file."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise DataError(f"begins with {data[:4].hex(' ') or 'nothing'}, not with RIFF")
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if at + 8 + size > len(data):
            raise DataError(f"is truncated: {name!r} takes {size} bytes, and {len(data) - at - 8} are there")
        found.setdefault(name, data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return found


def _samples(body: bytes, kind: int, bits: int) -> Any:
    if kind == _FLOAT and bits in (32, 64):
        values = np.frombuffer(body, dtype=f"<f{bits // 8}").astype(f"f{bits // 8}")
        if not np.isfinite(values).all():
            raise DataError("holds floats that are NaN or infinite; leave them out first")
        if np.abs(values).max() > 1:
            raise DataError("holds floats outside of [-1, 1]; scale it by its largest first")
        return values
    if kind != _PCM or bits not in (8, 16, 24, 32):
        raise DataError(f"is packed or of an odd width: format {kind} of {bits} bits; save it as PCM of 16 bits")
    if bits == 8:
        return (np.frombuffer(body, dtype=np.uint8).astype(np.float32) - 128) / 128
    if bits == 24:
        wide = np.zeros((len(body) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(body, dtype=np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float64).astype(np.float32) / 2**31
    whole: Any = np.frombuffer(body, dtype=f"<i{bits // 8}")
    return whole.astype(np.float32 if bits == 16 else np.float64) / 2.0 ** (bits - 1)


def _checked(samples: Tensor) -> Any:
    """Samples as float64, `(channels, length)`."""
    if not isinstance(samples, Tensor) or not samples.is_floating_point():
        raise fail_type("samples", "a tensor of floats in [-1, 1]", getattr(samples, "dtype", samples))
    if samples.ndim not in (1, 2) or not samples.numel() or (samples.ndim == 2 and len(samples) > 64):
        raise fail("samples", "of shape (length,) or (channels, length), with at most 64 channels", tuple(samples.shape))
    values: Any = samples.detach().cpu().double().reshape(-1, samples.shape[-1]).numpy()
    largest = float(np.abs(values).max())
    if not largest <= 1:
        cure = "Divide them by their largest: x / x.abs().max()." if largest == largest else "Leave NaN out."
        raise fail("samples", "in [-1, 1]", largest, cure)
    return values


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
