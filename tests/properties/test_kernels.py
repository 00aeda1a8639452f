"""The laws of sampling, each against brute force; and mutants, each of which a law must kill."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from aigc import kernels, random
from aigc.kernels import Draw, Parameters, Status, reference
from aigc.testing import strategies
from specification import EDGE, kept_by_hand, law_specification, nearly_alike

Threshold = Callable[..., Tensor]


@given(x=strategies.logits(rows=1), k=strategies.top_k(), p=strategies.top_p(), m=strategies.min_p())
def test_threshold_keeps_what_a_reading_by_hand_keeps(x: Tensor, k: int | None, p: float | None, m: float | None) -> None:
    law_threshold(kernels.threshold, x, k, p, m)


def law_threshold(threshold: Threshold, x: Tensor, k: int | None, p: float | None, m: float | None) -> None:
    expected, edge = kept_by_hand(x[0], None, k, p, m)
    assume(edge > EDGE)
    tau = threshold(x, top_k=k, top_p=p, min_p=m)
    assert set((x[0] >= tau).nonzero()[:, 0].tolist()) - set((x[0] == -math.inf).nonzero()[:, 0].tolist()) == expected
    assert tau.dtype == x.dtype


def strict_top_p(x: Tensor, **given: float | None) -> Tensor:
    """A mutant that drops the token that crosses p."""
    p = given["top_p"]
    return kernels.threshold(x, **(given | {"top_p": None if p is None else max(1e-9, p * 0.9)}))


def p_before_k(x: Tensor, top_k: int | None, top_p: float | None, min_p: float | None) -> Tensor:
    """A mutant that does not renormalise top-p over the survivors of top-k."""
    taus = [kernels.threshold(x, top_k=top_k), kernels.threshold(x, top_p=top_p), kernels.threshold(x, min_p=min_p)]
    return torch.stack(taus).amax(0)


def exactly_k(x: Tensor, top_k: int | None, **rest: float | None) -> Tensor:
    """A mutant that cuts ties: it moves tau up where more than k tokens tie."""
    tau = kernels.threshold(x, top_k=top_k, **rest)
    if top_k is not None and int((x >= tau).sum()) > top_k:
        larger = x[x > tau]
        return larger.amin()[None] if len(larger) else tau
    return tau


@pytest.mark.parametrize("mutant", [strict_top_p, p_before_k, exactly_k])
def test_the_law_of_thresholds_kills(mutant: Threshold) -> None:
    @settings(max_examples=1000, database=None, report_multiple_bugs=False)
    @given(x=strategies.logits(rows=1), k=strategies.top_k(), p=strategies.top_p(), m=strategies.min_p())
    def check(x: Tensor, k: int | None, p: float | None, m: float | None) -> None:
        law_threshold(mutant, x, k, p, m)

    with pytest.raises(AssertionError):
        check()


@settings(max_examples=300)
@given(
    x=strategies.logits(bad=True),
    t=strategies.temperature(),
    k=strategies.top_k(),
    p=strategies.top_p(),
    m=strategies.min_p(),
    seed=strategies.seeds(),
    step=strategies.steps(),
)
def test_the_torch_path_is_the_specification_to_the_token(
    x: Tensor, t: float | None, k: int | None, p: float | None, m: float | None, seed: int, step: int
) -> None:
    law_specification(kernels.run, x, seed, step, temperature=t, top_k=k, top_p=p, min_p=m)


@settings(max_examples=30)
@given(
    x=strategies.logits(rows=1, columns=262_144, most=262_144) | strategies.logits(rows=1, columns=50_257),
    t=strategies.temperature(),
    k=strategies.top_k() | st.integers(1, 100_000),
    p=strategies.top_p(),
    m=strategies.min_p(),
    seed=strategies.seeds(),
)
def test_long_rows_are_drawn_as_specified(
    x: Tensor, t: float | None, k: int | None, p: float | None, m: float | None, seed: int
) -> None:
    law_specification(kernels.run, x, seed, 0, temperature=t, top_k=k, top_p=p, min_p=m)


@pytest.mark.parametrize("apart", [-1e-5, -1e-6, 1e-6, 1e-5])
@pytest.mark.parametrize("some", [{}, {"top_p": 0.999}, {"top_k": 2500}])
def test_blocks_that_score_almost_alike_are_told_apart(apart: float, some: dict[str, float]) -> None:
    filters = {"temperature": None, "top_k": None, "top_p": None, "min_p": None} | some
    law_specification(kernels.run, nearly_alike(7, 0, apart), 7, 0, **filters)


def no_renormalising(x: Tensor, given: Parameters, start: Tensor) -> Draw:
    """A mutant that compares with p what top-k has not left."""
    _, k, p, m = given.columns(x)
    z = reference.tempered(x, torch.ones(()))
    taus = [reference.threshold(x, z, k, p * 0 + 1, m), reference.threshold(x, z, k * 0 + x.shape[-1], p, m)]
    return kernels.run(x.masked_fill(x < torch.maximum(*taus), -math.inf), given._replace(top_k=None, top_p=None), start)


def rank_keyed(x: Tensor, given: Parameters, start: Tensor) -> Draw:
    """A mutant whose noise belongs to the rank of a token, not to the token."""
    order = x.sort(-1, descending=True).indices
    draw = kernels.run(x.gather(-1, order), given, start)
    return draw._replace(token=order.gather(-1, draw.token.clamp(min=0)[:, None])[:, 0].where(draw.token >= 0, -1))


def rounded(x: Tensor, given: Parameters, start: Tensor) -> Draw:
    """A mutant that rounds the log-probability."""
    draw = kernels.run(x, given, start)
    return draw._replace(logprob=draw.logprob.half().float())


@pytest.mark.parametrize("mutant", [no_renormalising, rank_keyed, rounded])
def test_the_law_of_the_specification_kills(mutant: Callable[..., Draw]) -> None:
    @settings(max_examples=500, database=None, report_multiple_bugs=False)
    @given(x=strategies.logits(dtypes=[torch.float32]), k=strategies.top_k(), p=strategies.top_p(), seed=strategies.seeds())
    def check(x: Tensor, k: int | None, p: float | None, seed: int) -> None:
        law_specification(mutant, x, seed, 0, temperature=None, top_k=k, top_p=p, min_p=None)

    with pytest.raises(AssertionError):
        check()


@given(
    x=strategies.logits(rows=3, bad=True),
    other=strategies.logits(rows=2, bad=True),
    seed=strategies.seeds(),
    data=st.data(),
)
def test_a_row_owes_nothing_to_its_batch(x: Tensor, other: Tensor, seed: int, data: st.DataObject) -> None:
    """Alone, permuted, and beside rows of other parameters: bitwise the same."""
    n = len(x)
    k = torch.tensor(data.draw(st.lists(st.integers(1, 2000), min_size=n, max_size=n)))
    p = torch.tensor(data.draw(st.lists(st.floats(0.01, 1.0), min_size=n, max_size=n)))
    t = torch.tensor(data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n)))
    seeds = seed ^ torch.arange(n)
    whole = kernels.sample(x, seed=seeds, step=5, temperature=t, top_k=k, top_p=p)
    order = torch.tensor(data.draw(st.permutations(range(n))))
    moved = kernels.sample(x[order], seed=seeds[order], step=5, temperature=t[order], top_k=k[order], top_p=p[order])
    for field, again in zip(whole, moved, strict=True):
        assert torch.equal(field[order].nan_to_num(7), again.nan_to_num(7))
    for i in range(n):
        alone = kernels.sample(x[i], seed=seeds[i], step=5, temperature=t[i], top_k=k[i], top_p=p[i])
        for field, single in zip(whole, alone, strict=True):
            assert torch.equal(field[i].nan_to_num(7), single.nan_to_num(7))


@given(x=strategies.logits(bad=True), k=strategies.top_k(), p=strategies.top_p(), seed=strategies.seeds())
def test_input_is_not_changed_and_strides_do_not_matter(x: Tensor, k: int | None, p: float | None, seed: int) -> None:
    before = x.clone()
    draw = kernels.sample(x, seed=seed, top_k=k, top_p=p)
    again = kernels.sample(x.contiguous(), seed=seed, top_k=k, top_p=p)
    assert torch.equal(x.nan_to_num(7), before.nan_to_num(7))
    assert torch.equal(draw.token, again.token)
    assert torch.equal(draw.logprob.nan_to_num(7), again.logprob.nan_to_num(7))


@given(x=strategies.logits(), seed=strategies.seeds(), t=strategies.temperature())
def test_off_values_are_no_ops_bit_for_bit(x: Tensor, seed: int, t: float | None) -> None:
    off = kernels.sample(x, seed=seed, temperature=t)
    vocab = x.shape[-1]
    for off_value in ({"top_k": vocab}, {"top_k": vocab + 5}, {"top_p": 1.0}, {"min_p": torch.zeros(len(x))}):
        on = kernels.sample(x, seed=seed, temperature=t, **off_value)
        assert all(torch.equal(a, b) for a, b in zip(off, on, strict=True))


@given(x=strategies.logits(), p=st.sampled_from([0.3, 0.9]), k=st.integers(1, 50), seed=strategies.seeds())
def test_temperature_zero_is_the_first_argmax(x: Tensor, p: float, k: int, seed: int) -> None:
    draw = kernels.sample(x, seed=seed, temperature=0, top_k=k, top_p=p)
    by_hand = [next(i for i, v in enumerate(row.tolist()) if v == max(row.tolist())) for row in x]
    assert draw.token.tolist() == by_hand
    assert draw.logprob.eq(0).all()
    assert draw.kept.eq(1).all()


@given(x=strategies.logits(), k=st.integers(1, 300), j=st.integers(0, 50), p=st.floats(0.01, 0.98), q=st.floats(0.0, 0.02))
def test_larger_parameters_keep_more(x: Tensor, k: int, j: int, p: float, q: float) -> None:
    assert (kernels.threshold(x, top_k=k + j) <= kernels.threshold(x, top_k=k)).all()
    assert (kernels.threshold(x, top_p=p + q) <= kernels.threshold(x, top_p=p)).all()
    assert (kernels.threshold(x, min_p=p) >= kernels.threshold(x, min_p=p / 2)).all()


@given(x=strategies.logits(bad=True), k=strategies.top_k(), p=strategies.top_p())
def test_a_bad_row_says_what_it_is(x: Tensor, k: int | None, p: float | None) -> None:
    draw = kernels.sample(x, seed=3, top_k=k, top_p=p)
    for row, status, token in zip(x.double().tolist(), draw.status.tolist(), draw.token.tolist(), strict=True):
        if any(map(math.isnan, row)):
            assert status == Status.NAN
        elif max(row) == math.inf:
            assert status == Status.INF
        elif max(row) == -math.inf:
            assert status == Status.EMPTY
        else:
            assert status == Status.OK
            assert row[token] > -math.inf
        assert (token == -1) == (status != Status.OK)


@given(
    x=strategies.logits(rows=1),
    t=st.sampled_from([0.5, 1.0, 2.0]),
    k=strategies.top_k(),
    p=strategies.top_p(),
    seed=strategies.seeds(),
)
def test_logprob_is_that_of_the_filtered_distribution(
    x: Tensor, t: float, k: int | None, p: float | None, seed: int
) -> None:
    expected, edge = kept_by_hand(x[0], t, k, p, None)
    assume(edge > EDGE)
    draw = kernels.sample(x, seed=seed, temperature=t, top_k=k, top_p=p)
    z = np.array([float(x[0, i].double()) / t for i in sorted(expected)])
    token = float(x[0, draw.token].double()) / t
    assert int(draw.token) in expected
    assert math.isclose(float(draw.logprob), token - np.logaddexp.reduce(z), rel_tol=1e-5, abs_tol=1e-5)
    assert int(draw.kept) == len(expected)


@pytest.mark.parametrize("t", [5e-324, 1e-46, 1e-42, 1e-30, 1e30, 1e39, 1e300])
@pytest.mark.parametrize("scale", [1e-42, 1.0])
@pytest.mark.parametrize("some", [{}, {"top_k": 5}, {"top_p": 0.9}, {"top_k": 600, "top_p": 0.9}, {"min_p": 0.3}])
def test_temperatures_beyond_float32(t: float, scale: float, some: dict[str, float]) -> None:
    x = torch.randn(3, 3000, generator=torch.Generator().manual_seed(0)) * scale
    x[:, ::3], x[:, 1] = torch.finfo(torch.float32).min, -math.inf
    filters = {"temperature": t, "top_k": None, "top_p": None, "min_p": None} | some
    law_specification(kernels.run, x, 3, 0, **filters)


@pytest.mark.parametrize("p", [1 - 1e-9, 1 - 2**-53, 1 - 2**-24])
@pytest.mark.parametrize("some", [{}, {"top_k": 3000}, {"top_k": 9}])
def test_top_p_that_is_nearly_1(p: float, some: dict[str, float]) -> None:
    """A sum in float32 may pass the sum of all, and then nothing reaches p."""
    x = torch.randn(64, 5000, generator=torch.Generator().manual_seed(0))
    x[::2, ::100] = -math.inf
    law_specification(kernels.run, x, 3, 0, **({"temperature": None, "top_k": None, "top_p": p, "min_p": None} | some))


@pytest.mark.parametrize("vocab", [256, 512, 1024, 4096])
@pytest.mark.parametrize("some", [{}, {"top_k": 40}, {"top_p": 0.9}])
def test_every_field_has_the_same_bits_in_any_memory_layout(vocab: int, some: dict[str, float]) -> None:
    """Whole blocks are not padded, so nothing else makes them contiguous."""
    x = torch.randn(16, vocab, generator=torch.Generator().manual_seed(vocab)) * 2
    by_column = x.t().contiguous().t()
    seeds = torch.arange(16)
    draw, again = (kernels.sample(y, seed=seeds, **some) for y in (x, by_column))
    for i, seed in enumerate(seeds):
        alone = kernels.sample(by_column[i], seed=seed, **some)
        assert all(torch.equal(field[i], one) for field, one in zip(again, alone, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(draw, again, strict=True))


@pytest.mark.parametrize("some", [{}, {"temperature": 0}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}])
def test_no_rows_give_no_draws(some: dict[str, float]) -> None:
    draw, one = (kernels.sample(torch.zeros(rows, 5), seed=0, **some) for rows in (0, 1))
    assert [(field.shape, field.dtype) for field in draw] == [((0,), field.dtype) for field in one]
    assert kernels.sample(torch.zeros(2, 0, 5), seed=0, **some).token.shape == (2, 0)


@pytest.mark.parametrize("vocab", [32_000, 262_144])
@pytest.mark.parametrize("scale", [0.0, 1.0, 6.0])
def test_large_vocabularies_agree_with_the_specification(vocab: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(vocab)
    x = torch.randn(3, vocab, generator=generator) * scale
    for some in ({}, {"top_k": 50}, {"top_p": 0.9}, {"min_p": 0.02}, {"top_k": 5000, "top_p": 0.95}):
        full = {"temperature": 0.9, "top_k": None, "top_p": None, "min_p": None} | some
        law_specification(kernels.run, x, 0, 0, **full)


def test_no_parameter_is_clamped() -> None:
    x = torch.zeros(2, 4)
    for name, values in {
        "temperature": [-0.1, math.nan, math.inf, "1", True],
        "top_k": [0, -1, 1.5, True],
        "top_p": [0.0, 1.1, -0.5, math.nan],
        "min_p": [0.0, 1.1, math.nan],
        "seed": [2**63, 0.5, None],
    }.items():
        for value in values:
            with pytest.raises(ValueError, match=name):
                kernels.sample(x, **({"seed": 0} | {name: value}))
    with pytest.raises(ValueError, match="one for each row"):
        kernels.sample(x, seed=0, top_k=torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match="floating"):
        kernels.sample(torch.zeros(2, 4, dtype=torch.int64), seed=0)


def test_leading_shapes_are_kept() -> None:
    x = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
    draw = kernels.sample(x, seed=torch.arange(6).view(2, 3), top_k=torch.full((2, 3), 2))
    flat = kernels.sample(x.view(6, 7), seed=torch.arange(6), top_k=2)
    assert draw.token.shape == (2, 3)
    assert torch.equal(draw.token.flatten(), flat.token)
    assert kernels.run(x.view(6, 7), Parameters(), random.counter(torch.arange(6), 0)).kept.eq(7).all()
