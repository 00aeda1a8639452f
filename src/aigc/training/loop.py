"""Training as an iterator: the caller owns the loop, the library owns the step."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from aigc import random
from aigc._checks import fail, fail_type, integer
from aigc.device import seeded_rng
from aigc.errors import TrainingError
from aigc.training.ema import EMA
from aigc.training.noise import Noise
from aigc.training.phases import PRECISIONS, Loss, Phase, Step
from aigc.training.pieces import Processes, length, part, pieces, processes, to_device
from aigc.training.shards import is_sharded

__all__ = ["NotFiniteError", "train"]


class NotFiniteError(TrainingError):
    """Raised by all processes at the same step, for they add up losses and gradients before they look."""


def train(
    phases: Sequence[Phase],
    batches: Iterable[Any],
    *,
    seed: int,
    start: int = 0,
    ema: EMA[Any] | Sequence[EMA[Any]] = (),
    modules: Iterable[nn.Module] = (),
) -> Iterator[Step]:
    r"""Plays the phases over the batches, one step per batch, and yields after each.

    What is random in step i depends on (seed, i) alone, so a run that goes on at `start` repeats the uninterrupted one. The
    gradient of a phase's loss is taken in that phase's parameters only; no other player is touched. Where
    `torch.distributed` was started, each process works on its share of a batch, and gradients are those of the whole.
    Parameters that `shards.shard` cut have their gradients added up by FSDP2, and stay shards.

    Args:
        phases: Played in this order at each step.
        batches: Tensors, or tuples or dicts of tensors, that lead with the examples. Each process is given whole batches;
            where modules have buffers, of at least as many examples as there are processes.
        seed: An int.
        start: The number of the first step.
        ema: Averages that follow, updated after the phases.
        modules: Whose buffers, such as the statistics of batch normalisation, are put back if a step fails. Several
            processes have the means of those that each took of its share.

    Yields:
        A `Step`.

    Raises:
        TrainingError: If a loss or a gradient is NaN or infinite: it names phase and step. The phase's parameters, its
            optimizer, the averages and the buffers are as they were before it.

    Example:
        >>> weight = nn.Parameter(torch.ones(()))
        >>> phase = Phase("mse", lambda x, noise: (weight * x).square().mean(), optimizer=torch.optim.SGD([weight], lr=0.1))
        >>> [(step.index, step.losses["mse"]) for step in train([phase], [torch.ones(4, 1)] * 2, seed=0)]
        [(0, tensor(1.)), (1, tensor(0.6400))]
    """
    seed, start = random.check_seed("seed", seed), integer("start", start, low=0)
    averages = [ema] if isinstance(ema, EMA) else list(ema)
    _check(phases)
    among = processes()
    buffers = list({id(buffer): buffer for module in modules for buffer in module.buffers()}.values())
    for index, batch in enumerate(batches, start):
        examples = length(batch)
        losses: dict[str, Tensor] = {}
        report: dict[str, Tensor] = {}
        for place, phase in enumerate(phases):
            if index % phase.every == 0:
                with _put_back(buffers, phase):
                    found = _move(phase, batch, among, seed=seed, step=index, place=place, idle=not buffers)
                losses[phase.name] = found.value
                report |= {f"{phase.name}/{name}": value for name, value in found.report.items()}
        among.mean([buffer for buffer in buffers if buffer.is_floating_point()])
        for average in averages:
            average.update(examples)
        yield Step(index, losses, report, examples)


def _move(phase: Phase, batch: Any, among: Processes, *, seed: int, step: int, place: int, idle: bool) -> Loss:
    """One phase of one step."""
    parameters = [parameter for parameter in phase.parameters if parameter.requires_grad]
    shards = any(is_sharded(parameter) for parameter in parameters)
    _clear(parameters)
    examples, values = length(batch), dict[str, Tensor]()
    parts = pieces(examples, phase.accumulate, among, idle=idle)  # buffers may remember what counts for nothing
    for number, piece in enumerate(parts):
        whole = piece.weight == 1
        some = to_device(batch if whole else part(batch, piece.rows), phase.device)
        noise = Noise(seed, step, place, rows=piece.rows, batch=examples, device=phase.device)
        with seeded_rng(_key(seed, step, place, among.rank * len(parts) + number), phase.device), _precision(phase):
            found = phase.loss(some, noise)
        loss = found if isinstance(found, Loss) else Loss(found)
        _check_loss(phase, loss.value)
        share = loss.value if whole else loss.value * piece.weight
        scaled = share if phase.scaler is None else phase.scaler.scale(share)
        torch.autograd.backward(scaled, inputs=None if shards else parameters)  # shards are no part of the graph
        for name, value in (("", loss.value), *loss.report.items()):
            value = value.detach().float()
            values[name] = value if whole else values.get(name, 0.0) + value * piece.weight
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if shards:  # backward added their gradients up
        among.total(list(values.values()))
        gradients = [gradient.to_local() for gradient in gradients if is_sharded(gradient)]
    else:
        among.total([*gradients, *values.values()])
    _descend(phase, gradients, values[""], step, among if shards else None)
    return Loss(values.pop(""), values)


def _descend(phase: Phase, gradients: list[Tensor], loss: Tensor, step: int, among: Processes | None) -> None:
    """Clips, guards, and moves the parameters; gradients are shards of the processes that are given."""
    if phase.scaler is not None:
        phase.scaler.unscale_(phase.optimizer)
    norm = _norm(gradients)
    if among is not None:
        among.total([squares := norm.square()])
        norm = squares.sqrt()
    finite = math.isfinite(loss.item())  # a tensor's own isfinite is thirty times as slow
    if not finite or not (math.isfinite(norm.item()) or phase.scaler is not None):
        what = "gradient" if finite else "loss"
        raise NotFiniteError(
            f"the {what} of phase {phase.name!r} is not finite at step {step}; its parameters are as they were before. "
            "Look for bad values in the batch, lower the learning rate, or set clip."
        )
    if phase.clip is not None and bool(norm > phase.clip):
        torch._foreach_mul_(gradients, phase.clip / norm)
    if phase.schedule is not None:
        factor = _factor(phase, step)
        for group, rate in zip(phase.optimizer.param_groups, phase.rates, strict=True):
            group["lr"] = rate * factor
    if phase.scaler is None:
        phase.optimizer.step()
    else:
        phase.scaler.step(phase.optimizer)
        phase.scaler.update()
    _clear(phase.parameters)


def _factor(phase: Phase, step: int) -> float:
    """What the learning rates are multiplied by."""
    assert phase.schedule is not None, "asked for where there is one"
    found = phase.schedule(step)
    try:
        factor = float(found)
    except (TypeError, ValueError):
        raise fail_type("schedule", "a function from the step's number to a number", found) from None
    if not math.isfinite(factor):
        raise NotFiniteError(f"the schedule of phase {phase.name!r} is {factor} at step {step}, so that nothing was moved.")
    return factor


def _clear(parameters: list[nn.Parameter]) -> None:
    """The optimizer's own `zero_grad` takes 0.1 ms, much of a small step, for what is recorded about it."""
    for parameter in parameters:
        parameter.grad = None


