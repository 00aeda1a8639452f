"""Noise is a pure function of (seed, step, index), of the right range, wherever it is computed."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aigc import random
from aigc.testing import strategies

MASK = 2**64 - 1


def splitmix(x: int) -> int:
    """The output function of SplitMix64, on Python's integers."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


@given(seed=strategies.seeds(), step=strategies.steps(), index=st.integers(-(2**40), 2**40))
def test_uniforms_are_those_of_exact_integers(seed: int, step: int, index: int) -> None:
    cell = splitmix((splitmix(seed & MASK) + step * 0x3C6EF372FE94F82B + index) & MASK) >> 12
    u = float(random.uniform(seed, step, index))
    assert u == (cell + 0.5) / 2**52
    assert 0 < u < 1


def test_the_ends_of_the_interval_are_open() -> None:
    """The smallest and the largest cell, by hand: 53 bits would round the largest up to 1."""
    for bits, factor in ((52, True), (53, False)):
        largest = (torch.tensor(2**bits - 1).double() + 0.5) * 2.0**-bits
        assert (largest < 1).item() is factor


@given(seeds=st.lists(strategies.seeds(), min_size=1, max_size=5), step=strategies.steps())
def test_a_batch_is_its_rows(seeds: list[int], step: int) -> None:
    tokens = torch.arange(11)
    batch = random.gumbel(torch.tensor(seeds)[:, None], step, tokens)
    assert torch.equal(batch, torch.stack([random.gumbel(seed, step, tokens) for seed in seeds]))
    assert batch.isfinite().all()
    assert torch.equal(batch[:, 3:5], random.gumbel(torch.tensor(seeds)[:, None], step, tokens[3:5]))


@given(seed=strategies.seeds())
def test_streams_are_seeds_and_differ(seed: int) -> None:
    streams = [random.stream(seed, row) for row in range(200)]
    assert len(set(streams)) == 200
    assert all(0 <= s < 2**63 for s in streams)
    assert all(random.check_seed("seed", s) == s for s in streams)


@pytest.mark.parametrize("bad", [2**63, -(2**63) - 1, 0.5, "1", True, None])
def test_a_seed_is_an_int_of_64_bits(bad: object) -> None:
    with pytest.raises(ValueError, match="seed must be"):
        random.stream(bad, 0)
    with pytest.raises(ValueError, match="seed must be"):
        random.uniform(bad, 0, 0)


def test_tensors_must_hold_int64() -> None:
    with pytest.raises(TypeError, match="int64"):
        random.uniform(torch.tensor([1.5]), 0, 0)


def test_gumbel_is_the_transform_of_the_uniform() -> None:
    tokens = torch.arange(1000)
    u, g = random.uniform(5, 1, tokens), random.gumbel(5, 1, tokens)
    by_hand = torch.tensor([-math.log(-math.log(value)) for value in u.tolist()], dtype=torch.float64)
    torch.testing.assert_close(g, by_hand, rtol=1e-13, atol=1e-13)
