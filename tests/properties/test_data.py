"""The laws of data that is read: what was written is found, in the same order everywhere, and what is bad is named."""

import gzip
import math
import os
import pickle
import struct
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from aigc.data import check_images, check_sounds, images, mnist, read_idx, sounds, write_idx, write_png, write_wav
from aigc.data import idx as idx_module
from aigc.errors import DataError, DataNotFoundError, ParameterError, TypeParameterError

Real = zipfile.ZipFile
KINDS = {8: ("u1", "B"), 9: ("i1", "b"), 11: ("i2", "h"), 12: ("i4", "i"), 13: ("f4", "f"), 14: ("f8", "d")}


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def idx(code: int, shape: Any, numbers: Any) -> bytes:
    """IDX by the text that describes it."""
    head = bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return head + struct.pack(f">{len(numbers)}{KINDS[code][1]}", *numbers)


# IDX


@given(st.sampled_from(list(KINDS)), st.lists(st.integers(0, 4), min_size=1, max_size=4), st.booleans(), st.integers(0, 99))
def test_idx_there_and_back(code: int, shape: list[int], packed: bool, seed: int) -> None:
    raw = np.random.default_rng(seed).integers(-100 if code != 8 else 0, 100, math.prod(shape)).astype(KINDS[code][0])
    data = idx(code, shape, raw.tolist())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("x.gz" if packed else "x")
        path.write_bytes(gzip.compress(data) if packed else data)
        found = read_idx(path)
        np.testing.assert_array_equal(found.numpy(), raw.reshape(shape))
        assert found.numpy().dtype == raw.dtype
        write_idx(path, found)
        assert (gzip.decompress(path.read_bytes()) if packed else path.read_bytes()) == data


def test_idx_cut_longer_or_flipped_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx_module, "_PIECE", 5)  # the numbers end where a piece does
    data = idx(8, (3, 5), list(range(15)))
    packed = gzip.compress(data)
    cases = (
        [data[:i] for i in range(len(data))]
        + [data + b"\0", b"\1" + data[1:], b"\0\1" + data[2:]]
        + [packed[:i] for i in range(2, len(packed))]
    )
    for case in cases:
        (tmp_path / "x").write_bytes(case)
        with pytest.raises(DataError, match="x"):
            read_idx(tmp_path / "x")
    want, harmless = read_idx_of(data, tmp_path), []
    for i in range(len(packed)):
        (tmp_path / "x").write_bytes(packed[:i] + bytes([packed[i] ^ 1 << i % 8]) + packed[i + 1 :])
        try:
            assert torch.equal(read_idx(tmp_path / "x"), want)  # gzip's own header has fields without a meaning
            harmless.append(i)
        except DataError:
            continue
    assert harmless
    assert max(harmless) < 10


def read_idx_of(data: bytes, folder: Path) -> Tensor:
    (folder / "whole").write_bytes(data)
    return read_idx(folder / "whole")


def test_idx_headers_that_lie_cost_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"abc")
    with pytest.raises(DataError, match="is truncated: shape .* takes 79228162458924105385300197375 bytes, and it has 3"):
        read_idx(tmp_path / "x")
    with pytest.raises(DataError, match="is no IDX file: it begins with 00 00 0a 01"):
        (tmp_path / "x").write_bytes(bytes([0, 0, 10, 1, 0, 0, 0, 0]))
        read_idx(tmp_path / "x")
    with pytest.raises(DataNotFoundError, match="must be an IDX file that exists"):
        read_idx(tmp_path / "none")
    with pytest.raises(TypeParameterError, match="uint8, int8"):
        write_idx(tmp_path / "y", torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ParameterError, match="1 to 255 dimensions"):
        write_idx(tmp_path / "y", torch.zeros((), dtype=torch.uint8))


