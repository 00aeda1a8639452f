"""Encoder-decoder models: the tokens of `transformers.generate`, and the same text whoever shares the batch."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

import aigc
import tiny
from aigc.errors import ModelError, ParameterError
from aigc.sampling import Greedy, MinP, Temperature, TopK, TopP, chain

SOURCES = ["a", "The quick brown fox", "春夜喜雨", "xyz " * 20]  # the last is longer than one bucket of slots
NEW = 20
TOKENIZER = tiny.closed_tokenizer(begin=False)


def generator(name: str, *, dtype: torch.dtype = torch.float32) -> aigc.Generator:
    return aigc.Generator(tiny.seq2seq(name, dtype=dtype), TOKENIZER)


def cut(row: list[int], end: int = 257) -> list[int]:
    return row[: row.index(end) + 1] if end in row else row


def theirs(model: hf.PreTrainedModel, sources: list[str]) -> list[list[int]]:
    """What transformers writes for sources in one batch, padded on the right as its tokenizers do."""
    batch = TOKENIZER(sources, return_tensors="pt", padding=True)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    out = model.generate(ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False, num_beams=1)
    return [cut(row) for row in out[:, 1:].tolist()]


@pytest.mark.parametrize("name", tiny.SEQ2SEQ)
def test_greedy_tokens_equal_those_of_transformers(name: str) -> None:
    gen = generator(name)
    assert gen.plan.forward == "together"
    alone = [theirs(gen.model, [source])[0] for source in SOURCES]
    assert len({tuple(row) for row in alone}) > 2, "the test needs texts that depend on their sources"
    batch = gen.generate(SOURCES, max_new_tokens=NEW, sampler=Greedy())
    assert [list(c.tokens) for c in batch] == alone
    assert theirs(gen.model, SOURCES) == alone
    for source, expected in zip(SOURCES, alone, strict=True):
        assert list(gen.generate(source, max_new_tokens=NEW, sampler=Greedy())[0].tokens) == expected


GENERATORS = {(name, dtype): generator(name, dtype=dtype) for name, dtype in [
    ("t5", torch.float32), ("bart", torch.float32), ("t5", torch.bfloat16), ("marian", torch.bfloat16),
]}  # fmt: skip
SAMPLERS = [chain(Temperature(0.9), TopP(0.9)), TopK(20), chain(Temperature(1.2), MinP(0.05)), Temperature(0.0)]
rows = st.lists(
    st.tuples(st.text("abc 春夜", max_size=28), st.integers(-(2**63), 2**63 - 1), st.sampled_from(SAMPLERS)),
    min_size=2,
    max_size=6,
)


@pytest.mark.parametrize("which", GENERATORS, ids=str)
@settings(max_examples=8)
@given(rows=rows)
def test_a_row_writes_the_same_alone_and_in_any_batch(which: Any, rows: list) -> None:
    gen = GENERATORS[which]
    sources, seeds, samplers = zip(*rows, strict=True)
    batch = gen.generate(sources, max_new_tokens=10, sampler=samplers, seed=seeds)
    for source, seed, sampler, together in zip(sources, seeds, samplers, batch, strict=True):
        alone = gen.generate(source, max_new_tokens=10, sampler=sampler, seed=[seed])[0]
        assert (alone.text, alone.tokens, alone.finish_reason) == (together.text, together.tokens, together.finish_reason)


def count_encodings(model: hf.PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    encoder, seen = model.get_encoder(), []
    forward = encoder.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        seen.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    monkeypatch.setattr(encoder, "forward", counted)
    return seen


def test_each_distinct_source_is_encoded_once_and_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    gen = generator("t5")
    assert gen.plan.forward == "together"
    seen = count_encodings(gen.model, monkeypatch)
    gen.generate(["abc", "de", "abc"], n=2, max_new_tokens=6, seed=0)
    assert seen == [(1, 4), (1, 3)]


def test_the_other_doors_write_the_same() -> None:
    gen = generator("bart")
    out = gen.generate(SOURCES, n=2, max_new_tokens=NEW, seed=5, logprobs=True)
    assert [c.prompt for c in out] == [source for source in SOURCES for _ in range(2)]
    assert len({c.tokens for c in out}) > 4
    texts = [""] * len(out)
    for chunk in gen.stream(SOURCES, n=2, max_new_tokens=NEW, seed=5):
        texts[chunk.index] += chunk.text
    assert texts == out.texts
    again = gen.generate(out[3].prompt, max_new_tokens=NEW, seed=[out[3].seed])
    assert again[0].tokens == out[3].tokens

    async def collect() -> str:
        return "".join([chunk.text async for chunk in gen.astream(SOURCES[1], max_new_tokens=NEW, seed=[out[2].seed])])

    assert asyncio.run(collect()) == out[2].text
    text = TOKENIZER.decode(cut(list(out[2].tokens)), skip_special_tokens=True)
    assert out[2].text == text.rstrip("\ufffd")
    stop = text[3:5]
    stopped = gen.generate(out[2].prompt, max_new_tokens=NEW, seed=[out[2].seed], stop=stop)[0]
    assert (stopped.text, stopped.finish_reason) == (text[: text.index(stop)], "stop")


def test_logprobs_are_those_of_a_forward_without_cache() -> None:
    gen = generator("marian")
    for source, c in zip(
        SOURCES, gen.generate(SOURCES, max_new_tokens=8, sampler=TopP(1.0), seed=2, logprobs=True), strict=True
    ):
        ids = torch.tensor([TOKENIZER(source)["input_ids"]])
        written = torch.tensor([[259, *c.tokens[:-1]]])
        with torch.no_grad():
            logprobs = gen.model(input_ids=ids, decoder_input_ids=written).logits[0].log_softmax(-1)
        expected = logprobs.gather(-1, torch.tensor(c.tokens)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(c.logprobs), expected, atol=1e-4, rtol=1e-4)


def test_what_the_models_makers_force_and_forbid_holds() -> None:
    gen = generator("t5")
    says = gen.model.generation_config
    says.forced_bos_token_id = 9
    free = aigc.Generator(gen.model, TOKENIZER).generate(SOURCES, max_new_tokens=NEW, sampler=Greedy())
    says.bad_words_ids, says.suppress_tokens = [[free[1].tokens[2]], [65, 66]], [free[2].tokens[1]]
    gen = aigc.Generator(gen.model, TOKENIZER)
    assert gen.plan.forward == "together"
    out = gen.generate(SOURCES, max_new_tokens=NEW, sampler=Greedy(), logprobs=True)
    assert [list(c.tokens) for c in out] == [theirs(gen.model, [source])[0] for source in SOURCES]
    assert all(c.tokens[0] == 9 and c.logprobs is not None and c.logprobs[0] == 0 for c in out)
    assert not {free[1].tokens[2], free[2].tokens[1]} & {token for c in out for token in c.tokens[1:]}


def ignore_the_mask(forward: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: forward(*args, **kwargs | {"attention_mask": None})


def refuse_the_mask(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not kwargs["attention_mask"].all():
            raise ValueError("no padding, please")
        return forward(*args, **kwargs)

    return run


@pytest.mark.parametrize(("wrap", "why"), [(ignore_the_mask, "are off by"), (refuse_the_mask, "does not take a mask")])
def test_a_model_that_takes_no_mask_writes_row_by_row(
    wrap: Callable[..., Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the first is a mutant: a batch that forgot its mask would be noticed by the plan."""
    gen = generator("marian")
    expected = gen.generate(SOURCES, max_new_tokens=NEW, seed=3).texts
    model = tiny.seq2seq("marian")
    model.generation_config.suppress_tokens = [256]  # forbidden tokens must not hide that the others are off
    monkeypatch.setattr(model, "forward", wrap(model.forward))
    apart = aigc.Generator(model, TOKENIZER)
    assert apart.plan.forward == "apart"
    assert why in apart.plan.reason
    assert apart.generate(SOURCES, max_new_tokens=NEW, seed=3).texts == expected


