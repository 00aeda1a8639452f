"""Requests become chunks: the loop's token ids meet the rows' text."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from aigc.kernels import Status
from aigc.sampling import Sampler
from aigc.text.decoding import TextDecoder
from aigc.text.gaps import GapRow
from aigc.text.loop import Forward, Loop
from aigc.text.masked import MaskedForward
from aigc.text.results import Chunk
from aigc.text.rows import Request, Row
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
) -> Iterator[tuple[Row | GapRow, Chunk]]:
    """Runs requests as one batch, and yields each token's chunk with the row it belongs to.

    Args:
        requests: The rows.
        model: Holds the rows' prompts, in the same order.
        sampler: Draws for these rows.
        decode: From ids to text, without special tokens.
        ends: The ids that end a text.
        stops: The strings that do.
    """
    rows: Sequence[Row | GapRow]
    if isinstance(model, MaskedForward):
        rows = model.rows(requests)
    else:
        rows = [Row(request, TextDecoder(decode, prompt=request.ids), StopStrings(stops)) for request in requests]
    prompts, seeds = [request.ids for request in requests], [request.seed for request in requests]
    loop = Loop(model, sampler, prompts=prompts, seeds=seeds)
    for step in loop:
        for drawn in step:
            row = rows[drawn.row]
            if drawn.status is Status.OK:
                chunk = row.push(drawn.token, drawn.logprob, end=drawn.token in ends)
            else:
                chunk = row.fail(drawn.status)
            if chunk.finish_reason is not None:
                loop.drop(drawn.row)
            yield row, chunk
