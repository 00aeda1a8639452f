"""Which parts of a chain run where changes nothing: not a token, not a bit of a row, not what is remembered."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aigc import kernels
from aigc.errors import TypeParameterError
from aigc.kernels import Draw, Parameters
from aigc.sampling import (
    Categorical,
    Greedy,
    MinP,
    Noise,
    Part,
    PerRow,
    Temperature,
    TopK,
    TopP,
    as_sampler,
    chain,
    explain,
    select,
)
from aigc.sampling.schedule import schedule
from aigc.testing import check_sampler, strategies


@dataclass(frozen=True)
class Square:
    """A filter of the user's that says nothing of itself, and so sees whole rows."""

    def __call__(self, logits: Tensor) -> Tensor:
        return logits.sign() * logits.square()


@dataclass(frozen=True)
class NotAgain:
    """A filter with memory, written in ten lines: the last token is not drawn again."""

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor([prompt[-1] for prompt in prompts])

    def apply(self, logits: Tensor, state: Tensor, noise: Noise) -> Tensor:
        last = state.clamp(max=logits.shape[-1] - 1)[:, None]
        return logits.scatter_add_(-1, last, torch.full_like(last, -1000, dtype=logits.dtype))

    def update(self, state: Tensor, draw: Draw) -> Tensor:
        return draw.token.clamp(min=0)


@dataclass(frozen=True)
class Jitter:
    """A filter with noise that sees survivors only."""

    narrow: ClassVar[bool] = True

    def start(self, prompts: Sequence[Sequence[int]]) -> None:
        return None

    def apply(self, logits: Tensor, state: None, noise: Noise) -> Tensor:
        return logits * (1 + noise.uniform(-(2**40))).to(logits.dtype)[:, None]

    def update(self, state: None, draw: Draw) -> None:
        return None


PARTS = st.one_of(
    st.sampled_from([TopK(1), TopK(5), TopK(40), TopK(2000)]),
    st.sampled_from([TopP(0.3), TopP(0.9), TopP(1.0)]),
    st.sampled_from([MinP(0.05), MinP(0.5)]),
    st.sampled_from([Temperature(0.0), Temperature(0.5), Temperature(2.0)]),
    st.sampled_from([Greedy(), Square(), NotAgain(), Jitter()]),
)
CHAINS = st.lists(PARTS, max_size=6)
KERNEL = (Temperature, TopK, TopP, MinP, Greedy)


@given(parts=CHAINS)
def test_a_schedule_keeps_the_order_and_runs_narrow_parts_alone_behind_a_cut(parts: list[Part]) -> None:
    plan = schedule(parts)
    assert plan.head + plan.fused + plan.tail == tuple(parts)
    ranks = [KERNEL.index(type(part)) for part in plan.fused]
    assert ranks == sorted(set(ranks))
    assert all(getattr(type(part), "narrow", False) for part in plan.tail)
    if plan.tail:
        assert {TopK, TopP, MinP} & set(map(type, plan.fused))


def _one_by_one(parts: Sequence[Part], x: Tensor, noise: Noise) -> Draw:
    """What a chain means: each part on whole rows, then a draw."""
    for part in parts:
        x = part.apply(x.clone(), part.start([[0]] * len(x)), noise) if hasattr(part, "start") else part(x)
    return kernels.run(x, Parameters(), noise.start)


@given(parts=CHAINS, x=strategies.logits(dtypes=[torch.float64], bad=True), seed=strategies.seeds())
def test_a_chain_draws_what_its_parts_draw_one_by_one(parts: list[Part], x: Tensor, seed: int) -> None:
    # float64, in which both ways round so finely that no draw and no edge of a nucleus is near enough to tell.
    noise = Noise.of(seed ^ torch.arange(len(x)), 2)
    sampler = Categorical(chain(*parts))
    whole = _one_by_one(parts, x, noise)
    draw, _ = sampler.step(x, sampler.init([[0]] * len(x)), noise)
    assert torch.equal(draw.status, whole.status)
    assert torch.equal(draw.token, whole.token)
    assert torch.equal(draw.kept, whole.kept)
    torch.testing.assert_close(draw.logprob, whole.logprob, rtol=1e-5, atol=1e-5, equal_nan=True)


