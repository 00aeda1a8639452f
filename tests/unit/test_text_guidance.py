"""Guidance: the formula, the texts of transformers, and a row that owes nothing to the rows beside it."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import aigc
import tiny
from aigc.errors import ModelError, ParameterError
from aigc.sampling import Greedy, Temperature, TopK, TopP, chain
from aigc.text import BeamSearch, BestOf, Guidance
from aigc.text.guidance import guided

GEN = aigc.Generator(tiny.model("llama"), tiny.tokenizer())
PROMPTS = ["abc", "The quick brown fox jumps", "zz", "春夜"]
NEGATIVES = ["bad", "x", "a longer text to lead away from", "春"]


@pytest.mark.parametrize("name", ["llama", "bloom"])
@pytest.mark.parametrize("scale", [1.5, 3.0, 0.0, -1.0])
def test_texts_are_those_of_transformers(name: str, scale: float) -> None:
    model, tokenizer = tiny.model(name), tiny.tokenizer()
    gen = aigc.Generator(model, tokenizer)
    for negative in ("", "something else"):
        ids = torch.tensor([tokenizer("abcd")["input_ids"]])
        other = {"negative_prompt_ids": torch.tensor([tokenizer(negative)["input_ids"]])} if negative else {}
        fixed: dict[str, Any] = {"do_sample": False, "max_new_tokens": 16, "eos_token_id": 257, "pad_token_id": 257}
        out = model.generate(ids, attention_mask=torch.ones_like(ids), guidance_scale=scale, **fixed, **other)
        ours = gen.generate("abcd", max_new_tokens=16, sampler=Greedy(), guidance=Guidance(scale, negative=negative))
        assert list(ours[0].tokens) == out[0, 4:].tolist()


def test_guidance_changes_texts() -> None:
    """Twin of the parity above: without guidance, and away from another text, something else is written."""
    texts = [
        GEN.generate("abcd", max_new_tokens=16, sampler=Greedy(), guidance=guidance).texts[0]
        for guidance in (None, Guidance(3.0), Guidance(3.0, negative="something else"))
    ]
    assert len(set(texts)) == 3


numbers = st.one_of(st.just(-math.inf), st.floats(-20, 20))


@given(
    rows=st.lists(st.tuples(numbers, numbers), min_size=2, max_size=12).filter(
        lambda rows: all(max(row[i] for row in rows) > -math.inf for i in (0, 1))
    ),
    scale=st.floats(-3, 5),
)
def test_the_formula(rows: list[tuple[float, float]], scale: float) -> None:
    def logprobs(values: list[float]) -> list[float]:
        top = max(values)
        total = top + math.log(math.fsum(math.exp(value - top) for value in values))
        return [value - total for value in values]

    c, u = logprobs([row[0] for row in rows]), logprobs([row[1] for row in rows])
    expected = [a if -math.inf in (a, b) else b + scale * (a - b) for a, b in zip(c, u, strict=True)]
    given_rows = torch.tensor(rows, dtype=torch.float64)
    out = guided(given_rows[:, 0][None], given_rows[:, 1][None], scale)[0].tolist()
    assert out == pytest.approx(expected, abs=1e-9)


def test_a_scale_of_one_changes_no_bit() -> None:
    how: dict[str, Any] = {"n": 2, "max_new_tokens": 12, "seed": 5, "logprobs": True}
    plain = GEN.generate(PROMPTS, **how)
    same = GEN.generate(PROMPTS, guidance=Guidance(1.0, negative=NEGATIVES), **how)
    assert [(c.tokens, c.logprobs) for c in same] == [(c.tokens, c.logprobs) for c in plain]
    other = GEN.generate(PROMPTS, guidance=Guidance(1.001, negative=NEGATIVES), **how)
    assert [c.logprobs for c in other] != [c.logprobs for c in plain], "twin"


@pytest.mark.parametrize("sampler", [chain(Temperature(0.9), TopP(0.9)), TopK(torch.tensor([3, 40, 5, 9])), Greedy()])
def test_a_row_is_guided_alone_as_among_others_to_the_bit(sampler: Any) -> None:
    how: dict[str, Any] = {"max_new_tokens": 20, "logprobs": True}
    together = GEN.generate(PROMPTS, seed=1, sampler=sampler, guidance=Guidance(2.0, negative=NEGATIVES), **how)
    small = GEN.generate(PROMPTS, seed=1, sampler=sampler, guidance=Guidance(2.0, negative=NEGATIVES), batch_size=2, **how)
    assert [(c.tokens, c.logprobs) for c in together] == [(c.tokens, c.logprobs) for c in small]
    for i, (c, negative) in enumerate(zip(together, NEGATIVES, strict=True)):
        own = TopK(int(sampler.k[i])) if isinstance(sampler, TopK) else sampler
        alone = GEN.generate(c.prompt, seed=[c.seed], sampler=own, guidance=Guidance(2.0, negative=negative), **how)
        assert (alone[0].tokens, alone[0].logprobs) == (c.tokens, c.logprobs)


def test_rows_leave_and_the_others_go_on() -> None:
    guidance = Guidance(2.0, negative=NEGATIVES)
    whole = GEN.generate(PROMPTS, max_new_tokens=20, seed=1, guidance=guidance)
    stop = whole[0].tokens[3]
    model = tiny.model("llama")
    model.generation_config.eos_token_id = stop
    cut = aigc.Generator(model, tiny.tokenizer()).generate(PROMPTS, max_new_tokens=20, seed=1, guidance=guidance)
    for a, b in zip(whole, cut, strict=True):
        end = a.tokens.index(stop) + 1 if stop in a.tokens else 20
        assert b.tokens == a.tokens[:end]
    assert len({len(c.tokens) for c in cut}) > 1


def test_a_stream_is_guided_too_and_sessions_are() -> None:
    guidance = Guidance(2.0, negative="a text to lead away from, and a long one at that, for a session to keep it " * 1)
    how: dict[str, Any] = {"n": 2, "max_new_tokens": 8, "seed": 2, "guidance": guidance}
    texts = GEN.generate(PROMPTS, **how).texts
    streamed = [""] * len(texts)
    for chunk in GEN.stream(PROMPTS, **how):
        streamed[chunk.index] += chunk.text
    assert streamed == texts
    with GEN.session() as session:
        assert [session.generate(PROMPTS, **how).texts for _ in range(2)] == [texts] * 2
        assert session.reused > 0


def test_the_text_ends_where_either_context_does() -> None:
    out = GEN.generate("abc", max_new_tokens=20, seed=0, guidance=Guidance(2.0, negative="x" * 120))
    assert (len(out[0].tokens), out[0].finish_reason) == (8, "length")


def test_searches_are_guided() -> None:
    guidance = Guidance(2.0, negative="bad")
    greedy = GEN.generate(PROMPTS, max_new_tokens=8, sampler=Greedy(), guidance=guidance)
    assert GEN.generate(PROMPTS, max_new_tokens=8, search=BeamSearch(1), guidance=guidance).texts == greedy.texts
    wide = GEN.generate(PROMPTS, max_new_tokens=8, search=BeamSearch(4), guidance=guidance)
    alone = GEN.generate(PROMPTS[1], max_new_tokens=8, search=BeamSearch(4), guidance=guidance)
    assert wide.texts[1] == alone[0].text
    best = GEN.generate("abc", n=1, max_new_tokens=8, seed=4, search=BestOf(3), guidance=guidance)[0]
    assert GEN.generate("abc", max_new_tokens=8, seed=[best.seed], guidance=guidance).texts == [best.text]


def test_an_encoder_reads_another_source() -> None:
    gen = aigc.Generator(tiny.seq2seq("t5"), tiny.closed_tokenizer(begin=False))
    how: dict[str, Any] = {"max_new_tokens": 10, "sampler": Greedy()}
    texts = [
        gen.generate("abcdef", guidance=one, **how).texts[0] for one in (None, Guidance(4.0), Guidance(4.0, negative="x"))
    ]
    assert len(set(texts)) > 1
    assert gen.generate("abcdef", guidance=Guidance(0.0, negative="uvw"), **how).texts == gen.generate("uvw", **how).texts


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"guidance": 1.5}, "guidance must be"),
        ({"guidance": Guidance(2.0, negative=["a", "b"])}, "negative must be one text, or one for each of the 1 prompts"),
        ({"guidance": Guidance(2.0, negative="x" * 200)}, r"negative\[0\] must be shorter"),
        ({"guidance": Guidance(2.0), "speculate": aigc.text.PromptLookup()}, "speculate must be left out with guidance"),
    ],
    ids=str,
)
def test_arguments(arguments: dict[str, Any], named: str) -> None:
    for call in (GEN.generate, GEN.stream):
        with pytest.raises(ParameterError, match=named):
            call("abc", max_new_tokens=2, **arguments)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"scale": math.nan}, "scale must be a finite number"),
        ({"scale": "2"}, "scale"),
        ({"scale": None}, "scale"),
        ({"negative": None}, "negative"),
        ({"negative": ["a", 3]}, "negative"),
        ({"negative": b"a"}, "negative"),
    ],
    ids=str,
)
def test_parameters(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        Guidance(**arguments)


def test_masked_models_refuse() -> None:
    gen = aigc.Generator(tiny.masked("bert"), tiny.closed_tokenizer())
    with pytest.raises(ModelError, match="guidance needs a model that writes from left to right"):
        gen.generate(f"ab{tiny.MASK}", guidance=Guidance(2.0))
