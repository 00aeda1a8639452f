"""The laws of bounds and estimates, on a linear-Gaussian model, of which all is known in closed form."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal

from aigc.errors import ParameterError, TypeParameterError
from aigc.training import Linear
from aigc.vae import (
    ELBO,
    IWAE,
    DiagonalGaussian,
    Elbo,
    LogLikelihood,
    Terms,
    elbo,
    estimate,
    importance_noise,
    log_likelihood,
    log_mean_exp,
)
from aigc.vae.bounds import log_weight_excess
from aigc.vae.likelihoods import Gaussian
from aigc.vae.priors import Mixture, StandardNormal

try:  # at once: it changes the environment of the process
    from sklearn.datasets import load_digits
except ImportError:
    load_digits = None

SEEDS = st.integers(0, 10**6)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Model(NamedTuple):
    """x = W z + m + s e with orthogonal columns of W, so that the posterior is diagonal."""

    w: Tensor
    m: Tensor
    s: float

    @classmethod
    def make(cls, data: int, latent: int, *, seed: int, s: float = 0.7) -> "Model":
        q, _ = torch.linalg.qr(normal(data, latent, seed=seed))
        return cls(q * (0.3 + torch.arange(latent)), normal(data, seed=seed + 1), s)

    def log_prob(self, x: Tensor) -> Tensor:
        covariance = self.w @ self.w.T + self.s**2 * torch.eye(len(self.w), dtype=torch.float64)
        return MultivariateNormal(self.m, covariance).log_prob(x)

    def posterior(self, x: Tensor) -> DiagonalGaussian:
        diagonal = (self.w.T @ self.w).diagonal() + self.s**2
        return DiagonalGaussian((x - self.m) @ self.w / diagonal, (self.s**2 / diagonal).log().expand(len(x), -1) / 2)

    def terms(self, x: Tensor, posterior: DiagonalGaussian, noise: Tensor, prior: Any = None) -> Terms:
        z = posterior.rsample(noise)
        logp = Gaussian(self.s).log_prob(z.flatten(0, 1) @ self.w.T + self.m, x).view(z.shape[:2])
        return Terms(logp, posterior, z, prior or StandardNormal(self.w.shape[1]))


def off(posterior: DiagonalGaussian, mean: float = 0.2, log_std: float = 0.1) -> DiagonalGaussian:
    return DiagonalGaussian(posterior.mean + mean, posterior.log_std + log_std)


class NoClosedForm(StandardNormal):
    def kl(self, posterior: object, /) -> None:
        return None


@given(seed=SEEDS, data=st.integers(3, 6), latent=st.integers(1, 3), k=st.sampled_from([1, 2, 10]))
@settings(max_examples=30, deadline=None)
def test_at_the_exact_posterior_every_draw_is_the_log_likelihood(seed: int, data: int, latent: int, k: int) -> None:
    model, x = Model.make(data, latent, seed=seed), 2 * normal(4, data, seed=seed + 2)
    exact, posterior = model.log_prob(x), model.posterior(x)
    noise = normal(k, 4, latent, seed=seed + 3)
    terms = model.terms(x, posterior, noise)
    torch.testing.assert_close(terms.log_weights(), exact.expand(k, 4), rtol=0, atol=1e-10)
    for gradient in ("standard", "stl", "dreg"):
        torch.testing.assert_close(IWAE(k, gradient=gradient).loss(terms), -exact, rtol=0, atol=1e-10)
    open_ = model.terms(x, posterior, noise, NoClosedForm(latent))
    torch.testing.assert_close(elbo(open_).bound, exact, rtol=0, atol=1e-10)
    torch.testing.assert_close(ELBO(samples=k).loss(open_), -exact, rtol=0, atol=1e-10)
    found = estimate(terms.log_weights())
    torch.testing.assert_close(found.value, exact, rtol=0, atol=1e-10)
    assert k == 1 or float(found.standard_error.max()) < 1e-10


@pytest.mark.skipif(load_digits is None, reason="scikit-learn's digits are not installed")
def test_ppca_on_digits() -> None:
    """The best linear VAE is probabilistic PCA (Tipping & Bishop, 1999; Lucas et al., arXiv:1911.02469)."""
    x = torch.from_numpy(load_digits().data / 16)
    assert x.shape == (1797, 64)
    n, d, q = *x.shape, 10
    values, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    values, vectors = values[::-1].copy(), vectors[:, ::-1].copy()
    s2 = values[q:].mean()
    ppca = -(d * math.log(2 * math.pi) + np.log(values[:q]).sum() + (d - q) * math.log(s2) + d) / 2
    assert ppca == pytest.approx(17.451947, abs=5e-7)
    w = torch.from_numpy(vectors[:, :q] * np.sqrt(values[:q] - s2))
    model = Model(w, x.mean(0), math.sqrt(s2))
    posterior = model.posterior(x)
    bound = IWAE(3).loss(model.terms(x, posterior, normal(3, n, q)))
    assert -float(bound.mean()) == pytest.approx(ppca, abs=1e-9)
    # The expectation in closed form: the likelihood at the posterior mean, less what its spread costs.
    at_mean = model.terms(x, posterior, torch.zeros(1, n, q, dtype=torch.float64))
    spread = (posterior.log_std.exp().square() * w.square().sum(0)).sum(-1) / (2 * s2)
    assert float((elbo(at_mean).bound - spread).mean()) == pytest.approx(ppca, abs=1e-9)


def test_bounds_tighten_to_the_log_likelihood() -> None:
    model, x = Model.make(5, 2, seed=0), normal(6, 5, seed=1)
    exact, right = model.log_prob(x), model.posterior(x)
    posterior = off(right, 0.4, 0.3)
    noise = normal(2000, 64, 6, 2, seed=2)
    weights = torch.stack([model.terms(x, posterior, part).log_weights() for part in noise])  # (repeats, 64, examples)
    means = {k: log_mean_exp(weights[:, :k].movedim(1, 0)).mean(1) for k in (1, 2, 8, 64)}
    for k, other in ((1, 2), (2, 8), (8, 64)):
        rise = means[other] - means[k]
        assert float(rise.mean() / rise.std() * math.sqrt(2000)) > 5
    top = exact.mean() - means[64]
    assert float(top.mean() / top.std() * math.sqrt(2000)) > 5
    # L_1 is the log-likelihood less the divergence from the posterior.
    error = means[1] - (exact - posterior.kl(right)).mean()
    assert abs(float(error.mean() / error.std() * math.sqrt(2000))) < 4


@given(seed=SEEDS, k=st.integers(1, 20), scale=st.sampled_from([0.01, 1.0, 50.0]))
@settings(max_examples=40, deadline=None)
def test_the_value_is_the_bound_and_not_the_weighted_mean(seed: int, k: int, scale: float) -> None:
    log_weights = normal(k, 3, seed=seed) * scale
    shares = np.exp(log_weights.numpy() - log_weights.numpy().max(0))
    shares = shares / shares.sum(0)
    bound = log_weights.max(0).values.numpy() + np.log(np.exp(log_weights.numpy() - log_weights.numpy().max(0)).mean(0))
    excess = (shares * log_weights.numpy()).sum(0) - bound
    np.testing.assert_allclose(log_mean_exp(log_weights), bound, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(log_weight_excess(log_weights), excess, atol=1e-10)
    assert (excess >= -1e-10).all()
    assert (excess <= math.log(k) + 1e-10).all()
    zero = DiagonalGaussian(torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64))
    for gradient in ("standard", "stl", "dreg"):
        terms = Terms(log_weights, zero, zero.rsample(torch.zeros(k, 3, 1, dtype=torch.float64)), StandardNormal(1))
        np.testing.assert_allclose(IWAE(k, gradient=gradient).loss(terms), -bound, rtol=1e-12, atol=1e-12)


def gradients(gradient: str, k: int, noise: Tensor, *, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Of a small non-linear model: encoder's and decoder's gradients of a bound, and of each log-weight by itself."""
    x = normal(1, 3, seed=seed)
    encoder = [normal(4, 3, seed=seed + 1).requires_grad_(), normal(4, seed=seed + 2).mul(0.3).requires_grad_()]
    decoder = [normal(3, 2, seed=seed + 3).requires_grad_(), normal(3, seed=seed + 4).requires_grad_()]

    def terms(noise: Tensor) -> Terms:
        q = DiagonalGaussian.read((encoder[0] @ x.T).T.tanh() + encoder[1])
        z = q.rsample(noise)
        logp = Gaussian(0.5).log_prob(z.flatten(0, 1).sin() @ decoder[0].T + decoder[1], x).view(k, 1)
        return Terms(logp, q, z, StandardNormal(2))

    found = torch.autograd.grad(IWAE(k, gradient=gradient).loss(terms(noise)).sum(), encoder + decoder)
    one = terms(noise)
    weights = one.log_weights()[:, 0].softmax(0).detach()
    wanted = [torch.zeros_like(p) for p in encoder + decoder]
    for i in range(k):
        if gradient == "standard":
            parts = torch.autograd.grad(one.log_weights()[i, 0], encoder + decoder, retain_graph=True)
            parts = tuple(weights[i] * part for part in parts)
        else:
            # d log w / dz with q's own parameters held, by z alone; then z's own gradient.
            z = one.z[i].detach().requires_grad_()
            held = DiagonalGaussian(*(value.detach() for value in one.posterior))
            decoded = z.sin() @ decoder[0].detach().T + decoder[1].detach()
            logw = Gaussian(0.5).log_prob(decoded, x) + StandardNormal(2).log_prob(z) - held.log_prob(z)
            (slope,) = torch.autograd.grad(logw.sum(), z)
            of_encoder = torch.autograd.grad((one.z[i] * slope).sum(), encoder, retain_graph=True)
            power = 2 if gradient == "dreg" else 1
            of_decoder = torch.autograd.grad(one.log_likelihood[i, 0], decoder, retain_graph=True)
            parts = (*(weights[i] ** power * part for part in of_encoder), *(weights[i] * part for part in of_decoder))
        wanted = [a - b for a, b in zip(wanted, parts, strict=True)]
    return list(found), wanted


