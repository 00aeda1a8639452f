"""The laws of likelihoods: they add up to one, they are what they say, and they draw by it."""

import itertools
import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, distributions

from aigc.errors import ParameterError, TypeParameterError
from aigc.testing import chi_square
from aigc.vae.likelihoods import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretisedLogistic,
    Gaussian,
    Laplace,
    LogisticMixture,
)

mpmath.mp.dps = 40
ALPHA = 1e-6  # of each chi-square test
SEEDS = st.integers(0, 10**6)
LOGIT = st.floats(-60, 60)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def levels(bins: int) -> Tensor:
    return torch.arange(bins, dtype=torch.float64)[:, None] / (bins - 1)


@given(seed=SEEDS, n=st.integers(1, 9), scale=st.sampled_from([0.1, 3.0, 30.0]))
@settings(max_examples=30, deadline=None)
def test_bernoulli_adds_up_to_one(seed: int, n: int, scale: float) -> None:
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)
    logits = normal(1, n, seed=seed) * scale
    logp = Bernoulli().log_prob(logits.expand(2**n, n), every)
    assert float(logp.exp().sum()) == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(logp, distributions.Bernoulli(logits=logits).log_prob(every).sum(-1))


@given(seed=SEEDS, n=st.integers(1, 3), classes=st.integers(2, 5), scale=st.sampled_from([0.1, 3.0, 30.0]))
@settings(max_examples=30, deadline=None)
def test_categorical_adds_up_to_one(seed: int, n: int, classes: int, scale: float) -> None:
    every = torch.tensor(list(itertools.product(range(classes), repeat=n)))
    logits = normal(1, classes, n, seed=seed) * scale
    logp = Categorical(classes).log_prob(logits.expand(len(every), classes, n), every)
    assert float(logp.exp().sum()) == pytest.approx(1, abs=1e-12)
    reference = distributions.Categorical(logits=logits.movedim(1, -1)).log_prob(every).sum(-1)
    torch.testing.assert_close(logp, reference)


@given(
    bins=st.sampled_from([2, 3, 16, 256]),
    location=st.floats(-3, 4),
    log_scale=st.floats(-16, 16),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=100, deadline=None)
def test_discretised_logistic_adds_up_to_one(bins: int, location: float, log_scale: float, dtype: torch.dtype) -> None:
    x, tolerance = (
        levels(bins).to(dtype),
        1e-10 if dtype == torch.float64 else 2e-4,
    )  # float32: a bin edge is off by 2^-24 / s
    parameters = torch.tensor([[location, log_scale]], dtype=dtype).expand(bins, 2)
    logp = DiscretisedLogistic(bins).log_prob(parameters, x)
    assert logp.isfinite().all()
    assert (logp <= 0).all()
    if dtype == torch.float64 or log_scale > -8:
        assert float(logp.double().exp().sum()) == pytest.approx(1, abs=tolerance)


@given(seed=SEEDS, components=st.integers(1, 4), bins=st.sampled_from([2, 8, 256]))
@settings(max_examples=30, deadline=None)
def test_a_mixture_of_logistics_is_the_weighted_sum(seed: int, components: int, bins: int) -> None:
    x, parameters = levels(bins), normal(1, 3 * components, seed=seed) * 2
    mixture = LogisticMixture(components, bins=bins)
    found = mixture.log_prob(parameters.expand(bins, -1), x).exp()
    assert float(found.sum()) == pytest.approx(1, abs=1e-10)
    logits, location, log_scale = parameters[0].split(components)
    weights = logits.exp() / logits.exp().sum()
    single = DiscretisedLogistic(bins)
    each = [single.log_prob(torch.stack([m, s]).expand(bins, 2), x).exp() for m, s in zip(location, log_scale, strict=True)]
    torch.testing.assert_close(found, sum(w * p for w, p in zip(weights, each, strict=True)), rtol=1e-10, atol=1e-300)


