"""A run on disk: weights, optimizers, averages and the number of the next step; safetensors and JSON, written whole.

What is random, in which order examples come and what a schedule says are functions of (seed, step), and need no place here.
"""

import errno
import os
import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from aigc import checkpoint
from aigc._checks import fail
from aigc._writing import path_of
from aigc.errors import ModelFileError
from aigc.training.ema import EMA
from aigc.training.phases import Phase
from aigc.training.pieces import processes
from aigc.training.shards import is_sharded, shard_like, whole

__all__ = ["Run"]

_NAME = re.compile(r"step-(\d{9})")


@dataclass(frozen=True, slots=True)
class Run:
    """All that a training run changes, by name.

    Args:
        modules: What is trained.
        phases: With their optimizers.
        averages: That follow.
        identity: What a run must have in common with the one it resumes: seed, batch size, and so on, as JSON.

    Example:
        >>> import tempfile
        >>> run = Run({"net": nn.Linear(1, 1)}, [], {}, {"seed": 0})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = run.save(folder, step=100)
        ...     run.resume(folder)
        (100, None)
    """

    modules: Mapping[str, nn.Module]
    phases: Sequence[Phase]
    averages: Mapping[str, EMA[Any]]
    identity: Mapping[str, Any]

    def save(self, folder: str | Path, *, step: int, history: Any = None, keep: int = 2, write: bool = True) -> Path:
        """Writes a checkpoint `step-000000123` in a folder, and removes all but the newest; shards are written whole.

        Args:
            folder: Made if it is not there.
            step: The number of the next step.
            history: What else shall be kept, as JSON.
            keep: How many checkpoints are kept, at least 1.
            write: Whether this process writes; the others only hand their shards out, of which all must be handed out.

        Returns:
            Where it was written.
        """
        place = Path(folder) / f"step-{step:09}"
        tensors: dict[str, Tensor] = {}
        for name, module in self.modules.items():
            tensors |= {f"model.{name}.{key}": value for key, value in module.state_dict().items()}
        for name, ema in self.averages.items():
            tensors |= {f"average.{name}.{key}": value for key, value in ema.state().items()}
        optimizers = {}
        for phase in self.phases:
            optimizers[phase.name], found = _flat(phase.optimizer.state_dict())
            tensors |= {f"optimizer.{phase.name}.{key}": value for key, value in found.items()}
        tensors = {name: _gathered(value, write) for name, value in tensors.items()}
        if not write:
            return place
        config = {
            "step": step,
            "identity": dict(self.identity),
            "optimizers": optimizers,
            # To be compared, never imported.
            "kinds": {phase.name: type(phase.optimizer).__name__ for phase in self.phases},
            "rates": {phase.name: phase.rates for phase in self.phases},
            "scalers": {phase.name: phase.scaler.state_dict() for phase in self.phases if phase.scaler is not None},
            "examples": {name: ema.examples for name, ema in self.averages.items()},
            "history": history,
        }
        _made(folder)
        checkpoint.save(place, config=config, tensors=tensors)
        for old in _found(folder)[:-keep]:
            _remove(old)
        return place

    def resume(self, folder: str | Path) -> tuple[int, Any]:
        """Goes on from the newest checkpoint that is whole; damaged ones are passed over with a warning.

        The folder is made if it is not there, so that a place where none can be is known before the first step.

        Returns:
            The number of the next step, and the history that was saved; 0 and None where there is no checkpoint.

        Raises:
            ModelFileError: If a checkpoint is of another model.
            ParameterError: If it is of a run with another seed, batch size, phases or optimizers; nothing is changed then.
                Or if the folder cannot be made, or written to.
        """
        _made(folder, writes=processes().rank == 0)
        for place in reversed(_found(folder)):
            try:
                found = checkpoint.load(place)
            except ModelFileError as error:
                warnings.warn(f"{place} is passed over: {error}", stacklevel=2)
                continue
            self._check(place, found)
            self._restore(found)
            return int(found.config["step"]), found.config["history"]
        return 0, None

    def _check(self, place: Path, found: checkpoint.Checkpoint) -> None:
        before, now = _leaves(found.config["identity"]), _leaves(dict(self.identity))
        other = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        if other:
            said, shown = (", ".join(f"{name}={run.get(name)!r}" for name in other) for run in (before, now))
            cure = "Give the same arguments again, steps too where others derive from them, or a new folder for a new run."
            raise fail("checkpoint_dir", f"of a run with {said}, to be resumed", shown, cure)
        expected = {f"model.{n}.{k}": tuple(v.shape) for n, m in self.modules.items() for k, v in m.state_dict().items()}
        expected |= {f"average.{n}.{k}": tuple(v.shape) for n, e in self.averages.items() for k, v in e.state().items()}
        tensors = {name: value for name, value in found.tensors.items() if not name.startswith("optimizer.")}
        checkpoint.check_state(expected, tensors, source=str(place))
        for phase in self.phases:
            _check_optimizer(phase, found)

    def _restore(self, found: checkpoint.Checkpoint) -> None:
        for name, module in self.modules.items():
            own, tensors = module.state_dict(), _under(found.tensors, f"model.{name}.")
            module.load_state_dict({key: shard_like(value, own[key]) for key, value in tensors.items()})
        for name, ema in self.averages.items():
            ema.restore(_under(found.tensors, f"average.{name}."), found.config["examples"][name])
        for phase in self.phases:
            phase.optimizer.load_state_dict(_cut(_state_of(phase, found), phase.optimizer))
            if found.config.get("rates", {}).get(phase.name, list(phase.rates)) != list(phase.rates):
                for group, rate in zip(phase.optimizer.param_groups, phase.rates, strict=True):
                    group["lr"] = rate  # another one than this run had before; else what it had at the end
            if phase.scaler is not None:
                phase.scaler.load_state_dict(found.config["scalers"][phase.name])


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """What JSON says, by paths such as `penalties[0].gamma.steps`."""
    if isinstance(value, Mapping) and value:
        steps = [(f"{path}.{key}" if path else str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list | tuple) and value:
        steps = [(f"{path}[{i}]", inner) for i, inner in enumerate(value)]
    else:
        return {path: list(value) if isinstance(value, tuple) else value}
    return {name: leaf for step, inner in steps for name, leaf in _leaves(inner, step).items()}


def _state_of(phase: Phase, found: checkpoint.Checkpoint) -> Any:
    return _unflat(found.config["optimizers"][phase.name], _under(found.tensors, f"optimizer.{phase.name}."))


def _check_optimizer(phase: Phase, found: checkpoint.Checkpoint) -> None:
    """An optimizer goes on with the state of one of its kind, with as many parameters in as many groups, and no other."""
    kind = type(phase.optimizer).__name__
    before = found.config.get("kinds", {}).get(phase.name, kind), _groups(_state_of(phase, found))
    now = kind, _groups(phase.optimizer.state_dict())
    if before != now:
        said, shown = (f"{name} of {' + '.join(map(str, sizes))} parameters" for name, sizes in (before, now))
        cure = "Take that optimizer again, or a new folder for a new run."
        raise fail("checkpoint_dir", f"of a run whose phase {phase.name!r} has the optimizer {said}", shown, cure)
    scaled = phase.name in found.config["scalers"]
    if scaled != (phase.scaler is not None):
        said, cure = ("in float16" if scaled else "not in float16"), "Take that precision again, or a new folder."
        raise fail("checkpoint_dir", f"of a run whose phase {phase.name!r} is {said}", phase.precision, cure)


def _groups(state: Any) -> list[int]:
    """How many parameters each group has, of an optimizer or of several in one."""
    if isinstance(state, Mapping):
        return [len(state["params"])] if "params" in state else [n for value in state.values() for n in _groups(value)]
    return [n for value in state for n in _groups(value)] if isinstance(state, list | tuple) else []


def _made(folder: str | Path, *, writes: bool = True) -> None:
    """Makes a folder for checkpoints.

    Raises:
        ParameterError: If there can be none, or nothing can be written there.
    """
    place = path_of("checkpoint_dir", folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        if writes and not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        cure = f"Take another place: {error.strerror}."
        raise fail("checkpoint_dir", "a folder, or a place where one can be made", str(place), cure) from error


def _found(folder: str | Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    place = Path(folder)
    found = [child for child in place.iterdir() if _NAME.fullmatch(child.name)] if place.is_dir() else []
    return sorted(found)


def _remove(place: Path) -> None:
    """Renames it first, so that what is left of it if the process dies is no checkpoint."""
    gone = place.with_name(f".{place.name}.old")
    place.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _gathered(tensor: Tensor, kept: bool) -> Tensor:
    """All of a tensor, on the CPU where it was sharded; nothing where it is not kept."""
    if not is_sharded(tensor):
        return tensor
    found = whole(tensor)
    return found.cpu() if kept else found.new_empty(0)


def _cut(state: Any, optimizer: Any) -> Any:
    """A whole state of an optimizer, cut into shards where its parameters are."""
    if "inner" in state:
        return {"inner": [_cut(inside, one) for inside, one in zip(state["inner"], optimizer.inner, strict=True)]}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    cut = {
        place: {name: shard_like(value, parameters[place]) for name, value in values.items()}
        for place, values in state["state"].items()
    }
    return {**state, "state": cut}


def _flat(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """A nested state as JSON, with each tensor replaced by its name, and the tensors."""
    tensors: dict[str, Tensor] = {}

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            tensors[path] = value
            return {"tensor": path}
        if isinstance(value, Mapping):
            return {"items": [[key, walk(inner, f"{path}.{key}" if path else str(key))] for key, inner in value.items()]}
        if isinstance(value, list | tuple):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [walk(inner, f"{path}.{i}") for i, inner in enumerate(value)]}
        return value

    return walk(state, ""), tensors


def _unflat(shape: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(shape, dict):
        return shape
    ((kind, inside),) = shape.items()
    if kind == "tensor":
        return tensors[inside]
    if kind == "items":
        return {key: _unflat(value, tensors) for key, value in inside}
    made = [_unflat(value, tensors) for value in inside]
    return made if kind == "list" else tuple(made)
