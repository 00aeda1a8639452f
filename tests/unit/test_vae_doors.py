"""What comes in at the doors of VAE and VQVAE: what they cannot use is named, with a cure; what they can is not changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aigc import VAE, VQVAE, nets, random
from aigc.errors import ParameterError
from aigc.vae import ELBO, IWAE, active_units, likelihoods, priors
from aigc.vae.likelihoods import Bernoulli, Categorical, Gaussian
from aigc.vae.quantise import FSQ, VQ

SHAPE = (1, 8, 8)
FIT: dict[str, Any] = {"steps": 1, "seed": 0, "batch_size": 8, "progress": False}
X = torch.rand(24, *SHAPE, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(24) % 3
NUMBERS = torch.linspace(-1, 1, 48).view(24, 2)
HALVES = (torch.bfloat16, torch.float16)

pytestmark = pytest.mark.filterwarnings("ignore:The posterior has collapsed", "ignore:.*codes are in use")


def vae(**parts: Any) -> VAE:
    model = VAE.for_images(SHAPE, **({"latent": 4, "kind": "mlp"} | parts))
    condition = parts.get("condition")
    told = LABELS if isinstance(condition, nets.Classes) else NUMBERS
    model.fit(X if condition is None else (X, told), **FIT)
    return model


def vqvae(**parts: Any) -> VQVAE:
    model = VQVAE.for_images(SHAPE, **({"quantiser": FSQ((4, 4)), "width": 4} | parts))
    model.fit(X, **FIT)
    return model


def hierarchy() -> VAE:
    model = VAE.hierarchical(SHAPE, (2,), width=4)
    model.fit(X, **FIT)
    return model


@pytest.fixture(scope="module")
def v() -> VAE:
    return vae()


@pytest.fixture(scope="module")
def q() -> VQVAE:
    return vqvae()


def filled(module: nn.Module) -> nn.Module:
    """A module whose weights are the same each time."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view(parameter.shape))
    return module


def linear(inputs: int, outputs: int) -> nn.Module:
    return filled(nn.utils.skip_init(nn.Linear, inputs, outputs))


Door = Callable[[Any, Any], Any]

DOORS: dict[str, Door] = {
    "posterior": lambda v, x: v.posterior(x),
    "encode": lambda v, x: v.encode(x),
    "reconstruct": lambda v, x: v.reconstruct(x),
    "terms": lambda v, x: v.terms(x, torch.zeros(1, 24, v.latent)),
    "elbo": lambda v, x: v.elbo(x),
    "log_likelihood": lambda v, x: v.log_likelihood(x, samples=2),
    "diagnose": lambda v, x: v.diagnose(x),
    "interpolate from": lambda v, x: v.interpolate(x, X.to(next(v.parameters()))),
    "interpolate to": lambda v, x: v.interpolate(X.to(next(v.parameters())), x),
    "combine": lambda v, x: v.combine(x, [1.0] * 24),
    "fit_prior": lambda v, x: v.fit_prior(x, components=2),
}  # fmt: skip
CODE_DOORS: dict[str, Door] = {
    "encode": lambda q, x: q.encode(x),
    "reconstruct": lambda q, x: q.reconstruct(x),
    "elbo": lambda q, x: q.elbo(x),
    "diagnose": lambda q, x: q.diagnose(x),
}
BAD: list[tuple[Any, str]] = [
    (X * 255, r"must be in \[0, 1\], got .* Divide by 255"),
    (-X, r"must be in \[0, 1\], got .* Scale them"),
    (X * 2 - 1, r"must be in \[0, 1\], got .* those in \[-1, 1\] by \(x \+ 1\) / 2"),
    (X * 1000, r"must be in \[0, 1\], got .* Scale them"),
    (X * torch.nan, "must be finite"),
    (X / 0, "must be finite"),
    ((X * 255).byte(), r"Call .float\(\) / 255"),
    (X.numpy(), r"Call torch.as_tensor\(\w\)"),
    (X.tolist(), r"Call torch.as_tensor\(\w\)"),
    (None, r"(x|a|b) must be a tensor that leads with the examples"),
    (X.double(), "data must be of torch.float32, as the weights are, got torch.float64"),
    *((X.to(half), "data must be of torch.float32, as the weights are") for half in HALVES),
    (X[:, :, :7], r"(x must be of shape \(batch, 1, 8, 8\)|b must be of the shape of a|a must be of the shape)"),
]


