"""The loss of language models, against PyTorch's own in float64, with the logits of all positions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from aigc.errors import ParameterError
from aigc.text.losses import IGNORED, linear_cross_entropy, token_losses


def case(seed: int, n: int, features: int, vocabulary: int, ignored: float) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, features, generator=rng, dtype=torch.float64)
    weight = torch.randn(vocabulary, features, generator=rng, dtype=torch.float64)
    targets = torch.randint(vocabulary, (n,), generator=rng)
    targets[torch.rand(n, generator=rng) < ignored] = IGNORED
    return hidden, weight, targets


def plain(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = hidden @ weight.T
    found = logits.logsumexp(1)[targets >= 0] - logits[targets >= 0].gather(1, targets[targets >= 0, None])[:, 0]
    return found.sum()


sizes = st.tuples(
    st.integers(0, 99), st.integers(1, 12), st.integers(1, 5), st.integers(1, 9), st.sampled_from([0, 0.5, 1])
)


@given(sizes, st.integers(1, 5), st.floats(-3, 3))
def test_value_and_gradients_are_those_of_the_whole(
    size: tuple[int, int, int, int, float], rows: int, scale: float
) -> None:
    hidden, weight, targets = case(*size)
    ours = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    theirs = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    made, wanted = linear_cross_entropy(*ours, targets, rows=rows), plain(*theirs, targets)
    torch.testing.assert_close(made, wanted, rtol=1e-12, atol=1e-12)
    (scale * made).backward()
    (scale * wanted).backward()
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, its.grad, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(token_losses(hidden @ weight.T, targets), wanted.detach(), rtol=1e-12, atol=1e-12)


@given(sizes)
def test_one_gradient_alone(size: tuple[int, int, int, int, float]) -> None:
    hidden, weight, targets = case(*size)
    moved = hidden.clone().requires_grad_()
    linear_cross_entropy(moved, weight, targets, rows=2).backward()
    own = hidden.clone().requires_grad_()
    plain(own, weight, targets).backward()
    torch.testing.assert_close(moved.grad, own.grad, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(hidden, weight, targets), plain(hidden, weight, targets))


def test_half_precision_sums_in_float32() -> None:
    hidden, weight, targets = case(0, 64, 16, 5000, 0.2)
    exact = functional.cross_entropy(hidden.bfloat16().double() @ weight.bfloat16().double().T, targets, reduction="sum")
    made = linear_cross_entropy(hidden.bfloat16(), weight, targets)
    assert made.dtype == torch.float32
    assert float(made) == pytest.approx(float(exact), rel=0.01)  # logits are rounded to eight bits


def test_shapes_are_checked() -> None:
    with pytest.raises(ParameterError, match="shapes"):
        linear_cross_entropy(torch.zeros(2, 3), torch.zeros(4, 2), torch.zeros(2, dtype=torch.int64))