@given(
    bins=st.sampled_from([2, 16, 256]),
    place=st.floats(0, 1),
    location=st.floats(-3, 4),
    log_scale=st.floats(-9, 5),
)
@settings(max_examples=100, deadline=None)
def test_discretised_logistic_is_a_difference_of_distribution_functions(
    bins: int, place: float, location: float, log_scale: float
) -> None:
    level = round(place * (bins - 1))
    m, s = mpmath.mpf(location), mpmath.exp(mpmath.mpf(log_scale))
    with mpmath.workdps(60):

        def cdf(edge: Any) -> Any:
            return 1 / (1 + mpmath.exp(-((mpmath.mpf(edge) - m) / s)))

        def survival(edge: Any) -> Any:
            return 1 / (1 + mpmath.exp((mpmath.mpf(edge) - m) / s))

        low, high = (mpmath.mpf(2 * level + sign) / (2 * (bins - 1)) for sign in (-1, 1))
        if level == 0:
            mass = cdf(high)
        elif level == bins - 1:
            mass = survival(low)
        else:  # of the two, the difference that does not cancel at 60 digits
            mass = cdf(high) - cdf(low) if low < m else survival(low) - survival(high)
        wanted = float(mpmath.log(mass))
    parameters = torch.tensor([[location, log_scale]], dtype=torch.float64)
    found = float(DiscretisedLogistic(bins).log_prob(parameters, levels(bins)[[level]]))
    assert found == pytest.approx(wanted, rel=1e-8, abs=1e-10)  # edges in float64, divided by scales down to 1e-4


@given(logit=st.one_of(LOGIT, st.floats(-1, 1), st.sampled_from([0.0, 0.4999999, 0.5, 0.5000001, 1e-9, -1e-5])))
@settings(max_examples=80, deadline=None)
def test_continuous_bernoulli(logit: float) -> None:
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(120))
    x, likelihood = (nodes[:, None] + 1) / 2, ContinuousBernoulli()
    l = torch.full((120, 1), logit, dtype=torch.float64, requires_grad=True)  # noqa: E741
    logp = likelihood.log_prob(l, x)
    density = logp.detach().exp() * weights / 2
    assert float(density.sum()) == pytest.approx(1, abs=1e-11)
    mean = likelihood.mean(l[:1]).detach()
    assert float(mean) == pytest.approx(float((density * x[:, 0]).sum()), abs=1e-11)
    logp.sum().backward()
    torch.testing.assert_close(l.grad, x - mean, rtol=1e-9, atol=1e-9)  # an exponential family: the score is x - E x
    # The formula of the paper, in high precision.
    rate = 1 / (1 + mpmath.exp(-mpmath.mpf(logit)))
    log_c = mpmath.log(2 if abs(logit) < 1e-12 else 2 * mpmath.atanh(1 - 2 * rate) / (1 - 2 * rate))
    wanted = float(mpmath.mpf(0.3) * mpmath.log(rate) + mpmath.mpf(0.7) * mpmath.log(1 - rate) + log_c)
    found = likelihood.log_prob(torch.tensor([[logit]], dtype=torch.float64), torch.full((1, 1), 0.3, dtype=torch.float64))
    assert float(found) == pytest.approx(wanted, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("kind", [Gaussian, Laplace])
@given(location=st.floats(-5, 5), log_scale=st.floats(-4, 4))
@settings(max_examples=20, deadline=None)
def test_locations_integrate_to_one(kind: Any, location: float, log_scale: float) -> None:
    scale = math.exp(log_scale)
    # From the location to either side, where the Laplace density has its corner.
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(200))
    reach = 45 * scale if kind is Laplace else 12 * scale
    right = (nodes + 1) / 2 * reach
    x = torch.cat([location - right, location + right])[:, None]
    reference = (distributions.Laplace if kind is Laplace else distributions.Normal)(
        *torch.tensor([location, scale], dtype=torch.float64)
    )
    predicted = torch.tensor([[location, log_scale]], dtype=torch.float64).expand(400, 2)
    for logp in (kind(scale).log_prob(predicted[:, :1], x), kind("predicted").log_prob(predicted, x)):
        assert float((logp.exp() * weights.repeat(2)).sum() * reach / 2) == pytest.approx(1, abs=1e-9)
        torch.testing.assert_close(logp, reference.log_prob(x)[:, 0], rtol=1e-9, atol=1e-9)
    shared = kind("shared").double()
    with torch.no_grad():
        shared.spread.log_scale.fill_(log_scale)
    torch.testing.assert_close(shared.log_prob(predicted[:, :1], x), reference.log_prob(x)[:, 0])
    assert len(list(shared.parameters())) == 1


