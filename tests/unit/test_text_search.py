"""Beam search and the best of several samples, against transformers, brute force, and a search written out plainly."""

import contextlib
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import aigc
import tiny
from aigc.errors import GenerationError, ModelError, ParameterError, ResourceError
from aigc.kernels import Draw, Status
from aigc.sampling import Greedy, Noise, PerRow, Temperature, TopK, as_sampler, chain
from aigc.text import BeamSearch, BestOf, Completion, ContrastiveSearch
from aigc.text.beams import BeamLoop, write
from aigc.text.decoding import TextDecoder
from aigc.text.forwards import AloneForward, PaddedForward, SlotForward
from aigc.text.packed.forward import PackedForward
from aigc.text.packed.reading import Unreadable
from aigc.text.packed.slots import BLOCK, Slots
from aigc.text.packed.source import Source
from aigc.text.rows import Request, Row
from aigc.text.seq2seq import ApartForward, TogetherForward
from aigc.text.shaping import best
from aigc.text.stopping import StopStrings

ENDS = list(range(3, 258, 9))  # so many tokens end a text that texts of all lengths compete
NEW = 10


def ending(model: Any) -> Any:
    model.generation_config.eos_token_id = ENDS
    return model


NETWORKS: dict[str, Any] = {
    name: aigc.Generator(tiny.seq2seq(name) if name in tiny.SEQ2SEQ else tiny.model(name), tiny.tokenizer())._network
    for name in ("llama", "mamba", "t5", "bart")
}
GEN = aigc.Generator(ending(tiny.model("llama")), tiny.tokenizer())


def theirs(model: Any, prompt: str, **options: Any) -> tuple[list[list[int]], list[float]]:
    """What transformers finds, and its scores."""
    ids = torch.tensor([tiny.tokenizer()(prompt)["input_ids"]])
    start = 1 if model.config.is_encoder_decoder else ids.shape[1]
    fixed: dict[str, Any] = {"attention_mask": torch.ones_like(ids), "max_new_tokens": NEW, "do_sample": False}
    kept: dict[str, Any] = {"eos_token_id": ENDS, "output_scores": True, "return_dict_in_generate": True}
    out = model.generate(ids, **fixed, **kept, **options)
    rows = [row[start:] for row in out.sequences.tolist()]
    cut = [next((i + 1 for i, token in enumerate(row) if token in ENDS), len(row)) for row in rows]
    return [row[:length] for row, length in zip(rows, cut, strict=True)], out.sequences_scores.tolist()


def compare(gen: aigc.Generator, prompt: str, search: BeamSearch, *, pad: int = 0) -> None:
    """Asserts that texts, scores, log-probabilities and ends are those of transformers."""
    n = min(3, search.beams)
    options = {"num_beams": search.beams, "length_penalty": search.length_penalty, "early_stopping": search.early_stopping}
    tokens, scores = theirs(gen.model, prompt, **options, num_return_sequences=n, pad_token_id=pad)
    ours = gen.generate(prompt, n=n, max_new_tokens=NEW, search=search, logprobs=True)
    assert [list(c.tokens) for c in ours] == tokens
    assert [c.score for c in ours] == pytest.approx(scores, abs=1e-4)  # float32 sums of logits rounded otherwise
    for c in ours:
        assert c.logprobs is not None
        assert c.score == pytest.approx(math.fsum(c.logprobs) / len(c.tokens) ** search.length_penalty, abs=1e-6)
        assert c.finish_reason == ("eos" if c.tokens[-1] in ENDS else "length")


@pytest.mark.parametrize("penalty", [1.0, 0.0, -1.0, 2.0])
@pytest.mark.parametrize(("beams", "early"), [(4, False), (8, True), (4, "never")])
def test_texts_and_scores_are_those_of_transformers(beams: int, early: Any, penalty: float) -> None:
    for prompt in ("abc", "zz"):
        compare(GEN, prompt, BeamSearch(beams, length_penalty=penalty, early_stopping=early))


