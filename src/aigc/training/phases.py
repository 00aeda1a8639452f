"""A phase: what is minimised, over which parameters, by which optimizer, how often."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aigc._checks import fail, fail_type, function, integer, positive
from aigc.training.noise import Noise
from aigc.training.schedules import Schedule

__all__ = ["Loss", "LossFunction", "Phase", "Step", "decay_groups"]

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Loss(NamedTuple):
    """A loss, and what else shall be reported beside it.

    Attributes:
        value: A scalar: the mean over the examples at hand.
        report: Further scalars by name, each a mean over the examples as well.

    Example:
        >>> error = torch.tensor(4.0)
        >>> Loss(error, {"root": error.sqrt()}).report
        {'root': tensor(2.)}
    """

    value: Tensor
    report: Mapping[str, Tensor] = {}


LossFunction = Callable[[Any, Noise], Tensor | Loss]


@dataclass(frozen=True, slots=True)
class Phase:
    """One player's move in a step: it descends one loss, in the parameters of its optimizer and no others.

    Args:
        name: What the loss is called in a `Step`.
        loss: From a batch and its `Noise` to a scalar, the mean over the examples, or to a `Loss`.
        optimizer: Of torch, over the parameters that this phase moves.
        every: The phase is played at every such step, at least 1.
        accumulate: Into how many micro-batches a batch is cut, at least 1, and at most its examples; gradients are those of
            the whole batch.
        clip: The largest norm of the gradient; a longer one is shortened. None leaves it.
        schedule: From the step's number to what the optimizer's learning rates are multiplied by. None is 1.
        precision: `"float32"`, or `"bfloat16"` or `"float16"` for autocast; the latter scales its loss.

    Example:
        >>> weight = nn.Parameter(torch.ones(()))
        >>> Phase("square", lambda x, noise: (weight * x).square().mean(), optimizer=torch.optim.SGD([weight], lr=0.1)).name
        'square'
    """

    name: str
    loss: LossFunction
    optimizer: torch.optim.Optimizer = field(kw_only=True)
    every: int = field(default=1, kw_only=True)
    accumulate: int = field(default=1, kw_only=True)
    clip: float | None = field(default=None, kw_only=True)
    schedule: Schedule | None = field(default=None, kw_only=True)
    precision: str = field(default="float32", kw_only=True)
    rates: tuple[float, ...] = field(init=False, repr=False)
    scaler: torch.amp.GradScaler | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not callable(self.loss):
            raise fail_type("loss", "a function of a batch and its noise", self.loss)
        if not isinstance(self.optimizer, torch.optim.Optimizer):
            raise fail_type("optimizer", "an optimizer of torch, over the parameters of this phase", self.optimizer)
        integer("every", self.every, low=1)
        integer("accumulate", self.accumulate, low=1)
        if self.clip is not None:
            positive("clip", self.clip, cure="Leave it out to clip nothing.")
        function("schedule", self.schedule, "a function of the step's number, such as Cosine(steps)")
        if self.precision not in PRECISIONS:
            raise fail("precision", f"one of {', '.join(PRECISIONS)}", self.precision)
        # The learning rates as they were given: a schedule multiplies these, and never what it left there before.
        rates = tuple(float(group.setdefault("initial_lr", group["lr"])) for group in self.optimizer.param_groups)
        if not all(map(math.isfinite, rates)):
            raise fail("optimizer", "one of finite learning rates", rates)
        object.__setattr__(self, "rates", rates)
        scales = self.precision == "float16"
        object.__setattr__(self, "scaler", torch.amp.GradScaler(self.device.type) if scales else None)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that it moves."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.parameters[0].device


class Step(NamedTuple):
    """What one step did. Losses stay on their device until someone reads them.

    Attributes:
        index: Its number; the first is 0.
        losses: By the name of the phase; phases that did not play at this step are left out.
        report: What the phases' losses reported beside, as `"phase/name"`.
        examples: How many examples the batch had, over all processes.

    Example:
        >>> Step(0, {"loss": torch.tensor(2.0)}, {}, examples=128).losses["loss"]
        tensor(2.)
    """

    index: int  # type: ignore[assignment]  # tuple.index, which nobody calls on a step
    losses: Mapping[str, Tensor]
    report: Mapping[str, Tensor]
    examples: int


def decay_groups(modules: nn.Module | Iterable[nn.Module], *, weight_decay: float) -> list[dict[str, Any]]:
    """Splits parameters for an optimizer: matrices and kernels decay, biases, gains and other vectors do not.

    Args:
        modules: One, or several.
        weight_decay: Of the former, at least 0.

    Example:
        >>> [len(group["params"]) for group in decay_groups(nn.Linear(3, 2), weight_decay=0.1)]
        [1, 1]
    """
    if not weight_decay >= 0:
        raise fail("weight_decay", "a number of at least 0", weight_decay)
    all_of_them = [modules] if isinstance(modules, nn.Module) else list(modules)
    parameters = {id(p): p for module in all_of_them for p in module.parameters() if p.requires_grad}.values()
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
