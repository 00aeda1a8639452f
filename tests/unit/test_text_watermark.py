"""The watermark in texts of the default model: it is found where it is, and nowhere else."""

import itertools
import math
import string
from typing import Any

import pytest
import torch

import aigc
import tiny
from aigc.errors import ParameterError
from aigc.sampling import Temperature, TopK, Watermark, chain, detect
from aigc.testing import chi_square, z_score
from aigc.text import PromptLookup
from aigc.text import detect as detect_text

ALPHA = 1e-6
KEY = b"the key of these tests, 32 bytes"
OTHER = b"another key of as many bytes, 32"
OPENINGS = [
    "The sea", "It was a dark night, and", "My dear", "On the road to London", "When she came", "Nothing is",
    "There was once", "The old house",
]  # fmt: skip


@pytest.fixture(scope="module")
def gen() -> aigc.Generator:
    return aigc.Generator.default()


def written(gen: aigc.Generator, sampler: Any, *, n: int, seed: int, tokens: int = 100) -> aigc.text.Completions:
    """Texts of as many tokens, unless they end before."""
    return gen.generate(OPENINGS, n=n, max_new_tokens=tokens, sampler=sampler, seed=seed)


@pytest.fixture(scope="module")
def marked(gen: aigc.Generator) -> aigc.text.Completions:
    return written(gen, Watermark(key=KEY), n=13, seed=1)  # at temperature 1, nothing cut: draws in two levels without it


def test_over_95_of_100_marked_texts_are_found_within_100_tokens(marked: aigc.text.Completions) -> None:
    p = [detect(c.tokens, key=KEY).p_value for c in marked]
    assert len(p) == 104
    assert sum(value < 0.01 for value in p) / len(p) > 0.95


def test_text_alone_shows_the_mark(gen: aigc.Generator, marked: aigc.text.Completions) -> None:
    p = [detect_text(c.text, KEY, tokenizer=gen.tokenizer).p_value for c in marked]
    assert sum(value < 0.01 for value in p) / len(p) > 0.95
    one = detect_text(marked[0].text, KEY, tokenizer=gen.tokenizer)
    assert one == detect(gen.tokenizer(marked[0].text, add_special_tokens=False)["input_ids"], key=KEY)


@pytest.mark.parametrize("how", [{"key": OTHER}, {"key": KEY, "window": 3}, {"key": KEY, "window": 5}], ids=str)
def test_another_key_or_window_finds_nothing(marked: aigc.text.Completions, how: dict[str, Any]) -> None:
    p = torch.tensor([detect(c.tokens, **how).p_value for c in marked], dtype=torch.float64)
    assert chi_square(torch.histc(p, 10, 0, 1), torch.full((10,), 0.1)) > ALPHA
    assert p.min() > 1e-6


def test_texts_with_every_fifth_token_replaced_are_still_found(marked: aigc.text.Completions) -> None:
    """A replaced token spoils the mark of itself and of the four after it: a third of the tokens keep theirs."""
    generator = torch.Generator().manual_seed(0)
    p = []
    for c in marked:
        tokens = torch.tensor(c.tokens)
        other = torch.randint(10_000, tokens.shape, generator=generator)
        replaced = torch.rand(len(tokens), generator=generator) < 0.2
        p.append(detect(other.where(replaced, tokens), key=KEY).p_value)
    assert sum(value < 0.01 for value in p) / len(p) > 0.9


def test_unmarked_texts_show_nothing(gen: aigc.Generator) -> None:
    """24 texts of the model, 200 keys each."""
    plain = written(gen, chain(), n=3, seed=2)
    keys = [i.to_bytes(16, "little") for i in range(200)]
    p = torch.tensor([detect(c.tokens, key=key).p_value for c in plain for key in keys], dtype=torch.float64)
    assert chi_square(torch.histc(p, 20, 0, 1), torch.full((20,), 0.05)) > ALPHA
    assert abs(z_score(float((p < 0.01).sum()), len(p), 0.01)) < 4.89


