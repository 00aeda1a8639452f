"""Filters beside those of other libraries: transformers', called; llama.cpp's, by vectors worked out by hand."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.generation import logits_process as hf

from aigc.sampling import (
    XTC,
    Banned,
    DynamicTemperature,
    Epsilon,
    Eta,
    LogitBias,
    MinTokens,
    Noise,
    TailFree,
    TopH,
    TopNSigma,
    Typical,
)

INF = math.inf
NOISE = Noise.of(torch.tensor([7]), 0)


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(8, 2000, generator=generator).double() * scale for scale in (0.5, 2.0, 8.0)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Typical(0.2), hf.TypicalLogitsWarper(0.2)),
        (Typical(0.95), hf.TypicalLogitsWarper(0.95)),
        (Epsilon(4e-4), hf.EpsilonLogitsWarper(4e-4)),
        (Epsilon(0.9), hf.EpsilonLogitsWarper(0.9)),
        (Eta(0.02), hf.EtaLogitsWarper(0.02)),
        (Eta(3e-4), hf.EtaLogitsWarper(3e-4)),
        (Banned([3, 1999]), hf.SuppressTokensLogitsProcessor([3, 1999])),
        (Banned([3, 1999]), hf.NoBadWordsLogitsProcessor([[3], [1999]])),
        (LogitBias({3: 2.5, 7: -INF}), hf.SequenceBiasLogitsProcessor([[[3], 2.5], [[7], -INF]])),
    ],
    ids=lambda f: type(f).__name__,
)
def test_rows_without_ties_are_cut_as_by_transformers(ours: Any, theirs: Callable[[Tensor, Tensor], Tensor]) -> None:
    prompt = torch.zeros(8, 4, dtype=torch.int64)
    for x in batches():
        torch.testing.assert_close(ours(x), theirs(prompt, x), rtol=0, atol=0)


@pytest.mark.parametrize("written", [0, 2, 3])
def test_texts_are_as_long_at_least_as_with_transformers(written: int) -> None:
    f, theirs = MinTokens(3, ends=[5, 9]), hf.MinNewTokensLengthLogitsProcessor(4, 3, [5, 9])
    for x in batches():
        state = f.start([[0] * 4] * 8) + written
        assert torch.equal(f.apply(x.clone(), state, NOISE), theirs(torch.zeros(8, 4 + written, dtype=torch.int64), x))


def test_top_h_bounds_the_entropy_of_what_it_keeps_which_transformers_does_not() -> None:
    x = torch.randn(200, 60, generator=torch.Generator().manual_seed(5)).double() * 2  # fewer than their 100
    bound = 0.5 * entropy(x)
    assert (entropy(TopH(0.5)(x)) <= bound).all()
    theirs = hf.TopHLogitsWarper(0.5)(None, x)
    assert (entropy(theirs) > bound).any()
    flat = torch.zeros(1, 10) - torch.arange(10) * 1e-6  # ten all but equal tokens
    assert (hf.TopHLogitsWarper(0.45)(None, flat) > -INF).sum() == 4
    assert (TopH(0.45)(flat) > -INF).sum() == 2  # log 2 <= 0.45 log 10 < log 3


def entropy(x: Tensor) -> Tensor:
    p = x.softmax(-1)
    return -torch.special.xlogy(p, p).sum(-1)


TEN = [0.1] * 10
STEPS = [0.4, 0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("f", "p", "kept"),
    [
        # The logits are 0, 0.2877, 0.6931, 1.3863 below the largest, 0.5918 on average: sigma is 0.5206.
        (TopNSigma(0.5), STEPS, 1),
        (TopNSigma(0.6), STEPS, 2),
        (TopNSigma(1.2), STEPS, 2),  # three, if the squares were divided by 3
        (TopNSigma(1.34), STEPS, 3),
        (TopNSigma(2.66), STEPS, 3),
        (TopNSigma(2.67), STEPS, 4),
        # H = 1.2799; |-log p - H| is 0.3636, 0.0759, 0.3296, 1.0227: in the order of 0.3, 0.2, 0.4, 0.1.
        (Typical(0.29), STEPS, {1}),
        (Typical(0.49), STEPS, {1, 2}),
        (Typical(0.89), STEPS, {0, 1, 2}),
        (Typical(0.91), STEPS, 4),
        # Second differences 0, 0.15, 0.05: after the one at place 1 they are 0.75 of all, after that at place 2 all.
        (TailFree(0.7), [0.5, 0.3, 0.1, 0.05, 0.05], 1),
        (TailFree(0.9), [0.5, 0.3, 0.1, 0.05, 0.05], 2),
        (TailFree(1.0), [0.5, 0.3, 0.1, 0.05, 0.05], 5),
        (TailFree(0.01), [0.7, 0.2, 0.1], 3),  # one second difference: no place after the first
        (TailFree(0.5), [0.28, 0.24, 0.2, 0.16, 0.12], 1),  # all 0: each of the three counts 1
        (TailFree(0.7), [0.28, 0.24, 0.2, 0.16, 0.12], 2),
        (TailFree(0.5), TEN, 10),
        (Epsilon(0.25), [0.5, 0.25, 0.25], 3),  # at least, and exp(log 1/2) is 1/2 to the bit
        (Epsilon(0.2500001), [0.5, 0.25, 0.25], 1),
        # Tops at least the threshold: all but the last go.
        (XTC(0.09, 1.0), STEPS, {3}),
        (XTC(0.15, 1.0), STEPS, {2, 3}),
        (XTC(0.25, 1.0), STEPS, {1, 2, 3}),
        (XTC(0.35, 1.0), STEPS, 4),
        (XTC(0.45, 1.0), STEPS, 4),
    ],
    ids=repr,
)
def test_what_is_kept_is_what_was_worked_out_by_hand(f: Any, p: list[float], kept: int | set[int]) -> None:
    x = torch.tensor([p], dtype=torch.float64).log()
    y = f.apply(x.clone(), None, NOISE) if isinstance(f, XTC) else f(x)
    assert set((y[0] > -INF).nonzero()[:, 0].tolist()) == (set(range(kept)) if isinstance(kept, int) else kept)


@pytest.mark.parametrize(
    ("low", "high", "exponent", "t"),
    [
        # H of 0.4, 0.3, 0.2, 0.1 is 1.27985, and log 4 is 1.38629: 0.92322 of it.
        (0.5, 1.5, 1.0, 1.42322),
        (0.0, 2.0, 1.0, 1.84644),
        (0.5, 1.5, 2.0, 1.35233),
        (0.7, 0.7, 1.0, 0.7),
    ],
)
def test_dynamic_temperature_is_what_was_worked_out_by_hand(low: float, high: float, exponent: float, t: float) -> None:
    x = torch.tensor([STEPS], dtype=torch.float64).log()
    y = DynamicTemperature(low, high, exponent)(x)
    torch.testing.assert_close(y, (x - x.max()) / t, rtol=1e-5, atol=0)
