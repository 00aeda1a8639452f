"""`VQVAE`: what it promises at its door, over the laws of tests/properties/test_vqvae.py."""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aigc import VAE, VQVAE, checkpoint, nets, random
from aigc.errors import ModelFileError, ModelNotFoundError, ParameterError, TrainingError, TypeParameterError
from aigc.training import Cosine, Every, History
from aigc.vae import likelihoods
from aigc.vae.priors import Autoregressive
from aigc.vae.quantise import FSQ, VQ, ResidualVQ, Usage

SHAPE = (1, 8, 8)
KINDS: dict[str, Any] = {
    "vq": lambda: VQ(8, features=3),
    "fsq": lambda: FSQ((4, 3)),
    "residual": lambda: ResidualVQ(6, features=3, depth=2),
}
SMALL: dict[str, Any] = {"width": 16, "layers": 1, "heads": 2}


def pictures(n: int, seed: int = 0) -> Tensor:
    """Soft blobs at random places, in [0, 1]."""
    rng = torch.Generator().manual_seed(seed)
    centre = torch.rand(n, 2, 1, 1, generator=rng) * 8
    grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"))
    return (-(grid - centre).square().sum(1, keepdim=True) / 4).exp()


def small(kind: str = "vq", **parts: Any) -> VQVAE:
    return VQVAE.for_images(SHAPE, **({"quantiser": KINDS[kind](), "width": 8, "blocks": 0} | parts))


def fitted(vae: VQVAE, x: Any, **options: Any) -> History:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a few steps do not wake all codes
        return vae.fit(x, **({"steps": 6, "batch_size": 8, "seed": 0, "progress": False} | options))


def with_prior(vae: VQVAE, x: Any, **options: Any) -> History:
    return vae.fit_prior(x, **(SMALL | {"steps": 4, "batch_size": 8, "seed": 0, "progress": False} | options))


def own(features: int = 2) -> tuple[nn.Module, nn.Module]:
    """Nets of the user's, which touch no generator of the process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(5, 3 * features), nn.Unflatten(1, (features, 3)))
        return encoder, nn.Sequential(nn.Flatten(), nn.Linear(3 * features, 5))


class Standing(nn.Module):
    """An encoder that says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.expand(len(x), 2, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_pictures_and_then_their_codes(kind: str) -> None:
    x = pictures(256)
    vae = small(kind)
    history = fitted(vae, x, epochs=20, steps=None, batch_size=32, lr=5e-3)
    assert set(history.values) == {"loss", "loss/distortion", "loss/commitment", "loss/perplexity"}
    assert (vae.reconstruct(x) - x).square().mean() < (x.mean(0) - x).square().mean() / 3
    before = vae.elbo(x)
    learned = with_prior(vae, x, steps=80, batch_size=32, lr=3e-3)
    after = vae.elbo(x)
    assert set(learned.values) == {"loss", "loss/bits"}
    assert torch.equal(after.reconstruction, before.reconstruction)
    places = vae.encode(x)[0].numel()
    torch.testing.assert_close(before.divergence, torch.full((256,), places * math.log(vae.quantiser.count)))
    assert after.divergence.mean() < 0.9 * before.divergence.mean()
    assert after.bound.mean() > before.bound.mean()
    shown = vae.sample(20, seed=0)
    assert shown.shape == (20, *SHAPE)
    assert 0 <= float(shown.min()) < float(shown.max()) <= 1


def test_a_reconstruction_is_a_code_decoded() -> None:
    x = pictures(9)
    for kind, shape in (("vq", (9, 4, 4)), ("fsq", (9, 4, 4)), ("residual", (9, 2, 4, 4))):
        vae = small(kind)
        fitted(vae, x, steps=2)
        indices = vae.encode(x)
        assert (indices.shape, indices.dtype) == (shape, torch.int64)
        assert torch.equal(vae.decode(indices), vae.reconstruct(x))
    assert vae.decode(indices[:, :1]).shape == x.shape, "the coarse levels alone are codes"
    assert not torch.equal(vae.decode(indices[:, :1]), vae.decode(indices))


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_run_ends_as_an_uncut_one(kind: str, tmp_path: Path) -> None:
    x = pictures(40)
    options: dict[str, Any] = {"schedule": Cosine(12), "average": 50.0, "checkpoint_every": 5, "transform": _noisy}
    whole, first, second = (small(kind) for _ in range(3))
    fitted(whole, x, steps=12, **options)
    fitted(first, x, steps=5, checkpoint_dir=tmp_path / "codes", **options)
    fitted(second, x, steps=12, checkpoint_dir=tmp_path / "codes", **options)
    _same(whole, second)
    options |= {"dropout": 0.2, "transform": None}
    with_prior(whole, x, steps=12, **options)
    with_prior(second, x, steps=5, checkpoint_dir=tmp_path / "prior", **options)
    second.prior = None
    with_prior(second, x, steps=12, checkpoint_dir=tmp_path / "prior", **options)
    _same(whole, second)
    with pytest.raises(ParameterError, match="checkpoint_dir"):
        with_prior(second, x, steps=12, checkpoint_dir=tmp_path / "prior", **(options | {"width": 8}))
    with pytest.raises(ParameterError, match="checkpoint_dir"):
        fitted(small(kind, commitment=1.0), x, steps=12, checkpoint_dir=tmp_path / "codes", average=50.0)


def _same(one: nn.Module, other: nn.Module) -> None:
    states = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in states)


