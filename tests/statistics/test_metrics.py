"""Metrics of sets whose law is known: expectations by z-tests, each with a twin that shows that the test can fail.

Every test here is of 4 standard errors: it rejects a true law once in 16,000 runs. Seeds are fixed, so a pass is a pass.
"""

import math

import pytest
import torch
from torch import Tensor

from aigc import metrics

BOUND = 4.0


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def z(values: list[float], expected: float) -> float:
    """How many standard errors the mean is from an expectation."""
    found = torch.tensor(values, dtype=torch.float64)
    return float((found.mean() - expected) / (found.std() / math.sqrt(len(found))))


def pairs(trials: int, n: int, m: int, d: int) -> list[tuple[Tensor, Tensor]]:
    return [(x[:n], x[n:]) for x in normal(trials, n + m, d, seed=n + m)]


def test_kernel_distance_has_no_bias() -> None:
    values = [metrics.kid(x, y, subsets=None).value for x, y in pairs(400, 40, 60, 5)]
    assert abs(z(values, 0)) < BOUND
    assert min(values) < 0


def test_twin_a_kernel_distance_with_each_example_beside_itself_is_rejected() -> None:
    def biased(x: Tensor, y: Tensor) -> float:
        within = [((a @ a.T / 5 + 1) ** 3).mean() for a in (x, y)]
        return float(sum(within) - 2 * ((x @ y.T / 5 + 1) ** 3).mean())

    assert z([biased(x, y) for x, y in pairs(400, 40, 60, 5)], 0) > BOUND


def test_twin_a_small_shift_is_seen() -> None:
    assert z([metrics.kid(x, y + 0.1, subsets=None).value for x, y in pairs(400, 40, 60, 5)], 0) > BOUND


def test_subsets_of_the_kernel_distance_have_no_bias_either() -> None:
    assert abs(z([metrics.kid(x, y, subsets=10, size=20).mean for x, y in pairs(150, 40, 60, 5)], 0)) < BOUND


@pytest.mark.parametrize("n, m, k, d, coverage", [(200, 200, 5, 2, 0.9699), (200, 100, 3, 8, 0.7067)])
def test_density_and_coverage_of_equal_laws(n: int, m: int, k: int, d: int, coverage: float) -> None:
    """Of 200 and 200 with k = 5, and of 200 and 100 with k = 3, whatever the law: here two very different ones."""
    found = [metrics.density_coverage(x, y, k=k) for a, b in pairs(150, n, m, d) for x, y in ((a, b), (a.exp(), b.exp()))]
    assert found[0].expected_coverage == pytest.approx(coverage, abs=5e-5)
    for law in (found[::2], found[1::2]):
        assert abs(z([each.coverage for each in law], found[0].expected_coverage)) < BOUND
        assert abs(z([each.density for each in law], 1)) < BOUND


def test_twin_one_neighbour_less_is_rejected() -> None:
    found = [metrics.density_coverage(x, y, k=2) for x, y in pairs(150, 200, 100, 8)]
    assert z([each.coverage for each in found], 0.7067) < -BOUND
    narrow = [metrics.density_coverage(x, 0.9 * y + 0.2, k=3) for x, y in pairs(150, 200, 100, 8)]
    assert abs(z([each.density for each in narrow], 1)) > BOUND


def test_frechet_distance_is_biased_upwards_by_one_over_n() -> None:
    means = []
    for n in (100, 200, 400):
        values = [metrics.frechet_distance(x, y).value for x, y in pairs(60, n, n, 4)]
        assert z(values, 0) > BOUND
        means.append(sum(values) / len(values))
    assert means[0] / means[1] == pytest.approx(2, rel=0.15)
    assert means[1] / means[2] == pytest.approx(2, rel=0.15)


