"""What a filter and a sampler owe, as laws that can be tried on yours.

A law is a function that raises AssertionError where it does not hold; its docstring is the law. The checks try each law on
many batches, and show the smallest batch found on which one breaks.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from aigc import kernels
from aigc._checks import fail, fail_type, flag, function, integer, number
from aigc.errors import ParameterError
from aigc.kernels import Draw, Status
from aigc.sampling import Filter, Noise, Sampler, as_sampler, select
from aigc.sampling.parts import check_rows
from aigc.testing import strategies
from aigc.testing.fit import chi_square

try:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
except ImportError:
    raise ImportError("aigc.testing needs hypothesis: pip install 'aigc[testing]'") from None

__all__ = ["FILTER_LAWS", "SAMPLER_LAWS", "TRUNCATION_LAWS", "check_filter", "check_sampler"]

FilterLaw = Callable[[Filter, Tensor], None]
SamplerLaw = Callable[[Sampler[Any], Tensor, int], None]


def check_filter(f: Filter, *, truncation: bool = False, vocabulary: int | None = None, examples: int = 100) -> None:
    """Checks that a filter keeps the laws of filters.

    Args:
        f: Maps logits `(rows, vocab)` to logits of the same shape. Its parameters are to be the same for all rows.
        truncation: Whether it also owes the laws of truncations: it keeps tokens by a threshold, and changes no other.
        vocabulary: How many tokens it works on; None for any number.
        examples: How many batches to try for each law.

    Raises:
        AssertionError: If a law is broken; it says which, and notes show on which logits.
        ParameterError: If that is no filter without memory, has parameters per row, or another argument is out of range.

    Example:
        >>> from aigc.sampling import TopK
        >>> check_filter(TopK(3), truncation=True, examples=10)
        >>> def exactly_three(logits):
        ...     values, ids = logits.topk(min(3, logits.shape[-1]))
        ...     return torch.full_like(logits, -torch.inf).scatter(-1, ids, values)
        >>> try:
        ...     check_filter(exactly_three, truncation=True)
        ... except AssertionError as error:
        ...     print(error)
        exactly_three breaks the law that a truncation keeps what is as large as what it keeps.
    """
    if isinstance(f, type) or not callable(f):
        cure = "For samplers, and for filters with memory, there is check_sampler."
        raise fail_type("f", "a filter, which maps logits to logits", f, cure)
    flag("truncation", truncation)
    _check_arguments("f", f, vocabulary, examples)
    rows = strategies.logits(columns=vocabulary, bad=True)
    # Whole numbers tie often, and no sum of theirs depends on the order that it is taken in by enough to tell.
    whole = strategies.logits(columns=vocabulary).map(lambda x: (x.float().clamp(-50, 50).round() + 0.0).to(x.dtype))
    for law in FILTER_LAWS:
        _try(law, f, examples, rows)
    for law in TRUNCATION_LAWS if truncation else ():
        _try(law, f, examples, whole)


def check_sampler(
    sampler: Sampler[Any] | Filter,
    *,
    law: Callable[[Tensor], Tensor] | None = None,
    vocabulary: int | None = None,
    examples: int = 50,
    draws: int = 20_000,
    alpha: float = 1e-6,
) -> None:
    """Checks that a sampler keeps the laws of samplers, and draws as often as it says.

    Of a sampler that tosses a coin before it draws, as `XTC` does, a token has two log-probabilities, and neither says how
    often it is drawn: try the laws in `SAMPLER_LAWS` on it one by one.

    Args:
        sampler: A sampler, or a filter to draw from.
        law: The probabilities `(vocab,)` that it should draw by, given logits `(vocab,)` after a prompt of the token 0. Its
            own log-probabilities are compared with how often it draws in any case.
        vocabulary: How many tokens it works on; None for any number.
        examples: How many batches to try for each law.
        draws: How many draws to count.
        alpha: The share of true laws that a count may reject, all counts together.

    Raises:
        AssertionError: If a law is broken; it says which.
        ParameterError: If that is no sampler, has parameters per row, or another argument is out of range.

    Example:
        >>> from aigc.sampling import Temperature
        >>> check_sampler(Temperature(0.5), law=lambda logits: (logits / 0.5).softmax(-1), examples=5)
        >>> try:
        ...     check_sampler(Temperature(0.5), law=lambda logits: (logits / 0.6).softmax(-1), examples=5)
        ... except AssertionError as error:
        ...     print(error)
        Categorical breaks the law that a sampler draws by the law that it was given.
    """
    whole = as_sampler(sampler)
    _check_arguments("sampler", whole, vocabulary, examples)
    integer("draws", draws, low=1, cure="Take 20_000.")
    if not 0 < number("alpha", alpha, low=0, high=1) < 1:
        raise fail("alpha", "strictly between 0 and 1", alpha, "Take 1e-6.")
    function("law", law, "a function from logits to probabilities, or None")
    for one in SAMPLER_LAWS:
        _try(one, whole, examples, strategies.logits(columns=vocabulary, bad=True), strategies.seeds())
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(vocabulary or 50, generator=generator) * scale for scale in (0.5, 1.0, 3.0)]
    tests = len(batches) * (1 if law is None else 2)
    for logits in batches:
        draw = _draws(whole, logits, draws)
        with _named(whole, _as_claimed):
            _as_claimed(draw, len(logits), alpha / tests)
        if law is not None:
            with _named(whole, _by_law):
                _by_law(draw, _lawful(law(logits), logits), alpha / tests)


def _check_arguments(name: str, subject: object, vocabulary: int | None, examples: int) -> None:
    """Checks what both checks take."""
    try:
        check_rows(subject, None)
    except ParameterError:
        cure = "Batches of any size are tried."
        raise fail(name, "of plain numbers, the same for all rows", subject, cure) from None
    if vocabulary is not None:
        integer("vocabulary", vocabulary, low=1)
    integer("examples", examples, low=1)


def _lawful(found: object, logits: Tensor) -> Tensor:
    """Checks what a law returned."""
    if not isinstance(found, Tensor):
        raise fail_type("law", "a function that returns probabilities, a tensor", found)
    if found.shape != logits.shape:
        raise fail("law", f"a function that returns probabilities of shape {tuple(logits.shape)}", tuple(found.shape))
    return found


def _try(law: Callable[..., None], subject: object, examples: int, *batches: SearchStrategy[Any]) -> None:
    """Tries a law on many batches."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*batches))
    def holds(batch: tuple[Any, ...]) -> None:
        law(subject, *batch)

    with _named(subject, law):
        holds()


