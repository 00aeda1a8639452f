"""Requests become chunks: the loop's token ids meet the rows' text."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager

from aigc.kernels import Status
from aigc.text.contrastive import ContrastiveLoop
from aigc.text.loop import Drawn, Loop
from aigc.text.results import Chunk
from aigc.text.rows import Step, Written
from aigc.text.speculation import SpeculativeLoop

__all__ = ["write"]


def write(
    rows: Sequence[Written],
    loop: Loop | SpeculativeLoop | ContrastiveLoop,
    *,
    ends: Collection[int],
    turn: AbstractContextManager[object],
) -> Iterator[Step]:
    """Runs a batch, and yields what each step wrote.

    Args:
        rows: The rows, in the order that the loop holds them.
        loop: Draws their tokens.
        ends: The ids that end a text.
        turn: Held while a step runs, and never while the caller has one.
    """
    while True:
        with turn:
            drawn = next(loop, None)
        if drawn is None:
            return
        step: Step = []
        for each in drawn:
            row = rows[each.row]
            if row.finish_reason is None:  # tokens that were guessed may lie behind a text's end
                step.append((row, _push(row, each, ends)))
                if row.finish_reason is not None:
                    loop.drop(each.row)
        yield step


def _push(row: Written, drawn: Drawn, ends: Collection[int]) -> Chunk:
    if drawn.status is Status.OK:
        return row.push(drawn.token, drawn.logprob, end=drawn.token in ends)
    return row.end(drawn.status)
