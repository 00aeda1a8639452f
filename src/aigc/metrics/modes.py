"""How many modes of a known law are generated."""

import math

import torch
from torch import Tensor

from aigc._checks import fail, fail_type, integer
from aigc.metrics._reading import exact, read
from aigc.metrics.features.contract import Features
from aigc.metrics.results import ModeCoverage

__all__ = ["mode_coverage"]


def mode_coverage(
    fake: Tensor | Features,
    *,
    modes: int | None = None,
    centres: Tensor | None = None,
    std: float | None = None,
    reference: Tensor | None = None,
    radius: float = 3.0,
) -> ModeCoverage:
    r"""Counts the modes that are generated, and how far their shares are from those of the law.

    Two doors. **Classes**, with `modes`: `fake` are the labels that a classifier gives to generated examples, as for
    StackedMNIST (Metz et al., arXiv:1611.02163: 1,000 modes, 26,000 examples; `Classifier.stacked` makes the labels). A
    mode is captured if a label occurs. **Points**, with `centres` and `std`: `fake` are points of a mixture of round
    Gaussians, as the ring and the grid of PacGAN (Lin et al., arXiv:1712.04086: 2,500 examples). A point belongs to its
    nearest centre, is of high quality if it is less than `radius` standard deviations from it, and a mode is captured if
    one such point belongs to it; of a perfect sampler in the plane $1 - e^{-9/2}$ = 98.9% are of high quality.

    At either, the shares q of all examples are compared with the reference p by $\sum_k q_k \log (q_k / p_k)$, the reverse
    KL divergence, in nats; a perfect sampler has about $(K - 1) / 2n$ (`expected_divergence`).

    Args:
        fake: Labels, int64 `(n,)` in [0, modes); or points, `(n, d)`.
        modes: How many classes there are.
        centres: `(K, d)`.
        std: Of each mode in each direction, above 0.
        reference: Probabilities of the modes, `(K,)`; uniform by default.
        radius: In standard deviations, above 0.

    Raises:
        ParameterError: If neither or both doors are opened, a label is out of range, or shapes disagree.

    Example:
        >>> print(mode_coverage(torch.tensor([0, 0, 1, 1]), modes=3))
        2 of 3 modes, KL 0.4055 nats (0.2500 of a perfect sampler) (4 generated)
        >>> ring = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        >>> found = mode_coverage(torch.tensor([[1.01, 0.0], [-0.5, 0.0]]), centres=ring, std=0.01)
        >>> found.modes, found.high_quality, found.divergence
        (1, 0.5, 0.0)
    """
    if (modes is None) == (centres is None):
        cure = "Say modes=1000 of labels; centres=..., std=... of points."
        raise fail("modes or centres", "given, one of the two", "both" if modes else "neither", cure)
    if centres is None:
        if std is not None:
            raise fail("std", "None with labels", std, "Say centres=... too.")
        counts = _labels(fake, integer("modes", modes, low=2))
        divergence = _divergence(counts, reference)
        return ModeCoverage(int((counts > 0).sum()), len(counts), divergence, None, int(counts.sum()), counts)
    points, places = _points(fake, centres)
    for name, value in (("std", std), ("radius", radius)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise fail(name, "a finite number above 0", value)
    distances, nearest = torch.cdist(points, places, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    good = distances < radius * float(std or 0)
    counts, captured = (nearest[which].bincount(minlength=len(places)).cpu() for which in (slice(None), good))
    found = int((captured > 0).sum())
    quality = int(good.sum()) / len(good)
    return ModeCoverage(found, len(places), _divergence(counts, reference), quality, len(points), counts)


def _labels(fake: Tensor | Features, modes: int) -> Tensor:
    """How often each label occurs."""
    if not isinstance(fake, Tensor) or fake.dtype != torch.int64:
        cure = "Points need centres=... and std=...."
        raise fail_type("fake", "int64 labels (n,)", fake.dtype if isinstance(fake, Tensor) else fake, cure)
    if fake.ndim != 1 or not len(fake):
        raise fail("fake", "labels (n,), at least one", tuple(fake.shape))
    low, high = int(fake.min()), int(fake.max())
    if low < 0 or high >= modes:
        raise fail("fake", f"labels in [0, {modes})", low if low < 0 else high)
    return fake.bincount(minlength=modes).cpu()


def _points(fake: Tensor | Features, centres: Tensor) -> tuple[Tensor, Tensor]:
    points = read("fake", fake, least=1).values
    places = read("centres", centres, least=2).values.to(points.device)
    if places.shape[1] != points.shape[1]:
        raise fail("centres", f"of {points.shape[1]} dimensions, as the points are", tuple(places.shape))
    return points, places


def _divergence(counts: Tensor, reference: Tensor | None) -> float:
    """KL of the shares from the reference."""
    k = len(counts)
    p = torch.full((k,), 1 / k, dtype=torch.float64) if reference is None else exact(reference, "reference").cpu()
    if p.shape != (k,) or bool((p < 0).any()) or not math.isclose(float(p.sum()), 1, abs_tol=1e-3):
        raise fail("reference", f"{k} probabilities that sum to 1", reference, "Leave it out if all are equally likely.")
    q = counts.double() / counts.sum()
    seen = q > 0
    # Shares equal to the reference have a sum of 0, up to rounding.
    return max(0.0, float((q[seen] * (q[seen] / p[seen]).log()).sum()))