@pytest.mark.parametrize("names", ["{}-{}-idx{}-ubyte", "{}-{}-idx{}-ubyte.gz", "{}-{}.idx{}-ubyte"])
def test_mnist_by_its_names(names: str, tmp_path: Path) -> None:
    x = pixels(4, 3, 2)
    write_idx(tmp_path / names.format("train", "images", 3), x)
    write_idx(tmp_path / names.format("train", "labels", 1), torch.tensor([3, 1, 0, 1], dtype=torch.uint8))
    found = mnist(tmp_path)
    assert torch.equal(found.images, x[:, None] / 255)
    assert found.labels.tolist() == [3, 1, 0, 1]
    with pytest.raises(DataNotFoundError, match="folder must hold t10k-images-idx3-ubyte"):
        mnist(tmp_path, train=False)
    lazy = images(tmp_path / names.format("train", "images", 3), labels=True)
    assert torch.equal(lazy.tensor(), found.images)
    assert lazy.classes == ("0", "1", "2", "3")
    assert torch.equal(lazy[1][0], found.images[1])
    assert int(lazy[-4][1]) == 3
    write_idx(tmp_path / names.format("train", "labels", 1), torch.tensor([3], dtype=torch.uint8))
    with pytest.raises(DataError, match="must hold 4 labels, one for each picture"):
        mnist(tmp_path)
    with pytest.raises(ParameterError, match="one file where the images are in IDX files.*Name the file"):
        images(tmp_path)


# Images


def folder_of(place: Path, names: list[str], *, shape: Any = (3, 4, 5)) -> dict[str, Tensor]:
    made = {name: pixels(*shape, seed=i) for i, name in enumerate(sorted(names))}
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(place / name, made[name])
    return made


NAMES = ["b/1.png", "a/10.PNG", "a/2.png", "a/sub/0.png", "b/0.png"]