@pytest.mark.parametrize("name", ["slots", "bloom", "mamba", "mistral"])
def test_every_way_to_run_takes_rows_that_part(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots, padding, and a past that each row has for itself."""

    def unreadable(_: Source) -> None:
        raise Unreadable("it is not to be packed")

    if name != "mistral":
        monkeypatch.setattr(Source, "decoder", unreadable)
    gen = aigc.Generator(ending(tiny.model("gpt2" if name == "slots" else name)), tiny.tokenizer())
    assert gen.plan.forward == {"slots": "slots", "bloom": "padded", "mamba": "alone", "mistral": "packed"}[name]
    compare(gen, "abcd", BeamSearch(4))


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_encoders_are_read_once_and_texts_part(name: str) -> None:
    gen = aigc.Generator(ending(tiny.seq2seq(name)), tiny.tokenizer())
    compare(gen, "abcdef", BeamSearch(4), pad=259)


def test_one_beam_is_greedy() -> None:
    for options in ({}, {"length_penalty": 2.0, "early_stopping": "never"}, {"length_penalty": -1.0}):
        for prompt in ("abc", "zz", "The quick"):
            one = GEN.generate(prompt, max_new_tokens=12, search=BeamSearch(1, **options), logprobs=True)[0]
            greedy = GEN.generate(prompt, max_new_tokens=12, sampler=Greedy())[0]
            assert (one.text, one.tokens, one.finish_reason) == (greedy.text, greedy.tokens, greedy.finish_reason)
            ids = torch.tensor([tiny.tokenizer()(prompt)["input_ids"]])
            how = {"attention_mask": torch.ones_like(ids), "eos_token_id": ENDS, "pad_token_id": 0}
            found = GEN.model.generate(ids, max_new_tokens=12, num_beams=1, do_sample=False, **how)
            assert found[0, ids.shape[1] :].tolist() == list(one.tokens)


WAYS: dict[str, tuple[Any, str]] = {
    "packed": (lambda network, prompts: PackedForward(network.packed.decoder(), prompts), "llama"),
    "slots": (SlotForward, "llama"),
    "padded": (PaddedForward, "llama"),
    "alone": (AloneForward, "mamba"),
    "together": (TogetherForward, "t5"),
    "apart": (ApartForward, "bart"),
}


@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=8)
@given(data=st.data())
def test_a_row_that_is_named_twice_goes_on_as_two(name: str, data: st.DataObject) -> None:
    """As if each row had been read by itself from the start, whichever rows were selected, how often, in what order."""
    way, kind = WAYS[name]
    network = NETWORKS[kind]
    texts = [list(range(60, 60 + length)) for length in (3, 70, 9)]
    forward, rows = way(network, texts), [(text, ()) for text in texts]
    with torch.inference_mode():
        logits = forward.prefill()
        for _ in range(data.draw(st.integers(1, 6))):
            alive = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
            forward.select(torch.tensor(alive))
            tokens = data.draw(st.lists(st.integers(5, 200), min_size=len(alive), max_size=len(alive)))
            logits = forward.step(torch.tensor(tokens))
            rows = [(rows[i][0], (*rows[i][1], token)) for i, token in zip(alive, tokens, strict=True)]
        for row, (text, written) in enumerate(rows):
            alone = way(network, [text])
            alone.prefill()
            for token in written:
                expected = alone.step(torch.tensor([token]))
            if name in ("packed", "alone", "apart") and (name != "packed" or torch.float32 in tiny.PACKED):
                assert torch.equal(logits[row], expected[0])
            else:  # rounded differently with the number of rows; logits are spread over tens
                assert torch.allclose(logits[row], expected[0], atol=2e-3)


# A language of three tokens, small enough to try everything.

VOCABULARY, END, LIMIT = 3, 2, 4


class Table:
    """A forward whose logits are looked up by what was written."""

    def __init__(self, seeds: Sequence[int], vocabulary: int = VOCABULARY, bad: Sequence[int] = ()) -> None:
        self.rows: list[tuple[int, ...]] = [(seed,) for seed in seeds]
        self.vocabulary, self.bad = vocabulary, tuple(bad)

    def prefill(self) -> Tensor:
        return torch.stack([table(row, self.vocabulary, self.bad) for row in self.rows])

    def step(self, tokens: Tensor) -> Tensor:
        self.rows = [(*row, token) for row, token in zip(self.rows, tokens.tolist(), strict=True)]
        return self.prefill()

    def select(self, alive: Tensor) -> None:
        self.rows = [self.rows[i] for i in alive.tolist()]


def table(row: tuple[int, ...], vocabulary: int, bad: Sequence[int] = ()) -> Tensor:
    """Logits after a seed and some tokens."""
    if bad and row[: len(bad)] == tuple(bad):
        return torch.full((vocabulary,), math.nan)
    generator = torch.Generator().manual_seed(hash(row) % 2**31)
    return torch.randn(vocabulary, generator=generator) * 1.5


def chances(row: tuple[int, ...], vocabulary: int, allowed: Sequence[int]) -> dict[int, float]:
    """Log-probabilities in float64 of the tokens that are allowed."""
    logits = {token: float(table(row, vocabulary)[token]) for token in allowed}
    total = math.log(math.fsum(map(math.exp, logits.values())))
    return {token: value - total for token, value in logits.items()}


def run(
    seeds: Sequence[int], search: BeamSearch, *, n: int, vocabulary: int = VOCABULARY, limit: int = LIMIT,
    sampler: Any = None, bad: Sequence[int] = (),
) -> list[Completion]:  # fmt: skip
    requests = [Request(i, "", (0,), seed, limit) for i, seed in enumerate(seeds)]
    rows = [Row(one, TextDecoder(lambda ids: "".join(map(str, ids)), prompt=(0,)), StopStrings(())) for one in requests]
    loop = BeamLoop(Table(seeds, vocabulary, bad), rows, [sampler or as_sampler(chain())] * len(rows), search, ends={END})
    found: dict[int, Completion] = {}
    for step in write(loop, n=n, turn=contextlib.nullcontext(), rows=rows):
        for row, chunk in step:
            if chunk.finish_reason is not None:
                found[chunk.index] = row.completion(logprobs=True)
    return [found[i] for i in range(len(seeds) * n)]


def everything(
    seed: int, penalty: float, *, distinct: bool = False, vocabulary: int = VOCABULARY
) -> list[tuple[float, tuple]]:
    """All texts with their scores, best first, by brute force."""
    texts = []
    for length in range(1, LIMIT + 1):
        for tokens in itertools.product(range(vocabulary), repeat=length):
            whole = tokens[-1] == END or length == LIMIT
            if END in tokens[:-1] or not whole or (distinct and len(set(tokens)) < length):
                continue
            total = 0.0
            for i, token in enumerate(tokens):
                allowed = [one for one in range(vocabulary) if not distinct or one not in tokens[:i]]
                total += chances((seed, *tokens[:i]), vocabulary, allowed)[token]
            texts.append((total / length**penalty, tokens))
    return sorted(texts, reverse=True)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), penalty=st.sampled_from([-0.5, 0.0, 0.7, 1.0, 2.0]), n=st.integers(1, 5))
def test_with_beams_enough_the_best_of_all_texts_are_found(seed: int, penalty: float, n: int) -> None:
    found = run([seed], BeamSearch(VOCABULARY**LIMIT, length_penalty=penalty, early_stopping="never"), n=n)
    expected = everything(seed, penalty)[:n]
    assert [c.tokens for c in found] == [tokens for _, tokens in expected]
    assert [c.score for c in found] == pytest.approx([score for score, _ in expected], abs=1e-5)


def plain_search(seed: int, search: BeamSearch, *, vocabulary: int, limit: int) -> list[tuple[float, tuple[int, ...]]]:
    """The search of transformers, written out for one prompt: all continuations are sorted, and twice as many looked at."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    done: list[tuple[float, tuple[int, ...]]] = []
    power = search.length_penalty
    while live:
        grown = [
            (total + chance, (*tokens, token))
            for total, tokens in live
            for token, chance in chances((seed, *tokens), vocabulary, range(vocabulary)).items()
        ]
        looked_at = sorted(grown, reverse=True)[: 2 * search.beams]
        ended = [tokens[-1] == END or len(tokens) == limit for _, tokens in looked_at]
        whole = [one for one, over in zip(looked_at[: search.beams], ended, strict=False) if over]
        done = sorted([*done, *((total / len(tokens) ** power, tokens) for total, tokens in whole)], reverse=True)
        done = done[: search.beams]
        live = [one for one, over in zip(looked_at, ended, strict=True) if not over][: search.beams]
        if live and len(done) == search.beams:
            length = limit if search.early_stopping == "never" and power > 0 else len(live[0][1])
            if search.early_stopping is True or live[0][0] / length**power <= done[-1][0]:
                break
    return done


@settings(max_examples=100)
@given(
    seed=st.integers(0, 10**6), beams=st.integers(2, 4), penalty=st.sampled_from([-1.0, 0.0, 1.0, 2.0]),
    early=st.sampled_from([True, False, "never"]),
)  # fmt: skip
def test_which_texts_count_and_when_the_search_ends(seed: int, beams: int, penalty: float, early: Any) -> None:
    search = BeamSearch(beams, length_penalty=penalty, early_stopping=early)
    expected = plain_search(seed, search, vocabulary=4, limit=6)
    found = run([seed], search, n=beams, vocabulary=4, limit=6)[: len(expected)]
    assert [c.tokens for c in found] == [tokens for _, tokens in expected]
    assert [c.score for c in found] == pytest.approx([score for score, _ in expected], abs=1e-5)


class Once(NamedTuple):
    """Which tokens were written, `(rows, vocabulary)`."""

    written: Tensor


class Distinct:
    """A filter with memory: no token twice."""

    def start(self, prompts: Sequence[Sequence[int]]) -> Once:
        return Once(torch.zeros(len(prompts), 5, dtype=torch.bool))

    def apply(self, logits: Tensor, state: Once, noise: Noise) -> Tensor:
        return logits.masked_fill(state.written, -math.inf)

    def update(self, state: Once, draw: Draw) -> Once:
        return Once(state.written | torch.nn.functional.one_hot(draw.token.clamp(min=0), 5).bool())


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_each_beam_has_a_memory_of_its_own(seed: int) -> None:
    sampler = as_sampler(chain(Distinct()))
    found = run([seed], BeamSearch(5**LIMIT, early_stopping="never"), n=4, vocabulary=5, sampler=sampler)
    expected = everything(seed, 1.0, distinct=True, vocabulary=5)[:4]
    assert [c.tokens for c in found] == [tokens for _, tokens in expected]
    assert [c.score for c in found] == pytest.approx([score for score, _ in expected], abs=1e-5)


def diverse(
    seed: int, *, groups: int, size: int, strength: float, vocabulary: int, limit: int
) -> list[tuple[float, tuple]]:
    """Diverse beam search as Vijayakumar et al. write it, plainly, without texts that end: the beams of all groups."""
    beams: list[list[tuple[float, tuple[int, ...]]]] = [[(0.0, ())] for _ in range(groups)]
    for _ in range(limit):
        taken: list[int] = []
        for g in range(groups):
            allowed = [token for token in range(vocabulary) if token != END]
            grown = [
                (total + chance - strength * taken.count(token), (*tokens, token))
                for total, tokens in beams[g]
                for token, chance in chances((seed, *tokens), vocabulary, allowed).items()
            ]
            beams[g] = sorted(grown, reverse=True)[:size]
            taken += [tokens[-1] for _, tokens in beams[g]] if len(beams[g][0][1]) < limit else []
    return [beam for group in beams for beam in group]


class NeverEnds:
    """A filter that takes the end away."""

    def __call__(self, logits: Tensor, /) -> Tensor:
        return logits.index_fill(-1, torch.tensor([END]), -math.inf)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6), groups=st.integers(2, 3), size=st.integers(1, 2), strength=st.sampled_from([0.3, 1.0, 5.0])
)
def test_diverse_groups_are_those_of_the_paper(seed: int, groups: int, size: int, strength: float) -> None:
    # Of length 3: on the last step all beams end, and nobody pays for those.
    how: dict[str, Any] = {"vocabulary": 7, "limit": 3}
    search = BeamSearch(groups * size, groups=groups, diversity=strength)
    found = run([seed], search, n=groups * size, sampler=as_sampler(NeverEnds()), **how)
    expected = sorted(diverse(seed, groups=groups, size=size, strength=strength, **how), reverse=True)
    assert [c.score for c in found] == pytest.approx([total / 3 for total, _ in expected], abs=1e-5)
    assert sorted(c.tokens for c in found) == sorted(tokens for _, tokens in expected)


