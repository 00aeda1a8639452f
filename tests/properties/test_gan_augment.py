"""The laws of augmentation, against loops over pixels, and of its controller, against plain Python."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aigc.errors import ParameterError, TypeParameterError
from aigc.gan.augment import Adaptive, DiffAugment, adapted
from aigc.training import Noise, Processes
from aigc.training.pieces import pieces

SEEDS = st.integers(0, 10**6)
SHAPES = st.sampled_from([(1, 8, 8), (3, 7, 12), (2, 1, 5), (3, 16, 16), (1, 9), (2, 32), (1, 1)])
PARTS = ("color", "translation", "cutout")


def noise_of(rows: int, *, seed: int = 0) -> Noise:
    return Noise(seed, 0, 0, rows=slice(0, rows), batch=rows)


def data(rows: int, *shape: int, seed: int = 0) -> Tensor:
    """Without a 0, so that a 0 is seen to have come in."""
    return 0.1 + 0.8 * torch.rand(rows, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=SEEDS, shape=SHAPES, dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]))
def test_nothing_changes_at_probability_0_or_without_a_policy(
    seed: int, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    x = data(3, *shape, seed=seed).to(dtype)
    noise = noise_of(3, seed=seed)
    for same in (DiffAugment(())(x, noise), DiffAugment(p=0.0)(x, noise), DiffAugment()(x, noise, p=torch.zeros(()))):
        assert same.dtype == dtype
        assert torch.equal(same, x)
    assert DiffAugment()(x, noise).dtype == dtype


@given(seed=SEEDS, shape=SHAPES, p=st.sampled_from([0.5, 1.0]), part=st.sampled_from([*((part,) for part in PARTS), PARTS]))
def test_an_example_is_changed_by_its_own_noise_only(
    seed: int, shape: tuple[int, ...], p: float, part: tuple[str, ...]
) -> None:
    x, augment = data(6, *shape, seed=seed), DiffAugment(part, p=p)
    whole = augment(x, noise_of(6, seed=seed))
    for rows in (slice(0, 2), slice(2, 6), slice(3, 4)):
        assert torch.equal(augment(x[rows], Noise(seed, 0, 0, rows=rows, batch=6)), whole[rows])
    others = x.clone()
    others[1:] = data(5, *shape, seed=seed + 1)
    assert torch.equal(augment(others, noise_of(6, seed=seed))[0], whole[0])


@given(seed=SEEDS, shape=SHAPES)
def test_a_probability_chooses_among_the_same_changes(seed: int, shape: tuple[int, ...]) -> None:
    x = data(8, *shape, seed=seed)
    for part in PARTS:
        always = DiffAugment((part,))(x, noise_of(8, seed=seed))
        chosen = noise_of(8, seed=seed).uniform() < 0.4
        found = DiffAugment((part,), p=0.4)(x, noise_of(8, seed=seed))
        for i in range(8):
            assert torch.equal(found[i], always[i] if chosen[i] else x[i])


@given(seed=SEEDS, shape=SHAPES)
def test_translation_moves_pixels_and_lets_zeros_in(seed: int, shape: tuple[int, ...]) -> None:
    x = data(4, *shape, seed=seed)
    found = DiffAugment(("translation",))(x, noise_of(4, seed=seed)).numpy()
    reach = [math.floor(side / 8 + 0.5) for side in shape[1:]]
    for one, moved in zip(x.numpy(), found, strict=True):
        possible = []
        for place in np.ndindex(*(2 * r + 1 for r in reach)):
            shift = [p - r for p, r in zip(place, reach, strict=True)]
            expected = np.zeros_like(one)
            for to in np.ndindex(*shape[1:]):
                come = tuple(t - s for t, s in zip(to, shift, strict=True))
                if all(0 <= c < side for c, side in zip(come, shape[1:], strict=True)):
                    expected[(slice(None), *to)] = one[(slice(None), *come)]
            possible.append(np.array_equal(expected, moved))
        assert any(possible)


def test_every_shift_is_as_likely() -> None:
    """Chi-square, and a twin that it would find out."""
    place = torch.zeros(4000, 1, 16, 16)
    place[:, :, 8, 8] = 1
    moved = DiffAugment(("translation",))(place, noise_of(4000, seed=1)).flatten(1).argmax(1)
    counts = torch.bincount(moved, minlength=256).reshape(16, 16)[6:11, 6:11].double()
    assert int(counts.sum()) == 4000, "up to 2 of 16 pixels"
    statistic = float(((counts - 160) ** 2 / 160).sum())
    assert statistic < 51.18  # 24 degrees of freedom, alpha 0.001
    counts[2] *= 1.4
    counts *= 4000 / counts.sum()
    assert float(((counts - 160) ** 2 / 160).sum()) > 51.18


@given(seed=SEEDS, shape=SHAPES)
def test_cutout_is_a_rectangle_of_half_of_each_side(seed: int, shape: tuple[int, ...]) -> None:
    x = data(4, *shape, seed=seed)
    found = DiffAugment(("cutout",))(x, noise_of(4, seed=seed))
    for one, cut in zip(x.numpy(), found.numpy(), strict=True):
        gone = (cut == 0).all(0)
        assert np.array_equal(cut, np.where(gone, 0, one))
        ranges = []
        for axis, side in enumerate(shape[1:]):
            line = gone.any(tuple(other for other in range(gone.ndim) if other != axis))
            at = np.flatnonzero(line)
            size = math.floor(side / 2 + 0.5) if len(shape) == 3 else math.floor(side / 4 + 0.5)
            ranges.append(len(at))
            if len(at):
                assert len(at) == at[-1] - at[0] + 1 <= size
                assert len(at) == size or at[0] == 0 or at[-1] == side - 1, "cut off only by an edge"
                assert len(at) >= size // 2
        assert gone.sum() == math.prod(ranges), "a rectangle"


def test_cutout_reaches_every_place() -> None:
    x = torch.ones(3000, 1, 9, 8)
    gone = DiffAugment(("cutout",))(x, noise_of(3000)) == 0
    share = gone.double().mean((0, 1))
    # A size of 5 of 9 with its middle at each of 9 pixels, and 4 of 8 at each of 9 edges.
    rows = [sum(abs(middle - at) <= 2 for middle in range(9)) / 9 for at in range(9)]
    columns = [sum(edge - 2 <= at < edge + 2 for edge in range(9)) / 9 for at in range(8)]
    expected = torch.tensor(rows)[:, None] * torch.tensor(columns)
    error = (expected * (1 - expected) / 3000).sqrt()
    assert float(((share - expected) / error).abs().max()) < 4.5  # 72 places, alpha 0.0005
    assert float(((share.T - expected.T).T.flip(1) / error).abs().max()) < 4.5, "both ends alike"
    assert float(((share.roll(1, 0) - expected) / error).abs().max()) > 4.5


@given(seed=SEEDS, shape=SHAPES)
def test_colour_is_brightness_then_saturation_then_contrast(seed: int, shape: tuple[int, ...]) -> None:
    x = data(4, *shape, seed=seed)
    found = DiffAugment(("color",))(x, noise_of(4, seed=seed))
    noise = noise_of(4, seed=seed)
    noise.uniform()
    for one, out, (added, factor, contrast) in zip(
        x.numpy(), found.numpy(), noise.uniform(3).double().tolist(), strict=True
    ):
        if len(shape) == 2:
            expected = one * (0.5 + contrast)
        else:
            bright = one + 0.5 * added - 0.25
            grey = bright.mean(0)
            saturated = grey + 2 * factor * (bright - grey)
            expected = saturated.mean() + (0.5 + contrast) * (saturated - saturated.mean())
        np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)


@given(seed=SEEDS, shape=SHAPES)
@settings(max_examples=20)
def test_gradients_pass_and_are_those_of_finite_differences(seed: int, shape: tuple[int, ...]) -> None:
    x, augment = data(2, *shape, seed=seed).requires_grad_(), DiffAugment(p=0.7)
    weights = data(2, *shape, seed=seed + 1)

    def value(x: Tensor) -> Tensor:
        return (augment(x, noise_of(2, seed=seed)).square() * weights).sum()

    (slope,) = torch.autograd.grad(value(x), x, create_graph=True)
    along = data(2, *shape, seed=seed + 2)
    ends = [float(value(x.detach() + sign * 1e-5 * along)) for sign in (1, -1)]
    assert float((slope * along).sum().detach()) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-8)
    (bend,) = torch.autograd.grad(slope.square().sum(), x)
    assert bool(bend.isfinite().all()), "a penalty on slopes passes through it"


def test_real_and_fake_are_changed_in_the_same_ways() -> None:
    """The same noise does the same to both: the change depends on nothing that tells them apart."""
    augment, noise = DiffAugment(("translation", "cutout")), noise_of(5, seed=3)
    real, fake = data(5, 1, 8, 8), -2 * data(5, 1, 8, 8, seed=1)
    kept = [augment(x, noise_of(5, seed=3)) != 0 for x in (real, fake)]
    assert torch.equal(*kept)
    assert not torch.equal(augment(real, noise) != 0, augment(real, noise) != 0), "a second call draws anew"


def test_arguments_are_checked() -> None:
    with pytest.raises(ParameterError, match="policy must be of 'color', 'translation', 'cutout', each at most once"):
        DiffAugment(("flip",))
    with pytest.raises(ParameterError, match="each at most once"):
        DiffAugment(("color", "color"))
    with pytest.raises(TypeParameterError, match="policy must be a tuple of names"):
        DiffAugment("color")
    with pytest.raises(ParameterError, match=r"p must be a number in \[0, 1\]"):
        DiffAugment(p=1.5)
    with pytest.raises(ParameterError, match=r"p must be a number in \[0, 1\]"):
        DiffAugment()(data(2, 1, 4, 4), noise_of(2), p=-0.5)
    for bad in (torch.zeros(2, 4), torch.zeros(0, 1, 4, 4), torch.zeros(2, 1, 4, 4, 4)):
        with pytest.raises(ParameterError, match="x must be images"):
            DiffAugment()(bad, noise_of(2))
    with pytest.raises(TypeParameterError, match="x must be a tensor of floats"):
        DiffAugment()(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), noise_of(2))
    for rows in (1, 3):
        with pytest.raises(ParameterError, match="noise must be of 2 rows"):
            DiffAugment()(data(2, 1, 4, 4), noise_of(rows))
    augment = DiffAugment(["color"], p=0.25)
    described = json.loads(json.dumps(dataclasses.asdict(augment)))
    assert DiffAugment(tuple(described.pop("policy")), **described) == augment


@given(
    p=st.floats(0, 1),
    signs=st.floats(-1, 1),
    images=st.integers(1, 10_000),
    target=st.floats(-0.9, 0.9),
    speed=st.floats(1, 1e6),
)
def test_the_rule_of_adaptation(p: float, signs: float, images: int, target: float, speed: float) -> None:
    found = float(
        adapted(
            torch.tensor(p, dtype=torch.float64),
            torch.tensor(signs, dtype=torch.float64),
            torch.tensor(images),
            target=target,
            speed=speed,
        )
    )
    move = images / speed * ((signs > target) - (signs < target))
    assert found == pytest.approx(min(max(p + move, 0.0), 1.0), rel=1e-12)
    still = adapted(
        torch.tensor(p), torch.tensor(target), torch.tensor(images), target=float(torch.tensor(target)), speed=speed
    )
    assert float(still) == float(torch.tensor(p)), "a fixed point"


@given(seed=SEEDS, every=st.integers(1, 5), pairs=st.booleans(), cut=st.integers(0, 11))
def test_the_controller_follows_the_rule_and_resumes(seed: int, every: int, pairs: bool, cut: int) -> None:
    rng = np.random.default_rng(seed)
    control = Adaptive(0.3, speed=60.0, every=every).double()
    p, signs, images = 0.0, 0.0, 0
    for call in range(12):
        if call == cut:
            resumed = Adaptive(0.3, speed=60.0, every=every).double()
            resumed.load_state_dict(control.state_dict())
            control = resumed
        real, fake = rng.normal(0.7, 1, size=(2, int(rng.integers(1, 6))))
        control.update(torch.from_numpy(real)[:, None], torch.from_numpy(fake) if pairs else None)
        signs += np.sign(real - fake if pairs else real).sum()
        images += len(real)
        if (call + 1) % every == 0:
            p = min(max(p + np.sign(signs / images - 0.3) * images / 60, 0.0), 1.0)
            signs, images = 0.0, 0
        assert float(control.p) == pytest.approx(p, abs=1e-12)
        assert not control.p.requires_grad
    assert set(control.state_dict()) == {"p", "signs", "images", "rows", "batches"}


@given(
    seed=SEEDS, every=st.integers(1, 3), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), parts=st.integers(1, 4)
)
def test_micro_batches_lead_as_the_whole_batch_does(seed: int, every: int, sizes: list[int], parts: int) -> None:
    rng = np.random.default_rng(seed)
    whole, cut = (Adaptive(0.3, speed=60.0, every=every).double() for _ in range(2))
    for size in sizes:
        logits = torch.from_numpy(rng.normal(0.7, 1, size=size))
        whole.update(logits)
        before = cut.p.clone()
        for piece in pieces(size, parts, Processes(0, 1)):
            assert cut.p == before, "within a batch nothing moves"
            cut.update(logits[piece.rows], noise=Noise(0, 0, 0, rows=piece.rows, batch=size))
        assert all(map(torch.equal, whole.state_dict().values(), cut.state_dict().values()))


def test_a_discriminator_that_knows_everything_is_given_more_and_one_that_knows_nothing_less() -> None:
    control = Adaptive(speed=1000, every=4)
    for _ in range(8):
        control.update(torch.full((50,), 3.0))
    assert float(control.p) == pytest.approx(0.4)
    for _ in range(100):
        control.update(torch.full((50,), 3.0))
    assert float(control.p) == 1
    for _ in range(200):
        control.update(torch.tensor([1.0, -1.0]))
    assert float(control.p) == pytest.approx(0.6, abs=1e-5)  # 50 steps in float32
    x = data(64, 1, 8, 8)
    changed = (DiffAugment(("translation",))(x, noise_of(64), p=control.p) != x).flatten(1).any(1)
    assert 15 < int(changed.sum()) < 55


def test_the_controller_checks_its_arguments() -> None:
    for arguments in ({"target": 1.0}, {"speed": 0.0}, {"every": 0}):
        with pytest.raises(ParameterError):
            Adaptive(**arguments)
    with pytest.raises(ParameterError, match="fake_logits must be 3 logits, as real_logits"):
        Adaptive().update(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ParameterError, match=r"real_logits must be of shape \(b,\) or \(b, 1\)"):
        Adaptive().update(torch.zeros(3, 2))