def _noisy(x: Tensor, noise: Any) -> Tensor:
    return (x + 0.01 * noise.uniform(*SHAPE)).clamp(0, 1)


def test_a_look_at_a_model_does_not_change_its_training() -> None:
    x = pictures(24)
    seen, unseen = small(), small()

    def look(step: int) -> None:
        seen.diagnose(x)
        seen.decode(seen.encode(x))

    fitted(unseen, x, steps=8)
    fitted(seen, x, steps=8, every=[Every(2, look)])
    _same(seen, unseen)


def test_codes_are_found_once_or_in_each_batch() -> None:
    x, y = pictures(40), torch.arange(40) % 3
    vae = small("residual", condition=nets.Classes(3))
    fitted(vae, (x, y))
    priors = []
    for data, transform in (((x, y), None), ((1 - x, y), lambda x, noise: 1 - x), ((x.numpy(), y.numpy()), None)):
        with_prior(vae, data, transform=transform)
        priors.append(vae.prior)
    _same(priors[0], priors[1])
    _same(priors[0], priors[2])
    pairs = [(x[i], y[i]) for i in range(40)]
    loader: Any = torch.utils.data.DataLoader(pairs, batch_size=8, shuffle=False, generator=torch.Generator())  # type: ignore[arg-type]
    assert with_prior(vae, loader).done == 4


def test_new_codes_have_no_prior() -> None:
    x = pictures(16)
    vae = small()
    with pytest.raises(ParameterError, match=r"prior must be fitted before codes are drawn.*fit_prior"):
        vae.sample(2)
    fitted(vae, x)
    with_prior(vae, x)
    prior = vae.prior
    with pytest.raises(ParameterError, match="shape"):
        fitted(vae, x[:, :, 1:])
    assert vae.prior is prior, "nothing was trained"
    fitted(vae, x)
    assert vae.prior is None
    assert vae.sample(2, prior=prior, seed=0).shape == (2, *SHAPE)


def test_a_run_that_does_not_begin_leaves_the_prior() -> None:
    vae, x = small(), pictures(32)
    fitted(vae, x)
    with_prior(vae, x)
    with pytest.raises(ParameterError, match="steps must be"):
        fitted(vae, x, steps=0)
    assert vae.prior is not None
    fitted(vae, x, steps=1)
    assert vae.prior is None


def test_a_prior_is_fitted_to_codes_at_rest() -> None:
    """A codebook in training mode moves with each look; a transform has each batch encoded when its turn comes."""
    vae, x = small(), pictures(32)
    fitted(vae, x)
    before = [value.clone() for value in vae.quantiser.state_dict().values()]
    vae.train()
    with_prior(vae, x, transform=lambda x, noise: x)
    assert all(map(torch.equal, before, vae.quantiser.state_dict().values()))


def test_a_prior_alone_may_be_told_something() -> None:
    x, y = pictures(32), torch.arange(32) % 4
    vae = small()
    fitted(vae, x)
    with_prior(vae, (x, y), condition=nets.Classes(4))
    codes = [vae.prior.sample(torch.arange(20), condition=torch.full((20,), kind)) for kind in (0, 1)]
    assert not torch.equal(*codes)
    assert vae.sample(4, seed=0, condition=torch.arange(4)).shape == (4, *SHAPE)
    assert vae.elbo(x, condition=y).bound.shape == (32,)
    assert not torch.equal(vae.elbo(x, condition=y).divergence, vae.elbo(x, condition=(y + 1) % 4).divergence)
    assert torch.equal(vae.reconstruct(x), vae.decode(vae.encode(x)))
    for act in (lambda: vae.sample(4), lambda: vae.elbo(x), lambda: vae.encode(x, y)):
        with pytest.raises(ParameterError, match="condition"):
            act()


