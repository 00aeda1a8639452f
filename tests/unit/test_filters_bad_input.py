"""What filters refuse, and what they say of it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import aigc
import tiny
from aigc.errors import GenerationError, ParameterError, TypeParameterError
from aigc.kernels import Status
from aigc.sampling import (
    XTC,
    Allowed,
    Banned,
    BannedStrings,
    Categorical,
    DynamicTemperature,
    Epsilon,
    Eta,
    ForcedPrefix,
    LogitBias,
    MinP,
    MinTokens,
    Noise,
    PerRow,
    TailFree,
    Temperature,
    TopH,
    TopK,
    TopNSigma,
    TopP,
    Typical,
    bind,
    chain,
    within,
)
from aigc.sampling.schedule import apply
from aigc.text import BeamSearch, Guidance

INF, NAN = math.inf, math.nan
X = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
NOISE = Noise.of(torch.tensor([7, 8]), 0)
GEN = aigc.Generator(tiny.model("llama"), tiny.tokenizer())


class Words:
    """Three tokens, of which the last ends a text."""

    size = 3
    ends = frozenset({2})
    spelling: Sequence[bytes] = (b"a", b"b", b"")

    def encode(self, text: str) -> list[int]:
        return ["ab".index(c) for c in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join("ab"[i] for i in ids if i < 2)


@pytest.mark.parametrize("make", [Typical, Epsilon, Eta, TopH, TailFree], ids=lambda make: make.__name__)
def test_a_share_is_in_0_to_1(make: Callable[[Any], object]) -> None:
    for value in (0, -0.1, 1.1, NAN, INF, torch.tensor([0.5, 0.0]), torch.tensor([0.5, NAN])):
        with pytest.raises(ParameterError, match=r"must be a number in \(0, 1\], or a tensor of one per row, got"):
            make(value)
    for value in (None, "0.5", True, [0.5], torch.ones(1, 1), torch.tensor([True])):
        with pytest.raises(TypeParameterError, match="must be a number in"):
            make(value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TopNSigma(0), "top_n_sigma must be a finite number above 0"),
        (lambda: TopNSigma(INF), "top_n_sigma must be a finite number above 0"),
        (lambda: DynamicTemperature(-1, 1), "low must be a finite number of at least 0"),
        (lambda: DynamicTemperature(1, 0.5), "high must be at least low, 1.0, got 0.5"),
        (lambda: DynamicTemperature(torch.tensor([0.1, 2.0]), 1.0), "high must be at least low"),
        (lambda: DynamicTemperature(torch.ones(2), torch.ones(3)), "high must be one number, or 2 as low is"),
        (lambda: DynamicTemperature(0, 1, 0), "exponent must be a finite number above 0"),
        (lambda: XTC(0.6, 0.5), r"xtc_threshold must be a number in \(0, 0.5\]"),
        (lambda: XTC(0.1, 0), r"xtc_probability must be a number in \(0, 1\]"),
        (lambda: LogitBias({}), "biases must be at least one"),
        (lambda: LogitBias([(1, 2.0)]), "biases must be a dict"),
        (lambda: LogitBias({1: NAN}), r"biases\[1\] must be a finite number, or -inf, got nan"),
        (lambda: LogitBias({1: INF}), "finite number, or -inf"),
        (lambda: LogitBias({1: "2"}), r"biases\[1\] must be a number"),
        (lambda: LogitBias({-1: 2.0}), "of at least 0|in \\[0"),
        (lambda: LogitBias({1.5: 2.0}), "must be an integer"),
        (lambda: Allowed([]), "allowed must be at least one token id"),
        (lambda: Allowed("abc"), "allowed must be token ids"),
        (lambda: Allowed(3), "allowed must be token ids"),
        (lambda: Banned([1, -1]), r"banned\[1\] must be an integer in"),
        (lambda: Banned([2**70]), r"banned\[0\] must be an integer in"),
        (lambda: Banned([True]), "must be an integer"),
        (lambda: Banned(None), "banned must be token ids"),
        (lambda: MinTokens(-1), "min_tokens must be an integer of at least 0"),
        (lambda: MinTokens(1.5), "min_tokens must be an integer"),
        (lambda: MinTokens(1, ends="x"), "ends must be token ids"),
        (lambda: ForcedPrefix(""), "prefix must be a text or ids, at least one token"),
        (lambda: ForcedPrefix([]), "prefix must be a text or ids, at least one token"),
        (lambda: ForcedPrefix(7), "prefix must be a text, or token ids"),
        (lambda: ForcedPrefix([1, "a"]), r"prefix\[1\] must be an integer"),
        (lambda: BannedStrings("abc"), "banned_strings must be a list of strings"),
        (lambda: BannedStrings([]), "banned_strings must be at least one string"),
        (lambda: BannedStrings(["a", ""]), r"banned_strings\[1\] must be a string of at least one character"),
        (lambda: BannedStrings(["\ud800"]), "without lone surrogates"),
        (lambda: LogitBias({"\ud800": 1.0}), "biases must be text without lone surrogates"),
        (lambda: ForcedPrefix("\ud800"), "prefix must be text without lone surrogates"),
        (lambda: Guidance(1.5, negative="\ud800"), "negative must be text without lone surrogates"),
        (lambda: Guidance(1.5, negative=["a", "\ud800"]), "negative must be text without lone surrogates"),
        (lambda: Guidance(1.5, negative=[]), "negative must be one string, or one for each prompt"),
        (lambda: BannedStrings([1]), r"banned_strings\[0\] must be a string"),
        (lambda: BannedStrings(["a"], prompt=1), "prompt must be True or False"),
    ],
)
def test_a_wrong_parameter_is_an_error_when_the_filter_is_made(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        make()


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (Allowed([0, 3]), "allowed must be made of ids below 3, the length of a row of logits, got 3"),
        (Banned([3]), "banned must be made of ids below 3"),
        (Banned([0, 1, 2]), "banned must be fewer than all tokens, got 'all 3'"),
        (LogitBias({3: 1.0}), "biases must be made of ids below 3"),
        (LogitBias({"ab": 1.0}), r"biases\['ab'\] must be of a string that is one token, got '2 tokens, \[0, 1\]'"),
        (LogitBias({"a": 1.0, 0: 2.0}), "must be of a token that has no bias yet"),
        (MinTokens(1, ends=[3]), "ends must be made of ids below 3"),
        (ForcedPrefix([0, 3]), "prefix must be made of ids below 3"),
    ],
    ids=lambda f: type(f).__name__,
)
def test_what_the_tokenizer_does_not_have_is_refused_when_it_is_known(f: Any, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        bind(chain(TopK(2), f), Words())
    if not any(isinstance(token, str) for token in getattr(f, "biases", ())):
        sampler = Categorical(f)
        with pytest.raises(ParameterError, match=says.split(",")[0]):
            sampler.step(X, sampler.init([[], []]), NOISE)


@pytest.mark.parametrize("f", [MinTokens(1), ForcedPrefix("a"), BannedStrings(["a"]), LogitBias({"a": 1.0})], ids=repr)
def test_what_needs_a_tokenizer_says_so_without_one_and_works_with_one(f: Any) -> None:
    sampler = Categorical(f)
    with pytest.raises(ParameterError, match="where there is no tokenizer|bound to a tokenizer"):
        sampler.step(X, sampler.init([[], []]), NOISE)
    bound = bind(sampler, Words())
    draw, _ = bound.step(X, bound.init([[], []]), NOISE)
    assert (draw.status == 0).all()


@pytest.mark.parametrize("f", [Allowed([0]), Banned([1, 2]), LogitBias({1: -INF, 2: -INF})], ids=repr)
def test_a_row_that_would_be_emptied_is_an_error_that_names_the_filter(f: Any) -> None:
    x = X.clone()
    x[1, 0] = -INF
    with pytest.raises(GenerationError, match=f"{type(f).__name__} leaves row 1 of the batch no token that can be drawn"):
        f(x)
    x[1, 0] = NAN  # is bad, and not emptied
    assert f(x)[1].isnan().any()
    assert f(torch.full((3,), -INF)).eq(-INF).all()


@pytest.mark.parametrize("f", [MinTokens(1, ends=[1, 2]), ForcedPrefix([0])], ids=repr)
def test_a_row_that_memory_would_empty_is_an_error_that_names_the_filter(f: Any) -> None:
    x = X.clone()
    x[1, 0] = -INF
    with pytest.raises(GenerationError, match=f"{type(f).__name__} leaves row 1 of the batch no token"):
        f.apply(x, f.start([[], []]), NOISE)


def test_minimum_above_maximum_is_an_error_before_anything_is_written() -> None:
    for f in (MinTokens(6), chain(TopK(3), MinTokens(6))):
        with pytest.raises(
            ParameterError, match="min_tokens must be at most 5, the maximum of the row, got 6. Raise max_new"
        ):
            GEN.generate("a", max_new_tokens=5, sampler=f)
    with pytest.raises(ParameterError, match="prefix must be of at most 2 tokens"):
        GEN.generate("a", max_new_tokens=2, sampler=ForcedPrefix("abc"))
    f = MinTokens(torch.tensor([1, 6]))
    assert within(f, [1, 6]) is f
    with pytest.raises(ParameterError, match="at most 5"):
        within(f, [9, 5])


ALL = list(range(257))  # of the tokens but one
DIGITS = list(tiny.tokenizer()("0123456789")["input_ids"])
NONE = [
    Allowed([257]),
    Banned(ALL),
    LogitBias(dict.fromkeys(ALL, -INF)),
    ForcedPrefix([257]),
    MinTokens(2, ends=ALL),
]


@pytest.mark.parametrize("cut", [TopK(1), lambda logits: logits.index_fill(-1, torch.tensor([257]), -INF)], ids=["k", "f"])
@pytest.mark.parametrize("f", NONE, ids=lambda f: type(f).__name__)
def test_a_row_that_a_filter_empties_ends_and_its_neighbours_do_not_notice(f: Any, cut: Any) -> None:
    how: dict[str, Any] = {"max_new_tokens": 4, "seed": 0}
    alone = GEN.generate(["a", "b", "c"], sampler=chain(), **how)
    out = GEN.generate(["a", "b", "c"], sampler=[chain(), chain(cut, f), chain()], **how)
    assert (out[1].finish_reason, out[1].status, out[1].text, out[1].tokens) == ("error", Status.EMPTY, "", ())
    assert (out[0], out[2]) == (alone[0], alone[2])


def test_a_row_whose_sampler_bans_what_its_constraint_allows_ends_alone() -> None:
    how: dict[str, Any] = {"max_new_tokens": 4, "seed": 0, "regex": "[0-9]+"}
    alone = GEN.generate(["a", "b"], sampler=chain(), **how)
    for f in (Allowed([5]), Banned(DIGITS)):
        out = GEN.generate(["a", "b"], sampler=[chain(), f], **how)
        assert (out[1].finish_reason, out[1].status, out[1].text) == ("error", Status.BANNED, "")
        assert out[0] == alone[0]
        assert out[0].status is Status.OK


def test_a_row_of_nan_is_told_as_such_behind_a_filter_that_empties_another() -> None:
    x = X.clone()
    x[0, 0], x[1, 0] = NAN, -INF
    sampler = Categorical(Allowed([0]))
    draw, _ = sampler.step(x, sampler.init([[], []]), NOISE)
    assert draw.status.tolist() == [Status.NAN, Status.EMPTY]


@pytest.mark.parametrize("search", [None, BeamSearch(2)], ids=["drawn", "searched"])
@pytest.mark.parametrize(
    "f",
    [
        lambda logits: logits[:, :5],
        lambda logits: logits[:1, None],
        lambda logits: logits > 0,
        lambda logits: logits.long(),
        lambda logits: logits.to(torch.complex64),
        lambda logits: None,
    ],
    ids=["narrow", "ranks", "bool", "int", "complex", "none"],
)
def test_a_filter_that_returns_no_logits_is_an_error_that_says_what_it_returned(f: Any, search: Any) -> None:
    for part in (f, chain(f, TopK(3)), chain(TopK(3), f)):
        with pytest.raises(
            GenerationError, match=r"a filter must return a floating tensor of the shape \(., 258\), and"
        ) as e:
            GEN.generate(["a", "b"], max_new_tokens=2, sampler=part, search=search)
        assert len(e.value.completions) == 2


@pytest.mark.parametrize("make", [Temperature, TopK, TopP, MinP], ids=lambda make: make.__name__)
def test_cures_of_the_kernels_filters_are_of_what_they_take(make: Callable[[Any], Any]) -> None:
    with pytest.raises(ParameterError, match=r"got -1\. Leave it out to have it off\."):
        make(-1)
    with pytest.raises(TypeParameterError, match="Leave the filter out to have it off"):
        make(None)
    for values in ([0.5, 0.7], (1, 2), np.array([0.5, 0.7])):
        with pytest.raises(TypeParameterError, match=r"For one per row give torch.tensor\(...\)"):
            make(values)


def test_numbers_of_numpy_are_numbers() -> None:
    for make in (Temperature, TopP, MinP, Typical):
        torch.testing.assert_close(make(np.float32(0.5))(X), make(0.5)(X))
        with pytest.raises(TypeParameterError):
            make(np.bool_(True))
    torch.testing.assert_close(TopK(np.int64(2))(X), TopK(2)(X))
    with pytest.raises(TypeParameterError, match=r"top_k must be an integer"):
        TopK(np.float32(2))
    assert Guidance(np.float32(1.5)).scale == 1.5
    with pytest.raises(TypeParameterError, match=r"scale must be a finite number, got .*Give float\(scale\)"):
        Guidance(torch.tensor(1.5))


def test_samplers_of_rows_are_samplers() -> None:
    for given, says in (((), "at least one sampler"), ((TopK(3),), r"samplers\[0\] must be a sampler"), (3, "a sequence")):
        with pytest.raises(ParameterError, match=says):
            PerRow(given)


def test_a_filter_within_a_function_does_not_end_it_for_other_rows() -> None:
    """Where it empties a row, the rest of the function was not done for any row: an error, not other logits for others."""
    logits = torch.tensor([[5.0, 1.0, 2.0], [3.0, -math.inf, -math.inf]])
    mine, noise = lambda x: TopK(1)(Banned([0])(x)), Noise.of(torch.arange(2), 0)
    with pytest.raises(GenerationError, match="Banned leaves row 1"):
        apply((mine,), logits, (None,), torch.arange(2), noise)
    found = apply((Banned([0]), TopK(1)), logits, (None, None), torch.arange(2), noise)
    assert found.isfinite().sum(1).tolist() == [1, 0]