def test_a_group_pays_for_the_tokens_of_those_before_it() -> None:
    """By hand: 0.5, 0.3 and 0.2 for tokens 0, 1 and 3. The second group takes 1 once 0 costs more than ln(0.5/0.3)."""
    logits = torch.tensor([0.5, 0.3, 0.0, 0.2]).log()

    def always(row: Tensor) -> Tensor:
        return logits.expand_as(row)

    for strength, second in ((0.4, 0), (0.6, 1)):
        search = BeamSearch(2, groups=2, diversity=strength)
        found = run([1], search, n=2, vocabulary=4, limit=2, sampler=as_sampler(always))
        assert sorted(c.tokens[0] for c in found) == [0, second]
        best_one = math.log(0.5)
        assert found[0].score == pytest.approx(best_one, abs=1e-6)
        paid = best_one - strength if second == 0 else math.log(0.3)
        assert found[1].score == pytest.approx((paid + best_one) / 2, abs=1e-6)


def test_texts_are_taken_from_the_groups_in_turn() -> None:
    search = BeamSearch(6, groups=3, diversity=3.0)
    all_six = GEN.generate("abc", n=6, max_new_tokens=6, search=search)
    three = GEN.generate("abc", n=3, max_new_tokens=6, search=search)
    assert len({c.tokens[0] for c in three}) == 3
    assert {c.tokens for c in three} <= {c.tokens for c in all_six}
    assert [c.score for c in three] == sorted((c.score for c in three), key=lambda score: -(score or 0.0))
    plain = GEN.generate("abc", n=3, max_new_tokens=6, search=BeamSearch(6))
    assert len({c.tokens[0] for c in plain}) < 3, "twin: without groups the texts begin alike"


