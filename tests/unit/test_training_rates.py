"""Learning rates and schedules: numbers, which move nothing where they are not finite, and may change between two calls."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aigc.errors import ParameterError, TrainingError
from aigc.training import Constant, Cosine, Cyclical, Exponential, Linear, Phase, fit


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Constant(math.nan), "value"), (lambda: Constant("1"), "value"),  # type: ignore[arg-type]
        (lambda: Cosine(5, last="a"), "last"), (lambda: Linear("a", 1.0, steps=3), "first"),  # type: ignore[arg-type]
        (lambda: Exponential(5, first=math.inf), "first"), (lambda: Cyclical(math.nan, period=3), "value"),
    ],
)  # fmt: skip
def test_a_schedule_is_of_numbers(make: Any, name: str) -> None:
    with pytest.raises(ParameterError, match=f"^{name} must be"):
        make()


def test_a_rate_that_is_not_finite_moves_nothing() -> None:
    weight = torch.nn.utils.skip_init(nn.Linear, 2, 1)
    nn.init.ones_(weight.weight), nn.init.zeros_(weight.bias)
    before = weight.weight.detach().clone()
    how: dict[str, Any] = {"optimizer": torch.optim.SGD(weight.parameters(), lr=0.1), "schedule": lambda step: math.nan}
    phase = Phase("mse", lambda x, noise: weight(x).square().mean(), **how)
    with pytest.raises(TrainingError, match="the schedule of phase 'mse' is nan at step 0"):
        fit([phase], torch.ones(4, 2), modules={"net": weight}, batch_size=2, steps=1, seed=0)
    assert torch.equal(weight.weight, before)
    with pytest.raises(ParameterError, match="optimizer must be one of finite learning rates"):
        Phase("mse", phase.loss, optimizer=torch.optim.SGD(weight.parameters(), lr=math.inf))


@pytest.mark.parametrize("schedule", [None, Constant(1.0)])
def test_a_run_goes_on_at_the_rate_that_it_is_given(schedule: Any, tmp_path: Path) -> None:
    def trained(steps: int, lr: float) -> Tensor:
        weight = torch.nn.utils.skip_init(nn.Linear, 2, 1, bias=False)
        nn.init.ones_(weight.weight)
        how: dict[str, Any] = {"optimizer": torch.optim.SGD(weight.parameters(), lr=lr), "schedule": schedule}
        phase = Phase("mse", lambda x, noise: weight(x).square().mean(), **how)
        more: dict[str, Any] = {"checkpoint_dir": tmp_path, "progress": False}
        fit([phase], torch.ones(4, 2), modules={"net": weight}, batch_size=2, steps=steps, seed=0, **more)
        return weight.weight.detach()

    once = trained(1, 0.1)
    assert not torch.equal(once, torch.ones(1, 2))
    assert torch.equal(trained(2, 0.0), once)
    assert torch.equal(trained(3, 0.0), once)
    assert not torch.equal(trained(4, 0.1), once)
