"""Sampling: filters shape a distribution, samplers draw from it.

parts.py        what a filter is, with memory and without; chains of them
filters.py      temperature, top-k, top-p, min-p, greedy: those that the kernel runs
samplers.py     what a sampler is; how it draws from what a chain leaves
schedule.py     which parts of a chain run where; `explain`
noise.py        the noise of a step
words.py        what a sampler may ask of a tokenizer
watermark.py    noise from a secret key, and how to find it in a text
"""

from aigc.sampling.explaining import explain
from aigc.sampling.filters import Greedy, MinP, Temperature, TopK, TopP
from aigc.sampling.noise import Noise
from aigc.sampling.parts import Chain, Filter, Memory, Part, chain, check_rows, has_memory, is_greedy, parts_of, take
from aigc.sampling.samplers import Categorical, PerRow, Sampler, as_sampler
from aigc.sampling.state import select
from aigc.sampling.watermark import Detection, Watermark, detect
from aigc.sampling.words import Words, bind, within

__all__ = [
    "Categorical",
    "Chain",
    "Detection",
    "Filter",
    "Greedy",
    "Memory",
    "MinP",
    "Noise",
    "Part",
    "PerRow",
    "Sampler",
    "Temperature",
    "TopK",
    "TopP",
    "Watermark",
    "Words",
    "as_sampler",
    "bind",
    "chain",
    "check_rows",
    "detect",
    "explain",
    "has_memory",
    "is_greedy",
    "parts_of",
    "select",
    "take",
    "within",
]
