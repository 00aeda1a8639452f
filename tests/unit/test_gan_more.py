"""`GAN` where it is looked at, resumed, told conditions, and of other types: attempts to break it."""

import csv
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from aigc import GAN, VAE, nets
from aigc.errors import ParameterError, TypeParameterError
from aigc.gan import Adaptive, DiffAugment, losses, penalties
from aigc.training import EMA, Cosine, CSVLogger, Every, History

SHAPE = (1, 8, 8)
HALVES = (torch.bfloat16, torch.float16)


def pictures(n: int) -> Tensor:
    """Soft blobs at random places, in [0, 1]."""
    centre = torch.rand(n, 2, 1, 1, generator=torch.Generator().manual_seed(0)) * 8
    grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"))
    return (-(grid - centre).square().sum(1, keepdim=True) / 4).exp()


def points(n: int) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0))


def small(kind: Any = "mlp", **parts: Any) -> GAN:
    return GAN.for_images(SHAPE, latent=4, kind=kind, **({"width": 8} | parts))


def flat(**parts: Any) -> GAN:
    """A GAN of points in the plane."""
    players = nets.MLPGenerator(3, (2,), hidden=(8,), seed=1), nets.MLPDiscriminator((2,), hidden=(8,), seed=2)
    return GAN(*players, latent=3, **parts)


def line(inputs: int, outputs: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(inputs, outputs)


def fitted(model: Any, x: Any, **options: Any) -> History:
    return model.fit(x, **({"steps": 4, "batch_size": 8, "seed": 0, "progress": False} | options))


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(one, two) for one, two in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("kind", "look"),
    [("style", "sample"), ("resnet", "health"), ("style", "health")],
)
def test_a_run_that_is_looked_at_ends_as_one_that_is_not(kind: str, look: str) -> None:
    """Mean styles and spectral norms move with every look in training mode."""
    x, plain, seen = pictures(32), small(kind), small(kind)
    looks = {"sample": lambda step: seen.sample(20, seed=step), "health": lambda step: seen.health(x[:8])}
    fitted(plain, x)
    fitted(seen, x, every=[Every(1, looks[look])])
    assert equal(plain, seen)


def test_samples_during_training_are_those_of_a_net_in_evaluation_mode() -> None:
    """With batch norms a sample would otherwise depend on who shares the batch."""
    players = nets.DCGANGenerator(4, SHAPE, width=8, norm="batch"), nets.DCGANDiscriminator(SHAPE, width=8)
    gan, drawn = GAN(*players, latent=4), []
    look = Every(4, lambda step: drawn.append((gan.sample(3, seed=0), gan.sample(20, seed=0)[:3])))
    fitted(gan, pictures(32), every=[look])
    ((few, many),) = drawn
    assert torch.equal(few, many)
    assert torch.equal(few, gan.sample(3, seed=0))
    gan.train()
    assert gan.generator.training
    assert not gan.average.training


def test_a_run_that_does_not_begin_leaves_the_average(tmp_path: Path) -> None:
    gan, x = small(), pictures(32)
    fitted(gan, x, steps=20, lr=1e-2)
    assert not equal(gan.average, gan.generator)
    before = gan.sample(4, seed=0)
    fitted(small(), x, checkpoint_dir=tmp_path)
    with pytest.raises(ParameterError, match="checkpoint_dir"):
        fitted(gan, x, checkpoint_dir=tmp_path, seed=5)
    with pytest.raises(ParameterError, match="batch_size must be"):
        fitted(gan, x, accumulate=20)
    assert torch.equal(gan.sample(4, seed=0), before)


