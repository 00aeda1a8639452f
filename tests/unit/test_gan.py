"""`GAN`: what it promises at its door, over the mathematics that tests/properties holds."""

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aigc import GAN, nets, random
from aigc.data import write_png
from aigc.errors import ModelFileError, ParameterError, TrainingError, TypeParameterError
from aigc.gan import Adaptive, DiffAugment, losses, penalties
from aigc.gan.learning import _warn as warn
from aigc.gan.learning import default_penalties
from aigc.training import Cosine, Every, History

SHAPE = (1, 8, 8)
KINDS = ("r3", "dcgan", "resnet", "style", "mlp")


def pictures(n: int, seed: int = 0) -> Tensor:
    """Soft blobs at random places, in [0, 1]."""
    rng = torch.Generator().manual_seed(seed)
    centre = torch.rand(n, 2, 1, 1, generator=rng) * 8
    grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"))
    return (-(grid - centre).square().sum(1, keepdim=True) / 4).exp()


def small(kind: Any = "mlp", **parts: Any) -> GAN:
    return GAN.for_images(SHAPE, latent=4, kind=kind, **({"width": 8} | parts))


def points(n: int, features: int = 2) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(0))


def flat(**parts: Any) -> GAN:
    """A GAN of points in the plane."""
    players = nets.MLPGenerator(3, (2,), hidden=(8,), seed=1), nets.MLPDiscriminator((2,), hidden=(8,), seed=2)
    return GAN(*players, latent=3, **parts)


def fitted(gan: GAN, x: Any, **options: Any) -> History:
    return gan.fit(x, **({"steps": 4, "batch_size": 8, "seed": 0, "progress": False} | options))


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(one, two) for one, two in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_it_learns_a_gaussian() -> None:
    """The mean and the spread of data that no sample of the first generator has."""
    x = points(2000) * torch.tensor([1.0, 0.3]) + torch.tensor([2.0, -1.0])
    players = nets.MLPGenerator(2, (2,), hidden=(32, 32), seed=1), nets.MLPDiscriminator((2,), hidden=(32, 32), seed=2)
    gan = GAN(*players, latent=2)
    before = gan.sample(500, seed=0)
    fitted(gan, x, steps=1500, batch_size=128, lr=3e-3, average=5000)
    after = gan.sample(500, seed=0)
    assert (before.mean(0) - x.mean(0)).norm() > 1
    assert (after.mean(0) - x.mean(0)).norm() < 0.15
    assert (after.std(0) / x.std(0)).log().abs().max() < 0.25


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_through_every_door(kind: str, tmp_path: Path) -> None:
    x, gan = pictures(24), small(kind)
    history = fitted(gan, x)
    assert history.done == 4
    assert {"discriminator/penalty", "discriminator/adversarial", "generator/spread"} < set(history.values)
    assert gan.sample(3, seed=0).shape == (3, *SHAPE)
    assert gan.interpolate(1, 2, steps=3).shape == gan.walk(3, stops=2).shape == (3, *SHAPE)
    assert gan.project(x[:2], steps=3, starts=4).data.shape == (2, *SHAPE)
    assert math.isfinite(gan.health(x[:16], held_out=x[16:]).slope_real)
    gan.save_pretrained(tmp_path)
    again = GAN.from_pretrained(tmp_path)
    assert equal(gan, again)
    assert torch.equal(again.sample(3, seed=0), gan.sample(3, seed=0))
    assert (again.images, again.loss, repr(again)) == (True, gan.loss, repr(gan))


