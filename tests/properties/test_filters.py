"""Filters against what their papers say, worked out in long double by numpy; and laws of what runs on survivors."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import Tensor

from aigc import random
from aigc.sampling import (
    XTC,
    Allowed,
    Banned,
    Categorical,
    DynamicTemperature,
    Epsilon,
    Eta,
    Filter,
    LogitBias,
    Noise,
    TailFree,
    TopH,
    TopK,
    TopNSigma,
    Typical,
    chain,
    take,
)
from aigc.sampling._sums import masses, running, total
from aigc.testing import check_filter, strategies

SLACK = 1e-9  # how near an edge two ways to sum may fall on either side of it
Row = np.ndarray[Any, Any]
UPPER = {
    Epsilon: [0.3, 0.01, 1.0],
    Eta: [0.3, 0.01],
    TopNSigma: [0.5, 1.0, 3.0],
    TopH: [0.2, 0.9, 1.0],
    TailFree: [0.2, 0.95, 1.0],
}
TRUNCATIONS = {**UPPER, Typical: [0.1, 0.5, 0.95, 1.0]}
HALF = torch.from_numpy(np.random.default_rng(123).standard_normal(1024)).half()[None] * 1e-3
HALF[:, torch.from_numpy(np.random.default_rng(123).random(1024)) < 0.5] = -math.inf
filters = st.sampled_from([make(value) for make, values in TRUNCATIONS.items() for value in values])


class Classes:
    """The tokens of one row by their logits, the largest first: what ties is one class."""

    def __init__(self, row: Tensor) -> None:
        x = row.double().numpy().astype(np.longdouble)
        self.values, self.counts = np.unique(x[x > -np.inf], return_counts=True)
        self.values, self.counts = self.values[::-1], self.counts[::-1]
        self.z = self.values - self.values[0]
        mass = self.counts * np.exp(self.z)
        rest = (self.counts[0] - 1) + mass[1:].sum()  # of all but one of the largest, which is 1
        self.logp = self.z - np.log1p(rest)
        self.p = np.exp(self.logp)
        self.entropy = np.log1p(rest) - (mass * self.z).sum() / (1 + rest)

    def tokens(self, row: Tensor, kept: Row) -> Tensor:
        values = torch.from_numpy(self.values[kept].astype(np.float64))
        return torch.isin(row.double(), values)


def typical(c: Classes, p: float, slack: float) -> Row:
    far = np.abs(-c.logp - c.entropy)
    order = np.argsort(far, kind="stable")
    sums = np.concatenate([[0], np.cumsum((c.counts * c.p)[order])])
    if slack < 0:  # whatever is about as near counts as nearer
        before = sums[np.searchsorted(far[order], far + SLACK)] - c.counts * c.p
    else:
        before = sums[np.searchsorted(far[order], far - SLACK)]
    return (before < p + slack) | (p == 1)


def epsilon(c: Classes, e: float, slack: float) -> Row:
    return (c.p >= e * (1 - slack)) | (c.z == 0)


def eta(c: Classes, e: float, slack: float) -> Row:
    return epsilon(c, min(e, math.sqrt(e) * float(np.exp(-c.entropy))), slack)


def top_n_sigma(c: Classes, n: float, slack: float) -> Row:
    mean = (c.counts * c.z).sum() / c.counts.sum()
    sigma = np.sqrt((c.counts * (c.z - mean) ** 2).sum() / c.counts.sum())
    return -c.z <= n * sigma * (1 + slack)


def top_h(c: Classes, alpha: float, slack: float) -> Row:
    def after(terms: Row, first: int) -> Row:  # with one token of each class, and all of those before
        counts = np.concatenate([[c.counts[0] - first], c.counts[1:]])
        return np.cumsum(counts * terms) - (c.counts - 1) * terms

    rest = after(np.exp(c.z), 1)
    entropy = np.log1p(rest) - after(np.exp(c.z) * c.z, 0) / (1 + rest)
    return (entropy <= alpha * c.entropy * (1 + slack)) | (c.z == 0) | (alpha == 1)


def tail_free(c: Classes, z: float, slack: float) -> Row:
    p = np.repeat(c.p, c.counts)
    curve = np.abs(np.diff(p, 2))
    assume(abs(curve.sum() - 1e-6) > 1e-9)
    if curve.sum() <= 1e-6:
        curve = np.ones_like(curve)
    over = np.flatnonzero(np.cumsum(curve)[1:] > z * curve.sum() + slack * 1e-3) + 1
    kept = over[0] if len(over) and z < 1 else len(p)
    return np.cumsum(c.counts) - c.counts < kept


ORACLES: dict[type, Callable[[Classes, float, float], Row]] = {
    Typical: typical, Epsilon: epsilon, Eta: eta, TopNSigma: top_n_sigma, TopH: top_h, TailFree: tail_free,
}  # fmt: skip


@pytest.mark.parametrize("make", TRUNCATIONS, ids=lambda make: make.__name__)
@given(x=strategies.logits(), place=st.integers(0, 3))
@example(x=torch.zeros(1, 10), place=0)
@example(x=HALF, place=0)  # which numpy 2.4 sorts wrongly
@example(x=torch.tensor([[0.0, -1.0, -2.0, -math.inf]]), place=0)
@example(x=torch.linspace(0, -3, 1500).double()[None], place=1)  # more than are looked at first
@example(x=torch.linspace(0, -9, 1500).double().repeat(2, 1) * torch.tensor([[1.0], [0.1]]), place=0)
def test_a_truncation_keeps_what_its_paper_says(make: Any, x: Tensor, place: int) -> None:
    value = TRUNCATIONS[make][place % len(TRUNCATIONS[make])]
    y = make(value)(x)
    for before, after in zip(x, y, strict=True):
        c = Classes(before)
        least, most = (c.tokens(before, ORACLES[make](c, value, slack)) for slack in (-SLACK, SLACK))
        kept = after > -math.inf
        assert (least <= kept).all()
        assert (kept <= most).all()
        assert torch.equal(after[kept], before[kept])


@pytest.mark.parametrize("n", [2, 3, 10, 49, 1000])
def test_flat_rows_are_kept_whole(n: int) -> None:
    """1 / n and exp(-log n) are the same number, but rounded in two ways."""
    x = torch.full((1, n), 0.1)
    for f in (*(make(values[0]) for make, values in TRUNCATIONS.items()), Eta(1.0), Epsilon(1 / n), Epsilon(1.0)):
        assert torch.equal(f(x), x)


@pytest.mark.parametrize("f", [make(value) for make, values in UPPER.items() for value in values[:2]], ids=repr)
def test_every_upper_truncation_keeps_the_laws(f: Filter) -> None:
    check_filter(f, truncation=True, examples=12)


@pytest.mark.parametrize(
    "f", [Typical(0.5), Typical(0.95), DynamicTemperature(0.0, 1.5, 0.7), LogitBias({0: 1.5})], ids=repr
)
def test_every_other_filter_keeps_the_laws(f: Filter) -> None:
    check_filter(f, examples=12)


@given(x=strategies.logits(most=300), pad=st.integers(1, 300))
@example(x=torch.tensor([[0.0, -1.0, -2.0]]), pad=1)
def test_what_runs_on_survivors_sees_no_padding_to_the_bit(x: Tensor, pad: int) -> None:
    padded = torch.cat((x, torch.full((len(x), pad), -math.inf, dtype=x.dtype)), -1)
    for f in (*(make(values[0]) for make, values in TRUNCATIONS.items()), DynamicTemperature(0.5, 2.0)):
        assert type(f).narrow
        assert torch.equal(f(padded)[:, : x.shape[-1]], f(x))


@given(x=strategies.logits(dtypes=[torch.float32]), f=filters, k=st.sampled_from([1, 7, 200]), seed=strategies.seeds())
def test_survivors_are_cut_as_whole_rows_are(x: Tensor, f: Any, k: int, seed: int) -> None:
    x = (x.clamp(-50, 50) * 8).round() / 8 + 0.0  # sums taken in another order do not part what ties
    noise = Noise.of(seed ^ torch.arange(len(x)), 0)
    few, whole = Categorical(chain(TopK(k), f)), Categorical(lambda logits: f(TopK(k)(logits).double()))
    a, b = (sampler.step(x, sampler.init([[0]] * len(x)), noise)[0] for sampler in (few, whole))
    c = [Classes(row) for row in TopK(k)(x)]
    (value,) = (getattr(f, name) for name in f.per_row)
    clear = [np.array_equal(*(ORACLES[type(f)](one, value, slack) for slack in (-SLACK, SLACK))) for one in c]
    assert torch.equal(a.kept[clear], b.kept[clear])
    assert torch.equal(a.token[clear], b.token[clear])


@pytest.mark.parametrize(
    "f",
    [
        Typical(torch.tensor([0.2, 0.9, 1.0])),
        Epsilon(torch.tensor([0.01, 0.03, 1.0])),
        Eta(torch.tensor([0.001, 0.2, 1.0])),
        TopNSigma(torch.tensor([0.5, 1.0, 9.0])),
        TopH(torch.tensor([0.2, 0.6, 1.0])),
        TailFree(torch.tensor([0.2, 0.9, 1.0])),
        DynamicTemperature(torch.tensor([0.0, 0.1, 0.2]), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 1.0, 2.0])),
    ],
    ids=lambda f: type(f).__name__,
)  # fmt: skip
def test_parameters_per_row_do_to_a_row_what_they_do_alone(f: Any) -> None:
    @given(x=strategies.logits(rows=3))
    def holds(x: Tensor) -> None:
        together = f(x)
        for i in range(3):
            alone = take(f, torch.tensor([i]))
            number = type(f)(*(float(getattr(f, name)[i]) for name in f.per_row))
            assert torch.equal(together[i : i + 1], alone(x[i : i + 1]))
            assert torch.equal(together[i], number(x[i]))

    holds()
    assert len({f(torch.linspace(0, -3, 40).expand(3, -1))[i, 1:].tolist().__repr__() for i in range(3)}) == 3


@given(
    x=strategies.logits(dtypes=[torch.float64]),
    low=st.floats(0.1, 1.0),
    more=st.floats(0.0, 2.0),
    exponent=st.sampled_from([0.3, 1.0, 2.5]),
)
def test_dynamic_temperature_divides_by_a_power_of_the_entropy(x: Tensor, low: float, more: float, exponent: float) -> None:
    x = x * (1 + 1e-9)  # digits that float32 does not have
    y = DynamicTemperature(low, low + more, exponent)(x)
    for before, after in zip(x, y, strict=True):
        c = Classes(before)
        n = c.counts.sum()
        unsure = max(0.0, float(c.entropy / np.log(np.longdouble(n)))) if n > 1 else 0.0
        expected = (before - before.max()) / (low + more * unsure**exponent)
        torch.testing.assert_close(after, expected, rtol=1e-9, atol=0)


def test_dynamic_temperature_is_greedy_where_low_is_0_and_nothing_is_unsure() -> None:
    y = DynamicTemperature(0.0, 1.0)(torch.tensor([[-math.inf, 3.0, -math.inf], [0.0, 0.0, -math.inf]]))
    assert y.tolist() == [[-math.inf, 0.0, -math.inf], [0.0, 0.0, -math.inf]]


@given(
    x=strategies.logits(columns=9),
    biases=st.dictionaries(st.integers(0, 8), st.one_of(st.floats(-50, 50), st.just(-math.inf)), min_size=1, max_size=8),
)
def test_a_bias_is_added_and_bans_are_cut(x: Tensor, biases: dict[int | str, float]) -> None:
    banned = [token for token, bias in biases.items() if bias == -math.inf]
    free = [token for token in range(9) if token not in banned]
    assume(bool((x[:, free] > -math.inf).any(-1).all()))
    expected = x.double().clone()
    for token, bias in biases.items():
        expected[:, int(token)] += bias
    torch.testing.assert_close(LogitBias(biases)(x).double(), expected, rtol=1e-6, atol=1e-5)
    ids = [int(token) for token in biases]
    others = [token for token in range(9) if token not in ids]
    if bool((x[:, others] > -math.inf).any(-1).all()):
        assert torch.equal(Banned(ids)(x), x.index_fill(-1, torch.tensor(ids), -math.inf))
        assert torch.equal(Allowed(others)(x), Banned(ids)(x))


@given(x=strategies.logits(columns=9, bad=True))
def test_rows_that_are_bad_stay_so_beside_rows_that_are_cut_by_id(x: Tensor) -> None:
    good = ((x == x) & (x < math.inf)).all(-1) & (x > -math.inf).any(-1)
    assume(bool((x[good][:, 4:] > -math.inf).any(-1).all()))
    for f in (Banned([0, 1, 2, 3]), Allowed([4, 5, 6, 7, 8])):
        y = f(x)
        assert torch.equal(y[~good].nan_to_num(7.0), x[~good].nan_to_num(7.0))
        assert torch.equal(y[good], x[good].index_fill(-1, torch.arange(4), -math.inf))
    biased = LogitBias({0: -math.inf, 1: -math.inf, 8: 2.0})(x)
    assert not biased[~good].amax(-1).isfinite().any()


@given(
    x=strategies.logits(dtypes=[torch.float64]),
    threshold=st.sampled_from([0.02, 0.1, 0.3, 0.5]),
    probability=st.sampled_from([0.2, 0.7, 1.0]),
    seed=strategies.seeds(),
)
def test_xtc_cuts_all_top_choices_but_the_last_where_its_coin_says_so(
    x: Tensor, threshold: float, probability: float, seed: int
) -> None:
    seeds = seed ^ torch.arange(len(x))
    y = XTC(threshold, probability).apply(x.clone(), None, Noise.of(seeds, 5))
    for before, after, one in zip(x, y, seeds, strict=True):
        c = Classes(before)
        assume(bool((np.abs(c.p / threshold - 1) > SLACK).all()))
        tops = c.values[c.p >= threshold]
        cut = bool(random.uniform(int(one), 5, -(2**32) - 0x585443) < probability) and len(tops) > 1
        most = float(tops[-1]) if cut else math.inf
        assert torch.equal(after, before.where(before <= most, -math.inf))


@given(x=strategies.logits(dtypes=[torch.float64], most=4097), pad=st.integers(0, 100))
def test_sums_of_a_row_are_the_rows_alone(x: Tensor, pad: int) -> None:
    x = x.clamp(-1e30, 1e30).exp().clamp(max=1e30)
    padded = torch.nn.functional.pad(x, (0, pad))
    for row, whole, parts in zip(x, total(padded), running(padded), strict=True):
        assert torch.equal(total(row), whole)
        assert torch.equal(running(row), parts[: len(row)])
        assert math.isclose(float(whole), math.fsum(row.tolist()), rel_tol=1e-14)
        at = len(row) // 2
        assert math.isclose(float(parts[at]), math.fsum(row[: at + 1].tolist()), rel_tol=1e-14)


def test_a_long_row_sums_to_the_same_bits_alone_and_in_a_batch() -> None:
    x = torch.randn(3, 60_001, generator=torch.Generator().manual_seed(3)) * 4
    together = masses(x)
    for i in range(3):
        alone = masses(x[i : i + 1])
        strided = masses(torch.stack((x, x), -1)[i : i + 1, :, 0])
        for a, b, c in zip(alone, together, strided, strict=True):
            assert torch.equal(a[0], b[i])
            assert torch.equal(c[0], b[i])
