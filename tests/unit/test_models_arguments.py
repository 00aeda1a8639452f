"""Arguments that a model cannot use: each is named, with a cure, before anything is built, trained or drawn."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aigc import GAN, VAE, VQVAE, nets, random
from aigc.errors import ParameterError, TrainingError, TypeParameterError
from aigc.gan import Adaptive, DiffAugment, losses, penalties
from aigc.training import Every

SHAPE = (1, 8, 8)


def gan(**parts: Any) -> GAN:
    return GAN.for_images(SHAPE, **({"latent": 4, "width": 4, "kind": "dcgan"} | parts))


def styled(**parts: Any) -> GAN:
    return gan(kind="style", **parts)


def vae(**parts: Any) -> VAE:
    return VAE.for_images(SHAPE, latent=2, kind="mlp", **parts)


CLASSES = nets.Classes(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gan(penalites=[penalties.R1(5.0)]), "penalites must be left out: .* There are adaptive, .*, penalties, "),
        (lambda: GAN.from_pretrained("folder", penaltys=None), "penaltys must be left out: .* There are augment, loss"),
        (lambda: GAN.for_sounds((1, 64), latent=4, losss=losses.Hinge()), "losss must be left out"),
        (lambda: vae(foo=1), "foo must be left out: .* There are bound, "),
        (lambda: VAE.for_sounds((1, 64), lr=1), "lr must be left out"),
        (lambda: VAE.hierarchical(SHAPE, kind="mlp"), "kind must be left out: .* There are blocks, "),
        (lambda: VQVAE.for_images(SHAPE, codes=3), "codes must be left out: .* There are blocks, "),
        (lambda: gan(loss="hinge"), "loss must be an objective, such as"),
        (lambda: gan(loss=losses.Hinge), "loss must be an objective, such as"),
        (lambda: gan(penalties=penalties.R1(1.0)), r"penalties must be a list .* Say \[penalties.R1"),
        (lambda: gan(penalties=[penalties.R1]), r"penalties\[0\] must be a penalty"),
        (lambda: gan(augment="color"), "augment must be a function"),
        (lambda: gan(augment=DiffAugment), "augment must be a function"),
        (lambda: gan(augment=DiffAugment(), adaptive=True), "adaptive must be an Adaptive"),
        (lambda: gan(adaptive=Adaptive()), "adaptive must be given with augment"),
        (lambda: GAN(nn.Identity(), nn.Identity(), latent=2, shape=3), "shape must be .* integers"),
        (lambda: GAN(nn.Identity(), nn.Identity(), latent=2, shape="a"), "shape must be .* integers"),
        (lambda: VAE(nn.Identity(), nn.Identity(), latent=2, shape=[2.5]), r"shape\[0\] must be an integer"),
    ],
)  # fmt: skip
def test_what_a_model_is_not_built_of(make: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: gan().sample(2, seed=[1.9, 2.9]), r"seed\[0\] must be an integer"),
        (lambda: gan().sample(2, seed=torch.tensor([1.0, 2.0])), "seed must be 2 ints"),
        (lambda: gan().sample(2, seed=[True, False]), r"seed\[0\] must be an integer"),
        (lambda: gan().sample(2, seed=torch.tensor([True, False])), "seed must be 2 ints"),
        (lambda: gan().sample(2, seed=[0, 2**63]), r"seed\[1\] must be an integer in"),
        (lambda: gan().sample(2, seed=[0, 1, 2]), "seed must be one int, or 2 ints"),
        (lambda: vae().sample(2, seed=[1.9, 2.9]), r"seed\[0\] must be an integer"),
        *((lambda t=t: styled().sample(2, seed=0, truncation=t), "truncation must be in") for t in (-1.0, 0.0, 1.5)),
        (lambda: styled().generate(torch.zeros(1, 4), truncation=-3.0), "truncation must be in"),
        (lambda: styled().interpolate(1, 2, space="w", truncation=2.0), "truncation must be in"),
        (lambda: gan(condition=CLASSES).sample(2, condition=[0, 1]), r"condition must be a tensor .* Call torch.tensor"),
        (lambda: gan(condition=CLASSES).interpolate(1, 2, condition=1), "condition must be a tensor"),
        (lambda: gan(condition=CLASSES).interpolate(1, 2, condition=[1]), "condition must be a tensor"),
        (lambda: gan(condition=CLASSES).interpolate(1, 2, condition=torch.tensor(1)), r"Call condition\[None\]"),
        (lambda: gan(condition=CLASSES).walk(12, condition=1), "condition must be a tensor"),
        (lambda: gan(condition=CLASSES).walk(12, condition=torch.zeros(2).long()), "condition must be one, or 12"),
        (lambda: vae(condition=CLASSES).walk(12, condition=[1]), "condition must be a tensor"),
        (lambda: vae(condition=CLASSES).walk(12, condition=torch.zeros(2).long()), "condition must be one, or 12"),
        (lambda: gan().interpolate(torch.tensor(1.5), 2), "a must be an integer"),
        (lambda: gan().interpolate(0, torch.zeros(3)), r"b must be floats of shape \(n, 4\)"),
        (lambda: gan().generate([[0.0] * 4]), r"latents must be floats of shape \(n, 4\), .* Call torch.as_tensor"),
        (lambda: gan().generate(torch.zeros(1, 5)), r"latents must be floats of shape \(n, 4\)"),
        (lambda: gan().generate(torch.zeros(1, 4, dtype=torch.int64)), "latents must be floats"),
    ],
)  # fmt: skip
def test_what_a_model_does_not_draw_from(draw: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        draw()


def test_a_name_nobody_knows_is_a_type_error_as_in_python() -> None:
    with pytest.raises(TypeParameterError):
        gan(witdh=3)


def test_seeds_are_ints_of_any_kind() -> None:
    model = gan()
    wanted = model.sample(3, seed=[4, 5, 6])
    for seed in (range(4, 7), (4, 5, 6), torch.tensor([4, 5, 6]), torch.tensor([4, 5, 6], dtype=torch.int32)):
        assert torch.equal(model.sample(3, seed=seed), wanted)
    assert random.streams([-(2**63), 2**63 - 1], 2).tolist() == [-(2**63), 2**63 - 1]
    assert torch.equal(model.interpolate(torch.tensor(4), torch.tensor(5)), model.interpolate(4, 5))


def test_one_condition_or_one_a_frame() -> None:
    model = gan(condition=CLASSES)
    assert torch.equal(model.walk(7, condition=torch.tensor([2])), model.walk(7, condition=torch.tensor([2] * 7)))


@pytest.mark.parametrize("critics", [1, 3])
def test_of_two_checkpoints_one_is_from_before_the_collapse(critics: int, tmp_path: Path) -> None:
    players = nets.MLPGenerator(3, (2,), hidden=(8,)), nets.MLPDiscriminator((2,), hidden=(8,))
    model = GAN(*players, latent=3)

    def collapse(step: int) -> None:
        if step == 105:
            with torch.no_grad():
                model.generator.head.weight.zero_()

    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    how: dict[str, Any] = {"checkpoint_dir": tmp_path, "checkpoint_every": critics, "every": [Every(1, collapse)]}
    with pytest.raises(TrainingError, match="collapsed at step 105: .* Of the checkpoints the newest may be from after it"):
        model.fit(x, steps=200, batch_size=8, seed=0, lr=0.0, critics=critics, progress=False, **how)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == [f"step-{105 - critics:09}", "step-000000105"]


def linear(inputs: int, outputs: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(inputs, outputs)


def rows(features: int) -> Tensor:
    return torch.rand(9, features, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["gan", "vae"])
def test_data_that_nets_of_ones_own_do_not_take_teach_the_model_no_shape(kind: str) -> None:
    gan_of = lambda: GAN(linear(4, 5), linear(5, 1), latent=4)  # noqa: E731
    model: Any = gan_of() if kind == "gan" else VAE(linear(5, 8), linear(4, 5), latent=4)
    how: dict[str, Any] = {"steps": 1, "batch_size": 4, "seed": 0, "progress": False}
    with pytest.raises(ParameterError, match=r"data must be what the (discriminator|encoder) takes, .*\(7,\)"):
        model.fit(rows(7), **how)
    assert model.shape is None
    assert model.fit(rows(5), **how).done == 1
    with pytest.raises(ParameterError, match=r"generator must be a module to data of shape \(5,\), got \(3,\)"):
        GAN(linear(4, 3), linear(5, 1), latent=4).fit(rows(5), **how)


def test_a_loaded_model_has_the_bits_of_the_one_saved_and_owes_nothing_to_its_file(tmp_path: Path) -> None:
    """Views of a file lie anywhere, and matrices there are added up in another order; `torch.empty` lies at 64 bytes."""
    x = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    model = vae()
    model.save_pretrained(tmp_path / "model")
    again = VAE.from_pretrained(tmp_path / "model")
    assert {value.data_ptr() % 64 for value in again.state_dict().values()} == {0}
    assert torch.equal(model.reconstruct(x[:1]), again.reconstruct(x[:1]))
    with open(tmp_path / "model" / "model.safetensors", "r+b") as file:
        file.truncate(8)
    assert torch.equal(model.reconstruct(x[:1]), again.reconstruct(x[:1]))


def test_players_that_need_a_whole_batch_are_tried_on_one() -> None:
    def normal(features: int) -> nn.Module:
        return nn.BatchNorm1d(features, track_running_stats=False)

    how: dict[str, Any] = {"steps": 1, "batch_size": 8, "seed": 0, "progress": False}
    game = GAN(nn.Sequential(linear(4, 5), normal(5)), nn.Sequential(normal(5), linear(5, 1)), latent=4)
    assert game.fit(rows(5), **how).done == 1
    assert VAE(nn.Sequential(normal(5), linear(5, 8)), linear(4, 5), latent=4).fit(rows(5), **how).done == 1


def test_one_latent_alone_is_told_how_it_is_given() -> None:
    with pytest.raises(ParameterError, match=r"latents must be of shape \(n, 4\), .* Call latents\[None\] on one"):
        gan().generate(torch.zeros(4))


@pytest.mark.parametrize("make", [gan, vae])
def test_an_optimizer_of_other_parameters_would_train_nothing(make: Any) -> None:
    other = nn.Parameter(torch.zeros(1))
    x = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ParameterError, match="optimizer must be one of the parameters that are trained, got 'SGD'"):
        make().fit(x, steps=1, batch_size=4, progress=False, optimizer=lambda p: torch.optim.SGD([other], lr=0.1))
