"""The laws of quantisers."""

import itertools
import math
import threading
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aigc.errors import ParameterError, TypeParameterError
from aigc.vae.quantise import FSQ, VQ, ResidualVQ, perplexity, rotate, straight, vectors

SEEDS = st.integers(0, 10**6)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained(codes: int, features: int, *, seed: int, **options: Any) -> VQ:
    """A quantiser with known codes that has started."""
    made = VQ(codes, features=features, **options)
    made.codebook.copy_(normal(codes, features, seed=seed))
    made.sums.copy_(made.codebook)
    made.calls.fill_(1)
    return made


def rows(z: Tensor) -> Tensor:
    return z.movedim(1, -1).reshape(-1, z.shape[1])


@given(
    seed=SEEDS,
    codes=st.integers(2, 9),
    features=st.integers(1, 4),
    space=st.sampled_from([(), (3,), (2, 2)]),
    gradient=st.sampled_from(["rotation", "straight"]),
)
@settings(max_examples=40, deadline=None)
def test_vectors_become_their_nearest_codes(seed: int, codes: int, features: int, space: Any, gradient: str) -> None:
    vq = trained(codes, features, seed=seed, gradient=gradient).eval()
    z = normal(3, features, *space, seed=seed + 1)
    found = vq(z)
    assert found.codes.shape == z.shape
    assert found.indices.shape == (3, *space)
    distance = (rows(z)[:, None].double() - vq.codebook.double()).square().sum(-1)
    index = found.indices.flatten()
    torch.testing.assert_close(distance[range(len(index)), index], distance.amin(1), rtol=0, atol=1e-5)
    assert torch.equal(found.codes, vq.lookup(found.indices))
    assert torch.equal(rows(found.codes), vq.codebook[index])
    again = vq(found.codes)
    assert torch.equal(again.codes, found.codes)
    assert torch.equal(again.commitment, torch.zeros(3))
    assert (found.commitment > 0).all()
    torch.testing.assert_close(found.commitment, (z - found.codes).square().flatten(1).mean(1))
    counts = np.bincount(index.numpy(), minlength=codes) / len(index)
    entropy = -sum(p * math.log(p) for p in counts if p)
    assert float(found.perplexity) == pytest.approx(math.exp(entropy), rel=1e-5)
    assert 1 - 1e-5 <= float(found.perplexity) <= codes + 1e-5


@given(seed=SEEDS, batch=st.integers(1, 4), kind=st.sampled_from(["vq", "residual"]))
@settings(max_examples=20, deadline=None)
def test_the_commitment_does_not_depend_on_the_batch(seed: int, batch: int, kind: str) -> None:
    made: Any = trained(5, 3, seed=seed) if kind == "vq" else ResidualVQ(5, features=3, depth=2, seed=seed)
    made.eval()
    z = normal(batch, 3, 4, seed=seed + 1)
    found = made(z)
    assert found.commitment.shape == (batch,)
    twice = made(torch.cat([z, z]))
    torch.testing.assert_close(twice.commitment.mean(), found.commitment.mean())
    torch.testing.assert_close(twice.perplexity, found.perplexity)
    torch.testing.assert_close(made(z.flip(0)).commitment, found.commitment.flip(0))
    for row in range(batch):
        torch.testing.assert_close(made(z[[row]]).commitment, found.commitment[[row]])


