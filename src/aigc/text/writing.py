"""Requests become chunks: the loop's token ids meet the rows' text."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from aigc.kernels import Status
from aigc.sampling import Sampler
from aigc.text.decoding import TextDecoder
from aigc.text.loop import Drawn, Forward, Loop
from aigc.text.results import Chunk
from aigc.text.rows import Request, Row, Step
from aigc.text.stopping import StopStrings

__all__ = ["write"]


def write(
    requests: Sequence[Request],
    model: Forward,
    sampler: Sampler[Any],
    *,
    decode: Callable[[Sequence[int]], str],
    ends: Collection[int],
    stops: tuple[str, ...],
    turn: AbstractContextManager[object],
) -> Iterator[Step]:
    """Runs requests as one batch, and yields what each step wrote.

    Args:
        requests: The rows.
        model: Holds the rows' prompts, in the same order.
        sampler: Draws for these rows.
        decode: From ids to text, without special tokens.
        ends: The ids that end a text.
        stops: The strings that do.
        turn: Held while a step runs, and never while the caller has one.
    """
    rows = [Row(request, TextDecoder(decode, prompt=request.ids), StopStrings(stops)) for request in requests]
    prompts, seeds = [request.ids for request in requests], [request.seed for request in requests]
    loop = Loop(model, sampler, prompts=prompts, seeds=seeds)
    while True:
        with turn:
            drawn = next(loop, None)
        if drawn is None:
            return
        step = [(rows[each.row], _push(rows[each.row], each, ends)) for each in drawn]
        for each, (_, chunk) in zip(drawn, step, strict=True):
            if chunk.finish_reason is not None:
                loop.drop(each.row)
        yield step


def _push(row: Row, drawn: Drawn, ends: Collection[int]) -> Chunk:
    if drawn.status is Status.OK:
        return row.push(drawn.token, drawn.logprob, end=drawn.token in ends)
    return row.fail(drawn.status)