def _norm(gradients: list[Tensor]) -> Tensor:
    """The norm of all of them together."""
    if len({(gradient.device, gradient.dtype) for gradient in gradients}) != 1:
        return torch.nn.utils.get_total_norm(gradients)
    norms = cast("list[Tensor]", torch._foreach_norm(gradients))
    return cast("Tensor", torch.linalg.vector_norm(torch.stack(norms)))  # the same, without its bookkeeping


def _key(seed: int, step: int, place: int, piece: int) -> int:
    """What modules that draw from torch's global generators, such as dropout, draw from."""
    return random.stream(random.counter_int(seed, step), (place << 32) + piece + 1)


@contextmanager
def _precision(phase: Phase) -> Iterator[None]:
    dtype = PRECISIONS[phase.precision]
    if dtype is None:
        yield
        return
    with torch.autocast(phase.device.type, dtype=dtype):
        yield


@contextmanager
def _put_back(buffers: Sequence[Tensor], phase: Phase) -> Iterator[None]:
    """Puts buffers back, and leaves no gradient, if the block raises."""
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    except BaseException:
        _clear(phase.parameters)
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
        raise


def _check(phases: Sequence[Phase]) -> None:
    if not phases or not all(isinstance(phase, Phase) for phase in phases):
        raise fail_type("phases", "a sequence of at least one Phase", phases)
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        raise fail("phases", "of different names", names)


def _check_loss(phase: Phase, loss: Mapping[str, Any] | Tensor) -> None:
    name = f"the loss of phase {phase.name!r}"
    if not isinstance(loss, Tensor) or loss.ndim:
        shown = tuple(loss.shape) if isinstance(loss, Tensor) else loss
        raise fail_type(name, "a scalar tensor, the mean over the examples", shown, "Call .mean().")
    if not loss.requires_grad:
        raise fail(name, "a function of parameters that require a gradient", "one of none")