@given(n=st.integers(1, 40), seed=st.integers(0, 2**40), kind=st.sampled_from(KINDS), data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_sample_has_the_same_bits_alone_and_in_any_batch(n: int, seed: int, kind: str, data: st.DataObject) -> None:
    gan = small(kind)
    truncation = data.draw(st.sampled_from([None, 0.7]))
    whole = gan.sample(n, seed=seed, truncation=truncation)
    i = data.draw(st.integers(0, n - 1))
    alone = gan.sample(1, seed=[random.stream(seed, i)], truncation=truncation)
    assert torch.equal(alone[0], whole[i])


def test_truncated_latents_are_within_their_bounds_and_those_of_a_style_move_to_the_mean() -> None:
    from aigc.gan.drawing import latents

    seeds = random.streams(0, 500)
    z = latents(16, seeds, 0.5)
    assert z.abs().max() <= 1
    within = torch.distributions.Normal(0.0, 1.0)
    share = float((within.cdf(torch.tensor(0.5)) - 0.5) / (within.cdf(torch.tensor(1.0)) - 0.5))  # of |z| <= 1/2
    count, n = float((z.abs() <= 0.5).sum()), z.numel()
    assert abs(count - n * share) / math.sqrt(n * share * (1 - share)) < 4  # alpha 6e-5
    gan = small("style")
    apart = [(gan.sample(8, seed=0, truncation=t).std(0)).mean() for t in (1.0, 0.5, 0.1)]
    assert apart[0] > apart[1] > apart[2]


@pytest.mark.parametrize("case", ["plain", "accumulate", "style", "ada", "critics"])
@pytest.mark.parametrize("cut", [1, 5])
def test_a_cut_run_ends_as_an_uncut_one(cut: int, case: str, tmp_path: Path) -> None:
    x = pictures(40)
    options: dict[str, Any] = {"checkpoint_every": 2, "schedule": Cosine(9)}
    options |= {"accumulate": {"accumulate": 2, "clip": 1.0}, "critics": {"critics": 2}}.get(case, {})
    parts: dict[str, Any] = {"penalties": [penalties.R1(0.5), penalties.LeCam(0.1)]}
    parts |= {"augment": DiffAugment(), "adaptive": Adaptive(target=-0.9, speed=100, every=2)} if case == "ada" else {}
    whole, first, second = (small("style" if case == "style" else "mlp", **parts) for _ in range(3))
    if case == "ada":
        for gan in (whole, first, second):
            gan.adaptive = Adaptive(target=-0.9, speed=100, every=2)
    for gan in (whole, first, second):
        gan.penalties = (penalties.R1(0.5), lecam := penalties.LeCam(0.1))
        gan.memories = nn.ModuleList([lecam])
    fitted(whole, x, steps=9, **options)
    fitted(first, x, steps=cut, checkpoint_dir=tmp_path, **options)
    fitted(second, x, steps=9, checkpoint_dir=tmp_path, **options)
    assert equal(whole, second)


def test_every_sees_the_average_as_it_is() -> None:
    gan, seen = small(), []
    fitted(gan, pictures(16), every=[Every(2, lambda step: seen.append(gan.sample(2, seed=0)))])
    assert len(seen) == 2
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], gan.sample(2, seed=0))


def test_without_an_average_samples_are_those_of_the_weights() -> None:
    gan = small()
    fitted(gan, pictures(16), average=None)
    assert equal(gan.average, gan.generator)
    other = small()
    fitted(other, pictures(16))
    assert not equal(other.average, other.generator)


def test_each_player_moves_alone() -> None:
    """A discriminator's step leaves the generator, and the other way round."""
    gan = small()
    generator = [value.clone() for value in gan.generator.state_dict().values()]
    fitted(gan, pictures(16), steps=3, critics=4)  # the generator plays at step 0 only
    once = small()
    fitted(once, pictures(16), steps=1, critics=4)
    assert not all(map(torch.equal, generator, gan.generator.state_dict().values()))
    rates = {"lr": (0.0, 2e-4)}
    still = small()
    fitted(still, pictures(16), **rates)
    assert all(map(torch.equal, generator, still.generator.state_dict().values()))
    assert not equal(still.discriminator, small().discriminator)


