"""The laws of diagonal Gaussians, against torch.distributions, high precision and counting."""

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from aigc.errors import ParameterError
from aigc.vae import DiagonalGaussian
from aigc.vae.gaussian import mixture_log_prob

mpmath.mp.dps = 40
LOG_STD = st.floats(-15, 15, width=32)
NUMBER = st.floats(-100, 100, width=32)


def gaussian(*shape: int, seed: int = 0, scale: float = 1.0) -> DiagonalGaussian:
    rng = torch.Generator().manual_seed(seed)
    mean, log_std = (torch.randn(*shape, generator=rng, dtype=torch.float64) * scale for _ in range(2))
    return DiagonalGaussian(mean, log_std)


def reference(q: DiagonalGaussian) -> Independent:
    return Independent(Normal(q.mean, q.log_std.exp()), 1)


@given(
    seed=st.integers(0, 10**6), rows=st.integers(1, 4), features=st.integers(1, 5), scale=st.sampled_from([0.1, 1.0, 4.0])
)
@settings(max_examples=60, deadline=None)
def test_density_entropy_and_divergence(seed: int, rows: int, features: int, scale: float) -> None:
    q, p = gaussian(rows, features, seed=seed, scale=scale), gaussian(rows, features, seed=seed + 1)
    z = gaussian(3, rows, features, seed=seed + 2).mean
    torch.testing.assert_close(q.log_prob(z), reference(q).log_prob(z), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(q.entropy(), reference(q).entropy(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(q.kl(p), kl_divergence(reference(q), reference(p)), rtol=1e-10, atol=1e-12)
    standard = DiagonalGaussian(torch.zeros_like(q.mean), torch.zeros_like(q.mean))
    torch.testing.assert_close(q.kl(standard), q.kl_standard(), rtol=1e-12, atol=1e-13)
    assert torch.equal(q.kl(q), torch.zeros(rows, dtype=torch.float64))
    torch.testing.assert_close(q.kl_standard(per_dimension=True).sum(-1), q.kl_standard())
    torch.testing.assert_close(q.kl(p, per_dimension=True).sum(-1), q.kl(p))
    # Independent dimensions add up, and each is that of its own.
    alone = [DiagonalGaussian(q.mean[:, [j]], q.log_std[:, [j]]).kl_standard() for j in range(features)]
    torch.testing.assert_close(torch.stack(alone, -1), q.kl_standard(per_dimension=True))


@given(mean=NUMBER, log_std=LOG_STD, other=NUMBER, other_log_std=LOG_STD)
@settings(max_examples=200, deadline=None)
def test_float32_is_accurate_wherever_the_variance_is_in_e30(
    mean: float, log_std: float, other: float, other_log_std: float
) -> None:
    q, p = (DiagonalGaussian(torch.tensor([m]), torch.tensor([s])) for m, s in ((mean, log_std), (other, other_log_std)))

    def exact(m: float, s: float, n: float, r: float) -> mpmath.mpf:
        m, s, n, r = map(mpmath.mpf, (m, s, n, r))
        return (((m - n) / mpmath.exp(r)) ** 2 + mpmath.exp(2 * (s - r)) - 1) / 2 - (s - r)

    for found, wanted in (
        (q.kl_standard(), exact(mean, log_std, 0, 0)),
        (q.kl(p), exact(mean, log_std, other, other_log_std)),
    ):
        assert found.isfinite().all() or wanted > 1e38
        # A difference of float32 inputs, and an exponent of up to 60, are rounded to 24 bits.
        assert abs(float(found) - float(wanted)) <= 2e-5 * abs(float(wanted)) + 5e-7
    assert float(q.kl_standard()) >= -1e-12


@pytest.mark.parametrize("log_std", [1e-2, -1e-3, 1e-3, 3e-4])
def test_small_divergences_are_not_rounded_away(log_std: float) -> None:
    q = DiagonalGaussian(torch.zeros(1), torch.tensor([log_std]))
    v = 2 * mpmath.mpf(q.log_std.item())
    exact = (mpmath.expm1(v) - v) / 2
    assert float(q.kl_standard()) == pytest.approx(float(exact), rel=1e-3)


def test_divergence_is_the_mean_of_log_ratios() -> None:
    q, p = gaussian(1, 3, seed=3), gaussian(1, 3, seed=4, scale=0.3)
    noise = torch.randn(200_000, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = q.rsample(noise)
    for ratio, divergence in (
        (q.log_prob(z) - p.log_prob(z), q.kl(p)),
        (q.log_prob(z) + (z.square() / 2 + math.log(2 * math.pi) / 2).sum(-1), q.kl_standard()),
    ):
        error = ratio.std() / math.sqrt(len(ratio))
        assert abs(float((ratio.mean() - divergence) / error)) < 4  # one in 16,000


@given(seed=st.integers(0, 10**6), k=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_samples_are_affine_in_noise_and_carry_gradients(seed: int, k: int) -> None:
    q = gaussian(2, 3, seed=seed)
    noise = gaussian(k, 2, 3, seed=seed + 1).mean
    mean, log_std = (value.clone().requires_grad_() for value in q)
    z = DiagonalGaussian(mean, log_std).rsample(noise)
    torch.testing.assert_close(z, q.mean + noise * torch.exp(q.log_std))
    weights = gaussian(k, 2, 3, seed=seed + 2).mean
    (weights * z).sum().backward()
    torch.testing.assert_close(mean.grad, weights.sum(0))
    torch.testing.assert_close(log_std.grad, (weights * noise).sum(0) * q.log_std.exp())


@given(seed=st.integers(0, 10**6), components=st.integers(1, 4), features=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_mixtures_are_sums_of_their_components(seed: int, components: int, features: int) -> None:
    q, z = gaussian(components, features, seed=seed), gaussian(5, features, seed=seed + 1).mean
    weights = torch.rand(components, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    weights = weights / weights.sum()

    def density(point: Tensor) -> float:
        return sum(
            float(w)
            * math.exp(sum(float(Normal(q.mean[c, j], q.log_std[c, j].exp()).log_prob(point[j])) for j in range(features)))
            for c, w in enumerate(weights)
        )

    found = mixture_log_prob(z, weights.log(), q)
    torch.testing.assert_close(found.exp(), torch.tensor([density(point) for point in z], dtype=torch.float64))


def test_reading_an_encoder() -> None:
    output = torch.tensor([[1.0, 2.0, -40.0, 3.0]], dtype=torch.bfloat16)
    q = DiagonalGaussian.read(output)
    assert q.mean.tolist() == [[1.0, 2.0]]
    assert q.log_std.tolist() == [[-15.0, 3.0]]
    assert q.mean.dtype == torch.float32
    assert DiagonalGaussian.read(output.double()).mean.dtype == torch.float64
    assert not q.detach().mean.requires_grad
    with pytest.raises(ParameterError, match=r"parameters must be \(\*batch, 2 \* features\), got \(3, 5\)"):
        DiagonalGaussian.read(torch.zeros(3, 5))
