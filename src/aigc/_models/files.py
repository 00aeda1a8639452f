"""Models in a folder: nets by configuration, other parts as their fields, weights; no name in a file is ever imported."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from aigc import checkpoint, nets
from aigc._checks import fail
from aigc.errors import ModelFileError
from aigc.training import Constant, Cosine, Cyclical, Exponential, Linear

__all__ = ["build_net", "described", "net_config", "opened", "rebuilt", "restored", "state"]

M = TypeVar("M", bound=nn.Module)

_COMPILED = "_orig_mod."  # what torch.compile puts before the names of a net

_SCHEDULES: dict[str, type[Any]] = {kind.__name__: kind for kind in (Constant, Cosine, Cyclical, Exponential, Linear)}


def opened(folder: str | Path, model: str) -> checkpoint.Checkpoint:
    """Configuration and tensors of a model of a name.

    Raises:
        ModelFileError: If a file is damaged, or of another model.
    """
    found = checkpoint.load(folder)
    kind = found.config.get("model")
    if kind != model:
        raise ModelFileError(f"{folder} holds {kind!r}, not a {model}. Load it with its own class.")
    return found


def restored(made: M, tensors: Mapping[str, Tensor], folder: str | Path) -> M:
    """A model with the weights that were saved, each in its dtype.

    Raises:
        ModelFileError: If they are not those of such a model.
    """
    places = {_plain(name): name for name in made.state_dict()}
    found = {_plain(name): value for name, value in tensors.items()}
    expected = {name: tuple(value.shape) for name, value in state(made).items()}
    checkpoint.check_state(expected, found, source=f"{folder}/model.safetensors")
    kinds = {found[_plain(name)].dtype for name, _ in made.named_parameters()}
    if len(kinds) == 1:
        made.to(kinds.pop())  # what is no part of the state, too
    made.load_state_dict({places[name]: value for name, value in found.items()}, assign=True)  # each as it was saved
    return made.eval()


def state(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a model, those of a compiled net by the names that they have in the plain one."""
    return {_plain(name): value for name, value in model.state_dict().items()}


def _plain(name: str) -> str:
    return name.replace(_COMPILED, "")


def net_config(net: nn.Module) -> Any:
    """The configuration of a net of `aigc.nets`, compiled or not; None of one of the caller's own."""
    net = getattr(net, "_orig_mod", net)
    config = getattr(net, "config", None)
    return config if isinstance(config, dict) and config.get("net") == type(net).__name__ else None


def build_net(config: Mapping[str, Any], name: str) -> nn.Module:
    """Builds the net that a configuration has under a name."""
    found = config.get(name)
    if found is None:
        cure = f"Call from_pretrained(folder, {name}=...)."
        raise fail(name, "given: the one that was saved is not of aigc.nets", None, cure)
    return nets.build(found)


def described(part: Any, known: Mapping[str, type[Any]], names: Sequence[str] | None = None) -> dict[str, Any] | None:
    """A dataclass as JSON, its schedules included; None of one of the caller's own, or with a schedule of theirs.

    Args:
        part: The dataclass, or another object.
        known: Those that can be rebuilt.
        names: Its arguments, where it is no dataclass or not all of them are wanted.
    """
    name = type(part).__name__
    if known.get(name) is not type(part):
        return None
    wanted = [field.name for field in dataclasses.fields(part)] if names is None else names
    fields = {key: getattr(part, key) for key in wanted}
    for key, value in fields.items():
        if callable(value):
            kind = type(value).__name__
            if _SCHEDULES.get(kind) is not type(value):
                return None
            fields[key] = {"schedule": kind, **dataclasses.asdict(value)}
    return {"name": name, **fields}


def rebuilt(what: str, found: Mapping[str, Any], known: Mapping[str, Callable[..., Any]]) -> Any:
    """The dataclass that was described.

    Raises:
        ModelFileError: If it is not known.
    """
    name, fields = found.get("name"), {key: value for key, value in found.items() if key != "name"}
    if not isinstance(name, str) or name not in known:
        raise ModelFileError(f"config.json has a {what} that is not known: {dict(found)!r}. Is it of a newer version?")
    for key, value in fields.items():
        if isinstance(value, Mapping):
            kind = value.get("schedule")
            if kind not in _SCHEDULES:
                raise ModelFileError(f"config.json has a schedule that is not known: {dict(value)!r}.")
            fields[key] = _SCHEDULES[kind](**{k: v for k, v in value.items() if k != "schedule"})
        elif isinstance(value, list):
            fields[key] = tuple(value)  # as JSON has it
    return known[name](**fields)
