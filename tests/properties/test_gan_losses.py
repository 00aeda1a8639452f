"""The laws of GAN losses, against plain Python and closed forms on a handful of atoms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aigc.errors import ParameterError, TypeParameterError
from aigc.gan import losses

P = np.array([0.35, 0.25, 0.20, 0.12, 0.08])
Q = np.array([0.02, 0.05, 0.13, 0.30, 0.50])
PAIRINGS = ("logistic", "hinge", "least_squares")
ALL = [
    losses.Minimax(),
    losses.NonSaturating(),
    losses.LeastSquares(),
    losses.LeastSquares(fake=-1.0, real=1.0, wanted=0.0),
    losses.Hinge(),
    losses.Wasserstein(),
    *(losses.Relativistic(pairing) for pairing in PAIRINGS),
]
IDS = [repr(loss) for loss in ALL]
LOGITS = st.lists(st.floats(-50, 50), min_size=1, max_size=6)


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def pairing(kind: str, lead: float) -> float:
    return {"logistic": softplus(-lead), "hinge": max(0.0, 1 - lead), "least_squares": (1 - lead) ** 2 / 2}[kind]


def expected(loss: losses.Objective, real: list[float], fake: list[float]) -> tuple[float, float]:
    """Both players' losses in plain Python."""
    match loss:
        case losses.Minimax():
            return mean([softplus(-r) for r in real]) + mean([softplus(f) for f in fake]), -mean(
                [softplus(f) for f in fake]
            )
        case losses.NonSaturating():
            both = mean([softplus(-r) for r in real]) + mean([softplus(f) for f in fake])
            return both, mean([softplus(-f) for f in fake])
        case losses.LeastSquares(a, b, c):
            both = mean([(r - b) ** 2 / 2 for r in real]) + mean([(f - a) ** 2 / 2 for f in fake])
            return both, mean([(f - c) ** 2 / 2 for f in fake])
        case losses.Hinge():
            return mean([max(0.0, 1 - r) for r in real]) + mean([max(0.0, 1 + f) for f in fake]), -mean(fake)
        case losses.Wasserstein():
            return mean(fake) - mean(real), -mean(fake)
        case losses.Relativistic(kind):
            pairs = list(zip(real, fake, strict=True))
            return mean([pairing(kind, r - f) for r, f in pairs]), mean([pairing(kind, f - r) for r, f in pairs])
    raise AssertionError(loss)


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("loss", ALL, ids=IDS)
@given(pairs=st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=6), column=st.booleans())
def test_both_players_losses_are_those_of_the_paper(
    loss: losses.Objective, pairs: list[tuple[float, float]], column: bool
) -> None:
    real, fake = [r for r, _ in pairs], [f for _, f in pairs]
    shape = (-1, 1) if column else (-1,)
    found = loss.discriminator(f64(real).view(shape), f64(fake)), loss.generator(f64(fake).view(shape), f64(real))
    assert all(value.shape == () and value.dtype == torch.float64 for value in found)
    assert [float(value) for value in found] == pytest.approx(expected(loss, real, fake), rel=1e-13, abs=1e-13)
    assert loss.needs_real == isinstance(loss, losses.Relativistic)
    if not loss.needs_real:
        assert torch.equal(loss.generator(f64(fake)), found[1])


def test_values_where_the_discriminator_cannot_tell() -> None:
    nothing = torch.zeros(4, dtype=torch.float64)
    found = [float(loss.discriminator(nothing, nothing)) for loss in ALL]
    log2 = math.log(2)
    assert found == pytest.approx([2 * log2, 2 * log2, 0.5, 1.0, 2.0, 0.0, log2, 1.0, 0.5], rel=1e-15)


def kl(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * np.log(a / b)).sum())


def js(a: np.ndarray, b: np.ndarray) -> float:
    return (kl(a, (a + b) / 2) + kl(b, (a + b) / 2)) / 2


def samples(p: np.ndarray) -> Tensor:
    """The atoms, as often as their shares of a hundred say."""
    return torch.from_numpy(np.repeat(np.arange(5), np.round(100 * p).astype(int)))


