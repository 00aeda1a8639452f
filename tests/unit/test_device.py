"""Placement, memory and back-off."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from aigc import device
from aigc.errors import ModelFileError, ParameterError, ResourceError


def test_auto_takes_what_is_there_and_says_why() -> None:
    placement = device.place()
    accelerator = torch.accelerator.current_accelerator()
    assert placement.device.type == (accelerator.type if accelerator else "cpu")
    assert placement.dtype in (torch.float32, torch.bfloat16)
    assert len(placement.reason.split()) > 3
    assert str(placement).startswith(f"{placement.device}, ")


def test_what_is_asked_is_taken() -> None:
    placement = device.place("cpu", dtype=torch.float16)
    assert (placement.device, placement.dtype) == (torch.device("cpu"), torch.float16)
    assert device.place(torch.device("cpu"), dtype="torch.float64").dtype == torch.float64


def test_a_kind_without_an_index_is_its_current_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere in torch; a process of several sets its own once."""
    machine = {
        "is_available": True,
        "current_accelerator": torch.device("cuda"),
        "device_count": 3,
        "current_device_index": 2,
    }
    for name, value in machine.items():
        monkeypatch.setattr(torch.accelerator, name, lambda value=value: value)
    asked = {"auto": 2, "cuda": 2, "cuda:0": 0, "cuda:1": 1, torch.device("cuda"): 2, torch.device("cuda", 1): 1}
    for name, index in asked.items():
        assert device.place(name, dtype="float32").device == torch.device("cuda", index)
    with pytest.raises(ParameterError, match="This machine has cpu, cuda:0, cuda:1, cuda:2"):
        device.place("xpu")


@pytest.mark.parametrize("name", ["gpu9", "cuda:99", "xpu:7", "", "cpu:x"])
def test_a_device_that_is_not_here_is_an_error_that_says_what_is(name: str) -> None:
    with pytest.raises(ParameterError, match="This machine has cpu"):
        device.place(name)


@pytest.mark.parametrize("dtype", ["float8", torch.int64, "int8", 16])
def test_a_type_that_is_no_weight_type_is_an_error(dtype: object) -> None:
    with pytest.raises(ParameterError, match="dtype must be"):
        device.place("cpu", dtype=dtype)


def test_scopes_put_back_what_they_changed_also_after_an_error() -> None:
    state, count = torch.get_rng_state(), torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), device.preserved_rng(), device.threads(count + 1):
        assert torch.get_num_threads() == count + 1
        torch.rand(3)
        assert not torch.equal(torch.get_rng_state(), state)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == count
    with pytest.raises(ParameterError, match="count"), device.threads(0):
        pass


@given(items=st.lists(st.integers(), max_size=30), capacity=st.integers(1, 40), batch_size=st.none() | st.integers(1, 40))
def test_backoff_is_a_map_whatever_fits(items: list[int], capacity: int, batch_size: int | None) -> None:
    seen: list[int] = []

    def run(part: Sequence[int]) -> list[int]:
        if len(part) > capacity:
            raise torch.OutOfMemoryError("out of memory")
        seen.extend(part)
        return [item + 1 for item in part]

    assert device.backoff(run, items, batch_size=batch_size) == [item + 1 for item in items]
    assert seen == items, "finished rows were run again"


def test_backoff_gives_up_on_one_item_and_tells_the_first_error() -> None:
    def run(part: Sequence[int]) -> list[int]:
        if 3 in part:
            raise RuntimeError(f"DefaultCPUAllocator: can't allocate memory for {len(part)}")
        return list(part)

    with pytest.raises(ResourceError, match="2 of 4 were finished") as caught:
        device.backoff(run, [1, 2, 3, 4])
    assert "memory for 4" in str(caught.value.__cause__)


def test_backoff_hides_no_other_error() -> None:
    calls = []

    def run(part: Sequence[int]) -> list[int]:
        calls.append(len(part))
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        device.backoff(run, [1, 2, 3, 4])
    assert calls == [4]


def test_the_size_of_weights_is_read_from_headers(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(10, 3), "b": torch.zeros(7, dtype=torch.int64), "c": torch.zeros(4, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "model.safetensors")
    assert device.weights_size(tmp_path) == sum(t.nbytes for t in tensors.values())
    assert device.weights_size(tmp_path, dtype=torch.bfloat16) == 60 + 56 + 8


def shard(folder: Path, *, weight_map: object) -> None:
    save_file({"a": torch.zeros(3)}, folder / "one.safetensors")
    save_file({"b": torch.zeros(5)}, folder / "two.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards_are_added_up(tmp_path: Path) -> None:
    shard(tmp_path, weight_map={"a": "one.safetensors", "b": "two.safetensors"})
    assert device.weights_size(tmp_path) == 32


@pytest.mark.parametrize("name", ["../one.safetensors", "/etc/passwd", "three.safetensors", 3, "..", "sub/one.safetensors"])
def test_an_index_that_leaves_its_folder_is_refused(tmp_path: Path, name: object) -> None:
    shard(tmp_path, weight_map={"a": name})
    with pytest.raises(ModelFileError, match="index"):
        device.weights_size(tmp_path)


@given(st.binary(max_size=64) | st.binary(min_size=1, max_size=40).map(lambda b: len(b).to_bytes(8, "little") + b))
def test_no_bytes_break_the_header_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("header")
    (folder / "model.safetensors").write_bytes(content)
    try:
        assert device.weights_size(folder) >= 0
    except ModelFileError as error:
        assert "model.safetensors" in str(error)


def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelFileError, match="damaged"):
        device.weights_size(tmp_path)


def test_too_large_is_said_before_loading() -> None:
    with pytest.raises(ResourceError, match=r"GiB free"):
        device.check_fits(2**60, torch.device("cpu"))
    free = device.available_memory(torch.device("cpu"))
    assert free is None or 0 < free < math.inf
