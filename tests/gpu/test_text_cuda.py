"""CUDA: language models write and search there as on the CPU. Run with `pytest -m gpu`.

Models are compared by `alike.same`. Samplers by themselves are given the same logits on both, where no digit differs.
"""

from typing import Any

import pytest
import torch

import tiny
from aigc.errors import ModelError
from aigc.kernels import Status
from aigc.sampling import (
    DRY,
    XTC,
    Allowed,
    Banned,
    BannedStrings,
    DynamicTemperature,
    Epsilon,
    Eta,
    ForcedPrefix,
    FrequencyPenalty,
    Greedy,
    LogitBias,
    MinP,
    MinTokens,
    Mirostat,
    Noise,
    NoRepeatNGram,
    PerRow,
    PresencePenalty,
    RepetitionPenalty,
    TailFree,
    Temperature,
    TopH,
    TopK,
    TopNSigma,
    TopP,
    Typical,
    Watermark,
    as_sampler,
    chain,
    detect,
    explain,
    select,
)
from aigc.text import BeamSearch, BestOf, ContrastiveSearch, Guidance, PromptLookup
from alike import DEVICE, PROMPTS, both, same

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

KEY = b"the key of these tests, 32 bytes"

IDS: dict[str, Any] = {
    "fused": chain(Temperature(0.9), TopK(50), TopP(0.9), MinP(0.01)),
    "greedy": Greedy(),
    "repetition": chain(RepetitionPenalty(1.3), Temperature(0.8), TopK(20)),
    "windows": chain(RepetitionPenalty(1.3, window=4), PresencePenalty(0.5, window=5), FrequencyPenalty(0.5, window=3)),
    "presence, frequency": chain(PresencePenalty(0.6), FrequencyPenalty(0.4, prompt=True)),
    "n-grams": chain(NoRepeatNGram(2), TopK(2)),
    "dry": chain(DRY(0.8, breakers=[10, 45], allowed_length=1), TopK(2)),
    "mirostat": chain(TopK(100), Mirostat(3.0)),
    "mirostat alone": Mirostat(4.0),
    "typical": Typical(0.9),
    "typical of few": chain(TopK(40), Typical(0.7)),
    "epsilon": Epsilon(0.003),
    "eta": Eta(0.002),
    "n sigma": TopNSigma(1.5),
    "top-h": TopH(0.5),
    "tail-free": TailFree(0.95),
    "xtc": chain(TopK(30), XTC(0.1, 0.6)),
    "dynamic": DynamicTemperature(0.5, 1.5),
    "bias": LogitBias({5: 3.0, 7: -torch.inf}),
    "allowed": Allowed(range(20, 60)),
    "banned": Banned([3, 4, 5]),
    "at least": MinTokens(9, ends=[257, 30]),
    "prefix": chain(ForcedPrefix([40, 41, 42]), TopK(9)),
    "by row": chain(Temperature(torch.tensor([0.5, 0.8, 1.0, 1.2, 0.0])), TopK(torch.tensor([1, 3, 9, 27, 81]))),
    "penalty by row": chain(RepetitionPenalty(torch.tensor([1.0, 1.1, 1.2, 1.5, 2.0])), TopK(9)),
    "watermark": Watermark(key=KEY, window=2),
    "watermark of few": Watermark(chain(RepetitionPenalty(1.2), Temperature(0.9), TopK(20)), key=KEY),
}