def test_conditions_reach_both_players_and_the_classifier() -> None:
    x, y = pictures(32), torch.arange(32) % 4
    gan = small("r3", condition=nets.Classes(4), auxiliary=True)
    history = fitted(gan, (x, y))
    assert {"discriminator/classes", "generator/classes"} < set(history.values)
    z = gan.sample(2, seed=[7, 7], condition=torch.tensor([0, 1]))
    assert not torch.equal(z[0], z[1])
    with pytest.raises(ParameterError, match="condition"):
        gan.sample(2, seed=0)
    with pytest.raises(ParameterError, match="classes in"):
        fitted(small(condition=nets.Classes(3)), (x, y))


def test_projection_finds_a_sample_again_and_rows_are_alone() -> None:
    gan = small("style")
    x = gan.sample(3, seed=5)
    found = gan.project(x, steps=150, starts=32)
    assert found.space == "w"
    assert (found.error < 0.5 * (x - x.mean(0)).flatten(1).square().mean(1).sqrt()).all()
    torch.testing.assert_close(gan.generate(found.latents, space="w"), found.data)
    alone = gan.project(x[1:2], steps=150, starts=32)
    torch.testing.assert_close(alone.data[0], found.data[1], atol=0.02, rtol=0)  # a descent magnifies rounding


def test_interpolation_begins_and_ends_at_samples() -> None:
    gan = small()
    way = gan.interpolate(3, 4, steps=5)
    torch.testing.assert_close(way[[0, -1]], gan.sample(2, seed=[3, 4]), atol=1e-6, rtol=1e-5)
    z = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    assert gan.interpolate(z, -z.flip(0), steps=3).shape == (3, 2, *SHAPE)
    styled = small("style")
    way = styled.interpolate(3, 4, steps=4, space="w")
    torch.testing.assert_close(way[[0, -1]], styled.sample(2, seed=[3, 4]), atol=1e-6, rtol=1e-5)


def test_the_default_penalties_are_r1_and_r2_in_the_range_of_the_nets() -> None:
    gan = small()
    one, two = default_penalties(gan, 8, 100)
    assert (type(one), type(two)) == (penalties.R1, penalties.R2)
    assert one.gamma(0) == two.gamma(0) == pytest.approx(4 * penalties.default_gamma(SHAPE, 8))
    assert one.gamma(100) == pytest.approx(one.gamma(0) / 10)


@pytest.mark.parametrize(
    "loss",
    [losses.Minimax(), losses.NonSaturating(), losses.LeastSquares(), losses.Hinge(), losses.Wasserstein(),
     losses.Relativistic("hinge")],
    ids=repr,
)  # fmt: skip
def test_every_loss_trains_and_is_kept(loss: Any, tmp_path: Path) -> None:
    gan = flat(loss=loss, penalties=[penalties.WGANGP(1.0), penalties.LeCam(0.1)])
    fitted(gan, points(32))
    gan.save_pretrained(tmp_path)
    players = (nets.MLPGenerator(3, (2,), hidden=(8,)), nets.MLPDiscriminator((2,), hidden=(8,)))
    again = GAN.from_pretrained(tmp_path, generator=players[0], discriminator=players[1])
    assert again.loss == loss
    assert equal(again, gan)
    assert again.penalties[0] == gan.penalties[0]


def test_packed_discriminators_are_trained() -> None:
    inner = nets.MLPDiscriminator((4,), hidden=(8,), seed=2)
    gan = GAN(nets.MLPGenerator(3, (2,), hidden=(8,)), penalties.Packed(inner, 2), latent=3)
    fitted(gan, points(32))
    with pytest.raises(ParameterError, match="batch_size must be a multiple of 2"):
        fitted(gan, points(32), batch_size=7)


def test_own_nets_are_given_again(tmp_path: Path) -> None:
    def players() -> tuple[nn.Module, nn.Module]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Linear(3, 2), nn.Linear(2, 1)

    gan = GAN(*players(), latent=3)
    fitted(gan, points(16))
    gan.save_pretrained(tmp_path)
    generator, discriminator = players()
    assert equal(GAN.from_pretrained(tmp_path, generator=generator, discriminator=discriminator), gan)
    with pytest.raises(ParameterError, match="generator must be given"):
        GAN.from_pretrained(tmp_path)
    with pytest.raises(ModelFileError):
        GAN.from_pretrained(tmp_path, generator=nets.MLPGenerator(3, (2,)), discriminator=discriminator)


