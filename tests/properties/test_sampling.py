"""The laws that every filter and sampler owes, and mutants, each of which a law must kill."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aigc.sampling import (
    Categorical,
    Chain,
    Filter,
    Greedy,
    MinP,
    Noise,
    PerRow,
    Sampler,
    Temperature,
    TopK,
    TopP,
    as_sampler,
    chain,
    select,
    take,
)
from aigc.testing import check_filter, check_sampler, strategies

filters = st.one_of(
    st.integers(1, 300).map(TopK),
    st.sampled_from([0.1, 0.35, 0.61, 0.9, 1.0]).map(TopP),
    st.sampled_from([0.05, 0.3, 1.0]).map(MinP),
    st.sampled_from([0.0, 0.5, 2.0]).map(Temperature),
    st.just(Greedy()),
)
whole = strategies.logits().map(lambda x: x.float().clamp(-50, 50).round() + 0.0)


@pytest.mark.parametrize(
    "f", [TopK(1), TopK(7), TopK(300), TopP(0.35), TopP(0.9), TopP(1.0), MinP(0.05), MinP(1.0), chain()]
)
def test_every_truncation_keeps_the_laws(f: Filter) -> None:
    check_filter(f, truncation=True, examples=40)


@pytest.mark.parametrize("f", [Temperature(0.0), Temperature(0.5), Greedy(), chain(Temperature(2.0), TopK(9), TopP(0.8))])
def test_every_other_filter_keeps_the_laws(f: Filter) -> None:
    check_filter(f, examples=40)


@given(f=filters, x=whole)
def test_no_filter_depends_on_where_zero_is(f: Filter, x: Tensor) -> None:
    assert torch.equal(f(x + 3) > -math.inf, f(x) > -math.inf)


@pytest.mark.parametrize(
    ("sampler", "law"),
    [
        (Categorical(chain(Temperature(0.7), TopK(9), TopP(0.9))), None),
        (Temperature(0.5), lambda logits: (logits / 0.5).softmax(-1)),
        (Greedy(), lambda logits: torch.nn.functional.one_hot(logits.argmax(), len(logits)).double()),
        (lambda logits: TopK(3)(logits), lambda logits: TopK(3)(logits).softmax(-1)),
    ],
)
def test_samplers_keep_the_laws(sampler: Filter, law: Callable[[Tensor], Tensor] | None) -> None:
    check_sampler(sampler, law=law, examples=20)


@given(x=whole, t=st.sampled_from([0.5, 1.0, 2.0]), k=st.integers(1, 40), seed=strategies.seeds())
def test_a_chain_draws_the_same_fused_and_filter_by_filter(x: Tensor, t: float, k: int, seed: int) -> None:
    fused = Categorical(chain(Temperature(t), TopK(k), MinP(0.01)))
    plain = Categorical(lambda logits: MinP(0.01)(TopK(k)(Temperature(t)(logits))))
    noise = Noise.of(seed ^ torch.arange(len(x)), 3)
    a, b = (sampler.step(x, sampler.init([[0]] * len(x)), noise)[0] for sampler in (fused, plain))
    assert torch.equal(a.token, b.token)
    assert torch.equal(a.kept, b.kept)
    torch.testing.assert_close(a.logprob, b.logprob, rtol=1e-5, atol=1e-5)


@given(x=strategies.logits(rows=4), seed=strategies.seeds(), data=st.data())
def test_rows_with_samplers_of_their_own_draw_as_if_alone(x: Tensor, seed: int, data: st.DataObject) -> None:
    pool: list[Sampler] = [Categorical(TopK(3)), Categorical(Greedy()), Categorical(chain(Temperature(2.0), TopP(0.8)))]
    chosen = tuple(data.draw(st.lists(st.sampled_from(pool), min_size=4, max_size=4)))
    sampler, noise = PerRow(chosen), Noise.of(seed ^ torch.arange(4), 1)
    state = sampler.init([[0]] * 4)
    draw, state = sampler.step(x, state, noise)
    for i, one in enumerate(chosen):
        alone, _ = one.step(x[i : i + 1], one.init([[0]]), noise.select(torch.tensor([i])))
        assert all(torch.equal(a[i : i + 1], b) for a, b in zip(draw, alone, strict=True))
    alive = torch.tensor(sorted(data.draw(st.sets(st.integers(0, 3), min_size=1))))
    again, _ = sampler.step(x[alive], select(state, alive), noise.select(alive))
    assert torch.equal(again.token, draw.token[alive])


@given(x=strategies.logits(rows=3), seed=strategies.seeds(), alive=st.sets(st.integers(0, 2), min_size=1).map(sorted))
def test_parameters_per_row_leave_with_their_rows(x: Tensor, seed: int, alive: list[int]) -> None:
    f = chain(Temperature(torch.tensor([0.5, 1.0, 2.0])), TopK(torch.tensor([1, 5, 2000])))
    sampler, rows_left = Categorical(f), torch.tensor(alive)
    noise = Noise.of(seed ^ torch.arange(3), 0)
    draw, state = sampler.step(x, sampler.init([[0]] * 3), noise)
    again, _ = sampler.step(x[rows_left], select(state, rows_left), noise.select(rows_left))
    assert torch.equal(again.token, draw.token[rows_left])


@pytest.mark.parametrize("t", [5e-324, 1e-46, 1e39, 1e300])
def test_extreme_temperatures_make_no_nan_and_part_no_ties(t: float) -> None:
    x = torch.tensor([1.0, 3.0, -math.inf, 3.0])
    limit = [0, 1 / 2, 0, 1 / 2] if t < 1 else [1 / 3, 1 / 3, 0, 1 / 3]
    torch.testing.assert_close(Temperature(t)(x).softmax(-1), torch.tensor(limit))


def test_chains_are_flat_visible_and_compare() -> None:
    made = chain(chain(Temperature(0.8)), TopP(0.95))
    assert made == Chain((Temperature(0.8), TopP(0.95)))
    assert repr(made) == "chain(Temperature(0.8), TopP(0.95))"
    x = torch.tensor([0.5, -1.0])
    assert torch.equal(chain()(x), x)
    assert take(made, torch.tensor([0])) is made


@pytest.mark.parametrize(
    "make",
    [
        lambda: Temperature(-1), lambda: Temperature(math.nan), lambda: TopK(0), lambda: TopK(2.5), lambda: TopP(0),
        lambda: TopP(1.5), lambda: MinP(0.0), lambda: MinP(-1), lambda: chain(3), lambda: chain(TopK),
        lambda: as_sampler("x"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_an_error_when_the_filter_is_made(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        make()