@contextmanager
def _named(subject: object, law: Callable[..., None]) -> Iterator[None]:
    """Makes the error of a broken law say which it is, and of what."""
    try:
        yield
    except AssertionError as error:
        name = getattr(subject, "__name__", type(subject).__name__)
        sentence = law.__doc__ or law.__name__
        broken = AssertionError(f"{name} breaks the law that {sentence[0].lower()}{sentence[1:]}")
        for note in [*map(str, error.args), *getattr(error, "__notes__", [])]:
            broken.add_note(note)
        raise broken from None


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | (a.isnan() & b.isnan())).all())


def _status(x: Tensor) -> Tensor:
    return kernels.sample(x, seed=0, temperature=0).status


def _keeps_the_shape(f: Filter, x: Tensor) -> None:
    """A filter returns floating logits of the shape that it was given."""
    y = f(x.clone())
    assert isinstance(y, Tensor), f"it returned {y!r}"
    assert y.shape == x.shape
    assert y.is_floating_point()


def _leaves_its_input(f: Filter, x: Tensor) -> None:
    """A filter leaves its input as it was."""
    before = x.clone()
    f(x)
    assert _same(x, before)


def _repeats(f: Filter, x: Tensor) -> None:
    """A filter returns the same for the same logits."""
    assert _same(f(x.clone()), f(x.clone()))


def _takes_rows_alone(f: Filter, x: Tensor) -> None:
    """A filter does to a row what it does to the row alone."""
    assert _same(f(x.clone()), torch.cat([f(row[None].clone()) for row in x]))


def _sees_no_strides(f: Filter, x: Tensor) -> None:
    """A filter does not depend on how memory is laid out."""
    assert _same(f(x), f(x.clone(memory_format=torch.contiguous_format)))


def _revives_nothing(f: Filter, x: Tensor) -> None:
    """A filter leaves -inf as it is, in rows that can be drawn from."""
    good = x[_status(x) == Status.OK]
    assert (f(good.clone())[good == -math.inf] == -math.inf).all()


def _leaves_a_token(f: Filter, x: Tensor) -> None:
    """A filter leaves every row a token that can be drawn, if it had one."""
    good = x[_status(x) == Status.OK]
    assert (_status(f(good.clone())) == Status.OK).all()


def _shows_bad_rows(f: Filter, x: Tensor) -> None:
    """A filter leaves bad rows bad, for the draw to report."""
    before = _status(x)
    assert ((_status(f(x.clone())) != Status.OK) | (before == Status.OK)).all()


FILTER_LAWS: tuple[FilterLaw, ...] = (
    _keeps_the_shape,
    _leaves_its_input,
    _repeats,
    _takes_rows_alone,
    _sees_no_strides,
    _revives_nothing,
    _leaves_a_token,
    _shows_bad_rows,
)


def _keeps_a_largest(f: Filter, x: Tensor) -> None:
    """A truncation keeps the largest logit of a row."""
    assert ((f(x.clone()) > -math.inf) & (x == x.amax(-1, keepdim=True))).any(-1).all()


def _keeps_an_upper_set(f: Filter, x: Tensor) -> None:
    """A truncation keeps what is as large as what it keeps."""
    kept = f(x.clone()) > -math.inf
    low = x.where(kept, math.inf).amin(-1, keepdim=True)
    assert torch.equal(kept, (x >= low) & (x > -math.inf))


def _leaves_what_it_keeps(f: Filter, x: Tensor) -> None:
    """A truncation changes no logit that it keeps."""
    y = f(x.clone())
    assert _same(y, x.where(y > -math.inf, -math.inf))