PROMPTS = ["abc", "The quick brown fox jumps", "zz", "春夜", "abc"]


def test_a_prompt_is_searched_alone_as_among_others_to_the_bit() -> None:
    samplers = [chain(Temperature(0.7)), TopK(20), Greedy(), chain(), TopK(4)]
    for search in (BeamSearch(3), BeamSearch(4, groups=2, diversity=1.0)):
        how: dict[str, Any] = {"n": 2, "max_new_tokens": 8, "search": search, "logprobs": True}
        together = GEN.generate(PROMPTS, sampler=samplers, seed=1, **how)
        small = GEN.generate(PROMPTS, sampler=samplers, seed=1, batch_size=6, **how)
        alone = [c for prompt, one in zip(PROMPTS, samplers, strict=True) for c in GEN.generate(prompt, sampler=one, **how)]
        for a, b, c in zip(together, small, alone, strict=True):
            assert (a.tokens, a.logprobs, a.score, a.text) == (b.tokens, b.logprobs, b.score, b.text)
            assert (a.tokens, a.logprobs, a.score, a.text) == (c.tokens, c.logprobs, c.score, c.text)
    again = GEN.generate(
        together[4].prompt, n=2, max_new_tokens=8, search=search, seed=[together[4].seed], sampler=Greedy()
    )
    assert again.texts == together.texts[4:6]