@pytest.mark.parametrize("gradient", ["standard", "stl", "dreg"])
@given(seed=SEEDS, k=st.integers(1, 5))
@settings(max_examples=8, deadline=None)
def test_gradients_are_the_weighted_gradients_of_log_weights(gradient: str, seed: int, k: int) -> None:
    found, wanted = gradients(gradient, k, normal(k, 1, 2, seed=seed + 9), seed=seed)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def encoder_gradients(gradient: str, k: int, repeats: int) -> Tensor:
    """Of the posterior mean and scale of a linear-Gaussian example, many draws as a batch: `(repeats, 2 * latent)`."""
    model, x = Model.make(4, 2, seed=3), normal(1, 4, seed=4).expand(repeats, -1)
    q = off(model.posterior(x), 0.5, 0.4)
    mean, log_std = (value.clone().requires_grad_() for value in q)
    terms = model.terms(x, DiagonalGaussian(mean, log_std), normal(k, repeats, 2, seed=5))
    IWAE(k, gradient=gradient).loss(terms).sum().backward()
    assert mean.grad is not None
    assert log_std.grad is not None
    return torch.cat([mean.grad, log_std.grad], dim=1)


def test_dreg_is_unbiased_and_stl_is_so_for_one_sample() -> None:
    repeats = 100_000

    def distance(gradient: str, k: int) -> float:
        """The largest z-score between the means of a gradient and of the standard one, of the same noise."""
        difference = encoder_gradients(gradient, k, repeats) - encoder_gradients("standard", k, repeats)
        return float((difference.mean(0) / difference.std(0)).abs().max()) * math.sqrt(repeats)

    assert distance("dreg", 4) < 4.5  # of four: one in 37,000
    assert distance("dreg", 1) < 4.5
    assert distance("stl", 1) < 4.5
    assert distance("stl", 4) > 10  # as its docstring says
    k1, k64 = (encoder_gradients("dreg", k, 2000) for k in (1, 64))
    signal = [(g.mean(0) / g.std(0)).abs().max() for g in (k1, k64)]
    assert signal[1] > signal[0]


