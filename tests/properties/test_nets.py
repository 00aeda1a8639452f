"""The laws of nets: shapes of any size, weights from a seed alone, rows that never meet, hierarchies that add up."""

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aigc import nets
from aigc.errors import ParameterError, TypeParameterError
from aigc.nets._blocks import Down, Up
from aigc.nets._shapes import scales
from aigc.nets._stacks import Descending
from aigc.nets._weights import LEFT, activation, fill

SIZES = (8, 16, 28, 32, 64, 128, 256)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def conditions() -> st.SearchStrategy[Any]:
    return st.sampled_from([None, nets.Classes(3), nets.Vector(2)])


def told(condition: Any, rows: int) -> Tensor | None:
    if condition is None:
        return None
    return torch.arange(rows) % 3 if isinstance(condition, nets.Classes) else normal(rows, 2, seed=5)


@st.composite
def pairs(draw: Any) -> tuple[Any, Any, tuple[int, ...], Any]:
    """An encoder, a decoder of two outputs, their shape and their condition."""
    kind = draw(st.sampled_from(["mlp", "conv", "residual", "fine"]))
    channels = draw(st.integers(1, 3))
    image = st.tuples(st.integers(1, 40), st.integers(5, 40))
    places = draw(st.one_of(image, st.tuples(st.integers(9, 300))))
    shape, latent, condition = (channels, *places), draw(st.integers(1, 5)), draw(conditions())
    common: dict[str, Any] = {"condition": condition, "seed": draw(st.integers(-(2**63), 2**63 - 1))}
    if kind == "mlp":
        encoder: Any = nets.MLPEncoder(shape, latent, hidden=(7, 5), **common)
        return encoder, nets.MLPDecoder(latent, shape, hidden=(5,), outputs=2, **common), shape, condition
    common |= {"width": 3, "blocks": int(kind != "conv"), "finest": int(kind == "fine")}
    return nets.ConvEncoder(shape, latent, **common), nets.ConvDecoder(latent, shape, outputs=2, **common), shape, condition


@given(pairs())
def test_shapes_of_any_size(made: Any) -> None:
    encoder, decoder, shape, condition = made
    code = encoder(normal(4, *shape), told(condition, 4))
    assert code.shape == (4, 2 * encoder.latent)
    out = decoder(code[:, : encoder.latent], told(condition, 4))
    assert out.shape == (4, 2, *shape)
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("size", SIZES)
def test_defaults_suit_every_size(size: int) -> None:
    encoder, decoder = nets.for_images((1, size, size), 2)
    assert decoder(encoder(normal(1, 1, size, size))[:, :2]).shape == (1, 1, size, size)
    if size <= 32:
        encoder, decoder = nets.for_images((1, size, size), 2, kind="residual", outputs=3)
        assert decoder(encoder(normal(1, 1, size, size))[:, :2]).shape == (1, 3, 1, size, size)


@pytest.mark.parametrize("length", [16, 1024, 8192, 16384])
def test_defaults_suit_sound(length: int) -> None:
    encoder, decoder = nets.for_sounds((2, length), 3)
    assert decoder(encoder(normal(1, 2, length))[:, :3]).shape == (1, 2, length)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=2))
def test_scales_divide_until_few_are_left(places: list[int]) -> None:
    factor, least = (4, 8) if len(places) == 1 else (2, 4)
    steps = scales(places)
    fine = tuple(places)
    for step in steps:
        assert step.fine == fine
        fine = tuple(math.ceil(side / factor) if side > least else side for side in fine)
        assert step.coarse == fine != step.fine
    assert max(fine) <= least


