"""Intervals of a ratio of sums by resampling what the sums are of."""

from collections.abc import Iterator
from statistics import NormalDist

import torch
from torch import Tensor

from aigc._checks import fail, integer, number
from aigc.random import check_seed

__all__ = ["check_resampling", "interval", "sign_flip"]

_DRAWS = 2**22  # numbers that are drawn at once: bounds memory
_EXACT = 12  # documents whose 2^n signs are all tried
_NORMAL = NormalDist()


def check_resampling(confidence: float, resamples: int, seed: int) -> None:
    """Checks how an interval shall be found."""
    number("confidence", confidence, low=0, high=1)
    if not 0 < confidence < 1:
        raise fail("confidence", "strictly between 0 and 1", confidence, "Take 0.95.")
    integer("resamples", resamples, low=100, cure="Take 5000.")
    check_seed("seed", seed)


def interval(x: Tensor, y: Tensor, *, confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    """The BCa interval of sum(x) / sum(y) over pairs that are drawn again (Efron, 1987): corrected for bias and skew.

    Args:
        x: float64 `(n,)`, n at least 2.
        y: float64 `(n,)`, of sums above 0.
        confidence: In (0, 1).
        resamples: How many sets are drawn.
        seed: Of the draws.
    """
    value = float(x.sum() / y.sum())
    drawn = torch.cat([x[rows].sum(1) / y[rows].sum(1) for rows in _rows(len(x), resamples, seed)])
    drawn = drawn[drawn.isfinite()]  # a set of documents without a single byte has no ratio
    below = (drawn < value).double() + (drawn == value).double() / 2
    share = float(below.mean().clamp(0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    bias, skew = _NORMAL.inv_cdf(share), _acceleration(x, y)
    tails = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = bias + _NORMAL.inv_cdf(tail)
        tails.append(_NORMAL.cdf(bias + z / (1 - skew * z)))
    low, high = torch.quantile(drawn, torch.tensor(tails, dtype=torch.float64)).tolist()
    return low, high


def _acceleration(x: Tensor, y: Tensor) -> float:
    """A sixth of the skewness of what leaving out one pair changes."""
    rest = y.sum() - y
    if bool((rest <= 0).any()):
        return 0.0
    left = (x.sum() - x) / rest
    off = left.mean() - left
    spread = float(off.square().sum())
    return float(off.pow(3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0


def sign_flip(differences: Tensor, *, resamples: int, seed: int) -> float:
    """The p-value of a sum under all changes of sign: exact of few numbers, of so many random changes else.

    Its level is right for any number of documents if each difference is as likely to be above zero as below.
    """
    n, seen = len(differences), float(differences.sum().abs())
    if not bool(differences.any()):
        return 1.0
    bound = seen - 1e-12 * float(differences.abs().sum())  # a sum in another order is the same sum
    if n <= _EXACT:
        signs = 1.0 - 2.0 * ((torch.arange(2**n)[:, None] >> torch.arange(n)) & 1)
        return float(((signs.double() @ differences).abs() >= bound).double().mean())
    rng = torch.Generator().manual_seed(seed)
    beyond = 0
    for size in _sizes(n, resamples):
        signs = 1.0 - 2.0 * torch.randint(2, (size, n), generator=rng, dtype=torch.float64)
        beyond += int(((signs @ differences).abs() >= bound).sum())
    return (1 + beyond) / (1 + resamples)


def _rows(n: int, resamples: int, seed: int) -> Iterator[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    for size in _sizes(n, resamples):
        yield torch.randint(n, (size, n), generator=rng)


def _sizes(n: int, resamples: int) -> Iterator[int]:
    block = max(1, _DRAWS // n)
    for first in range(0, resamples, block):
        yield min(block, resamples - first)
