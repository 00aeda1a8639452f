"""Each law that is shipped kills a mutant, and the tests of fit reject a law that is slightly wrong."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import find, given
from torch import Tensor

from aigc.errors import ParameterError
from aigc.kernels import Draw
from aigc.sampling import Categorical, Mirostat, Noise, RepetitionPenalty, Temperature, TopK, chain
from aigc.testing import FILTER_LAWS, SAMPLER_LAWS, TRUNCATION_LAWS, check_filter, check_sampler, chi_square, z_score
from aigc.testing.strategies import DTYPES, logits


def flattens(x: Tensor) -> Tensor:
    return x.reshape(-1)


def in_place(x: Tensor) -> Tensor:
    return x.mul_(0.5)


def of_its_own_mood(x: Tensor, calls: list[int] = []) -> Tensor:  # noqa: B006
    calls.append(0)
    return x + len(calls) % 2


def by_the_batch(x: Tensor) -> Tensor:
    return x - x.nan_to_num(0, 0, 0).double().mean().to(x.dtype)


def by_the_strides(x: Tensor) -> Tensor:
    return x + 1 if x.is_contiguous() else x


def reviving(x: Tensor) -> Tensor:
    return x.where(x > -math.inf, -1.0).where(x.isfinite() | (x == -math.inf), x)


def emptying(x: Tensor) -> Tensor:
    return x.masked_fill(x <= 0, -math.inf)


def hiding(x: Tensor) -> Tensor:
    return x.nan_to_num(0.0, 0.0, -math.inf)


FILTERS = {
    "_keeps_the_shape": flattens,
    "_leaves_its_input": in_place,
    "_repeats": of_its_own_mood,
    "_takes_rows_alone": by_the_batch,
    "_sees_no_strides": by_the_strides,
    "_revives_nothing": reviving,
    "_leaves_a_token": emptying,
    "_shows_bad_rows": hiding,
}


def without_the_largest(x: Tensor) -> Tensor:
    return x.masked_fill((x == x.amax(-1, keepdim=True)) & (x > x.amin(-1, keepdim=True)), -math.inf)


def exactly_two(x: Tensor) -> Tensor:
    values, ids = x.topk(min(2, x.shape[-1]))
    return torch.full_like(x, -math.inf).scatter(-1, ids, values)


def scaling(x: Tensor) -> Tensor:
    return x / 2


def the_first_half(x: Tensor) -> Tensor:
    """Keeps the largest of all, and what is as large as the second token."""
    low = torch.minimum(x.amax(-1), x[..., min(1, x.shape[-1] - 1)])
    return x.masked_fill(x < low[..., None], -math.inf)


TRUNCATIONS = {
    "_keeps_a_largest": without_the_largest,
    "_keeps_an_upper_set": exactly_two,
    "_leaves_what_it_keeps": scaling,
    "_ignores_the_order": the_first_half,
}


@dataclass(frozen=True)
class Changed:
    """A mutant of a sampler that works."""

    how: str
    calls: list[int]

    def init(self, prompts: Any) -> Any:
        return torch.arange(len(prompts)), [0]

    def step(self, x: Tensor, state: Any, noise: Noise) -> tuple[Draw, Any]:
        rows, steps = state
        inner = Categorical(Temperature(1.0))
        if self.how == "one noise":
            noise = Noise(noise.start[:1].expand(len(x)))
        if self.how == "row numbers":
            noise = Noise(noise.start + torch.arange(len(x)))
        if self.how == "counts":
            steps[0] += 1
            noise = Noise(noise.start + steps[0])
        draw, _ = inner.step(x, inner.init([[0]] * len(x)), noise)
        if self.how == "token 0":
            draw = draw._replace(token=torch.zeros_like(draw.token))
        if self.how == "claims":
            draw = draw._replace(logprob=draw.logprob * 1.1)
        return draw, (rows, steps)


SAMPLERS = {
    "_draws_what_it_may": "token 0",
    "_is_pure": "counts",
    "_draws_rows_alone": "one noise",
    "_lets_rows_leave": "row numbers",
}


@pytest.mark.parametrize("law", FILTER_LAWS, ids=lambda law: law.__name__)
def test_each_law_of_filters_kills(law: Any) -> None:
    mutant = FILTERS[law.__name__]
    find(logits(bad=True), lambda x: breaks(law, mutant, x))
    with pytest.raises(AssertionError, match=mutant.__name__):
        check_filter(mutant)


@pytest.mark.parametrize("law", TRUNCATION_LAWS, ids=lambda law: law.__name__)
def test_each_law_of_truncations_kills(law: Any) -> None:
    mutant = TRUNCATIONS[law.__name__]
    find(logits().map(torch.round), lambda x: breaks(law, mutant, x))
    with pytest.raises(AssertionError, match="breaks the law that"):
        check_filter(mutant, truncation=True)


@pytest.mark.parametrize("law", SAMPLER_LAWS, ids=lambda law: law.__name__)
def test_each_law_of_samplers_kills(law: Any) -> None:
    find(logits(bad=True), lambda x: breaks(law, Changed(SAMPLERS[law.__name__], []), x, 5))
    with pytest.raises(AssertionError, match="Changed breaks the law that a sampler"):
        check_sampler(Changed(SAMPLERS[law.__name__], []))


def test_claims_that_are_not_kept_are_found() -> None:
    with pytest.raises(AssertionError, match="as often as its log-probability says"):
        check_sampler(Changed("claims", []), examples=1)


def breaks(law: Any, *arguments: Any) -> bool:
    try:
        law(*arguments)
    except AssertionError:
        return True
    return False


def test_a_law_of_rows_is_not_broken_by_what_is_right() -> None:
    check_filter(TopK(3), truncation=True)
    check_sampler(Changed("nothing", []), law=lambda x: x.softmax(-1))


def test_chi_square_is_uniform_under_the_law() -> None:
    """And so its own p-values are, over 2,000 samples: a chi-square test of the chi-square test, alpha 10^-6."""
    law = torch.tensor([0.5, 0.3, 0.15, 0.05])
    generator = torch.Generator().manual_seed(0)
    counts = torch.stack(
        [torch.bincount(torch.multinomial(law, 400, True, generator=generator), minlength=4) for _ in range(2000)]
    )
    p = torch.tensor([chi_square(one, law) for one in counts])
    assert chi_square(torch.histc(p, 10, 0, 1), torch.full((10,), 0.1)) > 1e-6
    wrong = torch.tensor([chi_square(one, torch.tensor([0.45, 0.35, 0.15, 0.05])) for one in counts])
    assert chi_square(torch.histc(wrong, 10, 0, 1), torch.full((10,), 0.1)) < 1e-6


def test_chi_square_knows_impossible_and_rare_bins() -> None:
    assert chi_square(torch.tensor([5.0, 1.0]), torch.tensor([1.0, 0.0])) == 0.0
    assert chi_square(torch.tensor([1000.0, 0.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])) == 1.0
    rare = torch.full((1000,), 1e-6)
    law = torch.cat([torch.tensor([1 - float(rare.sum())]), rare])
    assert chi_square(torch.cat([torch.tensor([99_900.0]), torch.ones(100), torch.zeros(900)]), law) > 0.1
    assert chi_square(torch.tensor([100_000.0, 1.0]), torch.tensor([1 - 1e-8, 1e-8], dtype=torch.float64)) > 0.1
    assert chi_square(torch.zeros(2), torch.tensor([0.5, 0.5])) == 1.0
    for bad in (torch.tensor([0.5, 0.6]), torch.tensor([1.0])):
        with pytest.raises(ValueError, match="probabilities must be"):
            chi_square(torch.tensor([1.0, 1.0]), bad)


def test_z_scores() -> None:
    assert z_score(50, 100, 0.5) == 0
    assert math.isclose(z_score(60, 100, 0.5), 2.0)
    with pytest.raises(ValueError, match="probability must be"):
        z_score(1, 10, 1.0)


@given(x=logits(bad=True))
def test_batches_are_as_said(x: Tensor) -> None:
    assert x.ndim == 2
    assert 1 <= len(x) <= 5
    assert 1 <= x.shape[1] <= 1500
    assert x.dtype in DTYPES


@pytest.mark.parametrize(
    "wanted",
    [
        lambda x: (x == -math.inf).any() and (x > -math.inf).any(),
        lambda x: x.isnan().any(),
        lambda x: (x == math.inf).any(),
        lambda x: (x == torch.finfo(x.dtype).min).any(),
        lambda x: ((x != 0) & (x.abs() < 1e-40)).any(),
        lambda x: not x.is_contiguous(),
        lambda x: x.stride(-1) == 2,
        lambda x: (x == x[:, :1]).all() and x.shape[1] > 3,
        lambda x: ((x > -math.inf).sum(-1) == 1).any() and x.shape[1] > 3,
    ],
)
def test_what_goes_wrong_in_practice_is_among_them(wanted: Any) -> None:
    assert wanted(find(logits(bad=True), lambda x: bool(wanted(x)))), "or hypothesis.errors.NoSuchExample"


def test_the_longest_vocabularies_are_there_when_asked_for() -> None:
    assert find(logits(most=262_144), lambda x: x.shape[1] == 262_144).shape[1] == 262_144


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: check_filter(3), "f must be a filter"),
        (lambda: check_filter(None), "f must be a filter"),
        (lambda: check_filter(Temperature), "f must be a filter"),
        (lambda: check_filter(Mirostat(3.0)), "f must be a filter.*there is check_sampler"),
        (lambda: check_filter(RepetitionPenalty(1.2)), "f must be a filter.*there is check_sampler"),
        (lambda: check_filter(Temperature(torch.tensor([1.0, 2.0]))), "f must be of plain numbers, the same for all rows"),
        (lambda: check_filter(chain(TopK(torch.tensor([1, 2])))), "f must be of plain numbers"),
        (lambda: check_filter(TopK(3), truncation="no"), "truncation must be True or False"),
        (lambda: check_filter(TopK(3), examples=0), "examples must be an integer of at least 1"),
        (lambda: check_filter(TopK(3), vocabulary=0), "vocabulary must be an integer of at least 1"),
        (lambda: check_sampler(3), "sampler must be"),
        (lambda: check_sampler(Temperature(torch.tensor([1.0, 2.0]))), "sampler must be of plain numbers"),
        (lambda: check_sampler(Mirostat(torch.tensor([1.0, 2.0]))), "sampler must be of plain numbers"),
        (lambda: check_sampler(TopK(3), examples=0), "examples must be"),
        (lambda: check_sampler(TopK(3), vocabulary=0), "vocabulary must be"),
        (lambda: check_sampler(TopK(3), draws=0), "draws must be"),
        (lambda: check_sampler(TopK(3), alpha=2), "alpha must be"),
        (lambda: check_sampler(TopK(3), alpha=math.nan), "alpha must be"),
        (lambda: check_sampler(TopK(3), alpha=0.0), "alpha must be strictly between 0 and 1"),
        (lambda: check_sampler(TopK(3), law=3), "law must be a function"),
        (lambda: check_sampler(TopK(3), law=lambda x: [1.0], examples=1, draws=9), "law must be a function that returns"),
        (lambda: check_sampler(TopK(3), law=lambda x: x[:1], examples=1, draws=9), r"of shape \(50,\), got \(1,\)"),
    ],
)
def test_what_cannot_be_checked_is_no_broken_law(call: Any, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        call()


def test_a_filter_that_returns_no_logits_breaks_the_first_law() -> None:
    with pytest.raises(AssertionError, match="returns floating logits of the shape"):
        check_filter(lambda x: 3)