@pytest.mark.parametrize("kind, power", [(Gaussian, 2), (Laplace, 1)])
@given(seed=SEEDS, batch=st.integers(1, 5), n=st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_the_optimal_scale(kind: Any, power: int, seed: int, batch: int, n: int) -> None:
    x, mean = normal(batch, n, seed=seed), normal(batch, n, seed=seed + 1).requires_grad_()
    error = float((x - mean.detach()).abs().pow(power).mean())
    best = kind("optimal").log_prob(mean, x)
    closed = n / 2 * (1 + math.log(2 * math.pi * error)) if power == 2 else n * (1 + math.log(2 * error))
    assert -float(best.detach().mean()) == pytest.approx(closed, rel=1e-12)
    scale = error ** (1 / power)
    for other in (0.9 * scale, 1.1 * scale):
        assert float(kind(other).log_prob(mean.detach(), x).sum()) < float(best.detach().sum())
    torch.testing.assert_close(kind(scale).log_prob(mean, x), best)
    # No gradient is missing: it is that of the closed form.
    (gradient,) = torch.autograd.grad(best.sum(), mean)
    (wanted,) = torch.autograd.grad(-batch * n / power * (x - mean).abs().pow(power).mean().log(), mean)
    torch.testing.assert_close(gradient, wanted)


def test_the_optimal_scale_after_training_is_that_of_training() -> None:
    likelihood = Gaussian("optimal")
    errors = [1.0, 4.0, 9.0]
    for error in errors:
        likelihood.log_prob(torch.zeros(2, 3), torch.full((2, 3), math.sqrt(error)))
    likelihood.eval()
    average = sum(0.99 ** (2 - i) * e for i, e in enumerate(errors)) / sum(0.99**i for i in range(3))
    x = torch.tensor([[0.5], [70.0]])
    wanted = distributions.Normal(0.0, math.sqrt(average)).log_prob(x)[:, 0]
    torch.testing.assert_close(likelihood.log_prob(torch.zeros(2, 1), x), wanted)
    torch.testing.assert_close(likelihood.log_prob(torch.zeros(1, 1), x[:1]), wanted[:1])
    assert likelihood.state_dict().keys() == {"spread.error", "spread.weight"}
    restored = Gaussian("optimal")
    restored.load_state_dict(likelihood.state_dict())
    torch.testing.assert_close(restored.eval().log_prob(torch.zeros(2, 1), x), wanted)
    drawn = likelihood.sample(torch.zeros(2000, 5), torch.arange(2000))
    assert float(drawn.square().mean()) == pytest.approx(average, rel=0.06)  # 4 standard errors of 10,000 squares
    with pytest.raises(ParameterError, match="fitted before data are drawn"):
        Gaussian("optimal").sample(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))


EVERY: list[tuple[Any, str]] = [
    (Bernoulli(), "binary"),
    (ContinuousBernoulli(), "unit"),
    (Gaussian(0.5), "real"),
    (Gaussian("shared"), "real"),
    (Gaussian("predicted"), "real"),
    (Laplace("predicted"), "real"),
    (DiscretisedLogistic(8), "levels"),
    (LogisticMixture(2, bins=8), "levels"),
    (Categorical(4), "classes"),
]
IDS = [repr(likelihood) for likelihood, _ in EVERY]


def data(kind: str, *shape: int, seed: int = 0) -> Tensor:
    uniform = torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
    made = {
        "binary": uniform.round(),
        "unit": uniform,
        "real": 6 * uniform - 3,
        "levels": (uniform * 7).round() / 7,
        "classes": (uniform * 4).long(),
    }
    return made[kind]


