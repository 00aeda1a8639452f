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
    real: Tensor | Features,
    fake: Tensor | Features,
    *,
    classifier: Kind = "neighbours",
    folds: int = 5,
    permutations: int = 200,
    seed: int = 0,
) -> C2ST:
    r"""Tests whether two sets have the same law, by how well a classifier tells them apart (Lopez-Paz and Oquab,
    arXiv:1610.06545).

    Each example is classified by what was learned from the other folds. Folds have as many of one set as of the other, so
    that the accuracy is 1/2 in expectation if the laws are equal, and can be at most $(1 + \mathrm{TV}) / 2$ else: of two
    Gaussians of unit covariance at distance d at most $\Phi(d / 2)$. Where the sets differ in size, as many of the larger
    as of the smaller are drawn. Symmetric up to the folds.

    Examples of one fold are told right or wrong by the same classifier, and every two classifiers share examples, so that
    the accuracy varies more than so many coins would, by a quarter as a rule. Its standard error is therefore measured:
    labels are permuted within the folds, and all is done again. Both classifiers are linear in the labels, which makes it
    cheap.

    `"neighbours"` votes among the $\sqrt n$ nearest and finds differences of any kind, if there is enough data for the
    dimensions; `"linear"` is Fisher's discriminant, which finds a difference of the means with far less data, and no other.

    Args:
        real: Features of the real set, `(n, d)`.
        fake: Features of the generated set, `(m, d)`.
        classifier: `"neighbours"` or `"linear"`.
        folds: Of the cross-validation, at least 2.
        permutations: That the standard error is of, at least 20; of 200 it is right within 5%.
        seed: Of the folds and the permutations.

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
    folds, rng = integer("folds", folds, low=2), generator(seed)
    x, y, facts = pair(real, fake, least=(2 * folds, 2 * folds), cure="Give more, or fewer folds.")
    n = min(len(x), len(y))
    x, y = (z[permutation(len(z), rng, z)[:n]] for z in (x, y))
    both, places = torch.cat([x, y]), torch.arange(n)
    parts = [torch.cat([fold, n + fold]) for fold in places.tensor_split(folds)]
    right = _right(both, parts, integer("permutations", permutations, low=20), _CLASSIFIERS[classifier], rng)
    accuracies = right.double() / (2 * n)
    accuracy, error = float(accuracies[0]), float((accuracies[1:] - 0.5).square().mean().sqrt())
    z = (accuracy - 0.5) / error if error else 0.0  # where nothing differs, all are told to be of one set
    facts["n_real"] = facts["n_fake"] = n
    return C2ST(accuracy, error, z, math.erfc(z / math.sqrt(2)) / 2, classifier, folds, permutations, seed, **facts)


def _right(both: Tensor, parts: list[Tensor], permutations: int, classify: "_Classify", rng: torch.Generator) -> Tensor:
    """How many are told right by the labels as they are, and by each permutation within the parts."""
    signs = torch.ones(permutations + 1, len(both))
    signs[:, len(both) // 2 :] = -1
    for part in parts:
        order = torch.rand(permutations, len(part), generator=rng).argsort(1)
        signs[1:, part] = signs[0, part][order]
    right = torch.zeros(len(signs), dtype=torch.int64)
    for i, part in enumerate(parts):
        rest = torch.cat(parts[:i] + parts[i + 1 :])
        rest = rest[torch.randperm(len(rest), generator=rng)]  # so that equal distances favour neither set
        guess = classify(both[rest.to(both.device)], signs[:, rest].to(both.device), both[part.to(both.device)])
        right += ((guess > 0) == (signs[:, part].to(guess.device) > 0)).sum(1).cpu()
    return right


# Known examples, their signs (permutations, known), and examples that are asked about: how much they are +1, (permutations,
# asked).
_Classify = Callable[[Tensor, Tensor, Tensor], Tensor]


def _neighbours(x: Tensor, signs: Tensor, asked: Tensor) -> Tensor:
    """What most of the nearest are; their number is odd, so that there is no draw."""
    k = 2 * (math.isqrt(len(x)) // 2) + 1
    mean = x.mean(0)
    x, asked = x - mean, asked - mean
    votes = []
    for rows in torch.split(asked, 256):
        nearest = squared(rows, x).topk(k, dim=1, largest=False).indices
        chosen = torch.zeros(len(rows), len(x), device=x.device).scatter_(1, nearest, 1.0)
        votes.append(signs @ chosen.mT)  # small integers: exact in float32
    return torch.cat(votes, 1)


def _linear(x: Tensor, signs: Tensor, asked: Tensor) -> Tensor:
    """Fisher's discriminant, by least squares of standardised features with a ridge of d, which n soon outweighs."""
    mean, scale = x.mean(0), x.std(0)
    scale = torch.where(scale > 0, scale, 1.0)
    x, asked = (x - mean) / scale, (asked - mean) / scale
    n, d = x.shape
    ridge = d * torch.eye(min(n, d), dtype=x.dtype, device=x.device)
    wanted = signs.to(x.dtype).mT
    weights = (
        torch.linalg.solve(x.mT @ x + ridge, x.mT @ wanted)
        if d <= n
        else x.mT @ torch.linalg.solve(x @ x.mT + ridge, wanted)
    )
    guess: Tensor = (asked @ weights).mT
    return guess


_CLASSIFIERS: dict[str, _Classify] = {"neighbours": _neighbours, "linear": _linear}
