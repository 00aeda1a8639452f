"""The laws of discrete codes: a prior that adds up to 1, a bound below the likelihood, samples that owe others nothing."""

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aigc import VQVAE, nets, random
from aigc.testing import chi_square
from aigc.training import Noise
from aigc.vae import likelihoods, vqlearning
from aigc.vae.priors import Autoregressive
from aigc.vae.quantise import FSQ, VQ, ResidualVQ, build, usage

CONDITIONS = [None, nets.Classes(3), nets.Vector(2)]


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def told(condition: Any, rows: int) -> Tensor | None:
    if condition is None:
        return None
    return torch.arange(rows) % 3 if isinstance(condition, nets.Classes) else normal(rows, 2, seed=5)


def prior_of(vocabulary: int, shape: tuple[int, ...], *, depth: int = 1, seed: int = 0, **more: Any) -> Autoregressive:
    """A prior that is far from even, and in which each part of the net counts."""
    how = {"width": 8, "layers": 2, "heads": 2} | more
    net = nets.CausalTransformer(vocabulary, math.prod(shape), depth=depth, seed=seed, **how)
    with torch.no_grad():
        for i, (name, parameter) in enumerate(net.named_parameters()):
            if parameter.ndim == 1:  # gains, biases and the start
                parameter.add_(0.3 * normal(*parameter.shape, seed=i))
            elif name.startswith("heads_out"):
                parameter.mul_(12)
            elif "blocks" in name:
                parameter.mul_(2)
    return Autoregressive(net, shape)


def sequences(vocabulary: int, shape: tuple[int, ...]) -> Tensor:
    every = itertools.product(range(vocabulary), repeat=math.prod(shape))
    return torch.tensor(list(every)).reshape(-1, *shape)


# The prior


@given(
    st.integers(0, 10**6),
    st.sampled_from([(3, (4,), 1), (2, (2, 3), 1), (3, (2, 2), 2), (2, (3, 2), 3), (5, (1,), 1)]),
    st.sampled_from(CONDITIONS),
)
@settings(max_examples=20)
def test_a_prior_adds_up_to_one(seed: int, made: Any, condition: Any) -> None:
    vocabulary, shape, depth = made
    prior = prior_of(vocabulary, shape, depth=depth, seed=seed, condition=condition)
    every = sequences(vocabulary, shape)
    for row in range(1 if condition is None else 3):
        said = told(condition, 3)
        one = None if said is None else said[row : row + 1].expand(len(every), *said.shape[1:])
        nats = prior.log_prob(every, one)
        assert nats.shape == (len(every),)
        assert abs(float(nats.detach().double().exp().sum()) - 1) < 1e-5
        assert float((nats.max() - nats.min()).detach()) > 0.05, "or evenness alone would pass"