@settings(max_examples=20)
@given(pairs(), st.integers(0, 3))
def test_rows_never_meet(made: Any, row: int) -> None:
    encoder, decoder, shape, condition = made
    encoder, decoder = encoder.double(), decoder.double()
    x, said = normal(4, *shape).double(), told(condition, 4)
    said = said.double() if isinstance(condition, nets.Vector) and said is not None else said
    code = encoder(x, said)
    z = code[:, : encoder.latent]
    out = decoder(z, said)
    one = slice(row, row + 1)
    alone = None if said is None else said[one]
    # Rounding alone differs: a product of another size may add in another order.
    torch.testing.assert_close(encoder(x[one], alone), code[one], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(decoder(z[one], alone), out[one], rtol=1e-10, atol=1e-12)


@settings(max_examples=20)
@given(pairs())
def test_gradients_reach_every_parameter(made: Any) -> None:
    encoder, decoder, shape, condition = made
    x = normal(6, *shape)
    decoder(encoder(x, told(condition, 6))[:, : encoder.latent], told(condition, 6)).square().sum().backward()
    encoder(x, told(condition, 6)).square().sum().backward()
    without = [name for net in (encoder, decoder) for name, p in net.named_parameters() if not bool(p.grad.any())]
    assert without == []


@settings(max_examples=20)
@given(pairs())
def test_a_net_is_a_function_of_its_configuration(made: Any) -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    for net in made[:2]:
        config = json.loads(json.dumps(net.config))
        again = nets.build(config)
        assert type(again) is type(net)
        assert again.config == net.config
        states = zip(net.state_dict().items(), again.state_dict().items(), strict=True)
        assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in states)
        other = nets.build(config | {"seed": config["seed"] ^ 1})
        assert any(not torch.equal(x, y) for x, y in zip(net.parameters(), other.parameters(), strict=True))
    assert torch.equal(torch_before, torch.get_rng_state())
    assert numpy_before == np.random.get_state()[1].tolist()


PROBE = """
import os, sys
import torch
from aigc import nets
before = dict(os.environ)
for kind in ("mlp", "conv", "residual"):
    for condition in (None, nets.Classes(3), nets.Vector(3)):
        nets.for_images((1, 8, 8), 2, kind=kind, condition=condition)
nets.hierarchical((1, 8, 8), (2,), condition=nets.Classes(2))
for kind in ("r3", "dcgan", "resnet", "style", "mlp"):
    nets.gan_for_images((1, 8, 8), 2, kind=kind, condition=nets.Classes(3), auxiliary=True, width=2)
print(dict(os.environ) == before, "torch._dynamo" in sys.modules)
"""


def test_building_a_net_does_not_wake_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_both_nets_of_a_pair_begin_differently() -> None:
    encoder, decoder = nets.for_images((1, 8, 8), 64, kind="mlp", seed=3)
    assert not torch.equal(encoder.layers.linear[0].weight.flatten()[:99], decoder.layers.linear[0].weight.flatten()[:99])
    again, _ = nets.for_images((1, 8, 8), 64, kind="mlp", seed=3)
    assert torch.equal(encoder.head.weight, again.head.weight)


@given(conditions(), st.sampled_from(["relu", "tanh"]))
def test_a_perceptron_is_what_it_says(condition: Any, name: Any) -> None:
    net = nets.MLPEncoder((2, 3), 2, hidden=(4, 5), activation=name, condition=condition).double()
    said = told(condition, 3)
    said = said.double() if isinstance(condition, nets.Vector) and said is not None else said
    x = normal(3, 2, 3).double()
    weights = {key: value.numpy() for key, value in net.state_dict().items()}
    h = x.reshape(3, 6).numpy()
    for i in range(2):
        h = h @ weights[f"layers.linear.{i}.weight"].T + weights[f"layers.linear.{i}.bias"]
        if isinstance(condition, nets.Classes):
            h = h + weights[f"layers.shift.{i}.of.weight"][said]
        if isinstance(condition, nets.Vector):
            h = h + said.numpy() @ weights[f"layers.shift.{i}.of.weight"].T
        h = np.tanh(h) if name == "tanh" else np.maximum(h, 0)
    want = h @ weights["head.weight"].T + weights["head.bias"]
    np.testing.assert_allclose(net(x, said).detach().numpy(), want, rtol=1e-12, atol=1e-12)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=2).filter(lambda places: bool(scales(places))))