def test_at_the_exact_posterior_stl_and_dreg_have_no_noise() -> None:
    model, x = Model.make(4, 2, seed=3), normal(50, 4, seed=4)
    for gradient, silent in (("standard", False), ("stl", True), ("dreg", True)):
        mean, log_std = (value.clone().requires_grad_() for value in model.posterior(x))
        terms = model.terms(x, DiagonalGaussian(mean, log_std), normal(3, 50, 2, seed=5))
        IWAE(3, gradient=gradient).loss(terms).sum().backward()
        assert mean.grad is not None
        assert (float(mean.grad.abs().max()) < 1e-10) == silent


BOUNDS = [
    ELBO(),
    ELBO(beta=4.0, samples=2),
    ELBO(free_bits=0.3),
    ELBO(capacity=2.0, beta=10.0),
    IWAE(2),
    IWAE(3, gradient="stl"),
    IWAE(2, gradient="dreg"),
]


@pytest.mark.parametrize("bound", BOUNDS, ids=repr)
@pytest.mark.parametrize("closed", [True, False])
@given(seed=SEEDS, batch=st.integers(1, 5))
@settings(max_examples=6, deadline=None)
def test_an_example_is_not_touched_by_the_others(bound: Any, closed: bool, seed: int, batch: int) -> None:
    model = Model.make(4, 3, seed=seed)
    x, noise = normal(batch, 4, seed=seed + 1), normal(bound.samples, batch, 3, seed=seed + 2)
    prior = StandardNormal(3) if closed else Mixture(3, components=2).double()

    def loss(rows: Tensor) -> Tensor:
        with torch.no_grad():
            q = off(model.posterior(x))
            q = DiagonalGaussian(q.mean[rows], q.log_std[rows])
            return bound.loss(model.terms(x[rows], q, noise[:, rows], prior))

    rows = torch.arange(batch)
    whole = loss(rows)
    assert whole.shape == (batch,)
    torch.testing.assert_close(loss(rows.repeat(2)), whole.repeat(2))
    torch.testing.assert_close(loss(rows.flip(0)), whole.flip(0))
    for row in rows:
        torch.testing.assert_close(loss(row[None]), whole[row][None])


