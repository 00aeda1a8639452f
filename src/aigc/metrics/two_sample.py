"""The classifier two-sample test: can a classifier tell the generated from the real?"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from aigc._checks import fail, integer
from aigc.metrics._distances import squared
from aigc.metrics._reading import generator, pair, permutation
from aigc.metrics.features.contract import Features
from aigc.metrics.results import C2ST

__all__ = ["c2st"]

Kind = Literal["neighbours", "linear"]


def c2st(
    real: Tensor | Features, fake: Tensor | Features, *, classifier: Kind = "neighbours", folds: int = 5, seed: int = 0
) -> C2ST:
    r"""Tests whether two sets have the same law, by how well a classifier tells them apart (Lopez-Paz and Oquab,
    arXiv:1610.06545).

    Each example is classified by what was learned from the other folds. Folds have as many of one set as of the other, so
    that the accuracy is 1/2 in expectation if the laws are equal, and can be at most $(1 + \mathrm{TV}) / 2$ else: of two
    Gaussians of unit covariance at distance d at most $\Phi(d / 2)$. Where the sets differ in size, as many of the larger
    as of the smaller are drawn. Symmetric up to the folds.

    `"neighbours"` votes among the $\sqrt n$ nearest and finds differences of any kind, if there is enough data for the
    dimensions; `"linear"` is Fisher's discriminant, which finds a difference of the means with far less data, and no other.

    Args:
        real: Features of the real set, `(n, d)`.
        fake: Features of the generated set, `(m, d)`.
        classifier: `"neighbours"` or `"linear"`.
        folds: Of the cross-validation, at least 2.
        seed: Of the folds.

    Returns:
        Held-out accuracy, its z and p-value, and what it was measured by. The p-value asks for accuracies above 1/2; one
        far below says that real examples were copied.

    Raises:
        ParameterError: If a set has fewer than two examples per fold, is not finite, or of another extractor than the
        other.

    Example:
        >>> x, y = torch.randn(2, 500, 2, generator=torch.Generator().manual_seed(0))
        >>> c2st(x, y).p_value > 0.05, c2st(x, y + 1).p_value < 1e-6
        (True, True)
    """  # noqa: D205
    if classifier not in get_args(Kind):
        raise fail("classifier", f"one of {', '.join(get_args(Kind))}", classifier)
    folds = integer("folds", folds, low=2)
    x, y, facts = pair(real, fake, least=(2 * folds, 2 * folds), cure="Give more, or fewer folds.")
    rng, n = generator(seed), min(len(x), len(y))
    x, y = (z[permutation(len(z), rng, z)[:n]] for z in (x, y))
    right = 0
    for fold in torch.arange(n, device=x.device).tensor_split(folds):
        rest = torch.ones(n, dtype=torch.bool, device=x.device)
        rest[fold] = False
        order = permutation(2 * int(rest.sum()), rng, x)  # so that equal distances favour neither set
        known = torch.cat([x[rest], y[rest]])[order]
        labels = (torch.arange(len(known), device=x.device) >= len(known) // 2)[order]
        guess = _CLASSIFIERS[classifier](known, labels, torch.cat([x[fold], y[fold]]))
        right += int((~guess[: len(fold)]).sum() + guess[len(fold) :].sum())
    accuracy, error = right / (2 * n), 0.5 / math.sqrt(2 * n)
    z = (accuracy - 0.5) / error
    facts["n_real"] = facts["n_fake"] = n
    return C2ST(accuracy, error, z, math.erfc(z / math.sqrt(2)) / 2, classifier, folds, seed, **facts)


def _neighbours(x: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """What most of the nearest are; their number is odd, so that there is no draw."""
    k = 2 * (math.isqrt(len(x)) // 2) + 1
    mean = x.mean(0)
    x, asked = x - mean, asked - mean
    votes = [labels[squared(rows, x).topk(k, dim=1, largest=False).indices].sum(1) for rows in torch.split(asked, 1024)]
    return 2 * torch.cat(votes) > k


def _linear(x: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """Fisher's discriminant, by least squares of standardised features with a ridge of d, which n soon outweighs."""
    mean, scale = x.mean(0), x.std(0)
    scale = torch.where(scale > 0, scale, 1.0)
    x, asked = (x - mean) / scale, (asked - mean) / scale
    signs = 2 * labels.double() - 1
    n, d = x.shape
    if d <= n:
        weights = torch.linalg.solve(x.mT @ x + d * torch.eye(d, dtype=x.dtype, device=x.device), x.mT @ signs)
    else:
        weights = x.mT @ torch.linalg.solve(x @ x.mT + d * torch.eye(n, dtype=x.dtype, device=x.device), signs)
    guess: Tensor = asked @ weights > 0
    return guess


_CLASSIFIERS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"neighbours": _neighbours, "linear": _linear}
