r"""Attention over slots, one query at a time or a block of queries at a time.

One query at a time it is two sums over bags of rows, which `embedding_bag` computes: the products of a query with the
BLOCK keys of a block are the sum of `features` rows, each weighted by a feature of the query; the result is the sum of the
values, each weighted by its probability. A query reads the blocks that its own row has filled and no others, whatever the
batch, and its sums are taken in the same order alone and in any company: so are its bits. A batched product of a matrix
and a vector, which is what attention otherwise is here, runs at a fraction of the memory's speed (`docs/log.md`).

The tokens of a prompt take batched products, one row and one block of queries at a time, the last block as long as the
prompt leaves it. So which sums a token takes, and in which order, depends on its prompt alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from aigc.text.packed.parts import Attention
from aigc.text.packed.slots import BLOCK, Slots

__all__ = ["Bags", "Query", "attend_block", "attend_each", "bags", "span"]

_NEVER = 2**40  # a position ahead of all


class Query(NamedTuple):
    """A token that looks at its past: its row among the slots, and its position."""

    row: int
    position: int


@dataclass(frozen=True, slots=True)
class Bags:
    """Which rows of the stores some queries sum over.

    Attributes:
        chosen: Which of the queries, int64; None for all.
        keys: Rows of the keys' store, `(queries, heads, blocks, features)` as one line; then where each bag begins.
        values: Rows of the values' store, `(queries, heads, slots)` as one line; then where each bag begins.
        slots: The position in each slot that is read, `(queries, slots)`; in those not to be seen, one that never comes.
        mask: What is added to the products: 0, or -inf on slots that are hidden, `(queries, 1 or heads, slots)`.
    """

    chosen: Tensor | None
    keys: tuple[Tensor, Tensor]
    values: tuple[Tensor, Tensor]
    slots: Tensor
    mask: Tensor

    def at(self, attention: Attention, positions: Tensor, dtype: torch.dtype) -> "Bags":
        """The same blocks, seen from other positions `(queries of all bags,)`."""
        own = positions if self.chosen is None else positions[self.chosen]
        mask = _mask(attention, own[:, None], self.slots, dtype).transpose(0, 1).contiguous()
        return Bags(self.chosen, self.keys, self.values, self.slots, mask)


def span(position: int, window: int | None) -> tuple[int, int]:
    """The first and last block that a query sees."""
    first = 0 if window is None else max(0, position - window + 1) // BLOCK
    return first, position // BLOCK


def bags(attention: Attention, queries: Sequence[Query], blocks: int, dtype: torch.dtype) -> list[Bags]:
    """Sorts queries by how many blocks they see, for stores of so many `blocks` a row.

    Queries that see about as many are summed over together: those that see fewer blocks sum over their first again, with
    weights 0, which changes no bit.
    """
    spans = [span(query.position, attention.window) for query in queries]
    sizes = [_size(last - first + 1) for first, last in spans]
    groups = [[i for i, size in enumerate(sizes) if size == each] for each in sorted(set(sizes))]
    made = []
    for group in groups:
        chosen = None if len(groups) == 1 else torch.tensor(group)
        rows = torch.tensor([(queries[i].row, *spans[i]) for i in group])
        made.append(_bags(attention, rows, chosen, blocks, sizes[group[0]]))
    positions = torch.tensor([query.position for query in queries])
    return [each.at(attention, positions, dtype) for each in made]


def attend_each(attention: Attention, layer: int, q: Tensor, slots: Slots, sorted_bags: Sequence[Bags]) -> Tensor:
    """Attention of single queries `(queries, heads, features)`, as `(queries, heads * features)`."""
    parts = [_attend(attention, layer, q if each.chosen is None else q[each.chosen], slots, each) for each in sorted_bags]
    if sorted_bags[0].chosen is None:
        return parts[0]
    joined = q.new_empty(len(q), attention.heads * attention.size)
    for each, part in zip(sorted_bags, parts, strict=True):
        joined[each.chosen] = part
    return joined


def attend_block(attention: Attention, layer: int, q: Tensor, slots: Slots, query: Query) -> Tensor:
    """Attention of a prompt's blocks, `q` `(queries, heads, features)` from `query` on, as `attend_each` returns it."""
    end = query.position + len(q)
    keys, values = slots.read(layer, query.row, -(-end // BLOCK))
    parts = []
    for part, start in zip(torch.split(q, BLOCK), range(query.position, end, BLOCK), strict=True):
        low, _ = span(start, attention.window)
        seen = slice(low * BLOCK, start + len(part))
        position = torch.arange(start, start + len(part))[:, None]
        mask = _mask(attention, position, torch.arange(seen.start, seen.stop)[None], q.dtype)
        parts.append(_dense(attention, part, keys[:, seen], values[:, seen], mask))
    return torch.cat(parts)


def _attend(attention: Attention, layer: int, q: Tensor, slots: Slots, bag: Bags) -> Tensor:
    count, heads, size = q.shape
    weights = q[:, :, None].expand(-1, -1, bag.slots.shape[1] // BLOCK, -1).reshape(-1)
    products = _sum(slots.keys[layer].view(-1, BLOCK), *bag.keys, weights).view(count, heads, -1)
    scores = _capped(attention, products, bag.mask)
    return _sum(slots.values[layer].view(-1, size), *bag.values, scores.softmax(-1).view(-1)).view(count, -1)


def _sum(table: Tensor, rows: Tensor, bag: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of each bag of rows."""
    result: Tensor = torch.ops.aten._embedding_bag_forward_only(table, rows, bag, False, 0, False, weights, False, -1)[0]
    return result


def _dense(attention: Attention, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention of `(queries, heads, features)` over `(kv_heads, slots, features)`, as `(queries, heads * features)`."""
    count, shape = len(q), (attention.heads, len(q), -1)
    q = q.transpose(0, 1).reshape(attention.kv_heads, -1, attention.size)  # queries of heads that share keys, one by one
    scores = _capped(attention, (q @ keys.transpose(1, 2)).view(shape), mask)
    y = scores.softmax(-1).view(attention.kv_heads, -1, keys.shape[1]) @ values
    return y.view(shape).transpose(0, 1).reshape(count, -1)


def _capped(attention: Attention, products: Tensor, mask: Tensor) -> Tensor:
    if attention.cap is None:
        return torch.add(mask, products, alpha=attention.scale)
    return torch.tanh(products * (attention.scale / attention.cap)) * attention.cap + mask


def _mask(attention: Attention, position: Tensor, slot: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the products of queries at `position` `(queries, 1)` with `slot`; heads lead, as 1 or all."""
    back = position - slot
    hidden = back < 0 if attention.window is None else (back < 0) | (back >= attention.window)
    mask = torch.zeros(hidden.shape) if attention.slopes is None else -attention.slopes[:, None, None] * back
    mask = mask.masked_fill(hidden, -math.inf).to(dtype)
    return mask if mask.ndim == 3 else mask[None]


def _size(blocks: int) -> int:
    """Rounds up to a power of two or one and a half of it, so that few sizes occur."""
    power = 1 << (blocks - 1).bit_length()
    return power * 3 // 4 if power >= 4 and blocks <= power * 3 // 4 else power


def _bags(attention: Attention, rows: Tensor, chosen: Tensor | None, blocks: int, size: int) -> Bags:
    row, first, last = rows.t()
    block = first[:, None] + torch.arange(size)
    seen = block <= last[:, None]
    block = block.where(seen, first[:, None])
    head = torch.arange(attention.heads) // (attention.heads // attention.kv_heads)
    base = ((row[:, None] * attention.kv_heads + head)[..., None] * blocks) + block[:, None]  # queries, heads, blocks
    keys = base[..., None] * attention.size + torch.arange(attention.size)
    values = base[..., None] * BLOCK + torch.arange(BLOCK)
    slots = ((block * BLOCK)[..., None] + torch.arange(BLOCK)).where(seen[..., None], _NEVER).flatten(1)
    return Bags(chosen, _bag(keys, attention.size), _bag(values, size * BLOCK), slots, slots)


def _bag(rows: Tensor, length: int) -> tuple[Tensor, Tensor]:
    line = rows.flatten()
    small = torch.int32 if int(line.max()) < 2**31 and len(line) < 2**31 else torch.int64
    return line.to(small), torch.arange(0, len(line), length, dtype=small)
