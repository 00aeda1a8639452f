"""The named options of each way to write; and what those are called here that other libraries have under other names."""

from collections.abc import Mapping
from typing import Any

from aigc._checks import fail_type
from aigc.text.constraining import ConstraintOptions
from aigc.text.guidance import Guidance
from aigc.text.requests import Seeds, Stops, Writers

__all__ = ["ChatOptions", "Options", "StreamOptions", "accepted"]


class Options(ConstraintOptions, total=False):
    """What every way to write takes: see `Generator.generate`."""

    max_new_tokens: int
    sampler: Writers | None
    seed: Seeds
    stop: Stops
    speculate: Any
    guidance: Guidance | None


class StreamOptions(Options, total=False):
    """What `Generator.astream` takes besides prompts."""

    n: int
    batch_size: int | None


class ChatOptions(Options, total=False):
    """What `Generator.chat` takes besides messages."""

    logprobs: bool
    batch_size: int | None


_TAKEN: dict[str, Any] = {"astream": StreamOptions, "chat": ChatOptions}  # the others name all but constraints
_ELSEWHERE = ("batch_size", "progress", "resume", "speculate", "search", "guidance", "logprobs")  # of `generate`
_SAMPLERS = {
    "temperature": "Temperature(0.8)",
    "top_k": "TopK(50)",
    "top_p": "TopP(0.95)",
    "min_p": "MinP(0.05)",
    "typical_p": "Typical(0.95)",
    "epsilon_cutoff": "Epsilon(3e-4)",
    "eta_cutoff": "Eta(3e-4)",
    "top_n_sigma": "TopNSigma(1.0)",
    "repetition_penalty": "RepetitionPenalty(1.2)",
    "presence_penalty": "PresencePenalty(0.5)",
    "frequency_penalty": "FrequencyPenalty(0.5)",
    "no_repeat_ngram_size": "NoRepeatNGram(3)",
    "logit_bias": "LogitBias({...})",
    "bad_words_ids": "Banned([...])",
    "min_new_tokens": "MinTokens(20)",
    "min_tokens": "MinTokens(20)",
    "do_sample": "Greedy()",
    "logits_processor": "a function from logits to logits",
}
_OTHERS = {
    **dict.fromkeys(("max_tokens", "max_length", "max_completion_tokens", "max_new"), "max_new_tokens"),
    **dict.fromkeys(("num_return_sequences", "num_samples"), "n"),
    **dict.fromkeys(("stop_strings", "stop_sequences"), "stop"),
    **dict.fromkeys(("random_state", "random_seed", "generator", "rng"), "seed"),
    **dict.fromkeys(("schema", "json_schema", "response_format"), "json"),
    "num_beams": "search=BeamSearch(4)",
    "best_of": "search=BestOf(8)",
    "penalty_alpha": "search=ContrastiveSearch(4)",
    "guidance_scale": "guidance=Guidance(1.5)",
}


def accepted(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the names of what a method of `Generator` took as keyword arguments besides those that it names.

    Raises:
        TypeParameterError: If there is one that it does not take; says what does that here.

    Example:
        >>> accepted("generate", {"regex": "[0-9]+"})
        {'regex': '[0-9]+'}
    """
    taken = _TAKEN.get(method, ConstraintOptions).__optional_keys__
    for name, value in given.items():
        if name not in taken:
            raise fail_type(name, f"left out: {method} has no such argument", value, _cure(method, name))
    return dict(given)


def _cure(method: str, name: str) -> str:
    if name in _SAMPLERS:
        return (
            f"Give sampler={_SAMPLERS[name]}, or of several filters a chain: sampler=chain(Temperature(0.8), TopP(0.95))."
        )
    if name in _OTHERS:
        return f"It is {_OTHERS[name]} here."
    if method == "chat" and name == "n":
        return "Give the conversation several times: chat([messages, messages])."
    if name == "logprobs":
        return "Each chunk has its logprob."
    if name in _ELSEWHERE and method == "chat":
        return "Write the prompt with tokenizer.apply_chat_template, and give it to generate, which has it."
    if name in _ELSEWHERE:
        return "Call generate, which has it."
    return f"help(Generator.{method}) lists those that there are."