@given(seed=SEEDS, n=st.integers(1, 5), features=st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_gradients_pass_straight_or_rotated(seed: int, n: int, features: int) -> None:
    z, codes, g = (normal(n, features, seed=seed + i).double() for i in range(3))
    for passes in (straight, rotate):
        leaf = z.clone().requires_grad_()
        out = passes(leaf, codes)
        assert torch.equal(out, codes)
        (out * g).sum().backward()
        if passes is straight:
            assert torch.equal(leaf.grad, g)
            continue
        for row in range(n):
            a, b = (v[row].numpy() for v in (z, codes))
            # The rotation in the plane of both, by their angle; nothing else moves.
            u = a / np.linalg.norm(a)
            v = b / np.linalg.norm(b)
            cos = u @ v
            w = (v - cos * u) / np.linalg.norm(v - cos * u)
            sin = w @ v
            rotation = (
                np.eye(features) + sin * (np.outer(w, u) - np.outer(u, w)) + (cos - 1) * (np.outer(u, u) + np.outer(w, w))
            )
            np.testing.assert_allclose(rotation @ u, v, atol=1e-9)
            scale = np.linalg.norm(b) / np.linalg.norm(a)
            np.testing.assert_allclose(leaf.grad[row], scale * rotation.T @ g[row].numpy(), rtol=1e-7, atol=1e-7)
        norms = leaf.grad.norm(dim=1) * z.norm(dim=1) / codes.norm(dim=1)
        torch.testing.assert_close(norms, g.norm(dim=1))


@pytest.mark.parametrize("z, code", [([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 0.0]), ([1.0, 2.0], [-2.0, -4.0])])
def test_where_there_is_no_rotation_gradients_go_straight(z: list[float], code: list[float]) -> None:
    leaf = torch.tensor([z], requires_grad=True)
    out = rotate(leaf, torch.tensor([code]))
    assert out.tolist() == [code]
    (out * torch.tensor([[3.0, -5.0]])).sum().backward()
    assert leaf.grad.tolist() == [[3.0, -5.0]]


@pytest.mark.parametrize("gradient", ["rotation", "straight"])
def test_a_quantiser_passes_gradients_to_vectors(gradient: str) -> None:
    vq, z = trained(4, 3, seed=0, gradient=gradient), normal(2, 3, 5, seed=1).requires_grad_()
    found = vq(z)  # in training mode, where the codes move after
    weights = normal(2, 3, 5, seed=2)
    (gradient_of_codes,) = torch.autograd.grad((found.codes * weights).sum(), z, retain_graph=True)
    leaf = rows(z).detach().requires_grad_()
    ((rotate if gradient == "rotation" else straight)(leaf, rows(found.codes.detach())) * rows(weights)).sum().backward()
    torch.testing.assert_close(rows(gradient_of_codes), leaf.grad)
    (gradient_of_commitment,) = torch.autograd.grad(found.commitment.sum(), z)
    torch.testing.assert_close(gradient_of_commitment, 2 * (z - found.codes).detach() / 15)
    assert not list(vq.parameters())


@given(seed=SEEDS, decay=st.sampled_from([0.0, 0.5, 0.9]))
@settings(max_examples=20, deadline=None)
def test_codes_follow_the_weighted_means_of_their_vectors(seed: int, decay: float) -> None:
    vq = trained(4, 2, seed=seed, decay=decay, restart=None)
    sizes, sums = np.ones(4), vq.codebook.double().numpy().copy()
    book = sums.copy()
    for step in range(4):
        z = normal(6, 2, 3, seed=seed + step + 1)
        points = rows(z).double().numpy()
        index = ((points[:, None] - book) ** 2).sum(-1).argmin(1)
        assert vq(z).indices.flatten().tolist() == index.tolist()
        for c in range(4):
            sizes[c] = decay * sizes[c] + (1 - decay) * (index == c).sum()
            sums[c] = decay * sums[c] + (1 - decay) * points[index == c].sum(0)
            if sizes[c] > 0:
                book[c] = sums[c] / sizes[c]
        np.testing.assert_allclose(vq.codebook, book, rtol=1e-4, atol=1e-5)
        if decay == 0:  # k-means: codes that were chosen are the means of what chose them
            for c in set(index.tolist()):
                np.testing.assert_allclose(vq.codebook[c], points[index == c].mean(0), rtol=1e-4, atol=1e-5)
    before = vq.codebook.clone()
    vq.eval()(z)
    assert torch.equal(vq.codebook, before)


def test_it_starts_at_clusters() -> None:
    centres = 10 * normal(8, 2, seed=3)
    z = (centres.repeat(30, 1) + 0.01 * normal(240, 2, seed=4))[
        torch.randperm(240, generator=torch.Generator().manual_seed(0))
    ]
    before = torch.get_rng_state()
    vq = VQ(8, features=2)
    found = vq(z)
    assert torch.equal(torch.get_rng_state(), before)
    assert float(torch.cdist(centres, vq.codebook).amin(1).max()) < 0.05
    assert float(found.commitment.max()) < 0.01
    assert float(found.perplexity) == pytest.approx(8, abs=1e-3)
    twin, other = VQ(8, features=2), VQ(8, features=2, seed=1)
    twin(z), other(z)
    assert torch.equal(twin.codebook, vq.codebook)
    assert not torch.equal(other.codebook, vq.codebook)
    few = VQ(8, features=2)
    assert few(z[:3]).codes.isfinite().all()
    assert float(few(z[:3]).commitment.max()) < 1e-6


def test_dead_codes_begin_anew() -> None:
    vq = trained(4, 2, seed=0, decay=0.5, restart=0.1)
    vq.codebook.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0], [50.0, 50.0], [-70.0, 70.0]]))
    vq.sums.copy_(vq.codebook)
    z = torch.rand(40, 2, generator=torch.Generator().manual_seed(1))
    kept = trained(4, 2, seed=0, decay=0.5, restart=None)
    kept.load_state_dict(vq.state_dict())
    for _ in range(4):
        last = vq(z)
        kept(z)
    far = vq.codebook.abs().amax(1) > 2
    assert not far.any()
    assert float(last.perplexity) > 2.5
    assert (kept.codebook.abs().amax(1) > 2).sum() == 2
    # A cut run goes on as an uncut one: what is random is a function of the buffers.
    one, two = (trained(4, 2, seed=seed, decay=0.3, restart=0.9) for seed in (5, 6))
    for step in range(6):
        two.load_state_dict(one.state_dict())
        one(normal(10, 2, seed=step))
        two(normal(10, 2, seed=step))
        assert torch.equal(one.codebook, two.codebook)