@pytest.mark.usefixtures("compiling")
def test_a_compiled_net_is_saved_as_the_plain_one(tmp_path: Path) -> None:
    """Whichever of the two is loaded, and whichever the weights are put into."""
    plain, other = flat(), flat()
    players = (torch.compile(net, backend="eager") for net in (other.generator, other.discriminator))
    compiled = GAN(*players, latent=3)
    for gan in (compiled, plain):
        fitted(gan, points(16))
        gan.save_pretrained(tmp_path / type(gan.generator).__name__)
    files = [tmp_path / name for name in ("OptimizedModule", "MLPGenerator")]
    assert (files[0] / "config.json").read_bytes() == (files[1] / "config.json").read_bytes()
    for folder in files:
        again = GAN.from_pretrained(folder)
        assert type(again.generator) is nets.MLPGenerator
        assert set(again.state_dict()) == set(plain.state_dict())
        torch.testing.assert_close(again.sample(3, seed=0), plain.sample(3, seed=0))
    generator = torch.compile(nets.MLPGenerator(3, (2,), hidden=(8,)), backend="eager")
    again = GAN.from_pretrained(files[0], generator=generator)
    assert torch.equal(again.sample(3, seed=0), compiled.sample(3, seed=0))


def test_a_folder_of_images_is_read_as_it_is(tmp_path: Path) -> None:
    for i, image in enumerate(pictures(12)):
        write_png(tmp_path / f"{i}.png", image)
    assert fitted(small(), tmp_path).done == 4


def test_collapse_is_named_and_the_last_checkpoint_stays(tmp_path: Path) -> None:
    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = nn.Parameter(torch.zeros(2))

        def forward(self, z: Tensor) -> Tensor:
            return self.mean.expand(len(z), 2)

    gan = GAN(Same(), nets.MLPDiscriminator((2,), hidden=(8,)), latent=3)
    with pytest.raises(TrainingError, match="the generator has collapsed at step 100"):
        fitted(gan, points(32), steps=200, checkpoint_dir=tmp_path, checkpoint_every=50)
    assert (tmp_path / "step-000000050").is_dir()
    assert not gan.training


def test_a_loss_that_is_not_finite_names_the_player(tmp_path: Path) -> None:
    gan = flat()
    with torch.no_grad():
        next(gan.discriminator.parameters()).fill_(math.inf)
    before = [value.clone() for value in gan.generator.state_dict().values()]
    with pytest.raises(TrainingError, match="'discriminator' is not finite at step 0"):
        fitted(gan, points(16))
    assert all(map(torch.equal, before, gan.generator.state_dict().values()))


def test_a_penalty_that_dominates_is_said() -> None:
    gan = flat(penalties=[penalties.R1(1e6)])
    with pytest.warns(UserWarning, match="it dominates"):
        fitted(gan, points(64), steps=100, lr=0.0)


