"""Hypothesis profiles: `dev` explores, `ci` repeats; neither times a test. Without a GPU, Triton is interpreted."""

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when kernels are defined, and so before they are imported

slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("dev", deadline=None, max_examples=50, suppress_health_check=slow)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True, suppress_health_check=slow)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(autouse=True)
def process_is_left_as_it_was():
    """No test may change what belongs to the process: the law holds for the library, and so for its tests."""
    before = _process()
    yield
    assert _process() == before


@pytest.fixture
def compiling() -> Iterator[None]:
    """Puts back the environment variables that torch.compile sets for itself."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def _process() -> tuple[bytes, torch.dtype, int, dict[str, str]]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    generator = bytes(torch.get_rng_state().tolist())
    return generator, torch.get_default_dtype(), torch.get_num_threads(), environment
