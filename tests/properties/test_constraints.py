"""What is written under a constraint satisfies it, always; and it is drawn by the unconstrained law, of what is allowed."""

import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import aigc
import constraining
from aigc.errors import ParameterError
from aigc.kernels import Status
from aigc.sampling import (
    Choices,
    Constrained,
    Grammar,
    Greedy,
    Json,
    MinP,
    Noise,
    PerRow,
    Regex,
    Temperature,
    TopK,
    TopP,
    as_sampler,
    bind,
    chain,
    select,
    within,
)
from aigc.testing import chi_square
from aigc.text import PromptLookup
from constraining import BYTES, LETTERS, Text, needed, write

ALPHA = 1e-6
PARTS = [Temperature(0.5), Temperature(1.0), chain(Temperature(2.0), TopK(5)), chain(TopP(0.8)), MinP(0.1), Greedy()]
FREE = Temperature(1.0)
DEFAULT = aigc.Generator.default(device="cpu", dtype="float32")
WORDS = DEFAULT._engine.words


def law_json(text: str, schema: Any) -> None:
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))


def law_regex(text: str, pattern: str) -> None:
    assert re.fullmatch(pattern, text), (pattern, text)


def shortest(constraint: Any, words: Any) -> int:
    """How few tokens the library says are enough."""
    try:
        bind(Constrained(FREE, constraint), words).within([1])
    except ParameterError as error:
        return needed(error)
    return 1


def tried(constraint: Any, words: Any, seed: int, *, ample: int = 80) -> list[Text]:
    """Three texts with room, and three with hardly any."""
    r = random.Random(seed)
    least = shortest(constraint, words)
    limits = [ample + least] * 3 + [least + r.randrange(4) for _ in range(3)]
    sampler = Constrained(r.choice(PARTS), constraint)
    return write(sampler, words, limits=limits, seeds=[r.randrange(2**60) for _ in limits], scale=r.choice([0.5, 3.0, 9.0]))


def made_schema(seed: int) -> dict[str, Any]:
    return constraining.whole(constraining.schema(random.Random(seed)))


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), words=st.sampled_from([BYTES, WORDS]))
def test_every_text_of_a_schema_is_valid(seed: int, words: Any) -> None:
    schema = made_schema(seed)
    for each in tried(Json(schema), words, seed, ample=40):
        assert each.reason in ("eos", "length"), each
        law_json(each.text, schema)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), words=st.sampled_from([BYTES, WORDS]))
def test_every_text_of_a_pattern_matches(seed: int, words: Any) -> None:
    pattern = constraining.pattern(random.Random(seed))
    for each in tried(Regex(pattern), words, seed, ample=30):
        assert each.reason in ("eos", "length"), each
        law_regex(each.text, pattern)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), options=st.lists(st.text("abc", max_size=6), min_size=1, max_size=5))
def test_every_text_is_one_of_the_choices(seed: int, options: list[str]) -> None:
    assert {each.text for each in tried(Choices(options), LETTERS, seed)} <= set(options)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_every_text_of_a_grammar_belongs_to_it(seed: int) -> None:
    for each in tried(Grammar('start: "(" start ")" | "[" start "]" | "ab"'), BYTES, seed):
        half, rest = each.text.split("ab")
        assert rest == half[::-1].translate(str.maketrans("([", ")]")), each


def matches(pattern: str, alphabet: str) -> Iterator[str]:
    """What a pattern matches, the shortest first, by trying all."""
    for size in itertools.count():
        for letters in itertools.product(alphabet, repeat=size):
            if re.fullmatch(pattern, "".join(letters)):
                yield "".join(letters)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_the_fewest_tokens_are_told_to_the_token(seed: int) -> None:
    r = random.Random(seed)
    alphabet = constraining._ATOMS
    try:
        constraining._ATOMS = ["a", "b", "c", "[ab]", "[^a]"]
        pattern = f"(?:{constraining.pattern(r)})(?:{constraining.pattern(r, 2)})"
    finally:
        constraining._ATOMS = alphabet
    words = constraining.Toy(tuple(bytes([byte]) for byte in range(256)))
    brute = len(next(matches(pattern, "abc")))
    assert shortest(Regex(pattern), words) == max(brute, 1)


