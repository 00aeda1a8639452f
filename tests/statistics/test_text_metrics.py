"""Intervals and verdicts of text metrics hold as often as they say. Each test has a twin that shows that it can fail."""

import math

import torch

from aigc.metrics import text as T
from aigc.metrics.text import ScoredText
from aigc.metrics.text._bootstrap import interval, sign_flip

ALPHA_Z = 3.891  # two-sided, alpha 1e-4
TRIALS = 600


def documents(rng: torch.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Skewed nats that go with skewed sizes; their ratio is 2.5 in the long run."""
    size = torch.empty(n, dtype=torch.float64).exponential_(generator=rng) + 0.2
    noise = torch.empty(n, dtype=torch.float64).exponential_(generator=rng)
    return size * (1.5 + noise), size


def z_of(hits: int, trials: int, share: float) -> float:
    return (hits - trials * share) / math.sqrt(trials * share * (1 - share))


def coverage(confidence: float, *, aim: float) -> int:
    rng = torch.Generator().manual_seed(20)
    hits = 0
    for trial in range(TRIALS):
        x, y = documents(rng, 150)
        low, high = interval(x, y, confidence=confidence, resamples=600, seed=trial)
        hits += low <= aim <= high
    return hits


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """90% of 600, alpha 1e-4: of 150 documents the error of BCa itself is below 1%, within what the test forgives."""
    assert abs(z_of(coverage(0.9, aim=2.5), TRIALS, 0.9)) < ALPHA_Z


def test_twin_an_interval_that_is_too_narrow_is_found_out() -> None:
    assert z_of(coverage(0.8, aim=2.5), TRIALS, 0.9) < -ALPHA_Z


def verdicts(shift: float, *, n: int = 40, trials: int = 400) -> int:
    """How often one of two models is called better, the second worse by some nats a document."""
    rng = torch.Generator().manual_seed(21)
    hits = 0
    for trial in range(trials):
        hard = 60 + 20 * torch.randn(n, generator=rng, dtype=torch.float64)
        a, b = hard + torch.randn(2, n, generator=rng, dtype=torch.float64)
        pair = [[ScoredText(float(v), 20, 100, 100) for v in values] for values in (a, b + shift)]
        hits += T.compare(*pair, resamples=300, seed=trial).verdict != "undecided"
    return hits


def test_equal_models_are_told_apart_no_more_often_than_the_level_says() -> None:
    """5% of 400 at most, one-sided alpha 5e-5; the verdict needs two tests to agree, so it may be less."""
    assert z_of(verdicts(0.0), 400, 0.05) < ALPHA_Z


def test_equal_models_are_not_told_apart_by_few_documents_either() -> None:
    assert z_of(verdicts(0.0, n=7), 400, 0.05) < ALPHA_Z


def test_twin_models_that_differ_are_told_apart() -> None:
    assert z_of(verdicts(1.0), 400, 0.05) > ALPHA_Z


def test_the_p_value_of_many_documents_is_uniform_where_nothing_differs() -> None:
    """Chi-square over ten cells, 9 degrees, alpha 1e-4: 33.7; its twin has a shift of a third of a deviation."""

    def chi(shift: float) -> float:
        rng = torch.Generator().manual_seed(22)
        values = [
            sign_flip(torch.randn(20, generator=rng, dtype=torch.float64) + shift, resamples=199, seed=trial)
            for trial in range(500)
        ]
        cells = torch.tensor([min(9, int((value - 1e-9) * 10)) for value in values]).bincount(minlength=10)
        return float((cells - 50).double().square().sum() / 50)

    assert chi(0.0) < 33.7 < chi(1 / 3)


def test_the_baseline_of_mauve_is_what_an_equal_law_has() -> None:
    """Mean differences of 30 pairs, z-test, alpha 1e-4; the twin is a law moved by half a deviation."""

    def z(shift: float) -> float:
        off = []
        for trial in range(30):
            rng = torch.Generator().manual_seed(100 + trial)
            x, y = torch.randn(2, 120, 2, generator=rng, dtype=torch.float64)
            found = T.mauve(x, y + shift, seed=trial, restarts=1)
            off.append(found.baseline - found.at_part)
        values = torch.tensor(off)
        return float(values.mean() / values.std() * math.sqrt(len(off)))

    assert abs(z(0.0)) < ALPHA_Z < z(0.5)