@pytest.mark.slow
def test_10_000_unmarked_texts_are_flagged_as_often_as_the_level_says(gen: aigc.Generator) -> None:
    """One key for all, as it is used."""
    plain = written(gen, chain(), n=1250, seed=3)
    p = torch.tensor([detect(c.tokens, key=KEY).p_value for c in plain], dtype=torch.float64)
    print(f"\nflagged at 1%: {int((p < 0.01).sum())}, at 0.1%: {int((p < 0.001).sum())} of {len(p)}")
    assert chi_square(torch.histc(p, 20, 0, 1), torch.full((20,), 0.05)) > ALPHA
    assert abs(z_score(float((p < 0.01).sum()), len(p), 0.01)) < 4.89


def test_the_seed_tells_texts_of_one_prompt_apart_and_repeats_each(gen: aigc.Generator) -> None:
    sampler = Watermark(Temperature(0.9), key=KEY)
    texts = gen.generate("The sea", n=4, max_new_tokens=16, sampler=sampler, seed=1)
    assert len(set(texts.texts)) == 4
    again = gen.generate("The sea", max_new_tokens=16, sampler=sampler, seed=[texts[2].seed])
    assert again[0].tokens == texts[2].tokens
    plain = gen.generate("The sea", n=4, max_new_tokens=16, sampler=Temperature(0.9), seed=1)
    assert [c.tokens[:4] for c in plain] == [c.tokens[:4] for c in texts]
    assert all(one.tokens != other.tokens for one, other in zip(plain, texts, strict=True))


def test_texts_of_one_prompt_that_begin_alike_go_on_alike(gen: aigc.Generator) -> None:
    """Until a context repeats. Of two tokens with two to choose from there are four, whatever the seeds."""
    sampler = Watermark(TopK(2), key=KEY, window=2)
    out = gen.generate("It was", n=16, max_new_tokens=10, sampler=sampler, seed=1)
    begun = {c.tokens[:2]: c.tokens for c in out}
    assert 2 <= len(begun) <= 4
    for c in out:
        pairs = list(itertools.pairwise(c.tokens))
        again = next((i for i, pair in enumerate(pairs) if pair in pairs[:i]), len(pairs))
        assert c.tokens[: again + 2] == begun[c.tokens[:2]][: again + 2]


K = torch.tensor([30, 2, 200, 100, 5])


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_marked_row_is_written_alone_as_in_any_batch(batch_size: int) -> None:
    bytes_ = aigc.Generator(tiny.model("llama"), tiny.tokenizer())
    prompts, sampler = list(string.ascii_lowercase[:5]), Watermark(chain(TopK(K), Temperature(1.5)), key=KEY, window=2)
    out = bytes_.generate(prompts, max_new_tokens=12, sampler=sampler, seed=3)
    assert bytes_.generate(prompts, max_new_tokens=12, sampler=sampler, seed=3, batch_size=batch_size) == out
    mixed = [Watermark(chain(TopK(k), Temperature(1.5)), key=KEY, window=2) for k in K.tolist()]
    assert bytes_.generate(prompts, max_new_tokens=12, sampler=mixed, seed=3).texts == out.texts


def test_speculation_changes_no_token_of_a_marked_text(gen: aigc.Generator) -> None:
    prompt, sampler = "the cat sat on the mat and the cat sat on the mat and", Watermark(TopK(2), key=KEY, window=3)
    plain = gen.generate(prompt, n=2, max_new_tokens=30, sampler=sampler, seed=5)
    for speculate in (PromptLookup(ngram=1), gen):
        assert gen.generate(prompt, n=2, max_new_tokens=30, sampler=sampler, seed=5, speculate=speculate) == plain


def test_wrong_arguments_of_detection_are_said(gen: aigc.Generator) -> None:
    with pytest.raises(ParameterError, match=r"text must be a string, .* aigc\.sampling\.detect"):
        detect_text([1, 2], KEY, tokenizer=gen.tokenizer)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="tokenizer must be the model's tokenizer"):
        detect_text("text", KEY, tokenizer=gen)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="key must be"):
        detect_text("text", b"short", tokenizer=gen.tokenizer)
    assert detect_text("", KEY, tokenizer=gen.tokenizer).p_value == 1.0
    assert not math.isnan(detect_text("a", KEY, tokenizer=gen.tokenizer).p_value)
