"""VAEs in a folder: a configuration that rebuilds them, and their weights; no name in it is ever imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aigc import checkpoint
from aigc._checks import fail, known
from aigc._models.files import build_net, described, net_config, opened, rebuilt, restored, state
from aigc.errors import ModelFileError
from aigc.vae import likelihoods, priors
from aigc.vae.bounds import ELBO, IWAE

if TYPE_CHECKING:
    from aigc.vae.model import VAE

__all__ = ["bound_config", "likelihood_config", "load", "prior_config", "rebuilt_likelihood", "save"]

V = TypeVar("V", bound="VAE")

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
_BOUNDS: dict[str, type[Any]] = {"ELBO": ELBO, "IWAE": IWAE}


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
        "prior": prior_config(vae.prior),
        "bound": bound_config(vae.bound),
    }
    checkpoint.save(folder, config=config, tensors=state(vae))


def load(cls: type[V], folder: str | Path, own: Mapping[str, Any]) -> V:
    """Reads a VAE; parts of the caller's own are given.

    Raises:
        ParameterError: If a part is missing that only the caller has.
        ModelFileError: If a file is damaged, or of another model.
    """
    known(own, ("encoder", "decoder", "likelihood", "prior", "bound"))
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
    if "bound" not in parts:
        said = config.get("bound")
        parts["bound"] = ELBO() if said is None else rebuilt("bound", said, _BOUNDS)
    shape = config.get("shape")
    made = cls(**parts, latent=config.get("latent"), shape=None if shape is None else tuple(shape))
    made.images = bool(config.get("images"))
    return restored(made, tensors, folder)


def likelihood_config(likelihood: Any) -> Any:
    """A likelihood as JSON; None of one of the caller's own."""
    return _described(likelihood, likelihoods, _LIKELIHOODS)


def prior_config(prior: Any) -> Any:
    """A prior as JSON; None of one of the caller's own."""
    return _described(prior, priors, _PRIORS)


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
    said = config.get(what)
    if said is None:
        raise fail(what, "given: the one that was saved is not of aigc", None, f"Call from_pretrained(folder, {what}=...).")
    name = said.get("name")
    if name not in known or set(said) != {"name", *known[name]}:
        raise ModelFileError(f"config.json has a {what} that is not known: {said!r}. Is it of a newer version?")
    arguments = {key: value for key, value in said.items() if key != "name"}
    if name == "VampPrior":
        arguments |= extra
    return getattr(module, name)(**arguments)


def bound_config(bound: Any) -> dict[str, Any] | None:
    """A bound as JSON; None of one of the caller's own, or one with a schedule of theirs."""
    return described(bound, _BOUNDS)
