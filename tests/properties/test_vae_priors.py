"""The laws of priors: they are densities, they draw by them, one seed a sample; and mixtures fit."""

import copy
import itertools
import math
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, distributions, nn

from aigc import random
from aigc.errors import ParameterError, TypeParameterError
from aigc.testing import chi_square
from aigc.vae import DiagonalGaussian
from aigc.vae.diagnostics import aggregate_divergence, aggregate_log_prob
from aigc.vae.priors import Flow, FullMixture, Mixture, StandardNormal, VampPrior, fit_flow, fit_mixture

try:  # at once: they change the environment of the process
    import zuko
except ImportError:
    zuko = None  # type: ignore[assignment]
try:
    from sklearn.mixture import GaussianMixture
except ImportError:
    GaussianMixture = None

ALPHA = 1e-6
SEEDS = st.integers(0, 10**6)
needs_zuko = pytest.mark.skipif(zuko is None, reason="zuko is not installed")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture(latent: int, components: int, *, seed: int) -> Mixture:
    prior = Mixture(latent, components=components).double()
    with torch.no_grad():
        prior.logits.copy_(normal(components, seed=seed))
        prior.mean.copy_(2 * normal(components, latent, seed=seed + 1))
        prior.log_std.copy_(0.3 * normal(components, latent, seed=seed + 2))
    return prior


def full_mixture(latent: int, components: int, *, seed: int) -> FullMixture:
    prior = FullMixture(latent, components=components).double()
    tril = 0.5 * normal(components, latent, latent, seed=seed + 2)
    prior.logits.copy_(normal(components, seed=seed))
    prior.mean.copy_(2 * normal(components, latent, seed=seed + 1))
    prior.tril.copy_(tril.tril(-1) + torch.diag_embed(tril.diagonal(dim1=1, dim2=2).exp()))
    return prior


