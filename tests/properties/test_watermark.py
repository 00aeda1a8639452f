"""The watermark: it draws what a key says, over keys it draws what the sampler would, and its p-values are exact."""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aigc.errors import ParameterError, TypeParameterError
from aigc.kernels import Draw, Status
from aigc.sampling import (
    Categorical,
    Chain,
    Greedy,
    MinP,
    Noise,
    PerRow,
    Temperature,
    TopK,
    Watermark,
    as_sampler,
    chain,
    check_rows,
    detect,
    explain,
    select,
)
from aigc.testing import SAMPLER_LAWS, check_sampler, chi_square, strategies, z_score

ALPHA = 1e-6  # of every test of a distribution here
KEY = bytes(range(32))
WIDE = torch.randn(3000, generator=torch.Generator().manual_seed(2)) * 1.5  # more than are drawn in one level


def start_by_hand(context: Sequence[int], key: bytes) -> int:
    data = b"".join(token.to_bytes(8, "little", signed=True) for token in context)
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=key, person=b"aigc.watermark.1").digest(), "little")


def uniform_by_hand(start: int, token: int) -> float:
    """SplitMix64 in Python's integers."""
    x = (start + token + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    x ^= x >> 31
    return ((x >> 12) + 0.5) / 2**52


def drawn_by_hand(logits: Sequence[float], start: int) -> int:
    scores = [x - math.log(-math.log(uniform_by_hand(start, token))) for token, x in enumerate(logits)]
    return max(range(len(scores)), key=scores.__getitem__)


def scored_by_hand(tokens: Sequence[int], key: bytes, window: int, *, repeats: bool = False) -> list[float]:
    """What each token adds to the score."""
    seen, scores = set(), []
    for i in range(window, len(tokens)):
        context = tuple(tokens[i - window : i])
        if repeats or context not in seen:
            scores.append(-math.log(1 - uniform_by_hand(start_by_hand(context, key), tokens[i])))
        seen.add(context)
    return scores


def p_value_by_hand(count: int, score: float) -> float:
    r"""$\Pr[\Gamma(n, 1) \ge s] = e^{-s} \sum_{k < n} s^k / k!$, the chance of fewer than n events."""
    return math.fsum(math.exp(k * math.log(score) - score - math.lgamma(k + 1)) for k in range(count))


def texts(sampler: Any, logits: Tensor, seeds: Tensor, length: int) -> tuple[Tensor, list[Draw]]:
    """The tokens `(rows, length)` of texts whose every token has the same logits."""
    state, draws = sampler.init([[0]] * len(seeds)), []
    for step in range(length):
        draw, state = sampler.step(logits.expand(len(seeds), -1), state, Noise.of(seeds, step))
        draws.append(draw)
    return torch.stack([draw.token for draw in draws], 1), draws


@given(
    vocabulary=st.integers(2, 12),
    window=st.integers(1, 3),
    seed=strategies.seeds(),
    key=st.binary(min_size=16, max_size=64),
)
def test_a_token_is_what_key_and_context_say_and_what_the_seed_says_where_a_context_repeats(
    vocabulary: int, window: int, seed: int, key: bytes
) -> None:
    logits = torch.linspace(0, 2, vocabulary).double()
    seeds = torch.tensor([seed])
    tokens, _ = texts(Watermark(key=key, window=window), logits, seeds, 14)
    plain, _ = texts(as_sampler(chain()), logits, seeds, 14)
    seen: set[tuple[int, ...]] = set()
    for i, token in enumerate(tokens[0].tolist()):
        context = tuple(tokens[0, max(0, i - window) : i].tolist())
        if len(context) < window or context in seen:
            assert token == plain[0, i]
        else:
            assert token == drawn_by_hand(logits.tolist(), start_by_hand(context, key))
        if len(context) == window:
            seen.add(context)


@settings(max_examples=10)
@given(seed=strategies.seeds(), t=st.sampled_from([0.5, 1.0]), m=st.sampled_from([1e-6, 0.2]))
def test_however_many_tokens_are_kept_each_has_its_own_noise(seed: int, t: float, m: float) -> None:
    f, seeds = chain(Temperature(t), MinP(m)), torch.tensor([seed, seed ^ 1])
    tokens, draws = texts(Watermark(f, key=KEY, window=1), WIDE, seeds, 4)
    left = f(WIDE)
    for row in tokens.tolist():
        for i in range(1, len(row)):
            if row[i - 1] not in row[: i - 1]:
                assert row[i] == drawn_by_hand(left.tolist(), start_by_hand([row[i - 1]], KEY))
    for draw in draws:
        torch.testing.assert_close(draw.logprob, left.double().log_softmax(-1)[draw.token].float(), rtol=1e-5, atol=1e-5)
        assert (draw.kept == (left > -math.inf).sum()).all()


def test_some_rows_keep_many_tokens_and_some_few_and_some_are_bad() -> None:
    logits = torch.stack([WIDE, TopK(5)(WIDE), WIDE, torch.full_like(WIDE, math.nan), WIDE * 2])
    sampler = Watermark(key=KEY, window=1)
    context = [[7], [7], [8], [9], [-1]]  # a row without a token leaves; until then it disturbs none
    state = sampler.init([[0]] * 5)._replace(last=torch.tensor(context))
    draw, after = sampler.step(logits, state, Noise.of(torch.arange(5), 1))
    assert draw.status.tolist() == [Status.OK, Status.OK, Status.OK, Status.NAN, Status.OK]
    for i in (0, 1, 2, 4):
        assert draw.token[i] == drawn_by_hand(logits[i].tolist(), start_by_hand(context[i], KEY))
    assert draw.token[3] == -1
    assert torch.equal(after.last[:, 0], draw.token)


def test_where_a_context_repeats_the_draw_is_that_of_the_sampler_itself() -> None:
    sampler, seeds = Watermark(key=KEY, window=1), torch.arange(6)
    used = torch.tensor([[start_by_hand([7], KEY) - 2**64 * (start_by_hand([7], KEY) >= 2**63)]])
    state = sampler.init([[0]] * 6)._replace(last=torch.full((6, 1), 7), seen=used.expand(6, 1))
    draw, _ = sampler.step(WIDE.expand(6, -1), state, Noise.of(seeds, 1))
    plain = as_sampler(chain())
    assert torch.equal(draw.token, plain.step(WIDE.expand(6, -1), plain.init([[0]] * 6), Noise.of(seeds, 1))[0].token)


def over_keys(sampler: Callable[[bytes], Any], logits: Tensor, length: int, keys: int) -> Tensor:
    """The texts `(keys, length)` that as many keys write, each with a seed of its own."""
    made = [sampler(i.to_bytes(16, "little")) for i in range(keys)]
    return torch.cat([texts(one, logits, torch.tensor([i]), length)[0] for i, one in enumerate(made)])


def test_over_keys_a_token_has_the_law_of_the_sampler() -> None:
    f, logits = chain(Temperature(0.7), TopK(6)), torch.randn(9, generator=torch.Generator().manual_seed(3))
    tokens = over_keys(lambda key: Watermark(f, key=key, window=1), logits, 2, 2000)[:, 1]
    counts = torch.bincount(tokens, minlength=9)
    assert chi_square(counts, f(logits).double().softmax(-1)) > ALPHA
    # Twin: the test sees a temperature of 1.
    assert chi_square(counts, TopK(6)(logits).double().softmax(-1)) < ALPHA


def test_over_keys_a_token_drawn_again_has_the_law_of_the_sampler() -> None:
    logits = WIDE[:1500] * 2
    tokens = over_keys(lambda key: Watermark(key=key, window=1), logits, 2, 1500)[:, 1]
    counts = torch.bincount(tokens, minlength=1500)
    assert chi_square(counts, logits.double().softmax(-1)) > ALPHA
    assert chi_square(counts, (logits * 0.7).double().softmax(-1)) < ALPHA


class Forgetful(Watermark):
    """A watermark that uses the noise of a context again and again."""

    def step(self, logits: Tensor, state: Any, noise: Noise) -> tuple[Draw, Any]:
        return Watermark.step(self, logits, state._replace(seen=state.seen[:, :0]), noise)


def test_over_keys_whole_texts_have_the_law_of_the_sampler_though_contexts_repeat() -> None:
    logits, length = torch.tensor([0.0, 0.5]), 5
    one = logits.double().softmax(-1)
    law = one
    for _ in range(length - 1):
        law = torch.outer(law, one).flatten()
    place = 2 ** torch.arange(length).flip(0)
    for kind, holds in ((Watermark, True), (Forgetful, False)):
        written = over_keys(lambda key, kind=kind: kind(key=key, window=1), logits, length, 500)
        p = chi_square(torch.bincount((written * place).sum(1), minlength=2**length), law)
        assert (p > ALPHA) == holds, kind


@given(tokens=st.lists(st.integers(0, 6), max_size=60), window=st.integers(1, 4), key=st.binary(min_size=16, max_size=64))
def test_the_score_and_its_p_value_are_those_computed_by_hand(tokens: list[int], window: int, key: bytes) -> None:
    found = detect(tokens, key=key, window=window)
    scores = scored_by_hand(tokens, key, window)
    assert found.tokens == len(scores)
    assert math.isclose(found.score, math.fsum(scores), rel_tol=1e-12)
    expected = p_value_by_hand(len(scores), found.score) if scores else 1.0
    # As far as torch.special.gammaincc is right: it is off by 5e-9 where the score is near its mean.
    assert math.isclose(found.p_value, expected, rel_tol=3e-8)
    assert detect(torch.tensor(tokens, dtype=torch.int64), key=key, window=window) == found


def uniformity(p_values: list[float]) -> float:
    return chi_square(torch.histc(torch.tensor(p_values, dtype=torch.float64), 20, 0, 1), torch.full((20,), 1 / 20))


def unmarked(count: int, length: int, vocabulary: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(vocabulary)
    return torch.randint(vocabulary, (count, length), generator=generator).tolist()


def test_10_000_unmarked_texts_are_flagged_as_often_as_the_level_says() -> None:
    """Random tokens, and few of them, so that contexts repeat; each text with a key of its own."""
    p = [detect(text, key=i.to_bytes(16, "big"), window=2).p_value for i, text in enumerate(unmarked(10_000, 40, 6))]
    assert uniformity(p) > ALPHA
    for level in (0.001, 0.01, 0.1):
        assert abs(z_score(sum(value < level for value in p), len(p), level)) < 4.89  # 10^-6, 10^-5 at 0.001


def test_twin_a_detector_that_scores_repeats_flags_too_many() -> None:
    p = []
    for i, text in enumerate(unmarked(1000, 40, 3)):
        scores = scored_by_hand(text, i.to_bytes(16, "big"), 2, repeats=True)
        p.append(p_value_by_hand(len(scores), math.fsum(scores)))
    assert uniformity(p) < ALPHA
    assert z_score(sum(value < 0.01 for value in p), len(p), 0.01) > 4.89


@pytest.mark.parametrize("f", [Temperature(0.8), chain(TopK(9), Temperature(2.0)), chain()], ids=repr)
def test_watermarks_keep_the_laws_of_samplers(f: Any) -> None:
    check_sampler(Watermark(f, key=KEY, window=1), law=lambda logits: f(logits).softmax(-1), examples=15, draws=4000)


@pytest.mark.parametrize("law", SAMPLER_LAWS, ids=lambda law: law.__name__)
@settings(max_examples=6)
@given(x=strategies.logits(rows=3, columns=1100, bad=True), seed=strategies.seeds())
def test_watermarks_keep_the_laws_where_many_tokens_are_kept(law: Callable[..., None], x: Tensor, seed: int) -> None:
    law(Watermark(key=KEY, window=1), x, seed)


def test_states_are_values_of_rows() -> None:
    sampler, seeds = Watermark(Temperature(2.0), key=KEY, window=2), torch.arange(4)
    tokens, _ = texts(sampler, WIDE[:5], seeds, 12)
    state, alive = sampler.init([[0]] * 4), torch.tensor([3, 1])
    for step in range(12):
        if step == 6:
            state, seeds = select(state, alive), seeds[alive]
        draw, state = sampler.step(WIDE[:5].expand(len(seeds), -1), state, Noise.of(seeds, step))
    assert draw.token.tolist() == tokens[alive, -1].tolist()


class Once:
    """A filter with memory: no token twice."""

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor([[prompt[-1]] for prompt in prompts])

    def apply(self, logits: Tensor, state: Tensor, noise: Noise) -> Tensor:
        return logits.scatter(-1, state, -math.inf)

    def update(self, state: Tensor, draw: Draw) -> Tensor:
        return torch.cat([state, draw.token[:, None]], 1)


def test_filters_with_memory_remember_what_was_drawn_in_the_end() -> None:
    tokens, draws = texts(Watermark(chain(Once(), Temperature(0.3)), key=KEY, window=1), WIDE[:1200], torch.arange(3), 20)
    assert all(len({0, *row}) == 21 for row in tokens.tolist())
    assert (draws[5].kept == 1200 - 6).all()


def test_other_samplers_are_given_the_noise() -> None:
    inner = PerRow((Categorical(TopK(3)), Categorical(TopK(4))))
    sampler, logits = Watermark(inner, key=KEY, window=1), WIDE[:50].expand(2, -1)
    state = sampler.init([[0]] * 2)._replace(last=torch.tensor([[5], [6]]))
    draw, _ = sampler.step(logits, state, Noise.of(torch.arange(2), 1))
    assert draw.token[0] == drawn_by_hand(TopK(3)(WIDE[:50]).tolist(), start_by_hand([5], KEY))
    assert draw.token[1] == drawn_by_hand(TopK(4)(WIDE[:50]).tolist(), start_by_hand([6], KEY))


class Asking:
    """A filter that shows what it was told."""

    def __init__(self, told: tuple[Any, ...] = ()) -> None:
        self.told = told

    def __call__(self, logits: Tensor) -> Tensor:
        return logits

    def take(self, rows: Tensor) -> "Asking":
        return Asking((*self.told, rows.tolist()))

    def bind(self, words: Any) -> "Asking":
        return Asking((*self.told, words))

    def within(self, limits: Sequence[int]) -> "Asking":
        return Asking((*self.told, list(limits)))


def test_what_is_told_to_a_watermark_reaches_its_filters() -> None:
    told = Watermark(Asking(), key=KEY, window=7).bind("words").take(torch.tensor([2])).within([9])  # type: ignore[arg-type]
    assert told.sampler.filter.told == ("words", [2], [9])
    assert (told.key, told.window) == (KEY, 7)
    plain = Watermark(TopK(3), key=KEY)
    assert plain.take(torch.tensor([0])) is plain
    with pytest.raises(ParameterError, match="with 2 numbers"):
        check_rows(Watermark(TopK(torch.tensor([1, 2, 3])), key=KEY), 2)


def test_a_watermark_says_what_it_is_but_not_its_key() -> None:
    key = b"a very secret key indeed"
    sampler = Watermark(TopK(3), key=key, window=5)
    assert repr(sampler) == "Watermark(Categorical(filter=TopK(3)), window=5)"
    assert explain(sampler) == "Watermark, around\nin the kernel: TopK(3), and the draw"
    assert Watermark(key=key).sampler == Categorical(Chain(()))
    for bad in (key[:15], key * 3, key.decode(), bytearray(key), list(key), int.from_bytes(key)):
        for make in (lambda bad=bad: Watermark(key=bad), lambda bad=bad: detect([1, 2], key=bad)):
            with pytest.raises(ParameterError, match="key must be 16 to 64 secret bytes") as error:
                make()
            assert not any(
                part in str(error.value) for part in ("secret key", repr(list(key))[:20], str(int.from_bytes(key)))
            )


@pytest.mark.parametrize(
    "make",
    [
        lambda: Watermark(TopK(3)), lambda: Watermark(TopK(3), KEY), lambda: detect([1]),
    ],
)  # fmt: skip
def test_a_key_must_be_given_by_name(make: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        make()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Watermark(key=KEY, window=0), "window must be an integer of at least 1"),
        (lambda: Watermark(key=KEY, window=2.0), "window must be an integer of at least 1"),
        (lambda: Watermark(3, key=KEY), "sampler must be a filter"),
        (lambda: Watermark(Greedy(), key=KEY), "sampler must be one that draws"),
        (lambda: Watermark(chain(TopK(3), Greedy()), key=KEY), "sampler must be one that draws"),
        (lambda: detect([1, 2], key=KEY, window=0), "window must be an integer of at least 1"),
        (lambda: detect("text", key=KEY), "tokens must be token ids, got 'text'"),
        (lambda: detect([[1, 2]], key=KEY), "tokens must be token ids of one text"),
        (lambda: detect([1.5], key=KEY), "tokens must be token ids of one text"),
        (lambda: detect([1, None], key=KEY), "tokens must be token ids of one text"),
        (lambda: detect([[1], [2, 3]], key=KEY), "tokens must be token ids"),
        (lambda: detect(7, key=KEY), "tokens must be token ids"),
        (lambda: detect([1, -1], key=KEY), "tokens must be token ids, at least 0"),
    ],
)
def test_bad_input_is_said(make: Callable[[], object], says: str) -> None:
    with pytest.raises((ParameterError, TypeParameterError), match=says):
        make()
