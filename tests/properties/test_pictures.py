"""The laws of pictures and sounds that are written: other readers find in them, bit for bit, what was given."""

import io
import os
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from torch import Tensor

from aigc.data import grid, images, read_wav, side_by_side, write_gif, write_png, write_wav
from aigc.data._gif import lzw
from aigc.errors import DataError, ParameterError, TypeParameterError

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def pixels(*shape: int, levels: int = 256, seed: int = 0) -> Tensor:
    return torch.randint(0, levels, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def unpacked(data: bytes, bits: int) -> bytes:
    """A reader of LZW by the text of the GIF89a specification, appendix F."""
    stream = int.from_bytes(data, "little")
    clear, end = 1 << bits, (1 << bits) + 1
    out, at, width = bytearray(), 0, bits + 1
    table: list[bytes] = []
    before: bytes | None = None
    while True:
        code = stream >> at & ((1 << width) - 1)
        at += width
        if code == end:
            assert at <= 8 * len(data) < at + 8, "nothing comes after the end"
            return bytes(out)
        if code == clear:
            table, width, before = [bytes([i]) for i in range(clear)] + [b"", b""], bits + 1, None
            continue
        if before is None:
            entry = table[code]
        else:
            entry = table[code] if code < len(table) else before + before[:1]
            if len(table) < 4096:
                table.append(before + entry[:1])
                assert code < len(table)
        width = min(12, max(width, len(table).bit_length() if len(table) == 1 << width else width))
        out += entry
        before = entry


@given(st.integers(2, 8), st.integers(1, 20_000), st.integers(0, 2**31), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=40)
def test_lzw_unpacks_to_what_was_packed(bits: int, length: int, seed: int, smooth: float) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 2**bits, length)
    data = np.where(rng.random(length) < smooth, noise[0], noise).astype(np.uint8).tobytes()
    assert unpacked(lzw(data, bits), bits) == data


@pytest.mark.parametrize("bits", [2, 3])
def test_lzw_may_end_wherever_its_codes_grow(bits: int) -> None:
    data = np.random.default_rng(0).integers(0, 2**bits, 900).astype(np.uint8).tobytes()
    for length in range(1, len(data)):
        assert unpacked(lzw(data[:length], bits), bits) == data[:length]


@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20), st.integers(0, 99), st.sampled_from([2, 256]))
def test_png_is_lossless(channels: int, height: int, width: int, seed: int, levels: int) -> None:
    x = pixels(channels, height, width, levels=levels, seed=seed)
    with scratch() as folder:
        write_png(folder / "a.png", x)
        with Image.open(folder / "a.png") as found:
            assert found.mode == MODES[channels]
            read = np.asarray(found).reshape(height, width, channels)
            np.testing.assert_array_equal(read, x.movedim(0, -1).numpy())
        if channels != 2:
            assert torch.equal(images(folder / "a.png")[0], x.float() / 255)
            write_png(folder / "b.png", images(folder / "a.png")[0])
            assert (folder / "b.png").read_bytes() == (folder / "a.png").read_bytes()


def test_png_rounds_to_the_nearest_level(tmp_path: Path) -> None:
    x = torch.linspace(0, 1, 1000, dtype=torch.float64).view(1, 20, 50)
    write_png(tmp_path / "a.png", x, scale=2)
    with Image.open(tmp_path / "a.png") as found:
        want = np.floor(x[0].numpy() * 255 + 0.5).astype(np.uint8)
        np.testing.assert_array_equal(np.asarray(found), np.kron(want, np.ones((2, 2), dtype=np.uint8)))


