"""Feature vectors as metrics read them: checked, in float64, with what is known of where they come from."""

from typing import NamedTuple, TypedDict

import torch
from torch import Tensor

from aigc._checks import fail, fail_type
from aigc.metrics.features.contract import Features
from aigc.random import check_seed

__all__ = ["Facts", "Pair", "exact", "generator", "pair", "permutation", "read", "same_source"]


class Facts(TypedDict):
    """What every result says of what was compared."""

    extractor: str
    version: str
    dim: int
    n_real: int
    n_fake: int


class Pair(NamedTuple):
    """A real and a generated set in float64, and what the result says of them."""

    real: Tensor
    fake: Tensor
    facts: Facts


def exact(x: Tensor, name: str = "x") -> Tensor:
    """The same numbers in float64, where they are; those of a device without float64 on the CPU."""
    if not isinstance(x, Tensor):
        raise fail_type(name, "a tensor", x, "Call torch.as_tensor(x).")
    x = x.detach()
    return (x.cpu() if x.device.type == "mps" else x).double()


def read(name: str, given: Tensor | Features, *, least: int, cure: str = "") -> Features:
    """Checks features `(n, d)`, n at least `least`."""
    found = given if isinstance(given, Features) else Features(given)
    values = found.values
    if not isinstance(values, Tensor) or not values.is_floating_point():
        shown = values.dtype if isinstance(values, Tensor) else values
        raise fail_type(name, "a floating tensor of features (n, d), or Features", shown, "Call x.float() on integers.")
    if values.ndim != 2 or not values.shape[1]:
        cure = "Use extract(extractor, data), for instance with Flatten()."
        raise fail(name, "features of shape (n, d)", tuple(values.shape), cure)
    if len(values) < least:
        raise fail(name, f"features of at least {least} examples", len(values), cure)
    values = exact(values)
    if not bool(values.isfinite().all()):
        rows = (~values.isfinite()).any(1).nonzero().flatten().tolist()
        cure = "Find out what makes them; leaving such rows out would flatter the generator."
        raise fail(name, "finite", f"nan or infinity in {len(rows)} rows, first in row {rows[0]}", cure)
    return Features(values, found.extractor, found.version)


def same_source(name: str, one: tuple[str, str], other: tuple[str, str]) -> None:
    """Checks that two sets of features come from the same extractor, as far as is known."""
    if one != other:
        wanted, shown = (" ".join(filter(None, source)) for source in (one, other))
        cure = "Extract both with the same extractor; give both as Features, or both as tensors."
        raise fail(name, f"features of the extractor of the other set, {wanted!r}", shown, cure)


def pair(real: Tensor | Features, fake: Tensor | Features, *, least: tuple[int, int] = (2, 2), cure: str = "") -> Pair:
    """Checks two sets of features that are to be compared, each of at least so many examples."""
    a, b = read("real", real, least=least[0], cure=cure), read("fake", fake, least=least[1], cure=cure)
    same_source("fake", (a.extractor, a.version), (b.extractor, b.version))
    dim = a.values.shape[1]
    if b.values.shape[1] != dim:
        raise fail("fake", f"of {dim} dimensions, as real is", tuple(b.values.shape), "Extract both in the same way.")
    facts = Facts(extractor=a.extractor, version=a.version, dim=dim, n_real=len(a), n_fake=len(b))
    return Pair(a.values, b.values.to(a.values.device), facts)


def generator(seed: int) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(check_seed("seed", seed))


def permutation(n: int, rng: torch.Generator, like: Tensor) -> Tensor:
    """A permutation of n numbers, on the device of another tensor."""
    return torch.randperm(n, generator=rng).to(like.device)
