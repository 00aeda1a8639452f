"""`VAE`: what it promises at its door, over the mathematics that tests/properties holds."""

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aigc import VAE, nets
from aigc.data import write_png
from aigc.errors import ModelFileError, ParameterError, TrainingError, TypeParameterError
from aigc.nets import paths
from aigc.training import Cosine, History, Linear
from aigc.vae import bounds, likelihoods, priors

SHAPE = (1, 8, 8)


def pictures(n: int, seed: int = 0) -> Tensor:
    """Soft blobs at random places, in [0, 1]."""
    rng = torch.Generator().manual_seed(seed)
    centre = torch.rand(n, 2, 1, 1, generator=rng) * 8
    grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"))
    return (-(grid - centre).square().sum(1, keepdim=True) / 4).exp()


def linear(before: int, after: int, **options: Any) -> nn.Linear:
    """A net of the user's, which touches no generator of the process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(before, after, **options)


def small(**parts: Any) -> VAE:
    return VAE.for_images(SHAPE, latent=3, kind="mlp", **parts)


def fitted(vae: VAE, x: Any, **options: Any) -> History:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a few steps do not wake all codes
        return vae.fit(x, **({"steps": 6, "batch_size": 8, "seed": 0, "progress": False} | options))


def test_it_learns_pictures_and_says_in_what_the_loss_went() -> None:
    x = pictures(256)
    vae = small()
    before = vae.elbo(x).bound.mean()
    history = fitted(vae, x, epochs=20, steps=None, batch_size=32)
    after = vae.elbo(x)
    assert after.bound.mean() > before + 20
    torch.testing.assert_close(after.bound, after.reconstruction - after.divergence)
    assert set(history.values) == {"loss", "loss/rate", "loss/distortion"}
    assert vae.reconstruct(x).shape == x.shape
    assert (vae.reconstruct(x) - x).square().mean() < (x.mean(0) - x).square().mean() / 2


@pytest.mark.parametrize(
    "likelihood",
    [
        likelihoods.Bernoulli(), likelihoods.ContinuousBernoulli(), likelihoods.Gaussian("predicted"),
        likelihoods.Laplace("shared"), likelihoods.DiscretisedLogistic(), likelihoods.LogisticMixture(2),
    ],
    ids=lambda likelihood: type(likelihood).__name__,
)  # fmt: skip
@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_every_likelihood_goes_through_every_door(likelihood: Any, kind: str, tmp_path: Path) -> None:
    x = pictures(16)
    if not isinstance(likelihood, likelihoods.ContinuousBernoulli | likelihoods.Gaussian | likelihoods.Laplace):
        x = (x > 0.5).float()
    vae = VAE.for_images(SHAPE, latent=3, kind=kind, likelihood=likelihood)
    fitted(vae, x, steps=2)
    assert vae.sample(2, seed=1).shape == vae.sample(2, seed=1, noise=True).shape == (2, *SHAPE)
    found = vae.log_likelihood(x, samples=8)
    assert math.isfinite(found.mean)
    assert found.per_example.shape == (16,)
    vae.save_pretrained(tmp_path)
    again = VAE.from_pretrained(tmp_path)
    assert torch.equal(again.elbo(x).bound, vae.elbo(x).bound)
    assert torch.equal(again.sample(2, seed=1, noise=True), vae.sample(2, seed=1, noise=True))


@given(n=st.integers(1, 40), seed=st.integers(0, 2**40), data=st.data())
@settings(max_examples=15)
def test_a_sample_owes_nothing_to_the_others(n: int, seed: int, data: st.DataObject) -> None:
    vae = small(prior=priors.Mixture(3, components=2))
    whole = vae.sample(n, seed=seed)
    i = data.draw(st.integers(0, n - 1))
    from aigc import random

    assert torch.equal(vae.sample(1, seed=[random.stream(seed, i)])[0], whole[i])


def test_a_log_likelihood_is_the_same_in_any_chunks_and_above_the_bound() -> None:
    vae, x = small(likelihood=likelihoods.Gaussian(0.3)).double(), pictures(6).double()
    found = [vae.log_likelihood(x, samples=50, chunk=chunk).per_example for chunk in (7, 50, 120, 10_000)]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-9)
    assert (found[0] >= vae.elbo(x, samples=50).bound - 1).all()


def test_exactly_as_many_samples_are_decoded_as_asked_for() -> None:
    vae, x, rows = small(), pictures(5), []
    vae.decoder.register_forward_hook(lambda module, given, out: rows.append(len(out)))
    vae.log_likelihood(x, samples=13, chunk=9)
    assert sum(rows) == 5 * 13


def test_interpolation_begins_and_ends_at_the_reconstructions() -> None:
    vae, x = small(), pictures(4)
    for spherical in (False, True):
        way = vae.interpolate(x[:2], x[2:], steps=5, spherical=spherical)
        assert way.shape == (5, 2, *SHAPE)
        torch.testing.assert_close(way[0], vae.reconstruct(x[:2]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(way[-1], vae.reconstruct(x[2:]), rtol=1e-4, atol=1e-5)
    assert vae.interpolate(x[0], x[1], steps=3).shape == (3, *SHAPE)
    torch.testing.assert_close(
        vae.combine(x[:3], [1, -1, 1])[None],
        vae.decode(vae.encode(x[:1]) - vae.encode(x[1:2]) + vae.encode(x[2:3])),
        rtol=1e-4,
        atol=1e-5,
    )


@given(seed=st.integers(0, 2**32), share=st.floats(0, 1))
def test_great_circles_keep_length_and_plane(seed: int, share: float) -> None:
    a, b = torch.randn(2, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    point = paths.slerp(a, b, torch.tensor([share]))[0]
    assert float(point.norm()) == pytest.approx(float(torch.lerp(a.norm(), b.norm(), share)), rel=1e-6)
    plane = torch.linalg.qr(torch.stack([a, b]).T).Q
    torch.testing.assert_close(plane @ (plane.T @ point), point, rtol=1e-6, atol=1e-9)


def test_a_walk_is_closed_and_smooth() -> None:
    z = paths.walk(8, frames=60, stops=5, seed=3)
    steps = (z - z.roll(1, 0)).norm(dim=-1)
    assert z.shape == (60, 8)
    assert steps.max() < 3 * steps.mean()


def test_conditions_reach_both_nets() -> None:
    x, y = pictures(32), torch.arange(32) % 4
    vae = small(condition=nets.Classes(4))
    fitted(vae, (x, y))
    z = torch.zeros(1, 3)
    assert not torch.equal(vae.decode(z, torch.tensor([0])), vae.decode(z, torch.tensor([1])))
    assert vae.sample(4, seed=0, condition=torch.arange(4)).shape == (4, *SHAPE)
    assert vae.elbo(x, condition=y).bound.shape == (32,)
    assert math.isfinite(vae.log_likelihood(x, samples=4, condition=y).mean)
    with pytest.raises(ParameterError, match="condition"):
        vae.sample(4, seed=0)


def test_a_cut_run_ends_as_an_uncut_one(tmp_path: Path) -> None:
    x = pictures(40)
    options: dict[str, Any] = {"schedule": Cosine(12), "average": 50.0, "checkpoint_every": 5, "transform": _noisy}
    whole, first, second = (small(bound=bounds.ELBO(beta=Linear(0.0, 1.0, steps=10))) for _ in range(3))
    fitted(whole, x, steps=12, **options)
    fitted(first, x, steps=5, checkpoint_dir=tmp_path, **options)
    fitted(second, x, steps=12, checkpoint_dir=tmp_path, **options)
    for a, b in zip(whole.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_run_goes_on_whose_schedule_is_a_function_of_the_callers(tmp_path: Path) -> None:
    for steps in (4, 8):  # another function each time, which prints as another address
        vae = small(bound=bounds.ELBO(beta=lambda step: min(1.0, step / 5)))
        assert fitted(vae, pictures(16), steps=steps, checkpoint_dir=tmp_path).done == steps


def test_a_failed_run_leaves_a_model_that_can_be_used(tmp_path: Path) -> None:
    vae, x = small(), pictures(16)
    with pytest.raises(TrainingError, match="is not finite at step 0"):
        fitted(vae, x, transform=lambda x, noise: x if noise.batch == 16 else x * math.nan)
    assert not vae.training
    assert all(parameter.grad is None for parameter in vae.parameters())
    assert vae.sample(2, seed=0).isfinite().all()


def test_a_folder_of_images_is_read_as_it_is(tmp_path: Path) -> None:
    for i, image in enumerate(pictures(12)):
        write_png(tmp_path / f"{i}.png", image)
    assert fitted(small(), tmp_path).done == 6
    with pytest.raises(ParameterError, match=r"aigc.data.images\(path, size=\(16, 16\)\)"):
        fitted(VAE.for_images((1, 16, 16), kind="mlp"), tmp_path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_keeps_its_numbers(dtype: torch.dtype, tmp_path: Path) -> None:
    vae = small().to(dtype)
    vae.save_pretrained(tmp_path)
    again = VAE.from_pretrained(tmp_path)
    assert {value.dtype for value in again.parameters()} == {dtype}
    assert torch.equal(again.sample(3, seed=0), vae.sample(3, seed=0))


def _noisy(x: Tensor, noise: Any) -> Tensor:
    return (x + 0.01 * noise.uniform(*SHAPE)).clamp(0, 1)


@pytest.mark.parametrize("bound", [bounds.IWAE(4), bounds.IWAE(4, gradient="dreg"), bounds.ELBO(free_bits=0.1)], ids=repr)
def test_every_bound_trains_and_is_kept(bound: Any, tmp_path: Path) -> None:
    vae = small(bound=bound)
    fitted(vae, pictures(32))
    vae.save_pretrained(tmp_path)
    assert VAE.from_pretrained(tmp_path).bound == bound


@pytest.mark.usefixtures("compiling")
def test_compiled_nets_are_saved_as_the_plain_ones(tmp_path: Path) -> None:
    plain = small()
    compiled = small()
    compiled.encoder, compiled.decoder = (torch.compile(net, backend="eager") for net in (plain.encoder, plain.decoder))
    compiled.save_pretrained(tmp_path)
    again = VAE.from_pretrained(tmp_path)
    assert set(again.state_dict()) == set(plain.state_dict())
    assert torch.equal(again.sample(2, seed=0), plain.sample(2, seed=0))


def test_own_nets_are_given_again(tmp_path: Path) -> None:
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    vae = VAE(linear(5, 6), linear(3, 5), latent=3)
    fitted(vae, x)
    vae.save_pretrained(tmp_path)
    encoder, decoder = linear(5, 6), linear(3, 5)
    again = VAE.from_pretrained(tmp_path, encoder=encoder, decoder=decoder)
    assert torch.equal(again.elbo(x).bound, vae.elbo(x).bound)
    with pytest.raises(ParameterError, match="encoder must be given"):
        VAE.from_pretrained(tmp_path)
    with pytest.raises(ModelFileError, match="does not fit"):
        VAE.from_pretrained(tmp_path, encoder=linear(5, 6, bias=False), decoder=decoder)


def test_a_fitted_prior_is_sampled_from() -> None:
    vae, x = small(), pictures(64)
    prior = vae.fit_prior(x, components=3, seed=0)
    assert vae.sample(4, seed=0, prior=prior).shape == (4, *SHAPE)
    assert not torch.equal(vae.sample(4, seed=0, prior=prior), vae.sample(4, seed=0))


def test_collapse_is_said_plainly() -> None:
    with pytest.warns(UserWarning, match="The posterior has collapsed"):
        small(bound=bounds.ELBO(beta=1000.0)).fit(pictures(64), steps=150, batch_size=32, seed=0, lr=1e-2, progress=False)


def test_nothing_global_is_moved() -> None:
    before = torch.get_rng_state()
    vae = small()
    fitted(vae, pictures(16))
    vae.sample(2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pictures(16) * 255, "in .0, 1."), (pictures(16)[:, :, :7], "shape"),
        (torch.zeros(16, *SHAPE), "one colour"),
        (pictures(16).masked_fill(pictures(16) < 0.1, math.nan), "NaN"),
        ((pictures(16) * 255).byte(), "float"), (pictures(3), "batch_size"), (pictures(16)[:0], "example"),
        ({"x": pictures(16)}, "tuple"), ("no/such/folder", "no/such/folder"),
    ],
    ids=["range", "shape", "constant", "nan", "bytes", "few", "none", "dict", "folder"],
)  # fmt: skip
def test_bad_data_is_named_before_training(data: Any, message: str) -> None:
    vae = small()
    before = [value.clone() for value in vae.state_dict().values()]
    with pytest.raises((ParameterError, FileNotFoundError), match=message):
        vae.fit(data, steps=2, batch_size=8, seed=0, progress=False)
    assert all(map(torch.equal, before, vae.state_dict().values()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VAE(nn.Identity(), nn.Identity()), "latent must be given"),
        (lambda: VAE(nn.Identity(), nn.Identity(), latent=2, prior=priors.StandardNormal(3)), "prior must be of 2"),
        (lambda: VAE("x", nn.Identity(), latent=2), "encoder must be an nn.Module"),
        (lambda: VAE(linear(5, 5), linear(2, 5), latent=2).elbo(torch.zeros(2, 5)), "last axis|features|encoder"),
        (lambda: VAE(linear(5, 4), linear(2, 6), latent=2).elbo(torch.zeros(2, 5)), "decoder's output"),
        (lambda: small().decode(torch.zeros(1, 4)), "z must be codes"),
        (lambda: small().sample(0), "n must be"),
        (lambda: small().sample(2, seed=[1]), "seed must be"),
        (lambda: small().encode(torch.zeros(8, 8)), "x must be"),
        (lambda: small(likelihood=likelihoods.Bernoulli()).elbo(pictures(4)), "0 or 1"),
        (lambda: small().combine(pictures(3), [1.0]), "weights must be"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises((ParameterError, TypeParameterError), match=message):
        make()
