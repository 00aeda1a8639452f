"""The Dirac-GAN (Mescheder et al., arXiv:1801.04406), played by the real loop with losses and penalties of the library.

Data are at 0, the generator writes its one parameter theta, and the discriminator is D(x) = psi x. What SGD does to the two
is known in closed form, and converges or not as the paper says.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc.gan import losses
from aigc.gan.penalties import R1, R2, WGANGP, look
from aigc.training import Cosine, Phase, train

F64 = torch.float64
RATE = 0.2
CENTRED = losses.LeastSquares(fake=-1.0, real=1.0)  # D(0) is 0, so only labels about 0 have their equilibrium there


class Line(nn.Module):
    """x times one parameter: the discriminator; of a one, the generator."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([slope], dtype=F64))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.slope


Players = dict[str, Line]
Point = tuple[float, float]


def play(
    loss: losses.Objective,
    penalties: list[Any],
    *,
    steps: int,
    order: tuple[str, ...] = ("discriminator", "generator"),
    simultaneous: bool = False,
    start: Point = (1.0, 1.0),
    every: int = 1,
) -> list[Point]:
    """The way of (theta, psi), as `train` plays it: the phases of a step one after the other, with plain SGD.

    Simultaneous descent has each player answer to what the other was before the step. The loop has moved the first player
    when the second one's turn comes, so the second looks at a copy of it that was taken at the beginning of the step.
    """
    players = {"generator": Line(start[0]), "discriminator": Line(start[1])}
    before = {"generator": Line(start[0]), "discriminator": Line(start[1])}
    one = torch.ones(1, 1, dtype=F64)  # what the generator is given

    def opponent(name: str, of: str) -> Line:
        if of == order[0] and simultaneous:  # the first of the step: nothing has moved yet
            for other in players:
                before[other].load_state_dict(players[other].state_dict())
        return (before if simultaneous else players)[name]

    def discriminate(real: Tensor, noise: object) -> Tensor:
        fake = opponent("generator", "discriminator")(one)
        scores = look(players["discriminator"], real, fake, penalties=penalties)
        value = loss.discriminator(scores.real_logits, scores.fake_logits)
        return sum((penalty.measure(scores, noise=noise) for penalty in penalties), start=value)

    def generate(real: Tensor, noise: object) -> Tensor:
        critic = opponent("discriminator", "generator")
        return loss.generator(critic(players["generator"](one)), critic(real))

    phases = [
        Phase(
            name,
            {"discriminator": discriminate, "generator": generate}[name],
            optimizer=torch.optim.SGD(players[name].parameters(), lr=RATE),
            every=every if name == "generator" else 1,
        )
        for name in order
    ]
    way = [start]
    for _ in train(phases, [torch.zeros(1, 1, dtype=F64)] * steps, seed=0):
        way.append((float(players["generator"].slope.detach()), float(players["discriminator"].slope.detach())))
    return way


def ratio(way: list[Point]) -> float:
    return math.hypot(*way[-1]) / math.hypot(*way[0])


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


# What each player descends: the derivative in its own parameter, at t = D(G(z)) = psi theta, over the other's parameter.
SLOPES: dict[str, tuple[losses.Objective, Callable[[float], float], Callable[[float], float]]] = {
    "minimax": (losses.Minimax(), sigmoid, lambda t: -sigmoid(t)),
    "non-saturating": (losses.NonSaturating(), sigmoid, lambda t: -sigmoid(-t)),
    "relativistic": (losses.Relativistic(), sigmoid, lambda t: -sigmoid(-t)),
    "wasserstein": (losses.Wasserstein(), lambda t: 1.0, lambda t: -1.0),
    "hinge": (losses.Hinge(), lambda t: float(1 + t > 0), lambda t: -1.0),
    "relativistic hinge": (losses.Relativistic("hinge"), lambda t: float(1 + t > 0), lambda t: -float(1 - t > 0)),
    "least squares": (CENTRED, lambda t: t + 1, lambda t: t - 1),
    "relativistic least squares": (losses.Relativistic("least_squares"), lambda t: t + 1, lambda t: t - 1),
}
# Minimax and its kin as torch has the derivative: its exponential differs from that of Python in the last digit.
EXACT = {
    "minimax": (lambda t: -log_sigmoid_slope(-t), lambda t: log_sigmoid_slope(-t)),
    "non-saturating": (lambda t: -log_sigmoid_slope(-t), lambda t: log_sigmoid_slope(t)),
    "relativistic": (lambda t: -log_sigmoid_slope(-t), lambda t: log_sigmoid_slope(t)),
}


def log_sigmoid_slope(t: float) -> float:
    """Minus the derivative of log sigmoid, by torch alone."""
    x = torch.tensor([t], dtype=F64, requires_grad=True)
    F.logsigmoid(x).sum().backward()
    return -float(x.grad)