def test_parameters_per_row_are_one_for_each_prompt() -> None:
    how: dict[str, Any] = {"n": 2, "max_new_tokens": 6, "search": BeamSearch(2)}
    out = GEN.generate(["abc", "zz"], sampler=chain(Temperature(torch.tensor([0.5, 3.0]))), logprobs=True, **how)
    for i, (prompt, t) in enumerate([("abc", 0.5), ("zz", 3.0)]):
        alone = GEN.generate(prompt, sampler=Temperature(t), logprobs=True, **how)
        assert [(c.tokens, c.logprobs) for c in out[2 * i : 2 * i + 2]] == [(c.tokens, c.logprobs) for c in alone]


def test_stop_strings_end_texts_and_leave_no_trace() -> None:
    plain = GEN.generate("abc", n=4, max_new_tokens=8, search=BeamSearch(4))
    stop = next(found[0] for c in plain if (found := re.search("[ -~]{2}", c.text)))  # two tokens, whole characters
    out = GEN.generate(["abc", "zz"], n=4, max_new_tokens=8, search=BeamSearch(4), stop=stop)
    assert any(c.finish_reason == "stop" for c in out)
    for c in out:
        assert stop not in c.text
        assert (c.finish_reason == "stop") == (stop in GEN.tokenizer.decode(list(c.tokens)))
    greedy = GEN.generate("abc", max_new_tokens=8, sampler=Greedy(), stop=stop)
    assert GEN.generate("abc", max_new_tokens=8, search=BeamSearch(1), stop=stop).texts == greedy.texts


