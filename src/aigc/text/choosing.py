"""Of several samples of a prompt the best."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from aigc._checks import fail_type, integer
from aigc.errors import GenerationError
from aigc.kernels import Status
from aigc.text.results import Completion
from aigc.text.rows import Row, Step

__all__ = ["BestOf", "choose"]

Scorer = Callable[[Completion], float]


@dataclass(frozen=True, slots=True)
class BestOf:
    """Writes `of` samples of each prompt, and keeps the n best.

    A text that is kept has its own seed, which repeats it: `gen.generate(c.prompt, seed=[c.seed])` without a search. What
    ranked it is `Completion.score`.

    Args:
        of: Samples, at least n.
        scorer: A function from a `Completion` (with its log-probabilities) to a number, larger is better. None takes the
            mean log-probability of its tokens, under the distribution that they were drawn from.

    Raises:
        ParameterError: If `of` is less than 1, or `scorer` cannot be called.

    Example:
        >>> BestOf(8, scorer=lambda completion: -len(completion.text)).of
        8
    """

    of: int
    scorer: Scorer | None = None

    def __post_init__(self) -> None:
        integer("of", self.of, low=1)
        if self.scorer is not None and not callable(self.scorer):
            raise fail_type("scorer", "a function from a Completion to a number", self.scorer)

    def score(self, row: Row) -> float:
        """What ranks a text; the lowest of all for one that ended in error.

        Raises:
            GenerationError: If the scorer raises, or returns no number.
        """
        if row.status is not Status.OK:
            return -math.inf
        if self.scorer is None:
            return math.fsum(row.logprobs) / len(row.logprobs)
        completion = row.completion(logprobs=True)
        try:
            score = float(self.scorer(completion))
        except Exception as error:
            raise GenerationError(
                f"the scorer of BestOf failed on {completion!r}: {type(error).__name__}: {error}"
            ) from error
        if math.isnan(score):
            raise GenerationError(f"the scorer of BestOf must return a number, got NaN for {completion!r}.")
        return score


def choose(steps: Iterable[Step], given: BestOf, *, n: int) -> Iterator[Step]:
    """Holds texts until all samples of their prompt are there, and yields the `n` best, the best first.

    Args:
        steps: What is written; row `given.of * i + j` is the j-th sample of prompt i.
        given: How to choose.
        n: Texts per prompt; the j-th of prompt i gets the index `n * i + j`.
    """
    waiting: dict[int, list[Row]] = {}
    for step in steps:
        chosen: Step = []
        for row, chunk in step:
            if chunk.finish_reason is None:
                continue
            assert isinstance(row, Row), "checked with the arguments"
            row.score = given.score(row)
            prompt = row.request.index // given.of
            samples = waiting.setdefault(prompt, [])
            samples.append(row)
            if len(samples) == given.of:
                # Equals stand in the order of their rows, however batches ran.
                ranked = sorted(waiting.pop(prompt), key=_rank)
                for j, best in enumerate(ranked[:n]):
                    chosen += [(best, piece) for piece in best.chunks(n * prompt + j)]
        yield chosen


def _rank(row: Row) -> tuple[float, int]:
    assert row.score is not None, "it was scored"
    return -row.score, row.request.index