def test_an_average_that_is_given_goes_on_from_where_it_is() -> None:
    weights, average = line(1, 1), line(1, 1)
    with torch.no_grad():
        weights.weight.fill_(1.0)
        average.weight.fill_(0.0)
    EMA(weights, half_life=10, average=average).update(10)
    assert average.weight.item() == 0.5


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "penalty", [penalties.WGANGP(1.0), penalties.ZeroCentred(1.0), penalties.OneCentred(1.0)], ids=repr
)
def test_lines_between_real_and_fake_examples_in_mixed_precision(penalty: Any, precision: str) -> None:
    """Under autocast a generator writes half precision, and data are of float32."""
    exact, mixed = (small(penalties=[penalty]) for _ in range(2))
    costs = [
        fitted(gan, pictures(32), steps=1, precision=p).values["discriminator/penalty"][0]
        for gan, p in ((exact, "float32"), (mixed, precision))
    ]
    assert costs[1] == pytest.approx(costs[0], rel=0.02)  # bfloat16 has 8 bits


@pytest.mark.parametrize("dtype", [torch.float64, *HALVES])
def test_a_conditional_model_of_another_type_goes_through_every_door(dtype: torch.dtype, tmp_path: Path) -> None:
    """The gradient penalties of a discriminator that is told something were of float32 whatever its type."""
    x, y = pictures(32).to(dtype), torch.arange(32) % 4
    gan = small("style", condition=nets.Classes(4), auxiliary=True).to(dtype)
    fitted(gan, (x, y), steps=1)
    found = gan.health(x, condition=y)
    alike = small("style", condition=nets.Classes(4), auxiliary=True)
    alike.load_state_dict(gan.state_dict())
    wanted = alike.health(x.float(), condition=y)
    assert found.slope_real == pytest.approx(wanted.slope_real, rel=0.05)
    assert gan.interpolate(1, 2, steps=3, space="w", condition=y[:1]).dtype == dtype
    assert gan.project(x[:2], steps=2, starts=2, condition=y[:2]).data.dtype == dtype
    gan.save_pretrained(tmp_path)
    again = GAN.from_pretrained(tmp_path)
    assert torch.equal(again.sample(2, seed=0, condition=y[:2]), gan.sample(2, seed=0, condition=y[:2]))
    assert {value.dtype for value in again.average.parameters()} == {dtype}


def test_a_vector_is_taken_in_the_type_of_the_weights() -> None:
    gan, told = small("style", condition=nets.Vector(3)).double(), torch.linspace(-1, 1, 6).view(2, 3)
    assert torch.equal(gan.sample(2, seed=0, condition=told), gan.sample(2, seed=0, condition=told.double()))


def test_points_of_a_batch_keep_their_own_conditions() -> None:
    gan = small("style", condition=nets.Classes(4))
    z = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0))
    told = torch.tensor([1, 3])
    way = gan.interpolate(z[0], z[1], steps=4, condition=told, truncation=0.6)
    for row in range(2):
        alone = gan.interpolate(z[0, row], z[1, row], steps=4, condition=told[row : row + 1], truncation=0.6)
        torch.testing.assert_close(way[:, row], alone)
    ends = gan.generate(z[1], condition=told, truncation=0.6)
    torch.testing.assert_close(way[-1], ends)
    styles = gan.average.mapping(z[1], told)
    torch.testing.assert_close(gan.generate(styles, condition=told, truncation=0.6, space="w"), ends)


def test_a_projection_is_told_the_condition_of_its_own_row() -> None:
    gan = small("style", condition=nets.Classes(4))
    told = torch.tensor([0, 3])
    x = gan.sample(2, seed=[5, 6], condition=told)
    for space in ("z", "w"):
        found = gan.project(x, steps=5, starts=8, condition=told, space=space)
        torch.testing.assert_close(gan.generate(found.latents, condition=told, space=space), found.data)
        alone = gan.project(x[1:], steps=5, starts=8, condition=told[1:], space=space)
        torch.testing.assert_close(alone.latents[0], found.latents[1], atol=1e-4, rtol=1e-3)
        error = (found.data - x).flatten(1).square().mean(1).sqrt()
        torch.testing.assert_close(found.error, error)


