"""CUDA: devices are found, their memory is counted, and their generators are left alone. Run with `pytest -m gpu`."""

from typing import Any

import pytest
import torch

import aigc
from aigc import device as devices
from aigc.errors import ParameterError, ResourceError
from alike import DEVICE

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


def test_auto_is_the_device() -> None:
    placement = devices.place()
    assert placement.device.type == DEVICE.type
    assert devices.place(DEVICE, dtype="float32").device.type == DEVICE.type
    assert devices.place("cpu").device.type == "cpu"
    with pytest.raises(ParameterError, match="This machine has cpu"):
        devices.place(f"{DEVICE.type}:99" if DEVICE.type != "cpu" else "cuda:99")
    gen = aigc.Generator.default()
    assert (gen.device.type, gen.model.dtype) == (DEVICE.type, placement.dtype)


def test_memory_is_counted_and_given_back() -> None:
    free = devices.available_memory(DEVICE)
    assert free is not None
    assert free > 2**20
    devices.check_fits(2**10, DEVICE)
    with pytest.raises(ResourceError, match="GiB free"):
        devices.check_fits(2**60, DEVICE)
    devices.release_memory()


def test_a_batch_that_does_not_fit_is_halved() -> None:
    def run(part: Any) -> list[int]:
        if len(part) > 3:
            torch.empty(2**60, dtype=torch.uint8, device=DEVICE)
        return [2 * item for item in part]

    assert devices.backoff(run, range(10)) == list(range(0, 20, 2))


def test_seeded_numbers_repeat_and_leave_no_trace() -> None:
    where = torch.device(DEVICE.type, 0) if DEVICE.type != "cpu" else DEVICE
    before = torch.get_device_module(where).get_rng_state() if DEVICE.type != "cpu" else torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with devices.seeded_rng(7, where):
            drawn.append((torch.rand(5, device=where), torch.rand(5)))
    generator = torch.Generator(where).manual_seed(7)
    assert torch.equal(drawn[0][0], torch.rand(5, device=where, generator=generator))
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    with devices.preserved_rng():
        torch.rand(3, device=where)
    after = torch.get_device_module(where).get_rng_state() if DEVICE.type != "cpu" else torch.get_rng_state()
    assert torch.equal(after, before)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices")
def test_the_device_that_is_named_is_seeded_and_no_other() -> None:
    other = torch.device(DEVICE.type, 1)
    before = torch.cuda.get_rng_state(0)
    with devices.seeded_rng(7, other):
        drawn = torch.rand(5, device=other)
        assert torch.equal(torch.cuda.get_rng_state(0), before)
    assert torch.equal(drawn, torch.rand(5, device=other, generator=torch.Generator(other).manual_seed(7)))