@given(st.permutations(NAMES))
@settings(max_examples=10)
def test_the_order_is_that_of_names(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = folder_of(Path(folder), names)
        for name in (".hidden.png", "notes.txt", "__MACOSX/a.png"):
            (Path(folder) / name).parent.mkdir(exist_ok=True)
            (Path(folder) / name).write_text("no image")
        with zipfile.ZipFile(f"{folder}/all.zip", "w") as archive:
            for name in names:
                archive.write(f"{folder}/{name}", name)
        for source in (folder, f"{folder}/all.zip"):
            found = images(source, labels=True)
            for (x, _), name in zip(found, sorted(names), strict=True):
                assert torch.equal(x, made[name].float() / 255)
            assert found.labels is not None
            assert found.labels.tolist() == [0, 0, 0, 1, 1]
            assert (found.classes, found.shape) == (("a", "b"), (3, 4, 5))
            again = pickle.loads(pickle.dumps(found))
            assert torch.equal(again.tensor(), found.tensor())


def test_a_dataset_goes_through_worker_processes(tmp_path: Path) -> None:
    made = folder_of(tmp_path, ["b.png", "a.png", "c.png"])
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in made:
            archive.write(tmp_path / name, name)
    want = torch.stack([made[name] for name in sorted(made)]).float() / 255
    for source in (tmp_path, tmp_path / "all.zip"):
        found: Any = images(source)
        found.tensor()  # the archive is open here before others ask for it
        generator = torch.Generator().manual_seed(0)
        read = torch.cat(list(DataLoader(found, batch_size=1, num_workers=2, generator=generator)))
        assert torch.equal(read, want)


def test_each_process_opens_an_archive_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(tmp_path, ["a.png"])
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    opened = []
    monkeypatch.setattr(zipfile, "ZipFile", lambda *a: opened.append(a) or Real(*a))
    found = images(tmp_path / "all.zip")
    assert len(opened) == 2  # for its names, and to read
    found.tensor()
    assert len(opened) == 2
    monkeypatch.setattr(os, "getpid", lambda: -1)
    found.tensor()
    assert len(opened) == 3


def test_indices_are_those_of_a_sequence(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.png", "b.png"])
    found = images(tmp_path)
    assert torch.equal(found[-1], found[1])
    for index in (2, -3):
        with pytest.raises(IndexError, match="there are 2 examples"):
            found[index]


@given(st.integers(3, 30), st.integers(3, 30), st.integers(2, 12), st.integers(2, 12), st.integers(0, 9))
@settings(max_examples=25)
def test_scaling_is_pillows(height: int, width: int, high: int, wide: int, seed: int) -> None:
    x = pixels(3, height, width, seed=seed)
    planes = [
        Image.fromarray(plane) for plane in (x.float() / 255).numpy()
    ]  # floats, as whole numbers are rounded between axes
    ratio = max(high / height, wide / width)
    cover = (max(high, round(height * ratio)), max(wide, round(width * ratio)))
    with tempfile.TemporaryDirectory() as folder:
        write_png(f"{folder}/a.png", x)
        for fit, size in (("stretch", (high, wide)), ("cover", cover)):
            scaled = [np.asarray(plane.resize(size[::-1], Image.Resampling.BICUBIC)) for plane in planes]
            want = torch.from_numpy(np.stack(scaled)).clamp(0, 1)
            top, left = (size[0] - high) // 2, (size[1] - wide) // 2
            found: Any = images(f"{folder}/a.png", size=(high, wide), fit=fit)  # type: ignore[arg-type]
            error = (found[0] - want[:, top : top + high, left : left + wide]).abs().max()
            assert float(error) <= 1e-5
        if high <= height and wide <= width:
            top, left = (height - high) // 2, (width - wide) // 2
            cut: Any = images(f"{folder}/a.png", size=(high, wide), fit="cut")
            assert torch.equal(cut[0], x[:, top : top + high, left : left + wide].float() / 255)
        else:
            with pytest.raises(DataError, match=r"a.png is .* too small to cut"):
                images(f"{folder}/a.png", size=(high, wide), fit="cut")


def test_shapes_that_differ_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.png", "c.png"])
    write_png(tmp_path / "b.png", pixels(1, 4, 5))
    for check in (True, False):
        with pytest.raises(DataError, match=r"b.png has shape \(1, 4, 5\), and .*a.png has \(3, 4, 5\). Give size="):
            images(tmp_path, check=check)
    assert images(tmp_path, channels=3).shape == (3, 4, 5)
    assert images(tmp_path, channels=1, size=2).shape == (1, 2, 2)
    assert [len(images(tmp_path / "b.png", channels=c)[0]) for c in (1, 3, 4)] == [1, 3, 4]


def test_unreadable_files_are_named_or_counted(tmp_path: Path) -> None:
    made = folder_of(tmp_path, ["a/a.png", "b/b.png", "b/c.png", "c/d.png"])
    whole = (tmp_path / "b/b.png").read_bytes()
    (tmp_path / "b/b.png").write_bytes(whole[:-30])
    (tmp_path / "b/c.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"b/b.png is no image that can be read.*skip_unreadable=True"):
        images(tmp_path)
    found = images(tmp_path, labels=True, skip_unreadable=True)
    assert len(found) == 2
    assert [Path(file).name for file, _ in found.skipped] == ["b.png", "c.png"]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 2]
    assert torch.equal(found[1][0], made["c/d.png"].float() / 255)
    lazy = images(tmp_path / "a", check=False)
    (tmp_path / "a/a.png").write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"a/a.png is no image"):
        lazy[0]
    (tmp_path / "a/a.png").unlink()
    with pytest.raises(DataNotFoundError, match=r"a/a.png is gone"):
        lazy[0]
    with pytest.raises(ParameterError, match="check must be True with skip_unreadable"):
        images(tmp_path, check=False, skip_unreadable=True)
    (tmp_path / "c/d.png").write_bytes(b"x")
    with pytest.raises(DataError, match="none of 3 files can be read; .*b.png"):
        images(tmp_path, skip_unreadable=True)


def test_png_files_cut_or_flipped_anywhere_are_found_out(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", pixels(1, 6, 6))
    whole, want = (tmp_path / "a.png").read_bytes(), images(tmp_path)[0]
    for i in range(len(whole)):
        for data in (whole[:i], whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :]):
            (tmp_path / "a.png").write_bytes(data)
            try:
                assert torch.equal(images(tmp_path)[0], want)
            except DataError:
                continue
            assert i >= len(whole) - 12, "the end mark alone says nothing about the picture"


def picture(mode: str, value: Any, size: Any = (3, 2)) -> Any:
    return Image.new(mode, size, value)


def test_modes_of_pictures(tmp_path: Path) -> None:
    def read(image: Any, name: str = "a.png", channels: Any = None, **options: Any) -> Any:
        image.save(tmp_path / name, **options)
        for check in (True, False):
            found = images(tmp_path / name, channels=channels, check=check)
            assert found.shape == tuple(found[0].shape)
        return found[0][:, 0, 0].tolist()

    assert read(picture("1", 1)) == [1]
    assert read(picture("I;16", 30_000)) == pytest.approx([30_000 / 65_535])
    assert read(picture("I;16", 30_000), channels=3) == pytest.approx([30_000 / 65_535] * 3)
    assert read(picture("RGBA", (255, 0, 0, 0))) == [1, 0, 0, 0]
    assert read(picture("RGBA", (255, 0, 0, 0)), channels=3) == [1, 1, 1]
    assert read(picture("LA", (0, 255))) == [0, 0, 0, 1]
    assert read(picture("LA", (0, 0)), channels=1) == [1]
    assert read(picture("RGB", (255, 255, 255)).quantize(4)) == [1, 1, 1]
    assert read(picture("RGB", (0, 0, 0)).quantize(4), transparency=0) == [0, 0, 0, 0]
    assert read(picture("CMYK", (0, 0, 0, 255)), "a.tif") == [0, 0, 0]
    assert read(picture("RGB", (255, 0, 0)), channels=1) == pytest.approx([76 / 255])
    picture("F", 0.5).save(tmp_path / "b.tif")
    with pytest.raises(DataError, match=r"b.tif holds numbers whose range it does not say"):
        images(tmp_path / "b.tif")


def test_photographs_stand_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    image = picture("RGB", (0, 0, 0), (8, 4))
    image.paste((255, 255, 255), (0, 0, 4, 4))
    image.save(tmp_path / "a.png", exif=exif)
    for check in (True, False):
        found = images(tmp_path, check=check)
        assert found.shape == (3, 8, 4)
    assert found[0][0, :, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": 0}, r"size must be an integer of at least 1"),
        ({"size": (1, 2, 3)}, "size must be a height and a width"),
        ({"fit": "crop"}, "fit must be one of cover, stretch, cut"),
        ({"channels": 2}, "channels must be 1, 3, 4 or None"),
        ({"labels": "yes"}, "labels must be True, False, or a function"),
        ({"labels": lambda name: 3}, "labels must be a function that returns strings"),
    ],
)
def test_bad_options(options: Any, sentence: str, tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.png"])
    with pytest.raises(ParameterError, match=sentence):
        images(tmp_path, **options)


def test_places_without_images(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="must hold images .*; it holds none"):
        images(tmp_path)
    with pytest.raises(DataNotFoundError, match="source must be a file or folder that exists"):
        images(tmp_path / "none")
    with pytest.raises(TypeParameterError, match="source must be a path"):
        images(3)  # type: ignore[arg-type]
    (tmp_path / "a.zip").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match="is no zip archive that can be read"):
        images(tmp_path / "a.zip")
    (tmp_path / "a.dat").write_bytes(b"abcd")
    with pytest.raises(DataError, match="is no IDX file: it begins with 61 62 63 64"):
        images(tmp_path / "a.dat")
    folder_of(tmp_path, ["a.png"])
    with pytest.raises(DataError, match="a.png lies in no sub-folder"):
        images(tmp_path, labels=True)