def test_one_sample_is_the_elbo() -> None:
    model, x = Model.make(4, 3, seed=0), normal(5, 4, seed=1)
    terms = model.terms(x, off(model.posterior(x)), normal(1, 5, 3), NoClosedForm(3))
    torch.testing.assert_close(IWAE(1).loss(terms), -elbo(terms).bound)
    torch.testing.assert_close(ELBO().loss(terms), -elbo(terms).bound)
    closed = model.terms(x, off(model.posterior(x)), normal(1, 5, 3))
    found = elbo(closed)
    assert isinstance(found, Elbo)
    torch.testing.assert_close(ELBO().loss(closed), -found.bound)
    torch.testing.assert_close(found.bound, found.reconstruction - found.divergence)
    torch.testing.assert_close(found.divergence, closed.posterior.kl_standard())  # type: ignore[attr-defined]
    torch.testing.assert_close(found.reconstruction, closed.log_likelihood[0])


def terms_of(mean: Tensor, reconstruction: Tensor, prior: Any = None) -> Terms:
    q = DiagonalGaussian(mean, torch.zeros_like(mean))
    return Terms(reconstruction[None], q, q.rsample(torch.zeros_like(mean)[None]), prior or StandardNormal(mean.shape[1]))


@given(seed=SEEDS, free=st.floats(0.01, 2))
@settings(max_examples=30, deadline=None)
def test_free_bits(seed: int, free: float) -> None:
    mean, reconstruction = normal(4, 5, seed=seed).requires_grad_(), normal(4, seed=seed + 1)
    loss = ELBO(free_bits=free).loss(terms_of(mean, reconstruction))
    each = mean.detach().square() / 2  # nats of a dimension
    torch.testing.assert_close(loss.detach(), torch.maximum(each, torch.tensor(free)).sum(-1) - reconstruction)
    assert (loss + reconstruction >= 5 * free - 1e-9).all()
    loss.sum().backward()
    assert torch.equal(mean.grad, torch.where(each > free, mean.detach(), 0.0))  # exactly 0 below
    # Without a closed form, the code as a whole.
    other = mean.detach().clone().requires_grad_()
    loss = ELBO(free_bits=free).loss(terms_of(other, reconstruction, NoClosedForm(5)))
    sampled = each.sum(-1)  # log q(z) - log p(z) at z = mean
    torch.testing.assert_close(loss.detach(), sampled.clamp(min=5 * free) - reconstruction)
    loss.sum().backward()
    assert torch.equal(other.grad == 0, (sampled <= 5 * free)[:, None].expand(4, 5))


@given(seed=SEEDS, capacity=st.floats(0, 10), beta=st.floats(0, 5))
@settings(max_examples=30, deadline=None)
def test_capacity_and_schedules(seed: int, capacity: float, beta: float) -> None:
    mean, reconstruction = normal(4, 5, seed=seed), normal(4, seed=seed + 1)
    terms, divergence = terms_of(mean, reconstruction), mean.square().sum(-1) / 2
    found = ELBO(beta=beta, capacity=capacity).loss(terms)
    torch.testing.assert_close(found, beta * (divergence - capacity).abs() - reconstruction)
    for step in (0, 3, 10, 11):
        rising = min(step / 10, 1.0)
        annealed = ELBO(beta=Linear(0.0, beta, steps=10)).loss(terms, step)
        torch.testing.assert_close(annealed, rising * beta * divergence - reconstruction)
        growing = ELBO(beta=2.0, capacity=Linear(0.0, capacity, steps=10)).loss(terms, step)
        torch.testing.assert_close(growing, 2 * (divergence - rising * capacity).abs() - reconstruction)


