"""Steps become completions; an interruption, or an error, keeps those that are finished."""

import warnings
from collections.abc import Generator, Iterable, Sequence

from aigc.errors import GenerationError, ResourceError
from aigc.text.progress import Reporter
from aigc.text.results import Completion, Completions
from aigc.text.rows import Request, Step, Written

__all__ = ["collect", "each"]


def collect(
    rows: Sequence[Request], steps: Iterable[Step], *, done: dict[int, Completion], logprobs: bool, reporter: Reporter
) -> Completions:
    """Gathers the completions of a call in the order of its rows.

    A KeyboardInterrupt ends it with what is finished, and the other rows marked; with nothing finished there is nothing to
    return, and the interrupt goes on. An error goes on, and takes the same with it.

    Args:
        rows: All rows of the call.
        steps: What is written of those that are not done.
        done: Completions that are there already; takes the others in.
        logprobs: Whether completions keep their log-probabilities.
        reporter: Is told of each step.
    """
    begun: dict[int, Written] = {}
    try:
        for step in steps:
            for row, chunk in step:
                begun[chunk.index] = row
                if chunk.finish_reason is not None:
                    done[chunk.index] = row.completion(logprobs=logprobs)
                    del begun[chunk.index]
            reporter.step(step)
    except KeyboardInterrupt:
        partial = _partial(rows, done, begun, logprobs=logprobs)
        if len(partial.unfinished) == len(rows):
            raise
        warnings.warn(f"interrupted: {_advice(partial, 'what this call returned')}", RuntimeWarning, stacklevel=4)
        return partial
    except (GenerationError, ResourceError) as error:
        partial = _partial(rows, done, begun, logprobs=logprobs)
        error.completions = partial
        error.add_note(_advice(partial, "error.completions"))
        raise
    finally:
        reporter.close()
    return Completions(tuple(done[row.index] for row in rows))


def each(steps: Iterable[Step], *, logprobs: bool, reporter: Reporter) -> Generator[tuple[int, Completion], None, None]:
    """Yields the place and the completion of each row when it is finished, and holds none."""
    try:
        for step in steps:
            reporter.step(step)
            for row, chunk in step:
                if chunk.finish_reason is not None:
                    yield chunk.index, row.completion(logprobs=logprobs)
    finally:
        reporter.close()


def _partial(
    rows: Sequence[Request], done: dict[int, Completion], begun: dict[int, Written], *, logprobs: bool
) -> Completions:
    def completion(request: Request) -> Completion:
        if request.index in done:
            return done[request.index]
        if (row := begun.get(request.index)) is None:
            return request.unwritten(logprobs=logprobs)
        # The interrupt may have come after a row's last token, and before the row was taken in here.
        return row.completion(logprobs=logprobs, interrupted=not row.whole)

    return Completions(tuple(map(completion, rows)))


def _advice(partial: Completions, where: str) -> str:
    finished = len(partial) - len(partial.unfinished)
    return f"{finished:,} of {len(partial):,} texts are finished. The same call with resume= and {where} writes the others."
