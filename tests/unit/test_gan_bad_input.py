"""`GAN` given what it cannot use: an error of ours at every door, with a cure that cures."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aigc import GAN, VAE, nets
from aigc.data import write_png
from aigc.errors import ParameterError, TypeParameterError
from aigc.gan import DiffAugment

SHAPE = (1, 8, 8)
Door = Any


def pictures(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def small(**parts: Any) -> GAN:
    return GAN.for_images(SHAPE, **({"latent": 4, "kind": "mlp", "width": 8} | parts))


def own(outputs: int = 3) -> GAN:
    """A GAN of nets that say nothing of their shapes, and that was not fitted."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GAN(nn.Linear(2, outputs), nn.Linear(outputs, 1), latent=2)


def fitted(model: Any, x: Any, **options: Any) -> Any:
    return model.fit(x, **({"steps": 2, "batch_size": 8, "seed": 0, "progress": False} | options))


DOORS: dict[str, Door] = {
    "project": lambda gan, x: gan.project(x[:2], steps=1, starts=2),
    "health": lambda gan, x: gan.health(x),
    "held_out": lambda gan, x: gan.health(pictures(8), held_out=x),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * 255, r"in \[0, 1\], got from .*Divide them"),
        (lambda x: x * 2 - 1, r"in \[0, 1\], got from .*Move them"),
        (lambda x: x.masked_fill(x > 0.5, math.nan), "finite, got NaN or infinity"),
        (lambda x: (x * 255).byte(), r"floats, got torch.uint8 .*Call x.float\(\) / 255"),
        (lambda x: x.numpy(), r"(?s)floats, got .* of type ndarray. Call torch.as_tensor"),
        (lambda x: x[:0], r"of shape \(n, 1, 8, 8\), with n at least"),
        (lambda x: x[:, :, :6], r"of shape \(n, 1, 8, 8\).*got \(\d, 1, 6, 8\)"),
        (lambda x: x.expand(-1, 3, -1, -1), "channels=1"),
    ],
    ids=["bytes", "signed", "nan", "uint8", "numpy", "empty", "sides", "colours"],
)
def test_images_are_what_fit_takes_at_every_door(door: str, change: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        DOORS[door](small(), change(pictures(8)))


def test_an_image_of_one_colour_is_looked_at() -> None:
    """`fit` refuses data that are all so, as nothing is learned of them."""
    gan = small()
    assert gan.project(torch.zeros(1, *SHAPE), steps=1, starts=2).data.shape == (1, *SHAPE)
    assert math.isfinite(gan.health(torch.full((2, *SHAPE), 0.5)).real)


def test_one_example_alone_is_told_how_it_is_given() -> None:
    with pytest.raises(ParameterError, match=r"x must be of shape .*got \(1, 8, 8\)\. Call x\[None\] on one\.$"):
        small().project(pictures(1)[0])
    for few in (pictures(1), pictures(1)[0]):
        with pytest.raises(ParameterError, match=r"data must be of shape .* with n at least 2, got .*\)"):
            small().health(few)


@pytest.mark.parametrize("x", [torch.ones(2, 1), torch.ones(2, 2), torch.ones(2, 4), torch.ones(2, 3, 1)])
def test_data_of_another_shape_than_samples_are_named_before_any_fit(x: Tensor) -> None:
    with pytest.raises(ParameterError, match=r"x must be examples of shape \(3,\), as samples are"):
        own().project(x, steps=1)
    with pytest.raises(ParameterError, match=r"data must be examples of shape \(3,\), as samples are"):
        own().health(x)
    with pytest.raises(ParameterError, match="held_out must be examples"):
        own().health(torch.ones(2, 3), held_out=x)


def test_points_that_are_not_finite_are_named() -> None:
    bad = torch.tensor([[0.0, math.inf, 1.0], [0.0, 0.0, 0.0]])
    with pytest.raises(ParameterError, match="x must be finite"):
        own().project(bad, steps=1)
    with pytest.raises(ParameterError, match="data must be finite"):
        own().health(bad)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_every_float_type_is_looked_at_as_the_weights_are(dtype: torch.dtype) -> None:
    gan, x = small(), pictures(8).to(dtype)
    assert gan.health(x, held_out=x) == gan.health(x.float(), held_out=x.float())


def test_a_space_that_is_none_is_named() -> None:
    with pytest.raises(ParameterError, match="space must be 'z' or 'w', got 'q'"):
        small().project(pictures(1), space="q")
    with pytest.raises(ParameterError, match="space must be 'z': this generator has no styles, got 'w'"):
        small().project(pictures(1), space="w", steps=1)


def clusters(n: int) -> Tensor:
    """Dark images and bright ones, sorted."""
    x = pictures(n) / 10
    x[n // 2 :] += 0.9
    return x


def test_diversity_owes_nothing_to_the_order_of_the_data() -> None:
    """Against the mean over all pairs, one by one."""
    gan, x = small(), clusters(20)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    found, shuffled = gan.health(x).diversity, gan.health(x[order]).diversity
    assert shuffled == pytest.approx(found, rel=1e-12)
    fakes = gan.sample(20, seed=0)
    apart = [
        sum(float((some[i].double() - some[j].double()).norm()) for i in range(20) for j in range(i)) for some in (fakes, x)
    ]
    assert found == pytest.approx(apart[0] / apart[1], rel=1e-5)


def test_diversity_of_many_sorted_data_is_that_of_shuffled_ones_but_for_chance() -> None:
    """Half of all pairs are of both clusters, in which distances are small; and where classes come in turns as well."""
    gan, x = small(width=2), clusters(2000)
    turns = torch.cat([x.view(2, 1000, *SHAPE)[:, i] for i in range(1000)])  # dark, bright, dark, ...
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(1))
    found = [gan.health(some).diversity for some in (x, turns, x[order])]
    assert max(found) / min(found) < 1.02


def test_data_of_another_shape_are_told_what_mends_it(tmp_path: Path) -> None:
    """The cure is done, and does."""
    colours = GAN.for_images((3, 8, 8), latent=4, kind="mlp", width=8)
    with pytest.raises(ParameterError, match=r"data.images\(path, size=\(8, 8\), channels=3\), or build .*\(1, 8, 8\)"):
        fitted(colours, pictures(16))
    for i, image in enumerate(pictures(16).expand(-1, 3, -1, -1)):
        write_png(tmp_path / f"{i}.png", image)
    with pytest.raises(ParameterError, match=r"channels=1\)"):
        fitted(small(), tmp_path)
    from aigc.data import images

    assert fitted(small(), images(tmp_path, size=(8, 8), channels=1)).done == 2
    with pytest.raises(ParameterError, match=r"size=\(8, 8\)\), or build"):
        fitted(small(), pictures(16)[:, :, :7])
    sounds = GAN.for_sounds((1, 32), latent=4, kind="mlp", width=8)
    with pytest.raises(
        ParameterError, match=r"data.sounds\(path, length=32\) does, or build the model for shape \(1, 40\)"
    ):
        fitted(sounds, torch.ones(16, 1, 40))
    with pytest.raises(ParameterError, match="data must be at least one example"):
        fitted(small(), pictures(0))


def test_labels_are_told_what_mends_them() -> None:
    gan, x = small(condition=nets.Classes(4)), pictures(16)
    for labels, cure in (
        (None, r"for fit, give \(data, condition\)"),
        (torch.full((16,), 4), r"Number classes from 0, or build the net with nets.Classes\(5\)\."),
        (torch.full((16,), -1), r"Number classes from 0\.$"),
        (torch.zeros(16), r"Call labels.long\(\)"),
        (torch.zeros(16, 1).long(), "one class for each"),
    ):
        with pytest.raises(ParameterError, match=f"condition must be .*{cure}"):
            fitted(gan, x if labels is None else (x, labels))
    with pytest.raises(ParameterError, match="Give the data alone"):
        fitted(small(), (x, torch.zeros(16).long()))
    with pytest.raises(ParameterError, match="Say condition=..., one for each example"):
        gan.sample(2)


OPTIONS: dict[str, Any] = {
    "average": "a", "clip": "a", "schedule": 3, "optimizer": "adam", "transform": 3, "every": 3, "loggers": 3,
    "checkpoint_dir": 3, "lr": "a",
}  # fmt: skip


@pytest.mark.parametrize("make", [small, lambda: VAE.for_images(SHAPE, latent=2)], ids=["gan", "vae"])
@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_another_type_is_named_before_training(name: str, make: Any) -> None:
    model = make()
    before = [value.clone() for value in model.state_dict().values()]
    with pytest.raises(TypeParameterError, match=f"{name} must be"):
        fitted(model, pictures(16), **{name: OPTIONS[name]})
    assert all(map(torch.equal, before, model.state_dict().values()))
    assert not model.training


@pytest.mark.parametrize("make", [small, lambda: VAE.for_images(SHAPE, latent=2)], ids=["gan", "vae"])
def test_an_average_of_none_is_named_as_it_was_given(make: Any) -> None:
    for value in (0, -1.0, math.nan):
        with pytest.raises(ParameterError, match="average must be a number of examples above 0"):
            fitted(make(), pictures(16), average=value)


def test_places_and_policies_of_another_type_are_named(tmp_path: Path) -> None:
    for call in (lambda: small().save_pretrained(3), lambda: GAN.from_pretrained(3)):
        with pytest.raises(TypeParameterError, match="folder must be a path"):
            call()
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ParameterError, match="folder must be where one can be made"):
        small().save_pretrained(tmp_path / "taken" / "model")
    for policy in (None, 3):
        with pytest.raises(TypeParameterError, match="policy must be a tuple of names"):
            DiffAugment(policy=policy)
    with pytest.raises(ParameterError, match="policy must be of 'color'"):
        DiffAugment(policy=(3, []))