def test_conditions_reach_nets_and_prior(tmp_path: Path) -> None:
    x, y = pictures(32), torch.arange(32) % 4
    vae = small(condition=nets.Classes(4))
    fitted(vae, (x, y))
    with_prior(vae, (x, y))
    assert vae.prior.condition == nets.Classes(4)
    indices = vae.encode(x[:1], y[:1])
    assert not torch.equal(vae.decode(indices, torch.tensor([0])), vae.decode(indices, torch.tensor([1])))
    vae.save_pretrained(tmp_path)
    again = VQVAE.from_pretrained(tmp_path)
    assert again.condition == vae.condition
    assert torch.equal(again.sample(3, seed=0, condition=y[:3]), vae.sample(3, seed=0, condition=y[:3]))
    assert torch.equal(again.elbo(x, condition=y).bound, vae.elbo(x, condition=y).bound)
    for act in (lambda: vae.sample(4), lambda: vae.elbo(x), lambda: vae.encode(x), lambda: fitted(vae, x)):
        with pytest.raises(ParameterError, match="condition"):
            act()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_saved_is_the_same_again(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    x, y = pictures(20), torch.arange(20) % 3
    vae = small(kind, likelihood=likelihoods.Laplace("shared"), commitment=0.5)
    fitted(vae, x)
    vae.to(dtype)
    vae.save_pretrained(tmp_path / "without")
    assert VQVAE.from_pretrained(tmp_path / "without").prior is None
    vae.to(torch.float32)
    with_prior(vae, (x, y), condition=nets.Classes(3))
    vae.to(dtype)
    vae.save_pretrained(tmp_path / "with")
    again = VQVAE.from_pretrained(tmp_path / "with")
    _same(vae, again)
    x = x.to(dtype)
    assert torch.equal(again.encode(x), vae.encode(x))
    assert torch.equal(again.reconstruct(x), vae.reconstruct(x))
    assert torch.equal(again.elbo(x, condition=y).bound, vae.elbo(x, condition=y).bound)
    assert torch.equal(again.sample(5, seed=1, condition=y[:5]), vae.sample(5, seed=1, condition=y[:5]))
    assert (again.shape, again.images, again.commitment, repr(again)) == (SHAPE, True, 0.5, repr(vae))
    assert not any(module.training for module in again.modules())
    again.save_pretrained(tmp_path / "twice")
    assert (tmp_path / "twice/config.json").read_bytes() == (tmp_path / "with/config.json").read_bytes()


def test_own_parts_are_given_again(tmp_path: Path) -> None:
    class Rounded(FSQ):
        pass

    class Even(Autoregressive):
        pass

    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    vae = VQVAE(*own(), Rounded((3, 3)))
    fitted(vae, x)
    assert vae.shape == (5,)
    with_prior(vae, x)
    vae.prior = Even(vae.prior.net, vae.prior.shape)
    vae.save_pretrained(tmp_path)
    encoder, decoder = own()
    prior = Even(nets.CausalTransformer(9, 3, **SMALL), (3,))
    parts: dict[str, Any] = {"encoder": encoder, "decoder": decoder, "quantiser": Rounded((3, 3)), "prior": prior}
    again = VQVAE.from_pretrained(tmp_path, **parts)
    assert torch.equal(again.elbo(x).bound, vae.elbo(x).bound)
    for name in parts:
        with pytest.raises(ParameterError, match=f"{name} must be given"):
            VQVAE.from_pretrained(tmp_path, **(parts | {name: None}))


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    VAE.for_images(SHAPE, latent=2, kind="mlp").save_pretrained(tmp_path / "vae")
    with pytest.raises(ModelFileError, match="'VAE', not a VQVAE"):
        VQVAE.from_pretrained(tmp_path / "vae")
    vae = small()
    vae.prior = Autoregressive(nets.CausalTransformer(8, 16, **SMALL), (4, 4))
    vae.save_pretrained(tmp_path / "vqvae")
    with pytest.raises(ModelFileError, match="'VQVAE', not a VAE"):
        VAE.from_pretrained(tmp_path / "vqvae")
    with pytest.raises(ModelNotFoundError):
        VQVAE.from_pretrained(tmp_path / "nowhere")
    config = json.loads((tmp_path / "vqvae/config.json").read_text())
    for what, other in (
        ("prior", {"prior": "os.system", "net": {}, "shape": [4, 4]}),
        ("prior", {"prior": "Autoregressive", "net": config["encoder"], "shape": [4, 4]}),
        ("quantiser", config["quantiser"] | {"codes": 9}),
        ("quantiser", {"quantiser": "os.system"}),
    ):
        checkpoint.save(tmp_path / "bad", config=config | {what: other}, tensors=vae.state_dict())
        with pytest.raises((ModelFileError, ParameterError), match="not known|does not fit|one of"):
            VQVAE.from_pretrained(tmp_path / "bad")


def test_sounds_have_a_row_of_codes() -> None:
    x = torch.sin(torch.arange(64.0)[None, None] * torch.linspace(0.1, 1, 24)[:, None, None])
    vae = VQVAE.for_sounds((1, 64), quantiser=ResidualVQ(6, features=3, depth=2), width=4, steps=2)
    fitted(vae, x)
    with_prior(vae, x)
    assert vae.encode(x).shape == (24, 2, 4)
    assert vae.sample(3, seed=0).shape == (3, 1, 64)
    assert vae.elbo(x).bound.isfinite().all()


def test_collapse_is_said_plainly() -> None:
    decoder = nn.Sequential(nn.Flatten(), own()[1][1].__class__(8, 5, device="meta"))
    decoder[1].to_empty(device="cpu")
    nn.init.zeros_(decoder[1].weight)
    nn.init.zeros_(decoder[1].bias)
    vae = VQVAE(Standing(), decoder, VQ(16, features=2, restart=None))
    x = torch.randn(32, 5, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="The codebook has collapsed: of 16 codes 1 are used"):
        vae.fit(x, steps=3, batch_size=16, seed=0, progress=False)
    found = vae.diagnose(x)
    assert found.usage == Usage((1.0,), (15,), 16, 128)
    assert found.rate == pytest.approx(4 * math.log(16), rel=1e-5)
    assert found.distortion == pytest.approx(-float(vae.elbo(x).reconstruction.mean()), rel=1e-5)


def test_a_failed_run_leaves_a_model_that_can_be_used() -> None:
    vae, x = small(), pictures(16)
    before = [value.clone() for value in vae.state_dict().values()]
    with pytest.raises(TrainingError, match="is not finite at step 0"):
        fitted(vae, x, transform=lambda x, noise: x if noise.batch == 16 else x * math.nan)
    assert all(map(torch.equal, before, vae.state_dict().values()))
    assert not any(module.training for module in vae.modules())


def test_nothing_global_is_moved() -> None:
    before = torch.get_rng_state()
    vae, x = small(), pictures(16)
    fitted(vae, x)
    with_prior(vae, x, dropout=0.5, seed=None)
    vae.sample(2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_and_micro_batches_train(kind: str) -> None:
    vae, x = small(kind), pictures(32)
    assert math.isfinite(fitted(vae, x, precision="bfloat16", accumulate=2).values["loss"][-1])
    assert math.isfinite(with_prior(vae, x, precision="bfloat16", accumulate=2).values["loss"][-1])
    assert vae.elbo(x).bound.isfinite().all()


def test_a_seed_repeats_a_sample() -> None:
    vae, x = small(), pictures(16)
    fitted(vae, x)
    with_prior(vae, x)
    assert torch.equal(vae.sample(3, seed=7), vae.sample(3, seed=[random.stream(7, i) for i in range(3)]))
    assert not torch.equal(vae.sample(3, seed=7), vae.sample(3, seed=8))
    plain, noisy = (vae.sample(3, seed=[7, 8, 7], temperature=0.0, noise=noise) for noise in (False, True))
    assert torch.equal(plain[0], plain[1])
    assert torch.equal(noisy[0], noisy[2])
    assert (noisy[0] != noisy[1]).float().mean() > 0.2  # some are cut at 0 or 1
    assert (noisy[0] != plain[0]).float().mean() > 0.2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pictures(16) * 255, "in .0, 1."), (pictures(16)[:, :, :7], "shape"),
        (pictures(16).masked_fill(pictures(16) < 0.1, math.nan), "NaN"),
        ((pictures(16) * 255).byte(), "float"), (pictures(3), "batch_size"), ({"x": pictures(16)}, "tuple"),
        ((pictures(16), torch.zeros(16, dtype=torch.int64)), "condition must be left out"),
    ],
    ids=["range", "shape", "nan", "bytes", "few", "dict", "condition"],
)  # fmt: skip
@pytest.mark.parametrize("verb", [fitted, with_prior])
def test_bad_data_is_named_before_training(data: Any, message: str, verb: Any) -> None:
    vae = small()
    before = [value.clone() for value in vae.state_dict().values()]
    with pytest.raises(ParameterError, match=message):
        verb(vae, data)
    assert all(map(torch.equal, before, vae.state_dict().values()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VQVAE(nn.Identity(), nn.Identity(), "vq"), "quantiser must be an nn.Module"),  # type: ignore[arg-type]
        (lambda: VQVAE(nn.Identity(), nn.Identity(), FSQ((3,)), commitment=-1), "commitment must be"),
        (lambda: VQVAE.for_images((8, 8)), r"\(channels, height, width\)"),
        (lambda: VQVAE.for_sounds((1, 8, 8)), r"\(channels, length\)"),
        (lambda: VQVAE.for_images(SHAPE, quantiser=FSQ((3, 3)), features=4), "features must be left out"),
        (lambda: VQVAE.for_images(SHAPE, steps=2), r"steps must be an integer in \[1, 1\]"),
        (lambda: VQVAE.for_images(SHAPE, steps=1.5), "steps must be an integer"),  # type: ignore[arg-type]
        (lambda: VQVAE(*own(3), FSQ((3, 3))).encode(torch.zeros(2, 5)), "vectors of 2 features"),
        (lambda: VQVAE(own()[0], nn.Flatten(), FSQ((3, 3))).elbo(torch.zeros(2, 5)), "decoder's output"),
        (lambda: with_prior(VQVAE(*own(), FSQ((3, 3))), torch.randn(9, 5, generator=torch.Generator())), "Train the model"),
        (lambda: small().encode(torch.zeros(8, 8)), "x must be"),
        (lambda: small().encode(torch.zeros(2, 1, 8, 7)), "x must be of shape"),
        (lambda: small().encode(pictures(2) * 2), r"in \[0, 1\]"),
        (lambda: small().elbo(pictures(2) - 1), r"in \[0, 1\]"),
        (lambda: small(likelihood=likelihoods.Bernoulli()).elbo(pictures(4)), "0 or 1"),
        (lambda: small().decode(torch.zeros(1, 4, 4)), "indices must be int64"),
        (lambda: small().decode(torch.full((1, 4, 4), 8)), r"indices must be in \[0, 7\]"),
        (lambda: small().decode(torch.full((1, 4, 4), -1)), r"indices must be in \[0, 7\]"),
        (lambda: small().decode(torch.zeros(1, 3, 4, dtype=torch.int64)), "z must be of shape"),
        (lambda: small("residual").decode(torch.zeros(1, 3, 4, 4, dtype=torch.int64)), "at least 1|in .1, 2."),
        (lambda: small().sample(0), "prior must be fitted"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises((ParameterError, TypeParameterError), match=message):
        make()


def _prior(condition: Any = None) -> Autoregressive:
    return Autoregressive(nets.CausalTransformer(8, 4, condition=condition, **SMALL), (2, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Autoregressive(nets.CausalTransformer(8, 4, **SMALL), (2, 3)), "shape must be of 4 indices"),
        (lambda: Autoregressive(nets.CausalTransformer(8, 4, depth=2, **SMALL), (1, 4)), "depth of the net"),
        (lambda: nets.CausalTransformer(8, 5, depth=2), "a multiple of depth"),
        (lambda: nets.CausalTransformer(8, 4, width=10, heads=4), "a multiple of heads"),
        (lambda: nets.CausalTransformer(8, 4, dropout=1.0), "dropout must be below 1"),
        (lambda: nets.CausalTransformer(0, 4), "vocabulary must be"),
        (lambda: _prior().log_prob(torch.zeros(3, 2, 3, dtype=torch.int64)), r"indices must be of shape \(batch, 2, 2\)"),
        (lambda: _prior().log_prob(torch.zeros(3, 2, 2)), "indices must be int64"),
        (lambda: _prior().log_prob(torch.full((3, 2, 2), 8)), r"indices must be in \[0, 7\]"),
        (lambda: _prior(nets.Classes(3)).log_prob(torch.zeros(3, 2, 2, dtype=torch.int64)), "condition must be given"),
        (lambda: _prior().sample(torch.zeros(3)), "seeds must be an int64"),
        (lambda: _prior(nets.Classes(3)).sample(torch.arange(3)), "condition must be given"),
        (lambda: _prior().sample(torch.arange(3), condition=torch.arange(3)), "condition must be left out"),
        (lambda: _prior().sample(torch.arange(3), top_p=1.5), "top_p must be"),
        (lambda: _prior().sample(torch.arange(3), temperature=-1.0), "temperature must be"),
        (lambda: _prior().net(torch.zeros(1, 5, dtype=torch.int64)), "at most 4"),
        (lambda: _prior().net.step(torch.zeros(1, dtype=torch.int64), _prior().net.cache(1)), "None at the first"),
    ],
)  # fmt: skip
def test_a_prior_names_what_is_wrong(make: Any, message: str) -> None:
    with pytest.raises((ParameterError, TypeParameterError), match=message):
        make()
