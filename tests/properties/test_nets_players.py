"""The laws of generators and discriminators: shapes, weights from a seed, rows that never meet, what the papers say."""

import copy
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aigc import checkpoint, nets
from aigc.errors import ParameterError, TypeParameterError
from aigc.nets._shapes import Scale, scales
from aigc.nets._weights import fill
from aigc.nets.players import r3
from aigc.nets.players._resampling import average, coarser, finer, repeat
from aigc.nets.players._spectral import Spectral, settle
from aigc.nets.players.style import Modulated

KINDS = ("r3", "dcgan", "resnet", "style", "mlp")
JUDGES = ("r3", "dcgan", "resnet", "mlp")  # that of "style" is r3's
CONDITIONS = [None, nets.Classes(3), nets.Vector(2)]
LATENT = 3


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def told(condition: Any, rows: int, dtype: torch.dtype = torch.float32) -> Tensor | None:
    if condition is None:
        return None
    return torch.arange(rows) % 3 if isinstance(condition, nets.Classes) else normal(rows, 2, seed=5).to(dtype)


def pair(kind: Any, shape: Any, condition: Any = None, **options: Any) -> tuple[Any, Any]:
    make: Any = nets.gan_for_images if len(shape) == 3 else nets.gan_for_sounds
    options = {"width": 2, "auxiliary": isinstance(condition, nets.Classes)} | options
    generator, discriminator = make(shape, LATENT, kind=kind, condition=condition, **options)
    return generator.eval(), discriminator.eval()