class Together:
    """Stands for processes: threads that add up."""

    def __init__(self, world: int) -> None:
        self.barrier, self.parts = threading.Barrier(world, timeout=20), [[Tensor()]] * world
        self.here = threading.local()

    @property
    def rank(self) -> int:
        return int(self.here.rank)

    def total(self, values: list[Tensor]) -> None:
        self.parts[self.rank] = [value.clone() for value in values]
        self.barrier.wait()
        found = [sum(part[i] for part in self.parts) for i in range(len(values))]
        self.barrier.wait()
        for value, new in zip(values, found, strict=True):
            value.copy_(new)


def test_processes_move_codes_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    z = [normal(12, 2, seed=step) for step in range(3)]
    alone = trained(4, 2, seed=9, decay=0.5, restart=None)
    for batch in z:
        alone(batch)
    together = Together(2)
    monkeypatch.setattr(vectors, "processes", lambda: together)
    made = [trained(4, 2, seed=9, decay=0.5, restart=None) for _ in range(2)]
    fresh = [VQ(4, features=2, restart=None) for _ in range(2)]  # the start
    eager = [trained(4, 2, seed=9, decay=0.5, restart=0.9) for _ in range(2)]  # restarts

    def work(rank: int) -> None:
        together.here.rank = rank
        for batch in z:
            made[rank](batch[6 * rank : 6 * rank + 6])
            fresh[rank](batch[6 * rank : 6 * rank + 6])
            eager[rank](batch[6 * rank : 6 * rank + 6])

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    [thread.start() for thread in threads]
    [thread.join(timeout=30) for thread in threads]
    for one in made:
        torch.testing.assert_close(one.codebook, alone.codebook, rtol=1e-5, atol=1e-6)
    assert torch.equal(fresh[0].codebook, fresh[1].codebook)
    assert torch.equal(eager[0].codebook, eager[1].codebook)
    assert not torch.equal(eager[0].codebook, made[0].codebook)
    assert int(fresh[0].calls) == 3


@given(seed=SEEDS, depth=st.integers(1, 4), features=st.integers(1, 3), space=st.sampled_from([(), (3,), (2, 2)]))
@settings(max_examples=30, deadline=None)
def test_residuals_shrink_and_prefixes_are_codes(seed: int, depth: int, features: int, space: Any) -> None:
    made = ResidualVQ(6, features=features, depth=depth, seed=seed).eval()
    for i, layer in enumerate(made.layers):
        layer.codebook.copy_(normal(6, features, seed=seed + i) / 2**i)  # type: ignore[union-attr, operator]
        layer.codebook[2] = 0.0  # type: ignore[index, union-attr]  # so that nothing is ever made worse
    z = normal(3, features, *space, seed=seed + 7)
    found = made(z)
    assert found.indices.shape == (3, depth, *space)
    assert found.perplexity.shape == (depth,)
    left = [z - made.lookup(found.indices[:, :n]) for n in range(1, depth + 1)]
    norms = [rows(r).norm(dim=1) for r in (z, *left)]
    for more, less in itertools.pairwise(norms):
        assert (less <= more + 1e-5).all()
    torch.testing.assert_close(made.lookup(found.indices), found.codes)
    torch.testing.assert_close(found.commitment, torch.stack([r.square().flatten(1).mean(1) for r in left]).mean(0))
    if depth == 1:
        one = made.layers[0](z)
        assert torch.equal(one.codes, found.codes)
        assert torch.equal(one.indices, found.indices[:, 0])


def test_residual_gradients_reach_vectors_once() -> None:
    made, z = ResidualVQ(6, features=3, depth=3, gradient="straight"), normal(40, 3).requires_grad_()
    weights = normal(40, 3, seed=1)
    (made(z).codes * weights).sum().backward()
    torch.testing.assert_close(z.grad, weights)
    # Every codebook draws the encoder to what it left.
    found = made.eval()(z)
    (gradient,) = torch.autograd.grad(found.commitment.sum(), z)
    left = [z - made.lookup(found.indices[:, :n]) for n in (1, 2, 3)]
    torch.testing.assert_close(gradient, torch.stack(left).sum(0).detach() * 2 / 9)