def test_a_bad_row_ends_its_own_search_and_no_other() -> None:
    healthy = run([5, 6, 7], BeamSearch(3), n=2)
    at_once = run([5, 6, 7], BeamSearch(3), n=2, bad=[6])
    assert [c.status for c in at_once] == [Status.OK] * 2 + [Status.NAN] * 2 + [Status.OK] * 2
    assert [c.tokens for c in at_once[2:4]] == [(), ()]
    first, second = (run([5, 6, 7], BeamSearch(3), n=2, bad=[6, token]) for token in (0, 1))  # of either beam
    for out in (first, second):
        assert [(c.status, c.finish_reason) for c in out[2:4]] == [(Status.NAN, "error")] * 2
        assert out[2].tokens == (int(table((6,), 3)[:2].argmax()),)
    for out in (at_once, first, second):
        assert [c.tokens for c in (*out[:2], *out[4:])] == [c.tokens for c in (*healthy[:2], *healthy[4:])]


def test_filters_that_leave_too_few_texts_say_so() -> None:
    out = GEN.generate("abc", n=3, max_new_tokens=5, search=BeamSearch(4), sampler=Greedy())
    greedy = GEN.generate("abc", max_new_tokens=5, sampler=Greedy())[0]
    assert out[0].tokens == greedy.tokens
    assert [(c.finish_reason, c.status, c.score) for c in out[1:]] == [("error", Status.EMPTY, None)] * 2


@given(
    rows=st.lists(
        st.lists(st.sampled_from([-math.inf, 0.0, 1.0, 2.0, 3.0]), min_size=6, max_size=6), min_size=1, max_size=4
    ),
    count=st.integers(1, 8),
)
def test_of_tokens_that_tie_the_first_are_taken(rows: list[list[float]], count: int) -> None:
    for row, found in zip(rows, best(torch.tensor(rows), count), strict=True):
        order = sorted(range(6), key=lambda i: (-row[i], i))[:count]
        finite = [(row[i], i) for i in order if row[i] > -math.inf]
        assert found[: len(finite)] == finite


