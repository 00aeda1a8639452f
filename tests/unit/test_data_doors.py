"""What readers and writers of pictures and sounds are given and cannot use: each is named, with a cure that helps."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from aigc.data import Spectrogram, images, mnist, read_wav, sounds, write_gif, write_idx, write_png, write_wav
from aigc.errors import DataError, ParameterError

PICTURE = torch.linspace(0, 1, 64).view(1, 8, 8)
FRAMES = PICTURE.expand(3, 1, 8, 8)
SPECTROGRAM = Spectrogram(window=16, hop=4)
NAN = torch.nan


def with_nan(x: torch.Tensor) -> torch.Tensor:
    found = x.clone()
    found.view(-1)[-1] = NAN
    return found


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda at: write_wav(at / "a.wav", torch.zeros(8), rate=8000, bits=16.0), "bits must be an integer"),
        (lambda at: write_wav(at / "a.wav", torch.zeros(8), rate=8000, bits=True), "bits must be an integer"),
        (lambda at: write_wav(at / "a.wav", torch.zeros(8), rate=8000, bits=12), "bits must be 8, 16, 24 or 32"),
        (lambda at: images(at, channels=[1]), "channels must be an integer"),
        (lambda at: images(at, channels=True), "channels must be an integer"),
        (lambda at: images(at, channels=2), "channels must be 1, 3, 4 or None"),
        (lambda at: sounds(at, channels=[1]), "channels must be an integer"),
        (lambda at: sounds(at, channels=2), "channels must be 1 or None"),
        *((lambda at, t=t: mnist(at, train=t), "train must be True for the training") for t in ("test", 0, None)),
        (lambda at: write_gif(at / "a.gif", (f for f in FRAMES)), r"frames must be .* Call list\(frames\)"),
        (lambda at: write_gif(at / "a.gif", None), "frames must be a tensor, or a list"),
        (lambda at: write_gif(at / "a.gif", [f.numpy() for f in FRAMES]), r"(?s)frames\[0\] must be a tensor.*as_tensor"),
        (lambda at: write_gif(at / "a.gif", []), "frames must be at least one"),
        (lambda at: write_png(at / "a.png", PICTURE.numpy()), r"Call torch.as_tensor\(images\)"),
        (lambda at: write_png(at / "a.png", PICTURE * 255), "images must be in .* Divide them by 255"),
        (lambda at: write_png(at / "a.png", 1 + PICTURE * 254), "images must be in .* Divide them by 255"),
        (lambda at: write_gif(at / "a.gif", FRAMES * 255), "frames must be in .* Divide them by 255"),
        (lambda at: write_png(at / "a.png", PICTURE * 1.01), r"images must be in .* x.clamp\(0, 1\)"),
        (lambda at: write_png(at / "a.png", PICTURE * 255 - 1), r"images must be in .* x.clamp\(0, 1\)"),
        (lambda at: write_png(at / "a.png", with_nan(PICTURE)), r"images must be in .* Leave NaN .* out"),
        (lambda at: write_png(at / "a.png", PICTURE / 0), r"images must be in .* Leave NaN and infinities out"),
        (lambda at: SPECTROGRAM.pictures(with_nan(torch.zeros(2, 1, 16))), "sounds must be finite, got 'NaN .* in 1 of 2'"),
        (lambda at: SPECTROGRAM.sounds(with_nan(torch.zeros(2, 1, 8, 4))), "pictures must be finite, .* Leave these out"),
        (lambda at: SPECTROGRAM.sounds(torch.full((2, 1, 8, 4), 2.0)), r"pictures must be in \[0, 1\]"),
    ],
)  # fmt: skip
def test_what_is_refused(act: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=message):
        act(tmp_path)
    assert not list(tmp_path.iterdir())


def wav(path: Path, values: list[float]) -> Path:
    """A WAV file of 32-bit floats."""
    body = struct.pack(f"<{len(values)}f", *values)
    head = struct.pack("<HHIIHH", 3, 1, 8000, 32000, 4, 32)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", len(body)) + body
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    return path


@pytest.mark.parametrize(("value", "cure"), [(NAN, "leave them out"), (torch.inf, "leave them out"), (2.0, "scale it")])
def test_a_sound_of_floats_that_are_no_sound(value: float, cure: str, tmp_path: Path) -> None:
    assert read_wav(wav(tmp_path / "good.wav", [0.0, 0.5])).samples.tolist() == [[0.0, 0.5]]
    with pytest.raises(DataError, match=cure):
        read_wav(wav(tmp_path / "bad.wav", [0.0, value]))


def test_the_sets_of_mnist(tmp_path: Path) -> None:
    for part, level in (("train", 255), ("t10k", 0)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", torch.full((1, 2, 2), level, dtype=torch.uint8))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", torch.tensor([7], dtype=torch.uint8))
    assert [float(mnist(tmp_path, train=train).images.mean()) for train in (True, False)] == [1.0, 0.0]


def test_frames_in_a_list_are_those_of_a_tensor(tmp_path: Path) -> None:
    write_gif(tmp_path / "a.gif", FRAMES)
    for frames in (list(FRAMES), tuple(FRAMES)):
        write_gif(tmp_path / "b.gif", frames)
        assert (tmp_path / "b.gif").read_bytes() == (tmp_path / "a.gif").read_bytes()