def test_health_tells_the_discriminator_the_conditions() -> None:
    """Against logits that are computed here."""
    gan, x, y = small("mlp", condition=nets.Classes(4)), pictures(24), torch.arange(24) % 4
    found = gan.health(x[:12], held_out=x[12:], seed=3, condition=y[:12])
    with torch.no_grad():
        real, other = (gan.discriminator(2 * some - 1, y[:12]) for some in (x[:12], x[12:]))
        fakes = gan.sample(12, seed=3, condition=y[:12])
        fake = gan.discriminator(2 * fakes - 1, y[:12])
    pairs = [(a, b) for a in real.tolist() for b in other.tolist()]
    assert found.by_heart == pytest.approx(sum(a > b for a, b in pairs) / 144)
    assert found.told_apart == pytest.approx(sum(a > b for a in real.tolist() for b in fake.tolist()) / 144)
    assert (found.real, found.fake) == pytest.approx((float(real.mean()), float(fake.mean())), abs=1e-6)
    apart = [sum((some[i] - some[j]).norm() for i in range(12) for j in range(i)) for some in (fakes, x[:12])]
    assert found.diversity == pytest.approx(float(apart[0] / apart[1]), rel=1e-5)


def test_slopes_of_a_line_are_its_length() -> None:
    gan = GAN(line(3, 2), line(2, 1), latent=3)
    with torch.no_grad():
        gan.discriminator.weight.copy_(torch.tensor([[3.0, 4.0]]))
    found = gan.health(points(8))
    assert (found.slope_real, found.slope_fake) == pytest.approx((5, 5))


@pytest.mark.parametrize("epochs", [0, -1, math.nan, math.inf, True, "1"])
def test_epochs_are_checked(epochs: Any) -> None:
    with pytest.raises((ParameterError, TypeParameterError), match="epochs must be"):
        fitted(small(), pictures(16), steps=None, epochs=epochs)
    assert fitted(small(), pictures(32), steps=None, epochs=0.5).done == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [({"critics": 0}, "critics must be"), ({"lr": -1.0}, "lr must be"), ({"lr": [1e-4, 1e-4]}, "lr must be"),
     ({"lr": (1e-4, 1e-4, 1e-4)}, "lr must be")],
)  # fmt: skip
def test_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ParameterError, TypeParameterError), match=message):
        fitted(small(), pictures(16), **options)


@pytest.mark.parametrize("make", [small, lambda: VAE.for_images(SHAPE, latent=2)], ids=["gan", "vae"])
def test_data_of_another_float_type_are_named(make: Any) -> None:
    """numpy's own is float64."""
    for x in (pictures(16).double(), pictures(16).double().numpy(), pictures(16).bfloat16()):
        with pytest.raises(TypeParameterError, match="data must be of torch.float32"):
            fitted(make(), x)
    assert fitted(make(), pictures(16).numpy()).done == 4


@pytest.mark.parametrize(("value", "message"), [(math.nan, r"images\[690\]"), (5.0, "in .0, 1.")])
def test_arrays_are_checked_whole_as_tensors_are(value: float, message: str) -> None:
    x = pictures(700).numpy()
    x[690, 0, 0, 0] = value
    with pytest.raises(ParameterError, match=message):
        fitted(small(), x)
    labels = np.zeros(700, dtype=np.int64)
    labels[690] = 9
    gan = small(condition=nets.Classes(4))
    before = [parameter.clone() for parameter in gan.parameters()]
    with pytest.raises(ParameterError, match="classes in"):
        fitted(gan, (pictures(700).numpy(), labels), steps=200)
    assert all(map(torch.equal, before, gan.parameters()))


def test_the_default_gamma_is_of_the_batches_of_a_loader() -> None:
    x = pictures(64)
    loader = DataLoader(TensorDataset(x), batch_size=32, generator=torch.Generator())
    costs = [
        fitted(gan, loader, batch_size=size, steps=1).values["discriminator/penalty"]
        for gan, size in ((small(), 8), (small(), 64))
    ]
    assert costs[0] == costs[1]


def test_projections_of_nothing_are_named() -> None:
    for gan, x in ((small(), pictures(0)), (flat(), torch.zeros(0, 2)), (flat(), [1.0]), (flat(), torch.ones(1, 2).int())):
        with pytest.raises(ParameterError, match="x must be (of shape|a tensor of floats)"):
            gan.project(x, steps=1)


