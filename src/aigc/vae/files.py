"""VAEs in a folder: a configuration that rebuilds them, and their weights; no name in it is ever imported."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn

from aigc import checkpoint, nets
from aigc._checks import fail
from aigc.errors import ModelFileError
from aigc.training import schedules
from aigc.vae import bounds, likelihoods, priors

if TYPE_CHECKING:
    from aigc.vae.model import VAE

__all__ = [
    "bound_config",
    "build_net",
    "likelihood_config",
    "load",
    "net_config",
    "opened",
    "rebuilt_likelihood",
    "restored",
    "save",
]

V = TypeVar("V", bound="VAE")
M = TypeVar("M", bound=nn.Module)

_LIKELIHOODS: dict[str, tuple[str, ...]] = {  # their constructors' arguments, which they have as attributes
    "Bernoulli": (),
    "ContinuousBernoulli": (),
    "Gaussian": ("sigma",),
    "Laplace": ("scale",),
    "DiscretisedLogistic": ("bins",),
    "LogisticMixture": ("components", "bins"),
    "Categorical": ("classes",),
}
_PRIORS: dict[str, tuple[str, ...]] = {
    "StandardNormal": ("latent",),
    "Mixture": ("latent", "components"),
    "FullMixture": ("latent", "components"),
    "VampPrior": ("latent", "components", "shape"),
    "Flow": ("latent", "transforms", "hidden", "kind"),
}
_BOUNDS = ("ELBO", "IWAE")
_SCHEDULES = ("Constant", "Cosine", "Cyclical", "Linear")


def save(vae: "VAE", folder: str | Path) -> None:
    """Writes a VAE."""
    config = {
        "model": "VAE",
        "latent": vae.latent,
        "shape": None if vae.shape is None else list(vae.shape),
        "images": vae.images,
        "encoder": net_config(vae.encoder),
        "decoder": net_config(vae.decoder),
        "likelihood": likelihood_config(vae.likelihood),
        "prior": _described(vae.prior, priors, _PRIORS),
        "bound": bound_config(vae.bound),
    }
    checkpoint.save(folder, config=config, tensors=vae.state_dict())


def load(cls: type[V], folder: str | Path, own: Mapping[str, Any]) -> V:
    """Reads a VAE; parts of the caller's own are given.

    Raises:
        ParameterError: If a part is missing that only the caller has.
        ModelFileError: If a file is damaged, or of another model.
    """
    config, tensors = opened(folder, "VAE")
    parts: dict[str, Any] = {name: part for name, part in own.items() if part is not None}
    for name in ("encoder", "decoder"):
        if name not in parts:
            parts[name] = build_net(config, name)
    if "likelihood" not in parts:
        parts["likelihood"] = rebuilt_likelihood(config)
    vamp = {"encoder": parts["encoder"]}
    if "prior" not in parts:
        parts["prior"] = _rebuilt(config, "prior", priors, _PRIORS, vamp)
    parts.setdefault("bound", _rebuilt_bound(config))
    shape = config.get("shape")
    made = cls(**parts, latent=config.get("latent"), shape=None if shape is None else tuple(shape))
    made.images = bool(config.get("images"))
    return restored(made, tensors, folder)


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
    expected = {name: tuple(value.shape) for name, value in made.state_dict().items()}
    checkpoint.check_state(expected, tensors, source=f"{folder}/model.safetensors")
    kinds = {tensors[name].dtype for name, _ in made.named_parameters()}
    if len(kinds) == 1:
        made.to(kinds.pop())  # what is no part of the state, too
    made.load_state_dict(tensors, assign=True)  # each as it was saved
    return made.eval()


def net_config(net: nn.Module) -> Any:
    """The configuration of a net of `aigc.nets`; None of one of the caller's own."""
    config = getattr(net, "config", None)
    return config if isinstance(config, dict) and config.get("net") == type(net).__name__ else None


def build_net(config: Mapping[str, Any], name: str) -> nn.Module:
    """Builds the net that a configuration has under a name."""
    described = config.get(name)
    if described is None:
        raise fail(
            name, "given: the one that was saved is not of aigc.nets", None, f"Call from_pretrained(folder, {name}=...)."
        )
    return nets.build(described)


def likelihood_config(likelihood: Any) -> Any:
    """A likelihood as JSON; None of one of the caller's own."""
    return _described(likelihood, likelihoods, _LIKELIHOODS)


def rebuilt_likelihood(config: Mapping[str, Any]) -> Any:
    """The likelihood of a configuration."""
    return _rebuilt(config, "likelihood", likelihoods, _LIKELIHOODS, {})


def _described(part: Any, module: Any, known: Mapping[str, tuple[str, ...]]) -> Any:
    name = type(part).__name__
    if name not in known or type(part) is not getattr(module, name):
        return None
    values = {argument: getattr(part, argument) for argument in known[name]}
    return {"name": name, **{key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}}


def _rebuilt(
    config: Mapping[str, Any], what: str, module: Any, known: Mapping[str, tuple[str, ...]], extra: Mapping[str, Any]
) -> Any:
    described = config.get(what)
    if described is None:
        raise fail(what, "given: the one that was saved is not of aigc", None, f"Call from_pretrained(folder, {what}=...).")
    name = described.get("name")
    if name not in known or set(described) != {"name", *known[name]}:
        raise ModelFileError(f"config.json has a {what} that is not known: {described!r}. Is it of a newer version?")
    arguments = {key: value for key, value in described.items() if key != "name"}
    if name == "VampPrior":
        arguments |= extra
    return getattr(module, name)(**arguments)


def bound_config(bound: Any) -> dict[str, Any] | None:
    """A bound as JSON; None of one of the caller's own, or one with a schedule of theirs."""
    name = type(bound).__name__
    if name not in _BOUNDS or type(bound) is not getattr(bounds, name):
        return None
    fields = {field.name: getattr(bound, field.name) for field in dataclasses.fields(bound)}
    for key, value in fields.items():
        if callable(value):
            kind = type(value).__name__
            if kind not in _SCHEDULES or type(value) is not getattr(schedules, kind):
                return None
            fields[key] = {"schedule": kind, **dataclasses.asdict(value)}
    return {"name": name, **fields}


def _rebuilt_bound(config: Mapping[str, Any]) -> Any:
    described = config.get("bound")
    if described is None:
        return bounds.ELBO()
    name, fields = described.get("name"), {key: value for key, value in described.items() if key != "name"}
    if name not in _BOUNDS:
        raise ModelFileError(f"config.json has a bound that is not known: {described!r}. Is it of a newer version?")
    for key, value in fields.items():
        if isinstance(value, dict):
            kind = value.get("schedule")
            if kind not in _SCHEDULES:
                raise ModelFileError(f"config.json has a schedule that is not known: {value!r}.")
            fields[key] = getattr(schedules, kind)(**{k: v for k, v in value.items() if k != "schedule"})
    return getattr(bounds, name)(**fields)
