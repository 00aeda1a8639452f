"""Hierarchical VAEs: the same doors, and a bound that adds up over layers."""

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from aigc import VAE, nets
from aigc.errors import ModelFileError, ParameterError, TypeParameterError
from aigc.vae import ELBO, IWAE, DiagonalGaussian, elbo, likelihoods, priors

SHAPE = (1, 8, 8)


def pictures(n: int) -> Tensor:
    """Noise that is smooth, in [0, 1]."""
    rough = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(rough, size=(8, 8), mode="bilinear")


def small(channels: tuple[int, ...] = (2, 1), **parts: Any) -> VAE:
    return VAE.hierarchical(SHAPE, channels, **({"width": 4, "finest": 1} | parts))


def stirred(vae: VAE) -> VAE:
    """With weights that are no longer near those of a net that says nothing."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in vae.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=rng, dtype=value.dtype))
    return vae


def test_it_goes_through_every_door(tmp_path: Path) -> None:
    x, vae = pictures(24), small(likelihood=likelihoods.Gaussian("shared"), bound=ELBO(free_bits=0.01))
    before = vae.elbo(x).bound.mean()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        vae.fit(x, steps=30, batch_size=8, seed=0, lr=3e-3, average=50.0, progress=False)
    assert vae.elbo(x).bound.mean() > before + 1
    assert vae.encode(x).shape == (24, vae.latent)
    assert torch.equal(vae.sample(2, seed=[4, 5])[0], vae.sample(2, seed=[4, 9])[0])
    assert vae.interpolate(x[0], x[1], steps=3).shape == (3, *SHAPE)
    assert vae.walk(6).shape == (6, *SHAPE)
    assert vae.sample(3, seed=0, prior=vae.fit_prior(x, components=2)).shape == (3, *SHAPE)
    found = vae.diagnose(x)
    assert found.rate == pytest.approx(float(vae.elbo(x).divergence.mean()), rel=1e-5)
    assert math.isnan(found.mutual_information)
    vae.save_pretrained(tmp_path)
    again = VAE.from_pretrained(tmp_path)
    assert torch.equal(again.elbo(x).bound, vae.elbo(x).bound)
    assert (again.bound, again.images) == (vae.bound, True)
    with pytest.raises(ModelFileError):
        VAE.from_pretrained(tmp_path, decoder=nets.HierarchicalDecoder((2, 2), SHAPE, width=4, finest=1))


def test_codes_are_read_back_by_the_way_of_the_prior() -> None:
    vae, x = stirred(small()).double(), pictures(5).double()
    noise = torch.randn(3, 5, vae.latent, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    said = vae.terms(x, noise)
    again = vae.likelihood.log_prob(vae.decoder(said.z.flatten(0, 1)), x).view(3, 5)
    torch.testing.assert_close(said.log_likelihood, again, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(vae.reconstruct(x), vae.decode(vae.encode(x)), rtol=1e-9, atol=1e-12)


def test_one_layer_is_a_flat_vae_whose_posterior_is_known() -> None:
    vae, x = stirred(small((2,))).double(), pictures(4).double()
    zero, one = (vae.terms(x, torch.full((1, 4, vae.latent), value, dtype=torch.float64)) for value in (0.0, 1.0))
    flat = DiagonalGaussian(zero.z[0], (one.z - zero.z)[0].log())  # what noise 0 and 1 say of mean and deviation
    torch.testing.assert_close(one.divergence().sum(-1), flat.kl_standard(), rtol=1e-9, atol=1e-9)
    weights = one.log_likelihood + priors.StandardNormal(vae.latent).log_prob(one.z) - flat.log_prob(one.z)
    torch.testing.assert_close(one.log_weights(), weights, rtol=1e-9, atol=1e-9)


def test_divergences_of_layers_add_up_and_are_the_mean_of_their_ratios() -> None:
    vae, x = stirred(small()).double(), pictures(2).double()
    noise = torch.randn(4000, 2, vae.latent, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        said = vae.terms(x, noise)
    assert said.divergence().shape == (2, 2)
    torch.testing.assert_close(elbo(said).divergence, said.divergence().sum(-1))
    apart = said.log_ratios - said.divergences  # mean 0 for each layer
    z = apart.mean(0) / (apart.std(0) / math.sqrt(len(noise)))
    assert z.abs().max() < 4.1  # four z-tests at alpha 4e-5 each
    twin = said.log_ratios - 1.1 * said.divergences
    assert (twin.mean(0) / (twin.std(0) / math.sqrt(len(noise)))).abs().max() > 4.1


def test_free_bits_are_of_layers() -> None:
    vae, x = stirred(small()), pictures(3)
    said = vae.terms(x, torch.zeros(1, 3, vae.latent))
    nats = 0.3
    free = torch.maximum(said.divergence(), nats * torch.tensor([float(size) for size in vae.decoder.sizes])).sum(-1)
    torch.testing.assert_close(ELBO(free_bits=nats).loss(said), free - said.log_likelihood[0])
    assert not torch.equal(ELBO(free_bits=nats).loss(said), ELBO().loss(said))


def test_the_importance_weighted_bound_trains_and_conditions_reach_it() -> None:
    x, y = pictures(16), torch.arange(16) % 2
    vae = small(bound=IWAE(3), condition=nets.Classes(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        vae.fit((x, y), steps=3, batch_size=8, seed=0, progress=False)
    assert vae.log_likelihood(x, samples=4, condition=y).per_example.isfinite().all()
    assert vae.sample(2, seed=0, condition=torch.tensor([0, 1])).shape == (2, *SHAPE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small(bound=IWAE(2, gradient="stl")).fit(pictures(8), steps=1, batch_size=4, seed=0), "hierarchy"),
        (lambda: small().posterior(pictures(2)), "decoder must be flat"),
        (lambda: VAE(*nets.hierarchical(SHAPE, (1,), width=4), prior=priors.Mixture(16, components=2)), "hierarchy"),
        (lambda: small().encode(pictures(2)[:, :, :4]), "x must be"),
        (lambda: VAE.hierarchical(SHAPE, ()), "channels must be"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises((ParameterError, TypeParameterError), match=message):
        make()
