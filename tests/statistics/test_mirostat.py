"""Mirostat: its steps by hand, and the surprise that it steers to."""

import math

import pytest
import torch
from torch import Tensor

from aigc import random
from aigc.kernels import Draw, Status
from aigc.sampling import Categorical, Mirostat, Noise, Temperature, TopK, chain

NOISE = Noise.of(torch.tensor([0]), 0)


def drawn(logprob: float) -> Draw:
    ok = torch.tensor([int(Status.OK)])
    return Draw(torch.tensor([0]), torch.tensor([logprob]), ok + 1, ok + 1.0, ok)


# As llama_sampler_init_mirostat_v2 does, of the llama.cpp in llama-cpp-python 0.3.36, but for ties.
@pytest.mark.parametrize(
    ("tau", "probabilities", "kept"),
    [
        (1.0, [0.5, 0.26, 0.24], [0, 1]),  # 2 bits at first: 0.25 and more
        (0.9, [0.5, 0.26, 0.24], [0]),
        (0.1, [0.4, 0.3, 0.3], [0]),  # the most likely is kept in any case
        (1.0, [0.25, 0.25, 0.25, 0.25], [0, 1, 2, 3]),
        (0.1, [0.3, 0.3, 0.4 / 3, 0.4 / 3, 0.4 / 3], [0, 1]),  # ties are kept together
    ],
)
def test_what_is_too_surprising_is_cut(tau: float, probabilities: list[float], kept: list[int]) -> None:
    x = torch.tensor([probabilities], dtype=torch.float64).log() + 3
    mirostat = Mirostat(tau)
    left = mirostat.apply(x.clone(), mirostat.start([[0]]), NOISE)
    assert (left > -math.inf).nonzero()[:, 1].tolist() == kept
    assert torch.equal(left[:, kept], x[:, kept])


def test_the_bound_moves_by_the_surprise_in_bits() -> None:
    mirostat = Mirostat(3.0, eta=0.5)
    state = mirostat.start([[0]])
    assert state.tolist() == [6.0]
    for logprob, expected in ((math.log(1 / 32), 6.0 - 0.5 * (5 - 3)), (0.0, 5.0 + 0.5 * 3)):
        state = mirostat.update(state, drawn(logprob))
        assert state.item() == pytest.approx(expected, rel=1e-6)  # a logprob is a float32


def surprises(sampler: object, logits: Tensor, steps: int) -> Tensor:
    """The surprise of each token of one text, in bits, under what was left."""
    run = Categorical(sampler)  # type: ignore[arg-type]
    state, start, found = run.init([[0]]), random.counter(torch.tensor([5]), 0), []
    for step in range(steps):
        # A model that is sure of some tokens and not of others.
        draw, state = run.step(logits * (0.4 + 0.4 * (step % 3)), state, Noise(start))
        start = random.advance(start, 1)
        found.append(-float(draw.logprob) / math.log(2))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("tau", [2.0, 4.0])
def test_the_mean_surprise_becomes_tau(tau: float) -> None:
    """z-test, alpha 1e-6; the steps correct each other, so that the mean is nearer than that of independent steps."""
    logits = -1.5 * torch.arange(1, 201).double().log()[None]

    def z(sampler: object) -> float:
        found = surprises(sampler, logits, 1200)[200:]
        return float((found.mean() - tau) / (found.std() / len(found) ** 0.5))

    for sampler in (Mirostat(tau), chain(TopK(100), Mirostat(tau)), chain(Temperature(1.5), Mirostat(tau, eta=0.3))):
        assert abs(z(sampler)) < 4.89
    # The twins: one that aims elsewhere, and one that does not aim.
    assert abs(z(Mirostat(tau + 1.0))) > 4.89
    assert abs(z(Temperature(2.0))) > 4.89
