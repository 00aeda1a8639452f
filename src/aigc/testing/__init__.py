"""The laws of filters and samplers, to be run on your own; needs the extra `aigc[testing]`.

    laws.py         check_filter, check_sampler: what a filter or a sampler owes, tried on many batches of logits
    strategies.py   Hypothesis strategies: rows of logits with everything that goes wrong in practice, and parameters
    fit.py          goodness of fit: does a sampler draw from the law that it claims?

Example:
    >>> from aigc.testing import check_filter
    >>> def halve(logits):
    ...     return logits / 2
    >>> check_filter(halve, examples=10)
    >>> def zero_the_first(logits):
    ...     logits[..., 0] = 0
    ...     return logits
    >>> try:
    ...     check_filter(zero_the_first, examples=10)
    ... except AssertionError as error:
    ...     print(error)
    zero_the_first breaks the law that a filter leaves its input as it was.
"""

from aigc.testing import fit, strategies
from aigc.testing.fit import chi_square, z_score
from aigc.testing.laws import FILTER_LAWS, SAMPLER_LAWS, TRUNCATION_LAWS, check_filter, check_sampler

__all__ = [
    "FILTER_LAWS",
    "SAMPLER_LAWS",
    "TRUNCATION_LAWS",
    "check_filter",
    "check_sampler",
    "chi_square",
    "fit",
    "strategies",
    "z_score",
]
