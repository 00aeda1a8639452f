"""Sampling: filters shape a distribution, samplers draw from it.

parts.py        what a filter is, with memory and without; chains of them
filters.py      temperature, top-k, top-p, min-p, greedy: those that the kernel runs
truncation.py   typical, epsilon, eta, top-n-sigma, top-h, tail-free
shaping.py      dynamic temperature, bias, allowed and banned tokens, XTC
written.py      at least so many tokens, a forced beginning, banned strings
samplers.py     what a sampler is; how it draws from what a chain leaves
schedule.py     which parts of a chain run where; `explain`
penalties.py    penalties on repetition; NoRepeatNGram
dry.py          a penalty that grows with the repetition
mirostat.py     a truncation that steers surprise
presets.py      chains of other systems, from their own parameters
noise.py        the noise of a step
words.py        what a sampler may ask of a tokenizer
watermark.py    noise from a secret key, and how to find it in a text
constraints/    text that parses: JSON, regular expressions, choices, grammars
"""

from aigc.sampling.constraints import Choices, Constrained, Grammar, Json, Regex, is_constrained
from aigc.sampling.dry import DRY
from aigc.sampling.explaining import explain
from aigc.sampling.filters import Greedy, MinP, Temperature, TopK, TopP
from aigc.sampling.mirostat import Mirostat
from aigc.sampling.noise import Noise
from aigc.sampling.parts import Chain, Filter, Memory, Part, chain, check_rows, has_memory, is_greedy, parts_of, take
from aigc.sampling.penalties import FrequencyPenalty, NoRepeatNGram, PresencePenalty, RepetitionPenalty
from aigc.sampling.presets import preset
from aigc.sampling.samplers import Categorical, PerRow, Sampler, as_sampler
from aigc.sampling.shaping import XTC, Allowed, Banned, DynamicTemperature, LogitBias
from aigc.sampling.state import select
from aigc.sampling.truncation import Epsilon, Eta, TailFree, TopH, TopNSigma, Typical
from aigc.sampling.watermark import Detection, Watermark, detect
from aigc.sampling.words import Words, bind, within
from aigc.sampling.written import BannedStrings, ForcedPrefix, MinTokens

__all__ = [
    "DRY",
    "XTC",
    "Allowed",
    "Banned",
    "BannedStrings",
    "Categorical",
    "Chain",
    "Choices",
    "Constrained",
    "Detection",
    "DynamicTemperature",
    "Epsilon",
    "Eta",
    "Filter",
    "ForcedPrefix",
    "FrequencyPenalty",
    "Grammar",
    "Greedy",
    "Json",
    "LogitBias",
    "Memory",
    "MinP",
    "MinTokens",
    "Mirostat",
    "NoRepeatNGram",
    "Noise",
    "Part",
    "PerRow",
    "PresencePenalty",
    "Regex",
    "RepetitionPenalty",
    "Sampler",
    "TailFree",
    "Temperature",
    "TopH",
    "TopK",
    "TopNSigma",
    "TopP",
    "Typical",
    "Watermark",
    "Words",
    "as_sampler",
    "bind",
    "chain",
    "check_rows",
    "detect",
    "explain",
    "has_memory",
    "is_constrained",
    "is_greedy",
    "parts_of",
    "preset",
    "select",
    "take",
    "within",
]
