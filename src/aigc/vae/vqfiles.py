"""Models with discrete codes in a folder: a configuration that rebuilds them, and their weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aigc import checkpoint, nets
from aigc._checks import fail, known
from aigc._models.files import build_net, net_config, opened, restored, state
from aigc.errors import ModelFileError
from aigc.nets import CausalTransformer
from aigc.nets.conditions import condition_from, condition_json
from aigc.vae import files
from aigc.vae.priors import Autoregressive
from aigc.vae.quantise import build
from aigc.vae.quantise.building import QUANTISERS

if TYPE_CHECKING:
    from aigc.vae.vqvae import VQVAE

__all__ = ["load", "quantiser_config", "save"]

V = TypeVar("V", bound="VQVAE")

_OWN = "own"  # what stands for a prior that only the caller can build


def save(vae: "VQVAE", folder: str | Path) -> None:
    """Writes a model."""
    config = {
        "model": "VQVAE",
        "shape": None if vae.shape is None else list(vae.shape),
        "images": vae.images,
        "condition": condition_json(vae.condition),
        "commitment": vae.commitment,
        "encoder": net_config(vae.encoder),
        "decoder": net_config(vae.decoder),
        "quantiser": quantiser_config(vae.quantiser),
        "likelihood": files.likelihood_config(vae.likelihood),
        "prior": _prior_config(vae.prior),
    }
    checkpoint.save(folder, config=config, tensors=state(vae))


def load(cls: type[V], folder: str | Path, own: Mapping[str, Any]) -> V:
    """Reads a model; parts of the caller's own are given.

    Raises:
        ParameterError: If a part is missing that only the caller has.
        ModelFileError: If a file is damaged, or of another model.
    """
    known(own, ("encoder", "decoder", "quantiser", "likelihood", "prior"))
    config, tensors = opened(folder, "VQVAE")
    parts = {name: part for name, part in own.items() if part is not None}
    prior = parts.pop("prior", None)
    for name in ("encoder", "decoder"):
        if name not in parts:
            parts[name] = build_net(config, name)
    if "quantiser" not in parts:
        parts["quantiser"] = _quantiser(config)
    if "likelihood" not in parts:
        parts["likelihood"] = files.rebuilt_likelihood(config)
    shape = config.get("shape")
    made = cls(
        **parts,
        commitment=config.get("commitment", 0.25),
        condition=condition_from(config.get("condition")),
        shape=None if shape is None else tuple(shape),
    )
    made.images = bool(config.get("images"))
    made.prior = _prior(config) if prior is None else prior
    return restored(made, tensors, folder)


def quantiser_config(quantiser: Any) -> Any:
    """A quantiser as JSON; None of one of the caller's own."""
    return quantiser.config if type(quantiser) in QUANTISERS.values() else None


def _quantiser(config: Mapping[str, Any]) -> Any:
    described = config.get("quantiser")
    if described is None:
        cure = "Call from_pretrained(folder, quantiser=...)."
        raise fail("quantiser", "given: the one that was saved is not of aigc", None, cure)
    return build(described)


def _prior_config(prior: Any) -> Any:
    if prior is None:
        return None
    ours = type(prior) is Autoregressive and type(prior.net) is CausalTransformer
    return prior.config if ours else {"prior": _OWN}


def _prior(config: Mapping[str, Any]) -> Autoregressive | None:
    described = config.get("prior")
    if described is None:
        return None
    name = described.get("prior") if isinstance(described, dict) else None
    if name == _OWN:
        cure = "Call from_pretrained(folder, prior=...)."
        raise fail("prior", "given: the one that was saved is not of aigc", None, cure)
    net = nets.build(described["net"]) if name == "Autoregressive" and set(described) == {"prior", "net", "shape"} else None
    if not isinstance(net, CausalTransformer):
        raise ModelFileError(f"config.json has a prior that is not known: {described!r}. Is it of a newer version?")
    return Autoregressive(net, described["shape"])
