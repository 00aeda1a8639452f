"""CUDA: language models learn, write, search and score there as on the CPU. Run with `pytest -m gpu`.

Tokens are compared where logits are float32 on both sides. Those of the two differ in their last digits, so a draw could
fall otherwise where two numbers are nearly equal; of models as random as these that is about one token in 30,000, and some
thousand are compared. Samplers by themselves are given the same logits on both, where no digit differs.
"""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import aigc
import tiny
from aigc import device as devices
from aigc.data.text import Corpus
from aigc.errors import ModelError, ParameterError, ResourceError
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
from aigc.text import BeamSearch, BestOf, ContrastiveSearch, Guidance, PromptLookup, evaluate, mean_states
from aigc.text.adapters import LoRA
from aigc.training import Constant, Every, MuonAdamW

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

DEVICE = torch.device("cuda")
CALM = {"mamba": 0.25, "t5": 0.5}
KEY = b"the key of these tests, 32 bytes"
PROMPTS = ["a", "To be, or not to be", "春夜", "d" * 40, "eeee"]
TEXTS = ["To be, or not to be, that is the question", "whether 'tis nobler", "in the mind to suffer"] * 4
HOW: dict[str, Any] = {"batch_size": 6, "length": 16, "seed": 0, "progress": False, "log_every": 1}


def generator(
    name: str = "llama", device: torch.device | str = DEVICE, dtype: torch.dtype = torch.float32
) -> aigc.Generator:
    """Of a model of its own, for `fit` changes it."""
    return aigc.Generator(calmer(name, tiny.model(name, dtype=dtype)).to(device), tiny.tokenizer())