def test_what_cannot_move_is_named() -> None:
    for name in ("generator", "discriminator"):
        gan = small()
        getattr(gan, name).requires_grad_(False)
        cure = rf"Call {name}.requires_grad_\(True\)"
        with pytest.raises(ParameterError, match=f"{name} must be a module with parameters .*{cure}"):
            fitted(gan, pictures(16))
    with pytest.raises(ParameterError, match="generator must be a module .*Take one that has some"):
        fitted(GAN(nn.Identity(), nn.Linear(2, 1, device="meta").to_empty(device="cpu"), latent=2), torch.ones(16, 2))
    with pytest.raises(ParameterError, match=r"model must be a module with .*Call model.requires_grad_\(True\)"):
        fitted(VAE.for_images(SHAPE, latent=2).requires_grad_(False), pictures(16))


def test_a_run_of_another_length_is_told_that_it_is(tmp_path: Path) -> None:
    """The gamma of a default run falls over its steps."""
    x = pictures(16)
    fitted(small(), x, checkpoint_dir=tmp_path)
    with pytest.raises(
        ParameterError, match=r"checkpoint_dir must be of a run with penalties\[0\].gamma.steps=2,"
    ) as error:
        fitted(small(), x, steps=4, checkpoint_dir=tmp_path)
    assert "gamma.steps=4" in str(error.value)
    assert "steps too" in str(error.value)
    assert "schedule" not in str(error.value)
    with pytest.raises(ParameterError, match=r"of a run with critics=1, to be resumed, got 'critics=2'\."):
        fitted(small(), x, critics=2, checkpoint_dir=tmp_path)
