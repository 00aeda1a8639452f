"""The samplers of llama.cpp, by their names there."""

from collections.abc import Callable, Sequence
from typing import Any

from aigc._checks import fail, fail_type
from aigc.sampling._given import Given, bias, nucleus
from aigc.sampling.dry import DRY
from aigc.sampling.filters import Greedy, MinP, Temperature, TopK
from aigc.sampling.mirostat import Mirostat
from aigc.sampling.parts import Part
from aigc.sampling.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from aigc.sampling.shaping import XTC, DynamicTemperature
from aigc.sampling.truncation import TopNSigma, Typical

__all__ = ["build"]


def build(given: Given) -> list[Part]:
    """The chain of llama.cpp."""
    if (keep := given.whole("min_keep", low=0)) not in (None, 0, 1):
        raise fail(given.named("min_keep"), "0 or 1: one token is always kept here", keep)
    version = given.whole("mirostat", low=0)
    if version not in (None, 0, 2):
        raise fail(given.named("mirostat"), "0 or 2", version, "Version 2 does the same with one parameter less.")
    if version == 2:
        tau = given.number("mirostat_tau", low=0, above=True, rest=True)
        eta = given.number("mirostat_eta", low=0, rest=True)
        plain = given._replace(values={**given.values, "dynatemp_range": 0.0})
        return [*bias(given), *_temperature(plain), Mirostat(tau, eta=eta)]
    parts = bias(given)
    for name in _order(given):
        made = _SAMPLERS[name](given)
        repeat = any(isinstance(part, RepetitionPenalty) for part in made)
        if repeat and any(isinstance(part, Temperature | DynamicTemperature) for part in parts):
            cure = "A temperature makes the largest logit 0 here, and repeat_penalty depends on where 0 is."
            raise fail(given.named("samplers"), "with penalties before temperature", given.get("samplers"), cure)
        parts += made
    return parts


def _order(given: Given) -> list[str]:
    """The samplers in their order: a list of names, names with semicolons between, or one letter each."""
    order: Any = given.values.get("samplers", list(_SAMPLERS))
    if isinstance(order, str):
        letters = dict(zip("edskypmxt", _SAMPLERS, strict=True))
        written = ";" in order or order in _SAMPLERS or order in _ALIASES
        order = order.split(";") if written else [letters.get(letter, letter) for letter in order]
    if not isinstance(order, Sequence):
        raise fail_type(given.named("samplers"), "a list of names, or a string", order)
    names = [_ALIASES[name] if name in _ALIASES else str(name) for name in order if name]
    for name in names:
        if name not in _SAMPLERS:
            raise fail(given.named("samplers"), f"among {', '.join(_SAMPLERS)}", name)
    return names


def _penalties(given: Given) -> list[Part]:
    window = given.whole("repeat_last_n", low=-1, rest=True)
    repeat = given.number("repeat_penalty", low=0, above=True)
    frequency, presence = given.number("frequency_penalty"), given.number("presence_penalty")
    reach: dict[str, Any] = {"window": None if window == -1 else window, "prompt": True}
    parts: list[Part] = []
    if window:
        parts += [RepetitionPenalty(repeat, **reach)] if repeat not in (None, 1) else []
        parts += [FrequencyPenalty(frequency, **reach)] if frequency else []
        parts += [PresencePenalty(presence, **reach)] if presence else []
    return parts


def _dry(given: Given) -> list[Part]:
    multiplier = given.number("dry_multiplier", low=0)
    window = given.whole("dry_penalty_last_n", low=-1, rest=True)
    base = given.number("dry_base", low=0, rest=True)
    if not multiplier or not window or base < 1:
        return []
    length = given.whole("dry_allowed_length", low=1, rest=True)
    breakers = given.values.get("dry_sequence_breakers", given.defaults["dry_sequence_breakers"])
    return [DRY(multiplier, base=base, allowed_length=length, window=None if window == -1 else window, breakers=breakers)]


def _temperature(given: Given) -> list[Part]:
    spread = given.number("dynatemp_range")
    t = given.number("temperature", rest=bool(spread and spread > 0))
    if spread and spread > 0:
        exponent = given.number("dynatemp_exponent", low=0, above=True, rest=True)
        return [DynamicTemperature(max(0.0, t - spread), t + spread, exponent)]
    if t is None or t == 1:
        return []
    return [Greedy() if t <= 0 else Temperature(t)]


def _xtc(given: Given) -> list[Part]:
    chance = given.number("xtc_probability", high=1)
    threshold = given.number("xtc_threshold", rest=True)
    return [XTC(threshold, chance)] if chance and chance > 0 and threshold <= 0.5 else []


def _typical(given: Given) -> list[Part]:
    p = given.number("typical_p", low=0, above=True)
    return [Typical(p)] if p is not None and p < 1 else []


def _positive(name: str, kind: Callable[[Any], Part], whole: bool = False) -> Callable[[Given], list[Part]]:
    """A filter that is off at 0 and below."""

    def build(given: Given) -> list[Part]:
        value = given.whole(name, low=-(2**31)) if whole else given.number(name)
        return [kind(value)] if value is not None and value > 0 else []

    return build


_SAMPLERS: dict[str, Callable[[Given], list[Part]]] = {
    "penalties": _penalties,
    "dry": _dry,
    "top_n_sigma": _positive("top_n_sigma", TopNSigma),
    "top_k": _positive("top_k", TopK, whole=True),
    "typ_p": _typical,
    "top_p": lambda given: nucleus(given.number("top_p", low=0)),
    "min_p": _positive("min_p", MinP),
    "xtc": _xtc,
    "temperature": _temperature,
}
_ALIASES = {
    "top-k": "top_k", "top-p": "top_p", "nucleus": "top_p", "top-n-sigma": "top_n_sigma", "typical-p": "typ_p",
    "typical": "typ_p", "typ-p": "typ_p", "typ": "typ_p", "min-p": "min_p", "temp": "temperature",
}  # fmt: skip