def _layer_norm(x: Any, w: dict[str, Any], name: str) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def _oracle(net: Any, sequence: list[int], said: Any) -> Any:
    """Log-probabilities of each position by loops in numpy: `(positions, vocabulary)`."""
    w = {name: value.double().numpy() for name, value in net.state_dict().items()}
    shift = 0.0
    if isinstance(net.condition, nets.Classes):
        shift = w["shift.of.weight"][said]
    elif net.condition is not None:
        shift = w["shift.of.weight"] @ np.asarray(said)
    xs = []
    for i in range(len(sequence)):
        x = w["start"] if i == 0 else w["index.weight"][(i - 1) % net.depth * net.vocabulary + sequence[i - 1]]
        x = x + w["place.weight"][i // net.depth] + shift
        xs.append(x + w["level.weight"][i % net.depth] if net.depth > 1 else x)
    x, features = np.stack(xs), net.width // net.heads
    for b in range(len(net.blocks)):
        inner = _layer_norm(x, w, f"blocks.{b}.norm")
        q, k, v = np.split(inner @ w[f"blocks.{b}.read.weight"].T + w[f"blocks.{b}.read.bias"], 3, axis=-1)
        out = np.zeros_like(x)
        for head in range(net.heads):
            part = slice(head * features, (head + 1) * features)
            for i in range(len(x)):
                scores = np.array([q[i, part] @ k[j, part] for j in range(i + 1)]) / math.sqrt(features)
                weights = np.exp(scores - scores.max())
                out[i, part] = (weights / weights.sum()) @ v[: i + 1, part]
        x = x + out @ w[f"blocks.{b}.write.weight"].T + w[f"blocks.{b}.write.bias"]
        inner = _layer_norm(x, w, f"blocks.{b}.norm_again")
        inner = inner @ w[f"blocks.{b}.up.weight"].T + w[f"blocks.{b}.up.bias"]
        inner = inner * np.vectorize(lambda t: (1 + math.erf(t / math.sqrt(2))) / 2)(inner)
        x = x + inner @ w[f"blocks.{b}.down.weight"].T + w[f"blocks.{b}.down.bias"]
    x = _layer_norm(x, w, "norm")
    rows = []
    for i in range(len(x)):
        head = f"heads_out.{i % net.depth}"
        z = w[f"{head}.weight"] @ x[i] + w[f"{head}.bias"]
        rows.append(z - z.max() - np.log(np.exp(z - z.max()).sum()))
    return np.stack(rows)


@given(st.integers(0, 10**6), st.sampled_from([((2, 3), 1), ((2, 3), 2), ((3, 1, 2), 3)]), st.sampled_from(CONDITIONS))
@settings(max_examples=15)
def test_a_prior_is_the_net_that_it_says(seed: int, made: Any, condition: Any) -> None:
    shape, depth = made
    prior = prior_of(4, shape, depth=depth, seed=seed, condition=condition).double()
    said = told(condition, 2)
    said = said.double() if isinstance(condition, nets.Vector) and said is not None else said
    codes = torch.randint(4, (2, *shape), generator=torch.Generator().manual_seed(seed))
    found = prior.log_prob(codes, said)
    for row in range(2):
        levels = codes[row].reshape(depth, -1) if depth > 1 else codes[row].reshape(1, -1)
        sequence = [int(levels[d, p]) for p in range(levels.shape[1]) for d in range(depth)]  # places in raster order
        each = _oracle(prior.net, sequence, None if said is None else said[row].numpy())
        want = sum(each[i, index] for i, index in enumerate(sequence))
        assert float(found[row].detach()) == pytest.approx(want, rel=1e-9, abs=1e-9)


@given(st.integers(0, 10**6), st.integers(0, 5), st.sampled_from([1, 2, 3]))
@settings(max_examples=20)
def test_no_index_speaks_of_itself_or_of_those_before(seed: int, place: int, depth: int) -> None:
    net = prior_of(5, (depth, 6 // depth), depth=depth, seed=seed).net.double()
    a = torch.randint(5, (1, 6), generator=torch.Generator().manual_seed(seed))
    b = a.clone()
    b[0, place] = (a[0, place] + 1) % 5
    one, other = net(a), net(b)
    torch.testing.assert_close(one[:, : place + 1], other[:, : place + 1], rtol=0, atol=1e-12)
    for later in range(place + 1, 6):
        assert (one[:, later] - other[:, later]).abs().max() > 1e-6, later


@given(st.integers(0, 10**6), st.sampled_from([1, 2]), st.sampled_from(CONDITIONS), st.integers(1, 4))
@settings(max_examples=20)
def test_a_cache_changes_nothing(seed: int, depth: int, condition: Any, rows: int) -> None:
    net = prior_of(5, (depth, 6 // depth), depth=depth, seed=seed, condition=condition).net.double()
    said = told(condition, rows)
    said = said.double() if isinstance(condition, nets.Vector) and said is not None else said
    indices = torch.randint(5, (rows, 6), generator=torch.Generator().manual_seed(seed))
    whole, cache = net(indices, said), net.cache(rows)
    for i in range(6):
        step = net.step(indices[:, i - 1] if i else None, cache, said)
        torch.testing.assert_close(step, whole[:, i], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(net(indices[:, : i + 1], said), whole[:, : i + 1], rtol=1e-10, atol=1e-10)


def p_value(codes: Tensor, prior: Autoregressive, said: Tensor | None, *, temperature: float = 1.0) -> float:
    """The p-value of sampled sequences of two indices of three values, against the law of `log_prob`."""
    every = sequences(3, prior.shape)
    each = prior.log_prob(every, said).detach().double().exp()
    if temperature != 1:
        first = each.reshape(3, 3).sum(1)
        then = each.reshape(3, 3) / first[:, None]
        first, then = (p ** (1 / temperature) for p in (first, then))
        each = (first / first.sum())[:, None] * then / then.sum(1, keepdim=True)
    counts = torch.bincount(codes.flatten(1) @ torch.tensor([3, 1]), minlength=9).double()
    return chi_square(counts, each.flatten())


ALPHA = 1e-4


@pytest.mark.parametrize(("depth", "condition"), [(1, None), (2, None), (1, nets.Classes(3))])
def test_sampled_codes_follow_the_prior(depth: int, condition: Any) -> None:
    n = 2000
    prior = prior_of(3, (2, 1), depth=depth, condition=condition, seed=4, layers=1)
    said = None if condition is None else torch.ones(n, dtype=torch.int64)
    codes = prior.sample(torch.arange(n), condition=said)
    one = None if said is None else said[:9]
    assert p_value(codes, prior, one) > ALPHA
    # The twin: laws that are a little off are told apart.
    assert p_value(codes, prior, one, temperature=1.5) < ALPHA
    if condition is not None:
        assert p_value(codes, prior, torch.zeros(9, dtype=torch.int64)) < ALPHA
    else:
        warmer = prior.sample(torch.arange(n), temperature=1.5)
        assert p_value(warmer, prior, None, temperature=1.5) > ALPHA
        assert p_value(warmer, prior, None) < ALPHA


@pytest.mark.parametrize("filters", [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-6}])
def test_filters_that_leave_one_index_leave_the_likeliest(filters: Any) -> None:
    prior = prior_of(4, (2, 3), depth=2, seed=3)
    codes = prior.sample(torch.tensor([5, 6]), **filters)
    sequence: list[int] = []
    for i in range(6):
        with torch.no_grad():
            sequence.append(int(prior.net(torch.tensor([[*sequence, 0]]))[0, i].argmax()))
    want = torch.tensor(sequence).reshape(3, 2).T
    assert torch.equal(codes[0], want)
    assert torch.equal(codes[1], want)


# Rows


def model(quantiser: Any = None, **parts: Any) -> VQVAE:
    made = FSQ((4, 3)) if quantiser is None else quantiser
    return VQVAE.for_images((1, 8, 8), quantiser=made, width=8, **parts)


@given(st.integers(1, 40), st.integers(0, 2**40), st.data())
@settings(max_examples=12)
def test_a_sample_has_the_same_bits_alone_and_in_any_batch(n: int, seed: int, data: st.DataObject) -> None:
    vae = model(condition=nets.Classes(3), likelihood=likelihoods.Bernoulli())
    vae.prior = prior_of(12, (4, 4), condition=nets.Classes(3), width=32)
    seen: list[Tensor] = []
    vae.prior.net.heads_out[0].register_forward_hook(lambda module, given, out: seen.append(out))
    said = torch.arange(n) % 3
    whole = vae.sample(n, seed=seed, condition=said)
    logits, i = [*seen], data.draw(st.integers(0, n - 1))
    seen.clear()
    alone = vae.sample(1, seed=[random.stream(seed, i)], condition=said[i : i + 1])
    assert torch.equal(alone[0], whole[i])
    for position, mine in enumerate(seen):  # sixteen positions, in blocks of sixteen rows
        assert torch.equal(mine[0], logits[i // 16 * 16 + position][i % 16])
    noisy = vae.sample(n, seed=seed, condition=said, noise=True)
    again = vae.sample(1, seed=[random.stream(seed, i)], condition=said[i : i + 1], noise=True)
    assert torch.equal(again[0], noisy[i])
    assert n < 5 or len({tuple(row.flatten().tolist()) for row in whole}) > 1


# The bound and the loss


def tiny(quantiser: Any, *, seed: int = 0) -> VQVAE:
    """A model of four bits with two places for codes, in float64."""
    features = quantiser.features
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(4, features * 2), nn.Unflatten(1, (features, 2)))
        decoder = nn.Sequential(nn.Flatten(), nn.Linear(features * 2, 4))
    with torch.no_grad():
        decoder[1].weight.mul_(3)
    return VQVAE(encoder, decoder, quantiser, likelihood=likelihoods.Bernoulli(), shape=(4,)).double()


@given(st.integers(0, 10**6), st.sampled_from(["vq", "fsq", "residual"]), st.booleans())
@settings(max_examples=20)
def test_the_bound_is_below_the_likelihood(seed: int, kind: str, fitted: bool) -> None:
    made: Any = {
        "vq": lambda: VQ(3, features=2, seed=seed),
        "fsq": lambda: FSQ((2, 2)),
        "residual": lambda: ResidualVQ(2, features=2, depth=2, seed=seed),
    }[kind]()
    vae = tiny(made, seed=seed)
    shape = (2, 2) if kind == "residual" else (2,)
    if fitted:
        vae.prior = prior_of(made.count, shape, depth=2 if kind == "residual" else 1, seed=seed).double()
    x = sequences(2, (4,)).double()
    every = sequences(made.count, shape)
    with torch.no_grad():
        logits = vae.decoder(vae.quantiser.lookup(every)).numpy()
        p = np.full(len(every), 1 / len(every)) if not fitted else vae.prior.log_prob(every).exp().numpy()
    given_code = np.exp(x.numpy() @ logits.T - np.log1p(np.exp(logits)).sum(1))  # (data, codes)
    found = vae.elbo(x)
    likelihood = np.log(given_code @ p)
    assert (found.bound.numpy() <= likelihood + 1e-9).all()
    assert np.exp(likelihood).sum() == pytest.approx(1, abs=1e-9), "so that the bound is one of a distribution"
    mine = [(every == row).flatten(1).all(1).nonzero().item() for row in vae.encode(x)]
    np.testing.assert_allclose(found.reconstruction, np.log(given_code[np.arange(16), mine]), rtol=1e-9)
    np.testing.assert_allclose(found.divergence, -np.log(p[mine]), rtol=1e-6)
    np.testing.assert_allclose(found.bound, found.reconstruction - found.divergence, rtol=1e-12)


def quantisers() -> dict[str, Any]:
    made = {
        "vq": VQ(6, features=2, restart=None),
        "fsq": FSQ((4, 3)),
        "residual": ResidualVQ(4, features=2, depth=2, restart=None),
    }
    for quantiser in made.values():
        for module in quantiser.modules():
            if isinstance(module, VQ):
                module.calls.fill_(1)  # it has started: the first batch would place the codes
    return made


@pytest.mark.parametrize("kind", ["vq", "fsq", "residual"])
@given(batch=st.integers(1, 5), seed=st.integers(0, 10**6))
@settings(max_examples=5)
def test_a_loss_does_not_depend_on_the_batch(kind: str, batch: int, seed: int) -> None:
    x = torch.rand(batch, 1, 8, 8, generator=torch.Generator().manual_seed(seed))

    def loss(x: Tensor) -> Any:
        vae = model(quantisers()[kind], commitment=0.7)
        task = vqlearning.task(vae)
        task.module.train()
        return vae, task.loss(x, None, Noise(0, 0, 0, rows=slice(0, len(x)), batch=len(x)))

    (vae, one), (_, twice) = loss(x), loss(torch.cat([x, x]))
    torch.testing.assert_close(one.value, twice.value)
    for name in one.report:
        torch.testing.assert_close(one.report[name], twice.report[name])
    # By hand: Gaussian with the best sigma, and the squared distances of vectors from their codes.
    vae = model(quantisers()[kind])
    with torch.no_grad():
        z = vae.encoder(x).double().numpy()
        indices = vae.encode(x)
        codes = vae.quantiser.lookup(indices)
        error = (x - vae.decoder(codes)).double().numpy()
    distortion = 32 * (math.log(2 * math.pi * (error**2).mean()) + 1)
    if kind == "fsq":
        distance = 0.0
    elif kind == "vq":
        distance = ((z - codes.numpy()) ** 2).mean()
    else:
        first = vae.quantiser.layers[0].lookup(indices[:, 0]).numpy()
        distance = (((z - first) ** 2).mean() + ((z - codes.numpy()) ** 2).mean()) / 2
    assert float(one.value.detach()) == pytest.approx(distortion + 0.7 * 64 * distance, rel=1e-4, abs=1e-3)
    assert float(one.report["distortion"]) == pytest.approx(distortion, rel=1e-4, abs=1e-3)


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 9))
@settings(max_examples=25)
def test_usage_counts(seed: int, depth: int, codes: int) -> None:
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, rng.integers(1, codes + 1), (7, depth, 3))
    found = usage(torch.tensor(indices), codes=codes, depth=depth)
    for level in range(depth):
        share = np.array([(indices[:, level] == code).mean() for code in range(codes)])
        assert found.dead[level] == (share == 0).sum()
        entropy = -sum(p * math.log(p) for p in share if p)
        assert found.perplexity[level] == pytest.approx(math.exp(entropy), rel=1e-9)
    assert (found.codes, found.vectors) == (codes, 21)
    lone = any(codes - dead == 1 for dead in found.dead)
    low = any(p < min(codes, 21) / 10 for p in found.perplexity)
    assert (found.warning is not None) == (lone or low)


# Nets


SIZES = (8, 16, 28, 32, 64, 128, 256)


@pytest.mark.parametrize("size", SIZES)
def test_grids_of_every_size(size: int) -> None:
    encoder, decoder = nets.spatial((1, size, size), 3, width=4)
    want = {8: 4, 16: 8, 28: 7, 32: 8, 64: 8, 128: 16, 256: 16}[size]
    assert encoder.space == decoder.space == (want, want)
    z = encoder(normal(2, 1, size, size))
    assert z.shape == (2, 3, want, want)
    assert decoder(z).shape == (2, 1, size, size)


@st.composite
def grids(draw: Any) -> Any:
    image = st.tuples(st.integers(1, 40), st.integers(5, 40))
    places = draw(st.one_of(image, st.tuples(st.integers(9, 300))))
    shape, condition = (draw(st.integers(1, 2)), *places), draw(st.sampled_from(CONDITIONS))
    how = {"steps": draw(st.sampled_from([None, 1])), "blocks": draw(st.integers(0, 1)), "finest": draw(st.integers(0, 1))}
    encoder, decoder = nets.spatial(shape, 3, width=3, condition=condition, outputs=2, seed=draw(st.integers(0, 99)), **how)
    return encoder, decoder, shape, condition


@given(grids(), st.integers(0, 2))
@settings(max_examples=20)
def test_grids_of_any_shape(made: Any, row: int) -> None:
    encoder, decoder, shape, condition = made
    said = told(condition, 3)
    z = encoder(normal(3, *shape), said)
    out = decoder(z, said)
    assert z.shape == (3, 3, *encoder.space)
    assert out.shape == (3, 2, *shape)
    (out.square().sum() + z.square().sum()).backward()
    assert [name for net in (encoder, decoder) for name, p in net.named_parameters() if not bool(p.grad.any())] == []
    one = slice(row, row + 1)
    alone = None if said is None else said[one]
    torch.testing.assert_close(encoder(normal(3, *shape)[one], alone), z[one], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoder(z[one], alone), out[one], rtol=1e-4, atol=1e-5)
    for net in (encoder, decoder):
        again: Any = nets.build(json.loads(json.dumps(net.config)))
        assert again.config == net.config
        assert all(torch.equal(x, y) for x, y in zip(net.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(("length", "places"), [(16, 4), (1024, 64), (8192, 128), (16384, 64)])
def test_rows_for_sound(length: int, places: int) -> None:
    encoder, decoder = nets.spatial((2, length), 3, width=4)
    assert encoder.space == (places,)
    assert decoder(encoder(normal(1, 2, length))).shape == (1, 2, length)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("depth", [1, 2])
def test_a_transformer_learns_everywhere_and_is_rebuilt(condition: Any, depth: int) -> None:
    net: Any = nets.CausalTransformer(
        4, 6, depth=depth, width=8, layers=2, heads=2, condition=condition, dropout=0.1, seed=9
    )
    indices = torch.arange(24).reshape(4, 6) % 4
    logits = net.eval()(indices, told(condition, 4))
    assert logits.shape == (4, 6, 4)
    assert float(logits.detach().log_softmax(-1).std()) < 0.3, "it begins nearly even"
    logits.log_softmax(-1).gather(-1, indices[..., None]).sum().backward()
    assert [name for name, p in net.named_parameters() if not bool(p.grad.any())] == []
    again: Any = nets.build(json.loads(json.dumps(net.config)))
    assert again.config == net.config
    assert all(torch.equal(x, y) for x, y in zip(net.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("made", [VQ(5, features=2, decay=0.9, restart=None, seed=3), FSQ((4, 3)),
                                  ResidualVQ(5, features=2, depth=3, gradient="straight", seed=4)], ids=repr)  # fmt: skip
def test_a_quantiser_is_a_function_of_its_configuration(made: Any) -> None:
    again = build(json.loads(json.dumps(made.config)))
    assert type(again) is type(made)
    assert again.config == made.config
    z = normal(3, made.features, 2)
    assert torch.equal(again.eval()(z).indices, made.eval()(z).indices)
    assert {key: getattr(again, key) for key in ("count", "features", "depth")} == {
        key: getattr(made, key) for key in ("count", "features", "depth")
    }
