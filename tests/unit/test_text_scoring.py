"""Scores: every token once, with at least half a context before it, as a plain forward has it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import aigc
import tiny
from aigc.text.scoring import windows

MODEL = tiny.model("llama", dtype=torch.float64)
GEN = aigc.Generator(MODEL, tiny.tokenizer(begin=True))
CONTEXT = 128


@given(length=st.integers(2, 500), context=st.integers(2, 64))
def test_windows_cover_every_token_once_with_half_a_context(length: int, context: int) -> None:
    scored: list[int] = []
    for start, first, end in windows(length, context):
        assert end - start <= context
        assert 0 <= start < first < end
        assert start == 0 or first - start >= context // 2
        scored.extend(range(first, end))
    assert scored == list(range(1, length))


@given(text=st.text("abc 春夜。", min_size=1, max_size=30))
def test_a_text_is_scored_as_a_plain_forward_has_it(text: str) -> None:
    ids = [256, *tiny.tokenizer()(text)["input_ids"]]
    with torch.no_grad():
        logits = MODEL(input_ids=torch.tensor([ids])).logits[0].float()
    expected = [float(logits[i].log_softmax(-1)[ids[i + 1]]) for i in range(len(ids) - 1)]
    score = GEN.score(text)
    assert list(score.tokens) == ids[1:]
    assert list(score.logprobs) == pytest.approx(expected, abs=1e-4)
    assert score.nats == pytest.approx(-sum(score.logprobs))
    assert score.bits_per_byte == pytest.approx(score.nats / math.log(2) / len(text.encode()))
    assert score.perplexity == pytest.approx(math.exp(score.nats / len(score.tokens)))


def test_a_long_text_slides() -> None:
    text = "abcdefg hij " * 40
    ids = torch.tensor([256, *tiny.tokenizer()(text)["input_ids"]])
    score = GEN.score(text)
    assert len(score.logprobs) == len(ids) - 1 > 2 * CONTEXT
    with torch.no_grad():
        for start, first, end in windows(len(ids), CONTEXT):
            logits = MODEL(input_ids=ids[None, start:end]).logits[0].float().log_softmax(-1)
            for i in (first, end - 1):
                assert score.logprobs[i - 1] == pytest.approx(float(logits[i - start - 1, ids[i]]), abs=1e-4)


def test_without_a_begin_token_the_first_is_not_scored() -> None:
    gen = aigc.Generator(MODEL, tiny.tokenizer())
    assert (len(gen.score("abcd").tokens), gen.score("abcd").bytes) == (3, 3)
    assert len(GEN.score("abcd").tokens) == 4
    empty = gen.score("")
    assert (empty.tokens, empty.bits_per_byte, empty.perplexity) == ((), 0.0, 1.0)


def test_a_first_token_that_is_half_a_character_takes_no_bytes_away() -> None:
    score = aigc.Generator(MODEL, tiny.tokenizer()).score("春")
    assert (len(score.tokens), score.bytes) == (2, 3)


def test_a_list_is_its_texts() -> None:
    assert [score.logprobs for score in GEN.score(["ab", "c"])] == [GEN.score("ab").logprobs, GEN.score("c").logprobs]
