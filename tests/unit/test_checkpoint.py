"""Checkpoints: what goes in comes out, damage never does, and a crash leaves what was there."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aigc import checkpoint
from aigc.errors import ModelFileError, ParameterError

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool]
tensors = st.builds(
    lambda shape, dtype: torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype),
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from(DTYPES),
)
values = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    checkpoint.save(folder, config={"width": 3}, tensors={"a": torch.arange(12.0).view(3, 4), "b": torch.ones(2)})
    return folder


@given(state=st.dictionaries(st.text("abc.", min_size=1), tensors, max_size=4), config=st.dictionaries(st.text(), values))
def test_what_is_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Tensor], config: dict) -> None:
    folder = tmp_path_factory.mktemp("round") / "trip"
    checkpoint.save(
        folder, config=config, tensors={name: tensor.mT if tensor.ndim > 1 else tensor for name, tensor in state.items()}
    )
    loaded = checkpoint.load(folder)
    assert loaded.config == config
    assert loaded.tensors.keys() == state.keys()
    for name, tensor in state.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor.mT if tensor.ndim > 1 else tensor)
    assert os.listdir(folder.parent) == ["trip"], "litter"


def test_tensors_that_share_memory_are_kept_apart(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    checkpoint.save(tmp_path / "m", config={}, tensors={"whole": whole, "part": whole[2:4], "again": whole})
    loaded = checkpoint.load(tmp_path / "m").tensors
    assert torch.equal(loaded["part"], whole[2:4])
    assert torch.equal(loaded["again"], whole)


@given(
    name=st.sampled_from(["config.json", "model.safetensors"]), at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7)
)
def test_every_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, name: str, at: float, bit: int) -> None:
    folder = tmp_path_factory.mktemp("flip") / "m"
    checkpoint.save(folder, config={"width": 3}, tensors={"a": torch.arange(12.0)})
    content = bytearray((folder / name).read_bytes())
    content[int(at * len(content))] ^= 1 << bit
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFileError, match=name):
        checkpoint.load(folder)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b + b"x"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "manifest.json"])
def test_files_cut_or_grown_are_found(saved: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    file = saved / name
    file.write_bytes(damage(file.read_bytes().rstrip()))
    with pytest.raises(ModelFileError, match=name):
        checkpoint.load(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "manifest.json"])
def test_missing_files_are_found(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(ModelFileError, match=name):
        checkpoint.load(saved)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/hostname", "a/../../outside.json"])
def test_a_manifest_that_points_outside_is_refused(saved: Path, name: str) -> None:
    (saved.parent / "outside.json").write_text("{}")
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest["files"][name] = {"size": 2, "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}
    (saved / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFileError, match="outside"):
        checkpoint.load(saved)


def test_a_link_out_of_the_folder_is_refused(saved: Path) -> None:
    outside = saved.parent / "weights"
    shutil.move(saved / "model.safetensors", outside)
    (saved / "model.safetensors").symlink_to(outside)
    with pytest.raises(ModelFileError, match="outside"):
        checkpoint.load(saved)


@pytest.mark.parametrize("where", ["block", "fsync", "rename"])
def test_a_crash_leaves_the_old_checkpoint(saved: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    before = checkpoint.load(saved)

    def crash(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if where != "block":
        real = os.rename
        calls: list[int] = []

        def second_rename(a: Path, b: Path) -> None:
            calls.append(1)
            return crash() if len(calls) == 2 else real(a, b)

        monkeypatch.setattr(os, where, second_rename if where == "rename" else crash)
    with pytest.raises(OSError, match="No space"), checkpoint.atomic_folder(saved) as beside:
        (beside / "config.json").write_text("{}")
        if where == "block":
            crash()
    monkeypatch.undo()
    after = checkpoint.load(saved)
    assert after.config == before.config
    assert torch.equal(after.tensors["a"], before.tensors["a"])
    assert os.listdir(saved.parent) == ["model"], "litter"


def test_writing_in_place_would_fail_the_crash_law(saved: Path) -> None:
    """The twin: a writer that does not write beside leaves a mixture behind when it stops half way."""
    (saved / "config.json").write_text('{"width": 4}')
    with pytest.raises(ModelFileError):
        checkpoint.load(saved)


def test_an_older_checkpoint_is_replaced_and_a_foreign_folder_is_not(saved: Path, tmp_path: Path) -> None:
    checkpoint.save(saved, config={"width": 5}, tensors={})
    assert checkpoint.load(saved) == ({"width": 5}, {})
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("mine")
    with pytest.raises(ParameterError, match="thesis"):
        checkpoint.save(foreign, config={}, tensors={})
    assert (foreign / "chapter.txt").read_text() == "mine"


def test_a_foreign_manifest_does_not_make_a_folder_ours(saved: Path, tmp_path: Path) -> None:
    """Web pages and extensions have a manifest.json too; and a checkpoint may hold notes of its owner."""
    foreign = tmp_path / "extension"
    foreign.mkdir()
    (foreign / "manifest.json").write_text('{"name": "my extension"}')
    (saved / "notes.txt").write_text("mine")
    for place in (foreign, saved):
        before = {file.name: file.read_bytes() for file in place.iterdir()}
        with pytest.raises(ParameterError, match="folder must be"):
            checkpoint.save(place, config={}, tensors={})
        assert {file.name: file.read_bytes() for file in place.iterdir()} == before


def test_a_file_that_the_manifest_does_not_list_is_found(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    del manifest["files"]["config.json"]
    (saved / "manifest.json").write_text(json.dumps(manifest))
    (saved / "config.json").write_text('{"width": 4}')
    with pytest.raises(ModelFileError, match="not in the manifest"):
        checkpoint.load(saved)


def test_a_link_to_a_checkpoint_is_followed(saved: Path, tmp_path: Path) -> None:
    link = tmp_path / "latest"
    link.symlink_to(saved)
    checkpoint.save(link, config={"width": 6}, tensors={})
    assert link.is_symlink()
    assert checkpoint.load(saved).config == {"width": 6}


@pytest.mark.parametrize(
    ("config", "tensors"),
    [
        ({"a": float("nan")}, {}),
        ({"a": object()}, {}),
        ({}, {"a": [1.0]}),
        ({}, {"a": torch.ones(1, dtype=torch.complex64)}),
        ({}, {"__metadata__": torch.ones(1)}),
    ],
)
def test_what_could_not_be_read_again_is_not_written(saved: Path, config: dict, tensors: dict) -> None:
    with pytest.raises(ParameterError, match="must be"):
        checkpoint.save(saved, config=config, tensors=tensors)
    assert checkpoint.load(saved).config == {"width": 3}


def test_pickles_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelFileError, match=r"save_file"):
        checkpoint.refuse_pickle(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    checkpoint.refuse_pickle(tmp_path)
    assert (tmp_path / "pytorch_model.bin").exists()


def test_state_is_checked_by_name_and_shape() -> None:
    expected = {"a": (2, 3), "b": (4,), "c": ()}
    with pytest.raises(
        ModelFileError, match=r"1 missing \(c\); 1 left over \(d\); 1 misshapen \(a \(3, 2\) for \(2, 3\)\)"
    ):
        checkpoint.check_state(
            expected, {"a": torch.ones(3, 2), "b": torch.ones(4), "d": torch.ones(1)}, source="model.safetensors"
        )


@pytest.mark.parametrize("text", ["[]", "{", "\ud800".encode("utf-8", "surrogatepass"), "[" * 100_000, "nul"])
def test_json_that_is_none_is_an_error(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ModelFileError, match="config.json"):
        checkpoint.read_json(file)