def test_lengths_end_where_the_positions_do() -> None:
    gen = generator("bart")
    with pytest.raises(ParameterError, match=r"prompts\[1\] must be at most 96 tokens"):
        gen.generate(["a", "x" * 96])
    gen.model.generation_config.suppress_tokens = [257]
    long = aigc.Generator(gen.model, TOKENIZER).generate("x" * 95, max_new_tokens=500, seed=0)[0]
    assert (len(long.tokens), long.finish_reason) == (96, "length")
    assert gen.context == 96
    free = generator("t5")
    assert free.context is None
    assert len(free.generate("x" * 200, max_new_tokens=3, sampler=Greedy())[0].tokens) == 3


def test_what_an_encoder_decoder_cannot_do_is_said() -> None:
    gen = generator("t5")
    with pytest.raises(ModelError, match="cannot score a text by itself"):
        gen.score("abc")
    with pytest.raises(ModelError, match="fills no gaps"):
        gen.fill("a <mask>")
    model = tiny.seq2seq("t5")
    model.generation_config.decoder_start_token_id = model.config.decoder_start_token_id = None
    for ask in (lambda g: g.generate("a"), lambda g: g.plan):
        with pytest.raises(ModelError, match="decoder_start_token_id"):
            ask(aigc.Generator(model, TOKENIZER))
    with torch.random.fork_rng():
        headless = hf.T5Model(tiny.SEQ2SEQ["t5"])
    with pytest.raises(ParameterError, match="AutoModelForSeq2SeqLM"):
        aigc.Generator(headless, TOKENIZER)
    with torch.random.fork_rng():
        small = hf.T5ForConditionalGeneration(
            hf.T5Config(vocab_size=100, d_model=32, num_layers=1, decoder_start_token_id=0)
        )
    with pytest.raises(ParameterError, match="another model's tokenizer"):
        aigc.Generator(small, TOKENIZER).generate("abc")


