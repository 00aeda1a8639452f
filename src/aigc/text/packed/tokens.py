"""The tokens of one forward: where they are written, and what they look at. The same for all layers, so made once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    """Tokens of one row, from position `start` on; those of a prompt begin a block, and look at their past in blocks."""

    row: int
    start: int
    ids: tuple[int, ...]
    prompt: bool


@dataclass(frozen=True, slots=True)
class Tokens:
    """One forward's tokens.

    Attributes:
        ids: Token ids `(tokens,)`, with others behind them where they are fewer than `LANES`.
        positions: Of each id.
        count: How many are meant.
        furthest: The largest position.
        places: Slices of the tokens, and where each is written.
        blocks: Slices that look in blocks, and the first query of each.
        each: Which look one by one; None for all.
        bags: What these look at, by kind of attention.
        last: The last token of each piece.
    """

    ids: Tensor
    positions: Tensor
    count: int
    furthest: int
    places: list[tuple[slice, Places]]
    blocks: list[tuple[slice, Query]]
    each: Tensor | None
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


def read(pieces: Sequence[Piece], layers: Sequence[Attention], slots: Slots) -> Tokens:
    """Makes the tokens of some pieces."""
    at = [Query(piece.row, piece.start + i) for piece in pieces for i in range(len(piece.ids))]
    places: list[tuple[slice, Places]] = []
    blocks: list[tuple[slice, Query]] = []
    each: list[int] = []
    first = 0
    for piece in pieces:
        end = first + len(piece.ids)
        places.append((slice(first, end), Places.run(piece.row, piece.start, end - first)))
        if piece.prompt:
            blocks.append((slice(first, end), at[first]))
        else:
            each += range(first, end)
        first = end
    queries = [at[i] for i in each]
    positions = torch.tensor([query.position for query in at])
    return Tokens(
        ids=_lanes(torch.tensor([token for piece in pieces for token in piece.ids])),
        positions=_lanes(positions),
        count=len(at),
        furthest=int(positions.max()),
        places=places,
        blocks=blocks,
        each=torch.tensor(each, dtype=torch.int64) if blocks else None,
        bags={kind.kind: bags(kind, queries, slots.blocks, slots.dtype) for kind in _kinds(layers)} if each else {},
        last=torch.tensor([len(piece.ids) for piece in pieces]).cumsum(0) - 1,
    )


class Steps:
    """Tokens of steps, one for each row. What they look at is made anew only when a row comes to a new block."""

    def __init__(self) -> None:
        self._seen: list[object] = []
        self._bags: AllBags = {}

    def read(self, tokens: Tensor, queries: Sequence[Query], layers: Sequence[Attention], slots: Slots) -> Tokens:
        """Makes the tokens of a step, `tokens` int64 `(rows,)`."""
        kinds = _kinds(layers)
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
            places=[(slice(0, len(tokens)), Places.of(rows, positions))],
            blocks=[],
            each=None,
            bags=self._bags,
            last=torch.arange(len(tokens)),
        )


def _kinds(layers: Sequence[Attention]) -> list[Attention]:
    return list({layer.kind: layer for layer in layers}.values())


def _lanes(x: Tensor) -> Tensor:
    return F.pad(x, (0, max(0, LANES - len(x))))