def test_the_best_discriminator_has_the_jensen_shannon_divergence() -> None:
    best = torch.from_numpy(np.log(P / Q))
    for loss in (losses.Minimax(), losses.NonSaturating()):
        value = -float(loss.discriminator(best[samples(P)], best[samples(Q)]))
        assert value == pytest.approx(2 * js(P, Q) - 2 * math.log(2), rel=1e-13)
        logits = best.clone().requires_grad_()
        loss.discriminator(logits[samples(P)], logits[samples(Q)]).backward()
        assert float(logits.grad.abs().max()) < 1e-15, "it is the best one"


def test_the_relativistic_value_is_the_divergence_of_products() -> None:
    both, swapped = np.outer(P, Q).ravel(), np.outer(Q, P).ravel()
    divergence = js(both, swapped)
    assert divergence == pytest.approx(0.3768899127139062, rel=1e-14)
    assert js(P, Q) == pytest.approx(0.23405008226835888, rel=1e-14)
    assert js(P, Q) <= divergence <= min(2 * js(P, Q), math.log(2))
    real, fake = (each.flatten() for each in torch.meshgrid(samples(P), samples(Q), indexing="ij"))  # every pair
    loss = losses.Relativistic()
    best = torch.from_numpy(np.log(P / Q)).requires_grad_()
    value = loss.discriminator(best[real], best[fake])
    assert math.log(2) - float(value.detach()) == pytest.approx(0.3768899127139062, rel=1e-13)
    (slope,) = torch.autograd.grad(value, best)
    assert float(slope.abs().max()) < 1e-15
    # Found from nothing, it is the same up to a constant: Newton's steps in the differences of logits.
    logits = torch.zeros(5, dtype=torch.float64)
    for _ in range(30):
        slope = torch.autograd.functional.jacobian(lambda d: loss.discriminator(d[real], d[fake]), logits)
        bend = torch.autograd.functional.hessian(lambda d: loss.discriminator(d[real], d[fake]), logits)
        logits = logits - 0.8 * torch.linalg.pinv(bend) @ slope
    torch.testing.assert_close(logits - logits.mean(), best.detach() - best.detach().mean(), rtol=0, atol=1e-9)


@given(pairs=st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=5), shift=st.floats(-100, 100))
def test_only_relativistic_losses_and_wassersteins_critic_have_no_zero(
    pairs: list[tuple[float, float]], shift: float
) -> None:
    real, fake = f64([r for r, _ in pairs]), f64([f for _, f in pairs])
    for loss in (*(losses.Relativistic(kind) for kind in PAIRINGS), losses.Wasserstein()):
        before, after = loss.discriminator(real, fake), loss.discriminator(real + shift, fake + shift)
        torch.testing.assert_close(after, before, rtol=1e-10, atol=1e-10)
    for kind in PAIRINGS:
        loss = losses.Relativistic(kind)
        before, after = loss.generator(fake, real), loss.generator(fake + shift, real + shift)
        torch.testing.assert_close(after, before, rtol=1e-10, atol=1e-10)


def test_losses_with_a_zero_change_when_it_moves() -> None:
    for loss in ALL[:5]:
        assert abs(float(loss.discriminator(f64([0.5]), f64([0.5])) - loss.discriminator(f64([3.5]), f64([3.5])))) > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("loss", ALL, ids=IDS)
def test_extreme_logits_have_finite_values_and_gradients(loss: losses.Objective, dtype: torch.dtype) -> None:
    for r in (-1e4, -30.0, 0.0, 30.0, 1e4):
        for f in (-1e4, -30.0, 0.0, 30.0, 1e4):
            real, fake = (torch.tensor([each], dtype=dtype, requires_grad=True) for each in (r, f))
            wide = float(real.detach()), float(fake.detach())  # bfloat16 has no 10,000
            found = loss.discriminator(real, fake), loss.generator(fake, real)
            assert {value.dtype for value in found} == {torch.float64 if dtype == torch.float64 else torch.float32}
            assert [float(value.detach()) for value in found] == pytest.approx(
                expected(loss, [wide[0]], [wide[1]]), rel=2e-7, abs=1e-30
            )
            for value in found:
                slopes = torch.autograd.grad(value, (real, fake), allow_unused=True)
                assert all(slope is None or bool(slope.isfinite().all()) for slope in slopes)


