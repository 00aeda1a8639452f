"""Sampling: filters shape a distribution, samplers draw from it.

parts.py        what a filter is, with memory and without; chains of them
filters.py      temperature, top-k, top-p, min-p, greedy: those that the kernel runs
samplers.py     what a sampler is; how it draws from what a chain leaves
schedule.py     which parts of a chain run where; `explain`
noise.py        the noise of a step
words.py        what a sampler may ask of a tokenizer
constraints/    text that parses: JSON, regular expressions, choices, grammars
"""

from aigc.sampling.constraints import Choices, Constrained, Grammar, Json, Regex, is_constrained
from aigc.sampling.explaining import explain
from aigc.sampling.filters import Greedy, MinP, Temperature, TopK, TopP
from aigc.sampling.noise import Noise
from aigc.sampling.parts import Chain, Filter, Memory, Part, chain, check_rows, has_memory, is_greedy, parts_of, take
from aigc.sampling.samplers import Categorical, PerRow, Sampler, as_sampler
from aigc.sampling.state import select
from aigc.sampling.words import Words, bind, within

__all__ = [
    "Categorical",
    "Chain",
    "Choices",
    "Constrained",
    "Filter",
    "Grammar",
    "Greedy",
    "Json",
    "Memory",
    "MinP",
    "Noise",
    "Part",
    "PerRow",
    "Regex",
    "Sampler",
    "Temperature",
    "TopK",
    "TopP",
    "Words",
    "as_sampler",
    "bind",
    "chain",
    "check_rows",
    "explain",
    "has_memory",
    "is_constrained",
    "is_greedy",
    "parts_of",
    "select",
    "take",
    "within",
]