def test_rows_that_part_take_places_that_were_left_and_nothing_of_what_was_there() -> None:
    layers = tiny_layers()
    slots = Slots(layers, rows=4, blocks=3, dtype=torch.float32)
    for store in (*slots.keys, *slots.values):
        store[:] = torch.tensor([1.0, math.nan, math.nan, 4.0]).view(-1, *[1] * (store.ndim - 1))
    same, places = slots.apart([3, 0, 0, 0], [BLOCK + 1, 5, 5, 5])
    assert (same, places) == (slots, [3, 0, 1, 2])
    for keys, values in zip(slots.keys, slots.values, strict=True):
        for place in (1, 2):
            assert torch.equal(keys[place, :, 0], keys[0, :, 0])
            assert torch.equal(values[place, :, :BLOCK], values[0, :, :BLOCK])
        assert not keys.isnan().any()
        assert not values.isnan().any()
    grown, places = slots.apart([3, 3, 0, 1, 2], [1] * 5)
    assert (grown.rows, places) == (5, [0, 1, 2, 3, 4])


def tiny_layers() -> list[Any]:
    return [block.attention for block in GEN._network.packed.decoder().blocks]


def test_beams_count_as_rows_of_a_batch() -> None:
    for search, rows in ((BeamSearch(3), 2), (BeamSearch(9), 1), (ContrastiveSearch(2), 3), (BestOf(6), 6), (None, 6)):
        call = GEN._engine.call(4, n=1, batch_size=6, search=search)
        assert GEN._engine._budget(call).rows == rows


def test_an_interrupted_search_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    how: dict[str, Any] = {"n": 2, "max_new_tokens": 6, "search": BeamSearch(3), "batch_size": 3}
    whole = GEN.generate(PROMPTS, **how)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        partial = GEN.generate(PROMPTS, progress=stop, **how)
    assert 0 < len(partial.unfinished) < len(whole)
    resumed = GEN.generate(PROMPTS, resume=partial, **how)
    assert (resumed.texts, [c.seed for c in resumed]) == (whole.texts, [c.seed for c in partial])


# The best of several samples.


def test_the_best_are_those_of_all_samples_and_their_seeds_repeat_them() -> None:
    samples = GEN.generate(PROMPTS, n=6, max_new_tokens=8, seed=3, logprobs=True)
    out = GEN.generate(PROMPTS, n=2, max_new_tokens=8, seed=3, logprobs=True, search=BestOf(6), batch_size=7)
    for i in range(len(PROMPTS)):
        mean = {c.seed: math.fsum(c.logprobs or ()) / len(c.tokens) for c in samples[6 * i : 6 * i + 6]}
        expected = sorted(samples[6 * i : 6 * i + 6], key=lambda c: -mean[c.seed])[:2]
        assert [replace(c, score=None) for c in out[2 * i : 2 * i + 2]] == expected
        assert [c.score for c in out[2 * i : 2 * i + 2]] == [mean[c.seed] for c in expected]
    for c in out:
        assert GEN.generate(c.prompt, max_new_tokens=8, seed=[c.seed]).texts == [c.text]


def test_a_scorer_of_ones_own() -> None:
    seen: list[Completion] = []

    def shortest(completion: Completion) -> float:
        seen.append(completion)
        return -len(completion.text)

    out = GEN.generate("abc", n=3, max_new_tokens=8, seed=3, search=BestOf(6, shortest))
    samples = GEN.generate("abc", n=6, max_new_tokens=8, seed=3)
    assert [len(c.text) for c in out] == sorted(len(c.text) for c in samples)[:3]
    assert sorted(c.seed for c in seen) == sorted(c.seed for c in samples)
    assert all(c.logprobs is not None for c in seen)
    assert all(c.logprobs is None for c in out)


