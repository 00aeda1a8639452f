"""Sampling: filters shape a distribution, samplers draw from it. See `filters.py`, then `samplers.py`."""

from aigc.sampling.filters import (
    Chain,
    Filter,
    Greedy,
    MinP,
    Temperature,
    TopK,
    TopP,
    chain,
    check_rows,
    is_greedy,
    take,
)
from aigc.sampling.samplers import Categorical, Noise, PerRow, Sampler, as_sampler, select

__all__ = [
    "Categorical",
    "Chain",
    "Filter",
    "Greedy",
    "MinP",
    "Noise",
    "PerRow",
    "Sampler",
    "Temperature",
    "TopK",
    "TopP",
    "as_sampler",
    "chain",
    "check_rows",
    "is_greedy",
    "select",
    "take",
]