@pytest.mark.parametrize("levels", [(2,), (3,), (2, 3), (8, 5, 5), (4, 4, 3, 2), (8, 6, 5)])
def test_scalar_grids(levels: tuple[int, ...]) -> None:
    fsq = FSQ(levels)
    assert not list(fsq.parameters())
    assert fsq.state_dict() == {}
    every = torch.arange(fsq.count)
    assert fsq.count == math.prod(levels)
    codes = fsq.lookup(every)
    assert len({tuple(code) for code in codes.tolist()}) == fsq.count  # one to one
    assert torch.equal(fsq.number(codes), every)
    grid = itertools.product(*[[(i - n // 2) / (n // 2) for i in range(n)] for n in levels])
    torch.testing.assert_close(codes, torch.tensor(list(grid)))
    assert codes.abs().max() <= 1
    # Every code can be reached, and nothing else.
    place = [torch.linspace(-5, 5, 61)] * len(levels)
    z = torch.cartesian_prod(*place).view(-1, len(levels)) if len(levels) < 4 else 3 * normal(50_000, len(levels))
    found = fsq(torch.cat([z, 1e4 * z.sign()]))
    assert torch.equal(found.indices.unique(), every)
    torch.testing.assert_close(fsq.lookup(found.indices), found.codes)
    assert torch.equal(found.commitment, torch.zeros(2 * len(z)))
    error = (fsq.bound(z) - found.codes[: len(z)] * fsq.width).abs()
    assert error.max() <= 0.5 + 1e-5  # half a step
    zero = fsq(torch.zeros(1, len(levels), 2))
    assert torch.equal(zero.codes, torch.zeros(1, len(levels), 2))
    assert zero.indices.shape == (1, 2)


@given(seed=SEEDS, level=st.integers(3, 9))
@settings(max_examples=20, deadline=None)
def test_scalar_gradients_are_those_before_rounding(seed: int, level: int) -> None:
    fsq, z = FSQ((level, level)), normal(3, 2, 2, seed=seed).requires_grad_()
    (gradient,) = torch.autograd.grad(fsq(z).codes.sum(), z)
    (wanted,) = torch.autograd.grad(fsq.bound(z.movedim(1, -1)).sum() / (level // 2), z)
    torch.testing.assert_close(gradient, wanted)
    assert (gradient > 0).all()
    assert (fsq.bound(torch.zeros(1, 2)).abs() < 1e-3).all()  # 0 is the middle of level 0
    step = fsq.bound(torch.tensor([[1e-2, 1e-2]])) - fsq.bound(torch.zeros(1, 2))
    assert (step > 0).all()


@pytest.mark.parametrize("counts, wanted", [([1.0, 0.0], 1.0), ([3.0, 3.0, 3.0], 3.0), ([1.0, 3.0], 1.7547654)])
def test_perplexity(counts: list[float], wanted: float) -> None:
    assert float(perplexity(torch.tensor(counts))) == pytest.approx(wanted, rel=1e-6)


def test_autocast_does_not_choose_another_code() -> None:
    vq, z = trained(64, 8, seed=0).eval(), normal(200, 8, seed=1)
    exact = vq(z).indices
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(vq(z).indices, exact)
    half = vq(z.bfloat16())
    assert half.codes.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: VQ(1, features=2), ParameterError, "codes must be an integer of at least 2"),
        (lambda: VQ(4, features=2, decay=1.0), ParameterError, r"decay must be in \[0, 1\)"),
        (lambda: VQ(4, features=2, restart=0.0), ParameterError, r"restart must be in \(0, 1\), got 0.0. None is off."),
        (lambda: VQ(4, features=2, gradient="none"), ParameterError, "gradient must be one of 'rotation', 'straight'"),
        (lambda: VQ(4, features=2)(torch.zeros(3, 5)), ParameterError, r"vectors of 2 features, \(batch, 2, \*space\)"),
        (lambda: VQ(4, features=2)(torch.zeros(3, 2).long()), TypeParameterError, "floating numbers, got torch.int64"),
        (lambda: FSQ(()), ParameterError, "levels must be at least one number of levels"),
        (lambda: FSQ((1,)), ParameterError, "levels must be an integer of at least 2"),
        (lambda: ResidualVQ(4, features=2, depth=0), ParameterError, "depth must be"),
        (
            lambda: ResidualVQ(4, features=2, depth=1).lookup(torch.zeros(3, 2, dtype=torch.int64)),
            ParameterError,
            "indices.shape",
        ),
    ],
)
def test_bad_input(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
