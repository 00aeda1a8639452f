"""A linear VAE, trained by the engine: it must find probabilistic PCA, and the posterior must collapse where theory says.

Tipping & Bishop, "Probabilistic principal component analysis", 1999; Lucas et al., arXiv:1911.02469.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aigc import VAE
from aigc.training import Cosine, Phase, train
from aigc.vae import active_units, likelihoods

try:
    from sklearn.datasets import load_digits
except ImportError:
    load_digits = None

pytestmark = pytest.mark.skipif(load_digits is None, reason="scikit-learn's digits are not installed")
OPTIMUM = 17.451947  # nats: the log-likelihood of probabilistic PCA with 10 components


def digits() -> Tensor:
    """scikit-learn's digits, centred; 64 numbers each."""
    x = torch.tensor(load_digits().data / 16)
    return (x - x.mean(0)).float()


def linear_vae(latent: int, likelihood: Any, features: int = 64) -> VAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, decoder = nn.Linear(features, 2 * latent), nn.Linear(latent, features)
    return VAE(encoder, decoder, latent=latent, likelihood=likelihood, shape=(features,))


def expected(vae: VAE, x: Tensor, variance: Tensor | float, beta: float = 1.0) -> Tensor:
    """The bound of a linear VAE in closed form: a Gaussian's second moments pass through a matrix. Nats, a mean."""
    q, weight, variance = vae.posterior(x), vae.decoder.weight, torch.as_tensor(variance)
    error = (x - vae.decoder(q.mean)).square().sum(-1) + (q.log_std.exp().square() @ weight.square().sum(0))
    return -(
        error / variance / 2 + x.shape[1] / 2 * (math.log(2 * math.pi) + variance.log()) + beta * q.kl_standard()
    ).mean()


def train_by_expectation(vae: VAE, x: Tensor, bound: Any, steps: int) -> None:
    adam = torch.optim.Adam(vae.parameters(), lr=1e-2)
    phase = Phase("bound", lambda x, noise: -bound(x), optimizer=adam, schedule=Cosine(steps))
    for _ in train([phase], [x] * steps, seed=0):
        pass


def test_the_expected_bound_is_the_mean_of_drawn_ones() -> None:
    x, vae = digits()[:50], linear_vae(3, likelihoods.Gaussian(0.5))
    with torch.no_grad():
        said = vae.terms(x, torch.randn(4000, 50, 3, generator=torch.Generator().manual_seed(0)))
        drawn = said.log_likelihood.mean(1) - said.divergence().sum(-1).mean()
        z = (drawn.mean() - expected(vae, x, torch.tensor(0.25))) / (drawn.std() / math.sqrt(4000))
    assert abs(z) < 4  # alpha 6e-5


def test_the_engine_finds_probabilistic_pca_by_expected_gradients() -> None:
    x, vae = digits(), linear_vae(10, likelihoods.Gaussian("shared"))
    train_by_expectation(vae, x, lambda x: expected(vae, x, (2 * vae.likelihood.spread.log_scale).exp()), 1200)
    with torch.no_grad():
        gap = OPTIMUM - float(expected(vae, x, (2 * vae.likelihood.spread.log_scale).exp()))
    assert 0 <= gap < 0.02


def test_the_engine_finds_it_by_drawn_codes() -> None:
    x, vae = digits(), linear_vae(10, likelihoods.Gaussian("shared"))
    vae.fit(x, steps=1200, batch_size=len(x), seed=0, lr=1e-2, schedule=Cosine(1200), progress=False)
    with torch.no_grad():
        gap = OPTIMUM - float(expected(vae, x, (2 * vae.likelihood.spread.log_scale).exp()))
    assert 0 <= gap < 0.1


@pytest.mark.parametrize(("variance", "beta", "active"), [(0.35, 1.0, 5), (0.35, 4.0, 3), (0.09, 1.0, 7), (0.09, 8.0, 4)])
def test_codes_collapse_where_the_eigenvalues_say(variance: float, beta: float, active: int) -> None:
    """As many units are active as eigenvalues of the covariance exceed beta sigma^2 (Lucas et al.)."""
    spectrum = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625])
    assert int((spectrum > beta * variance).sum()) == active
    rng = torch.Generator().manual_seed(0)
    x = torch.linalg.svd(
        torch.randn(100, 8, generator=rng), full_matrices=False
    ).U  # orthogonal columns, covariance 1 / 100
    x = x * 10 * spectrum.sqrt() @ torch.linalg.qr(torch.randn(8, 8, generator=rng)).Q
    vae = linear_vae(8, likelihoods.Gaussian(math.sqrt(variance)), features=8)
    train_by_expectation(vae, x, lambda x: expected(vae, x, variance, beta), 1500)
    assert active_units(vae.encode(x)) == active