def test_the_estimator_is_unbiased_and_its_interval_covers() -> None:
    model, x = Model.make(5, 2, seed=7), normal(1, 5, seed=8)
    exact = float(model.log_prob(x))
    k, repeats = 200, 10_000
    posterior = off(model.posterior(x.expand(repeats, -1)))
    weights = model.terms(x.expand(repeats, -1), posterior, normal(k, repeats, 2, seed=9)).log_weights()
    found = estimate(weights)
    ratio = (found.value - exact).exp()  # of the estimate of p(x) to p(x): unbiased
    assert abs(float((ratio.mean() - 1) / ratio.std())) * math.sqrt(repeats) < 4
    covered = ((found.value - exact).abs() < 1.96 * found.standard_error).double().mean()
    assert abs(float(covered) - 0.95) < 0.02
    # The error that is reported is how much estimates differ.
    assert float(found.standard_error.mean()) == pytest.approx(float(found.value.std()), rel=0.05)
    together = LogLikelihood.of([estimate(part) for part in weights.split(3000, dim=1)])
    assert together.per_example.shape == (repeats,)
    assert together.mean == pytest.approx(float(found.value.mean()), abs=1e-12)
    closed = float(found.standard_error.square().mean()) ** 0.5 / math.sqrt(repeats)
    assert together.standard_error == pytest.approx(closed, rel=1e-12)


@given(seed=SEEDS, k=st.integers(1, 30), chunk=st.integers(1, 40), batch=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_exactly_k_samples_in_any_chunks(seed: int, k: int, chunk: int, batch: int) -> None:
    model, x = Model.make(4, 2, seed=seed), normal(batch, 4, seed=seed + 1)
    posterior, seen = off(model.posterior(x)), []

    def log_weights(noise: Tensor) -> Tensor:
        seen.append(noise)
        return model.terms(x, posterior, noise).log_weights()

    noise = importance_noise(seed, range(batch), samples=k, latent=2, dtype=torch.float64)
    found = log_likelihood(log_weights, noise, chunk=chunk)
    assert torch.equal(torch.cat(seen), noise)
    assert max(map(len, seen)) <= chunk
    assert sum(map(len, seen)) == k
    whole = estimate(torch.cat([log_weights(part) for part in noise.split(1)]))
    torch.testing.assert_close(found.value, whole.value, rtol=1e-13, atol=1e-12)
    assert (found.standard_error == math.inf).all() == (k == 1)
    # To the bit, where the log-weights are.
    squares = [log_likelihood(lambda e: -e.square().sum(-1), noise, chunk=size).value for size in (chunk, 1, k)]
    assert torch.equal(squares[0], squares[1])
    assert torch.equal(squares[0], squares[2])


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: ELBO(beta=-1.0), ParameterError, "beta must be a number of at least 0, or a schedule, got -1.0"),
        (lambda: ELBO(beta="high"), TypeParameterError, "beta must be a number"),
        (lambda: ELBO(beta=math.nan), ParameterError, "beta must be"),
        (lambda: ELBO(free_bits=lambda step: 1.0), TypeParameterError, "free_bits must be a number of at least 0, got"),
        (lambda: ELBO(free_bits=0.1, capacity=3.0), ParameterError, "capacity must be None where free_bits is given"),
        (lambda: ELBO(capacity=-1), ParameterError, "capacity must be"),
        (lambda: ELBO(samples=0), ParameterError, "samples must be"),
        (lambda: IWAE(0), ParameterError, "samples must be an integer of at least 1"),
        (lambda: IWAE(5, gradient="none"), ParameterError, "gradient must be one of 'standard', 'stl', 'dreg'"),
        (lambda: estimate(torch.zeros(3)), ParameterError, r"log_weights must be of shape \(k, batch\)"),
        (lambda: estimate(torch.zeros(0, 3)), ParameterError, r"log_weights must be of shape \(k, batch\)"),
        (lambda: LogLikelihood.of([]), ParameterError, "at least one example"),
        (lambda: importance_noise(0, [0], samples=0, latent=1), ParameterError, "samples must be"),
        (lambda: log_likelihood(lambda e: e, torch.zeros(2, 3, 4)), ParameterError, r"of shape \(2, 3\), got \(2, 3, 4\)"),
        (
            lambda: IWAE(3).loss(terms_of(torch.zeros(2, 3), torch.zeros(2))),
            ParameterError,
            r"log_likelihood and z must be \(k, batch\) and \(k, batch, latent\) with k = 3",
        ),
    ],
)
def test_bad_input(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
