"""Presets: the chains of transformers as transformers builds them, and those of others by hand."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from aigc.errors import ParameterError, TypeParameterError
from aigc.sampling import (
    DRY,
    XTC,
    Allowed,
    Banned,
    DynamicTemperature,
    FrequencyPenalty,
    Greedy,
    LogitBias,
    MinP,
    MinTokens,
    Mirostat,
    Noise,
    NoRepeatNGram,
    Part,
    PresencePenalty,
    RepetitionPenalty,
    Temperature,
    TopK,
    TopNSigma,
    TopP,
    Typical,
    as_sampler,
    bind,
    chain,
    preset,
)

SIZE, END = 60, 57


class Words:
    """As much of a tokenizer as MinTokens needs."""

    size, ends = SIZE, frozenset({END})
    spelling: Sequence[bytes] = [b"x"] * SIZE

    def encode(self, text: str) -> list[int]:
        return [0]

    def decode(self, ids: Sequence[int]) -> str:
        return "x" * len(ids)


def maybe(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


@given(
    parameters=st.fixed_dictionaries(
        {
            "do_sample": st.sampled_from([True, True, True, False]),
            "temperature": maybe(0.5, 1.0, 1.7),
            "top_k": maybe(0, 3, 20, 1000),
            "top_p": maybe(0.3, 0.9, 1.0),
            "min_p": maybe(0.0, 0.02, 0.3),
            "typical_p": maybe(0.4, 0.95, 1.0),
            "epsilon_cutoff": maybe(0.0, 0.01),
            "eta_cutoff": maybe(0.0, 0.02),
            "repetition_penalty": maybe(1.0, 1.3, 0.8),
            "no_repeat_ngram_size": maybe(0, 2, 3),
            "min_new_tokens": maybe(0, 1, 5),
            "suppress_tokens": maybe([3, 4]),
        }
    ),
    defaults=st.booleans(),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=300)
def test_chains_of_transformers_are_those_that_it_builds(parameters: dict[str, Any], defaults: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.randint(0, 12, (1, 9), generator=generator)
    x = torch.randn(1, SIZE, generator=generator) * 2
    given = {name: value for name, value in parameters.items() if value is not None}
    rest = hf.GenerationConfig._get_default_generation_params() if defaults else {"top_k": 0}
    config = hf.GenerationConfig(**{name: rest[name] for name in ("top_k",) if name in rest} | given)
    config._eos_token_tensor = torch.tensor([END])
    theirs = MODEL._get_logits_processor(config, input_ids_seq_length=9)(prompt, x.clone())
    if not given["do_sample"]:
        theirs = Greedy()(theirs)
    made: Any = bind(as_sampler(preset("transformers", defaults=defaults, **parameters)), Words())
    ours = made.filtered(x, made.init(prompt.tolist()), Noise.of(torch.tensor([0]), 0))
    assert torch.equal(ours > -math.inf, theirs > -math.inf)
    torch.testing.assert_close(ours.softmax(-1), theirs.softmax(-1), rtol=1e-5, atol=1e-7)


MODEL: Any = tiny.model("gpt2")


BREAKERS = ("\n", ":", '"', "*")


@pytest.mark.parametrize(
    ("system", "parameters", "parts"),
    [
        ("transformers", {}, []),
        ("transformers", {"defaults": True}, [Greedy()]),
        ("transformers", {"defaults": True, "do_sample": True}, [TopK(50)]),
        ("transformers", {"top_p": 0.0}, [Greedy()]),
        ("transformers", {"do_sample": False, "top_p": 0.7, "no_repeat_ngram_size": 2}, [NoRepeatNGram(2), Greedy()]),
        ("vllm", {"defaults": True}, []),
        ("vllm", {"top_k": -1, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0, "presence_penalty": 0.0}, []),
        (
            "vllm",
            {
                "top_p": 0.9, "top_k": 40, "min_p": 0.1, "temperature": 0.6, "presence_penalty": 1.0,
                "frequency_penalty": -0.5, "repetition_penalty": 1.2, "logit_bias": {"7": 2.0}, "min_tokens": 3,
                "allowed_token_ids": [1, 7],
            },
            [
                Allowed([1, 7]), MinTokens(3), LogitBias({7: 2.0}), RepetitionPenalty(1.2), FrequencyPenalty(-0.5),
                PresencePenalty(1.0), Temperature(0.6), MinP(0.1), TopK(40), TopP(0.9),
            ],
        ),
        ("vllm", {"temperature": 0, "top_p": 0.9, "repetition_penalty": 1.2}, [RepetitionPenalty(1.2), Greedy()]),
        ("vllm", {"temperature": 0.001}, [Temperature(0.01)]),
        ("llama.cpp", {}, []),
        ("llama.cpp", {"defaults": True}, [TopK(40), TopP(0.95), MinP(0.05), Temperature(0.8)]),
        ("llama.cpp", {"defaults": True, "temperature": 0.0}, [TopK(40), TopP(0.95), MinP(0.05), Greedy()]),
        (
            "llama.cpp",
            {
                "temp": 0.7, "top_k": 30, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8, "top_n_sigma": 1.5,
                "xtc_probability": 0.5, "dry_multiplier": 0.8, "repeat_penalty": 1.1, "presence_penalty": 0.2,
                "frequency_penalty": 0.3,
                "logit_bias": [[5, False], ["6", -1.0]],
            },
            [
                LogitBias({5: -math.inf, 6: -1.0}), RepetitionPenalty(1.1, window=64),
                FrequencyPenalty(0.3, window=64, prompt=True), PresencePenalty(0.2, window=64, prompt=True),
                DRY(0.8, window=64), TopNSigma(1.5), TopK(30), Typical(0.8), TopP(0.9), MinP(0.1), XTC(0.1, 0.5),
                Temperature(0.7),
            ],
        ),
        ("llama.cpp", {"repeat_penalty": 1.1, "repeat_last_n": -1}, [RepetitionPenalty(1.1)]),
        ("llama.cpp", {"repeat_penalty": 1.1, "repeat_last_n": 0}, []),
        ("llama.cpp", {"dry_multiplier": 1.0, "dry_penalty_last_n": -1, "dry_base": 2}, [DRY(1.0, base=2)]),
        ("llama.cpp", {"dry_multiplier": 1.0, "dry_base": 0.0}, []),
        ("llama.cpp", {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "top_n_sigma": -1}, []),
        ("llama.cpp", {"xtc_probability": 0.5, "xtc_threshold": 0.6}, []),
        ("llama.cpp", {"temperature": 0.7, "dynatemp_range": 0.2}, [DynamicTemperature(0.7 - 0.2, 0.7 + 0.2)]),
        ("llama.cpp", {"dynatemp_range": 1.0, "dynatemp_exponent": 2.0}, [DynamicTemperature(0.0, 1.8, 2.0)]),
        ("llama.cpp", {"mirostat_mode": 2, "top_k": 40, "temp": 0.9}, [Temperature(0.9), Mirostat(5.0)]),
        ("llama.cpp", {"mirostat": 2, "mirostat_tau": 3.0, "mirostat_eta": 0.2, "min_p": 0.1}, [Mirostat(3.0, eta=0.2)]),
        ("llama.cpp", {"defaults": True, "samplers": "temperature;top_p"}, [Temperature(0.8), TopP(0.95)]),
        ("llama.cpp", {"defaults": True, "samplers": "kt"}, [TopK(40), Temperature(0.8)]),
        ("llama.cpp", {"defaults": True, "samplers": ["min-p", "temp"]}, [MinP(0.05), Temperature(0.8)]),
        ("llama.cpp", {"defaults": True, "samplers": "top_k"}, [TopK(40)]),
        ("mlx", {}, []),
        ("mlx", {"defaults": True}, [Greedy()]),
        ("mlx", {"temp": 0.0, "top_p": 0.9, "logit_bias": {3: 1.0}}, [LogitBias({3: 1.0}), Greedy()]),
        (
            "mlx",
            {
                "temperature": 0.7, "top_k": 30, "top_p": 0.9, "min_p": 0.1, "xtc_probability": 0.5, "xtc_threshold": 0.2,
                "repetition_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": 0.3, "frequency_context_size": 50,
            },
            [
                RepetitionPenalty(1.1, window=20), PresencePenalty(0.2, window=20, prompt=True),
                FrequencyPenalty(0.3, window=50, prompt=True), TopP(0.9), MinP(0.1), XTC(0.2, 0.5), TopK(30),
                Temperature(0.7),
            ],
        ),
        ("mlx", {"repetition_penalty": 0.0, "top_p": 0.0, "top_k": 0, "temp": 1.0}, []),
    ],
)  # fmt: skip
def test_chains_of_others_are_those_that_they_build(system: str, parameters: dict[str, Any], parts: list[Part]) -> None:
    assert preset(system, **parameters) == chain(*parts)


def test_dry_takes_the_breakers_of_a_configuration() -> None:
    (dry,) = preset("llama.cpp", dry_multiplier=1.0).filters
    assert dry.breakers == BREAKERS  # type: ignore[union-attr]
    assert preset("llama.cpp", dry_multiplier=1.0, dry_sequence_breakers=["."]) == chain(
        DRY(1.0, window=64, breakers=["."])
    )


def test_suppressed_tokens_are_banned() -> None:
    assert preset("transformers", suppress_tokens=[1, 2]) == chain(Banned([1, 2]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: preset("exllama"), "system must be one of 'transformers', 'vllm'"),
        (lambda: preset("vllm", typical_p=0.9), "among temperature, top_k.*got 'typical_p'"),
        (lambda: preset("llama.cpp", repetition_penalty=1.1), "Perhaps repeat_penalty"),
        (lambda: preset("vllm", max_tokens=7), "among"),
        (lambda: preset("transformers", temperature=0.0), "temperature of transformers.*do_sample=False"),
        (lambda: preset("transformers", temperature=-1.0), "temperature of transformers must be a number, above 0"),
        (lambda: preset("transformers", top_h=0.4), "top_h of transformers must be left out.*TopH"),
        (lambda: preset("transformers", top_k=-1), "top_k of transformers"),
        (lambda: preset("transformers", min_p=1.5), "min_p of transformers must be a number, at least 0 and at most 1"),
        (lambda: preset("transformers", do_sample=1), "do_sample of transformers"),
        (lambda: preset("transformers", repetition_penalty=0.0), "repetition_penalty of transformers"),
        (lambda: preset("transformers", no_repeat_ngram_size=2.0), "no_repeat_ngram_size of transformers"),
        (
            lambda: preset("vllm", presence_penalty=2.5),
            "presence_penalty of vllm must be a number, at least -2 and at most 2",
        ),
        (lambda: preset("vllm", top_p=0.0), "top_p of vllm"),
        (lambda: preset("vllm", top_k=-2), "top_k of vllm"),
        (lambda: preset("vllm", temperature=math.nan), "temperature of vllm"),
        (lambda: preset("llama.cpp", repeat_last_n=-2), "repeat_last_n of llama.cpp"),
        (lambda: preset("llama.cpp", mirostat=1), "mirostat of llama.cpp must be 0 or 2"),
        (lambda: preset("llama.cpp", samplers="top_k;tfs_z"), "samplers of llama.cpp must be among penalties, dry.*tfs_z"),
        (lambda: preset("llama.cpp", samplers="te", temp=0.5, repeat_penalty=2.0), "with penalties before temperature"),
        (lambda: preset("llama.cpp", samplers=3), "samplers of llama.cpp"),
        (lambda: preset("llama.cpp", min_keep=2), "min_keep of llama.cpp"),
        (lambda: preset("llama.cpp", temperature="hot"), "temperature of llama.cpp must be a finite number"),
        (lambda: preset("vllm", logit_bias=[1, 2]), "logit_bias of vllm"),
        (lambda: preset("mlx", min_tokens_to_keep=2), "min_tokens_to_keep of mlx"),
        (lambda: preset("mlx", xtc_special_tokens=[1]), "xtc_special_tokens of mlx"),
        (lambda: preset("mlx", repetition_penalty=-1.0), "repetition_penalty of mlx"),
        (lambda: preset("mlx", defaults=1), "defaults must be a bool"),
        (lambda: preset(["vllm"]), "system must be one of 'transformers', 'vllm'"),
        (lambda: preset(None), "system must be one of 'transformers', 'vllm'"),
        (lambda: preset("vllm", logit_bias=3), "logit_bias of vllm must be a dict"),
        (lambda: preset("vllm", logit_bias="ab"), "logit_bias of vllm must be a dict"),
        (lambda: preset("vllm", logit_bias=torch.ones(2, 2)), "logit_bias of vllm must be a dict"),
        (lambda: preset("vllm", logit_bias=[([1], 2.0)]), "logit_bias of vllm must be a dict"),
        (lambda: preset("vllm", logit_bias=[(([1],), 2.0)]), "logit_bias of vllm must be a dict"),
    ],
)
def test_what_a_system_refuses_is_an_error_that_names_it(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        make()


def test_a_wrong_type_is_a_type_error() -> None:
    with pytest.raises(TypeParameterError, match="top_k of vllm"):
        preset("vllm", top_k=2.5)


def test_no_bias_is_no_filter() -> None:
    for biases in ({}, [], None):
        assert preset("vllm", logit_bias=biases) == preset("vllm")
    assert preset("vllm", logit_bias=[(3, 1.5)]) == preset("vllm", logit_bias={"3": 1.5}) != preset("vllm")