@pytest.mark.parametrize("name", IDS)
def test_a_sampler_draws_of_the_same_logits_what_it_draws_on_the_cpu(name: str) -> None:
    """Of 2,000 tokens, in a batch that rows leave on the way."""
    given, rows = IDS[name], torch.arange(5)
    samplers = [as_sampler(given), as_sampler(given)]
    prompts = [[1, 2, 1, 2], [3], [9, 10, 9, 10, 9], [8] * 7, [4, 5]]
    states = [sampler.init(prompts) for sampler in samplers]
    logits = torch.randn(12, 5, 2000, generator=torch.Generator().manual_seed(1)) * 2.5
    assert explain(samplers[1])
    for step in range(12):
        x, noise = logits[step, rows], Noise.of(rows + 7, step)
        here, states[0] = samplers[0].step(x.clone(), states[0], noise)
        there, states[1] = samplers[1].step(x.to(DEVICE), states[1], Noise(noise.start.to(DEVICE)))
        assert {field.device.type for field in there} == {DEVICE.type}
        assert there.token.tolist() == here.token.tolist()
        assert there.status.tolist() == here.status.tolist() == [Status.OK] * len(rows)
        torch.testing.assert_close(there.logprob.cpu(), here.logprob, rtol=1e-4, atol=1e-4)
        if step in (4, 8):
            alive = torch.tensor([0, 2, 3] if step == 4 else [1, 2])
            rows = rows[alive]
            states = [select(states[0], alive), select(states[1], alive.to(DEVICE))]


@pytest.mark.parametrize("name", IDS)
def test_a_model_writes_with_each_sampler_what_it_writes_on_the_cpu(name: str) -> None:
    same("llama", sampler=IDS[name])


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "mistral", "bloom", "mamba"])
def test_every_way_to_read_writes_what_the_cpu_writes(name: str) -> None:
    """Slots and graphs, padding, and rows by themselves."""
    for sampler in (Greedy(), chain(RepetitionPenalty(1.3), Temperature(0.9), TopP(0.9))):
        same(name, sampler=sampler)


def test_what_needs_words_and_rows_that_leave() -> None:
    spelt = chain(DRY(0.8, breakers=["\n", "e", "ab"], allowed_length=1), BannedStrings(["a", "To be", "ee"]), TopK(20))
    first = same("llama", sampler=spelt, max_new_tokens=24)
    stops = [first[0].text[6:8], first[2].text[9:11], first[4].text[3:5]]
    kept = same("llama", sampler=chain(spelt, Mirostat(3.0)), max_new_tokens=24)
    same("llama", sampler=spelt, max_new_tokens=24, stop=[stop for stop in stops if stop])
    same("llama", sampler=chain(spelt, Mirostat(3.0)), max_new_tokens=24, stop=[c.text[4:6] for c in kept if c.text[4:6]])
    ours = [Greedy(), Temperature(0.8), Greedy(), spelt, Watermark(TopK(30), key=KEY)]
    out = same("llama", sampler=ours)
    same("llama", sampler=ours, stop=[out[1].text[3:6], out[3].text[5:8]])


def test_samplers_of_rows_draw_together() -> None:
    ours = PerRow((as_sampler(TopK(1)), as_sampler(Mirostat(3.0)), as_sampler(TopK(1))))
    states, rows = [ours.init([[1], [2], [3]]) for _ in range(2)], torch.arange(3)
    logits = torch.randn(6, 3, 500, generator=torch.Generator().manual_seed(1)) * 2
    for step in range(6):
        noise = Noise.of(rows, step)
        here, states[0] = ours.step(logits[step, rows], states[0], noise)
        there, states[1] = ours.step(logits[step, rows].to(DEVICE), states[1], Noise(noise.start.to(DEVICE)))
        assert there.token.tolist() == here.token.tolist()
        if step == 2:
            alive = torch.tensor([1, 2])
            rows = rows[alive]
            states = [select(states[0], alive), select(states[1], alive.to(DEVICE))]


def test_a_watermark_is_found() -> None:
    out = same("llama", sampler=Watermark(Temperature(1.5), key=KEY, window=2), max_new_tokens=80, logprobs=False)
    tokens = [c.tokens for c in out]
    assert max(detect(torch.tensor(t, device=DEVICE), key=KEY, window=2).p_value for t in tokens) < 1e-2
    assert [detect(torch.tensor(t, device=DEVICE), key=KEY) for t in tokens] == [detect(t, key=KEY) for t in tokens]