def descended(parameter: float, slope: float) -> float:
    """A step of SGD, which torch rounds once: a fused multiply and add."""
    return float(Fraction(parameter) - Fraction(RATE) * Fraction(slope))


def recurrence(
    discriminate: Callable[[float], float],
    generate: Callable[[float], float],
    *,
    steps: int,
    gamma: float = 0.0,
    simultaneous: bool,
    order: tuple[str, ...] = ("discriminator", "generator"),
    every: int = 1,
) -> Iterator[Point]:
    """The same in numbers of Python."""
    theta = psi = 1.0
    yield theta, psi
    for step in range(steps):
        before = theta, psi
        for name in order:
            a, b = before if simultaneous else (theta, psi)
            if name == "discriminator":
                psi = descended(psi, discriminate(a * psi) * a + gamma * psi)
            elif step % every == 0:
                theta = descended(theta, generate(theta * b) * b)
        yield theta, psi


@pytest.mark.parametrize("simultaneous", [True, False], ids=["simultaneous", "alternating"])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", SLOPES)
def test_the_loop_goes_the_way_of_the_recurrence_bit_for_bit(name: str, gamma: float, simultaneous: bool) -> None:
    loss, *slopes = SLOPES[name]
    if name in EXACT:
        for t in (-3.0, -0.1, 0.0, 0.7, 5.0):
            assert [exact(t) for exact in EXACT[name]] == pytest.approx([slope(t) for slope in slopes], rel=4e-16)
        slopes = EXACT[name]
    way = play(loss, [R1(gamma)] if gamma else [], steps=40, simultaneous=simultaneous)
    assert way == list(recurrence(*slopes, steps=40, gamma=gamma, simultaneous=simultaneous))


def test_the_order_of_phases_and_how_often_they_play() -> None:
    loss, *slopes = SLOPES["wasserstein"]
    for order in (("generator", "discriminator"), ("discriminator", "generator")):
        for every in (1, 3):
            way = play(loss, [R2(0.3)], steps=40, order=order, every=every)
            assert way == list(recurrence(*slopes, steps=40, gamma=0.3, simultaneous=False, order=order, every=every))
    assert play(loss, [], steps=9, order=("generator", "discriminator")) != play(loss, [], steps=9)
    together = [play(loss, [], steps=9, order=order, simultaneous=True) for order in (order, order[::-1])]
    assert together[0] == together[1], "simultaneous descent has no order"


@pytest.mark.parametrize(
    ("loss", "gamma", "expected", "rounding"),  # half a unit of the last digit that is known
    [
        (losses.Minimax(), 0.0, 2.02679, 5e-6),
        (losses.Minimax(), 0.1, 0.203755, 5e-7),
        (losses.Minimax(), 0.3, 4.60867e-4, 5e-10),
        (losses.Minimax(), 1.0, 4.929e-12, 5e-16),
        (losses.Minimax(), 2.0, 3.719e-4, 5e-8),  # damped beyond its critical 1, it is slower
        (losses.Wasserstein(), 0.0, 358.9226741658, 5e-11),
    ],
)
def test_radii_after_300_steps(loss: losses.Objective, gamma: float, expected: float, rounding: float) -> None:
    found = ratio(play(loss, [R1(gamma)] if gamma else [], steps=300, simultaneous=True))
    assert found == pytest.approx(expected, rel=0, abs=1.001 * rounding)
    if gamma:
        assert ratio(play(loss, [R2(gamma)], steps=300, simultaneous=True)) == found, "R1 is R2 here"
        both = ratio(play(loss, [R1(gamma / 2), R2(gamma / 2)], steps=300, simultaneous=True))
        assert both == pytest.approx(found, rel=1e-9), "and both are one of twice the weight"


def test_without_a_penalty_each_step_makes_wassersteins_radius_longer_by_the_same_factor() -> None:
    way = play(losses.Wasserstein(), [], steps=50, simultaneous=True)
    for before, after in itertools.pairwise(way):
        assert math.hypot(*after) / math.hypot(*before) == pytest.approx(math.sqrt(1 + RATE**2), rel=1e-14)


def test_in_turns_without_a_penalty_the_orbit_is_bounded_and_never_ends() -> None:
    way = play(losses.Minimax(), [], steps=300, order=("generator", "discriminator"))
    assert ratio(way) == pytest.approx(1.0408, abs=5e-5)
    radii = [math.hypot(*point) / math.sqrt(2) for point in way]
    assert min(radii) > 0.5
    assert max(radii) < 1.1
    assert 0.9 < ratio(play(losses.Minimax(), [], steps=500)) < 1.1


