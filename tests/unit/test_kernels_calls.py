"""How the kernels are called: bad rows as errors, gradients, memory, torch.compile, and where the Triton path can run."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from aigc import kernels, random
from aigc.errors import ParameterError
from aigc.kernels import Status, _dispatch

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (torch.nan, "A logit was NaN"),
        (torch.inf, r"A logit was \+inf"),
        (-torch.inf, "Every logit was -inf: there is nothing to draw"),
    ],
)
def test_a_checked_row_that_is_bad_is_an_error_that_names_it(value: float, sentence: str) -> None:
    x = torch.zeros(4, 6)
    x[2] = value
    with pytest.raises(ParameterError, match=rf"logits\[2\] must be a row that can be drawn from.*{sentence}"):
        kernels.sample(x, seed=0, check=True)
    assert kernels.sample(x, seed=0).status.tolist()[2] != Status.OK
    with pytest.raises(ParameterError, match=r"logits\[1, 0\] must be"):
        kernels.sample(x.view(2, 2, 6), seed=0, check=True)
    assert kernels.sample(x[:2], seed=0, check=True).status.eq(0).all()


@pytest.mark.parametrize(
    ("logits", "match"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), "floating"),
        (torch.zeros(2, 3, dtype=torch.complex64), "floating"),
        ([[0.0]], "floating"),
        (torch.zeros(()), "at least one token"),
        (torch.zeros(2, 0), "at least one token"),
        (torch.eye(3).to_sparse(), r"dense, got torch\.sparse_coo\. Call logits\.to_dense"),
    ],
)
def test_logits_of_the_wrong_kind(logits: Tensor, match: str) -> None:
    for call in (lambda: kernels.sample(logits, seed=0), lambda: kernels.threshold(logits, top_k=1)):
        with pytest.raises(ParameterError, match=match):
            call()


@pytest.mark.parametrize("name", ["seed", "step", "top_k", "top_p"])
def test_a_column_on_another_device(name: str) -> None:
    column = torch.ones(2, dtype=torch.float32 if name == "top_p" else torch.int64, device="meta")
    with pytest.raises(ParameterError, match=rf"{name} must be on cpu, as the logits are.*\.to\(logits\.device\)"):
        kernels.sample(torch.zeros(2, 3), **({"seed": 0} | {name: column}))


def test_one_number_may_be_a_tensor() -> None:
    x = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    plain = kernels.sample(x, seed=7, step=2, temperature=0.5, top_k=9, top_p=0.8, min_p=0.01)
    tensors = kernels.sample(
        x,
        seed=torch.tensor(7),
        step=torch.tensor(2),
        temperature=torch.tensor(0.5),
        top_k=torch.tensor(9),
        top_p=torch.tensor(0.8, dtype=torch.float64),
        min_p=torch.tensor(0.01, dtype=torch.float64),
    )
    assert all(map(torch.equal, plain, tensors))


def test_whole_numbers_of_numpy_are_numbers() -> None:
    x = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    plain = kernels.sample(x, seed=7, step=2, top_k=9)
    assert all(map(torch.equal, plain, kernels.sample(x, seed=np.int64(7), step=np.int32(2), top_k=np.int64(9))))


def test_logits_that_want_a_gradient() -> None:
    x = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    wanting = x.clone().requires_grad_()
    assert torch.equal(kernels.sample(wanting, seed=1, top_k=3).token, kernels.sample(x, seed=1, top_k=3).token)
    assert torch.equal(kernels.threshold(wanting, top_k=3), kernels.threshold(x, top_k=3))


@pytest.mark.parametrize("scale", [0.0, 1.0, 8.0])
@pytest.mark.parametrize(
    "some", [{}, {"temperature": 0.7}, {"top_k": 50}, {"top_k": 9000}, {"top_p": 0.9}, {"min_p": 0.01}]
)
def test_nothing_larger_than_the_logits_is_allocated(scale: float, some: dict[str, float]) -> None:
    """Of 8 rows, not even all that is allocated at a time is."""
    x = torch.randn(8, 100_000, generator=torch.Generator().manual_seed(0)) * scale
    kernels.sample(x, seed=0, **some)
    tracemalloc.start()
    try:
        kernels.sample(x, seed=0, **some)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < x.numel() * x.element_size()


def draws(x: Tensor, seed: Tensor, step: Tensor | int, top_k: Tensor) -> tuple[Tensor, ...]:
    draw = kernels.sample(x * 2, seed=seed, step=step, temperature=0.7, top_k=top_k, top_p=0.9)
    return (*draw, kernels.threshold(x, top_k=top_k) + 1)


@pytest.mark.usefixtures("compiling")
def test_a_compiled_graph_takes_them_whole_and_changes_nothing() -> None:
    x = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    seeds, k = torch.arange(4), torch.tensor([3, 4, 5, 1000])
    compiled = torch.compile(draws, fullgraph=True, backend="aot_eager")
    for step in (0, 1, 7, 2**61, torch.tensor(9)):
        assert all(map(torch.equal, draws(x, seeds, step, k), compiled(x, seeds, step, k)))
    shaped = torch.compile(lambda x: kernels.sample(x, seed=-5, top_k=2).token, fullgraph=True, backend="aot_eager")
    assert torch.equal(shaped(x.view(2, 2, 1000)), kernels.sample(x.view(2, 2, 1000), seed=-5, top_k=2).token)


@pytest.mark.usefixtures("compiling")
def test_a_compiled_graph_takes_batches_of_any_size() -> None:
    def drawn(x: Tensor) -> Tensor:
        given, start = kernels.Parameters(top_k=3), random.counter(torch.arange(len(x)), 0)
        return kernels.run(x, given, start).token + kernels.sample(x, seed=1, top_k=3).token

    compiled = torch.compile(drawn, fullgraph=True, backend="aot_eager", dynamic=True)
    for rows in (3, 4, 9, 27):
        x = torch.randn(rows, 50, generator=torch.Generator().manual_seed(rows))
        torch._dynamo.mark_dynamic(x, 0)
        assert torch.equal(compiled(x), drawn(x))


@pytest.mark.usefixtures("compiling")
def test_a_compiled_graph_checks_what_it_is_given_when_it_runs() -> None:
    x = torch.zeros(2, 5)
    compiled = torch.compile(lambda p: kernels.sample(x, seed=0, top_p=p).token, fullgraph=True, backend="aot_eager")
    assert compiled(torch.tensor([0.5, 1.0])).shape == (2,)
    with pytest.raises(ParameterError, match="top_p must be"):
        compiled(torch.tensor([0.5, 1.5]))


@pytest.mark.usefixtures("compiling")
def test_operators_are_registered_as_torch_wants_them() -> None:
    x, seeds = torch.randn(3, 40, generator=torch.Generator().manual_seed(0)), torch.arange(3)
    off = [None] * 8
    torch.library.opcheck(torch.ops.aigc.sample.default, (x, None, seeds, 1, None, *off, False, False))
    torch.library.opcheck(torch.ops.aigc.threshold.default, (x, None, None, 5, None, *off[:4]))


def test_where_triton_cannot_run_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels.unavailable("cpu") == "Triton kernels run on CUDA, and this device is cpu."
    assert kernels.backend("mps") == "torch"
    with pytest.raises(ParameterError, match="device must be a device of torch"):
        kernels.unavailable("abacus")
    fresh = _dispatch._unavailable.__wrapped__
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "has no CUDA" in fresh("cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    assert "8.0 or more, and this one has 7.5" in fresh("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    assert fresh("cuda", 0) == ""
    monkeypatch.setattr(_dispatch, "find_spec", lambda name: None)
    assert "pip install triton" in fresh("cuda", 0)


def test_importing_the_kernels_does_not_import_triton() -> None:
    code = "import sys, aigc.kernels; sys.exit('triton.language' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles for CUDA on Linux")
@pytest.mark.parametrize("capability", [pytest.param(80, marks=pytest.mark.slow), 90])
def test_the_kernels_compile_for_gpus_that_are_not_here(capability: int, tmp_path: Path) -> None:
    """The interpreter takes what the compiler does not: types that change, say. No registers are spilt, either."""
    pytest.importorskip("triton", reason="Triton has no release for this machine")
    script = ROOT / "scripts" / "compile_kernels.py"
    environment = {"PATH": "/usr/bin:/bin", "TRITON_CACHE_DIR": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, str(script), str(capability)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 15
    spilt = [line for line in lines if " 0 bytes of stack" not in line]
    few = [line.startswith("cut_slices") and "strided" in line and capability == 80 for line in spilt]
    assert all(few), done.stdout  # of logits with strides, on an A100, some numbers do not find a register


@pytest.mark.parametrize("device", [None, 2.5, [], "abacus"])
def test_what_is_no_device(device: object) -> None:
    for call in (kernels.backend, kernels.unavailable):
        with pytest.raises(ParameterError, match="device must be a device of torch"):
            call(device)  # type: ignore[arg-type]  # that is what is tested