@pytest.mark.parametrize("name", ["llama", "bloom", "mamba"])
@pytest.mark.parametrize(
    "search",
    [
        BeamSearch(4),
        BeamSearch(4, length_penalty=0.6, early_stopping=True),
        BeamSearch(4, groups=2, diversity=0.7),
        ContrastiveSearch(4, alpha=0.5),
        BestOf(4),
    ],
    ids=str,
)
def test_searches_find_what_they_find_on_the_cpu(name: str, search: Any) -> None:
    """No two beams of random logits score the same: which of those comes first, the token decides."""
    same(name, PROMPTS[:3], search=search, n=1 if isinstance(search, ContrastiveSearch) else 2, max_new_tokens=10)


@pytest.mark.parametrize("search", [BeamSearch(3), ContrastiveSearch(3)], ids=str)
def test_searches_go_by_filters_with_memory(search: Any) -> None:
    filters = chain(RepetitionPenalty(1.4), NoRepeatNGram(2), DRY(0.5, breakers=[10]), XTC(0.1, 0.5))
    same("llama", PROMPTS[:3], search=search, sampler=filters, max_new_tokens=10)
    same("llama", PROMPTS[:3], search=search, sampler=chain(TopK(50), Mirostat(3.0)), max_new_tokens=6)


def test_guidance() -> None:
    same("llama", guidance=Guidance(1.5), sampler=Greedy())
    same("gpt2", guidance=Guidance(1.5), sampler=TopK(20), stop=["e"])
    same("llama", PROMPTS[:2], guidance=Guidance(1.5), search=BeamSearch(3), max_new_tokens=8)


def test_speculation_needs_packed_weights_which_a_device_has_not() -> None:
    _, there = both("llama")
    for speculate in (PromptLookup(), there):
        if there.plan.forward == "packed":
            same("llama", speculate=speculate, sampler=TopK(20), logprobs=False)
        else:
            with pytest.raises(ModelError, match="packed"):
                there.generate("a", speculate=speculate)


def test_streams_and_sessions_write_the_same() -> None:
    expected = [c.text for c in same("llama", sampler=TopK(20))]
    _, there = both("llama")
    how: dict[str, Any] = {"max_new_tokens": 16, "seed": 3, "sampler": TopK(20)}
    for batch_size in (None, 2):
        texts = [""] * len(PROMPTS)
        for chunk in there.stream(PROMPTS, batch_size=batch_size, **how):
            texts[chunk.index] += chunk.text
        assert texts == expected
    with there.session() as session:
        for _ in range(2):
            assert [c.text for c in session.generate(PROMPTS, **how)] == expected


def test_many_prompts_and_small_batches() -> None:
    here, there = both("llama")
    prompts = [f"{i} {'x' * (i % 7)}" for i in range(30)]
    how: dict[str, Any] = {"max_new_tokens": 8, "seed": 1, "sampler": TopK(20), "progress": False}
    expected = [c.tokens for c in here.generate(prompts, n=2, **how)]
    found = dict(there.generate_each(iter(prompts), n=2, batch_size=7, **how))
    assert [found[row].tokens for row in range(60)] == expected
    assert [c.tokens for c in there.generate(prompts, n=2, **how)] == expected


@pytest.mark.parametrize("name", tiny.SEQ2SEQ)
def test_encoder_decoders_write_what_they_write_on_the_cpu(name: str) -> None:
    for sampler in (Greedy(), chain(RepetitionPenalty(1.3), Temperature(0.9), TopK(20))):
        same(name, sampler=sampler)
    same(name, PROMPTS[:3], search=BeamSearch(3), max_new_tokens=8)
    same(name, sampler=TopK(20), stop=["e", "a"])


def test_constraints_hold() -> None:
    pytest.importorskip("llguidance")
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    for how in ({"json": schema}, {"regex": "[a-c]{3,5}"}, {"choices": ["by land", "by sea"]}):
        out = same("llama", sampler=chain(RepetitionPenalty(1.1), Temperature(0.9)), max_new_tokens=40, **how)
        assert {c.finish_reason for c in out} == {"eos"}
    same("llama", PROMPTS[:2], sampler=Watermark(key=KEY), max_new_tokens=40, regex="[a-c]{9,20}")