def test_png_of_smooth_pictures_is_smaller_than_pixels(tmp_path: Path) -> None:
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    write_png(tmp_path / "a.png", torch.stack([x + y // 3, 255 - x, y]).to(torch.uint8))
    assert (tmp_path / "a.png").stat().st_size < 128 * 128 * 3 / 20  # rows that are not filtered take 4 times that


def frames_of(path: Path) -> list[Any]:
    with Image.open(path) as found:
        assert found.info["loop"] == 0
        return [(np.asarray(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(found)]


@given(
    st.integers(1, 6),
    st.sampled_from([1, 3]),
    st.integers(1, 12),
    st.integers(1, 40),
    st.integers(1, 3),
    st.integers(0, 99),
)
@settings(max_examples=30)
def test_gif_of_few_colours_is_lossless(n: int, channels: int, height: int, width: int, scale: int, seed: int) -> None:
    x = pixels(n, channels, height, width, levels=256 if channels == 1 else 6, seed=seed)
    x[:, :, 0, 0] = torch.arange(n, dtype=torch.uint8)[:, None]  # Pillow drops a frame that is the same as the one before
    with scratch() as folder:
        write_gif(folder / "a.gif", x, fps=20, scale=scale)
        read = frames_of(folder / "a.gif")
    assert len(read) == n
    for (frame, duration), want in zip(read, x, strict=True):
        big = want.expand(3, -1, -1).movedim(0, -1).numpy().repeat(scale, 0).repeat(scale, 1)
        np.testing.assert_array_equal(frame, big)
        assert duration == 50


def test_gif_of_many_colours_is_as_close_as_pillow_makes_it(tmp_path: Path) -> None:
    y, x = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 48), indexing="ij")
    film = torch.stack([torch.stack([x, y, 0.5 + 0.5 * torch.sin(6.28 * (x + y + t / 5))]) for t in range(5)])
    write_gif(tmp_path / "a.gif", film)
    levels = (film * 255).round().to(torch.uint8).movedim(1, -1).numpy()
    ours = np.mean(
        [np.abs(f.astype(int) - w).mean() for (f, _), w in zip(frames_of(tmp_path / "a.gif"), levels, strict=True)]
    )
    theirs = []
    for level in levels:
        reduced = Image.fromarray(level).quantize(256, dither=Image.Dither.NONE).convert("RGB")
        theirs.append(np.abs(np.asarray(reduced).astype(int) - level).mean())
    assert ours <= np.mean(theirs)
    assert ours > 1, "the film must have too many colours, or nothing was tested"


def test_a_film_lasts_as_long_as_it_should(tmp_path: Path) -> None:
    film = torch.linspace(0, 1, 30)[:, None, None, None].expand(30, 1, 2, 2)
    write_gif(tmp_path / "a.gif", list(film), fps=30)
    durations = [duration for _, duration in frames_of(tmp_path / "a.gif")]
    assert set(durations) == {30, 40}
    assert sum(durations) == 1000


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 3), st.one_of(st.none(), st.integers(1, 12)))
def test_a_grid_holds_each_image_at_its_place(n: int, channels: int, gap: int, columns: int | None) -> None:
    x = pixels(n, channels, 3, 4)
    made = grid(x, columns=columns, gap=gap)
    across = min(columns, n) if columns else int(np.ceil(np.sqrt(n)))
    left = torch.ones_like(made, dtype=torch.bool)
    for i in range(n):
        row, column = divmod(i, across)
        place = (
            slice(None),
            slice(row * (3 + gap), row * (3 + gap) + 3),
            slice(column * (4 + gap), column * (4 + gap) + 4),
        )
        assert torch.equal(made[place], x[i])
        left[place] = False
    assert bool((made[left] == 255).all())
    assert made.shape[2] == across * (4 + gap) - gap
    assert torch.equal(grid(x.float() / 255, columns=columns, gap=gap), made.float() / 255)


def test_reconstructions_stand_below_their_originals() -> None:
    x, y = torch.zeros(5, 1, 2, 2), torch.full((5, 1, 2, 2), 0.5)
    made = side_by_side(x, y, columns=3)
    assert made.shape == (1, 2 * 5 + 4, 3 * 2 + 2 * 4)
    for top in (0, 9):
        assert (made[0, top : top + 2, :2] == 0).all()
        assert (made[0, top + 2, :2] == 1).all()
        assert (made[0, top + 3 : top + 5, :2] == 0.5).all()


def samples(*shape: int, bits: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape)


def by_wave(data: Any, bits: int, rate: int) -> bytes:
    """What the standard library writes for whole numbers, `(channels, length)`."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(len(data))
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        raw = (data.T + (128 if bits == 8 else 0)).astype("<i4")
        file.writeframes(np.ascontiguousarray(raw)[..., None].view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes())
    return out.getvalue()


@given(st.sampled_from([8, 16, 24, 32]), st.integers(1, 3), st.integers(1, 50), st.integers(1, 96_000), st.integers(0, 99))
def test_wav_is_what_the_standard_library_writes(bits: Any, channels: int, length: int, rate: int, seed: int) -> None:
    data = samples(channels, length, bits=bits, seed=seed)
    with scratch() as folder:
        (folder / "a.wav").write_bytes(by_wave(data, bits, rate))
        found = read_wav(folder / "a.wav")
        assert found.rate == rate
        np.testing.assert_array_equal(found.samples.double().numpy(), data / 2.0 ** (bits - 1))
        write_wav(folder / "b.wav", found.samples, rate=rate, bits=bits)
        ours, theirs = (folder / "b.wav").read_bytes(), (folder / "a.wav").read_bytes()
        if bits * channels * length % 16 == 0:
            assert ours == theirs
        with wave.open(io.BytesIO(ours)) as one, wave.open(io.BytesIO(theirs)) as other:
            assert one.getparams() == other.getparams()
            assert one.readframes(length) == other.readframes(length)
        assert len(ours) % 2 == 0  # parts of odd length are filled up, which the standard library forgets


@given(st.sampled_from([8, 16, 24]), st.integers(0, 99))
def test_wav_rounds_to_the_nearest_level(bits: Any, seed: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, 40))
    x[:2] = torch.tensor([1.0, -1.0])
    with scratch() as folder:
        write_wav(folder / "a.wav", x, rate=8000, bits=bits)
        error = (read_wav(folder / "a.wav").samples[0].double() - x).abs()
    near = x > 1 - 2.0**-bits  # these would become 2^(bits - 1), which has no place among so many bits
    assert float(error[~near].max()) <= 2.0**-bits
    assert float(error[0]) == 2.0 ** (1 - bits) == float(error.max())


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda p: write_png(p, torch.full((1, 2, 2), 255.0)), r"images must be in \[0, 1\] and not NaN.*x / 255"),
        (lambda p: write_png(p, torch.full((1, 2, 2), float("nan"))), "not NaN"),
        (lambda p: write_png(p, torch.zeros(5, 2, 2)), "1 to 4 channels"),
        (lambda p: write_png(p, torch.zeros(0, 1, 2, 2)), "nothing empty"),
        (lambda p: write_png(p, torch.zeros(1, 2, 2, dtype=torch.int64)), "floats in"),
        (lambda p: write_png(p.parent / "none" / "a.png", torch.zeros(1, 2, 2)), "in a folder that exists"),
        (lambda p: write_gif(p, []), "at least one"),
        (lambda p: write_gif(p, [torch.zeros(1, 2, 2), torch.zeros(1, 2, 3)]), "all of one shape"),
        (lambda p: write_gif(p, torch.zeros(2, 4, 2, 2)), "of 1 channel or 3"),
        (lambda p: write_gif(p, torch.zeros(2, 1, 2, 2), fps=0), "fps must be"),
        (lambda p: write_gif(p, torch.zeros(1, 1, 2, 2), scale=40_000), "65,535"),
        (lambda p: side_by_side(torch.zeros(1, 1, 2, 2), torch.zeros(2, 1, 2, 2)), "as originals"),
        (lambda p: write_wav(p, torch.tensor([1.5]), rate=8000), r"samples must be in \[-1, 1\], got 1.5"),
        (lambda p: write_wav(p, torch.tensor([float("nan")]), rate=8000), "Leave NaN out"),
        (lambda p: write_wav(p, torch.zeros(3, dtype=torch.int16), rate=8000), "floats in"),
        (lambda p: write_wav(p, torch.zeros(0), rate=8000), "of shape"),
        (lambda p: write_wav(p, torch.zeros(2), rate=0), "rate must be"),
        (lambda p: write_wav(p, torch.zeros(2), rate=8000, bits=12), "bits must be"),
    ],
)
def test_bad_input_writes_nothing(act: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=sentence):
        act(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_types_are_type_errors(tmp_path: Path) -> None:
    with pytest.raises(TypeParameterError, match="path must be a path"):
        write_png(3, torch.zeros(1, 2, 2))  # type: ignore[arg-type]
    for frames in (torch.zeros(2, 1, 4, 4).numpy(), 3, [torch.zeros(1, 4, 4).numpy()], ["a"]):
        with pytest.raises(TypeParameterError, match=r"frames.* must be a .*tensor"):
            write_gif(tmp_path / "a.gif", frames)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_place_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for write in (write_png, write_gif):
        with pytest.raises(ParameterError, match="path must be of a file, got .*pictures.*add a name"):
            write(tmp_path / "pictures", torch.zeros(2, 1, 4, 4))
    assert [file.name for file in tmp_path.iterdir()] == ["pictures"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "a.png", torch.zeros(1, 2, 2))
    before = (tmp_path / "a.png").read_bytes()

    def broken(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="no space left"):
        write_png(tmp_path / "a.png", torch.ones(1, 2, 2))
    assert (tmp_path / "a.png").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def wav(**changes: Any) -> bytes:
    """A WAV file of two samples, with fields of its header as they should not be."""
    fields = {"kind": 1, "channels": 1, "rate": 8000, "block": 2, "bits": 16} | changes
    body = fields.pop("body", b"\0\0\1\0")
    head = (
        np.array([fields["kind"], fields["channels"]], "<u2").tobytes() + np.array([fields["rate"], 16000], "<u4").tobytes()
    )
    head += np.array([fields["block"], fields["bits"]], "<u2").tobytes() + fields.get("more", b"")
    parts = b"WAVEfmt " + np.uint32(len(head)).tobytes() + head
    parts += fields.get("between", b"") + b"data" + np.uint32(len(body)).tobytes() + body
    return b"RIFF" + np.uint32(len(parts)).tobytes() + parts


def test_other_forms_of_wav(tmp_path: Path) -> None:
    forms = {
        "floats": wav(kind=3, bits=32, block=4, body=np.array([0.5, -1], "<f4").tobytes()),
        "doubles": wav(kind=3, bits=64, block=8, body=np.array([0.5, -1], "<f8").tobytes()),
        "extensible": wav(kind=0xFFFE, body=b"\x00\x40\x00\x80", more=b"\x16\0\x10\0\4\0\0\0\1\0" + b"\0" * 14),
        "other parts": wav(between=b"LIST\3\0\0\0abc\0", body=b"\x00\x40\x00\x80"),
    }
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
        assert read_wav(tmp_path / name).samples.tolist() == [[0.5, -1.0]], name


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "begins with nothing"),
        (b"ID3 and so on", "begins with 49 44 33 20"),
        (wav()[:-1], "is truncated: b'data' takes 4 bytes, and 3 are there"),
        (wav()[:30], "is truncated"),
        (b"RIFF\4\0\0\0WAVE", "has no part b'fmt '"),
        (wav(kind=2, bits=4, block=0), "says 1 channels, 8000 samples a second and 4 bits in 0 bytes"),
        (wav(kind=85), "is packed or of an odd width: format 85"),
        (wav(bits=12), "12 bits in 2 bytes"),
        (wav(channels=0), "says 0 channels"),
        (wav(rate=0), "0 samples a second"),
        (wav(body=b""), "has 0 bytes of samples"),
        (wav(body=b"\0\0\0"), "has 3 bytes of samples of 2 bytes"),
        (wav(kind=3, bits=32, block=4, body=np.array([2], "<f4").tobytes()), "outside of"),
        (wav(kind=3, bits=32, block=4, body=np.array([np.nan], "<f4").tobytes()), "NaN or infinite"),
    ],
)
def test_bad_wav_files_are_named(data: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(data)
    with pytest.raises(DataError, match=f"bad.wav is no WAV file that can be read: it .*({sentence})"):
        read_wav(tmp_path / "bad.wav")


def test_wav_files_cut_or_flipped_anywhere_never_crash(tmp_path: Path) -> None:
    whole = by_wave(samples(2, 9, bits=24), 24, 8000)
    found = 0
    for i in range(len(whole)):
        flipped = whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :]
        for data in (whole[:i], flipped):
            (tmp_path / "a.wav").write_bytes(data)
            try:
                assert float(read_wav(tmp_path / "a.wav").samples.abs().max()) <= 1
            except DataError:
                found += 1
    assert found >= len(whole)  # each that is cut, at least


class scratch:  # a fresh folder for each example: Hypothesis shares pytest's
    def __enter__(self) -> Path:
        self._folder = tempfile.TemporaryDirectory()
        return Path(self._folder.name)

    def __exit__(self, *_: Any) -> None:
        self._folder.cleanup()