def test_a_penalty_that_vanishes_is_said_but_at_the_goal() -> None:
    def history(adversarial: float) -> History:
        values = {"discriminator/adversarial": (adversarial,), "discriminator/penalty": (1e-9,)}
        return History((100,), values, done=100, seed=0)

    with pytest.warns(UserWarning, match="it vanishes"):
        warn(flat(), history(0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn(flat(), history(math.log(2)))


@pytest.mark.parametrize("adversarial", [2e-10, -2e-10, 0.0])
def test_a_game_of_wasserstein_that_came_to_rest_is_no_cause_to_warn(adversarial: float) -> None:
    def history(adversarial: float, penalty: float) -> History:
        values = {"discriminator/adversarial": (adversarial,), "discriminator/penalty": (penalty,)}
        return History((100,), values, done=100, seed=0)

    gan = flat(loss=losses.Wasserstein())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn(gan, history(adversarial, 8e-9))
        warn(gan, history(adversarial, 0.0))
    for rest, penalty, message in ((adversarial, 0.1, "dominates"), (-0.1, 2.0, "dominates"), (-0.1, 1e-9, "vanishes")):
        with pytest.warns(UserWarning, match=message):
            warn(gan, history(rest, penalty))


def test_a_transform_changes_what_both_players_see() -> None:
    seen = []

    def shifted(x: Tensor, noise: Any) -> Tensor:
        seen.append(noise.uniform(1))
        return x

    fitted(flat(), points(16), steps=2, transform=shifted)
    assert len(seen) == 4  # for each player in each step
    assert not torch.equal(seen[0], seen[1])
    plain, changed = flat(), flat()
    fitted(plain, points(16))
    fitted(changed, points(16), transform=lambda x, noise: x + 1)
    assert not equal(plain.generator, changed.generator)


def test_health_says_what_is_wrong() -> None:
    gan = flat()
    with torch.no_grad():
        for value in gan.average.parameters():
            value.mul_(1e-3)
    found = gan.health(points(64))
    assert found.diversity < 0.5
    assert "too much alike" in found.warnings[0]
    assert found.by_heart is None
    assert 0 <= found.told_apart <= 1
    assert gan.health(points(64), held_out=points(64)).by_heart == 0.5


def test_nothing_global_is_moved() -> None:
    before = torch.get_rng_state()
    gan = small("resnet")
    fitted(gan, pictures(16))
    gan.sample(2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pictures(16) * 255, "in .0, 1."), (pictures(16)[:, :, :7], "shape"), (torch.zeros(16, *SHAPE), "one colour"),
        (pictures(16).masked_fill(pictures(16) < 0.1, math.nan), "NaN"), ((pictures(16) * 255).byte(), "float"),
        (pictures(3), "batch_size"), ({"x": pictures(16)}, "tuple"), ("no/such/folder", "no/such/folder"),
        (pictures(16).expand(-1, 3, -1, -1), "shape"), ((pictures(16), torch.zeros(16, dtype=torch.long)), "condition"),
    ],
    ids=["range", "shape", "constant", "nan", "bytes", "few", "dict", "folder", "channels", "condition"],
)  # fmt: skip
def test_bad_data_is_named_before_training(data: Any, message: str) -> None:
    gan = small()
    before = [value.clone() for value in gan.state_dict().values()]
    with pytest.raises((ParameterError, FileNotFoundError), match=message):
        fitted(gan, data)
    assert all(map(torch.equal, before, gan.state_dict().values()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GAN("x", nn.Identity(), latent=2), "generator must be an nn.Module"),
        (lambda: GAN(nn.Identity(), nn.Identity(), latent=0), "latent must be"),
        (lambda: flat(penalties=["x"]), r"penalties\[0\] must be a penalty"),
        (lambda: small(adaptive=Adaptive()), "adaptive must be"),
        (lambda: small().sample(0), "n must be"),
        (lambda: small().sample(2, seed=[1]), "seed must be"),
        (lambda: small().sample(2, truncation=2.0), "truncation must be"),
        (lambda: small().generate(torch.zeros(1, 4), space="w"), "space must be"),
        (lambda: small().generate(torch.zeros(1, 4), truncation=0.5), "truncation must be"),
        (lambda: small().generate(torch.zeros(1, 5)), "latents must be"),
        (lambda: small().project(pictures(1)[0]), "x must be"),
        (lambda: small().health(pictures(1)), "data must be"),
        (lambda: fitted(small(), pictures(16), steps=2, epochs=1), "steps must be given, or else epochs"),
        (lambda: fitted(flat(), torch.arange(32).view(16, 2)), "data must be of floating"),
        (lambda: fitted(flat(), points(16) / 0), "data must be finite"),
        (lambda: fitted(flat(), iter([points(16)])), "Say shape="),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises((ParameterError, TypeParameterError), match=message), warnings.catch_warnings():
        make()
