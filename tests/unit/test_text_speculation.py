"""Speculation changes no token, whatever is guessed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import aigc
import tiny
from aigc.errors import ParameterError
from aigc.kernels import Draw
from aigc.sampling import Greedy, MinP, Noise, Sampler, Temperature, TopK, TopP, as_sampler, chain
from aigc.text.loop import Drawn, Loop, PlainSteps
from aigc.text.packed.forward import PackedForward
from aigc.text.speculation import Drafter, DraftModel, Lookup, PromptLookup, SpeculativeLoop, Writing

DECODERS = {
    dtype: aigc.Generator(tiny.model("llama", dtype=dtype), tiny.tokenizer())._network.packed.decoder()
    for dtype in tiny.PACKED
}


class Count(NamedTuple):
    """How often each token was drawn, `(rows, vocabulary)`."""

    counts: Tensor


@dataclass(frozen=True)
class Shy:
    """A sampler with memory: what it drew it likes less."""

    def init(self, prompts: Sequence[Sequence[int]]) -> Count:
        return Count(torch.zeros(len(prompts), tiny.VOCABULARY))

    def step(self, logits: Tensor, state: Count, noise: Noise) -> tuple[Draw, Count]:
        inner = as_sampler(Temperature(0.7))
        draw, _ = inner.step(logits.float() - 2 * state.counts, inner.init([[0]] * len(logits)), noise)
        return draw, Count(state.counts.scatter_add(1, draw.token[:, None], torch.ones(len(logits), 1)))


SAMPLERS: list[Sampler[Any]] = [
    as_sampler(chain(Temperature(0.5), TopP(0.9))), as_sampler(TopK(3)), as_sampler(MinP(0.3)), as_sampler(Greedy()), Shy(),
]  # fmt: skip


class Oracle:
    """Guesses what a list says, right or wrong: tokens of the text itself, some of them spoilt."""

    cheap = False

    def __init__(self, texts: list[list[int]], spoil: set[int], count: int) -> None:
        self.texts, self.spoil, self.count = texts, spoil, count

    def draft(self, rows: Sequence[Writing], limits: Sequence[int]) -> list[list[int]]:
        drafts = []
        for row, limit in zip(rows, limits, strict=True):
            at = len(row.tokens) - row.prompt
            guess = self.texts[row.row][at : at + max(0, min(limit, self.count))]
            drafts.append([(token + (at + i in self.spoil)) % tiny.VOCABULARY for i, token in enumerate(guess)])
        return drafts

    def select(self, alive: Tensor) -> None:
        """Nothing: rows say which they are."""


def write(loop: Loop | SpeculativeLoop, rooms: Sequence[int]) -> list[list[tuple[int, float]]]:
    """Tokens and log-probabilities of each row, which leaves when it has written what it may."""
    texts: list[list[Drawn]] = [[] for _ in rooms]
    for step in loop:
        for drawn in step:
            if len(texts[drawn.row]) < rooms[drawn.row]:
                texts[drawn.row].append(drawn)
            if len(texts[drawn.row]) == rooms[drawn.row]:
                loop.drop(drawn.row)
    return [[(drawn.token, drawn.logprob) for drawn in text] for text in texts]


rows = st.lists(
    st.tuples(st.lists(st.integers(0, 40), min_size=1, max_size=70), st.integers(0, 2**40), st.integers(1, 25)),
    min_size=1, max_size=4,
)  # fmt: skip


@pytest.mark.parametrize("dtype", DECODERS, ids=str)
@settings(max_examples=12)
@given(rows=rows, sampler=st.sampled_from(SAMPLERS), kind=st.sampled_from(["lookup", "draft", "oracle"]), data=st.data())
def test_the_same_tokens_and_the_same_bits_whatever_is_guessed(
    dtype: torch.dtype, rows: list, sampler: Sampler[Any], kind: str, data: st.DataObject
) -> None:
    prompts, seeds, rooms = zip(*rows, strict=True)
    model = DECODERS[dtype]
    plain = write(Loop(PlainSteps(PackedForward(model, prompts), sampler, prompts=prompts, seeds=seeds), rooms), rooms)
    drafter: Drafter
    if kind == "lookup":
        drafter = PromptLookup(ngram=data.draw(st.integers(1, 3))).start(len(prompts))
    elif kind == "draft":
        drafter = DraftModel(PackedForward(model, prompts), context=data.draw(st.sampled_from([None, 60, 128])))
    else:
        spoil = data.draw(st.sets(st.integers(0, 24)))
        drafter = Oracle([[token for token, _ in text] for text in plain], spoil, data.draw(st.integers(0, 9)))
    loop = SpeculativeLoop(
        PackedForward(model, prompts), drafter, [sampler] * len(rows), prompts=prompts, seeds=seeds, rooms=rooms
    )
    assert write(loop, rooms) == plain
    assert loop.accepted <= loop.drafted


def test_right_guesses_are_all_taken_and_wrong_ones_are_not() -> None:
    """Twin of the law above: guesses do decide how many forwards there are."""
    model, sampler, prompts, rooms = DECODERS[torch.float32], SAMPLERS[0], [[1, 2, 3]], [24]
    text = [
        token
        for token, _ in write(
            Loop(PlainSteps(PackedForward(model, prompts), sampler, prompts=prompts, seeds=[5]), rooms), rooms
        )[0]
    ]
    counts = []
    for spoil in (set(), set(range(24))):
        loop = SpeculativeLoop(
            PackedForward(model, prompts), Oracle([text], spoil, 6), [sampler], prompts=prompts, seeds=[5], rooms=rooms
        )
        assert [token for token, _ in write(loop, rooms)[0]] == text
        counts.append((loop.drafted, loop.accepted))
    assert counts[0][0] == counts[0][1] > 15
    assert counts[1][1] == 0 < counts[1][0]


def test_a_draft_of_the_same_weights_is_always_right() -> None:
    model, prompts, rooms = DECODERS[tiny.PACKED[-1]], [[1, 2, 3], [9] * 70], [20, 20]
    loop = SpeculativeLoop(
        PackedForward(model, prompts), DraftModel(PackedForward(model, prompts), context=None), [SAMPLERS[0]] * 2,
        prompts=prompts, seeds=[5, 6], rooms=rooms,
    )  # fmt: skip
    write(loop, rooms)
    assert loop.accepted == loop.drafted > 20


def test_lookup_guesses_what_followed_the_last_time() -> None:
    lookup: Lookup = PromptLookup(ngram=2, tokens=3).start(1)
    row = Writing(0, [1, 2, 7, 8, 9, 5, 1, 2], 8, SAMPLERS[0], None, torch.zeros(1, dtype=torch.int64), 9)
    assert lookup.draft([row], [9]) == [[7, 8, 9]]
    assert lookup.draft([row], [2]) == [[7, 8]]
    row.tokens += [7]
    assert lookup.draft([row], [9]) == [[8, 9, 5]]
    row.tokens += [4]
    assert lookup.draft([row], [9]) == [[]]
    with pytest.raises(ParameterError, match="ngram"):
        PromptLookup(ngram=0)