def stirred(net: nn.Module, scale: float = 0.3) -> Any:
    """Moves all weights, so that nothing that begins at 0 hides what comes before it."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator).to(parameter))
    return net


def shapes() -> st.SearchStrategy[Any]:
    image = st.tuples(st.integers(1, 4), st.sampled_from([8, 16, 28, 32]), st.sampled_from([5, 8, 28]))
    return st.one_of(image, st.tuples(st.integers(1, 2), st.sampled_from([9, 16, 64, 200])))


# Shapes, weights, rows


@given(st.sampled_from(KINDS), shapes(), st.sampled_from(CONDITIONS))
def test_a_pair_suits_its_shape(kind: Any, shape: Any, condition: Any) -> None:
    generator, discriminator = pair(kind, shape, condition)
    said = told(condition, 4)
    made = generator(normal(4, LATENT), said)
    assert made.shape == (4, *shape)
    logits = discriminator(made, said)
    assert logits.shape == (4,)
    assert discriminator.features(made).shape[0] == 4
    assert bool(made.isfinite().all())
    assert bool(logits.isfinite().all())
    if isinstance(condition, nets.Classes):
        assert discriminator.classify(made).shape == (4, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [8, 16, 32, 64, 128, 256])
def test_every_size_has_a_pair(kind: Any, size: int) -> None:
    generator, discriminator = pair(kind, (4, size, size))
    assert discriminator(generator(normal(1, LATENT))).shape == (1,)
    assert pair(kind, (1, 8192))[0](normal(1, LATENT)).shape == (1, 1, 8192)


@pytest.mark.parametrize("make", [nets.R3Generator, nets.DCGANGenerator, nets.ResNetGenerator, nets.StyleGenerator])
def test_width_doubles_up_to_eight_times(make: Any) -> None:
    net = make(LATENT, (1, 256, 256), width=2)
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | Modulated)]
    inputs = {m.weight.shape[1] if not isinstance(m, nn.ConvTranspose2d) else m.weight.shape[0] for m in layers}
    assert max(inputs) <= 32  # an R3 block widens to twice
    assert {2, 4, 8, 16} <= inputs


def test_without_a_width_it_goes_by_size() -> None:
    widths = {size: nets.gan_for_images((1, size, size), 8)[0].config["width"] for size in (8, 28, 32, 64)}
    assert widths == {8: 64, 28: 32, 32: 32, 64: 16}
    assert nets.gan_for_images((2, 2, 2), 8, kind="mlp")[1].config["hidden"] == [256] * 3


def randomised(draw: Any) -> tuple[nn.Module, nn.Module, Any, Any]:
    kind, shape = draw(st.sampled_from(KINDS)), draw(st.sampled_from([(1, 8, 8), (2, 9, 7), (1, 40)]))
    condition, seed = draw(st.sampled_from(CONDITIONS)), draw(st.integers(-(2**63), 2**63 - 1))
    return (*pair(kind, shape, condition, seed=seed), shape, condition)


@settings(max_examples=25)
@given(st.data())
def test_a_player_is_a_function_of_its_configuration(data: Any) -> None:
    before = torch.get_rng_state()
    generator, discriminator, shape, condition = randomised(data.draw)
    said = told(condition, 3)
    for net, x in ((generator, normal(3, LATENT)), (discriminator, normal(3, *shape))):
        again = nets.build(json.loads(json.dumps(net.config))).eval()
        assert type(again) is type(net)
        assert again.config == net.config
        states = zip(net.state_dict().items(), again.state_dict().items(), strict=True)
        assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in states)
        assert torch.equal(net(x, said), again(x, said))
        other = nets.build(net.config | {"seed": net.config["seed"] ^ 1})
        assert any(not torch.equal(x, y) for x, y in zip(net.parameters(), other.parameters(), strict=True))
        assert all(bool(value.isfinite().all()) for value in net.state_dict().values())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", [*KINDS, "batch", "layer"])
def test_a_player_comes_back_from_a_folder(kind: Any, tmp_path: Path) -> None:
    condition = nets.Classes(3)
    generator, discriminator = pair(kind if kind in KINDS else "dcgan", (1, 8, 8), condition)
    if kind not in KINDS:
        generator = nets.ResNetGenerator(LATENT, (1, 8, 8), width=2, norm=kind, condition=condition)
    z, x, said = normal(6, LATENT), normal(6, 1, 8, 8), told(condition, 6)
    for i, (net, given_) in enumerate(((generator, z), (discriminator, x))):
        stirred(net).train()
        for _ in range(3):  # what follows the forward passes: mean styles, power iterations, statistics
            net(given_, said)
        net.eval()
        checkpoint.save(tmp_path / str(i), config=net.config, tensors=net.state_dict())
        config, tensors = checkpoint.load(tmp_path / str(i))
        again = nets.build(config)
        assert not torch.equal(again.eval()(given_, said), net(given_, said))
        again.load_state_dict(tensors)
        assert torch.equal(again(given_, said), net(given_, said))
        assert torch.equal(copy.deepcopy(net)(given_, said), net(given_, said))  # as averages of weights are made


NORMED = [nets.MLPGenerator, nets.DCGANGenerator, nets.ResNetGenerator]


def everyone(condition: Any) -> list[tuple[nn.Module, tuple[int, ...]]]:
    """Every net that there is, with the shape of what it takes; each norm too."""
    found: list[tuple[nn.Module, tuple[int, ...]]] = []
    for kind in KINDS:
        generator, discriminator = pair(kind, (2, 9, 8), condition)
        found += [(generator, (LATENT,)), (discriminator, (2, 9, 8))]
    for make in NORMED:
        for norm in ("batch", "layer"):
            found.append((make(LATENT, (2, 9, 8), norm=norm, condition=condition).eval(), (LATENT,)))
    found.append((nets.MLPDiscriminator((2, 9, 8), hidden=(4, 4), norm="layer", condition=condition), (2, 9, 8)))
    found.append((nets.R3Discriminator((2, 9, 8), width=2, finest=1, blocks=2, condition=condition), (2, 9, 8)))
    found.append((nets.R3Generator(LATENT, (2, 9, 8), width=2, finest=1, blocks=2, condition=condition), (LATENT,)))
    return found


@pytest.mark.parametrize("condition", CONDITIONS)
def test_rows_never_meet(condition: Any) -> None:
    for net, shape in everyone(condition):
        stirred(net).double().eval()
        x, said = normal(4, *shape).double(), told(condition, 4, torch.float64)
        out = net(x, said)
        for row in (0, 3):
            one = slice(row, row + 1)
            alone = net(x[one], None if said is None else said[one])
            # Rounding alone differs: a product of another size may add in another order.
            torch.testing.assert_close(alone, out[one], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", NORMED)
def test_batch_norm_mixes_rows_in_training_mode_only(make: Any) -> None:
    net = make(LATENT, (1, 8, 8), norm="batch").double()
    z = normal(4, LATENT).double()
    assert (net.train()(z)[:1] - net(torch.cat([z[:1], -z[1:]]))[:1]).abs().max() > 1e-3
    net.eval()
    torch.testing.assert_close(net(z)[:1], net(torch.cat([z[:1], -z[1:]]))[:1], rtol=1e-10, atol=1e-12)
    assert (make(LATENT, (1, 8, 8)).train()(z.float())[:1] - net.float()(z.float())[:1]).abs().max() > 1e-3


@pytest.mark.parametrize("condition", [None, nets.Classes(3)])
def test_every_parameter_gets_a_gradient(condition: Any) -> None:
    for net, shape in everyone(condition):
        stirred(net, 0.1)
        x, said = normal(12, *shape), told(condition, 12)
        loss = net(x, said).square().sum()
        if isinstance(condition, nets.Classes) and net.config.get("auxiliary"):
            loss = loss + net.classify(x).square().sum()  # type: ignore[operator]
        loss.backward()
        without = [name for name, p in net.named_parameters() if p.grad is None or not bool(p.grad.any())]
        assert without == [], net.config


@pytest.mark.parametrize("kind", KINDS)
def test_players_train_in_half_precision(kind: Any) -> None:
    generator, discriminator = pair(kind, (1, 8, 8), nets.Classes(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        generator.train(), discriminator.train()
        loss = discriminator(generator(normal(4, LATENT), told(nets.Classes(3), 4)), told(nets.Classes(3), 4)).mean()
        if kind == "style":
            generator(normal(4, LATENT), told(nets.Classes(3), 4), truncation=0.5)
    loss.backward()
    for net in (generator, discriminator):
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in net.parameters())
        assert all(value.dtype == torch.float32 for value in net.state_dict().values())


# Bits


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_in_groups_has_the_same_bits_in_any_batch(kind: Any) -> None:
    make: Any = nets.gan_for_images
    generator = stirred(make((1, 28, 28), 16, kind=kind, condition=nets.Classes(3))[0].eval(), 0.02)
    z, said = normal(37, 16), told(nets.Classes(3), 37)
    assert said is not None
    with torch.inference_mode():
        whole = nets.in_groups(generator, [z, said])
        for rows in ([5], [5, 0], [36, 5, 7, 1, 2], [*range(36, -1, -1)], [3] * 17 + [5]):
            assert torch.equal(nets.in_groups(generator, [z[rows], said[rows]]), whole[rows])


def test_groups_are_filled_up() -> None:
    seen: list[tuple[int, ...]] = []

    def net(x: Tensor, y: Tensor | None, *, by: float) -> Tensor:
        seen.append(tuple(x.flatten().tolist()))
        return x * by if y is None else x * by + y

    x = torch.arange(7.0)[:, None]
    assert torch.equal(nets.in_groups(net, [x, None], rows=3, by=2.0), 2 * x)
    assert seen == [(0, 1, 2), (3, 4, 5), (6, 6, 6)]
    assert torch.equal(nets.in_groups(net, [x, x], rows=3, by=2.0), 3 * x)
    assert torch.equal(nets.in_groups(net, [x[:2], None], rows=2, by=1.0), x[:2])


# Resampling


@given(st.integers(1, 25), st.sampled_from([2, 4]))
def test_resampling_along_one_axis(side: int, by: int) -> None:
    coarse = -(-side // by)
    step = Scale((side,), (coarse,), (by,))
    x, y = normal(2, 3, side).double(), normal(2, 3, coarse).double()
    last = lambda a, i: a[..., min(max(i, 0), a.shape[-1] - 1)]  # noqa: E731
    kernel = {k: (by - abs(k)) / by**2 for k in range(1 - by, by)}
    want = torch.stack([sum(w * last(x, by * i + k) for k, w in kernel.items()) for i in range(coarse)], -1)
    torch.testing.assert_close(coarser(x, step), want, rtol=1e-12, atol=1e-12)
    known = np.arange(coarse) * by
    want = torch.from_numpy(
        np.stack([np.interp(np.arange(side), known, row) for row in y.reshape(-1, coarse).numpy()]).reshape(2, 3, side)
    )
    torch.testing.assert_close(finer(y, step), want, rtol=1e-12, atol=1e-12)
    assert torch.equal(repeat(y, step), torch.stack([y[..., i // by] for i in range(side)], -1))
    want = torch.stack([x[..., by * i : by * i + by].mean(-1) for i in range(coarse)], -1)
    torch.testing.assert_close(average(x, step), want, rtol=1e-12, atol=1e-12)


@given(st.tuples(st.integers(5, 30), st.integers(2, 30)))
def test_resampling_along_two_axes_is_that_along_each(places: Any) -> None:
    step = scales(places)[0]
    lines = [Scale((f,), (c,), (b,)) for f, c, b in zip(*step, strict=True)]
    for resample, sides in ((coarser, step.fine), (average, step.fine), (finer, step.coarse), (repeat, step.coarse)):
        one, two = (normal(1, 1, side, seed=i).double() for i, side in enumerate(sides))
        apart = [resample(x, line) for x, line in zip((one, two), lines, strict=True)]
        both = resample(one[..., :, None] * two[..., None, :], step)
        torch.testing.assert_close(both, apart[0][..., :, None] * apart[1][..., None, :], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(resample(torch.ones(1, 1, *sides), step), torch.ones_like(both).float())


# R3


def test_a_block_along_one_axis_is_one_along_two_with_a_single_row() -> None:
    with torch.device("meta"):
        line, plane = r3._Block(8, 1), r3._Block(8, 2)
    fill(line, 3, after="leaky_relu")
    fill(plane, 4, after="leaky_relu")
    with torch.no_grad():
        for one, two in zip(line.parameters(), plane.parameters(), strict=True):
            if two.ndim == 4:
                two.zero_()
                two[:, :, two.shape[2] // 2].copy_(one)
            else:
                two.copy_(one)
    x = normal(2, 8, 11).double()
    torch.testing.assert_close(line.double()(x), plane.double()(x[:, :, None])[:, :, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("finest", [0, 1])
def test_blocks_are_the_identity_at_the_start(finest: int) -> None:
    generator = nets.R3Generator(LATENT, (2, 9, 8), width=4, blocks=2, finest=finest).double()
    discriminator = nets.R3Discriminator((2, 9, 8), width=4, blocks=2, finest=finest).double()
    for net, shape in ((generator, (LATENT,)), (discriminator, (2, 9, 8))):
        blocks = [m for m in net.modules() if isinstance(m, r3._Block)]
        assert len(blocks) == 4 + finest
        x = normal(5, 4, 3, 3).double()
        assert all(torch.equal(block(x), x) for block in blocks if block.first.in_channels == 4)
        stem = copy.deepcopy(net)
        for module in stem.modules():
            if isinstance(module, r3._Blocks):
                module.forward = lambda x: x  # type: ignore[method-assign]
        x, y = normal(2, 5, *shape).double()
        assert torch.equal(net(x), stem(x))
        stirred_too = stirred(copy.deepcopy(net))
        torch.testing.assert_close(net(x) + net(y), net(x + y) + net(0 * x), rtol=1e-9, atol=1e-9)  # it is affine
        assert (stirred_too(x) + stirred_too(y) - stirred_too(x + y) - stirred_too(0 * x)).abs().max() > 1e-2


@pytest.mark.parametrize("blocks", [1, 4])
def test_weights_of_blocks_are_scaled_for_depth(blocks: int) -> None:
    net = nets.R3Discriminator((1, 32, 32), width=32, blocks=blocks)
    found = [m for m in net.modules() if isinstance(m, r3._Block)]
    assert len(found) == 3 * blocks
    for layer, inputs in (("first", 1), ("second", 16 * 9)):
        weights = [getattr(block, layer).weight for block in found]
        scaled = torch.cat([(w * math.sqrt(w.shape[1] if inputs == 1 else inputs)).flatten() for w in weights])
        want = len(found) ** -0.25 * math.sqrt(2 / (1 + 0.2**2))
        error = want / math.sqrt(2 * len(scaled))  # of the standard deviation of so many normal numbers
        assert abs(float(scaled.detach().std()) - want) < 4.5 * error
    assert not any(block.third.weight.any() for block in found)
    assert all(block.third.bias is None for block in found)
    assert {block.second.weight.shape[1] for block in found} == {16}  # channels of a group


# Spectral norms


def spectral(make: Any, *sizes: int) -> Any:
    with torch.device("meta"):
        net = Spectral(make(*sizes))
    fill(net, 3, after=None)
    settle(net, 11)
    return net


@pytest.mark.parametrize("layer", [(nn.Linear, 7, 5), (nn.Conv2d, 3, 6, 3), (nn.Conv1d, 4, 2, 3)])
def test_spectral_norms_are_singular_values(layer: Any) -> None:
    net = spectral(*layer).double()
    net.iterate(200)
    largest = np.linalg.svd(net.layer.weight.detach().flatten(1).numpy(), compute_uv=False)[0]
    before = net.left.clone(), net.right.clone()
    np.testing.assert_allclose(net.eval().weight().detach(), net.layer.weight.detach() / largest, rtol=1e-6)
    assert torch.equal(net.left, before[0])
    assert torch.equal(net.right, before[1])


def test_power_iterations_go_on_in_training_mode_alone() -> None:
    net = spectral(nn.Linear, 20, 15)
    with torch.no_grad():
        net.layer.weight.copy_(normal(15, 20, seed=2))
    matrix = net.layer.weight.detach().double().numpy()
    left = net.left.double().numpy()
    x = normal(3, 20)
    net.eval()(x)
    assert np.array_equal(net.left.double().numpy(), left)
    net.train()(x)
    right = matrix.T @ left
    right /= np.linalg.norm(right)
    left = matrix @ right
    left /= np.linalg.norm(left)
    np.testing.assert_allclose(net.left.numpy(), left, atol=1e-6)
    np.testing.assert_allclose(net.right.numpy(), right, atol=1e-6)
    np.testing.assert_allclose(net.eval().weight().detach(), matrix / (left @ matrix @ right), atol=1e-6)
    for _ in range(100):
        net.train()(x)
    assert abs(np.linalg.svd(net.weight().detach().numpy(), compute_uv=False)[0] - 1) < 1e-4


def test_two_calls_in_training_mode_make_one_graph() -> None:
    net = nets.ResNetDiscriminator((1, 8, 8), width=2).train()
    x = normal(3, 1, 8, 8).requires_grad_()
    first = net(x)
    later = net(x.detach() + 1)
    (gradient,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    (gradient.square().sum() + later.sum()).backward()  # torch would say if a buffer that is needed had moved
    assert all(p.grad is not None for p in net.parameters())


def test_a_discriminator_begins_with_spectral_norms() -> None:
    net = nets.ResNetDiscriminator((1, 16, 16), width=4, condition=nets.Classes(3))
    found = [m for m in net.modules() if isinstance(m, Spectral)]
    assert len(found) == 3 + 3 + 2 + 2  # blocks of 3, 3 and 2 layers, and the two parts of the logit
    for part in found:
        assert abs(float(torch.linalg.matrix_norm(part.eval().weight().detach().flatten(1), 2)) - 1) < 0.02
    assert not [m for m in nets.ResNetDiscriminator((1, 8, 8), spectral=False).modules() if isinstance(m, Spectral)]


# Conditions


@pytest.mark.parametrize("kind", JUDGES)
def test_a_condition_is_a_projection(kind: Any) -> None:
    x = normal(6, 1, 8, 8).double()
    for condition in (nets.Classes(3), nets.Vector(2)):
        net = stirred(pair(kind, (1, 8, 8), condition)[1].double())
        said = told(condition, 6, torch.float64)
        phi = net.features(x)
        of = (lambda part: part.weight()) if kind == "resnet" else (lambda part: part.weight)
        table, base, bias = of(net.judge.told), of(net.judge.base), getattr(net.judge.base, "layer", net.judge.base).bias
        for row in range(6):
            given_ = None if said is None else said[row]
            embedded = table[given_] if isinstance(condition, nets.Classes) else table @ given_
            want = float((base[0] @ phi[row] + bias[0] + embedded @ phi[row]).detach())
            assert abs(float(net(x, said)[row].detach()) - want) < 1e-10
        assert (net(x, said) - net(x, said[[1, 2, 0, 4, 5, 3]])).abs().min() > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_labels_permuted_with_their_embeddings_change_nothing(kind: Any) -> None:
    permutation = torch.tensor([2, 0, 1])  # class c is called permutation[c]
    for net, shape in zip(pair(kind, (1, 8, 8), nets.Classes(3)), ((LATENT,), (1, 8, 8)), strict=True):
        stirred(net)
        x, said = normal(6, *shape), told(nets.Classes(3), 6)
        assert said is not None
        again = copy.deepcopy(net)
        with torch.no_grad():
            for module in again.modules():
                if isinstance(module, nn.Embedding):
                    module.weight[permutation] = module.weight.clone()
        if kind == "resnet" and shape != (LATENT,):
            again.judge.told.left[permutation] = again.judge.told.left.clone()
        torch.testing.assert_close(again(x, permutation[said]), net(x, said), rtol=1e-5, atol=1e-6)
        assert (net(x, permutation[said]) - net(x, said)).abs().max() > 1e-4


@pytest.mark.parametrize("kind", JUDGES)
def test_classes_are_told_from_the_features_that_are_judged(kind: Any) -> None:
    net = pair(kind, (1, 8, 8), nets.Classes(3))[1]
    x = normal(4, 1, 8, 8)
    head = net.judge.classes
    want = net.features(x).detach().numpy() @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(net.classify(x).detach().numpy(), want, rtol=1e-4, atol=1e-5)


# Perceptrons


@given(st.sampled_from(CONDITIONS))
def test_perceptrons_are_what_they_say(condition: Any) -> None:
    generator = nets.MLPGenerator(4, (2,), hidden=(5, 6, 7), condition=condition).double()
    weights = {key: value.numpy() for key, value in generator.state_dict().items()}
    said = told(condition, 3, torch.float64)
    h = normal(3, 4).double().numpy()
    want = h
    for i in range(3):
        want = want @ weights[f"layers.linear.{i}.weight"].T + weights[f"layers.linear.{i}.bias"]
        if said is not None:
            table = weights[f"layers.shift.{i}.of.weight"]
            want = want + (table[said] if isinstance(condition, nets.Classes) else said.numpy() @ table.T)
        want = np.where(want > 0, want, 0.2 * want)
    want = want @ weights["head.weight"].T + weights["head.bias"]
    out = generator(torch.from_numpy(h), said)
    np.testing.assert_allclose(out.detach().numpy(), want, rtol=1e-12, atol=1e-12)
    discriminator = nets.MLPDiscriminator((2,), hidden=(5,)).double()
    weights = {key: value.numpy() for key, value in discriminator.state_dict().items()}
    h = normal(3, 2).double().numpy()
    want = h @ weights["layers.linear.0.weight"].T + weights["layers.linear.0.bias"]
    want = np.where(want > 0, want, 0.2 * want) @ weights["judge.base.weight"].T + weights["judge.base.bias"]
    np.testing.assert_allclose(discriminator(torch.from_numpy(h)).detach().numpy(), want[:, 0], rtol=1e-12)


@pytest.mark.parametrize("make", [nets.DCGANGenerator, nets.ResNetGenerator])
def test_what_is_squashed_is_so_by_a_tanh(make: Any) -> None:
    net = make(LATENT, (1, 8, 8), width=2).double()
    z = normal(3, LATENT).double()
    read: list[Tensor] = []
    net.head.register_forward_hook(lambda m, a, out: read.append(out))
    np.testing.assert_allclose(net(z).detach().numpy(), np.tanh(read[0].detach().numpy()), rtol=1e-12)


# Penalties


@pytest.mark.parametrize("kind", [*JUDGES, "r3 finest", "r3 sound", "layer"])
def test_a_penalty_has_the_gradient_of_finite_differences(kind: str) -> None:
    shape = (1, 40) if kind == "r3 sound" else (1, 8, 8)
    if kind == "layer":
        net: Any = nets.MLPDiscriminator(shape, hidden=(5, 4), norm="layer", condition=nets.Classes(3))
    elif kind == "r3 finest":
        net = nets.R3Discriminator(shape, width=2, finest=1, condition=nets.Classes(3))
    else:
        net = pair(kind.split()[0], shape, nets.Classes(3))[1]
    stirred(net.double().eval())
    x, said = normal(3, *shape).double().requires_grad_(), told(nets.Classes(3), 3)
    parameters = list(net.parameters())

    def penalty() -> Tensor:
        (gradient,) = torch.autograd.grad(net(x, said).sum(), x, create_graph=True)
        return gradient.square().sum() / 2

    found = torch.autograd.grad(penalty(), parameters, allow_unused=True)
    ways = [normal(*p.shape, seed=i + 1).double() for i, p in enumerate(parameters)]
    slope = sum(float((g * way).sum()) for g, way in zip(found, ways, strict=True) if g is not None)

    def at(step: float) -> float:
        with torch.no_grad():
            for p, way in zip(parameters, ways, strict=True):
                p.add_(way, alpha=step)
        value = float(penalty().detach())
        with torch.no_grad():
            for p, way in zip(parameters, ways, strict=True):
                p.sub_(way, alpha=step)
        return value

    step = 1e-7  # rectifiers have kinks: so small a step meets none
    assert abs(slope) > 1e-2
    assert abs((at(step) - at(-step)) / (2 * step) - slope) < 1e-5 * abs(slope) + 1e-6


# Styles


def modulated(inputs: int, outputs: int, kernel: tuple[int, ...], **options: Any) -> Any:
    with torch.device("meta"):
        layer = Modulated(inputs, outputs, 5, kernel, **options)
    fill(layer, 2, after=None)
    with torch.no_grad():
        layer.begin(1.0)
    return layer.double()


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 1), (3,)])
def test_modulation_is_a_convolution_with_weights_of_ones_own(kernel: Any, demodulate: bool) -> None:
    layer = modulated(3, 4, kernel, demodulate=demodulate)
    x, w = normal(3, 3, *(7,) * len(kernel)).double(), normal(3, 5, seed=2).double()
    out = layer(x, w)
    convolve: Any = torch.nn.functional.conv1d if len(kernel) == 1 else torch.nn.functional.conv2d
    for row in range(3):
        s = layer.scales.weight @ w[row] + layer.scales.bias
        own = layer.weight * s.reshape(1, -1, *(1 for _ in kernel))
        if demodulate:
            own = torch.stack([part / part.square().sum().sqrt() for part in own])
        want = convolve(x[row : row + 1], own, padding=kernel[0] // 2)[0]
        torch.testing.assert_close(out[row], want, rtol=1e-7, atol=1e-7)  # 1e-8 keeps a length of 0 from dividing
        torch.testing.assert_close(layer.float()(x.float(), w.float())[row], want.float(), rtol=1e-5, atol=1e-5)
        layer.double()


def variance_z(layer: Any) -> float:
    """How many standard errors the variance of what comes out is from 1: outputs are normal."""
    rows = 4000
    w = (3 * normal(1, 5, seed=9)).double().expand(rows, 5)  # a style far from the middle
    out = layer(normal(rows, 6, 3, 3, seed=4).double(), w)[:, 0, 1, 1]
    return float((out.detach().square().mean() - 1) / math.sqrt(2 / rows))


def test_demodulation_gives_unit_variance() -> None:
    assert abs(variance_z(modulated(6, 2, (3, 3)))) < 4.5  # alpha = 7e-6
    assert abs(variance_z(modulated(6, 2, (3, 3), demodulate=False))) > 20


def style(condition: Any = None, **options: Any) -> Any:
    return stirred(nets.StyleGenerator(LATENT, (1, 9, 8), width=2, styles=4, condition=condition, **options), 0.2)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_truncation_goes_from_the_mean_style_to_the_own(condition: Any) -> None:
    net = style(condition).train()
    z, said = normal(6, LATENT), told(condition, 6)
    for _ in range(5):
        net(z, said)
    net.eval()
    w = net.mapping(z, said)
    assert torch.equal(net(z, said), net.synthesis(w))
    assert torch.equal(net(z, said, truncation=1.0), net.synthesis(w))
    mean = net.mean_style[said] if isinstance(condition, nets.Classes) else net.mean_style.expand(6, 4)
    assert torch.equal(net(z, said, truncation=0.0), net.synthesis(mean))
    if not isinstance(condition, nets.Classes):
        assert torch.equal(mean[0], mean[1])
        torch.testing.assert_close(net.synthesis(mean)[:1].expand(6, -1, -1, -1), net.synthesis(mean))
    distances = [(net.truncate(w, psi / 8, condition=said) - mean).norm(dim=1) for psi in range(12)]
    for psi, distance in enumerate(distances):
        torch.testing.assert_close(distance, psi / 8 * (w - mean).norm(dim=1))
    assert all(bool((far > near).all()) for near, far in pairwise(distances))


@pytest.mark.parametrize("condition", [None, nets.Classes(3)])
def test_mean_styles_follow_in_training_mode(condition: Any) -> None:
    net = style(condition).double()
    want = net.mean_style.numpy().copy()
    for i, classes in enumerate(([0, 0, 2, 0], [2, 2, 2, 2])):
        z = normal(4, LATENT, seed=i).double()
        said = None if condition is None else torch.tensor(classes)
        w = net.mapping(z, said).detach().numpy()
        rows = [0] * 4 if condition is None else classes
        for row in set(rows):
            want[row] += 0.002 * (w[[r == row for r in rows]].mean(0) - want[row])
        net.eval()(z, said)
        net.train()(z, said)
        np.testing.assert_allclose(net.mean_style.numpy(), want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_first_mean_style_is_one(condition: Any) -> None:
    net = nets.StyleGenerator(8, (1, 8, 8), width=2, styles=6, condition=condition).eval()
    rows = 20_000
    for row, mean in enumerate(net.mean_style):
        said: Any = torch.full((rows,), row) if isinstance(condition, nets.Classes) else None
        said = normal(rows, 2, seed=3) if isinstance(condition, nets.Vector) else said
        w = net.mapping(normal(rows, 8), said).detach()
        z = (w.mean(0) - mean) / (w.std(0) * math.sqrt(1 / 256 + 1 / rows))
        assert float(z.abs().max()) < 5
    assert len(net.mean_style) == (3 if isinstance(condition, nets.Classes) else 1)


def test_noise_is_fixed_and_learned() -> None:
    net = nets.StyleGenerator(LATENT, (1, 8, 8), width=2)
    z = normal(2, LATENT)
    without = nets.StyleGenerator(LATENT, (1, 8, 8), width=2, noise=False)
    without.load_state_dict({k: v for k, v in net.state_dict().items() if not k.endswith(("noise", "strength"))})
    assert torch.equal(net(z), without(z))  # its strength begins at 0
    with torch.no_grad():
        for scale in net.scales:
            scale.strength.fill_(0.5)
    assert (net(z) - without(z)).abs().max() > 0.01
    assert torch.equal(net(z), net(z))
    other = nets.StyleGenerator(LATENT, (1, 8, 8), width=2, seed=1)
    noise, others = (torch.cat([s.noise.flatten() for s in n.scales]) for n in (net, other))
    assert not torch.equal(noise, others)
    assert abs(float(noise.square().mean()) - 1) < 4.5 * math.sqrt(2 / len(noise))


def test_latents_have_a_length_of_their_own_no_more() -> None:
    net = style().eval()
    z = normal(4, LATENT)
    torch.testing.assert_close(net.mapping(3 * z), net.mapping(z), rtol=1e-4, atol=1e-5)


def test_a_mapping_moves_a_hundred_times_slower_than_its_parameters() -> None:
    net = nets.StyleGenerator(4, (1, 8, 8), width=2, styles=5, depth=2).double().eval()
    h = normal(3, 4).double().numpy()
    h = h / np.sqrt((h**2).mean(1, keepdims=True))
    for linear in net.layers.linear:
        weight = linear.weight.detach().numpy()
        assert 0.5 < (weight / 100).std() * math.sqrt(weight.shape[1]) < 1.5  # of a normal with that many inputs
        h = h @ (weight / 100).T + linear.bias.detach().numpy() / 100
        h = np.where(h > 0, h, 0.2 * h) / math.sqrt(0.52)
    np.testing.assert_allclose(net.mapping(normal(3, 4).double()).detach().numpy(), h, rtol=1e-7)


# What weights begin with


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 1024)])
def test_players_begin_at_the_size_of_data(kind: Any, shape: Any) -> None:
    make: Any = nets.gan_for_images if len(shape) == 3 else nets.gan_for_sounds
    generator, discriminator = make(shape, 64, kind=kind)
    with torch.no_grad():
        made = generator(normal(64, 64))
        judged = discriminator(made)
    assert 0.3 < float(made.square().mean().sqrt()) < 2
    assert float(judged.abs().max()) < 8


@pytest.mark.parametrize("condition", [nets.Classes(50), nets.Vector(50)])
def test_an_inner_product_begins_as_large_as_the_base(condition: Any) -> None:
    net = nets.MLPDiscriminator((2,), hidden=(64,), condition=condition, activation="tanh")
    phi = normal(400, 64)
    said = torch.arange(400) % 50 if isinstance(condition, nets.Classes) else normal(400, 50, seed=5) * math.sqrt(0.394294)
    with torch.no_grad():
        inner = net.judge(phi, said) - net.judge.base(phi)[:, 0]
    assert 0.7 < float(inner.square().mean().sqrt()) < 1.4  # 1, of 50 rows of 64 normal numbers


# Bad input


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda: nets.gan_for_images((28, 28), 2), r"shape must be \(channels, height, width\), got \(28, 28\)"),
        (lambda: nets.gan_for_images((1, 4, 4), 2), "larger than 4 along a side.*use an MLP"),
        (lambda: nets.gan_for_images((1, 8, 8), 2, kind="gan"), "kind must be one of r3, dcgan, resnet, style, mlp"),
        (lambda: nets.gan_for_images((1, 8, 8), 0), "latent must be an integer of at least 1"),
        (lambda: nets.gan_for_images((1, 8, 8), 2, width=0), "width must be an integer of at least 1"),
        (lambda: nets.gan_for_sounds((1, 8, 8), 2), r"shape must be \(channels, length\)"),
        (lambda: nets.gan_for_images((1, 8, 8), 2, auxiliary=True), "auxiliary must be False without classes.*Classes"),
        (lambda: nets.MLPDiscriminator((2,), auxiliary=1), "auxiliary must be True or False"),
        (lambda: nets.MLPDiscriminator((2,), norm="batch"), "norm must be one of layer, or None, got 'batch'.*penalties"),
        (lambda: nets.MLPGenerator(2, (2,), norm="group"), "norm must be one of batch, layer, or None, got 'group'"),
        (lambda: nets.DCGANGenerator(2, (1, 8, 8), activation="swish"), "activation must be one of relu, .*leaky_relu"),
        (lambda: nets.ResNetDiscriminator((1, 8, 8), spectral=None), "spectral must be True or False"),
        (lambda: nets.R3Generator(2, (1, 8, 8), blocks=0), "blocks must be an integer of at least 1"),
        (lambda: nets.R3Discriminator((1, 8, 8), finest=-1), "finest must be an integer of at least 0"),
        (lambda: nets.StyleGenerator(2, (1, 8, 8), noise="yes"), "noise must be True or False"),
        (lambda: nets.StyleGenerator(2, (1, 8, 8), depth=0), "depth must be an integer of at least 1"),
        (lambda: nets.StyleGenerator(2, (1, 8, 8))(torch.zeros(1, 2), truncation=math.nan), "truncation must be a finite"),
        (lambda: nets.StyleGenerator(2, (1, 8, 8)).synthesis(torch.zeros(1, 2)), r"w must be of shape \(batch, 64\)"),
        (lambda: nets.R3Discriminator((1, 8, 8)).classify(torch.zeros(1, 1, 8, 8)), "auxiliary must be True where"),
        (lambda: nets.in_groups(torch.relu, [torch.zeros(0, 2)]), "inputs must be tensors of as many rows"),
        (lambda: nets.in_groups(torch.add, [torch.zeros(3), torch.zeros(2)]), r"as many rows, at least 1, got \[2, 3\]"),
        (lambda: nets.in_groups(torch.relu, [None]), r"inputs must be tensors of as many rows, at least 1, got \[\]"),
        (lambda: nets.in_groups(torch.relu, [3]), "inputs must be tensors with one row an example"),
        (lambda: nets.in_groups(torch.relu, [torch.zeros(3)], rows=0), "rows must be an integer of at least 1"),
    ],
)
def test_bad_arguments(act: Any, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        act()


@pytest.mark.parametrize("kind", KINDS)
def test_bad_batches(kind: Any) -> None:
    generator, discriminator = pair(kind, (1, 8, 8))
    with pytest.raises(ParameterError, match=r"x must be of shape \(batch, 1, 8, 8\), got \(3, 3, 8, 8\)"):
        discriminator(torch.zeros(3, 3, 8, 8))
    with pytest.raises(TypeParameterError, match="x must be floats"):
        discriminator(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ParameterError, match=r"z must be of shape \(batch, 3\)"):
        generator(torch.zeros(3, 4))
    for net, given_ in ((generator, torch.zeros(3, 3)), (discriminator, torch.zeros(3, 1, 8, 8))):
        with pytest.raises(ParameterError, match="condition must be left out"):
            net(given_, torch.zeros(3, dtype=torch.int64))
    for net, given_ in zip(
        pair(kind, (1, 8, 8), nets.Classes(4)), (torch.zeros(3, 3), torch.zeros(3, 1, 8, 8)), strict=True
    ):
        with pytest.raises(ParameterError, match="condition must be given"):
            net(given_)
        with pytest.raises(ParameterError, match=r"classes in \[0, 3\], got \(0, 4\)"):
            net(given_, torch.tensor([0, 1, 4]))