def grid(n: int, seed: int, *, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """PacGAN's: 25 modes of deviation 0.05."""
    side = torch.tensor([-4.0, -2.0, 0.0, 2.0, 4.0], dtype=torch.float64)
    centres = torch.cartesian_prod(side, side)
    modes = torch.randint(25, (n,), generator=torch.Generator().manual_seed(seed))
    return centres, centres[modes] + 0.05 * scale * normal(n, 2, seed=seed)


def test_modes_of_a_perfect_sampler() -> None:
    found = [metrics.mode_coverage(x, centres=centres, std=0.05) for centres, x in (grid(2500, s) for s in range(60))]
    assert {each.modes for each in found} == {25}
    assert abs(z([each.high_quality for each in found], 1 - math.exp(-4.5))) < BOUND
    assert found[0].expected_divergence == pytest.approx(0.0048)
    assert abs(z([each.divergence for each in found], 0.0048)) < BOUND  # the next term of the expansion is 1% of it
    wide = [metrics.mode_coverage(x, centres=c, std=0.05) for c, x in (grid(2500, s, scale=1.02) for s in range(60))]
    assert z([each.high_quality for each in wide], 1 - math.exp(-4.5)) < -BOUND  # the twin


def shares(values: list[float]) -> float:
    """z of the mean of squares of standard normals, whose variance is 2."""
    squares = torch.tensor(values, dtype=torch.float64).square()
    return float((squares.mean() - 1) / math.sqrt(2 / len(squares)))


@pytest.mark.parametrize("classifier", ["neighbours", "linear"])
def test_two_samples_of_one_law_give_standard_normal_scores(classifier: str) -> None:
    found = [
        metrics.c2st(x, y, classifier=classifier, permutations=100, seed=i)
        for i, (x, y) in enumerate(pairs(250, 60, 60, 2))
    ]
    scores = [each.z for each in found]
    assert abs(z([each.accuracy for each in found], 0.5)) < BOUND
    assert abs(z(scores, 0)) < BOUND
    assert abs(shares(scores)) < BOUND
    small = sum(each.p_value < 0.05 for each in found)
    assert abs(small - 12.5) < BOUND * math.sqrt(250 * 0.05 * 0.95)
    coins = [(each.accuracy - 0.5) / (0.5 / math.sqrt(120)) for each in found]
    assert shares(coins) > BOUND  # the twin: folds share examples, and coins do not


def test_a_shift_of_gaussians_is_told_as_well_as_it_can_be() -> None:
    shift = 1.5
    best = 0.5 * math.erfc(-shift / 2 / math.sqrt(2))  # Phi(d / 2)
    values: dict[str, list[float]] = {"neighbours": [], "linear": []}
    for i, (x, y) in enumerate(pairs(12, 1000, 1000, 2)):
        moved = y + torch.tensor([shift, 0.0], dtype=torch.float64)
        for classifier, found in values.items():
            test = metrics.c2st(x, moved, classifier=classifier, permutations=20, seed=i)
            found.append(test.accuracy)
            assert test.p_value < 1e-12
            assert test.total_variation == pytest.approx(2 * test.accuracy - 1)
    # Fisher's discriminant of 1,600 examples in the plane loses less than 0.001; neighbours lose about 0.01.
    assert abs(z(values["linear"], best)) < BOUND
    assert best - 0.02 < sum(values["neighbours"]) / 12 < best
    assert z(values["linear"], best + 0.015) < -BOUND  # the twin


def test_only_neighbours_see_a_difference_of_spread() -> None:
    (x, y), *_ = pairs(1, 600, 600, 2)
    assert metrics.c2st(x, 2 * y, classifier="neighbours", permutations=50).p_value < 1e-6
    assert metrics.c2st(x - x.mean(0), 2 * (y - y.mean(0)), classifier="linear", permutations=50).p_value > 1e-3


def test_equal_distances_favour_neither_set() -> None:
    """All neighbours are at distance 0: which of them vote is drawn, and is not the order of the sets."""
    real, fake = ((torch.arange(300) % 10 < count).double()[:, None] for count in (2, 8))
    assert metrics.c2st(real, fake, permutations=50).accuracy == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("classifier", ["neighbours", "linear"])
def test_nothing_is_found_where_all_examples_are_equal(classifier: str) -> None:
    found = metrics.c2st(torch.ones(40, 3), torch.ones(50, 3), classifier=classifier)
    assert abs(found.z) < BOUND
    assert found.p_value > 1e-4


def test_copies_of_the_real_set_are_told_worse_than_by_chance() -> None:
    (x, _), *_ = pairs(1, 300, 300, 2)
    assert metrics.c2st(x, x, permutations=50).accuracy <= 0.5
