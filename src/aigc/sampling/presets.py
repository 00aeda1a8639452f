"""Chains of other systems, built from their own parameters: their names, their order, what switches a filter off there."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, cast

from aigc._checks import fail, fail_type
from aigc.sampling._given import MOST, Given, bias, nucleus
from aigc.sampling._llama import build as llama
from aigc.sampling.filters import Greedy, MinP, Temperature, TopK
from aigc.sampling.parts import Chain, Part, chain
from aigc.sampling.penalties import FrequencyPenalty, NoRepeatNGram, PresencePenalty, RepetitionPenalty
from aigc.sampling.shaping import XTC, Allowed, Banned
from aigc.sampling.truncation import Epsilon, Eta, Typical
from aigc.sampling.written import MinTokens

__all__ = ["preset"]


def preset(system: str, *, defaults: bool = False, **parameters: Any) -> Chain:
    """Builds the chain that another system makes of its parameters, so that a configuration can be moved over.

    The order of filters, what the penalties count, and the values that switch a filter off are those of the system. None is
    a parameter that was not given. A filter that is asked for takes the rest of its parameters from the defaults of the
    system, as DRY its base. Filters that nobody asked for are left out, unless `defaults` is true.

    - `"transformers"`, `generate`: repetition_penalty, no_repeat_ngram_size, min_new_tokens, suppress_tokens; then, unless
      do_sample is False, temperature, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff. By default it is greedy,
      and where do_sample is true top_k is 50. Its top_h is not that of the paper, and is refused.
    - `"vllm"`, `SamplingParams`: allowed_token_ids, min_tokens, logit_bias, repetition_penalty (of prompt and output),
      frequency_penalty and presence_penalty (of the output); then, unless temperature is 0, temperature, min_p, top_k,
      top_p. By default nothing is on.
    - `"llama.cpp"`, its server: logit_bias, then what `samplers` names, in its order: by default penalties, dry,
      top_n_sigma, top_k, typ_p, top_p, min_p, xtc, temperature. With mirostat 2, temperature and mirostat alone. Penalties
      count the last 64 tokens, prompt included; -1 is all. By default top_k is 40, top_p 0.95, min_p 0.05 and temperature
      0.8.
    - `"mlx"`, mlx-lm: logit_bias, repetition_penalty, presence_penalty, frequency_penalty (each of the last 20 tokens,
      prompt included); then, unless temp is 0, top_p, min_p, xtc, top_k, temp. By default it is greedy.

    What differs: tokens that tie with the last one that a truncation keeps are kept too, which some of these systems leave
    to chance; min_keep and its like are 1; the ends that min_tokens holds back are those of the tokenizer; in llama.cpp
    what top_n_sigma cut still counts in dynatemp and typ_p, and in `mlx_lm.generate` only the prompt's last token counts.

    Args:
        system: One of these.
        defaults: Whether the system's defaults hold for what is not given.
        parameters: By the names of the system.

    Raises:
        ParameterError: If a parameter is unknown, or of a value that the system refuses or that cannot be had here.

    Example:
        >>> preset("transformers", temperature=0.7, top_p=0.9, repetition_penalty=1.1)
        chain(RepetitionPenalty(1.1), Temperature(0.7), TopP(0.9))
        >>> preset("llama.cpp", temperature=0.7, top_k=0, repeat_penalty=1.1)
        chain(RepetitionPenalty(1.1, window=64), Temperature(0.7))
        >>> preset("llama.cpp", defaults=True)
        chain(TopK(40), TopP(0.95), MinP(0.05), Temperature(0.8))
    """
    if not isinstance(system, str):
        raise fail_type("system", f"one of {', '.join(map(repr, _SYSTEMS))}", system)
    if system not in _SYSTEMS:
        raise fail("system", f"one of {', '.join(map(repr, _SYSTEMS))}", system)
    if not isinstance(defaults, bool):
        raise fail_type("defaults", "a bool", defaults)
    found, given = _SYSTEMS[system], {}
    for name, value in parameters.items():
        known = found.aliases.get(name, name)
        if known not in found.defaults:
            close = get_close_matches(name, found.defaults, n=1)
            cure = f"Perhaps {close[0]}?" if close else "What is not about sampling is for Generator."
            raise fail(f"parameters of {system}", f"among {', '.join(found.defaults)}", name, cure)
        if value is not None:
            given[known] = value
    return chain(*found.build(Given(system, given, found.defaults, defaults)))


def _transformers(given: Given) -> list[Part]:
    parts: list[Part] = []
    if (penalty := given.number("repetition_penalty", low=0, above=True)) not in (None, 1):
        parts.append(RepetitionPenalty(penalty))
    if size := given.whole("no_repeat_ngram_size", low=0):
        parts.append(NoRepeatNGram(size))
    if count := given.whole("min_new_tokens", low=0):
        parts.append(MinTokens(count))
    if ids := given.get("suppress_tokens"):
        parts.append(Banned(ids))
    return parts + (_warpers(given) if given.flag("do_sample", True) else [Greedy()])


def _warpers(given: Given) -> list[Part]:
    """What transformers does if it samples."""
    parts: list[Part] = []
    if given.get("temperature") == 0:
        raise fail(given.named("temperature"), "above 0", 0, "do_sample=False is greedy.")
    if (t := given.number("temperature", low=0, above=True)) not in (None, 1):
        parts.append(Temperature(t))
    if (h := given.get("top_h")) is not None:
        cure = f"It bounds another number than the paper: add TopH({h}), which is the paper's, to the chain."
        raise fail(given.named("top_h"), "left out", h, cure)
    if k := given.whole("top_k", low=0):
        parts.append(TopK(k))
    parts += nucleus(given.number("top_p", low=0))
    if m := given.number("min_p", low=0, high=1):
        parts.append(MinP(m))
    if (p := given.number("typical_p", low=0, above=True)) is not None and p < 1:
        parts.append(Typical(p))
    if 0 < (epsilon := given.number("epsilon_cutoff") or 0) < 1:
        parts.append(Epsilon(epsilon))
    if 0 < (eta := given.number("eta_cutoff") or 0) < 1:
        parts.append(Eta(eta))
    return parts


def _vllm(given: Given) -> list[Part]:
    parts: list[Part] = []
    if ids := given.get("allowed_token_ids"):
        parts.append(Allowed(ids))
    if count := given.whole("min_tokens", low=0):
        parts.append(MinTokens(count))
    parts += bias(given)
    if (penalty := given.number("repetition_penalty", low=0, above=True)) not in (None, 1):
        parts.append(RepetitionPenalty(penalty))
    if penalty := given.number("frequency_penalty", low=-2, high=2):
        parts.append(FrequencyPenalty(penalty))
    if penalty := given.number("presence_penalty", low=-2, high=2):
        parts.append(PresencePenalty(penalty))
    t, m = given.number("temperature", low=0), given.number("min_p", low=0, high=1)
    k, p = given.whole("top_k", low=-1), given.number("top_p", low=0, high=1, above=True)
    if t is not None and t < 1e-5:
        return [*parts, Greedy()]
    if t not in (None, 1):
        parts.append(Temperature(max(t, 0.01)))
    if m:
        parts.append(MinP(m))
    if k not in (None, 0, -1):
        parts.append(TopK(k))
    return parts + nucleus(p)


def _mlx(given: Given) -> list[Part]:
    if (keep := given.get("min_tokens_to_keep")) not in (None, 1):
        raise fail(given.named("min_tokens_to_keep"), "1, as here", keep)
    if special := given.get("xtc_special_tokens"):
        raise fail(given.named("xtc_special_tokens"), "left out: here XTC protects no tokens", special)
    parts = bias(given)
    for name, kind in (("repetition", RepetitionPenalty), ("presence", PresencePenalty), ("frequency", FrequencyPenalty)):
        if penalty := given.number(f"{name}_penalty", low=0 if kind is RepetitionPenalty else -MOST):
            window = given.whole(f"{name}_context_size", low=1, rest=True)
            parts.append(cast("Callable[..., Part]", kind)(penalty, window=window, prompt=True))
    if (t := given.number("temp", low=0)) == 0:
        return [*parts, Greedy()]
    if p := given.number("top_p", low=0, high=1):
        parts += nucleus(p)
    if m := given.number("min_p", low=0, high=1):
        parts.append(MinP(m))
    if chance := given.number("xtc_probability", low=0, high=1):
        parts.append(XTC(given.number("xtc_threshold", low=0, high=0.5, rest=True), chance))
    if k := given.whole("top_k", low=0):
        parts.append(TopK(k))
    return parts if t in (None, 1) else [*parts, Temperature(t)]


class _System(NamedTuple):
    build: Callable[[Given], list[Part]]
    defaults: Mapping[str, Any]  # of every parameter
    aliases: Mapping[str, str] = {}


_SYSTEMS = {
    "transformers": _System(
        _transformers,
        {
            "do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": None, "typical_p": 1.0,
            "top_h": None, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "repetition_penalty": 1.0,
            "no_repeat_ngram_size": 0, "min_new_tokens": None, "suppress_tokens": None,
        },
    ),
    "vllm": _System(
        _vllm,
        {
            "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0,
            "presence_penalty": 0.0, "frequency_penalty": 0.0, "min_tokens": 0, "logit_bias": None,
            "allowed_token_ids": None,
        },
    ),
    "llama.cpp": _System(
        llama,
        {
            "samplers": None, "temperature": 0.8, "dynatemp_range": 0.0, "dynatemp_exponent": 1.0, "top_k": 40,
            "top_p": 0.95, "min_p": 0.05, "typical_p": 1.0, "top_n_sigma": -1.0, "xtc_probability": 0.0,
            "xtc_threshold": 0.1, "repeat_last_n": 64, "repeat_penalty": 1.0, "presence_penalty": 0.0,
            "frequency_penalty": 0.0, "dry_multiplier": 0.0, "dry_base": 1.75, "dry_allowed_length": 2,
            "dry_penalty_last_n": 64, "dry_sequence_breakers": ("\n", ":", '"', "*"), "mirostat": 0,
            "mirostat_tau": 5.0, "mirostat_eta": 0.1, "logit_bias": None, "min_keep": 0,
        },
        {"temp": "temperature", "typ_p": "typical_p", "mirostat_mode": "mirostat"},
    ),
    "mlx": _System(
        _mlx,
        {
            "temp": 0.0, "top_p": 0.0, "min_p": 0.0, "top_k": 0, "xtc_probability": 0.0, "xtc_threshold": 0.1,
            "repetition_penalty": None, "repetition_context_size": 20, "presence_penalty": None,
            "presence_context_size": 20, "frequency_penalty": None, "frequency_context_size": 20, "logit_bias": None,
            "min_tokens_to_keep": 1, "xtc_special_tokens": None,
        },
        {"temperature": "temp"},
    ),
}  # fmt: skip