def test_a_penalty_of_the_callers_own_may_be_negative() -> None:
    class Reward:
        needs, reads = frozenset[str](), frozenset({"real"})

        def measure(self, scores: Any, *, noise: Any = None, step: int = 0) -> Tensor:
            return 0 * scores.real_logits.mean() - 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fitted(flat(penalties=[Reward()]), points(32), steps=100).done == 100


def test_penalties_of_ours_are_rebuilt_with_their_schedules(tmp_path: Path) -> None:
    made = [
        penalties.Consistency(Cosine(9), DiffAugment(("cutout",), 0.5), fake=False),
        penalties.LeCam(Cosine(7), decay=0.5),
    ]
    gan = small(penalties=made, loss=losses.Hinge())
    fitted(gan, pictures(16))
    gan.save_pretrained(tmp_path)
    again = GAN.from_pretrained(tmp_path)
    assert again.penalties[0] == made[0]
    assert (again.penalties[1].weight, again.penalties[1].decay) == (Cosine(7), 0.5)
    assert equal(again, gan)
    gan.penalties = (penalties.Consistency(1.0, lambda x, noise: x),)
    gan.memories = nn.ModuleList()
    gan.save_pretrained(tmp_path)
    with pytest.raises(ParameterError, match="penalties must be given"):
        GAN.from_pretrained(tmp_path)


def test_numbers_stay_with_their_steps_where_a_player_rests(tmp_path: Path) -> None:
    """The generator plays at steps 0, 3, 6, 9: windows 1-2, 3-4, 7-8, 9-10 have it, and 5-6 has not."""
    log, run, x = tmp_path / "run.csv", tmp_path / "run", pictures(32)
    options: dict[str, Any] = {"critics": 3, "log_every": 2, "checkpoint_dir": run, "checkpoint_every": 1}
    fitted(small(), x, steps=6, loggers=[CSVLogger(log)], **options, schedule=Cosine(9))
    history = fitted(small(), x, steps=6, **options, schedule=Cosine(9))
    whole = fitted(small(), x, steps=6, critics=3, log_every=2, checkpoint_every=1, schedule=Cosine(9))
    for found in (history, whole):
        assert {len(means) for means in found.values.values()} == {len(found.steps)} == {3}
        assert [math.isnan(mean) for mean in found.values["generator"]] == [False, False, True]
        assert "generator " in repr(found)
        assert "nan" not in repr(found)
    with log.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, name in ((i, name) for i in range(3) for name in whole.values):
        mean = whole.values[name][row]
        assert rows[row][name] == ("" if math.isnan(mean) else repr(mean))


def test_a_log_takes_a_name_that_comes_late(tmp_path: Path) -> None:
    log = CSVLogger(tmp_path / "run.csv")
    log.log(1, {"a": 1.0})
    log.log(2, {"a": 2.0, "b": 3.0})
    log.log(3, {"b": 4.0})
    assert (tmp_path / "run.csv").read_text().split() == ["step,a,b", "1,1.0,", "2,2.0,3.0", "3,,4.0"]
    CSVLogger(tmp_path / "run.csv").log(3, {"a": 5.0})
    assert (tmp_path / "run.csv").read_text().split()[-1] == "3,5.0,"
    with pytest.raises(ParameterError, match="path must be a log of"):
        CSVLogger(tmp_path / "run.csv").log(4, {"c": 5.0})


