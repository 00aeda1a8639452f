"""The laws of penalties: closed forms, single examples, finite differences, compiled graphs, two processes."""

import copy
import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aigc.errors import ParameterError, TypeParameterError
from aigc.gan import losses, penalties
from aigc.gan.augment import DiffAugment
from aigc.gan.penalties import (
    R1,
    R2,
    WGANGP,
    Consistency,
    LeCam,
    OneCentred,
    Packed,
    Scores,
    ZeroCentred,
    annealed,
    balance,
    default_gamma,
    look,
)
from aigc.training import Linear, Noise

SEEDS = st.integers(0, 10**6)
F64 = torch.float64
ON_GRADIENTS = [R1(0.7), R2(0.7), ZeroCentred(0.7), OneCentred(0.7), OneCentred(0.7, one_sided=True), WGANGP(0.7)]
IDS = [repr(penalty) for penalty in ON_GRADIENTS]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def noise_of(rows: int, *, seed: int = 0) -> Noise:
    return Noise(seed, 0, 0, rows=slice(0, rows), batch=rows)


def linear(features: int, out: int) -> nn.Linear:
    """With no numbers in it yet, for its own would move the global generator."""
    return nn.utils.skip_init(nn.Linear, features, out, dtype=F64)


def critic(features: int, *, seed: int = 0, hidden: int = 7) -> nn.Module:
    """A smooth one, of float64."""
    sizes = ((features, hidden), (hidden, hidden), (hidden, 1))
    first, second, third = (linear(*size) for size in sizes)
    net = nn.Sequential(first, nn.Tanh(), second, nn.Softplus(), third)
    with torch.no_grad():
        for place, parameter in enumerate(net.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=seed + place))
    return net


@given(seed=SEEDS, rows=st.integers(1, 70), features=st.integers(1, 5), gamma=st.floats(0.01, 100))
def test_a_linear_critic_has_its_own_slope_whatever_the_batch(seed: int, rows: int, features: int, gamma: float) -> None:
    """torchgan takes the norm over the whole batch: 49 in place of 0 for a slope of 1 and a batch of 64."""
    w, real, fake = (
        normal(features, seed=seed),
        normal(rows, features, seed=seed + 1),
        normal(rows, features, seed=seed + 2),
    )

    def straight(x: Tensor) -> Tensor:
        return x @ w + 3

    length = float(np.linalg.norm(w.numpy()))
    found = {
        type(p).__name__: float(p(straight, real, fake)) for p in (R1(gamma), R2(gamma), ZeroCentred(gamma), WGANGP(gamma))
    }
    half = gamma / 2 * length**2
    assert found["WGANGP"] == pytest.approx(gamma * (length - 1) ** 2, rel=1e-10, abs=1e-12 * gamma)
    assert [found["R1"], found["R2"], found["ZeroCentred"]] == pytest.approx([half] * 3, rel=1e-12)
    assert float(OneCentred(gamma)(straight, real, fake)) == pytest.approx(found["WGANGP"] / 2, rel=1e-12)
    sided = float(OneCentred(gamma, one_sided=True)(straight, real, fake))
    assert sided == pytest.approx(gamma / 2 * max(length - 1, 0) ** 2, rel=1e-10, abs=1e-12 * gamma)


def test_a_slope_of_one_costs_nothing_in_a_batch_of_64() -> None:
    w = torch.tensor([0.6, 0.8], dtype=F64)
    assert float(WGANGP(10.0)(lambda x: x @ w, normal(64, 2), normal(64, 2, seed=1))) < 1e-28


@given(seed=SEEDS, rows=st.integers(1, 9))
def test_a_quadratic_critic(seed: int, rows: int) -> None:
    """Of x A x / 2 the gradient is A x, and the penalty gamma / 2 tr(A C A), with C the second moments of the batch."""
    a = normal(3, 3, seed=seed)
    a, real, fake = (a + a.T) / 2, normal(rows, 3, seed=seed + 1), 2 * normal(rows, 3, seed=seed + 2)

    def quadratic(x: Tensor) -> Tensor:
        return ((x @ a) * x).sum(1, keepdim=True) / 2

    for penalty, x in ((R1(0.3), real), (R2(0.3), fake)):
        moments = x.numpy().T @ x.numpy() / rows
        expected = 0.15 * np.trace(a.numpy() @ moments @ a.numpy())
        assert float(penalty(quadratic, real, fake).detach()) == pytest.approx(expected, rel=1e-12)
    # Between the two, on lines whose places are the noise's.
    u = noise_of(rows, seed=seed).uniform(dtype=F64).numpy()[:, None]
    slopes = np.linalg.norm((u * real.numpy() + (1 - u) * fake.numpy()) @ a.numpy(), axis=1)
    found = [p(quadratic, real, fake, noise=noise_of(rows, seed=seed)) for p in (ZeroCentred(0.3), WGANGP(0.3))]
    assert [float(each.detach()) for each in found] == pytest.approx(
        [0.15 * (slopes**2).mean(), 0.3 * ((slopes - 1) ** 2).mean()], rel=1e-12
    )