def _ignores_the_order(f: Filter, x: Tensor) -> None:
    """A truncation does not depend on the order of the vocabulary."""
    assert _same(f(x.flip(-1)), f(x.clone()).flip(-1))
    assert _same(f(x.roll(1, -1)), f(x.clone()).roll(1, -1))


TRUNCATION_LAWS: tuple[FilterLaw, ...] = (
    _keeps_a_largest,
    _keeps_an_upper_set,
    _leaves_what_it_keeps,
    _ignores_the_order,
)


def _draws_what_it_may(sampler: Sampler[Any], x: Tensor, seed: int) -> None:
    """A sampler draws a token that a row has, or says why it has none."""
    draw, _ = sampler.step(x.clone(), sampler.init([[0]] * len(x)), _noise(x, seed, 0))
    assert all(field.shape == (len(x),) for field in draw)
    assert [field.dtype for field in draw] == [torch.int64, torch.float32, torch.int64, torch.float32, torch.int64]
    fine = draw.status == Status.OK
    assert torch.equal(fine, _status(x) == Status.OK)
    assert (draw.token[~fine] == -1).all()
    token = draw.token[fine, None]
    assert ((token >= 0) & (token < x.shape[-1])).all()
    assert (x[fine].gather(-1, token) > -math.inf).all()
    assert (draw.logprob[fine] <= 1e-5).all()
    assert (draw.kept[fine] >= 1).all()


def _is_pure(sampler: Sampler[Any], x: Tensor, seed: int) -> None:
    """A sampler leaves logits and state as they were, and repeats with the same noise."""
    before, state, noise = x.clone(), sampler.init([[0]] * len(x)), _noise(x, seed, 0)
    first, _ = sampler.step(x, state, noise)
    again, _ = sampler.step(x, state, noise)
    assert _same(x, before)
    assert all(map(_same, first, again))


def _draws_rows_alone(sampler: Sampler[Any], x: Tensor, seed: int) -> None:
    """A sampler draws for a row what it draws for the row alone."""
    together = _steps(sampler, x, seed, [*range(len(x))])
    for i in range(len(x)):
        alone = _steps(sampler, x, seed, [i])
        assert all(_same(one[i : i + 1], other) for one, other in zip(together, alone, strict=True))


def _lets_rows_leave(sampler: Sampler[Any], x: Tensor, seed: int) -> None:
    """A sampler draws the same for a row when others have left by `select`."""
    _, state = sampler.step(x, sampler.init([[0]] * len(x)), _noise(x, seed, 0))
    alive = torch.arange(0, len(x), 2)
    all_of_them, _ = sampler.step(x, state, _noise(x, seed, 1))
    left, _ = sampler.step(x[alive], select(state, alive), _noise(x, seed, 1).select(alive))
    assert all(_same(one[alive], other) for one, other in zip(all_of_them, left, strict=True))


SAMPLER_LAWS: tuple[SamplerLaw, ...] = (_draws_what_it_may, _is_pure, _draws_rows_alone, _lets_rows_leave)


def _noise(x: Tensor, seed: int, step: int) -> Noise:
    return Noise.of(seed ^ torch.arange(len(x)), step)


def _steps(sampler: Sampler[Any], x: Tensor, seed: int, rows: Sequence[int]) -> Draw:
    """The second draw of some rows."""
    at = torch.tensor(rows)
    _, state = sampler.step(x[at], sampler.init([[0]] * len(rows)), _noise(x, seed, 0).select(at))
    return sampler.step(x[at], state, _noise(x, seed, 1).select(at))[0]


def _draws(sampler: Sampler[Any], logits: Tensor, count: int) -> Draw:
    """Draws of as many seeds from one row."""
    parts = []
    for first in range(0, count, 1000):
        seeds = torch.arange(first, min(first + 1000, count))
        x = logits.expand(len(seeds), -1)
        parts.append(sampler.step(x, sampler.init([[0]] * len(seeds)), Noise.of(seeds, 0))[0])
    return Draw(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def _as_claimed(draw: Draw, vocabulary: int, alpha: float) -> None:
    """A sampler draws a token as often as its log-probability says."""
    counts = torch.bincount(draw.token, minlength=vocabulary).double()
    claimed = torch.zeros(vocabulary + 1, dtype=torch.float64)
    claimed[draw.token] = draw.logprob.double().exp()
    assert _same(claimed[draw.token], draw.logprob.double().exp()), "one token, two log-probabilities"
    rest = 1 - float(claimed.sum())  # of what was never drawn
    assert rest > -1e-5, "the probabilities of what was drawn add up to more than 1"
    claimed[-1] = rest if rest > 1e-5 else 0.0
    p = chi_square(torch.cat([counts, torch.zeros(1)]), claimed / claimed.sum())
    assert p > alpha, f"p-value {p:.1e}"


def _by_law(draw: Draw, probabilities: Tensor, alpha: float) -> None:
    """A sampler draws by the law that it was given."""
    counts = torch.bincount(draw.token, minlength=len(probabilities)).double()
    p = chi_square(counts, probabilities.double() / probabilities.double().sum())
    assert p > alpha, f"p-value {p:.1e}"