def test_gradients_at_extreme_logits_say_what_the_paper_says() -> None:
    def slope(loss: losses.Objective, at: float, dtype: torch.dtype = torch.float32) -> float:
        fake = torch.tensor([at], dtype=dtype, requires_grad=True)
        loss.generator(fake, torch.zeros(1, dtype=dtype)).backward()
        return float(fake.grad)

    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for at in (-30.0, -100.0, -1e4):
            assert slope(losses.NonSaturating(), at, dtype) == pytest.approx(-1, abs=1e-13)  # -1 / (1 + exp(-30))
            assert slope(losses.Relativistic(), at, dtype) == pytest.approx(-1, abs=1e-13)
            assert abs(slope(losses.Minimax(), at, dtype)) < 1e-12, "the saturating one"
        assert abs(slope(losses.NonSaturating(), 30.0, dtype)) < 1e-12
        assert slope(losses.Minimax(), 30.0, dtype) == pytest.approx(-1, abs=1e-13)
    for real, fake, zero in ((1.5, -1.5, True), (0.5, -0.5, False)):
        logits = [torch.tensor([each], requires_grad=True) for each in (real, fake)]
        losses.Hinge().discriminator(*logits).backward()
        assert [float(each.grad) for each in logits] == ([0, 0] if zero else [-1, 1]), "no gradient beyond the margin"


@pytest.mark.parametrize("loss", ALL, ids=IDS)
def test_a_loss_is_a_mean_over_examples(loss: losses.Objective) -> None:
    rng = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 6, generator=rng, dtype=torch.float64)
    halves = [loss.discriminator(real[some], fake[some]) for some in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(loss.discriminator(real, fake), sum(halves) / 2)
    halves = [loss.generator(fake[some], real[some]) for some in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(loss.generator(fake, real), sum(halves) / 2)


def test_shapes_never_broadcast() -> None:
    real, fake = f64([1.0, 2.0, 3.0]), f64([0.0, -1.0, 2.0])
    for loss in ALL:
        assert torch.equal(loss.discriminator(real[:, None], fake), loss.discriminator(real, fake[:, None]))
        assert torch.equal(loss.generator(fake[:, None], real), loss.generator(fake, real[:, None]))
        for bad in (torch.zeros(()), torch.zeros(0), torch.zeros(3, 2), torch.zeros(1, 3), torch.zeros(3, 1, 1)):
            with pytest.raises(ParameterError, match=r"real_logits must be of shape \(b,\) or \(b, 1\)"):
                loss.discriminator(bad, fake)
            with pytest.raises(ParameterError, match="fake_logits must be of shape"):
                loss.generator(bad, real)
        with pytest.raises(TypeParameterError, match="real_logits must be a tensor of floats"):
            loss.discriminator(torch.zeros(3, dtype=torch.int64), fake)
        with pytest.raises(TypeParameterError, match="fake_logits must be a tensor of floats"):
            loss.generator([0.0], real)
    for kind in PAIRINGS:
        loss = losses.Relativistic(kind)
        for other in (fake[:2], fake[:1]):
            with pytest.raises(ParameterError, match="real_logits and fake_logits must be as many"):
                loss.discriminator(real, other)
            with pytest.raises(ParameterError, match="Draw as many fake examples"):
                loss.generator(other, real)
        with pytest.raises(ParameterError, match="real_logits must be given"):
            loss.generator(fake)
    assert float(losses.Wasserstein().discriminator(real, fake[:2])) == pytest.approx(-2.5), "means need no pairs"


def test_arguments_are_checked() -> None:
    with pytest.raises(ParameterError, match="pairing must be one of 'logistic', 'hinge', 'least_squares'"):
        losses.Relativistic("softmax")
    with pytest.raises(ParameterError, match="real must be above fake, 1"):
        losses.LeastSquares(fake=1.0)
    with pytest.raises(TypeParameterError, match="wanted must be a finite number"):
        losses.LeastSquares(wanted="1")