@pytest.mark.parametrize("penalty", ON_GRADIENTS, ids=IDS)
@given(seed=SEEDS, rows=st.integers(1, 6))
@settings(max_examples=20)
def test_a_penalty_is_the_mean_of_those_of_single_examples(penalty: Any, seed: int, rows: int) -> None:
    net, real, fake = critic(3, seed=seed), normal(rows, 3, seed=seed + 9), normal(rows, 3, seed=seed + 10)
    whole = penalty(net, real, fake, noise=noise_of(rows, seed=seed))
    single = [
        penalty(net, real[i : i + 1], fake[i : i + 1], noise=Noise(seed, 0, 0, rows=slice(i, i + 1), batch=rows))
        for i in range(rows)
    ]
    assert float(whole.detach()) == pytest.approx(float(torch.stack(single).detach().mean()), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("penalty", ON_GRADIENTS, ids=IDS)
def test_a_penalty_moves_the_discriminator_only_and_its_gradient_is_that_of_finite_differences(penalty: Any) -> None:
    net, generator, real = critic(3), linear(2, 3), normal(5, 3).requires_grad_()
    with torch.no_grad():
        generator.weight.copy_(normal(3, 2, seed=5))
        generator.bias.zero_()
    z = normal(5, 2, seed=3)

    def value(x: nn.Module) -> Tensor:
        return penalty(x, real, generator(z), noise=noise_of(5))

    value(net).backward()
    assert generator.weight.grad is None
    assert generator.bias.grad is None
    assert real.grad is None
    step = 1e-5
    for place in range(len(list(net.parameters())) - 1):  # all but the last bias, which changes no slope
        found = list(net.parameters())[place].grad
        assert found is not None
        assert float(found.abs().max()) > 1e-6
        for entry in range(0, found.numel(), 3):
            ends = []
            for sign in (1, -1):
                moved = copy.deepcopy(net)
                with torch.no_grad():
                    list(moved.parameters())[place].view(-1)[entry] += sign * step
                ends.append(float(value(moved).detach()))
            expected = (ends[0] - ends[1]) / (2 * step)
            assert float(found.view(-1)[entry]) == pytest.approx(expected, rel=1e-6, abs=1e-8)
    assert list(net.parameters())[-1].grad is None or float(list(net.parameters())[-1].grad.abs().max()) == 0


def test_a_constant_critic_costs_nothing_and_its_gradient_is_a_number() -> None:
    real, fake = normal(4, 3), normal(4, 3, seed=1)
    flat = linear(3, 1)
    nn.init.zeros_(flat.weight)
    nn.init.ones_(flat.bias)
    for penalty in (R1(2.0), R2(2.0), ZeroCentred(2.0)):
        for constant in (flat, lambda x: torch.full((len(x),), 3.0, dtype=x.dtype), lambda x: 0 * x.sum(1)):
            assert float(penalty(constant, real, fake).detach()) == 0
    for penalty in (*ON_GRADIENTS, WGANGP(10.0)):
        flat.zero_grad()
        value = penalty(flat, real, fake)
        value.backward()
        assert bool(flat.weight.grad.isfinite().all()), "the slope 0 has a norm whose gradient is not NaN"
    assert float(value.detach()) == 10.0


def test_the_two_forms_agree_and_measuring_costs_no_forward() -> None:
    calls = []
    net, real, fake = critic(3), normal(5, 3), normal(5, 3, seed=1)

    def counted(x: Tensor) -> Tensor:
        calls.append(len(x))
        return net(x)

    every = [*ON_GRADIENTS, LeCam(0.3).double(), Consistency(0.3, lambda x, noise: x + noise.normal(3, dtype=F64))]
    scores = look(counted, real, fake, penalties=every)
    assert len(calls) == 2
    for penalty, more in zip(every, [0, 0, 1, 1, 1, 1, 0, 2], strict=True):
        before = len(calls)
        measured = penalty.measure(scores, noise=noise_of(5))
        assert len(calls) - before == more
        looked = copy.deepcopy(penalty) if isinstance(penalty, LeCam) else penalty
        assert float(looked(net, real, fake, noise=noise_of(5)).detach()) == pytest.approx(
            float(measured.detach()), rel=1e-12
        )
    for penalty, forwards in zip(every, [1, 1, 1, 1, 1, 1, 2, 4], strict=True):
        before = len(calls)
        penalty(counted, real, fake)
        assert len(calls) - before == forwards, "it looks at what it reads"


def test_scores_of_a_discriminator_that_did_not_see_these_tensors_are_refused() -> None:
    net, real, fake = critic(2), normal(3, 2), normal(3, 2, seed=1)
    plain = look(net, real, fake)
    assert not plain.real.requires_grad
    with pytest.raises(ParameterError, match=r"real must be a tensor that requires a gradient.*real\.requires_grad_\(\)"):
        R1(1.0).measure(plain)
    watched = look(net, real, fake, penalties=[R1(1.0)])
    with pytest.raises(ParameterError, match="fake must be a tensor that requires a gradient"):
        R2(1.0).measure(watched)
    with pytest.raises(ParameterError, match="real_logits must be a function of real"):
        R1(1.0).measure(watched._replace(real_logits=net(real.clone())))
    with pytest.raises(ParameterError, match="a discriminator must not detach it"):
        R1(1.0)(lambda x: net(x.detach()), real, fake)
    with torch.no_grad():
        unseen = net(real)
    with pytest.raises(ParameterError, match="with gradients enabled"):
        R1(1.0).measure(watched._replace(real_logits=unseen))
    for penalty in ON_GRADIENTS[:2]:
        with pytest.raises(ParameterError, match=r"_logits must be of shape \(b,\) or \(b, 1\)"):
            penalty(lambda x: x, real, fake)
    with pytest.raises(ParameterError, match="real and fake must be of one shape"):
        WGANGP(1.0)(net, real, fake[:2])
    with pytest.raises(ParameterError, match="noise must be of 3 rows"):
        WGANGP(1.0)(net, real, fake, noise=noise_of(4))
    with pytest.raises(TypeParameterError, match="fake must be a tensor of floats"):
        R1(1.0)(net, real, torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ParameterError, match="augment must be a function that keeps the shape"):
        Consistency(1.0, lambda x, noise: x[:2])(net, real, fake)


def test_without_gradients_a_penalty_is_a_number() -> None:
    net, real, fake = critic(2), normal(3, 2), normal(3, 2, seed=1)
    for penalty in ON_GRADIENTS:
        expected = penalty(net, real, fake, noise=noise_of(3))
        with torch.no_grad():
            found = penalty(net, real, fake, noise=noise_of(3))
        assert not found.requires_grad
        assert float(found) == float(expected.detach())


def test_fresh_noise_differs_and_given_noise_does_not() -> None:
    net, real, fake = critic(2), normal(6, 2), 3 * normal(6, 2, seed=1)
    before = torch.get_rng_state()
    found = {float(WGANGP(1.0)(net, real, fake).detach()) for _ in range(3)}
    assert len(found) == 3
    assert len({float(WGANGP(1.0)(net, real, fake, noise=noise_of(6)).detach()) for _ in range(3)}) == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_half_precision_does_not_touch_a_penalty() -> None:
    """Under autocast the squares of slopes of 1e-5 would be 0 in float16, and rough in bfloat16."""
    net = critic(3).float()
    with torch.no_grad():
        net[-1].weight.mul_(1e-5)
    real, fake = normal(8, 3).float(), normal(8, 3, seed=1).float()
    for penalty in (R1(1.0), R2(1.0), ZeroCentred(1.0)):
        expected = penalty(net, real, fake, noise=noise_of(8))
        exact = penalty(copy.deepcopy(net).double(), real.double(), fake.double(), noise=noise_of(8))
        slopes = torch.autograd.grad(expected, list(net.parameters()), allow_unused=True)
        for dtype in (torch.bfloat16, torch.float16):
            with torch.autocast("cpu", dtype=dtype):
                found = penalty(net, real.bfloat16().float(), fake.to(dtype).float(), noise=noise_of(8))
                same = penalty(net, real, fake, noise=noise_of(8))
            assert same.dtype == torch.float32
            assert torch.equal(same, expected)
            assert torch.autograd.grad(same, net[0].weight, retain_graph=True)[0].equal(slopes[0])
            assert found.dtype == torch.float32
        if not isinstance(penalty, ZeroCentred):  # whose lines are others in another type
            assert float(expected.detach()) == pytest.approx(float(exact.detach()), rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # a generator under autocast writes narrow numbers
        scores = look(net, real, fake.bfloat16(), penalties=[R1(1.0), R2(1.0)])
    assert {scores.fake.dtype, scores.fake_logits.dtype, scores.real_logits.dtype} == {torch.float32}
    narrow = copy.deepcopy(net).bfloat16()
    assert R2(1.0)(narrow, real.bfloat16(), fake.bfloat16()).dtype == torch.float32
    # The double backward, too, runs outside of autocast when scores were made outside.
    scores = look(net, real, fake, penalties=[R1(1.0)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(R1(1.0).measure(scores), R1(1.0)(net, real, fake))


def test_r1_is_r2_where_the_generator_has_the_data_and_both_are_twice_one() -> None:
    net, data = critic(2), normal(9, 2)
    one, two = R1(1.0)(net, data, data), R2(1.0)(net, data, data)
    assert torch.equal(one, two)
    torch.testing.assert_close(one + two, R1(2.0)(net, data, data))


def test_weights_may_be_schedules() -> None:
    net, real, fake = critic(2), normal(3, 2), normal(3, 2, seed=1)
    line = Linear(1.0, 0.0, steps=10)
    lecam = LeCam(line).double()
    for penalty, fixed in ((R1(line), R1(0.75)), (WGANGP(line), WGANGP(0.75)), (lecam, LeCam(0.75).double())):
        found = penalty(net, real, fake, noise=noise_of(3), step=0), penalty(net, real, fake, noise=noise_of(3), step=10)
        assert float(found[1].detach()) == 0 < float(found[0].detach())
        if not isinstance(penalty, LeCam):
            expected = fixed(net, real, fake, noise=noise_of(3))
            torch.testing.assert_close(found[0] * 0.75, expected)
    for bad in (-1.0, math.inf, math.nan):
        for kind in (R1, R2, ZeroCentred, OneCentred, WGANGP, LeCam):
            with pytest.raises(ParameterError, match="must be a number of at least 0, or a schedule"):
                kind(bad)
    with pytest.raises(TypeParameterError, match="gamma must be a number"):
        R1("1")


def test_seldom_and_stronger_has_the_same_mean_gradient() -> None:
    """Lazy regularisation is a schedule: n gamma at every n-th step."""
    net, real, fake = critic(2), normal(4, 2), normal(4, 2, seed=1)
    lazy, steady = R1(lambda step: 4 * 0.3 if step % 4 == 0 else 0.0), R1(0.3)
    sums = [
        sum(torch.autograd.grad(penalty(net, real, fake, step=step), net[0].weight)[0] for step in range(8))
        for penalty in (lazy, steady)
    ]
    torch.testing.assert_close(*sums)


def test_lecam_follows_both_sides_and_draws_each_to_the_other() -> None:
    penalty = LeCam(0.7, decay=0.9).double()
    r = f = None
    for step in range(5):
        real, fake = normal(4, 1, seed=step) + step, normal(4, 1, seed=100 + step) - 1
        a, b = real.numpy(), fake.numpy()
        r = a.mean() if r is None else 0.9 * r + 0.1 * a.mean()
        f = b.mean() if f is None else 0.9 * f + 0.1 * b.mean()
        found = penalty(lambda x: x, real, fake)
        assert float(found) == pytest.approx(0.7 * (((a - f) ** 2).mean() + ((b - r) ** 2).mean()), rel=1e-13)
    assert [float(penalty.real), float(penalty.fake), int(penalty.batches)] == [pytest.approx(r), pytest.approx(f), 5]
    assert set(penalty.state_dict()) == {"real", "fake", "batches"}
    again = LeCam(0.7, decay=0.9).double()
    again.load_state_dict(penalty.state_dict())
    assert torch.equal(again(lambda x: x, real, fake), penalty(lambda x: x, real, fake))
    still = copy.deepcopy(penalty.eval().state_dict())
    penalty(lambda x: x, real, fake)
    assert all(torch.equal(value, still[name]) for name, value in penalty.state_dict().items())
    # The averages move on between a value and its gradient; what was measured stays what it was.
    net, moving = critic(1), LeCam(1.0, decay=0.5).double()
    first = moving(net, real, fake)
    toward = [net(x).detach().mean() for x in (real, fake)]
    moving(net, 5 * real, fake)
    (slope,) = torch.autograd.grad(first, net[-1].bias)
    outs = [net(x).detach() for x in (real, fake)]
    assert float(slope) == pytest.approx(float(2 * ((outs[0] - toward[1]).mean() + (outs[1] - toward[0]).mean())))
    for bad in (1.0, -0.1):
        with pytest.raises(ParameterError, match=r"decay must be in \[0, 1\)"):
            LeCam(decay=bad)


def test_micro_batches_move_the_averages_of_lecam_as_their_batch_does() -> None:
    whole, parts = LeCam(0.7, decay=0.8).double(), LeCam(0.7, decay=0.8).double()
    batches = [[0.0, 0.0, 0.0, 8.0], [5.0] * 4, [7.0] * 4]  # of the first, micro-batches are not alike
    for batch in batches:
        for penalty, sizes in ((whole, [4]), (parts, [1, 2, 1])):
            first = 0
            for size in sizes:
                noise = Noise(0, 0, 0, rows=slice(first, first := first + size), batch=4)
                real = torch.tensor(batch, dtype=F64)[noise.rows, None]
                penalty(lambda x: x, real, -real, noise=noise)
    assert float(whole.real) == pytest.approx(0.64 * 2 + 0.16 * 5 + 0.2 * 7)
    assert [float(parts.real), float(parts.fake)] == pytest.approx([float(whole.real), -float(whole.real)], rel=1e-12)


def test_consistency_compares_data_with_changed_data() -> None:
    net, real, fake = critic(2), normal(5, 2), normal(5, 2, seed=1)

    def shift(x: Tensor, noise: Noise) -> Tensor:
        return x + noise.normal(2, dtype=F64)

    noise = noise_of(5)
    moved = [real + noise.normal(2, dtype=F64), fake + noise.normal(2, dtype=F64)]
    gaps = [float((net(x) - net(y)).detach().square().mean()) for x, y in zip((real, fake), moved, strict=True)]
    found = Consistency(2.0, shift)(net, real, fake, noise=noise_of(5))
    assert float(found.detach()) == pytest.approx(2 * sum(gaps), rel=1e-12)
    assert float(Consistency(2.0, shift, fake=False)(net, real, fake, noise=noise_of(5)).detach()) == pytest.approx(
        2 * gaps[0]
    )
    assert float(Consistency(2.0, lambda x, noise: x)(net, real, fake).detach()) == 0
    pictures = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    brightness = Consistency(1.0, DiffAugment(("translation",)))(lambda x: x.sum((1, 2, 3)), pictures, pictures)
    assert float(brightness) > 0, "what is moved out is lost"


@given(seed=SEEDS, packs=st.integers(1, 3), m=st.integers(1, 3), space=st.sampled_from([(), (4,), (2, 3)]))
@settings(max_examples=30)
def test_packing_joins_consecutive_examples_along_channels(seed: int, packs: int, m: int, space: tuple[int, ...]) -> None:
    x = normal(packs * m, 2, *space, seed=seed)
    seen = []

    class Reads(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x.flatten(1).square().sum(1)

    logits = Packed(Reads(), m)(x)
    expected = np.stack([np.concatenate([x[i * m + j].numpy() for j in range(m)], 0) for i in range(packs)])
    assert np.array_equal(seen[0].numpy(), expected)
    assert logits.shape == (packs,)
    if m == 1:
        assert torch.equal(seen[0], x)
        assert torch.equal(logits, Reads()(x))


def test_penalties_of_packs_are_those_of_the_unpacked_net_on_joined_examples() -> None:
    net, real, fake = critic(6), normal(8, 3), normal(8, 3, seed=1)
    packed, joined = Packed(net, 2), (real.reshape(4, 6), fake.reshape(4, 6))
    for penalty in (R1(0.7), R2(0.7)):
        torch.testing.assert_close(penalty(packed, real, fake), penalty(net, *joined))
    u = noise_of(8).uniform(dtype=F64)[::2, None]  # one place on the line for a pack
    line = (u * joined[0] + (1 - u) * joined[1]).requires_grad_()
    (slope,) = torch.autograd.grad(net(line).sum(), line)
    expected = 0.7 * float(((slope.norm(dim=1) - 1) ** 2).mean())
    assert float(WGANGP(0.7)(packed, real, fake, noise=noise_of(8)).detach()) == pytest.approx(expected, rel=1e-12)
    scores = look(lambda x: packed(x), real, fake)  # the logits say how many are read at once
    assert float(WGANGP(0.7).measure(scores, noise=noise_of(8)).detach()) == pytest.approx(expected, rel=1e-12)
    for penalty in ON_GRADIENTS:
        alone = penalty(critic(3), real, fake, noise=noise_of(8))
        assert torch.equal(alone, penalty(Packed(critic(3), 1), real, fake, noise=noise_of(8)))
    for bad in (real[:7], real[:, 0]):
        with pytest.raises(ParameterError, match="b a multiple of 2"):
            packed(bad)
    with pytest.raises(ParameterError, match="m must be an integer of at least 1"):
        Packed(net, 0)


def test_packs_are_told_apart_more_surely() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    variation = [np.abs(p - q).sum() / 2]
    for _ in range(3):
        p, q = np.outer(p, [0.5, 0.3, 0.2]).ravel(), np.outer(q, [0.2, 0.3, 0.5]).ravel()
        variation.append(np.abs(p - q).sum() / 2)
    assert variation == sorted(variation)
    atoms = torch.eye(len(p), dtype=F64)
    best = torch.from_numpy(np.sign(p - q))
    found = losses.Wasserstein().discriminator((atoms @ best)[counted(p)], (atoms @ best)[counted(q)])
    assert -float(found) / 2 == pytest.approx(variation[-1], abs=1e-12)


def counted(p: np.ndarray) -> Tensor:
    return torch.from_numpy(np.repeat(np.arange(len(p)), np.round(10_000 * p).astype(int)))


def test_the_local_value_of_the_penalised_game() -> None:
    """Wasserstein with R1 and R2 of gamma: the value is |p - q|^2 / (4 gamma) in the weighted dual Sobolev norm.

    The critic is linear between nodes and the atoms are the middles of cells, so the game is quadratic in its values at
    nodes; its optimum by Newton's step must be the sum of squared differences of distribution functions over densities.
    """
    cells, h, gamma = 12, 0.25, 0.3
    rng = np.random.default_rng(0)
    p, q = rng.integers(5, 30, cells), rng.integers(5, 30, cells)
    p[-1] += 400 - p.sum()
    q[-1] += 400 - q.sum()
    middles = h * (torch.arange(cells, dtype=F64) + 0.5)
    real, fake = (middles[torch.from_numpy(np.repeat(np.arange(cells), each))][:, None] for each in (p, q))
    knots = h * torch.arange(cells + 1, dtype=F64)

    def game(heights: Tensor) -> Tensor:
        def hats(x: Tensor) -> Tensor:
            return ((1 - (x - knots).abs() / h).clamp(min=0) * heights).sum(1)

        scores = look(hats, real, fake, penalties=[R1(gamma), R2(gamma)])
        return losses.Wasserstein().discriminator(scores.real_logits, scores.fake_logits) + sum(
            penalty.measure(scores) for penalty in (R1(gamma), R2(gamma))
        )

    start = torch.zeros(cells + 1, dtype=F64)
    slope, bend = torch.autograd.functional.jacobian(game, start), torch.autograd.functional.hessian(game, start)
    best = -torch.linalg.pinv(bend) @ slope
    p, q = p / 400, q / 400
    tails = [(p - q)[j + 1 :].sum() + (p - q)[j] / 2 for j in range(cells)]
    expected = sum((h * tail) ** 2 / (4 * gamma * (a + b) / 2) for tail, a, b in zip(tails, p, q, strict=True))
    assert -float(game(best).detach()) == pytest.approx(expected, rel=1e-10)


@pytest.fixture
def compiling() -> Iterator[None]:
    """Puts back the environment variables that torch.compile sets for itself."""
    before = dict(os.environ)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    os.environ.clear()
    os.environ.update(before)


def looked(net: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    scores = look(net, real, fake, penalties=[R1(0.7), R2(0.7)])
    return R1(0.7).measure(scores) + R2(0.7).measure(scores)


def measured(net: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    scores = Scores(net, real, fake, net(real), net(fake))
    return R1(0.7).measure(scores) + R2(0.7).measure(scores)


def slopes(value: Tensor, net: nn.Module) -> list[Tensor]:
    """All but that of the last bias, which changes no slope."""
    return list(torch.autograd.grad(value, list(net.parameters())[:-1]))


def stepped(net: nn.Module, real: Tensor, fake: Tensor) -> tuple[Tensor, list[Tensor]]:
    value = looked(net, real, fake)
    return value.detach(), slopes(value, net)


def check_compiled(found: Tensor, gradients: list[Tensor]) -> None:
    net = critic(3)
    expected = looked(net, *PAIR)
    torch.testing.assert_close(found.detach(), expected.detach())
    assert float(found.detach()) > 0.01
    for a, b in zip(gradients, slopes(expected, net), strict=True):
        torch.testing.assert_close(a, b)
        assert float(a.abs().max()) > 0.01, "no gradient was dropped"


PAIR = normal(4, 3), normal(4, 3, seed=1)
BACKENDS = ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]


@pytest.mark.usefixtures("compiling")
def test_a_discriminator_compiled_without_aot_has_its_penalty() -> None:
    net = critic(3)
    found = looked(torch.compile(net, backend="eager"), *PAIR)
    check_compiled(found, slopes(found, net))


@pytest.mark.usefixtures("compiling")
@pytest.mark.skipif(not hasattr(torch._dynamo.config, "trace_autograd_ops"), reason="this torch cannot trace autograd")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_compiled_step_has_its_penalty_where_autograd_is_traced(backend: str) -> None:
    """The penalty's gradient is taken within the graph if torch is told so, and so needs no second derivative of one."""
    net = critic(3)
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        check_compiled(*torch.compile(stepped, backend=backend, fullgraph=True)(net, *PAIR))
        watched = (x.clone().requires_grad_() for x in PAIR)
        found = torch.compile(measured, backend=backend, fullgraph=True)(net, *watched)
        check_compiled(found, slopes(found, net))


@pytest.mark.usefixtures("compiling")
@pytest.mark.parametrize("backend", BACKENDS)
def test_else_a_compiled_discriminator_has_no_second_derivative_and_says_so(backend: str) -> None:
    """An error, and no gradient that is silently 0 (https://github.com/pytorch/pytorch/issues/91469): torch 2.13."""
    net = critic(3)
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        slopes(looked(torch.compile(net, backend=backend), *PAIR), net)
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        torch.compile(stepped, backend=backend)(net, *PAIR)


PROGRAM = """
import sys
import torch
import torch.distributed as dist
from torch import nn
from aigc.gan import losses
from aigc.gan.augment import Adaptive, DiffAugment
from aigc.gan.penalties import R1, R2, WGANGP, Consistency, LeCam, OneCentred, Packed, look
from aigc.training import Phase, train

rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
torch.manual_seed(0)
net = Packed(nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, 1)), 2).double()
generator = nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, (1, 4, 4))).double()
data = torch.randn(8, 1, 4, 4, dtype=torch.float64)
lecam, control = LeCam(0.5, decay=0.8).double(), Adaptive(-0.9, speed=100, every=2)
augment = DiffAugment()
penalties = [R1(0.5), R2(0.5), WGANGP(2.0), OneCentred(1.0, one_sided=True), lecam, Consistency(1.0, augment)]
objective = losses.NonSaturating()


def fakes(noise):
    return generator(noise.normal(2, dtype=torch.float64))


def play(batch, noise):
    real, fake = augment(batch, noise, p=0.5), augment(fakes(noise), noise, p=0.5)
    scores = look(net, real, fake, penalties=penalties)
    control.update(scores.real_logits)
    cost = sum(penalty.measure(scores, noise=noise, step=noise.step) for penalty in penalties)
    return objective.discriminator(scores.real_logits, scores.fake_logits) + cost


def answer(batch, noise):
    return objective.generator(net(fakes(noise)))


phases = [
    Phase("discriminator", play, optimizer=torch.optim.SGD(net.parameters(), lr=0.05)),
    Phase("generator", answer, optimizer=torch.optim.SGD(generator.parameters(), lr=0.05)),
]
found = [float(step.losses["discriminator"]) for step in train(phases, [data] * 6, seed=3)]
if rank == 0:
    modules = {"net": net, "generator": generator, "lecam": lecam, "control": control}
    state = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    torch.save({"state": state, "losses": found}, f"{folder}/{world}.pt")
if world > 1:
    dist.destroy_process_group()
"""


def run_processes(folder: Path, world: int) -> dict[str, Any]:
    arguments = [[sys.executable, "-c", PROGRAM, str(rank), str(world), str(folder)] for rank in range(world)]
    running = [subprocess.Popen(each, stderr=subprocess.PIPE, text=True) for each in arguments]
    for process in running:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    return torch.load(folder / f"{world}.pt", weights_only=True)


def test_two_processes_are_penalised_as_one(tmp_path: Path) -> None:
    whole, halves = run_processes(tmp_path, 1), run_processes(tmp_path, 2)
    assert halves["losses"] == pytest.approx(whole["losses"], rel=1e-10)
    for name, value in whole["state"].items():
        torch.testing.assert_close(halves["state"][name], value, rtol=1e-9, atol=1e-12)
    assert float(whole["state"]["lecam.batches"]) == 6
    assert float(whole["state"]["control.p"]) > 0.1, "it has moved, in steps of all examples"


def test_the_default_gamma() -> None:
    assert default_gamma((1, 28, 28), 64) == pytest.approx(0.064 * 784 / 64)
    assert default_gamma((3, 32, 16), 512) == pytest.approx(0.064 * 512 / 256), "colours count once, large batches as 256"
    assert default_gamma((1, 4096), 32) == pytest.approx(0.064 * 4096 / 32)
    assert default_gamma((40,), 8) == 0.05
    # What R3GAN begins with, on images in [-1, 1].
    published = {(32, 4096): 0.5, (64, 4096): 1.0, (64, 256): 2.0, (256, 256): 150.0}
    for (side, batch), gamma in published.items():
        assert 1 / 4.2 < 4 * default_gamma((3, side, side), batch) / gamma < 4.2
    assert 4 * default_gamma((3, 32, 32), 512) / 0.05 == pytest.approx(20.48)
    for shape, batch in (((), 1), ((1, 2, 3, 4), 1), ((0,), 1), ((2,), 0)):
        with pytest.raises(ParameterError):
            default_gamma(shape, batch)


def test_annealing_is_a_schedule_of_numbers() -> None:
    line = annealed(0.5, steps=100)
    assert [line(0), line(100), line(10**6)] == pytest.approx([0.5, 0.05, 0.05])
    values = [line(step) for step in range(101)]
    assert values == sorted(values, reverse=True)
    assert values[50] == pytest.approx(0.275)
    assert type(line)(**json.loads(json.dumps(dataclasses.asdict(line)))) == line
    assert annealed(0.5, steps=100, last=0.01)(100) == pytest.approx(0.005)
    for bad in ({"gamma": -1.0}, {"last": 2.0}, {"steps": 0}):
        with pytest.raises(ParameterError):
            annealed(**({"gamma": 1.0, "steps": 9} | bad))


@given(loss=st.floats(-100, 100), cost=st.floats(0, 1e6))
def test_balance_warns_where_a_penalty_dominates_or_vanishes(loss: float, cost: float) -> None:
    found = balance(torch.tensor(loss, dtype=F64), cost)
    assert (found.adversarial, found.penalty) == (loss, cost)
    if cost > 10.001 * abs(loss):
        assert "it dominates. Lower gamma" in found.warning
        assert found.ratio > 10
    elif cost < 0.9999e-4 * abs(loss) or cost == 0:
        assert "it vanishes. Raise gamma" in found.warning
        assert found.ratio < 1e-4
    elif 1.0001e-4 * abs(loss) < cost < 9.999 * abs(loss):
        assert found.warning is None
        assert found.ratio == pytest.approx(cost / abs(loss))


def test_balance_takes_no_nonsense() -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(ParameterError, match="adversarial must be a finite number"):
            balance(bad, 1.0)
    with pytest.raises(ParameterError, match="penalty must be a number of at least 0"):
        balance(1.0, -1.0)
    with pytest.raises(TypeParameterError, match="penalty must be a number or a scalar tensor"):
        balance(1.0, torch.zeros(2))


def test_what_is_exported_is_there() -> None:
    assert all(hasattr(penalties, name) for name in penalties.__all__)
