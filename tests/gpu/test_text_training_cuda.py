"""CUDA: language models learn there, and texts are scored as on the CPU. Run with `pytest -m gpu`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import aigc
import tiny
from aigc.data.text import Corpus
from aigc.text import evaluate, mean_states
from aigc.text.adapters import LoRA
from aigc.training import Constant, Every, MuonAdamW
from alike import DEVICE, both, generator, same

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

TEXTS = ["To be, or not to be, that is the question", "whether 'tis nobler", "in the mind to suffer"] * 4
HOW: dict[str, Any] = {"batch_size": 6, "length": 16, "seed": 0, "progress": False, "log_every": 1}


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
    start = torch.cat([p.clone().flatten() for p in weights(whole)])
    whole.fit(TEXTS, steps=6, **options)
    first.fit(TEXTS, steps=3, checkpoint_dir=tmp_path, **options)
    assert second.fit(TEXTS, steps=6, checkpoint_dir=tmp_path, **options).steps == (1, 2, 3, 4, 5, 6)
    a, b = (torch.cat([p.flatten() for p in weights(gen)]) for gen in (whole, second))
    assert float((a - b).norm()) < 0.05 * float((a - start).norm()), "of the way that the weights went"


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