def by_hand(options: list[str], x: Tensor, words: Any, limit: int) -> dict[str, float]:
    """The law of choices in closed form: at each step the softmax of what is allowed, over all ways to spell each."""
    fewest = {option[at:]: _fewest(option[at:].encode(), words) for option in options for at in range(len(option) + 1)}
    law: Counter[str] = Counter()

    def go(written: bytes, chance: float, left: int) -> None:
        rests = [option.encode()[len(written) :] for option in options if option.encode().startswith(written)]
        ends = [id for id in words.ends if b"" in rests]
        if left == 0 or (b"" in rests and not any(rests)):
            assert b"" in rests
            law[written.decode()] += chance
            return
        allowed = [
            id
            for id, text in enumerate(words.spelling)
            if text and any(r.startswith(text) and fewest[r[len(text) :].decode()] <= left - 1 for r in rests)
        ]
        weights = x.double()[[*allowed, *ends]].softmax(-1).tolist()
        for id, weight in zip([*allowed, *ends], weights, strict=True):
            if id in words.ends:
                law[written.decode()] += chance * weight
            else:
                go(written + words.spelling[id], chance * weight, left - 1)

    go(b"", 1.0, limit)
    return dict(law)


def _fewest(text: bytes, words: Any) -> int:
    ways = [1 + _fewest(text[len(s) :], words) for s in set(words.spelling) if s and text.startswith(s)]
    return min(ways, default=0 if not text else 99)


def draws(options: list[str], x: Tensor, words: Any, limit: int, count: int) -> list[str]:
    sampler = bind(Constrained(FREE, Choices(options)), words).within([limit] * count)
    state, texts, alive = sampler.init([[0]] * count), [b""] * count, torch.arange(count)
    for step in range(limit):
        draw, state = sampler.step(x.expand(len(alive), -1), state, Noise.of(alive, step))
        for i, token in zip(alive.tolist(), draw.token.tolist(), strict=True):
            texts[i] += words.spelling[max(token, 0)] if token not in words.ends else b""
        stay = torch.tensor(
            [i for i, token in enumerate(draw.token.tolist()) if token not in words.ends], dtype=torch.int64
        )
        alive, state = alive[stay], select(state, stay)
        if not len(alive):
            break
    return [text.decode() for text in texts]


@pytest.mark.parametrize(("limit", "seed"), [(20, 0), (3, 1), (2, 2)])
def test_choices_are_drawn_by_the_law_of_what_is_allowed(limit: int, seed: int) -> None:
    options = ["ab", "abc", "bca", "abcab", "c"] if limit > 2 else ["ab", "abc", "bca", "c"]
    x = torch.randn(LETTERS.size, generator=torch.Generator().manual_seed(seed))
    law, count = by_hand(options, x, LETTERS, limit), 3000
    found = Counter(draws(options, x, LETTERS, limit, count))
    counts = torch.tensor([found[option] for option in options]).double()
    assert chi_square(counts, torch.tensor([law[option] for option in options])) > ALPHA
    # The twin: the law without the ban of what cannot be closed in time, or with other logits, is not this one.
    other = by_hand(options, x.flip(0), LETTERS, limit)
    assert chi_square(counts, torch.tensor([other[option] for option in options])) < ALPHA
    if limit == 2:
        free = by_hand(options, x, LETTERS, 20)
        assert chi_square(counts, torch.tensor([free[option] for option in options])) < ALPHA


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_a_row_writes_what_it_writes_alone(seed: int) -> None:
    r = random.Random(seed)
    constraint = r.choice([Json(made_schema(seed)), Regex(constraining.pattern(r)), Choices(["春天", "summer", "sum"])])
    least, part = shortest(constraint, BYTES), r.choice(PARTS)
    limits = [least + r.randrange(20) for _ in range(4)]
    seeds = [r.randrange(2**60) for _ in limits]
    together = write(Constrained(part, constraint), BYTES, limits=limits, seeds=seeds)
    for each, limit, own in zip(together, limits, seeds, strict=True):
        assert write(Constrained(part, constraint), BYTES, limits=[limit], seeds=[own]) == [each]


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32))
def test_a_step_leaves_the_state_and_the_logits_that_it_was_given(seed: int) -> None:
    r = random.Random(seed)
    constraint = r.choice([Json(made_schema(seed)), Regex(constraining.pattern(r)), Choices(["春天", "summer"])])
    limit = shortest(constraint, BYTES) + 2
    sampler = within(bind(Constrained(Temperature(1.0), constraint), BYTES), [limit] * 2)
    state = sampler.init([[0]] * 2)
    for step in range(limit):
        # One state, four futures: each is drawn twice, and the second time the others have been tried in between.
        noises = [Noise.of(torch.tensor([seed + k, seed - k]), step) for k in range(4)]
        x = [constraining.logits_of(noise, BYTES.size, 3.0, -1) for noise in noises]
        before = [each.clone() for each in x]
        first = [sampler.step(each, state, noise) for each, noise in zip(x, noises, strict=True)]
        again = [sampler.step(each, state, noise) for each, noise in zip(reversed(x), reversed(noises), strict=True)]
        assert all(map(torch.equal, before, x))
        for (draw, _), (same, _) in zip(first, reversed(again), strict=True):
            assert torch.equal(draw.token, same.token)
            assert torch.equal(draw.status, same.status)
        state = r.choice(first + again)[1]


