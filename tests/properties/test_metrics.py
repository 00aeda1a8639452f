"""The laws of metrics of features, against numpy and against closed forms."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from aigc import metrics
from aigc.metrics import Moments

SEEDS = st.integers(0, 10**6)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthogonal(d: int, seed: int) -> Tensor:
    return torch.linalg.qr(normal(d, d, seed=seed)).Q


def formula(m1: np.ndarray, s1: np.ndarray, m2: np.ndarray, s2: np.ndarray) -> float:
    """The published formula, by the eigenvalues of the product of the covariances."""
    roots = np.sqrt(np.linalg.eigvals(s1 @ s2).astype(complex)).real.sum()
    return float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * roots)


def formula_of(x: Tensor, y: Tensor) -> float:
    a, b = x.numpy(), y.numpy()
    return formula(a.mean(0), np.atleast_2d(np.cov(a.T)), b.mean(0), np.atleast_2d(np.cov(b.T)))


@given(seed=SEEDS, d=st.integers(1, 6), n=st.integers(8, 30), m=st.integers(8, 30), shift=st.floats(-5, 5))
def test_frechet_distance_is_the_formula(seed: int, d: int, n: int, m: int, shift: float) -> None:
    x = normal(n, d, seed=seed) @ normal(d, d, seed=seed + 1)
    y = normal(m, d, seed=seed + 2) + shift
    wanted = formula_of(x, y)
    scale = float(x.square().sum() + y.square().sum())
    found = metrics.frechet_distance(x, y)
    assert found.value == pytest.approx(wanted, abs=1e-8 * scale)
    assert found.mean_term == pytest.approx(float((x.mean(0) - y.mean(0)).square().sum()), abs=1e-12 * scale)
    assert found.value == found.mean_term + found.covariance_term
    for a, b in ((Moments.of(x), y), (x, Moments.of(y)), (Moments.of(x), Moments.of(y)), (y, x)):
        assert metrics.frechet_distance(a, b).value == pytest.approx(wanted, abs=1e-8 * scale)


@given(seed=SEEDS, d=st.integers(1, 7), zeros=st.integers(0, 2))
def test_frechet_distance_of_commuting_gaussians(seed: int, d: int, zeros: int) -> None:
    turn = orthogonal(d, seed)
    first, second = (normal(d, seed=seed + i).square() for i in (1, 2))
    first[:zeros] = 0
    means = normal(2, d, seed=seed + 3)
    a, b = (
        Moments.known(mean, turn @ torch.diag(spread) @ turn.T, n=100)
        for mean, spread in zip(means, (first, second), strict=True)
    )
    wanted = (means[0] - means[1]).square().sum() + (first.sqrt() - second.sqrt()).square().sum()
    assert metrics.frechet_distance(a, b).value == pytest.approx(float(wanted), rel=1e-8, abs=1e-8)


@given(m=st.floats(-9, 9), s=st.floats(0.01, 9), t=st.floats(0.01, 9))
def test_frechet_distance_in_one_dimension(m: float, s: float, t: float) -> None:
    unit = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)  # of variance 1 over n - 1
    assert metrics.frechet_distance(s * unit, t * unit + m).value == pytest.approx(m**2 + (s - t) ** 2, abs=1e-10)


@given(seed=SEEDS, n=st.integers(2, 40), d=st.integers(1, 12), scale=st.floats(1e-3, 1e3))
def test_frechet_distance_of_a_set_from_itself_and_moved(seed: int, n: int, d: int, scale: float) -> None:
    x = scale * normal(n, d, seed=seed) + 100 * scale
    assert 0 <= metrics.frechet_distance(x, x).value <= 1e-20 * float(x.square().sum())
    assert metrics.frechet_distance(x, Moments.of(x)).value <= 1e-12 * float(x.square().sum())
    moved = metrics.frechet_distance(x, x + 3 * scale)
    assert moved.value == pytest.approx(9 * scale**2 * d, rel=1e-9)
    assert moved.mean_term == pytest.approx(moved.value, rel=1e-9)


@given(seed=SEEDS, n=st.integers(2, 30), m=st.integers(2, 30), d=st.integers(1, 12), c=st.floats(0.1, 10))
def test_frechet_distance_is_symmetric_and_turns_and_scales(seed: int, n: int, m: int, d: int, c: float) -> None:
    x, y = normal(n, d, seed=seed), 2 * normal(m, d, seed=seed + 1) + 1
    value = metrics.frechet_distance(x, y).value
    turn, near = orthogonal(d, seed + 2), {"rel": 1e-9, "abs": 1e-9}
    assert metrics.frechet_distance(y, x).value == pytest.approx(value, **near)
    assert metrics.frechet_distance(x @ turn, y @ turn).value == pytest.approx(value, **near)
    assert metrics.frechet_distance(c * x + 7, c * y + 7).value == pytest.approx(c**2 * value, **near)


@given(seed=SEEDS, rank=st.integers(1, 3), n=st.integers(8, 60), m=st.integers(8, 60), d=st.integers(4, 50))
def test_frechet_distance_of_low_rank_and_of_fewer_examples_than_dimensions(
    seed: int, rank: int, n: int, m: int, d: int
) -> None:
    """Data of few dimensions, within a space of many: the distance is that in the few."""
    x, y = normal(n, rank, seed=seed), normal(m, rank, seed=seed + 1) @ normal(rank, rank, seed=seed + 2) + 1
    into = orthogonal(d, seed + 3)[:rank]
    wide_x, wide_y, wanted = x @ into, y @ into, formula_of(x, y)
    near = {"abs": 1e-8 * float(x.square().sum() + y.square().sum())}
    assert metrics.frechet_distance(wide_x, wide_y).value == pytest.approx(wanted, **near)
    assert metrics.frechet_distance(Moments.of(wide_x), Moments.of(wide_y)).value == pytest.approx(wanted, **near)
    assert metrics.frechet_distance(wide_x, Moments.of(wide_y)).value == pytest.approx(wanted, **near)


def test_eigenvalues_of_rounding_are_left_out() -> None:
    """A covariance of rank 1 beside the identity: 200 roots of 1e-17 would add up to 1e-7."""
    direction = orthogonal(200, 1)[0]
    line = Moments.known(torch.zeros(200), torch.outer(direction, direction), n=99)
    ball = Moments.known(torch.zeros(200), torch.eye(200), n=99)
    assert metrics.frechet_distance(line, ball).value == pytest.approx(1 + 200 - 2, abs=1e-10)


def test_frechet_distance_of_more_examples_than_a_block() -> None:
    x, y = normal(5000, 3, seed=1), normal(2500, 3, seed=2) * torch.tensor([1.0, 2.0, 3.0]) + 1e4
    assert metrics.frechet_distance(x, y).value == pytest.approx(formula_of(x, y), rel=1e-9)
    halves = metrics.frechet_distance(x.float(), y.float())
    assert halves.value == pytest.approx(formula_of(x.float().double(), y.float().double()), rel=1e-9)


@given(seed=SEEDS, n=st.integers(2, 60), d=st.integers(1, 5), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_moments_of_parts_are_those_of_the_whole(seed: int, n: int, d: int, cuts: list[int]) -> None:
    x = normal(n, d, seed=seed) @ normal(d, d, seed=seed + 1) + 1e4
    edges = [0, *sorted(min(cut, n) for cut in cuts), n]
    parts = [x[a:b] for a, b in pairwise(edges)]
    streamed = Moments.of(parts[0])
    for part in parts[1:]:
        streamed = streamed.update(part)
    tree = Moments.of(parts[-1])
    for part in reversed(parts[:-1]):
        tree = Moments.of(part) + tree
    for found in (streamed, tree):
        assert found.n == n
        np.testing.assert_allclose(found.mean, x.numpy().mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.covariance, np.atleast_2d(np.cov(x.numpy().T)), rtol=1e-10, atol=1e-10)
    y = normal(50, d, seed=seed + 2) + 1e4
    assume(n > d + 5)  # singular covariances are rounded differently, and their roots show it
    wanted = metrics.frechet_distance(Moments.of(x), y).value
    assert metrics.frechet_distance(streamed, y).value == pytest.approx(wanted, rel=1e-10, abs=1e-10)


def kernel_mean(a: np.ndarray, b: np.ndarray, *, same: bool) -> float:
    values = [(u @ v / a.shape[1] + 1) ** 3 for i, u in enumerate(a) for j, v in enumerate(b) if not (same and i == j)]
    return float(np.mean(values))


@given(seed=SEEDS, n=st.integers(2, 12), m=st.integers(2, 12), d=st.integers(1, 4), block=st.integers(1, 15))
def test_kernel_distance_is_brute_force_at_any_block(seed: int, n: int, m: int, d: int, block: int) -> None:
    x, y = normal(n, d, seed=seed), normal(m, d, seed=seed + 1) + 1
    a, b = x.numpy(), y.numpy()
    wanted = kernel_mean(a, a, same=True) + kernel_mean(b, b, same=True) - 2 * kernel_mean(a, b, same=False)
    found = metrics.kid(x, y, subsets=None, block=block)
    assert found.value == pytest.approx(wanted, rel=1e-10, abs=1e-10)
    assert metrics.kid(y, x, subsets=None, block=block).value == pytest.approx(wanted, rel=1e-10, abs=1e-10)
    assert (found.mean, found.standard_error, found.deviation, found.subsets, found.size) == (None,) * 5


def test_kernel_distance_over_subsets() -> None:
    x, y = normal(40, 3, seed=1), normal(30, 3, seed=2) + 1
    found = metrics.kid(x, y, subsets=400, size=10, seed=3)
    again = metrics.kid(x, y, subsets=400, size=10, seed=3, block=7)
    assert (again.value, again.mean, again.deviation) == pytest.approx(
        (found.value, found.mean, found.deviation), rel=1e-10
    )
    assert found.mean != metrics.kid(x, y, subsets=400, size=10, seed=4).mean
    assert found.standard_error == pytest.approx(found.deviation / 20)
    assert abs(found.mean - found.value) < 4 * found.standard_error  # the value is the mean over all subsets
    # A subset of all is all: each gives the value, and nothing varies.
    whole = metrics.kid(x[:30], y, subsets=3, size=30)
    assert whole.mean == pytest.approx(whole.value, rel=1e-10)
    assert whole.deviation == pytest.approx(0, abs=1e-12)


def reference(x: np.ndarray, y: np.ndarray, k: int) -> tuple[float, float, float, float]:
    """Precision, recall, density, coverage as Naeem et al. define them; squared distances, exact on integers."""

    def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((a[:, None] - b[None]) ** 2).sum(-1)

    real, fake = (np.sort(between(z, z), axis=1)[:, k] for z in (x, y))  # the first is the example itself
    cross = between(x, y)
    within = cross < real[:, None]
    recall = (cross < fake[None]).any(1).mean()
    return within.any(0).mean(), recall, within.sum() / (k * len(y)), within.any(1).mean()


@given(
    seed=SEEDS,
    n=st.integers(6, 30),
    m=st.integers(6, 30),
    d=st.integers(1, 3),
    k=st.integers(1, 5),
    block=st.integers(1, 40),
    kind=st.sampled_from(["normal", "grid", "copies", "offset"]),
)
@settings(max_examples=150)
def test_neighbours_are_the_reference_formulas(seed: int, n: int, m: int, d: int, k: int, block: int, kind: str) -> None:
    x, y = normal(n, d, seed=seed), normal(m, d, seed=seed + 1) + 0.5
    if kind == "grid":  # many equal distances, and many examples that occur twice
        x, y = x.round(), y.round()
    if kind == "copies":
        x, y = x.round(), x.round().repeat(5, 1)[:m]
    wanted = reference(x.numpy(), y.numpy(), k)
    if kind == "offset":
        x, y = 1024 + x.float().double(), 1024 + y.float().double()
        wanted = reference(x.numpy(), y.numpy(), k)
    both = metrics.precision_recall(x, y, k=k, block=block)
    once = metrics.density_coverage(x, y, k=k, block=block)
    assert (both.precision, both.recall, once.density, once.coverage) == pytest.approx(wanted, abs=1e-12)
    swapped = metrics.precision_recall(y, x, k=k, block=block)
    assert (swapped.precision, swapped.recall) == (both.recall, both.precision)


def test_a_set_beside_itself() -> None:
    x = normal(300, 5).float()
    once = metrics.density_coverage(x, x, k=4)
    assert (once.density, once.coverage) == (1.0, 1.0)  # the k-th neighbour is at the radius, and not within it
    collapsed = x[:1].repeat(300, 1)
    assert metrics.precision_recall(x, collapsed).precision == 1.0
    assert metrics.precision_recall(x, collapsed).recall == 0.0
    assert metrics.density_coverage(x, x[:1]).coverage == metrics.density_coverage(x, collapsed).coverage < 0.1
    far = metrics.density_coverage(x, x + 1e6)
    assert (far.density, far.coverage) == (0.0, 0.0)


@given(n=st.integers(6, 40), m=st.integers(1, 40), k=st.integers(1, 5))
def test_expected_coverage_is_a_share_of_orders(n: int, m: int, k: int) -> None:
    """Of n - 1 other real examples and m generated, all orders being as likely, the k nearest are real."""
    found = metrics.density_coverage(normal(n, 1), normal(m, 1, seed=1), k=k)
    assert found.expected_coverage == pytest.approx(1 - math.comb(n - 1, k) / math.comb(n + m - 1, k))


@given(seed=SEEDS, n=st.integers(1, 20), classes=st.integers(2, 6), sharpness=st.floats(0, 50))
def test_inception_score_is_the_formula_within_its_bounds(seed: int, n: int, classes: int, sharpness: float) -> None:
    p = (sharpness * normal(n, classes, seed=seed)).softmax(-1)
    rows, mean = p.tolist(), p.mean(0).tolist()
    divergences = [sum(q * math.log(q / r) for q, r in zip(row, mean, strict=True) if q > 0) for row in rows]
    found = metrics.inception_score(p)
    assert found.value == pytest.approx(math.exp(sum(divergences) / n), rel=1e-9)
    assert 1 - 1e-9 <= found.value <= min(classes, n) + 1e-9
    assert (found.deviation, found.splits, found.classes, found.n_fake) == (None, None, classes, n)


def test_inception_score_at_its_ends_and_over_splits() -> None:
    assert metrics.inception_score(torch.full((7, 4), 0.25)).value == pytest.approx(1)
    assert metrics.inception_score(torch.eye(6).repeat(5, 1)).value == pytest.approx(6)
    p = torch.cat([torch.eye(4), torch.full((4, 4), 0.25)])
    found = metrics.inception_score(p, splits=2)
    assert found.value == pytest.approx((4 + 1) / 2)
    assert found.deviation == pytest.approx(np.std([4, 1], ddof=1))


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=40),
    weights=st.none() | st.lists(st.integers(0, 4), min_size=6, max_size=6),
)
def test_modes_of_labels(labels: list[int], weights: list[int] | None) -> None:
    assume(weights is None or sum(weights) > 0)
    law = [1 / 6] * 6 if weights is None else [w / sum(weights) for w in weights]
    found = metrics.mode_coverage(
        torch.tensor(labels), modes=6, reference=None if weights is None else torch.tensor(law, dtype=torch.float64)
    )
    shares = [labels.count(i) / len(labels) for i in range(6)]
    wanted = sum(q * (math.log(q / p) if p else math.inf) for q, p in zip(shares, law, strict=True) if q)
    assert found.divergence == pytest.approx(wanted, abs=1e-12)
    assert found.divergence >= 0
    assert (found.modes, found.total, found.n_fake) == (len(set(labels)), 6, len(labels))
    assert found.counts.tolist() == [labels.count(i) for i in range(6)]
    assert found.high_quality is None


@given(seed=SEEDS, n=st.integers(1, 30), k=st.integers(2, 6), std=st.floats(0.05, 1), radius=st.floats(0.5, 4))
def test_modes_of_points(seed: int, n: int, k: int, std: float, radius: float) -> None:
    centres, points = 2 * normal(k, 2, seed=seed), 2 * normal(n, 2, seed=seed + 1)
    found = metrics.mode_coverage(points, centres=centres, std=std, radius=radius)
    nearest, good = [], []
    for point in points.tolist():
        distances = [math.dist(point, centre) for centre in centres.tolist()]
        nearest.append(distances.index(min(distances)))
        good.append(min(distances) / std < radius)
    assert found.high_quality == pytest.approx(sum(good) / n)
    assert found.modes == len({mode for mode, is_good in zip(nearest, good, strict=True) if is_good})
    assert found.counts.tolist() == [nearest.count(i) for i in range(k)]
    shares = [nearest.count(i) / n for i in range(k)]
    assert found.divergence == pytest.approx(sum(q * math.log(q * k) for q in shares if q), abs=1e-12)