def test_the_rate_of_convergence_is_the_spectral_radius() -> None:
    """Near the equilibrium a step is a linear map: (1, eta / 2; -eta / 2, 1 - eta gamma)."""
    for gamma, expected in ((0.3, 0.97467943), (1.0, 0.90)):
        step = torch.tensor([[1, RATE / 2], [-RATE / 2, 1 - RATE * gamma]], dtype=F64)
        radius = float(torch.linalg.eigvals(step).abs().max())
        assert radius == pytest.approx(expected, rel=1e-7)
        way = play(losses.Minimax(), [R1(gamma)], steps=400, simultaneous=True)
        late = (math.hypot(*way[400]) / math.hypot(*way[200])) ** (1 / 200)
        assert late == pytest.approx(expected, rel=0.01)  # times a polynomial, or turning


TABLE = {
    "minimax": losses.Minimax(),
    "non-saturating": losses.NonSaturating(),
    "wasserstein": losses.Wasserstein(),
    "hinge": losses.Hinge(),
    "least squares": CENTRED,
    "relativistic": losses.Relativistic(),
    "relativistic hinge": losses.Relativistic("hinge"),
    "relativistic least squares": losses.Relativistic("least_squares"),
}
PENALTIES: dict[str, tuple[list[Any], bool]] = {
    "none": ([], False),
    "WGAN-GP": ([WGANGP(1.0)], False),
    "R1": ([R1(1.0)], True),
    "R2": ([R2(1.0)], True),
    "R1 and R2": ([R1(0.5), R2(0.5)], True),
}


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", TABLE)
def test_zero_centred_penalties_converge_and_nothing_else_does(loss: str, penalty: str) -> None:
    """The paper's table: linear convergence to the equilibrium, or none."""
    given, converges = PENALTIES[penalty]
    way = play(TABLE[loss], given, steps=150, simultaneous=True, start=(0.5, 0.5))
    radii = [math.hypot(*point) for point in way[100:]]
    if converges:
        assert math.hypot(*way[-1]) < 1e-4 * math.hypot(*way[0])
    else:
        assert max(radii) > 0.3, "it stays away, or comes back"


def test_labels_that_are_not_about_0_leave_a_critic_without_bias_nothing_to_learn() -> None:
    """With labels 0 and 1 the critic descends psi theta^2: no force at the equilibrium, so any theta is one."""
    way = play(losses.LeastSquares(), [R1(1.0)], steps=200, simultaneous=True, start=(0.5, 0.5))
    assert abs(way[-1][1]) < 1e-6
    assert abs(way[-1][0]) > 0.3


def test_one_gaussian_is_learned() -> None:
    """An affine generator and a quadratic critic, which sees mean and variance, find both (mean 1, deviation 0.5)."""
    data = 1 + 0.5 * torch.randn(256, 1, generator=torch.Generator().manual_seed(0), dtype=F64)
    normal = torch.special.ndtri((torch.arange(256, dtype=F64)[:, None] + 0.5) / 256)  # without the noise of drawing it
    normal = normal / normal.std(correction=0)
    generator = nn.utils.skip_init(nn.Linear, 1, 1, dtype=F64)
    critic = nn.utils.skip_init(nn.Linear, 2, 1, dtype=F64)
    with torch.no_grad():
        for net in (generator, critic):
            net.weight.fill_(1.0 if net is generator else 0.0)
            net.bias.zero_()

    def sees(x: Tensor) -> Tensor:
        return critic(torch.cat([x, x.square()], 1))

    loss, penalties = losses.Relativistic(), [R1(1.0), R2(1.0)]

    def discriminate(real: Tensor, noise: Any) -> Tensor:
        scores = look(sees, real, generator(normal), penalties=penalties)
        value = loss.discriminator(scores.real_logits, scores.fake_logits)
        return value + sum(penalty.measure(scores, noise=noise) for penalty in penalties)

    def generate(real: Tensor, noise: Any) -> Tensor:
        return loss.generator(sees(generator(normal)), sees(real))

    rate = Cosine(300, last=0.001)
    phases = [
        Phase(name, function, optimizer=torch.optim.Adam(net.parameters(), lr=0.05, betas=(0.0, 0.99)), schedule=rate)
        for name, function, net in (("discriminator", discriminate, critic), ("generator", generate, generator))
    ]
    for _ in train(phases, [data] * 300, seed=0):
        pass
    mean, deviation = float(generator.bias.detach()), float(generator.weight.detach().abs())
    assert mean == pytest.approx(float(data.mean()), abs=1e-3)
    assert deviation == pytest.approx(float(data.std(correction=0)), abs=1e-3)
    quantiles = torch.distributions.Normal(mean, deviation).icdf((torch.arange(256, dtype=F64) + 0.5) / 256)
    assert float((quantiles - data[:, 0].sort().values).abs().mean()) < 0.05, "the distance of Wasserstein"
