"""The laws of diagnostics, and of the noise of estimates."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from aigc.errors import ParameterError
from aigc.vae import DiagonalGaussian, active_units, collapsed, diagnose, importance_noise
from aigc.vae.diagnostics import aggregate_divergence, aggregate_log_prob, mutual_information, rate
from aigc.vae.priors import StandardNormal

SEEDS = st.integers(0, 10**6)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=SEEDS, n=st.integers(2, 9), latent=st.integers(1, 3), spread=st.sampled_from([0.0, 0.5, 30.0]))
@settings(max_examples=40, deadline=None)
def test_the_divergence_splits_exactly(seed: int, n: int, latent: int, spread: float) -> None:
    q = DiagonalGaussian(spread * normal(n, latent, seed=seed), 0.3 * normal(n, latent, seed=seed + 1))
    z, logp = q.rsample(normal(n, latent, seed=seed + 2)), normal(n, seed=seed + 3)
    found = diagnose(q, z, StandardNormal(latent), logp)
    assert found.rate == pytest.approx(found.mutual_information + found.aggregate_divergence, rel=1e-12, abs=1e-12)
    assert found.mutual_information <= math.log(n) + 1e-12
    assert found.distortion == pytest.approx(-float(logp.mean()))
    assert found.latent == latent
    assert found.rate == rate(q, z, StandardNormal(latent))
    assert found.mutual_information == mutual_information(q, z)
    assert found.aggregate_divergence == aggregate_divergence(q, z, StandardNormal(latent))
    density = np.mean([Normal(q.mean[i], q.log_std[i].exp()).log_prob(z).sum(-1).exp().numpy() for i in range(n)], axis=0)
    np.testing.assert_allclose(aggregate_log_prob(q, z).exp(), density, rtol=1e-10)
    assert torch.equal(aggregate_log_prob(q, z), aggregate_log_prob(q, z, chunk=1))


def test_mutual_information_is_that_of_quadrature() -> None:
    means, scales, draws = [-0.8, 0.3, 1.5], [0.5, 0.9, 0.4], 40_000
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    each = [Normal(m, s).log_prob(grid).double() for m, s in zip(means, scales, strict=True)]
    mixture = torch.logsumexp(torch.stack(each), 0) - math.log(3)
    base = -grid.square() / 2 - math.log(2 * math.pi) / 2
    information = sum(torch.trapezoid(p.exp() * (p - mixture), grid) for p in each) / 3
    divergence = torch.trapezoid(mixture.exp() * (mixture - base), grid)
    one = DiagonalGaussian(torch.tensor(means, dtype=torch.float64)[:, None], torch.tensor(scales).double().log()[:, None])
    z = one.rsample(normal(draws, 3, 1))
    whole = aggregate_log_prob(one, z.reshape(-1, 1), chunk=10_000).view(draws, 3)
    for ratios, wanted in ((one.log_prob(z) - whole, information), (whole - StandardNormal(1).log_prob(z), divergence)):
        of_draw = ratios.mean(1)
        assert float(of_draw.mean()) == pytest.approx(float(wanted), abs=4 * float(of_draw.std()) / math.sqrt(draws))


def test_ends_of_mutual_information() -> None:
    same = DiagonalGaussian(torch.ones(7, 2), torch.zeros(7, 2))
    assert mutual_information(same, same.mean + 0.3) == pytest.approx(0, abs=1e-6)
    apart = DiagonalGaussian(1000 * torch.arange(7.0)[:, None], torch.zeros(7, 1))
    assert mutual_information(apart, apart.mean) == pytest.approx(math.log(7), abs=1e-6)


@given(seed=SEEDS, active=st.integers(0, 5), idle=st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_active_units(seed: int, active: int, idle: int) -> None:
    if not active + idle:
        return
    unit = normal(50, active + idle, seed=seed)
    unit = (unit - unit.mean(0)) / unit.std(0)  # of variance 1
    mean = unit * torch.tensor([0.11] * active + [0.09] * idle, dtype=torch.float64)  # of variance 0.0121 and 0.0081
    assert active_units(mean + 100) == active
    assert active_units(mean, threshold=0.02) == 0
    assert active_units(mean, threshold=0.001) == active + idle


@pytest.mark.parametrize(
    "active, latent, warns", [(0, 1, True), (0, 8, True), (1, 10, False), (1, 11, True), (3, 30, False)]
)
def test_the_warning(active: int, latent: int, warns: bool) -> None:
    sentence = collapsed(active, latent)
    assert (sentence is not None) == warns
    if sentence:
        assert sentence.startswith(f"The posterior has collapsed: {active} of {latent} latent dimensions are active")
        assert "free_bits" in sentence
    q = DiagonalGaussian(torch.zeros(4, 3), torch.zeros(4, 3))
    assert diagnose(q, q.mean, StandardNormal(3), torch.zeros(4)).warning == collapsed(0, 3)


def test_bad_input() -> None:
    q = DiagonalGaussian(torch.zeros(4, 3), torch.zeros(4, 3))
    with pytest.raises(ParameterError, match="z must be one code for each posterior"):
        diagnose(q, torch.zeros(5, 3), StandardNormal(3), torch.zeros(4))
    with pytest.raises(ParameterError, match="z must be one code for each posterior"):
        mutual_information(q, torch.zeros(1, 4, 3))
    with pytest.raises(ParameterError, match=r"log_likelihood must be of shape \(4,\)"):
        diagnose(q, q.mean, StandardNormal(3), torch.zeros(1, 4))
    with pytest.raises(ParameterError, match="posterior means of at least 2 examples"):
        active_units(torch.zeros(1, 3))
    with pytest.raises(ParameterError, match="threshold must be a number above 0"):
        active_units(torch.zeros(2, 3), threshold=0.0)


def test_noise_of_an_example_is_its_own() -> None:
    whole = importance_noise(3, range(10), samples=50, latent=4)
    assert torch.equal(importance_noise(3, [7, 2], samples=50, latent=4), whole[:, [7, 2]])
    assert not torch.equal(importance_noise(4, range(10), samples=50, latent=4), whole)
    assert len(whole.unique()) == whole.numel()
    assert float(whole.mean()) == pytest.approx(0, abs=4 / math.sqrt(whole.numel()))
    assert float(whole.var()) == pytest.approx(1, abs=4 * math.sqrt(2 / whole.numel()))
