"""The tokens of one forward: where they are written, and what they look at. The same for all layers, so made once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aigc.text.packed.attention import Bags, Query, bags, span
from aigc.text.packed.linear import LANES
from aigc.text.packed.parts import Attention
from aigc.text.packed.slots import BLOCK, Places, Slots

__all__ = ["Piece", "Steps", "Tokens", "chunks", "read"]

AllBags = dict[tuple[object, ...], list[Bags]]


class Piece(NamedTuple):
    """Tokens of one row that follow each other, from position `start` on."""

    row: int
    start: int
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """One forward's tokens.

    Attributes:
        ids: Token ids `(tokens,)`, with others behind them where they are fewer than `LANES`.
        positions: Of each id.
        count: How many are meant.
        furthest: The largest position.
        places: Where they are written.
        blocks: Slices of prompts, which look in blocks, and the first query of each; none if tokens look one by one.
        bags: What tokens that look one by one look at, by kind of attention.
        last: The last token of each piece.
    """

    ids: Tensor
    positions: Tensor
    count: int
    furthest: int
    places: Places
    blocks: list[tuple[slice, Query]]
    bags: AllBags
    last: Tensor


def chunks(pieces: Sequence[Piece], size: int) -> Iterator[list[Piece]]:
    """Parts pieces into forwards of at most `size` tokens, a multiple of `BLOCK`, cut at whole blocks."""
    part: list[Piece] = []
    room = size
    for piece in pieces:
        start, ids = piece.start, piece.ids
        while len(ids) > room:
            cut = room // BLOCK * BLOCK
            if cut:
                part.append(piece._replace(start=start, ids=ids[:cut]))
                start, ids = start + cut, ids[cut:]
            yield part
            part, room = [], size
        part.append(piece._replace(start=start, ids=ids))
        room -= len(ids)
    yield part


def read(pieces: Sequence[Piece], kinds: Sequence[Attention], slots: Slots, *, prompts: bool) -> Tokens:
    """Makes the tokens of some pieces: of prompts, or of what goes on from them."""
    at = [Query(piece.row, piece.start + i) for piece in pieces for i in range(len(piece.ids))]
    ends = torch.tensor([len(piece.ids) for piece in pieces]).cumsum(0)
    firsts = [0, *ends.tolist()]
    rows, positions = torch.tensor(at).t()
    return Tokens(
        ids=_lanes(torch.tensor([token for piece in pieces for token in piece.ids])),
        positions=_lanes(positions),
        count=len(at),
        furthest=int(positions.max()),
        places=Places.of(rows, positions),
        blocks=[(slice(first, end), at[first]) for first, end in pairwise(firsts)] if prompts else [],
        bags={} if prompts else {kind.kind: bags(kind, at, slots.blocks, slots.dtype) for kind in kinds},
        last=ends - 1,
    )


class Steps:
    """Tokens of steps, one for each row. What they look at is made anew only when a row comes to a new block."""

    def __init__(self) -> None:
        self._seen: list[object] = []
        self._bags: AllBags = {}

    def read(self, tokens: Tensor, queries: Sequence[Query], kinds: Sequence[Attention], slots: Slots) -> Tokens:
        """Makes the tokens of a step, `tokens` int64 `(rows,)`."""
        rows, positions = torch.tensor(queries).t()
        seen = [slots.blocks, *((query.row, *(span(query.position, kind.window) for kind in kinds)) for query in queries)]
        if seen == self._seen:
            self._bags = {
                kind.kind: [each.at(kind, positions, slots.dtype) for each in self._bags[kind.kind]] for kind in kinds
            }
        else:
            self._seen = seen
            self._bags = {kind.kind: bags(kind, queries, slots.blocks, slots.dtype) for kind in kinds}
        return Tokens(
            ids=_lanes(tokens),
            positions=_lanes(positions),
            count=len(tokens),
            furthest=max(query.position for query in queries),
            places=Places.of(rows, positions),
            blocks=[],
            bags=self._bags,
            last=torch.arange(len(tokens)),
        )


def _lanes(x: Tensor) -> Tensor:
    return F.pad(x, (0, max(0, LANES - len(x))))