def test_archives_that_are_damaged_name_the_member(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.png"])
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "x/a.png")
    data = bytearray((tmp_path / "all.zip").read_bytes())
    data[60] ^= 1
    (tmp_path / "all.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"all.zip/x/a.png cannot be read: Bad CRC"):
        images(tmp_path / "all.zip")


# Sounds


def test_sounds_of_a_folder_and_of_an_archive(tmp_path: Path) -> None:
    made = {
        "1_b.wav": torch.tensor([0.5, -0.5, 0.25]),
        "0_c.wav": torch.tensor([[0.5], [-0.25]]),
        "0_a.wav": torch.zeros(2),
    }
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, x in made.items():
            write_wav(tmp_path / "in" / name, x, rate=8000)
            archive.write(tmp_path / "in" / name, f"in/{name}")
    for source in (tmp_path / "in", tmp_path / "all.zip"):
        with pytest.raises(DataError, match=r"0_c.wav has shape \(2, 1\), and .*0_a.wav has \(1, 2\). Give length="):
            sounds(source)
        found = sounds(source, length=2, channels=1, labels=lambda name: name.split("/")[-1][0])
        assert found.tensor().tolist() == [[[0, 0]], [[0.125, 0]], [[0.5, -0.5]]]
        assert found.labels is not None
        assert (found.labels.tolist(), found.classes, found.rate, found.shape) == ([0, 0, 1], ("0", "1"), 8000, (1, 2))
    write_wav(tmp_path / "in" / "2.wav", torch.zeros(2), rate=16_000)
    with pytest.raises(DataError, match=r"2.wav has 16000 samples a second, and .*0_a.wav has 8000"):
        sounds(tmp_path / "in", length=2, channels=1)
    (tmp_path / "in" / "2.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"2.wav is no WAV file.*skip_unreadable=True"):
        sounds(tmp_path / "in", length=2, channels=1)
    left = sounds(tmp_path / "in", length=2, channels=1, skip_unreadable=True)
    assert (len(left), [Path(file).name for file, _ in left.skipped]) == (3, ["2.wav"])


def test_bad_options_of_sounds(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="must hold WAV files"):
        sounds(tmp_path)
    with pytest.raises(ParameterError, match="channels must be 1 or None"):
        sounds(tmp_path, channels=2)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="length must be"):
        sounds(tmp_path, length=0)


# Checks


@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(2, 5), st.sampled_from([torch.float32, torch.float64, torch.bfloat16])
)
def test_images_that_are_as_they_should_be_pass_as_they_are(n: int, channels: int, side: int, dtype: Any) -> None:
    x = torch.linspace(0, 1, n * channels * side * side).reshape(n, channels, side, side).to(dtype)
    assert check_images(x) is x
    assert check_images(x, shape=(channels, side, side)) is x
    sound = x.flatten(2) * 2 - 1
    assert check_sounds(sound) is sound