@pytest.mark.parametrize("value", [math.nan, "good", None, ZeroDivisionError()], ids=str)
def test_a_scorer_that_fails_is_named(value: Any) -> None:
    def scorer(_: Completion) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    with pytest.raises(GenerationError, match="scorer of BestOf") as caught:
        GEN.generate("abc", max_new_tokens=4, search=BestOf(2, scorer))
    assert len(caught.value.completions) == 1


def test_a_sample_in_error_is_the_last_to_be_kept() -> None:
    good = Row(Request(0, "", (0,), 0, 4), TextDecoder(str, prompt=()), StopStrings(()))
    good.push(1, -50.0, end=False)
    failed = good.fork()
    failed.end(Status.NAN)
    given_scorer = BestOf(2, lambda completion: math.nan)
    assert BestOf(2).score(failed) == given_scorer.score(failed) == -math.inf < BestOf(2).score(good) == -50.0


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"search": "beam"}, "search must be"),
        ({"search": BeamSearch}, "search must be"),
        ({"search": BeamSearch(2), "n": 3}, "n must be at most the 2 beams"),
        ({"search": BestOf(2), "n": 3}, "n must be at most the 2 samples"),
        ({"search": BeamSearch(2), "n": 0}, "n must be"),
        ({"search": BeamSearch(2), "sampler": PerRow((as_sampler(TopK(3)),))}, "a filter or a chain of filters"),
        ({"search": BeamSearch(2), "speculate": aigc.text.PromptLookup()}, "speculate must be left out"),
        ({"search": BestOf(2), "sampler": Greedy()}, "sampler must be one that draws"),
        ({"search": BestOf(2), "resume": aigc.text.Completions(())}, "resume must be left out"),
        ({"search": BeamSearch(2), "seed": [1, 2]}, "seed must be"),
    ],
    ids=str,
)
def test_arguments(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        GEN.generate(**{"prompts": "abc", "max_new_tokens": 2} | arguments)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"beams": 0}, "beams"),
        ({"beams": 2.0}, "beams"),
        ({"length_penalty": math.nan}, "length_penalty"),
        ({"length_penalty": None}, "length_penalty"),
        ({"early_stopping": 1}, "early_stopping"),
        ({"early_stopping": "always"}, "early_stopping"),
        ({"groups": 3, "diversity": 1.0}, "groups must be a divisor"),
        ({"groups": 2}, "diversity must be above 0"),
        ({"diversity": 1.0}, "diversity must be 0"),
        ({"groups": 2, "diversity": -1.0}, "diversity must be"),
    ],
    ids=str,
)
def test_parameters_of_a_beam_search(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        BeamSearch(**arguments)
    with pytest.raises(ParameterError, match="of must be"):
        BestOf(0)
    with pytest.raises(ParameterError, match="scorer must be"):
        BestOf(2, scorer=3)  # type: ignore[arg-type]


def test_masked_models_refuse() -> None:
    gen = aigc.Generator(tiny.masked("bert"), tiny.closed_tokenizer())
    with pytest.raises(ModelError, match="search needs a model that writes from left to right"):
        gen.generate(f"ab{tiny.MASK}", search=BeamSearch(2))


@pytest.mark.parametrize("search", [BeamSearch(10**6), BeamSearch(10**5, groups=10, diversity=1.0)], ids=repr)
def test_a_search_that_fits_no_machine_is_refused_before_it_begins(search: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aigc.device.available_memory", lambda device: 2**33)
    with pytest.raises(ResourceError, match="GiB for one prompt, and 8.0 GiB are free. Search with fewer rows"):
        GEN.generate("abc", max_new_tokens=2, search=search)
    assert len(GEN.generate("abc", max_new_tokens=2, search=BeamSearch(16))) == 1