def calmer(name: str, model: Any) -> Any:
    """Smaller weights where a change in the last digit of those of `tiny` changes a token: states are multiplied up."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(CALM.get(name, 1.0))
    return model


@cache
def both(name: str = "llama") -> tuple[aigc.Generator, aigc.Generator]:
    """The same model on the CPU and on the device, for those who only read it."""
    if name in tiny.SEQ2SEQ or name in tiny.MASKED:
        make: Callable[[str], Any] = tiny.seq2seq if name in tiny.SEQ2SEQ else tiny.masked
        here, there = (
            aigc.Generator(calmer(name, make(name)).to(where), tiny.closed_tokenizer()) for where in ("cpu", DEVICE)
        )
    else:
        here, there = generator(name, "cpu"), generator(name)
    assert there.device.type == DEVICE.type
    return here, there


def same(name: str, prompts: Any = PROMPTS, **how: Any) -> list[aigc.text.Completion]:
    """Writes on both, compares, and returns what was written on the device."""
    how = {"max_new_tokens": 16, "seed": 3, "logprobs": "search" not in how, "progress": False} | how
    here, there = (list(gen.generate(prompts, **how)) for gen in both(name))
    assert [(c.tokens, c.finish_reason) for c in there] == [(c.tokens, c.finish_reason) for c in here]
    assert all(c.tokens for c in there)
    if how["logprobs"]:
        ours, theirs = (torch.tensor([x for c in out for x in c.logprobs or ()]) for out in (there, here))
        torch.testing.assert_close(ours, theirs, rtol=5e-3, atol=5e-3)
    return there


# Training.


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-3, fused=True)


def weights(gen: aigc.Generator) -> list[torch.Tensor]:
    return [parameter.detach().cpu() for parameter in gen.model.parameters()]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_it_learns(precision: str) -> None:
    gen = generator("qwen3")
    before = gen.score(TEXTS[0]).bits_per_byte
    history = gen.fit(TEXTS, steps=30, accumulate=2, precision=precision, average=20.0, lr=0.01, held_out=TEXTS[:2], **HOW)
    assert history.done == 30
    assert gen.score(TEXTS[0]).bits_per_byte < before - 1
    assert {(p.device.type, p.dtype) for p in gen.model.parameters()} == {(DEVICE.type, torch.float32)}
    assert len(gen.generate("To", max_new_tokens=4, seed=0)[0].tokens) == 4


def test_the_optimizer_is_muon_and_moves_the_model_as_on_the_cpu() -> None:
    """Losses to the precision of bfloat16 after a step, in which Muon orthogonalises; the first before any."""
    chosen: list[torch.optim.Optimizer] = []

    def muon(parameters: Any) -> torch.optim.Optimizer:
        chosen.append(MuonAdamW(parameters, lr=1e-3))
        return chosen[-1]

    for optimizer, close in ((None, 1e-2), (muon, 1e-2), (adamw, 1e-4)):
        gens = generator("qwen3", "cpu"), generator("qwen3")
        how = HOW | {"optimizer": optimizer, "steps": 4, "precision": "float32", "schedule": Constant(1.0)}
        here, there = (torch.tensor(gen.fit(TEXTS, **how).values["loss"]) for gen in gens)
        torch.testing.assert_close(there[0], here[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(there, here, rtol=close, atol=close)
    assert chosen[-1].param_groups[0]["params"][0].device.type == DEVICE.type


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("optimizer", [None, adamw])
def test_a_cut_run_goes_on(optimizer: Any, precision: str, tmp_path: Path) -> None:
    """To the rounding of an accelerator, which may add in another order each time."""
    options = HOW | {"schedule": Constant(0.3), "optimizer": optimizer, "precision": precision, "held_out": TEXTS[:2]}
    options |= {"look_every": 1}
    whole, first, second = (generator("qwen3") for _ in range(3))
    whole.fit(TEXTS, steps=6, **options)
    first.fit(TEXTS, steps=3, checkpoint_dir=tmp_path, **options)
    assert second.fit(TEXTS, steps=6, checkpoint_dir=tmp_path, **options).steps == (1, 2, 3, 4, 5, 6)
    for a, b in zip(weights(whole), weights(second), strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-2)


def test_an_interval_looks_at_the_model_while_it_is_trained() -> None:
    gen, texts = generator("qwen3"), list[str]()
    looks = [Every(2, lambda step: texts.append(gen.generate("To", max_new_tokens=6, seed=step)[0].text))]
    gen.fit(TEXTS, steps=4, every=looks, general=TEXTS[3:], **HOW)
    assert len(texts) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_is_trained_saved_loaded_and_merged(dtype: torch.dtype, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    gen = generator("qwen3", dtype=dtype)
    before = [p.clone() for p in gen.model.parameters()]
    said = gen.score(TEXTS[0]).bits_per_byte
    gen.adapters.add("mine", LoRA(rank=2))
    gen.fit(TEXTS, steps=30, lr=0.01, **HOW)
    after = gen.score(TEXTS[0]).bits_per_byte
    assert after < said - 0.2
    own = [p for name, p in gen.model.named_parameters() if ".lora_" not in name]
    assert all(torch.equal(a, b) for a, b in zip(before, own, strict=True))
    gen.adapters.save(tmp_path / "mine")
    close = 1e-4 if dtype == torch.float32 else 0.05  # of bfloat16, in which each device adds in its own order
    for device in ("cpu", DEVICE):
        again = generator("qwen3", device, dtype)
        again.adapters.load(tmp_path / "mine")
        assert again.score(TEXTS[0]).bits_per_byte == pytest.approx(after, rel=close)
        again.adapters.use(None)
        assert again.score(TEXTS[0]).bits_per_byte == pytest.approx(said, rel=close)
    gen.adapters.merge()
    assert gen.score(TEXTS[0]).bits_per_byte == pytest.approx(after, rel=close)


def test_a_model_from_scratch_is_made_and_trained(tmp_path: Path) -> None:
    corpus = Corpus.of([f"{text} {i}" for i, text in enumerate(TEXTS)])
    how: dict[str, Any] = {"parameters": 40_000, "context": 64, "seed": 1}
    here, there = (aigc.Generator.from_scratch(corpus, device=device, **how) for device in ("cpu", DEVICE))
    assert there.device.type == DEVICE.type
    assert all(torch.equal(a, b) for a, b in zip(weights(here), weights(there), strict=True))
    history = there.fit(corpus, steps=6, **HOW)
    assert history.values["loss"][-1] < history.values["loss"][0]
    there.save_pretrained(tmp_path / "model")
    again = aigc.Generator.from_pretrained(tmp_path / "model", device=DEVICE, dtype="float32")
    assert again.device.type == DEVICE.type
    assert again.score(TEXTS[0]).nats == pytest.approx(there.score(TEXTS[0]).nats, rel=1e-5)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of this one process."""
    backend = "nccl" if DEVICE.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("optimizer", [None, adamw])
def test_shards_of_one_process_are_the_whole(optimizer: Any, group: None, tmp_path: Path) -> None:
    options = HOW | {"steps": 4, "optimizer": optimizer, "precision": "float32", "accumulate": 2, "held_out": TEXTS[:2]}
    plain, cut = generator("qwen3"), generator("qwen3")
    expected = plain.fit(TEXTS, **options)
    found = cut.fit(TEXTS, sharded=True, checkpoint_dir=tmp_path / "run", **options)
    torch.testing.assert_close(*(torch.tensor(h.values["loss"]) for h in (found, expected)), rtol=1e-3, atol=1e-3)
    for a, b in zip(weights(cut), weights(plain), strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-2)
    assert {p.device.type for p in cut.model.parameters()} == {DEVICE.type}


def test_a_model_of_the_cpu_is_trained_in_shards_on_the_device_and_stays(group: None) -> None:
    gen = generator("qwen3", "cpu")
    before = gen.score(TEXTS[0]).bits_per_byte
    gen.fit(TEXTS, steps=20, lr=0.01, sharded=True, precision="bfloat16", **HOW)
    assert gen.device.type == "cpu"
    assert gen.score(TEXTS[0]).bits_per_byte < before - 0.5


