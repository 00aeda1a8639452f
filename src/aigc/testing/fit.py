"""Goodness of fit: how likely counts as uneven as these are, if the law is true.

A test states its alpha, the share of true laws that it rejects: with fixed seeds, how unlikely it was to need others. One
that runs n tests and wants to reject a true law once in a million runs compares each p-value with $10^{-6} / n$.
"""

import math

import torch
from torch import Tensor

from aigc._checks import fail

__all__ = ["chi_square", "z_score"]


def chi_square(counts: Tensor, probabilities: Tensor, *, least: float = 10) -> float:
    r"""Returns the p-value of counts under a law.

    $$ X^2 = \sum_i \frac{(c_i - n p_i)^2}{n p_i} $$

    is compared with the chi-square distribution (Pearson, 1900), which it follows where no $n p_i$ is small. Bins that are
    expected less than `least` times are pooled into one, and that one with the next larger bin if it is still too small.

    Args:
        counts: How often each bin was drawn, `(bins,)`.
        probabilities: How likely each is, `(bins,)`; they add up to 1. A bin of probability 0 must not have been drawn.
        least: The least expectation of a bin of its own.

    Returns:
        The probability of counts at least as far from the law; 0 if something impossible was drawn.

    Raises:
        ParameterError: If the shapes differ, or the probabilities do not add up to 1 within $10^{-6}$.

    Example:
        >>> chi_square(torch.tensor([48.0, 52.0]), torch.tensor([0.5, 0.5])) > 0.6
        True
        >>> chi_square(torch.tensor([480.0, 520.0]), torch.tensor([0.6, 0.4])) < 1e-6
        True
    """
    if counts.shape != probabilities.shape or counts.ndim != 1:
        raise fail(
            "probabilities", f"of the shape of counts, (bins,), here {tuple(counts.shape)}", tuple(probabilities.shape)
        )
    counts, probabilities = counts.double(), probabilities.double()
    if not math.isclose(float(probabilities.sum()), 1.0, abs_tol=1e-6):
        raise fail("probabilities", "numbers that add up to 1", float(probabilities.sum()), "Divide by their sum.")
    if counts[probabilities == 0].any():
        return 0.0
    expected, order = (counts.sum() * probabilities).sort()
    pooled = int((expected.cumsum(0) < least).sum()) + 1  # the fewest of the smallest that are together large enough
    pooled = max(pooled, int((expected < least).sum()))
    observed, expected = (torch.cat([x[:pooled].sum()[None], x[pooled:]]) for x in (counts[order], expected))
    if len(observed) < 2:
        return 1.0
    statistic = ((observed - expected).square() / expected).sum()
    freedom = torch.tensor((len(observed) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))


def z_score(count: float, draws: int, probability: float) -> float:
    r"""Returns how many standard deviations a count lies from its expectation, $(c - np) / \sqrt{np(1-p)}$.

    For the tail of a law: many bins that are hardly ever drawn one by one, but often enough together. Beyond 4.89 either
    way lies one in a million, where np is large; where it is 40, ten in a million above.

    Args:
        count: How often one of the bins was drawn.
        draws: Of how many draws.
        probability: How likely they are together, in (0, 1).

    Example:
        >>> round(z_score(60, 100, 0.5), 1)
        2.0
    """
    if not 0 < probability < 1:
        raise fail("probability", "in (0, 1)", probability)
    return (count - draws * probability) / math.sqrt(draws * probability * (1 - probability))