def test_two_languages_may_have_two_vocabularies() -> None:
    config = hf.MarianConfig(**tiny.SEQ2SEQ["marian"].to_diff_dict() | {
        "share_encoder_decoder_embeddings": False, "decoder_vocab_size": 280, "tie_word_embeddings": False,
    })  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = hf.MarianMTModel(config).eval()
    gen = aigc.Generator(model, TOKENIZER)
    out = gen.generate(SOURCES, max_new_tokens=NEW, sampler=Greedy())
    assert [list(c.tokens) for c in out] == [theirs(model, [source])[0] for source in SOURCES]


def test_an_encoder_and_a_decoder_joined_by_hand() -> None:
    config = {"vocab_size": 261, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 259} | tiny.SIZES
    reads = hf.BertConfig(**config, max_position_embeddings=90)
    writes = hf.BertConfig(**config, max_position_embeddings=40, is_decoder=True, add_cross_attention=True)
    joined = hf.EncoderDecoderConfig.from_encoder_decoder_configs(reads, writes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = hf.EncoderDecoderModel(joined).eval()
    model.generation_config.decoder_start_token_id, model.generation_config.eos_token_id = 256, 257
    model.generation_config.pad_token_id = 259
    gen = aigc.Generator(model, TOKENIZER)
    out = gen.generate(SOURCES, max_new_tokens=NEW, sampler=Greedy())
    assert [list(c.tokens) for c in out] == [theirs(model, [source])[0] for source in SOURCES]
    assert gen.context == 40
    with pytest.raises(ParameterError, match="at most 90"):
        gen.generate("x" * 90)


def test_a_saved_model_writes_the_same(tmp_path: Path) -> None:
    gen = generator("bart")
    gen.save_pretrained(tmp_path / "model")
    again = aigc.Generator.from_pretrained(tmp_path / "model", device="cpu", dtype="float32")
    assert type(again.model) is type(gen.model)
    assert again.generate(SOURCES, max_new_tokens=8, seed=3).texts == gen.generate(SOURCES, max_new_tokens=8, seed=3).texts


def test_the_callers_model_is_left_as_it_was() -> None:
    model = tiny.seq2seq("t5").train()
    config, modes = model.config.to_dict(), [module.training for module in model.modules()]
    gen = aigc.Generator(model, TOKENIZER)
    assert gen.generate("abc", max_new_tokens=8, seed=1).texts == gen.generate("abc", max_new_tokens=8, seed=1).texts
    assert [module.training for module in model.modules()] == modes
    assert model.config.to_dict() == config