# Evaluation.


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "bloom"])
def test_texts_are_scored_as_on_the_cpu(name: str) -> None:
    """To 1e-3 of a nat, as float32 has it after weights 16 times as large as usual."""
    texts = [*TEXTS[:3], "春夜喜雨", "y" * 300]  # the last one longer than the context
    for one, other in zip(*(gen.score(texts) for gen in both(name)), strict=True):
        assert one.tokens == other.tokens
        ours, theirs = torch.tensor(one.logprobs), torch.tensor(other.logprobs)
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-3)
        assert other.perplexity == pytest.approx(one.perplexity, rel=1e-3)
        assert other.bits_per_byte == pytest.approx(one.bits_per_byte, rel=1e-3)


def test_states_are_those_of_the_cpu() -> None:
    one, other = (mean_states(gen, TEXTS[:3]) for gen in both("llama"))
    assert other.values.device.type == "cpu"
    torch.testing.assert_close(other.values, one.values, rtol=1e-3, atol=1e-3)


def test_an_evaluation_is_that_of_the_cpu() -> None:
    tales = [
        "Once upon a time there was an old man who lived alone by the sea, and he was content.",
        "The king had three daughters, and the youngest was so fair that the sun stood still to see her.",
    ]
    how: dict[str, Any] = {"samples": 4, "max_new_tokens": 12, "resamples": 100, "progress": False}
    gens = [aigc.Generator.default(device=device, dtype="float32") for device in ("cpu", DEVICE)]
    one, other = (evaluate(gen, tales, **how) for gen in gens)
    assert [example.written for example in other.examples] == [example.written for example in one.examples]
    ours, theirs = (found.model.likelihood.bits_per_byte.value for found in (one, other))
    assert theirs == pytest.approx(ours, rel=1e-4)


@pytest.mark.parametrize("name", tiny.MASKED)
def test_gaps_are_filled_as_on_the_cpu(name: str) -> None:
    text = f"To be, {tiny.MASK} not {tiny.MASK} be"
    for one, other in zip(*(gen.fill(text, top=3).gaps for gen in both(name)), strict=True):
        assert [c.token for c in other.candidates] == [c.token for c in one.candidates]
        ours, theirs = (torch.tensor([c.logprob for c in gap.candidates]) for gap in (one, other))
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-3)
    same(name, [text, "春<mask>", "ab"], max_new_tokens=6, logprobs=False)


# Writing.

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


# The device itself.


def test_auto_is_the_device() -> None:
    placement = devices.place()
    assert placement.device.type == DEVICE.type
    assert devices.place(DEVICE, dtype="float32").device.type == DEVICE.type
    assert devices.place("cpu").device.type == "cpu"
    with pytest.raises(ParameterError, match="This machine has cpu"):
        devices.place(f"{DEVICE.type}:99" if DEVICE.type != "cpu" else "cuda:99")
    gen = aigc.Generator.default()
    assert (gen.device.type, gen.model.dtype) == (DEVICE.type, placement.dtype)


def test_memory_is_counted_and_given_back() -> None:
    free = devices.available_memory(DEVICE)
    assert free is not None
    assert free > 2**20
    devices.check_fits(2**10, DEVICE)
    with pytest.raises(ResourceError, match="GiB free"):
        devices.check_fits(2**60, DEVICE)
    devices.release_memory()


def test_a_batch_that_does_not_fit_is_halved() -> None:
    def run(part: Any) -> list[int]:
        if len(part) > 3:
            torch.empty(2**60, dtype=torch.uint8, device=DEVICE)
        return [2 * item for item in part]

    assert devices.backoff(run, range(10)) == list(range(0, 20, 2))


def test_seeded_numbers_repeat_and_leave_no_trace() -> None:
    where = torch.device(DEVICE.type, 0) if DEVICE.type != "cpu" else DEVICE
    before = torch.get_device_module(where).get_rng_state() if DEVICE.type != "cpu" else torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with devices.seeded_rng(7, where):
            drawn.append((torch.rand(5, device=where), torch.rand(5)))
    generator = torch.Generator(where).manual_seed(7)
    assert torch.equal(drawn[0][0], torch.rand(5, device=where, generator=generator))
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    with devices.preserved_rng():
        torch.rand(3, device=where)
    after = torch.get_device_module(where).get_rng_state() if DEVICE.type != "cpu" else torch.get_rng_state()
    assert torch.equal(after, before)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices")
def test_the_device_that_is_named_is_seeded_and_no_other() -> None:
    other = torch.device(DEVICE.type, 1)
    before = torch.cuda.get_rng_state(0)
    with devices.seeded_rng(7, other):
        drawn = torch.rand(5, device=other)
        assert torch.equal(torch.cuda.get_rng_state(0), before)
    assert torch.equal(drawn, torch.rand(5, device=other, generator=torch.Generator(other).manual_seed(7)))
