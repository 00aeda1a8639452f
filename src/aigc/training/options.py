"""What every model's `fit` takes besides data: how long, in what steps, and what is kept of it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import nn

from aigc._checks import fail, function, positive
from aigc.training.fit import Every
from aigc.training.logs import Logger
from aigc.training.progress import Watcher
from aigc.training.schedules import Schedule

__all__ = ["RunOptions", "check_moves", "check_options", "trainable"]


class RunOptions(TypedDict, total=False):
    """What the `fit` of `Generator`, `VAE` and `GAN` have in common; what each of them means by it, its own page says.

    Example:
        >>> options: RunOptions = {"steps": 100, "seed": 0, "checkpoint_dir": "run"}
    """

    epochs: float | None
    steps: int | None
    batch_size: int
    seed: int | None
    schedule: Schedule | None
    average: float | None
    accumulate: int
    clip: float | None
    precision: str
    checkpoint_dir: str | Path | None
    checkpoint_every: int
    log_every: int
    loggers: Sequence[Logger]
    every: Sequence[Every]
    progress: Watcher
    workers: int


def check_options(*, average: Any, optimizer: Any, transform: Any = None, schedule: Any = None) -> None:
    """Checks what each model's `fit` reads itself; the rest is checked where it is read."""
    if average is not None:
        positive("average", average, of="a number of examples", cure="None is off.")
    function("optimizer", optimizer, "a function of parameters, such as lambda p: torch.optim.SGD(p, lr=0.1)")
    function("schedule", schedule, "a function of the step's number, such as Cosine(steps)")
    function("transform", transform, "a function of a batch and its noise")


def check_moves(optimizer: object, parameters: Iterable[nn.Parameter]) -> None:
    """Checks that an optimizer holds some of the parameters that it was made for: else a run would train nothing.

    Raises:
        ParameterError: If it has none of them.
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        if held.isdisjoint(map(id, parameters)):
            cure = "Make it of what the function is given: lambda p: torch.optim.SGD(p, lr=0.1)."
            raise fail("optimizer", "one of the parameters that are trained", type(optimizer).__name__, cure)


def trainable(name: str, module: nn.Module) -> list[nn.Parameter]:
    """The parameters of a module that require a gradient.

    Raises:
        ParameterError: If there are none.
    """
    found = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not found:
        frozen = next(module.parameters(), None) is not None
        cure = f"Call {name}.requires_grad_(True)." if frozen else "Take one that has some."
        raise fail(name, "a module with parameters that require a gradient", "one of none", cure)
    return found
