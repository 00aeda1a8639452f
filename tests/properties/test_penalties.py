"""Penalties against what their formulas say, in plain Python on lists of tokens."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aigc.kernels import Draw, Status
from aigc.sampling import (
    DRY,
    Categorical,
    FrequencyPenalty,
    Memory,
    Mirostat,
    Noise,
    NoRepeatNGram,
    PresencePenalty,
    RepetitionPenalty,
    Temperature,
    TopK,
    chain,
    select,
    take,
)
from aigc.sampling._history import repeats_of
from aigc.testing import check_sampler

VOCABULARY = 7
NOISE = Noise.of(torch.tensor([0]), 0)  # no penalty looks at it

token = st.integers(0, VOCABULARY - 1)
texts = st.lists(st.lists(token, max_size=12), min_size=1, max_size=4)
bits = st.lists(st.sampled_from([0, 0, 0, 1]), max_size=20)  # few tokens repeat much
few = st.lists(st.one_of(bits, st.lists(st.integers(0, 2), max_size=14)), min_size=1, max_size=3)
windows = st.one_of(st.none(), st.integers(1, 9))
numbers = st.sampled_from([0.5, 1.0, 1.2, 3.0])


def drawn(tokens: Sequence[int], logprob: float = -1.0) -> Draw:
    """A draw of these tokens; a row whose token is -1 could not be drawn from."""
    token = torch.tensor(tokens)
    fine = token >= 0
    status = torch.where(fine, int(Status.OK), int(Status.NAN))
    return Draw(token, torch.full(token.shape, logprob).where(fine, math.nan), fine.long(), fine.float(), status)


def after(memory: Memory[Any], prompts: list[list[int]], steps: list[list[int]]) -> Any:
    """The state after prompts and some steps."""
    state = memory.start(prompts)
    for step in steps:
        state = memory.update(state, drawn(step))
    return state


def written(prompts: list[list[int]], data: st.DataObject, among: st.SearchStrategy[int] = token) -> list[list[int]]:
    """Some steps: one token for each row in each."""
    rows = len(prompts)
    return data.draw(st.lists(st.lists(among, min_size=rows, max_size=rows), max_size=8), label="steps")


def histories(prompts: list[list[int]], steps: list[list[int]], window: int | None, prompt: bool) -> list[list[int]]:
    rows = [(text if prompt else []) + [step[i] for step in steps] for i, text in enumerate(prompts)]
    return [row if window is None else row[-window:] for row in rows]


def logits_of(rows: int) -> Tensor:
    x = torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(rows)) * 5
    x[:, 2] = -math.inf
    return x


def law_formula(
    memory: Memory[Any],
    prompts: list[list[int]],
    steps: list[list[int]],
    rule: Callable[[int, float, list[int], int], float],
) -> None:
    """A penalty does to each logit what a rule of the row, the logit, the history and the token says: rounded once."""
    window, prompt = memory.window, getattr(memory, "prompt", True)  # type: ignore[attr-defined]
    x = logits_of(len(prompts))
    expected = [
        [rule(i, float(x[i, v]), history, v) for v in range(VOCABULARY)]
        for i, history in enumerate(histories(prompts, steps, window, prompt))
    ]
    changed = memory.apply(x.clone(), after(memory, prompts, steps), NOISE)
    assert torch.equal(changed, torch.tensor(expected, dtype=torch.float64).float())


@given(prompts=texts, window=windows, prompt=st.booleans(), data=st.data())
@settings(max_examples=150)
def test_penalties_are_what_their_formulas_say(
    prompts: list[list[int]], window: int | None, prompt: bool, data: st.DataObject
) -> None:
    steps = written(prompts, data)
    penalties = data.draw(st.lists(numbers, min_size=len(prompts), max_size=len(prompts)))
    per_row = torch.tensor(penalties, dtype=torch.float64)

    def repetition(i: int, x: float, history: list[int], v: int) -> float:
        return x if v not in history else x / penalties[i] if x > 0 else x * penalties[i]

    def presence(i: int, x: float, history: list[int], v: int) -> float:
        return x - penalties[i] * (v in history)

    def frequency(i: int, x: float, history: list[int], v: int) -> float:
        return x - penalties[i] * Counter(history)[v]

    for kind, rule in ((RepetitionPenalty, repetition), (PresencePenalty, presence), (FrequencyPenalty, frequency)):
        law_formula(kind(per_row, window=window, prompt=prompt), prompts, steps, rule)


def longest(history: list[int], v: int, breakers: set[int]) -> int:
    """The length of the longest end of a text that was followed by a token before, by trying each."""
    found = 0
    for place in range(1, len(history)):
        if history[place] == v:
            n = 0
            while n < place and history[place - 1 - n] == history[-1 - n] and history[-1 - n] not in breakers:
                n += 1
            found = max(found, n)
    return found


@given(prompts=few, window=windows, data=st.data())
@settings(max_examples=200)
def test_dry_is_what_its_formula_says(prompts: list[list[int]], window: int | None, data: st.DataObject) -> None:
    steps = written(prompts, data, st.sampled_from([0, 0, 0, 1, 2]))
    rows = len(prompts)
    m, b = (data.draw(st.lists(st.sampled_from(of), min_size=rows, max_size=rows)) for of in ([0.0, 0.8], [1.0, 1.75]))
    a = data.draw(st.lists(st.integers(1, 4), min_size=rows, max_size=rows))
    breakers = data.draw(st.sampled_from([set(), {1}, {5}]))
    tensors = [torch.tensor(each, dtype=kind) for each, kind in ((m, torch.float64), (b, torch.float64), (a, torch.int64))]
    dry = DRY(tensors[0], base=tensors[1], allowed_length=tensors[2], window=window, breakers=tuple(breakers))

    def rule(i: int, x: float, history: list[int], v: int) -> float:
        n = longest(history, v, breakers)
        return x - m[i] * b[i] ** (n - a[i]) if n >= a[i] and v not in breakers else x

    law_formula(dry, prompts, steps, rule)


@given(text=st.lists(st.integers(0, 1), min_size=1, max_size=40), most=st.integers(0, 40))
@settings(max_examples=300)
def test_the_ends_of_prompts_are_found(text: list[int], most: int) -> None:
    expected = [
        next(n for n in range(place + 2) if n > place or text[place - n] != text[-1 - n]) for place in range(len(text) - 1)
    ]
    assert repeats_of([text], [most]).lengths[0].tolist() == [min(n, most) for n in expected] + [0]


@given(prompts=texts, window=windows, data=st.data())
def test_places_of_one_token_hold_one_count(prompts: list[list[int]], window: int | None, data: st.DataObject) -> None:
    """Or what is written back would depend on the order of writing, which a GPU leaves open."""
    state = after(FrequencyPenalty(1.0, window=window, prompt=True), prompts, written(prompts, data))
    for ids, times in zip(state.ids.tolist(), state.times.tolist(), strict=True):
        assert len(set(zip(ids, times, strict=True))) == len(set(ids))


@given(prompts=few, size=st.integers(1, 4), prompt=st.booleans(), data=st.data())
def test_no_sequence_is_written_twice(prompts: list[list[int]], size: int, prompt: bool, data: st.DataObject) -> None:
    steps = written(prompts, data, st.integers(0, 2))
    memory = NoRepeatNGram(size, prompt=prompt)
    x = torch.randn(len(prompts), VOCABULARY, generator=torch.Generator().manual_seed(0))
    changed = memory.apply(x.clone(), after(memory, prompts, steps), NOISE)
    for i, history in enumerate(histories(prompts, steps, None, prompt)):
        seen = {tuple(history[j : j + size]) for j in range(len(history) - size + 1)}
        beginning = tuple(history[len(history) - size + 1 :]) if size > 1 else ()
        banned = [(*beginning, v) in seen for v in range(VOCABULARY)]
        assert torch.equal(changed[i], x[i].masked_fill(torch.tensor(banned), -math.inf))


@given(ids=st.lists(token, min_size=1, max_size=15), penalty=st.sampled_from([0.5, 1.3]), size=st.integers(1, 4))
def test_penalties_are_those_of_transformers(ids: list[int], penalty: float, size: int) -> None:
    x = torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(len(ids))) * 5
    for ours, theirs in (
        (RepetitionPenalty(penalty), hf.RepetitionPenaltyLogitsProcessor(penalty)),
        (NoRepeatNGram(size), hf.NoRepeatNGramLogitsProcessor(size)),
    ):
        expected = theirs(torch.tensor([ids]), x.clone())
        if bool((expected > -math.inf).any()):  # transformers leaves a row empty, and so cannot draw
            # It divides by the penalty in float32, and not by the number itself: 1.3 differs by 4e-8.
            torch.testing.assert_close(ours.apply(x.clone(), ours.start([ids]), NOISE), expected, rtol=2e-7, atol=0)


MEMORIES: list[Memory[Any]] = [
    RepetitionPenalty(1.3),
    RepetitionPenalty(0.7, window=3),
    PresencePenalty(0.8, window=4),
    FrequencyPenalty(0.8, window=4, prompt=True),
    FrequencyPenalty(-0.8),
    NoRepeatNGram(2),
    DRY(0.8, allowed_length=1, breakers=(1,)),
    DRY(0.8, window=5, breakers=()),
    Mirostat(2.0),
]


@given(prompts=few, data=st.data())
@pytest.mark.parametrize("memory", MEMORIES, ids=repr)
def test_states_are_values_and_rows_leave_by_select(
    memory: Memory[Any], prompts: list[list[int]], data: st.DataObject
) -> None:
    steps = written(prompts, data, st.integers(0, 2))
    alive = sorted(data.draw(st.sets(st.integers(0, len(prompts) - 1), min_size=1)))
    x = logits_of(len(prompts))
    before = after(memory, prompts, steps)
    first = memory.apply(x.clone(), before, NOISE)
    following = memory.update(before, drawn([0] * len(prompts)))
    assert torch.equal(memory.apply(x.clone(), before, NOISE), first)  # the old state is still what it was
    left = memory.update(select(before, torch.tensor(alive)), drawn([0] * len(alive)))
    expected = memory.apply(x.clone(), following, NOISE)[alive]
    assert torch.equal(memory.apply(x[alive], left, NOISE), expected)
    alone = [after(memory, [prompts[i]], [[step[i]] for step in [*steps, [0] * len(prompts)]]) for i in alive]
    assert torch.equal(
        torch.cat([memory.apply(x[[i]], state, NOISE) for i, state in zip(alive, alone, strict=True)]), expected
    )


@pytest.mark.parametrize("memory", MEMORIES, ids=repr)
def test_a_row_without_a_token_disturbs_no_other(memory: Memory[Any]) -> None:
    prompts = [[0, 1, 0, 1, 0], [0, 1, 0, 1, 0]]
    state = memory.update(memory.start(prompts), drawn([-1, 1]))
    alone = memory.update(memory.start(prompts[1:]), drawn([1]))
    x = logits_of(2)
    assert torch.equal(memory.apply(x.clone(), state, NOISE)[1:], memory.apply(x[1:].clone(), alone, NOISE))


def test_a_row_without_a_token_has_no_surprise() -> None:
    mirostat = Mirostat(2.0)
    assert mirostat.update(mirostat.start([[0], [0]]), drawn([-1, 1]))[0] == 4.0


@pytest.mark.parametrize("memory", MEMORIES, ids=repr)
def test_samplers_with_memory_keep_the_laws(memory: Memory[Any]) -> None:
    check_sampler(chain(memory, Temperature(0.8)), examples=8, draws=1000)


def test_a_chain_of_all_of_them_keeps_the_laws() -> None:
    check_sampler(chain(*MEMORIES[:-1], TopK(5), Temperature(0.8), MEMORIES[-1]), examples=8, draws=4000)


@pytest.mark.parametrize(
    "memory",
    [
        RepetitionPenalty(torch.tensor([1.0, 3.0, 0.2])),
        PresencePenalty(torch.tensor([0.0, 5.0, -5.0]), prompt=True),
        FrequencyPenalty(torch.tensor([0.0, 2.0, -2.0]), window=3),
        DRY(torch.tensor([0.0, 5.0, 9.0]), base=torch.tensor([1.0, 2.0, 1.5]), breakers=()),
        Mirostat(torch.tensor([0.2, 1.0, 4.0]), eta=torch.tensor([0.5, 0.1, 1.0])),
    ],
    ids=lambda memory: type(memory).__name__,
)
def test_parameters_per_row_are_those_of_the_rows_alone(memory: Memory[Any]) -> None:
    """While rows leave: the state of each row goes on with its own parameters."""
    prompts, x = [[0, 1, 0], [1, 1], [2, 0, 2, 0]], torch.randn(3, 9, generator=torch.Generator().manual_seed(1)) * 2
    together: Any = Categorical(chain(memory, TopK(8)))
    alone: list[Any] = [take(together, torch.tensor([i])) for i in range(3)]
    state, states, rows = together.init(prompts), [one.init([p]) for one, p in zip(alone, prompts, strict=True)], [0, 1, 2]
    for step in range(12):
        if step == 4:
            rows, state = [1, 2], select(state, torch.tensor([1, 2]))
        if step == 8:
            rows, state = [2], select(state, torch.tensor([1]))
        draw, state = together.step(x[rows], state, Noise.of(torch.tensor(rows), step))
        for place, i in enumerate(rows):
            one, states[i] = alone[i].step(x[[i]], states[i], Noise.of(torch.tensor([i]), step))
            assert all(torch.equal(a[place : place + 1], b) for a, b in zip(draw, one, strict=True))


@pytest.mark.parametrize("memory", [RepetitionPenalty(3.0), PresencePenalty(1e308, prompt=True), DRY(1e308, breakers=())])
def test_what_would_overflow_stays_finite(memory: Memory[Any]) -> None:
    least, most = torch.finfo(torch.float32).min, torch.finfo(torch.float32).max
    x = torch.tensor([[least, most, -math.inf]])
    changed = memory.apply(x.clone(), memory.start([[0, 1, 2, 0, 1, 2, 0, 1, 2]]), NOISE)
    assert changed[0, :2].isfinite().all()
    assert changed[0, 2] == -math.inf
    nothing = DRY(0.0, base=1e300, allowed_length=1, breakers=())
    assert torch.equal(nothing.apply(x.clone(), nothing.start([[0, 1, 2] * 3]), NOISE), x)
    reward = RepetitionPenalty(0.1)
    assert reward.apply(x.clone(), reward.start([[0, 1, 2]]), NOISE).tolist() == [[least * 0.1, most, -math.inf]]


def test_no_repeat_ngram_leaves_a_row_that_has_nothing_else() -> None:
    ngrams = NoRepeatNGram(1)
    x = torch.tensor([[1.0, -math.inf, 2.0], [1.0, 3.0, 2.0]])
    changed = ngrams.apply(x.clone(), ngrams.start([[0, 2], [0, 2]]), NOISE)
    assert changed.tolist() == [[1.0, -math.inf, 2.0], [-math.inf, 3.0, -math.inf]]


class Letters:
    """A tokenizer of a few tokens."""

    spelling = (b"a", b"b", b"#", b"##", b"a#", b"#b", b": ", b"")
    size = 8
    ends = frozenset({7})

    def encode(self, text: str) -> list[int]:
        raise AssertionError("DRY looks at spelling")

    def decode(self, ids: Sequence[int]) -> str:
        raise AssertionError("DRY looks at spelling")


@pytest.mark.parametrize(
    ("text", "penalized"),
    [
        ([0, 1, 0, 0, 1], 0),  # a b | a, then a b: the next a repeats
        ([0, 1, 6, 0, 1], None),  # after ": " nothing is penalized for going on with it: it breaks by itself
        ([0, 6, 1, 0, 6], None),  # the text ends with a breaker
        ([0, 1, 0, 2, 3, 0, 1], 0),  # "###" in two tokens; since then a b was written
        ([0, 4, 3, 0, 4, 3], None),  # the breaker is completed by the last token, which began in the token before
        ([2, 1, 0, 2, 1], 0),  # one # is no breaker
        ([2, 2, 2, 0, 2, 2, 2], None),  # the breaker is three tokens
    ],
)
def test_breakers_are_strings_however_tokens_split_them(text: list[int], penalized: int | None) -> None:
    dry = DRY(1.0, allowed_length=2, breakers=("###", ":")).bind(Letters())
    for state in (dry.start([text]), after(dry, [[]], [[token] for token in text])):
        changed = dry.apply(torch.zeros(1, 8), state, NOISE)
        assert changed[0].nonzero().flatten().tolist() == ([] if penalized is None else [penalized])


def test_a_breaker_ends_a_repetition_once() -> None:
    """What came after "##" goes on to count, though its bytes are still near."""
    dry = DRY(1.0, base=2.0, allowed_length=1, breakers=("##", "#####")).bind(Letters())
    text = [0, 1, 0, 2, 2, 0, 1]
    assert dry.apply(torch.zeros(1, 8), dry.start([text]), NOISE)[0].tolist() == [-2, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: RepetitionPenalty(0), lambda: RepetitionPenalty(math.inf), lambda: RepetitionPenalty(None),
        lambda: RepetitionPenalty(1.2, window=0), lambda: RepetitionPenalty(1.2, prompt=1),
        lambda: PresencePenalty(math.nan), lambda: FrequencyPenalty("1"), lambda: FrequencyPenalty(1.0, window=2.5),
        lambda: NoRepeatNGram(0), lambda: NoRepeatNGram(1.0), lambda: DRY(-1.0), lambda: DRY(1.0, base=0.5),
        lambda: DRY(1.0, allowed_length=0), lambda: DRY(1.0, allowed_length=1.5), lambda: DRY(1.0, window=-1),
        lambda: DRY(1.0, breakers="\n"), lambda: DRY(1.0, breakers=("",)), lambda: DRY(1.0, breakers=(1.5,)),
        lambda: DRY(1.0).start([[0]]), lambda: Mirostat(0), lambda: Mirostat(1.0, eta=-1), lambda: Mirostat(math.inf),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_an_error_that_names_it(make: Callable[[], object]) -> None:
    with pytest.raises(
        ValueError, match=r"of (RepetitionPenalty|PresencePenalty|FrequencyPenalty|NoRepeatNGram|DRY|Mirostat) "
    ):
        make()