NARROW = chain(TopK(50), Temperature(0.8), TopP(0.9))


@pytest.mark.parametrize("made", [NARROW, chain(NotAgain(), *NARROW.filters)])
def test_samplers_of_survivors_keep_the_laws(made: Any) -> None:
    check_sampler(made, examples=20)


@given(x=strategies.logits(rows=4), seed=strategies.seeds(), data=st.data())
def test_a_rows_bits_owe_nothing_to_how_many_tokens_survive_beside_it(x: Tensor, seed: int, data: st.DataObject) -> None:
    k = torch.tensor(data.draw(st.lists(st.sampled_from([1, 3, 20, 70, 2000]), min_size=4, max_size=4)))
    noise = Noise.of(seed ^ torch.arange(4), 0)
    together = Categorical(chain(TopK(k), Temperature(0.7), TopP(0.9)))
    draw, _ = together.step(x, together.init([[0]] * 4), noise)
    for i in range(4):
        one = Categorical(chain(TopK(int(k[i])), Temperature(0.7), TopP(0.9)))
        alone, _ = one.step(x[i : i + 1], one.init([[0]]), noise.select(torch.tensor([i])))
        assert all(torch.equal(a[i : i + 1], b) for a, b in zip(draw, alone, strict=True))


@given(x=strategies.logits(rows=3), seed=strategies.seeds(), alive=st.sets(st.integers(0, 2), min_size=1).map(sorted))
def test_what_is_remembered_leaves_with_its_row_and_stays_as_it_was(x: Tensor, seed: int, alive: list[int]) -> None:
    sampler = as_sampler(chain(NotAgain(), TopK(3)))
    noise, before = Noise.of(seed ^ torch.arange(3), 0), x.clone()
    start = sampler.init([[0], [1], [2]])
    _, state = sampler.step(x, start, noise)
    again, _ = sampler.step(x, state, noise)
    rows = torch.tensor(alive)
    left, _ = sampler.step(x[rows], select(state, rows), noise.select(rows))
    assert all(torch.equal(a[rows], b) for a, b in zip(again, left, strict=True))
    assert start.memories[0].tolist() == [0, 1, 2]
    assert torch.equal(x, before)


def test_memory_sees_each_token_that_is_drawn() -> None:
    x = torch.tensor([[0.0, 5.0, 4.0], [0.0, 5.0, 4.0]])
    for sampler in (as_sampler(chain(NotAgain(), Greedy())), PerRow((as_sampler(chain(NotAgain(), Greedy())),) * 2)):
        state, tokens = sampler.init([[0], [1]]), []
        for step in range(3):
            draw, state = sampler.step(x, state, Noise.of(torch.tensor([7, 8]), step))
            tokens.append(draw.token.tolist())
        assert tokens == [[1, 2], [2, 1], [1, 2]]


def test_memory_in_half_precision_gets_room_to_write() -> None:
    x = torch.tensor([[0.0, 5.0, 4.0]], dtype=torch.bfloat16)
    sampler = as_sampler(chain(NotAgain(), Greedy()))
    assert sampler.step(x, sampler.init([[1]]), Noise.of(torch.tensor([7]), 0))[0].token.tolist() == [2]
    assert x.tolist() == [[0.0, 5.0, 4.0]]


def test_a_chain_with_memory_is_no_function() -> None:
    with pytest.raises(TypeParameterError, match="without memory"):
        chain(NotAgain(), TopK(3))(torch.zeros(1, 4))
    with pytest.raises(TypeParameterError, match="A sampler wraps filters"):
        chain(TopK(3), as_sampler(TopK(3)))  # type: ignore[arg-type]


def test_explain_says_what_runs_where() -> None:
    said = explain(chain(NotAgain(), Temperature(0.8), TopK(50), Jitter(), Temperature(1.5)))
    assert said.splitlines() == [
        "on whole rows: NotAgain()",
        "in the kernel: Temperature(0.8), TopK(50)",
        "on what is left: Jitter(), Temperature(1.5), and the draw",
    ]
    assert explain(Square()).splitlines() == ["on whole rows: Square()", "in the kernel: the draw"]
    assert math.isfinite(len(explain(PerRow((as_sampler(TopK(1)),)))))
