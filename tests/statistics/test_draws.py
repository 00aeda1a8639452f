"""Goodness of fit. Every test here rejects a true law once in 10^6 runs (alpha); its twin shows that it can reject.

Seeds are fixed, so a pass is a pass: alpha says how unlikely it was to need another seed.
"""

import math

import pytest
import torch
from torch import Tensor

from aigc import kernels, random
from aigc.sampling import Filter, Temperature, TopK, TopP, chain
from aigc.testing import chi_square, z_score

ALPHA = 1e-6
DRAWS = 200_000


def drawn(logits: Tensor, f: Filter | None = None, *, count: int = DRAWS, **parameters: float) -> Tensor:
    x = logits if f is None else f(logits)
    parts = torch.arange(count).split(4000)
    tokens = [kernels.sample(x.expand(len(part), -1), seed=part, step=3, **parameters).token for part in parts]
    return torch.bincount(torch.cat(tokens), minlength=len(logits)).double()


LOGITS = torch.randn(12, generator=torch.Generator().manual_seed(1))
WIDE = torch.randn(3000, generator=torch.Generator().manual_seed(2)) * 1.5


def test_filtered_draws_follow_the_filtered_law() -> None:
    law = chain(Temperature(0.8), TopK(7), TopP(0.9))(LOGITS).double().softmax(-1)
    assert chi_square(drawn(LOGITS, temperature=0.8, top_k=7, top_p=0.9), law) > ALPHA


def test_twin_a_slightly_wrong_temperature_is_rejected() -> None:
    law = chain(Temperature(0.8), TopK(7), TopP(0.9))(LOGITS).double().softmax(-1)
    assert chi_square(drawn(LOGITS, temperature=0.85, top_k=7, top_p=0.9), law) < ALPHA


def test_two_level_draws_follow_the_law() -> None:
    """3,000 survivors: blocks first, then a token."""
    assert chi_square(drawn(WIDE, count=40_000), WIDE.double().softmax(-1)) > ALPHA


MILLION = [{}, {"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 100, "min_p": 0.01}, {"top_k": 300, "top_p": 0.8}]


@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", [10, 1000])
@pytest.mark.parametrize("parameters", MILLION)
def test_a_million_draws_follow_the_law(vocabulary: int, parameters: dict[str, float]) -> None:
    law = WIDE[:vocabulary].double() / parameters.get("temperature", 1.0)
    kept = {name: value for name, value in parameters.items() if name != "temperature"}
    law = law.masked_fill(WIDE[:vocabulary] < kernels.threshold(WIDE[:vocabulary], **kept), -math.inf).softmax(-1)
    assert chi_square(drawn(WIDE[:vocabulary], count=1_000_000, **parameters), law) > ALPHA / (2 * len(MILLION))


def test_twin_the_same_noise_on_both_levels_is_rejected() -> None:
    """Had the blocks no noise indices of their own, block and token would not be independent."""
    count, seeds = 60_000, torch.arange(60_000)[:, None]
    z = torch.nn.functional.pad(WIDE.double(), (0, -3000 % 256), value=-math.inf).view(-1, 256)
    blocks = torch.arange(len(z))
    chosen = (z.logsumexp(-1) + random.gumbel(seeds, 3, blocks)).argmax(-1)
    tokens = chosen[:, None] * 256 + torch.arange(256)
    best = (z.flatten()[tokens] + random.gumbel(seeds, 3, torch.arange(256))).argmax(-1)
    counts = torch.bincount(chosen * 256 + best, minlength=3000)[:3000].double()
    assert counts.sum() == count
    assert chi_square(counts, WIDE.double().softmax(-1)) < ALPHA


def test_the_far_tail_is_drawn_as_often_as_it_should() -> None:
    """A token against 2^18 others, 18 to 20.5 nats below: noise of 24 bits, or in float32, hardly draws any of these."""
    logits = torch.cat([torch.zeros(1), -torch.linspace(18, 20.5, 2**18)])
    probability = float(logits.double().softmax(-1)[1:].sum())
    parts = torch.arange(DRAWS // 8).split(50)
    drawn = [kernels.sample(logits.expand(len(part), -1), seed=part, step=0).token for part in parts]
    assert (
        abs(z_score(float((torch.cat(drawn) > 0).sum()), DRAWS // 8, probability)) < 4.89
    )  # about 37 are expected: alpha 10^-5


def test_twin_uniforms_of_16_bits_miss_the_tail() -> None:
    """Their Gumbel noise is at most 11.8, so a token 14 nats below the first hardly ever wins."""
    tail, count, missed = 2**14, 2000, 0.0
    for seeds in torch.arange(count).split(100):
        u = (random.uniform(seeds[:, None], 0, torch.arange(tail + 1)) * 2**16).floor().add(0.5) / 2**16
        score = -(-u.log()).log()
        score[:, 1:] -= 14.0
        missed += float((score.argmax(-1) > 0).sum())
    probability = tail * math.exp(-14) / (1 + tail * math.exp(-14))
    assert z_score(missed, count, probability) < -4.89


def test_steps_and_seeds_are_independent() -> None:
    """Draws of neighbouring steps, and of neighbouring seeds, pair up as independent ones do."""
    count, law = 100_000, LOGITS[:5].double().softmax(-1)
    seeds = torch.arange(count)
    x = LOGITS[:5].expand(count, -1)
    first = kernels.sample(x, seed=seeds, step=0).token
    for one, other in ((first, kernels.sample(x, seed=seeds, step=1).token), (first[::2], first[1::2])):
        pairs = torch.bincount(one * 5 + other, minlength=25).double()
        assert chi_square(pairs, (law[:, None] * law).flatten()) > ALPHA


def test_twin_a_repeated_step_is_rejected() -> None:
    count, law = 100_000, LOGITS[:5].double().softmax(-1)
    first = kernels.sample(LOGITS[:5].expand(count, -1), seed=torch.arange(count), step=0).token
    pairs = torch.bincount(first * 5 + first, minlength=25).double()
    assert chi_square(pairs, (law[:, None] * law).flatten()) < ALPHA


def test_normals_are_normal() -> None:
    x = random.normal(11, torch.arange(DRAWS))
    edges = torch.tensor([-2.0, -1.0, -0.3, 0.0, 0.3, 1.0, 2.0], dtype=torch.float64)
    cuts = torch.cat([torch.zeros(1), torch.special.ndtr(edges), torch.ones(1)])
    counts = torch.bincount(torch.bucketize(x, edges), minlength=8).double()
    assert chi_square(counts, cuts.diff().double()) > ALPHA
    assert chi_square(torch.bincount(torch.bucketize(x * 1.02, edges), minlength=8).double(), cuts.diff().double()) < ALPHA
