"""Filters that know what was written, against texts written out and searched; and what a chain with them draws."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

import aigc
import tiny
from aigc import random
from aigc.errors import GenerationError
from aigc.kernels import Draw
from aigc.sampling import (
    XTC,
    BannedStrings,
    Categorical,
    ForcedPrefix,
    MinTokens,
    Noise,
    Temperature,
    TopK,
    as_sampler,
    bind,
    chain,
    select,
    take,
)
from aigc.testing import chi_square, strategies
from aigc.testing.laws import SAMPLER_LAWS


class Spelt(NamedTuple):
    """A tokenizer whose token 0 ends a text; it encodes nothing."""

    spelling: Sequence[bytes]
    size: int
    ends: frozenset[int] = frozenset({0})

    def encode(self, text: str) -> list[int]:
        return []

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self.spelling[i] for i in ids).decode(errors="replace")


BU, NENG = "不".encode(), "能".encode()
PIECES = [
    b"",
    b"a",
    b"b",
    b"ab",
    b"aa",
    b"ba",
    b"abab",
    b" a",
    BU,
    NENG,
    BU[:1],
    BU[1:],
    NENG[:2],
    NENG[2:],
    (BU + NENG)[2:5],
    b"\xffa",
    b"a\xffab",
]
BANNED = ["a", "ab", "aab", "abab", "bb", " a", "不能", "能", "ab不", "babab"]


def draw_of(tokens: Sequence[int]) -> Draw:
    ok = torch.tensor(tokens)
    return Draw(ok, ok.float(), ok, ok.float(), (ok < 0).long())


def completes(text: bytes, token: bytes, banned: Sequence[str]) -> bool:
    """Whether some string occurs in the longer text that did not in the shorter."""
    return any((text + token).count(s.encode(), i) for s in banned for i in [max(0, len(text) - len(s.encode()) + 1)])


@given(
    pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=12),
    banned=st.lists(st.sampled_from(BANNED), min_size=1, max_size=4),
    prompts=st.lists(st.lists(st.integers(0, 12), max_size=4), min_size=1, max_size=3),
    from_prompt=st.booleans(),
    padding=st.integers(0, 2),
    data=st.data(),
)
def test_what_would_complete_a_banned_string_is_cut_and_nothing_else(
    pieces: list[bytes],
    banned: list[str],
    prompts: list[list[int]],
    from_prompt: bool,
    padding: int,
    data: st.DataObject,
) -> None:
    words = Spelt([b"", *pieces], 1 + len(pieces) + padding)
    prompts = [[token % len(words.spelling) for token in prompt] for prompt in prompts]
    f: Any = bind(BannedStrings(banned, prompt=from_prompt), words)
    state = f.start(prompts)
    texts = [b"".join(words.spelling[i] for i in prompt) if from_prompt else b"" for prompt in prompts]
    for _ in range(4):
        y = f.apply(torch.zeros(len(texts), words.size), state, None)
        spelling = [*words.spelling, *[b""] * padding]
        expected = [[completes(text, token, banned) for token in spelling] for text in texts]
        assert (y == -math.inf).tolist() == expected
        free = [[i for i, cut in enumerate(row) if not cut] for row in expected]
        tokens = [data.draw(st.sampled_from(row)) for row in free]
        before = state.clone()
        after = f.update(state, draw_of([-1, *tokens[1:]] if data.draw(st.booleans()) else tokens))
        assert torch.equal(state, before)
        state = f.update(state, draw_of(tokens))
        assert torch.equal(after[1:], state[1:])
        texts = [text + spelling[token] for text, token in zip(texts, tokens, strict=True)]
        alive = torch.arange(0, len(texts), 2) if len(texts) > 2 else torch.arange(len(texts))
        state, texts = select(state, alive), [texts[i] for i in alive.tolist()]


def test_banned_strings_refuse_to_empty_a_row() -> None:
    f: Any = bind(BannedStrings(["a"]), Spelt([b"a", b"ba"], 2))
    with pytest.raises(GenerationError, match="BannedStrings leaves row 1 of the batch no token"):
        f.apply(torch.tensor([[math.nan, 0.0], [0.0, 1.0]]), f.start([[], []]), None)


@given(x=strategies.logits(rows=3, columns=6, bad=True), counts=st.lists(st.integers(0, 3), min_size=3, max_size=3))
def test_ends_are_cut_until_enough_is_written(x: Tensor, counts: list[int]) -> None:
    good = ((x == x) & (x < math.inf)).all(-1) & (x > -math.inf).any(-1)
    assume(bool((x[good][:, [0, 2, 3, 5]] > -math.inf).any(-1).all()))
    f = MinTokens(torch.tensor(counts), ends=[1, 4])
    state = f.start([[1, 4]] * 3)
    for written in range(4):
        rows = torch.tensor([2, 0]) if written % 2 else torch.arange(3)
        part = take(f, rows)
        y = part.apply(x[rows].clone(), select(state, rows), None)
        for place, row in enumerate(rows.tolist()):
            expected = x[row].clone()
            if written < counts[row] and good[row]:
                expected[[1, 4]] = -math.inf
            assert torch.equal(y[place].nan_to_num(7.0), expected.nan_to_num(7.0))
        before, state = state, f.update(state, draw_of([0, -1, 4]))
        assert before.tolist() == [written] * 3


@given(x=strategies.logits(rows=3, columns=6, bad=True), prefix=st.lists(st.integers(0, 5), min_size=1, max_size=3))
def test_a_prefix_is_forced_and_then_forgotten(x: Tensor, prefix: list[int]) -> None:
    good = ((x == x) & (x < math.inf)).all(-1) & (x > -math.inf).any(-1)
    assume(bool((x[good][:, prefix] > -math.inf).all()))
    f = ForcedPrefix(prefix)
    state = f.start([[]] * 3)
    for written in range(5):
        y = f.apply(x.clone(), state, None)
        expected = x.clone()
        if written < len(prefix):
            others = torch.tensor([i for i in range(6) if i != prefix[written]])
            expected[good] = expected[good].index_fill(-1, others, -math.inf)
        assert torch.equal(y.nan_to_num(7.0), expected.nan_to_num(7.0))
        before, state = state, f.update(state, draw_of([0, -1, 4]))
        assert before.tolist() == [written] * 3


def test_filters_by_what_was_written_work_through_a_generator() -> None:
    gen = aigc.Generator(tiny.model("llama"), tiny.tokenizer())
    prompts = ["a", "bb", "ccc", "d" * 9]
    f = chain(ForcedPrefix("To "), Temperature(3.0), MinTokens(torch.tensor([0, 3, 9, 20])), BannedStrings(["e", "不"]))
    out = gen.generate(prompts, max_new_tokens=20, sampler=f, seed=1, batch_size=3)
    for c, least in zip(out, [0, 3, 9, 20], strict=True):
        assert len(c.tokens) >= least
        assert c.text.startswith("To ")
        assert "e" not in c.text
    with pytest.raises(aigc.errors.ParameterError, match="min_tokens must be at most 5"):
        gen.generate(prompts, max_new_tokens=5, sampler=f)


@given(x=strategies.logits(bad=True), seed=strategies.seeds())
@pytest.mark.parametrize(
    "sampler", [XTC(0.1, 0.5), chain(TopK(20), XTC(torch.tensor(0.05), 0.5), Temperature(0.7))], ids=repr
)
def test_xtc_keeps_the_laws_of_samplers(sampler: Any, x: Tensor, seed: int) -> None:
    for law in SAMPLER_LAWS:
        law(as_sampler(sampler), x, seed)


LOGITS = torch.tensor([0.35, 0.3, 0.2, 0.1, 0.05]).log()
DRAWS = 20_000


def counts_of(threshold: float, probability: float) -> Tensor:
    sampler = Categorical(XTC(threshold, probability))
    x = LOGITS.expand(DRAWS, -1)
    draw, _ = sampler.step(x, sampler.init([[]] * DRAWS), Noise.of(torch.arange(DRAWS), 3))
    return torch.bincount(draw.token, minlength=5).double()


@pytest.mark.parametrize("probability", [0.25, 0.8])
def test_xtc_tosses_its_coin_as_often_as_it_says(probability: float) -> None:
    """Four tests of which each rejects a true law once in a million."""
    whole = LOGITS.double().softmax(-1)
    cut = whole * torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0])
    cut /= cut.sum()

    def law(p: float) -> Tensor:
        return p * cut + (1 - p) * whole

    counts = counts_of(0.15, probability)
    assert chi_square(counts, law(probability)) > 1e-6
    assert chi_square(counts, law(probability + 0.05)) < 1e-6
    # The coin is another's noise than the tokens': the law holds of the rows whose coin fell alike.
    fell = random.uniform(torch.arange(DRAWS), 3, -(2**32) - 0x585443) < probability
    sampler = Categorical(XTC(0.15, probability))
    draw, _ = sampler.step(LOGITS.expand(DRAWS, -1), sampler.init([[]] * DRAWS), Noise.of(torch.arange(DRAWS), 3))
    assert chi_square(torch.bincount(draw.token[fell], minlength=5).double(), cut) > 1e-6
    assert chi_square(torch.bincount(draw.token[~fell], minlength=5).double(), whole) > 1e-6