def test_up_is_the_transpose_of_down(places: list[int]) -> None:
    step = scales(places)[0]
    with torch.device("meta"):
        down, up = Down(2, 3, step, "relu", None), Up(3, 2, step)
    for net in (down, up):
        fill(net, 0, after="relu")
        net.double()
    with torch.no_grad():
        weight = normal(*down.convolution.weight.shape).double()
        for layer in (down.convolution, up.convolution):
            layer.weight.copy_(weight)
    down.activation = nn.Identity()
    x, y = normal(1, 2, *step.fine).double(), normal(1, 3, *step.coarse, seed=2).double()
    torch.testing.assert_close((down(x, None) * y).sum(), (x * up(y)).sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("blocks", [(0, 0), (1, 1)])
@pytest.mark.parametrize(("places", "stride"), [((64, 64), 4), ((640,), 16)])
def test_a_picture_moved_by_the_stride_has_features_moved_by_one(blocks: Any, places: Any, stride: int) -> None:
    with torch.device("meta"):
        net = Descending(1, [3, 4], scales(places)[:2], blocks, "silu", None)
    fill(net, 0, after="silu")  # its biases are 0: what is empty stays empty, so that borders are never met
    net.double()
    x = torch.zeros(1, 1, *places, dtype=torch.float64)
    middle = [slice(side // 2 - 3, side // 2 + 3) for side in places]
    x[(0, 0, *middle)] = normal(*(6 for _ in places)).double()
    features = net(x, None)[0]
    moved = net(x.roll([stride] * len(places), list(range(2, 2 + len(places)))), None)[0]
    assert bool(features.any())
    torch.testing.assert_close(moved, features.roll([1] * len(places), list(range(2, 2 + len(places)))), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["conv", "residual", "mlp"])
def test_a_condition_says_something(kind: Any) -> None:
    encoder, decoder = nets.for_images((1, 8, 8), 2, kind=kind, condition=nets.Classes(3))
    same = normal(1, 1, 8, 8).expand(3, 1, 8, 8)
    codes = encoder(same, torch.arange(3))
    pictures = decoder(torch.zeros(3, 2), torch.arange(3))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (codes[i] - codes[j]).abs().max() > 1e-3
        assert (pictures[i] - pictures[j]).abs().max() > 1e-3
    torch.testing.assert_close(decoder(torch.zeros(3, 2), torch.tensor([2, 0, 1])), pictures[[2, 0, 1]])


@pytest.mark.parametrize("name", list(LEFT))
def test_what_an_activation_leaves_of_the_second_moment(name: Any) -> None:
    z = np.linspace(-12, 12, 240_001)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    f = activation(name)(torch.from_numpy(z)).numpy()
    assert abs(float((f * f * density).sum() * (z[1] - z[0])) - LEFT[name]) < 1e-6


@pytest.mark.parametrize("name", list(LEFT))
def test_first_weights_keep_the_second_moment(name: Any) -> None:
    net = nets.MLPEncoder((300,), 1, hidden=(800,) * 6, activation=name)
    x = normal(200, 300) * math.sqrt(LEFT[name])  # as if it came out of such a layer
    moment = float(net.layers(x, None).detach().square().mean())
    assert 0.7 < moment / LEFT[name] < 1.4  # six layers of 800 units, each of which is off by some percent


@pytest.mark.parametrize("blocks", [1, 12])
def test_depth_does_not_amplify(blocks: int) -> None:
    net = nets.ConvEncoder((3, 16, 16), 4, width=32, blocks=blocks)
    moment = float(net.body(normal(8, 3, 16, 16), None)[0].detach().square().mean())
    assert moment < math.e * 2


# Hierarchies


def hierarchy(condition: Any = None, **options: Any) -> Any:
    made = {"width": 4, "outputs": 2, "condition": condition} | options
    return nets.hierarchical((1, 14, 14), (3, 2), **made)


def seen(encoder: Any, decoder: Any, rows: int = 3, condition: Tensor | None = None, dtype: Any = torch.float64) -> Any:
    encoder, decoder = encoder.to(dtype), decoder.to(dtype)
    x, noise = normal(rows, *decoder.shape).to(dtype), normal(rows, decoder.latent, seed=2).to(dtype)
    return decoder.descend(encoder(x, condition), noise, condition), noise


@settings(max_examples=15)
@given(st.integers(1, 3), st.integers(0, 1), st.sampled_from([(1, 28, 28), (2, 9, 20), (1, 200)]), conditions())
def test_codes_lead_back_to_what_was_drawn(layers: int, finest: int, shape: Any, condition: Any) -> None:
    levels = len(scales(shape[1:])) + finest
    channels = (3, 2, 1)[: min(layers, levels)]
    encoder, decoder = nets.hierarchical(shape, channels, width=4, finest=finest, condition=condition, outputs=2)
    said = told(condition, 3)
    found, _ = seen(encoder, decoder, 3, said, torch.float32)
    assert found.parameters.shape == (3, 2, *shape)
    assert found.divergences.shape == found.log_ratios.shape == (3, len(channels))
    assert decoder.latent == sum(math.prod(place) for place in decoder.places)
    assert torch.equal(decoder(found.codes, said), found.parameters)
    assert bool((found.divergences >= 0).all())


def test_divergences_are_those_of_normals() -> None:
    encoder, decoder = hierarchy()
    read: dict[str, Tensor] = {}
    for i, layer in enumerate(decoder.layers):
        nn.init.normal_(layer.posterior.second.weight, std=0.3, generator=torch.Generator().manual_seed(i))
        layer.prior.register_forward_hook(lambda m, a, out, i=i: read.__setitem__(f"p{i}", out))
        layer.inlet.register_forward_hook(lambda m, a, out, i=i: read.__setitem__(f"z{i}", a[0]))
        layer.posterior.register_forward_hook(lambda m, a, out, i=i: read.__setitem__(f"q{i}", out))
    found, noise = seen(encoder, decoder)
    for i, (count, part) in enumerate(zip((3, 2), noise.split(decoder.sizes, 1), strict=True)):
        mean, scale = read[f"p{i}"][:, :count], read[f"p{i}"][:, count : 2 * count]
        apart, by = read[f"q{i}"].chunk(2, 1)
        p = torch.distributions.Normal(mean, (5 * torch.tanh(scale / 5)).exp())
        q = torch.distributions.Normal(mean + apart, (5 * torch.tanh((scale + by) / 5)).exp())
        z = q.mean + q.stddev * part.reshape(q.mean.shape)
        torch.testing.assert_close(read[f"z{i}"], z, rtol=1e-9, atol=1e-9)
        want = torch.distributions.kl_divergence(q, p).flatten(1).sum(1)
        torch.testing.assert_close(found.divergences[:, i], want, rtol=1e-9, atol=1e-9)
        ratio = (q.log_prob(z) - p.log_prob(z)).flatten(1).sum(1)
        torch.testing.assert_close(found.log_ratios[:, i], ratio, rtol=1e-9, atol=1e-9)
        assert float(want.detach().min()) > 0.1


def test_a_posterior_that_says_nothing_is_the_prior() -> None:
    encoder, decoder = hierarchy()
    for layer in decoder.layers:
        nn.init.zeros_(layer.posterior.second.weight)
    found, noise = seen(encoder, decoder)
    assert torch.equal(found.codes, noise)
    assert not found.divergences.any()
    assert not found.log_ratios.any()


def test_a_hierarchy_is_a_function_of_its_configuration_and_learns_everywhere() -> None:
    encoder, decoder = hierarchy(nets.Classes(3), blocks=1, finest=1)
    found, _ = seen(encoder, decoder, 3, torch.arange(3), torch.float32)
    (found.parameters.square().sum() + found.divergences.sum()).backward()
    without = [name for net in (encoder, decoder) for name, p in net.named_parameters() if not bool(p.grad.any())]
    assert without == []
    for net in (encoder, decoder):
        again = nets.build(json.loads(json.dumps(net.config)))
        assert all(torch.equal(x, y) for x, y in zip(net.parameters(), again.parameters(), strict=True))


# Bad input


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda: nets.for_images((28, 28), 2), r"shape must be \(channels, height, width\), got \(28, 28\)"),
        (lambda: nets.for_images((1, 4, 4), 2), "larger than 4 along a side.*use an MLP"),
        (lambda: nets.for_images((1, 8, 8), 2, kind="cnn"), "kind must be one of conv, residual, mlp, got 'cnn'"),
        (lambda: nets.for_images((1, 8, 8), 0), "latent must be an integer of at least 1"),
        (lambda: nets.for_sounds((1, 8, 8), 2), r"shape must be \(channels, length\)"),
        (lambda: nets.MLPEncoder((1, 8), 2, activation="swish"), "activation must be one of relu, silu, gelu, tanh"),
        (lambda: nets.MLPEncoder((1, 8), 2, hidden=()), "hidden must be at least 1 integers"),
        (lambda: nets.MLPEncoder((1, 8), 2, condition=10), r"condition must be nets.Classes\(count\)"),
        (lambda: nets.ConvEncoder((1, 8, 8), 2, blocks=-1), "blocks must be an integer of at least 0"),
        (lambda: nets.hierarchical((1, 8, 8), (2, 2)), "channels must be of at most 1 layers"),
        (lambda: nets.HierarchicalDecoder((2, 2), (1, 8, 8)), "channels must be of at most 1 layers"),
        (lambda: nets.build({"net": "os.system"}), r"config\['net'\] must be one of .*MLPEncoder.*got 'os.system'"),
        (lambda: nets.build({"net": "MLPEncoder", "shape": [1, 8]}), "config must be arguments of MLPEncoder"),
        (lambda: nets.build({"net": "MLPEncoder", "shape": [1, 8], "latent": 2, "size": 3}), "config must be arguments"),
    ],
)
def test_bad_arguments(act: Any, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        act()


@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_bad_batches(kind: Any) -> None:
    encoder, decoder = nets.for_images((1, 8, 8), 2, kind=kind)
    with pytest.raises(ParameterError, match=r"x must be of shape \(batch, 1, 8, 8\), got \(3, 8, 8\)"):
        encoder(torch.zeros(3, 8, 8))
    with pytest.raises(TypeParameterError, match="x must be floats"):
        encoder(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ParameterError, match=r"z must be of shape \(batch, 2\)"):
        decoder(torch.zeros(3, 4))
    with pytest.raises(ParameterError, match="condition must be left out"):
        decoder(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))
    _, decoder = nets.for_images((1, 8, 8), 2, kind=kind, condition=nets.Classes(4))
    with pytest.raises(ParameterError, match="condition must be given"):
        decoder(torch.zeros(3, 2))
    with pytest.raises(ParameterError, match=r"classes in \[0, 3\], got \(0, 4\)"):
        decoder(torch.zeros(3, 2), torch.tensor([0, 1, 4]))
    with pytest.raises(ParameterError, match=r"of shape \(3,\), got \(2,\)"):
        decoder(torch.zeros(3, 2), torch.tensor([0, 1]))
    with pytest.raises(TypeParameterError, match="classes, int64"):
        decoder(torch.zeros(3, 2), torch.zeros(3))
    _, decoder = nets.for_images((1, 8, 8), 2, kind=kind, condition=nets.Vector(4))
    with pytest.raises(ParameterError, match=r"of shape \(3, 4\)"):
        decoder(torch.zeros(3, 2), torch.zeros(3, 5))
    with pytest.raises(TypeParameterError, match="floats of shape"):
        decoder(torch.zeros(3, 2), torch.zeros(3, 4, dtype=torch.int64))


def test_a_hierarchy_takes_as_many_features_as_it_has_layers() -> None:
    encoder, decoder = hierarchy()
    with pytest.raises(ParameterError, match="features must be of 2 layers, got 1"):
        decoder.descend(encoder(torch.zeros(1, 1, 14, 14))[:1], torch.zeros(1, decoder.latent))
    with pytest.raises(ParameterError, match="noise must be of shape"):
        decoder.descend(encoder(torch.zeros(1, 1, 14, 14)), torch.zeros(1, 3))