GOOD = torch.linspace(0, 1, 32).view(2, 1, 4, 4)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (GOOD * 255, r"images must be in \[0, 1\], got from 0 to 255. Divide them: x / 255."),
        (GOOD * 2 - 1, r"got from -1 to 1. Move them: \(x \+ 1\) / 2."),
        (GOOD * 7 - 3, "Scale them"),
        (GOOD * 2, "from 0 to 2. Scale them"),  # bytes over 255 would be all but black
        (GOOD + 1e-3, r"in \[0, 1\], got from 0.001 to 1.001. Cut what is beyond off: x.clamp\(0, 1\)."),
        (GOOD * 1.04 - 0.02, r"from -0.02 to 1.02. Cut what is beyond off: x.clamp\(0, 1\)."),
        (GOOD - 0.02, r"from -0.02 to 0.98. Cut"),
        ((GOOD * 255).to(torch.uint8), r"of a floating type, got torch.uint8.*x.float\(\) / 255"),
        (GOOD[0], r"of shape \(n, channels, height, width\).*One alone is x\[None\]"),
        (GOOD[:0], "none of them 0"),
        (torch.full((2, 1, 4, 4), 0.5), "not all of one colour, got one colour in each of 2"),
        (torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 1, 4, 4), "not all of one colour"),
        (GOOD.numpy(), "images must be a tensor"),
    ],
)
def test_images_that_are_not_are_told_the_cure(bad: Any, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        check_images(bad)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_counted(value: float) -> None:
    bad = GOOD.clone()
    bad[1, 0, 2, 2] = value
    with pytest.raises(ParameterError, match=r"finite, got NaN or infinity in 1 of 2, first in images\[1\]"):
        check_images(bad)


def test_one_picture_of_one_colour_among_others_is_fine() -> None:
    x = torch.cat([GOOD, torch.zeros(1, 1, 4, 4)])
    assert check_images(x) is x
    with pytest.raises(ParameterError, match=r"of shape \(n, 1, 8, 8\), got \(3, 1, 4, 4\)"):
        check_images(x, shape=(1, 8, 8))


def test_sounds_are_told_the_cure() -> None:
    x = GOOD.flatten(2) * 2 - 1
    with pytest.raises(ParameterError, match=r"in \[-1, 1\], got from -32768 to 32768. Divide them: x / 32768."):
        check_sounds(x * 32768)
    with pytest.raises(ParameterError, match="by their largest"):
        check_sounds(x * 1.5)
    with pytest.raises(ParameterError, match=r"of shape \(n, channels, length\)"):
        check_sounds(x[0])
    with pytest.raises(ParameterError, match="not all of one value"):
        check_sounds(torch.zeros(2, 1, 9))


def test_pillow_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.png"])
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'aigc\[images\]'"):
        images(tmp_path)
