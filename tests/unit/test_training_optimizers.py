"""`MuonAdamW`: each part moves as its own optimizer would, and a run with it is resumed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aigc import nets
from aigc.errors import ParameterError
from aigc.training import Cosine, MuonAdamW, Phase, fit


def net() -> nn.Module:
    return nets.MLPDecoder(3, (2,), hidden=(4,), seed=0)


def loss(module: nn.Module) -> Tensor:
    return (module(torch.ones(5, 3)) - 1).square().mean()


def test_matrices_move_by_muon_and_the_rest_by_adamw() -> None:
    ours, theirs = net(), net()
    optimizer = MuonAdamW(ours.parameters(), lr=0.01, adam_lr=0.003, weight_decay=0.1)
    matrices = [p for p in theirs.parameters() if p.ndim == 2]
    muon = torch.optim.Muon(matrices, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW([p for p in theirs.parameters() if p.ndim != 2], lr=0.003, weight_decay=0.0)
    for _ in range(5):
        for module, steps in ((ours, [optimizer]), (theirs, [muon, adam])):
            module.zero_grad()
            loss(module).backward()
            for one in steps:
                one.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_a_step_of_muon_is_nearly_orthogonal() -> None:
    """What is added to a matrix has singular values that are nearly alike, whatever those of the gradient are."""
    weight = nn.Parameter(torch.zeros(6, 4))
    rng = torch.Generator().manual_seed(0)
    gradient = torch.linalg.qr(torch.randn(6, 4, generator=rng)).Q * torch.tensor([10.0, 3.0, 1.0, 0.5])
    optimizer = MuonAdamW([weight], lr=1.0)
    weight.grad = gradient
    optimizer.step()
    values = torch.linalg.svdvals(weight.detach())
    assert values.max() / values.min() < 2  # of the gradient it is 20


@pytest.mark.parametrize("cut", [1, 4])
def test_a_cut_run_ends_as_an_uncut_one(cut: int, tmp_path: Path) -> None:
    def run(module: nn.Module, steps: int, **options: Any) -> None:
        optimizer = MuonAdamW(module.parameters(), lr=0.01)
        phase = Phase("loss", lambda x, noise: (module(x) - 1).square().mean(), optimizer=optimizer, schedule=Cosine(8))
        data = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
        fit([phase], data, modules={"net": module}, batch_size=4, steps=steps, seed=0, progress=False, **options)

    whole, first, second = net(), net(), net()
    run(whole, 8)
    run(first, cut, checkpoint_dir=tmp_path)
    run(second, 8, checkpoint_dir=tmp_path)
    assert all(map(torch.equal, whole.state_dict().values(), second.state_dict().values()))


OTHERS: dict[str, tuple[Callable[[nn.Module], torch.optim.Optimizer], str]] = {
    "kind": (lambda module: torch.optim.AdamW(module.parameters(), lr=0.01), "got 'AdamW of"),
    "nearly": (lambda module: torch.optim.RAdam(module.parameters(), lr=0.01), "got 'RAdam of"),
    "groups": (lambda module: torch.optim.Adam([{"params": [p]} for p in module.parameters()], lr=0.01), r"of 1 \+ 1 "),
    "fewer": (lambda module: torch.optim.Adam(list(module.parameters())[1:], lr=0.01), "Adam of 3 parameters"),
    "muon": (lambda module: MuonAdamW(module.parameters(), lr=0.01), r"got 'MuonAdamW of 2 \+ 2 parameters"),
}


@pytest.mark.parametrize("other", [*OTHERS, "back", "precision"])
def test_a_run_with_another_optimizer_is_refused_and_changes_nothing(other: str, tmp_path: Path) -> None:
    def run(module: nn.Module, optimizer: torch.optim.Optimizer, precision: str = "float32") -> None:
        phase = Phase("p", lambda x, noise: module(x).square().mean(), optimizer=optimizer, precision=precision)
        how: dict[str, Any] = {"modules": {"net": module}, "batch_size": 4, "steps": 2, "seed": 0, "progress": False}
        fit([phase], torch.ones(8, 3), checkpoint_dir=tmp_path, **how)

    first, second = net(), net()
    make, message = OTHERS["muon" if other == "back" else other if other in OTHERS else "kind"]
    adam = torch.optim.Adam(first.parameters(), lr=0.01)
    run(first, make(first) if other == "back" else adam)
    before = {name: value.clone() for name, value in second.state_dict().items()}
    adam = torch.optim.Adam(second.parameters(), lr=0.01)
    given = make(second) if other in OTHERS else adam
    shown = {"back": "has the optimizer MuonAdamW of", "precision": "'p' is not in float16, got 'float16'"}
    with pytest.raises(ParameterError, match=shown.get(other, message)) as caught:
        run(second, given, "float16" if other == "precision" else "float32")
    assert "a new folder" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in second.state_dict().items())
    assert not adam.state


def test_without_matrices_it_says_so() -> None:
    with pytest.raises(ParameterError, match="parameters must be with a matrix"):
        MuonAdamW([nn.Parameter(torch.zeros(3))], lr=0.1)
