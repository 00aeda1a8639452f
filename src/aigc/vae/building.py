"""What a VAE is built of, for data of a shape."""

from collections.abc import Sequence
from typing import Any, TypedDict

from torch import nn

from aigc import nets
from aigc._checks import fail_type, known
from aigc.nets import Condition, Kind
from aigc.vae import likelihoods
from aigc.vae.bounds import Bound
from aigc.vae.likelihoods import Likelihood
from aigc.vae.priors import Prior

__all__ = ["Layers", "Parts", "built", "check_bound", "check_part", "check_prior", "checked_likelihood", "layered"]


class Parts(TypedDict, total=False):
    """What a VAE may be built of."""

    kind: Kind
    likelihood: Likelihood | None
    bound: Bound | None
    prior: Prior | None
    condition: Condition | None
    seed: int


class Layers(TypedDict, total=False):
    """What a hierarchical VAE may be built of."""

    width: int
    blocks: int
    finest: int
    likelihood: Likelihood | None
    bound: Bound | None
    condition: Condition | None
    seed: int


def built(make: Any, shape: Sequence[int], latent: int, parts: Parts) -> tuple[tuple[nn.Module, nn.Module], dict[str, Any]]:
    """Builds encoder and decoder, and says what else the model is given.

    Args:
        make: `nets.for_images` or `nets.for_sounds`.
        shape: Of one example.
        latent: Dimensions of a code.
        parts: What was asked for.
    """
    known(parts, Parts.__annotations__)
    says = checked_likelihood(parts.get("likelihood"))
    how = {"kind": parts.get("kind", "conv"), "condition": parts.get("condition"), "seed": parts.get("seed", 0)}
    own = {"bound": parts.get("bound"), "prior": parts.get("prior")}
    return make(shape, latent, outputs=says.size, **how), {"latent": latent, "likelihood": says, "shape": shape, **own}


def layered(
    shape: Sequence[int], channels: Sequence[int], parts: Layers
) -> tuple[tuple[nn.Module, nn.Module], dict[str, Any]]:
    """Builds the nets of a hierarchy; as `built`."""
    known(parts, Layers.__annotations__)
    how: dict[str, Any] = {name: value for name, value in parts.items() if name not in ("likelihood", "bound")}
    says = checked_likelihood(parts.get("likelihood"))
    pair = nets.hierarchical(shape, channels, outputs=says.size, **how)
    return pair, {"latent": pair[1].latent, "likelihood": says, "shape": shape, "bound": parts.get("bound")}


def checked_likelihood(given: Any) -> Any:
    """A likelihood; of None, the one that is taken where nothing is said."""
    if given is None:
        return likelihoods.Gaussian("optimal")
    check_part("likelihood", given, ("size", "log_prob", "mean", "sample", "check"), "likelihoods.Bernoulli()")
    return given


def check_prior(given: Any) -> None:
    """Checks that codes can be drawn from what is given, or None is."""
    if given is not None:
        check_part("prior", given, ("latent", "log_prob", "sample", "kl"), "priors.StandardNormal(latent)")


def check_bound(given: Any) -> None:
    """Checks that training can minimise what is given, or None is."""
    if given is not None:
        check_part("bound", given, ("samples", "loss"), "ELBO()")


def check_part(name: str, given: Any, names: Sequence[str], such: str) -> None:
    """Checks that a part is an object, not its class, and has what it is called for."""
    if isinstance(given, type) or not all(hasattr(given, each) for each in names):
        raise fail_type(name, f"an object with {', '.join(names)}, such as {such}", given)