def linear(inputs: int, outputs: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        return nn.Linear(inputs, outputs)


def encoder(data: int, latent: int, *, seed: int) -> nn.Linear:
    made = linear(data, 2 * latent).double()
    with torch.no_grad():
        made.weight.copy_(normal(2 * latent, data, seed=seed) / 2)
        made.bias.copy_(normal(2 * latent, seed=seed + 1) / 2)
    return made


def every(latent: int = 2) -> dict[str, Any]:
    made: dict[str, Any] = {
        "normal": StandardNormal(latent).double(),
        "mixture": mixture(latent, 3, seed=1),
        "full": full_mixture(latent, 3, seed=1),
        "vamp": VampPrior(encoder(4, latent, seed=0), components=3, shape=(4,), latent=latent, start=normal(3, 4)),
    }
    if zuko is not None:
        made["maf"] = Flow(latent, transforms=2, hidden=(8,), seed=2).double()
    return made


KINDS = ["normal", "mixture", "full", "vamp", pytest.param("maf", marks=needs_zuko)]


@pytest.mark.parametrize("kind", [*KINDS, pytest.param("nsf", marks=needs_zuko)])
def test_densities_integrate_to_one(kind: str) -> None:
    prior = Flow(2, transforms=2, hidden=(8,), kind="nsf").double() if kind == "nsf" else every()[kind]
    reach, steps = (10, 200) if kind == "nsf" else (25, 600)
    grid = torch.linspace(-reach, reach, steps + 1, dtype=torch.float64)
    points = torch.cartesian_prod(grid, grid)
    with torch.no_grad():
        density = prior.log_prob(points).exp()
    assert float(density.sum()) * (2 * reach / steps) ** 2 == pytest.approx(
        1, abs=1e-3 if kind == "nsf" else 2e-6
    )  # kinks of splines
    assert prior.log_prob(points[:6].view(2, 3, 2)).shape == (2, 3)
    with pytest.raises(ParameterError, match=r"z must be codes of 2 dimensions, \(\*, 2\), got \(5, 3\)"):
        prior.log_prob(torch.zeros(5, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_a_function_of_its_seed(kind: str) -> None:
    prior, seeds = every()[kind], torch.tensor([5, -7, 2**62, 5])
    before = torch.get_rng_state()
    whole = prior.sample(seeds)
    assert torch.equal(torch.get_rng_state(), before)
    assert whole.shape == (4, 2)
    assert whole.dtype == torch.float64
    assert not whole.requires_grad
    torch.testing.assert_close(whole[0], whole[3])
    for i in range(4):
        alone = prior.sample(seeds[i : i + 1])
        # To the bit, but for a flow, whose nets round as the batch is wide.
        assert torch.equal(alone[0], whole[i]) or (kind == "maf" and torch.allclose(alone[0], whole[i], atol=1e-12))
    with pytest.raises(TypeParameterError, match=r"seeds must be an int64 tensor \(n,\)"):
        prior.sample(torch.zeros(3))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_drawn_by_the_density(kind: str) -> None:
    """Cells of a grid, whose masses are integrated, are hit as often as that."""
    prior = every()[kind]
    z = prior.sample(torch.arange(20_000))
    edges = torch.linspace(-4, 4, 9, dtype=torch.float64)
    fine = (torch.arange(8 * 40, dtype=torch.float64) + 0.5) / 40 - 4
    with torch.no_grad():
        density = prior.log_prob(torch.cartesian_prod(fine, fine)).exp().view(8, 40, 8, 40)
    law = (density.sum((1, 3)) / 1600).flatten()

    def counts(z: Tensor) -> Tensor:
        cell = torch.bucketize(z, edges) - 1
        inside = ((cell >= 0) & (cell < 8)).all(-1)
        hits = torch.bincount(cell[inside, 0] * 8 + cell[inside, 1], minlength=64)
        return torch.cat([hits, (~inside).sum()[None]])

    whole = torch.cat([law, (1 - law.sum())[None].clamp(min=0)])
    assert chi_square(counts(z), whole / whole.sum()) > ALPHA
    assert chi_square(counts(z * 1.1), whole / whole.sum()) < ALPHA


@given(seed=SEEDS, latent=st.integers(1, 3), components=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_mixtures_are_those_of_torch(seed: int, latent: int, components: int) -> None:
    z = 2 * normal(3, 5, latent, seed=seed + 5)
    ours = mixture(latent, components, seed=seed)
    weights = distributions.Categorical(logits=ours.logits)
    parts = distributions.Independent(distributions.Normal(ours.mean, ours.log_std.exp()), 1)
    torch.testing.assert_close(ours.log_prob(z), distributions.MixtureSameFamily(weights, parts).log_prob(z))
    full = full_mixture(latent, components, seed=seed)
    parts = distributions.MultivariateNormal(full.mean, scale_tril=full.tril)
    weights = distributions.Categorical(logits=full.logits)
    torch.testing.assert_close(full.log_prob(z), distributions.MixtureSameFamily(weights, parts).log_prob(z))
    standard = distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(StandardNormal(latent).log_prob(z), standard)


def test_closed_forms_are_there_where_they_are() -> None:
    q = DiagonalGaussian(normal(3, 2), normal(3, 2, seed=1))
    torch.testing.assert_close(StandardNormal(2).kl(q), q.kl_standard(per_dimension=True))
    assert StandardNormal(2).kl(object()) is None
    assert [prior.kl(q) is None for name, prior in every().items() if name != "normal"] == [True] * (len(every()) - 1)


@given(seed=SEEDS, n=st.integers(1, 6), latent=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_vamp_prior_with_all_data_is_the_aggregate_posterior(seed: int, n: int, latent: int) -> None:
    x, net = normal(n, 2, 3, seed=seed), nn.Sequential(nn.Flatten(), encoder(6, latent, seed=seed + 1))
    prior = VampPrior(net, components=n, shape=(2, 3), latent=latent, start=x)
    with torch.no_grad():
        q = DiagonalGaussian.read(net(x))
        z = q.rsample(normal(n, latent, seed=seed + 2))
        torch.testing.assert_close(prior.log_prob(z), aggregate_log_prob(q, z), rtol=1e-12, atol=1e-12)
        assert aggregate_divergence(q, z, prior) == pytest.approx(0, abs=1e-12)
        one = VampPrior(net, components=1, shape=(2, 3), latent=latent, start=x[:1])
        torch.testing.assert_close(one.log_prob(z), DiagonalGaussian(q.mean[0], q.log_std[0]).log_prob(z))


def test_vamp_prior_owns_its_inputs_and_not_the_encoder() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = linear(5, 4)
            self.prior = VampPrior(self.encoder, components=3, shape=(5,), latent=2)

    model = Model()
    assert set(model.state_dict()) == {"encoder.weight", "encoder.bias", "prior.inputs"}
    z = torch.zeros(2, 2)
    model.prior.log_prob(z).sum().backward()
    assert model.prior.inputs.grad is not None
    assert model.encoder.weight.grad is not None
    twin = copy.deepcopy(model)
    before = model.prior.log_prob(z)
    with torch.no_grad():
        twin.encoder.bias.add_(1.0)
    assert torch.equal(model.prior.log_prob(z), before)
    assert not torch.equal(twin.prior.log_prob(z), before)
    again = VampPrior(model.encoder, components=3, shape=(5,), latent=2)
    assert torch.equal(again.inputs, model.prior.inputs)
    assert ((again.inputs >= 0) & (again.inputs < 1)).all()
    with pytest.raises(ParameterError, match=r"the encoder's output must be of shape \(3, 6\)"):
        VampPrior(model.encoder, components=3, shape=(5,), latent=3).log_prob(torch.zeros(1, 3))
    with pytest.raises(ParameterError, match=r"start must be of shape \(3, 5\)"):
        VampPrior(model.encoder, components=3, shape=(5,), latent=3, start=torch.zeros(2, 5))


@given(seed=SEEDS, latent=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_one_fitted_component_is_mean_and_covariance(seed: int, latent: int) -> None:
    z = normal(30, latent, seed=seed) @ normal(latent, latent, seed=seed + 1) + 5
    for covariance in ("diagonal", "full"):
        prior: Any = fit_mixture(z, components=1, seed=0, covariance=covariance, floor=0.0)
        cov = np.cov(z.numpy().T, bias=True).reshape(latent, latent)
        wanted = distributions.MultivariateNormal(
            z.mean(0), torch.from_numpy(cov if covariance == "full" else np.diag(np.diag(cov)))
        )
        torch.testing.assert_close(prior.log_prob(z), wanted.log_prob(z), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_fitted_mixture_recovers_the_one_that_drew_the_codes(covariance: str) -> None:
    truth = full_mixture(2, 3, seed=4) if covariance == "full" else mixture(2, 3, seed=4)
    means = torch.tensor([[-6.0, 0.0], [6.0, 0.0], [0.0, 7.0]], dtype=torch.float64)
    with torch.no_grad():
        truth.mean.copy_(means)
        truth.logits.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
        z = truth.sample(torch.arange(6000))
    before = torch.get_rng_state()
    found: Any = fit_mixture(z, components=3, seed=0, covariance=covariance)
    assert torch.equal(torch.get_rng_state(), before)
    order = torch.cdist(means, found.mean.detach()).argmin(1)
    weights = found.logits.detach().softmax(0)[order]
    for c, w in enumerate((0.5, 0.3, 0.2)):
        assert abs(float(weights[c]) - w) / math.sqrt(w * (1 - w) / 6000) < 4.5
        std = truth.tril[c].square().sum(-1).sqrt() if covariance == "full" else truth.log_std[c].detach().exp()
        z_scores = (found.mean[order[c]].detach() - means[c]) / std * math.sqrt(6000 * w)
        assert float(z_scores.abs().max()) < 4.5  # of six, one in 25,000
    with torch.no_grad():
        assert float(found.log_prob(z).mean()) >= float(truth.log_prob(z).mean())
    same: Any = fit_mixture(z, components=3, seed=0, covariance=covariance)
    assert torch.equal(same.mean, found.mean)
    assert found.mean.dtype == torch.float64
    assert fit_mixture(z.float(), components=3, seed=0).mean.dtype == torch.float32


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_each_step_of_a_fit_raises_the_likelihood(covariance: str) -> None:
    z = torch.cat([normal(200, 3), 2 * normal(100, 3, seed=1) + 1, normal(50, 3, seed=2) - 2])
    fits: list[Any] = [
        fit_mixture(z, components=4, seed=3, covariance=covariance, steps=steps, tolerance=0.0, floor=1e-12)
        for steps in range(1, 12)
    ]
    with torch.no_grad():
        values = [float(fit.log_prob(z).mean()) for fit in fits]
    assert all(later >= earlier - 1e-10 for earlier, later in itertools.pairwise(values))
    assert values[-1] > values[0] + 1e-3


@pytest.mark.skipif(GaussianMixture is None, reason="scikit-learn is not installed")
@pytest.mark.parametrize("covariance, name", [("diagonal", "diag"), ("full", "full")])
def test_a_step_of_a_fit_is_that_of_scikit_learn(covariance: str, name: str) -> None:
    z = torch.cat([normal(200, 2), normal(100, 2, seed=1) + 3])
    first, second = (
        fit_mixture(z, components=2, seed=0, covariance=covariance, steps=steps, tolerance=0.0, floor=0.0)
        for steps in (3, 4)
    )

    def moments(prior: Any) -> tuple[Any, Any, Any]:
        tril = prior.tril if covariance == "full" else torch.diag_embed(prior.log_std.detach().exp())
        return prior.logits.detach().softmax(0).numpy(), prior.mean.detach().numpy(), (tril @ tril.mT).numpy()

    weights, means, covariances = moments(first)
    precisions = np.linalg.inv(covariances)
    start = precisions if covariance == "full" else np.stack([np.diag(p) for p in precisions])
    reference = GaussianMixture(
        2,
        covariance_type=name,
        max_iter=1,
        tol=0,
        reg_covar=0,
        weights_init=weights,
        means_init=means,
        precisions_init=start,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one step is not enough
        reference.fit(z.numpy())
    weights, means, covariances = moments(second)
    np.testing.assert_allclose(weights, reference.weights_, rtol=1e-8)
    np.testing.assert_allclose(means, reference.means_, rtol=1e-7, atol=1e-9)
    wanted = reference.covariances_ if covariance == "full" else np.stack([np.diag(c) for c in reference.covariances_])
    np.testing.assert_allclose(covariances, wanted, rtol=1e-7, atol=1e-9)


def test_fits_that_are_hard() -> None:
    same = torch.ones(20, 2)
    prior = fit_mixture(same, components=3, seed=0)
    assert prior.log_prob(same).isfinite().all()
    few = fit_mixture(normal(4, 2), components=4, seed=0, covariance="full")
    assert few.sample(torch.arange(9)).isfinite().all()
    for z, options, message in (
        (torch.zeros(2, 3), {}, "z must be at least 3 codes"),
        (torch.full((5, 2), math.nan), {}, "z must be finite"),
        (torch.zeros(5, 2), {"covariance": "tied"}, "covariance must be 'diagonal' or 'full'"),
    ):
        with pytest.raises(ParameterError, match=message):
            fit_mixture(z, components=3, seed=0, **options)  # type: ignore[arg-type]


@needs_zuko
@given(seed=SEEDS, latent=st.integers(1, 3))
@settings(max_examples=4, deadline=None)
def test_a_flow_is_a_change_of_variables(seed: int, latent: int) -> None:
    before = torch.get_rng_state()
    flow = Flow(latent, transforms=2, hidden=(8,), seed=seed).double()
    assert torch.equal(torch.get_rng_state(), before)
    z = normal(3, latent, seed=seed)
    flow.shift.fill_(0.5)
    flow.scale.fill_(2.0)

    def transform(z: Tensor) -> Any:
        return flow.flow().transform((z - 0.5) / 2)

    with torch.no_grad():
        wanted = []
        for row in z:
            jacobian = torch.autograd.functional.jacobian(transform, row)
            base = transform(row)
            wanted.append(distributions.Normal(0.0, 1.0).log_prob(base).sum() + torch.linalg.slogdet(jacobian)[1])
        torch.testing.assert_close(flow.log_prob(z), torch.stack(wanted), rtol=1e-8, atol=1e-8)
        seeds = torch.arange(3)
        noise = random.normal(seeds[:, None], torch.arange(latent))
        torch.testing.assert_close(transform(flow.sample(seeds)), noise, rtol=1e-8, atol=1e-8)
    torch.manual_seed(seed + 1)
    again = Flow(latent, transforms=2, hidden=(8,), seed=seed).double()
    other = Flow(latent, transforms=2, hidden=(8,), seed=seed + 1).double()
    assert all(torch.equal(a, b) for a, b in zip(flow.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(flow.parameters(), other.parameters(), strict=True))
    torch.set_rng_state(before)


@needs_zuko
def test_a_fitted_flow_is_close_to_what_drew_the_codes() -> None:
    truth = full_mixture(2, 1, seed=4)
    train, test = (truth.sample(torch.arange(2000) + first).float() for first in (0, 5000))
    before = torch.get_rng_state()
    found = fit_flow(train, seed=0, steps=300, hidden=(16,), transforms=1)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        excess = truth.log_prob(test.double()).float() - found.log_prob(test)
        start = truth.log_prob(test.double()).float() - Flow(2, hidden=(16,), transforms=1).log_prob(test)
    assert abs(float(excess.mean())) < 0.02  # nats; a Gaussian is within the family of one affine step
    assert float(start.mean()) > 0.5
    same = fit_flow(train, seed=0, steps=300, hidden=(16,), transforms=1)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), same.parameters(), strict=True))
    with pytest.raises(ParameterError, match=r"z must be finite codes, \(n, latent\)"):
        fit_flow(torch.full((3, 2), math.nan), seed=0)


def test_a_flow_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(ImportError, match=r"Flow needs zuko: pip install 'aigc\[flows\]'"):
        Flow(2)


@needs_zuko
def test_a_flow_of_no_kind() -> None:
    with pytest.raises(ParameterError, match="kind must be one of 'maf', 'nsf'"):
        Flow(2, kind="realnvp")