@pytest.mark.parametrize(("x", "message"), BAD)
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_image_comes_in_at_no_door(v: VAE, door: str, x: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        DOORS[door](v, x)
    name = {"interpolate from": "a", "interpolate to": "b"}.get(door, "x")
    assert str(caught.value).startswith((f"{name} must", "data must", "b must be of the shape of a"))


@pytest.mark.parametrize(("x", "message"), BAD)
@pytest.mark.parametrize("door", CODE_DOORS)
def test_nor_at_those_of_discrete_codes(q: VQVAE, door: str, x: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        CODE_DOORS[door](q, x)


@pytest.mark.parametrize("door", [*DOORS, "quantise"])
def test_one_image_is_said_to_be_one(v: VAE, q: VQVAE, door: str) -> None:
    if door.startswith("interpolate"):
        assert v.interpolate(X[0], X[1]).shape == (8, *SHAPE)
        return
    with pytest.raises(ParameterError, match=r"Call x\[None\] on one"):
        q.quantise(X[0]) if door == "quantise" else DOORS[door](v, X[0])


@pytest.mark.parametrize("door", DOORS)
def test_a_hierarchy_has_the_same_doors(door: str) -> None:
    if door != "posterior":
        with pytest.raises(ParameterError, match="Divide by 255"):
            DOORS[door](hierarchy(), X * 255)


def test_what_is_in_range_comes_in() -> None:
    model = vae()
    for x in (X, torch.zeros_like(X), torch.ones_like(X), model.sample(24, seed=0), model.reconstruct(X)):
        assert all(DOORS[door](model, x) is not None for door in DOORS)


@pytest.mark.parametrize("door", CODE_DOORS)
def test_sounds_and_nets_of_ones_own_are_finite_too(door: str) -> None:
    sounds = VQVAE.for_sounds((1, 64), quantiser=FSQ((4, 4)), width=4)
    own = VQVAE(linear(6, 2), linear(2, 6), FSQ((4, 4)), likelihood=Gaussian(1.0))
    for model, x in ((sounds, torch.zeros(24, 1, 64)), (own, torch.zeros(24, 6))):
        with pytest.raises(ParameterError, match="x must be finite"):
            CODE_DOORS[door](model, x / 0)
        if door != "elbo":  # which before training has no scale
            assert CODE_DOORS[door](model, 3 * x.cos()) is not None


def test_whole_numbers_are_data_where_nets_read_them() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding.from_pretrained(torch.linspace(-1, 1, 20).view(5, 4), freeze=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.table(x).mean(1)  # type: ignore[no-any-return]

    model = VAE(Embedded(), linear(2, 15), latent=2, likelihood=Categorical(5))
    x = torch.arange(24).view(8, 3) % 5
    model.fit(x, **FIT)
    assert model.encode(x).shape == (8, 2)
    assert model.reconstruct(x).shape == x.shape
    assert model.bfloat16().elbo(x).bound.shape == (8,)


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("make", [vae, lambda: vae(kind="conv"), hierarchy])
def test_half_models_do_all_that_others_do(make: Callable[[], VAE], kind: torch.dtype) -> None:
    model, wide = make().to(kind), make()
    x = X.to(kind)
    model.fit(x, **FIT | {"lr": 0.0})
    wide.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    for name, door in DOORS.items():
        if name != "posterior" or not hasattr(model.decoder, "descend"):
            assert door(model, x) is not None, name
    z = model.encode(x)
    assert z.dtype == torch.float32
    # Half precision keeps 8 or 11 bits of each product; codes and images are of about unit size.
    assert torch.allclose(z, wide.encode(x.float()), atol=0.05)
    assert torch.allclose(model.decode(z), wide.decode(z), atol=0.05)
    assert torch.allclose(model.decode(z), model.decode(z.to(kind)), atol=0.05)
    assert model.walk(8, stops=3).shape == (8, *SHAPE)
    assert model.sample(3, seed=0, prior=model.fit_prior(x, components=2)).shape == (3, *SHAPE)
    assert model.sample(3, seed=0).isfinite().all()
    assert abs(float(model.elbo(x).bound.mean() - wide.elbo(x.float()).bound.mean())) < 0.5


def test_half_models_are_fitted() -> None:
    for kind in HALVES:
        model = VAE.for_images(SHAPE, latent=4, kind="mlp").to(kind)
        before = [p.clone() for p in model.parameters()]
        assert model.fit(X.to(kind), **FIT).done == 1
        assert all(p.isfinite().all() for p in model.parameters())
        assert any(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_codes_of_double_models_are_double() -> None:
    model = vae().double()
    x = X.double()
    assert all(DOORS[door](model, x) is not None for door in DOORS)
    assert model.encode(x).dtype == torch.float64
    assert model.walk(8, stops=3).dtype == torch.float64
    assert model.sample(2, seed=0, prior=vae().fit_prior(X, components=2)).dtype == torch.float64
    with pytest.raises(ParameterError, match=r"z must be of torch.float64, .* Convert them: z.to\(torch.float64\)"):
        model.decode(torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (torch.full((2, 4), torch.nan), "z must be finite"),
        (torch.zeros(2, 4, dtype=torch.float64), r"z must be of torch.float32, .* Convert them: z.to\(torch.float32\)"),
        (torch.zeros(2, 4, dtype=torch.bfloat16), "z must be of torch.float32"),
        (torch.zeros(2, 4, dtype=torch.int64), r"z must be a tensor of floating numbers, .* Call .float\(\)"),
        (torch.zeros(2, 3), "z must be codes of 4 dimensions"),
        ([[0.0] * 4], r"z must be a tensor of codes .* Call torch.as_tensor\(z\)"),
        (None, "z must be a tensor of codes"),
    ],
)
def test_what_is_no_code(v: VAE, z: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        v.decode(z)


def test_numbers_that_are_told_may_be_of_any_float_type() -> None:
    model = vae(condition=nets.Vector(2))
    told = NUMBERS.double()
    assert model.fit((X, told), **FIT).done == 1
    for name, wanted in (("float32", NUMBERS), ("float64", told), ("bfloat16", NUMBERS.bfloat16())):
        exact = wanted.float()
        assert torch.equal(model.encode(X, wanted), model.encode(X, exact)), name
        assert torch.equal(model.sample(24, seed=0, condition=wanted), model.sample(24, seed=0, condition=exact)), name
    assert torch.equal(model.elbo(X, condition=told).bound, model.elbo(X, condition=NUMBERS).bound)
    assert model.walk(8, stops=3, condition=told[:1]).shape == (8, *SHAPE)
    layered = VAE.hierarchical(SHAPE, (2,), width=4, condition=nets.Vector(2))
    assert layered.fit((X, told), **FIT).done == 1
    assert torch.equal(layered.reconstruct(X, told), layered.reconstruct(X, NUMBERS))


def test_those_of_discrete_codes_too() -> None:
    model = VQVAE.for_images(SHAPE, quantiser=FSQ((4, 4)), width=4, condition=nets.Vector(2))
    told = NUMBERS.double()
    model.fit((X, told), **FIT)
    small: dict[str, Any] = {"width": 8, "layers": 1, "heads": 2}
    model.fit_prior((X, told), **small, **FIT)
    assert torch.equal(model.encode(X, told), model.encode(X, NUMBERS))
    assert torch.equal(model.elbo(X, condition=told).bound, model.elbo(X, condition=NUMBERS).bound)
    assert torch.equal(model.sample(24, seed=0, condition=told), model.sample(24, seed=0, condition=NUMBERS))


TOLD: list[tuple[Any, str]] = [
    (torch.zeros(123).long(), r"condition must be of (shape \(24,\)|24 rows)"),
    (torch.zeros(23).long(), r"condition must be of (shape \(24,\)|24 rows)"),
    (torch.tensor(1), r"Call condition\[None\]"),
    (1, "condition must be a tensor of classes"),
    ([1] * 24, "Call torch.tensor on the list"),
    (LABELS.numpy(), "condition must be a tensor of classes"),
]


@pytest.mark.parametrize(("told", "message"), TOLD)
def test_one_condition_for_each_example(told: Any, message: str) -> None:
    model = vae(condition=nets.Classes(3))
    for draw in (
        lambda: model.encode(X, told),
        lambda: model.decode(torch.zeros(24, 4), told),
        lambda: model.reconstruct(X, told),
        lambda: model.terms(X, torch.zeros(1, 24, 4), told),
        lambda: model.elbo(X, condition=told),
        lambda: model.log_likelihood(X, samples=1000, condition=told),
        lambda: model.diagnose(X, condition=told),
        lambda: model.sample(24, condition=told),
        lambda: model.interpolate(X, X, condition=told),
        lambda: model.combine(X, [1.0] * 24, condition=told),
        lambda: model.fit_prior(X, components=2, condition=told),
    ):
        with pytest.raises(ParameterError, match=message):
            draw()


def test_the_condition_of_nets_of_ones_own_is_counted() -> None:
    class Told(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.of = linear(inputs, outputs)

        def forward(self, x: Tensor, condition: Tensor) -> Tensor:
            return self.of(x) + condition.sum()  # type: ignore[no-any-return]

    model = VAE(Told(5, 4), Told(2, 5), latent=2, likelihood=Gaussian(1.0))
    x = torch.zeros(3, 5)
    assert model.elbo(x, condition=torch.zeros(3)).bound.shape == (3,)
    with pytest.raises(ParameterError, match="condition must be of 3 rows, one for each, got '123 rows'"):
        model.log_likelihood(x, condition=torch.zeros(123))


@pytest.mark.parametrize(("told", "message"), TOLD)
def test_one_for_each_sample_of_discrete_codes(told: Any, message: str) -> None:
    model = VQVAE.for_images(SHAPE, quantiser=FSQ((4, 4)), width=4)
    small: dict[str, Any] = {"width": 8, "layers": 1, "heads": 2}
    model.fit(X, **FIT)
    model.fit_prior((X, LABELS), condition=nets.Classes(3), **small, **FIT)
    assert model.sample(2, seed=0, condition=torch.tensor([0, 2])).shape == (2, *SHAPE)
    with pytest.raises(ParameterError, match=message):
        model.sample(24, condition=told)
    with pytest.raises(ParameterError, match="condition must be given"):
        model.sample(24)


def test_a_wrong_kind_of_condition_names_the_samples_and_not_the_group() -> None:
    with pytest.raises(ParameterError, match=r"condition must be classes, int64 of shape \(3,\)"):
        vae(condition=nets.Classes(3)).sample(3, condition=torch.zeros(3))
    with pytest.raises(ParameterError, match="condition must be left out"):
        vae().sample(3, condition=torch.zeros(3).long())


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("abc", "weights must be 24 numbers, .* got 'abc'"),
        ("a" * 24, "weights must be 24 numbers"),
        ([None] * 24, r"weights\[0\] must be a finite number"),
        (None, "weights must be 24 numbers"),
        (1.0, "weights must be 24 numbers"),
        ([1.0] * 23 + [torch.nan], r"weights\[23\] must be a finite number"),
        (np.ones((24, 1)), r"weights\[0\] must be a finite number"),
        (torch.ones(23), "weights must be 24 numbers, .* got '23 numbers'"),
        (torch.tensor(1.0), "weights must be 24 numbers"),
    ],
)
def test_what_codes_are_not_weighed_by(v: VAE, weights: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        v.combine(X, weights)


def test_what_they_are_weighed_by(v: VAE) -> None:
    plain = [float(i % 5 - 2) for i in range(24)]
    wanted = v.decode(sum(w * z for w, z in zip(plain, v.encode(X), strict=True))[None])[0]  # type: ignore[index, misc]
    for weights in (plain, tuple(plain), np.array(plain), torch.tensor(plain), list(np.array(plain, dtype=np.float32))):
        assert torch.allclose(v.combine(X, weights), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda v: v.interpolate(X, X[:3]), "b must be of the shape of a"),
        (lambda v: v.interpolate(X[0], X), "b must be of the shape of a"),
        (lambda v: v.sample(2, prior=5), "prior must be an object with sample, such as"),
        (lambda v: v.sample(2, prior=priors.StandardNormal), "prior must be an object"),
        (lambda v: v.sample(2, prior=priors.StandardNormal(3)), "z must be codes of 4 dimensions"),
        (lambda v: v.diagnose(X[:1]), "x must be at least 2 examples"),
    ],
)
def test_what_else_is_refused(v: VAE, act: Callable[[VAE], Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        act(v)


NO_LIKELIHOOD = r"likelihood must be an object with .* such as likelihoods.Bernoulli\(\)"
NO_PRIOR = r"prior must be an object with .* such as priors.StandardNormal\(latent\)"
NO_BOUND = r"bound must be an object with .* such as ELBO\(\)"
ALONE = "gradient must be 'standard' for a hierarchy, got '"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *((lambda w=w: vae(likelihood=w), NO_LIKELIHOOD) for w in ("bernoulli", Bernoulli, 0)),
        *((lambda w=w: vae(prior=w), NO_PRIOR) for w in ("normal", priors.StandardNormal)),
        *((lambda w=w: vae(bound=w), NO_BOUND) for w in ("elbo", ELBO)),
        (lambda: VAE(nn.Identity(), nn.Identity(), latent=2, likelihood="x"), "likelihood must be an object"),  # type: ignore[arg-type]
        (lambda: VAE(nn.Identity(), nn.Identity(), prior="x"), "prior must be an object"),  # type: ignore[arg-type]
        (lambda: VAE.hierarchical(SHAPE, (2,), likelihood=Bernoulli), "likelihood must be an object"),  # type: ignore[typeddict-item]
        (lambda: VAE.hierarchical(SHAPE, (2,), bound="elbo"), "bound must be an object"),  # type: ignore[typeddict-item]
        (lambda: VAE.hierarchical(SHAPE, (4, 2)), "channels must be of at most 1 layers"),
        (lambda: VAE.hierarchical(SHAPE, 4), "channels must be"),  # type: ignore[arg-type]
        *((lambda g=g: VAE.hierarchical(SHAPE, (2,), bound=IWAE(2, g)), ALONE + g) for g in ("stl", "dreg")),
        *((lambda w=w: vqvae(quantiser=w), "quantiser must be .* such as quantise.VQ") for w in ("vq", VQ)),
        (lambda: vqvae(likelihood=Bernoulli), "likelihood must be an object"),
        (lambda: VQVAE(nn.Identity(), nn.Identity(), nn.Identity()), "quantiser must be an object"),  # type: ignore[arg-type]
        (lambda: VQVAE(nn.Identity(), nn.Identity(), FSQ((3,)), likelihood="x"), "likelihood must be an object"),  # type: ignore[arg-type]
        *((lambda w=w: FSQ(w), "levels must be a sequence") for w in (4, "85", None)),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_models_are_not_built_of(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make()


def test_gradients_of_a_hierarchy_that_are_asked_for_later() -> None:
    model = hierarchy()
    model.bound = IWAE(2, "stl")
    with pytest.raises(ParameterError, match="gradient must be 'standard' for a hierarchy, got 'stl or dreg'"):
        model.fit(X, **FIT)


def test_discrete_codes_are_drawn_from_a_prior(q: VQVAE) -> None:
    with pytest.raises(ParameterError, match="prior must be an object with condition, sample"):
        q.sample(2, prior=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("own", [{"likelyhood": Gaussian()}, {"latent": 4}, {"decodr": None}, {"quantizer": None}])
def test_names_that_nobody_reads(v: VAE, q: VQVAE, own: dict[str, Any], tmp_path: Path) -> None:
    v.save_pretrained(tmp_path / "v")
    q.save_pretrained(tmp_path / "q")
    for load in (lambda: VAE.from_pretrained(tmp_path / "v", **own), lambda: VQVAE.from_pretrained(tmp_path / "q", **own)):
        with pytest.raises(ParameterError, match=f"{next(iter(own))} must be left out: .* There are "):
            load()
    ours = Gaussian("optimal")
    assert VAE.from_pretrained(tmp_path / "v", likelihood=ours).likelihood is ours
    assert VQVAE.from_pretrained(tmp_path / "q", quantiser=None).quantiser.count == 16


@pytest.mark.parametrize(
    ("n", "message"), [(2.0, "n must be an integer"), (True, "n must be an integer"), (-1, "n must be")]
)
def test_how_many_seeds_there_are(n: Any, message: str) -> None:
    for seed in (0, None, [1, 2]):
        with pytest.raises(ParameterError, match=message):
            random.streams(seed, n)
    assert random.streams(0, 0).shape == (0,)


def test_looking_moves_nothing() -> None:
    model = vae()
    model.encoder.append = nn.Dropout()  # type: ignore[assignment]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wanted = {name: DOORS[name](model, X) for name in ("encode", "reconstruct", "elbo", "diagnose")}
    model.train()
    for name, value in wanted.items():
        found = DOORS[name](model, X)
        same = torch.equal(found[0], value[0]) if isinstance(found[0], Tensor) else found == value
        assert same, name
    model.log_likelihood(X, samples=2)
    model.fit_prior(X, components=2)
    assert model.training
    assert model.likelihood.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.terms(X, torch.zeros(1, 24, 4))  # which is for training
    assert not torch.equal(model.likelihood.spread.error, before["likelihood.spread.error"])


def test_a_step_of_training_looks_at_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    from aigc.vae import doors

    looked: list[int] = []
    check = doors.check_numbers

    def counted(*args: Any, **options: Any) -> None:
        looked.append(1)
        check(*args, **options)

    monkeypatch.setattr(doors, "check_numbers", counted)
    counts = []
    for steps in (1, 5):
        looked.clear()
        VAE.for_images(SHAPE, latent=4, kind="mlp").fit(X, **FIT | {"steps": steps})
        counts.append(len(looked))
    assert counts[0] == counts[1]
    assert vae().encode(X) is not None
    assert len(looked) > counts[1]


@pytest.mark.parametrize("make", [lambda: VAE.for_images(SHAPE, latent=4, kind="mlp"), vqvae, hierarchy])
def test_a_transform_may_leave_the_range(make: Callable[[], Any]) -> None:
    model = make()
    how: dict[str, Any] = FIT | {"transform": lambda x, noise: x + 0.1 * noise.normal(*SHAPE)}
    assert model.fit(X, **how).done == 1
    assert float(model.reconstruct(X).max()) <= 1
    with pytest.raises(ParameterError, match="Divide them: x / 255"):
        model.fit(255 * X, **how)


@pytest.mark.parametrize("numbers", [{"floor": -1.0}, {"floor": torch.nan}, {"tolerance": torch.nan}, {"tolerance": "a"}])
def test_mixtures_are_fitted_with_numbers(numbers: dict[str, Any]) -> None:
    z = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ParameterError, match=f"{next(iter(numbers))} must be a finite number of at least 0"):
        priors.fit_mixture(z, components=2, seed=0, **numbers)
    with pytest.raises(ParameterError, match="z must be at least 2 codes"):
        priors.fit_mixture(None, components=2, seed=0)  # type: ignore[arg-type]


def test_units_that_are_nan_are_not_counted() -> None:
    with pytest.raises(ParameterError, match="mean must be finite"):
        active_units(torch.full((3, 2), torch.nan))


def test_likelihoods_name_what_is_missing() -> None:
    with pytest.raises(ParameterError, match="torch.as_tensor"):
        likelihoods.Gaussian().check(np.zeros((2, 3)))  # type: ignore[arg-type]