def test_rows_that_leave_take_their_own_states_with_them() -> None:
    sampler = within(bind(Constrained(FREE, Choices(["ab", "ba", "cab"])), LETTERS), [5, 6, 7])
    state = sampler.init([[0]] * 3)
    noise, x = Noise.of(torch.arange(3), 0), torch.zeros(3, LETTERS.size)
    _, state = sampler.step(x, state, noise)
    alive = torch.tensor([2, 0])
    both, _ = sampler.step(x, state, noise)
    left, _ = sampler.step(x[alive], select(state, alive), noise.select(alive))
    assert torch.equal(both.token[alive], left.token)


@pytest.mark.parametrize("inner", PARTS, ids=str)
def test_filters_see_what_is_allowed_and_nothing_else(inner: Any) -> None:
    """Top-k of what is allowed, not what is allowed of the top k: the token that the model wants most is never allowed."""
    texts = write(Constrained(inner, Regex("[ab]+")), BYTES, limits=[9] * 8, seeds=range(8), peak=ord("z"))
    assert all(re.fullmatch("[ab]+", each.text) for each in texts)
    assert len({each.text for each in texts}) > 3


def test_each_row_may_have_a_constraint_of_its_own_and_bad_rows_stay_bad() -> None:
    one, other = Constrained(FREE, Choices(["ab"])), Constrained(FREE, Choices(["c"]))
    sampler = within(bind(PerRow((one, as_sampler(FREE), other, one)), LETTERS), [4] * 4)
    x = torch.zeros(4, LETTERS.size)
    x[3, 2] = torch.nan
    draw, _ = sampler.step(x, sampler.init([[0]] * 4), Noise.of(torch.arange(4), 0))
    assert LETTERS.spelling[int(draw.token[0])] in (b"a", b"ab")
    assert int(draw.token[2]) == 2
    assert draw.status.tolist() == [Status.OK, Status.OK, Status.OK, Status.NAN]


@pytest.mark.parametrize("kind", [{"json": {"type": "array", "items": {"type": "string"}}}, {"regex": "(the |sea |春)+"}])
def test_speculation_and_streams_write_the_same(kind: dict[str, Any]) -> None:
    how: dict[str, Any] = {"max_new_tokens": 24, "seed": 3, "n": 2, **kind}
    prompts = ["the sea the sea the sea", '["the sea", "the sea", "the']
    plain = DEFAULT.generate(prompts, **how).texts
    assert DEFAULT.generate(prompts, **how, speculate=PromptLookup()).texts == plain
    assert DEFAULT.generate(prompts, **how, speculate=DEFAULT).texts == plain
    assert DEFAULT.generate(prompts, **how, batch_size=1).texts == plain
    streamed = [""] * 4
    for chunk in DEFAULT.stream(prompts, **how):
        streamed[chunk.index] += chunk.text
    assert streamed == plain
    each = dict(DEFAULT.generate_each(iter(prompts), **how))
    assert [each[i].text for i in range(4)] == plain


def _generated(constraints: list[Any], seed: int) -> Iterator[tuple[Any, Any]]:
    """Each with room and with hardly any, through `Generator`, many different ones in a batch."""
    r = random.Random(seed)
    for limit in (60, None):
        least = [shortest(each, WORDS) for each in constraints]
        groups: dict[int, list[int]] = {}
        for i, few in enumerate(least):
            groups.setdefault(few + 60 if limit else few + r.randrange(3), []).append(i)
        for most, rows in groups.items():
            samplers = [Constrained(chain(Temperature(r.choice([0.3, 0.8, 1.0, 2.0]))), constraints[i]) for i in rows]
            out = DEFAULT.generate(["It was "] * len(rows), max_new_tokens=most, sampler=samplers, seed=seed)
            yield from zip([constraints[i] for i in rows], out, strict=True)


@pytest.mark.slow
def test_five_hundred_schemas() -> None:
    schemas = [made_schema(seed) for seed in range(500)]
    reasons: Counter[str] = Counter()
    for constraint, c in _generated([Json(schema) for schema in schemas], 1):
        law_json(c.text, constraint.schema)
        reasons[c.finish_reason] += 1
    print(reasons)
    assert reasons["eos"] + reasons["length"] == 1000


@pytest.mark.slow
def test_five_hundred_patterns() -> None:
    patterns = [constraining.pattern(random.Random(seed)) for seed in range(500)]
    reasons: Counter[str] = Counter()
    for constraint, c in _generated([Regex(pattern) for pattern in patterns], 2):
        law_regex(c.text, constraint.pattern)
        reasons[c.finish_reason] += 1
    print(reasons)
    assert reasons["eos"] + reasons["length"] == 1000