def test_a_vae_that_is_looked_at_in_training_is_at_rest() -> None:
    """Of nets of the caller's own with batch norms, which mix examples in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, decoder = nn.Linear(2, 4), nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    vae, seen = VAE(encoder, decoder, latent=2), []
    look = Every(4, lambda step: seen.append((vae.sample(1, seed=[5]), vae.training)))
    fitted(vae, points(32), every=[look])
    ((drawn, training),) = seen
    assert not training
    assert torch.equal(drawn, vae.sample(1, seed=[5]))


def test_the_average_is_that_of_its_formula() -> None:
    """Half-lives of 0, 0.05 * 8 and 0.05 * 16 examples, the least of them and 0.6, after batches of 8."""
    gan, seen = flat(), []
    look = Every(1, lambda step: seen.append(gan.generator.head.weight.detach().double()))
    fitted(gan, points(32), steps=3, lr=0.1, average=0.6, every=[look])
    wanted = seen[0]
    for weights, half_life in zip(seen[1:], (0.4, 0.6), strict=True):
        share = 0.5 ** (8 / half_life)
        wanted = share * wanted + (1 - share) * weights
    torch.testing.assert_close(gan.average.head.weight.double(), wanted, atol=1e-6, rtol=0)
    fitted(again := flat(), points(32), steps=1, lr=0.1)
    assert equal(again.average, again.generator)


def test_a_step_of_the_discriminator_is_that_of_its_formula() -> None:
    """Of a linear one: the gradient of E D(G(z)) - E D(x) + gamma/2 |v|^2 is the difference of the means, and gamma v."""
    how: dict[str, Any] = {"loss": losses.Wasserstein(), "penalties": [penalties.R1(0.5)], "shape": (2,)}
    gan = GAN(line(3, 2), line(2, 1), latent=3, **how).double()
    x, v = points(8).double(), gan.discriminator.weight.detach().clone()[0]
    fakes: list[Tensor] = []
    gan.generator.register_forward_hook(lambda net, inputs, out: fakes.append(out.detach()))
    sgd = {"optimizer": lambda p: torch.optim.SGD(p, lr=0.1), "schedule": lambda step: 1.0}
    history = fitted(gan, x, steps=1, **sgd)
    gradient = fakes[0].mean(0) - x.mean(0) + 0.5 * v
    torch.testing.assert_close(gan.discriminator.weight[0], v - 0.1 * gradient)
    loss, adversarial, cost = (
        history.values[name][0] for name in ("discriminator", "discriminator/adversarial", "discriminator/penalty")
    )
    assert cost == pytest.approx(float(0.25 * v.square().sum()), rel=1e-6)
    assert loss == pytest.approx(adversarial + cost, abs=1e-6 * max(abs(adversarial), cost))  # which cancel, in float32


def test_the_generator_is_judged_by_what_was_augmented() -> None:
    gan = flat(augment=lambda x, noise: 0 * x)
    before = [value.clone() for value in gan.generator.parameters()]
    fitted(gan, points(32))
    assert all(map(torch.equal, before, gan.generator.parameters()))


@pytest.mark.parametrize(("loss", "rises"), [(losses.NonSaturating(), True), (losses.Relativistic(), False)], ids=repr)
def test_augmentation_follows_signs_of_logits_or_of_their_differences(loss: Any, rises: bool) -> None:
    """All logits are above 0, and those of real examples about as often above those of fake ones as below."""
    players = line(3, 2), line(2, 1)
    with torch.no_grad():
        players[1].bias.fill_(50.0)
    augment: Any = lambda x, noise, p: x  # noqa: E731
    gan = GAN(
        *players, latent=3, loss=loss, penalties=[], augment=augment, adaptive=Adaptive(target=0.95, speed=100, every=1)
    )
    fitted(gan, points(64), batch_size=32, lr=0.0)
    assert (gan.adaptive.p > 0).item() is rises


def test_the_nearest_on_the_way_is_what_is_found() -> None:
    gan, x = flat(), points(6)
    start = gan.project(x, steps=1, lr=0.0, starts=4)
    wild = gan.project(x, steps=7, lr=30.0, starts=4)
    assert (wild.error <= start.error + 1e-6).all()
    assert (gan.project(x, steps=100, starts=4).error < start.error).all()


def test_the_lead_of_augmentation_is_kept(tmp_path: Path) -> None:
    gan = small(augment=DiffAugment(("color",), 0.5), adaptive=Adaptive(-0.5, speed=70, every=3))
    fitted(gan, pictures(32), steps=7)
    gan.save_pretrained(tmp_path)
    again = GAN.from_pretrained(tmp_path)
    assert again.augment == gan.augment
    assert (again.adaptive.target, again.adaptive.speed, again.adaptive.every) == (-0.5, 70, 3)
    assert again.adaptive.p == gan.adaptive.p > 0
