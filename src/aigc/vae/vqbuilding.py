"""What a model with discrete codes is built of, for data of a shape."""

from collections.abc import Sequence
from typing import Any, TypedDict

from torch import nn

from aigc import nets, random
from aigc._checks import fail, fail_type, known
from aigc.nets import Condition
from aigc.nets._shapes import check_sequence
from aigc.vae.building import check_part, checked_likelihood
from aigc.vae.likelihoods import Likelihood
from aigc.vae.quantise import VQ, Quantiser

__all__ = ["CodeParts", "built", "check_quantiser"]


class CodeParts(TypedDict, total=False):
    """What a VQVAE may be built of."""

    quantiser: Quantiser | None
    features: int | None
    likelihood: Likelihood | None
    commitment: float
    condition: Condition | None
    steps: int | None
    width: int | None
    blocks: int
    finest: int
    seed: int


def built(
    shape: Sequence[int], sides: int, parts: CodeParts
) -> tuple[tuple[nn.Module, nn.Module, Quantiser], dict[str, Any]]:
    """Builds encoder, decoder and quantiser, and says what else the model is given.

    Args:
        shape: Of one example.
        sides: How many it must have.
        parts: What was asked for.
    """
    known(parts, CodeParts.__annotations__)
    if len(check_sequence("shape", shape)) != sides:
        raise fail("shape", "(channels, height, width)" if sides == 3 else "(channels, length)", shape)
    says = checked_likelihood(parts.get("likelihood"))
    features, seed, condition = parts.get("features"), parts.get("seed", 0), parts.get("condition")
    if (given := parts.get("quantiser")) is not None:
        check_quantiser(given)
    quantiser: Quantiser = VQ(512, features=features or 64, seed=random.stream(seed, 2)) if given is None else given
    if features is not None and features != quantiser.features:
        raise fail("features", f"left out, or those of the quantiser, {quantiser.features}", features)
    how: dict[str, Any] = {name: value for name, value in parts.items() if name in ("steps", "width", "blocks", "finest")}
    how |= {"condition": condition, "outputs": says.size, "seed": seed}
    encoder, decoder = nets.spatial(shape, quantiser.features, **how)
    rest = {"likelihood": says, "commitment": parts.get("commitment", 0.25), "condition": condition, "shape": shape}
    return (encoder, decoder, quantiser), rest


def check_quantiser(given: Any) -> None:
    """Checks that vectors can be quantised by what is given."""
    if not isinstance(given, nn.Module):
        raise fail_type("quantiser", "an nn.Module, such as quantise.VQ(512, features=64)", given)
    check_part("quantiser", given, ("features", "count", "depth", "lookup"), "quantise.VQ(512, features=64)")