@pytest.mark.parametrize("likelihood, kind", EVERY, ids=IDS)
@given(seed=SEEDS, batch=st.integers(1, 4), k=st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_rows_shapes_and_numbers_stay_apart(likelihood: Any, kind: str, seed: int, batch: int, k: int) -> None:
    size = likelihood.size
    x = data(kind, batch, 2, 3, 3, seed=seed)
    parameters = normal(k * batch, size, 2, 3, 3, seed=seed).float()
    found = likelihood.log_prob(parameters, x)
    assert found.shape == (k * batch,)
    # The shape in which a decoder gives its numbers says nothing.
    for shape in ((k * batch, -1), (k * batch, size * 2, 3, 3)):
        assert torch.equal(likelihood.log_prob(parameters.reshape(shape), x), found)
    # A row is about example r % batch, and depends on nothing else.
    for row in range(k * batch):
        alone = likelihood.log_prob(parameters[[row]], x[[row % batch]])
        torch.testing.assert_close(alone, found[[row]], rtol=1e-5, atol=1e-5)
    # Numbers are independent: their log-probabilities add up.
    parts = [likelihood.log_prob(parameters[:batch, :, c], x[:, c]) for c in range(2)]
    torch.testing.assert_close(sum(parts), found[:batch], rtol=1e-5, atol=1e-5)
    seeds = torch.arange(k * batch) * 37 % 101
    for made in (likelihood.mean(parameters.flatten(1), (2, 3, 3)), likelihood.sample(parameters, seeds, (2, 3, 3))):
        assert made.shape == (k * batch, 2, 3, 3)
    conv = parameters.reshape(k * batch, size * 2, 3, 3)
    torch.testing.assert_close(likelihood.mean(conv), likelihood.mean(parameters, (2, 3, 3)))
    drawn = likelihood.sample(parameters, seeds, (2, 3, 3))
    likelihood.check(drawn)
    last = likelihood.sample(parameters[-1:], seeds[-1:], (2, 3, 3))
    torch.testing.assert_close(last, drawn[-1:])


@pytest.mark.parametrize("likelihood, kind", EVERY, ids=IDS)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_float32_is_safe_far_out(likelihood: Any, kind: str, size: float) -> None:
    x = data(kind, 4, 5)
    for place in range(likelihood.size):
        parameters = torch.zeros(4, likelihood.size, 5)
        parameters[:, place] = size
        parameters.requires_grad_()
        logp = likelihood.log_prob(parameters, x)
        (gradient,) = torch.autograd.grad(logp.sum(), parameters)
        assert logp.isfinite().all()
        assert gradient.isfinite().all()
        half = likelihood.log_prob(parameters.detach().bfloat16(), x)
        assert half.dtype == torch.float32


@pytest.mark.parametrize(
    "likelihood, row",
    [
        (Bernoulli(), [-0.4]),
        (Categorical(5), [0.3, -1.0, 1.0, 0.0, 0.5]),
        (DiscretisedLogistic(6), [0.4, -1.8]),
        (LogisticMixture(3, bins=6), [0.5, -0.5, 0.0, 0.1, 0.5, 0.8, -2.0, -1.5, -2.5]),
    ],
    ids=str,
)
def test_discrete_data_are_drawn_as_likely_as_they_are(likelihood: Any, row: list[float]) -> None:
    parameters = torch.tensor([row], dtype=torch.float64)
    if isinstance(likelihood, Categorical):
        every = torch.arange(5)[:, None]
    else:
        every = levels(2 if isinstance(likelihood, Bernoulli) else 6)
    law = likelihood.log_prob(parameters.expand(len(every), -1), every).exp()
    drawn = likelihood.sample(parameters.expand(20_000, -1), torch.arange(20_000), (1,))
    counts = (drawn == every.T.to(drawn.dtype)).sum(0)
    assert int(counts.sum()) == 20_000
    assert chi_square(counts, law) > ALPHA
    assert chi_square(counts, law.roll(1)) < ALPHA
    if not isinstance(likelihood, Categorical):
        assert float(likelihood.mean(parameters, (1,))) == pytest.approx(float((law * every[:, 0]).sum()), abs=1e-10)


@pytest.mark.parametrize(
    "likelihood, parameters, cdf",
    [
        (Gaussian(0.7), [0.3], lambda x: distributions.Normal(0.3, 0.7).cdf(x)),
        (Gaussian("predicted"), [0.3, -1.0], lambda x: distributions.Normal(0.3, math.exp(-1)).cdf(x)),
        (Laplace(0.7), [0.3], lambda x: distributions.Laplace(0.3, 0.7).cdf(x)),
        (ContinuousBernoulli(), [3.0], lambda x: torch.expm1(3 * x) / math.expm1(3)),
        (ContinuousBernoulli(), [-2.0], lambda x: torch.expm1(-2 * x) / math.expm1(-2)),
        (ContinuousBernoulli(), [0.0], lambda x: x),
    ],
    ids=lambda value: "" if callable(value) and not isinstance(value, torch.nn.Module) else str(value),
)
def test_real_data_are_drawn_by_their_distribution(likelihood: Any, parameters: list[float], cdf: Any) -> None:
    row = torch.tensor([parameters], dtype=torch.float64)
    drawn = likelihood.sample(row.expand(20_000, -1), torch.arange(20_000), (1,))
    counts = torch.histc(cdf(drawn).float(), bins=50, min=0, max=1)
    assert chi_square(counts, torch.full((50,), 0.02)) > ALPHA
    moved = torch.histc(cdf(drawn * 0.9).float(), bins=50, min=0, max=1)
    assert chi_square(moved, torch.full((50,), 0.02)) < ALPHA


GRAY = torch.full((2, 3), 0.5)


@pytest.mark.parametrize(
    "likelihood, x, error, message",
    [
        (Bernoulli(), GRAY, ParameterError, r"x must be 0 or 1 for Bernoulli\(\), got 0.5. Binarise the data"),
        (Bernoulli(), torch.full((2,), 255.0), ParameterError, r"x must be in \[0, 1\], got .*255.*Divide by 255"),
        (Bernoulli(), torch.ones(2, dtype=torch.uint8), TypeParameterError, r"floating numbers, got torch.uint8.*/ 255"),
        (ContinuousBernoulli(), -GRAY, ParameterError, r"x must be in \[0, 1\], got .*-0.5.*Scale the data"),
        (Gaussian(), torch.tensor([0.0, math.nan]), ParameterError, "x must be finite, got '1 values"),
        (Laplace(), torch.tensor([math.inf]), ParameterError, "x must be finite"),
        (Gaussian(), torch.zeros(0, 3), ParameterError, "at least one number"),
        (Gaussian(), [1.0], TypeParameterError, "a tensor of floating numbers"),
        (DiscretisedLogistic(), GRAY, ParameterError, r"on the 256 levels i / 255, got 0.5. Round"),
        (LogisticMixture(2), 3 * GRAY, ParameterError, r"in \[0, 1\]"),
        (Categorical(4), torch.tensor([4]), ParameterError, "classes from 0 to 3, got 'classes from 4 to 4'"),
        (Categorical(4), GRAY, TypeParameterError, "whole numbers, got torch.float32"),
    ],
    ids=str,
)
def test_data_that_do_not_fit(likelihood: Any, x: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        likelihood.check(x)


def test_bytes_over_255_fit_as_they_are() -> None:
    DiscretisedLogistic().check(torch.arange(256, dtype=torch.uint8).float() / 255)
    DiscretisedLogistic().check(torch.arange(256).half() / 255)


@pytest.mark.parametrize("shape", [(2, 3), (4, 2, 7), (3, 12), (0, 6)])
def test_a_decoder_that_does_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match="the decoder's output must be 2 numbers for each of the data"):
        Gaussian("predicted").log_prob(torch.zeros(shape), torch.zeros(2, 6))
    with pytest.raises(ParameterError, match="the decoder's output must be"):
        Gaussian("predicted").mean(torch.zeros(2, 3))
    with pytest.raises(ParameterError, match="the decoder's output must be"):
        Gaussian("predicted").mean(torch.zeros(2, 6), (4,))


@pytest.mark.parametrize(
    "make", [lambda: Gaussian(0.0), lambda: Gaussian("best"), lambda: Laplace(math.inf), lambda: Gaussian(True)]
)
def test_scales_that_are_none(make: Any) -> None:
    with pytest.raises(ParameterError, match="must be a number above 0, or one of 'shared', 'optimal', 'predicted'"):
        make()


@pytest.mark.parametrize("logit", [1e-6, 1e-4, 3e-3, 0.02, 0.1, 0.3, 0.49, -0.51])
def test_continuous_bernoulli_near_one_half_in_float32(logit: float) -> None:
    """Closed forms cancel here: their means and gradients are off by 1e-3 at a logit of 1e-4."""
    likelihood, x = ContinuousBernoulli(), torch.full((1, 1), 0.25)
    l = torch.tensor([[logit]], requires_grad=True)  # noqa: E741
    exact = mpmath.mpf(l.item())
    mean = float(1 / (1 - mpmath.exp(-exact)) - 1 / exact)
    assert float(likelihood.mean(l.detach())) == pytest.approx(mean, abs=3e-7)
    (gradient,) = torch.autograd.grad(likelihood.log_prob(l, x).sum(), l)
    assert float(gradient) == pytest.approx(0.25 - mean, abs=3e-7)
