"""Quantisers by configuration."""

import inspect
from collections.abc import Mapping
from typing import Any

from aigc._checks import fail, fail_type
from aigc.vae.quantise.residual import ResidualVQ
from aigc.vae.quantise.scalars import FSQ
from aigc.vae.quantise.vectors import VQ

__all__ = ["build"]

QUANTISERS: dict[str, type[VQ | FSQ | ResidualVQ]] = {"FSQ": FSQ, "ResidualVQ": ResidualVQ, "VQ": VQ}


def build(config: Mapping[str, Any]) -> VQ | FSQ | ResidualVQ:
    """Builds a quantiser by the configuration of another; the name in it is looked up in a fixed table.

    Args:
        config: What a quantiser's `.config` says.

    Raises:
        ParameterError: If there is no such quantiser, or an argument is unknown, missing or out of range.

    Example:
        >>> build(FSQ((8, 5)).config)
        FSQ((8, 5))
    """
    if not isinstance(config, Mapping):
        raise fail_type("config", "what a quantiser's .config says", config)
    name = config.get("quantiser")
    if not isinstance(name, str) or name not in QUANTISERS:
        cure = "Give one of your own to from_pretrained."
        raise fail("config['quantiser']", f"one of {', '.join(QUANTISERS)}", name, cure)
    given = {key: value for key, value in config.items() if key != "quantiser"}
    known = inspect.signature(QUANTISERS[name]).parameters
    missing = [key for key, argument in known.items() if argument.default is argument.empty and key not in given]
    if missing or not set(given) <= set(known):
        raise fail("config", f"arguments of {name}: {', '.join(known)}", sorted(given))
    return QUANTISERS[name](**given)
