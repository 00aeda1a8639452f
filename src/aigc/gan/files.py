"""GANs in a folder: a configuration that rebuilds them, and their weights; no name in it is ever imported."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from aigc import checkpoint
from aigc._checks import fail
from aigc._models.files import build_net, described, net_config, opened, rebuilt, restored, state
from aigc.gan import losses, penalties
from aigc.gan.augment import Adaptive, DiffAugment
from aigc.gan.penalties import Consistency, LeCam

if TYPE_CHECKING:
    from aigc.gan.model import GAN

__all__ = ["load", "loss_config", "penalty_config", "save"]

G = TypeVar("G", bound="GAN")

_LOSSES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        losses.Hinge,
        losses.LeastSquares,
        losses.Minimax,
        losses.NonSaturating,
        losses.Relativistic,
        losses.Wasserstein,
    )
}
_PENALTIES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (penalties.OneCentred, penalties.R1, penalties.R2, penalties.WGANGP, penalties.ZeroCentred)
}
_AUGMENTS: dict[str, type[Any]] = {"DiffAugment": DiffAugment}


def save(gan: "GAN", folder: str | Path) -> None:
    """Writes a GAN."""
    known = None if gan.penalties is None else [penalty_config(penalty) for penalty in gan.penalties]
    ada = gan.adaptive
    config = {
        "model": "GAN",
        "latent": gan.latent,
        "shape": None if gan.shape is None else list(gan.shape),
        "images": gan.images,
        "generator": net_config(gan.generator),
        "discriminator": net_config(gan.discriminator),
        "loss": loss_config(gan.loss),
        "penalties": known,
        "augment": None if gan.augment is None else described(gan.augment, _AUGMENTS) or "own",
        "adaptive": None if ada is None else {"target": ada.target, "speed": ada.speed, "every": ada.every},
    }
    checkpoint.save(folder, config=config, tensors=state(gan))


def load(cls: type[G], folder: str | Path, own: Mapping[str, Any]) -> G:
    """Reads a GAN; parts of the caller's own are given.

    Raises:
        ParameterError: If a part is missing that only the caller has.
        ModelFileError: If a file is damaged, or of another model.
    """
    config, tensors = opened(folder, "GAN")
    found: dict[str, Any] = {name: part for name, part in own.items() if part is not None}
    for name in ("generator", "discriminator"):
        if name not in found:
            found[name] = build_net(config, name)
    if "loss" not in found:
        found["loss"] = rebuilt("loss", _given(config, "loss"), _LOSSES)
    if "penalties" not in found and config.get("penalties") is not None:
        found["penalties"] = [_penalty(said) for said in config["penalties"]]
    if "augment" not in found and config.get("augment") is not None:
        if config["augment"] == "own":
            _missing("augment")
        found["augment"] = rebuilt("augment", config["augment"], _AUGMENTS)
    if config.get("adaptive") is not None:
        found["adaptive"] = Adaptive(**config["adaptive"])
    shape = config.get("shape")
    made = cls(**found, latent=int(config["latent"]), shape=None if shape is None else tuple(shape))
    made.images = bool(config.get("images"))
    return restored(made, tensors, folder)


def loss_config(loss: Any) -> dict[str, Any] | None:
    """A loss as JSON; None of one of the caller's own."""
    return described(loss, _LOSSES)


def penalty_config(penalty: Any) -> dict[str, Any] | None:
    """A penalty as JSON; None of one of the caller's own, or with a schedule of theirs."""
    if type(penalty) is LeCam:
        return described(penalty, {"LeCam": LeCam}, ("weight", "decay"))
    if type(penalty) is Consistency:
        said = described(penalty, {"Consistency": Consistency}, ("weight", "fake"))
        augment = described(penalty.augment, _AUGMENTS)
        return None if said is None or augment is None else {**said, "augment": augment}
    return described(penalty, _PENALTIES)


def _penalty(said: Any) -> Any:
    if said is None:
        _missing("penalties")
    if said.get("name") == "LeCam":
        return rebuilt("penalty", said, {"LeCam": LeCam})
    if said.get("name") == "Consistency":
        augment = rebuilt("augment", said.get("augment", {}), _AUGMENTS)
        numbers = {name: value for name, value in said.items() if name != "augment"}
        return rebuilt("penalty", numbers, {"Consistency": partial(Consistency, augment=augment)})
    return rebuilt("penalty", said, _PENALTIES)


def _given(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = config.get(name)
    if found is None:
        _missing(name)
    return found


def _missing(name: str) -> NoReturn:
    cure = f"Call from_pretrained(folder, {name}=...)."
    raise fail(name, "given: the one that was saved is not of aigc", None, cure)
