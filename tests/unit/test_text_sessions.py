"""Sessions and speculation at the doors of `Generator`: the same texts, fewer tokens read, errors that say what to do."""

import asyncio
from typing import Any

import pytest
import torch

import aigc
import tiny
from aigc.errors import ClosedError, ModelError, ParameterError
from aigc.sampling import Temperature, TopP, chain
from aigc.text import PromptLookup

GENERATORS = {dtype: aigc.Generator(tiny.model("qwen3", dtype=dtype), tiny.tokenizer()) for dtype in tiny.PACKED}
GEN = GENERATORS[torch.float32]
PROMPTS = ["abc abc abc abc", "x", "one two one two one two " * 3]


@pytest.mark.parametrize("dtype", GENERATORS, ids=str)
def test_speculation_changes_no_text_at_any_door(dtype: torch.dtype) -> None:
    gen = GENERATORS[dtype]
    how: dict[str, Any] = {"max_new_tokens": 20, "seed": 3, "n": 2, "sampler": chain(Temperature(0.3), TopP(0.9))}
    plain = gen.generate(PROMPTS, logprobs=True, stop=["z"], **how)
    for speculate in (PromptLookup(ngram=1), gen):
        fast = gen.generate(PROMPTS, logprobs=True, stop=["z"], speculate=speculate, **how)
        assert [(c.text, c.tokens, c.logprobs, c.finish_reason) for c in fast] == [
            (c.text, c.tokens, c.logprobs, c.finish_reason) for c in plain
        ]
        chunks = list(gen.stream(PROMPTS, speculate=speculate, stop=["z"], **how))
        assert ["".join(c.text for c in chunks if c.index == i) for i in range(6)] == plain.texts
        assert [sum(c.index == i for c in chunks) for i in range(6)] == [len(c.tokens) for c in plain]

    async def collect() -> str:
        return "".join([c.text async for c in gen.astream(PROMPTS[0], max_new_tokens=20, seed=3, speculate=gen)])

    assert asyncio.run(collect()) == gen.generate(PROMPTS[0], max_new_tokens=20, seed=3)[0].text


def test_speculation_reaches_the_end_of_the_context() -> None:
    prompt = "ab" * 55  # 110 of 128 tokens
    plain = GEN.generate(prompt, max_new_tokens=100, seed=1)
    assert plain[0].finish_reason == "length"
    assert len(plain[0].tokens) == 18
    for speculate in (PromptLookup(ngram=1), GEN):
        assert GEN.generate(prompt, max_new_tokens=100, seed=1, speculate=speculate).texts == plain.texts


def test_a_draft_of_another_vocabulary_and_models_that_are_not_packed_are_refused() -> None:
    other = tiny.tokenizer(begin=True)
    other.add_tokens(["<more>"])
    with pytest.raises(ParameterError, match="same tokenizer"):
        GEN.generate("a", speculate=aigc.Generator(tiny.model("qwen3", vocabulary=259), other))
    with pytest.raises(ModelError, match="packed"):
        aigc.Generator(tiny.model("mamba"), tiny.tokenizer()).generate("a", speculate=PromptLookup())
    with pytest.raises(ModelError, match="packed"):
        GEN.generate("a", speculate=aigc.Generator(tiny.model("mamba"), tiny.tokenizer()))
    with pytest.raises(ParameterError, match=r"PromptLookup\(\) or a Generator"):
        GEN.generate("a", speculate="lookup")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", GENERATORS, ids=str)
def test_a_session_writes_the_same_and_reads_less(dtype: torch.dtype) -> None:
    gen, text, seen = GENERATORS[dtype], "Once upon a time there was a king, " * 2, 0
    with gen.session() as session:
        for turn in range(4):
            out = session.generate([text, "aside"], max_new_tokens=8, seed=turn, logprobs=True)
            fresh = gen.generate([text, "aside"], max_new_tokens=8, seed=turn, logprobs=True)
            assert [(c.text, c.logprobs) for c in out] == [(c.text, c.logprobs) for c in fresh]
            seen += len(text) + len("aside")
            text = text[: 100 - turn] + out[0].text[:4].encode("ascii", "replace").decode() + "?"
        assert session.read + session.reused == seen
        assert session.reused == 3 * 64
        assert 0 < session.tokens <= 16_384
        streamed = "".join(chunk.text for chunk in session.stream(text, max_new_tokens=5, seed=9))
        assert streamed == gen.generate(text, max_new_tokens=5, seed=9)[0].text
    assert gen._engine._past is None


def test_a_closed_session_says_so() -> None:
    session = GEN.session()
    session.generate("a" * 70, max_new_tokens=1)
    assert session.tokens == 64
    session.close()
    session.close()
    assert session.tokens == 0
    for ask in (lambda: session.generate("a"), lambda: session.stream("a"), lambda: session.chat([])):
        with pytest.raises(ClosedError, match="open another|Open another"):
            ask()
    with pytest.raises(ParameterError, match="tokens"):
        GEN.session(tokens=10)


def test_eight_bit_integers_are_asked_for_by_dtype(tmp_path: Any) -> None:
    GEN.save_pretrained(tmp_path / "model")
    gen = aigc.Generator.from_pretrained(tmp_path / "model", dtype="int8")
    assert "int8" in repr(gen)
    assert "eight-bit" in str(gen.plan)
    together = gen.generate(PROMPTS, max_new_tokens=12, seed=1, logprobs=True)
    for c in together:
        alone = gen.generate(c.prompt, max_new_tokens=12, seed=[c.seed], logprobs=True)[0]
        assert (alone.text, alone.logprobs) == (c.text, c.logprobs)
    aigc.Generator(tiny.model("mamba"), tiny.tokenizer()).save_pretrained(tmp_path / "mamba")
    with pytest.raises(ModelError, match="Use another dtype"):
        aigc.Generator.from_pretrained(tmp_path / "mamba", dtype="int8")


def test_a_model_that_is_trained_writes_with_its_new_weights() -> None:
    model = tiny.model("qwen3")
    gen = aigc.Generator(model, tiny.tokenizer())
    before = gen.generate("abc", max_new_tokens=8, seed=0).texts
    with torch.no_grad():
        model.lm_head.weight.copy_(model.lm_head.weight.roll(1, 0))
    after = gen.generate("abc", max_new_tokens=8, seed=0).texts
    assert after != before
    assert after == aigc.Generator(model, tiny.tokenizer()).generate("abc", max_new_tokens=8, seed=0).texts


def test_a_closed_session_is_not_entered() -> None:
    session = GEN.session()
    session.close()
    with pytest.raises(ClosedError, match="session must be open"), session:
        pass
