"""Prompts and steps of a batch through a decoder."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from aigc.text.packed.attention import Query, attend_block, attend_each
from aigc.text.packed.linear import LANES
from aigc.text.packed.parts import Attention, Decoder, rotate
from aigc.text.packed.past import Past
from aigc.text.packed.slots import BLOCK, Slots
from aigc.text.packed.tokens import Piece, Steps, Tokens, chunks, read

__all__ = ["PackedForward"]

CHUNK = 512  # prompt tokens read at once, of one prompt or several: a multiple of BLOCK

Turns = dict[str, tuple[Tensor, Tensor]]


class PackedForward:
    """A batch on a `Decoder`. Rows share the products, and nothing else.

    Args:
        decoder: The model.
        prompts: Token ids of each row.
        past: Prompts that were read before, whose beginnings need not be read again; None for none.
    """

    def __init__(self, decoder: Decoder, prompts: Sequence[Sequence[int]], *, past: Past | None = None) -> None:
        self._decoder, self._past = decoder, past
        self._prompts = [tuple(prompt) for prompt in prompts]
        self._layers = [block.attention for block in decoder.blocks]
        self._kinds = list({layer.kind: layer for layer in self._layers}.values())
        self._rows = list(range(len(prompts)))  # of the slots
        self._lengths = [len(prompt) for prompt in prompts]
        self._steps = Steps()
        self._slots = Slots(self._layers, rows=0, blocks=1, dtype=decoder.tokens.dtype)
        self.reveal, self.hidden = False, list[Tensor]()
        self._states = torch.empty(0)  # of the tokens that were read last, if they are to be revealed

    def prefill(self) -> Tensor:
        """Reads each distinct prompt once, several at a time."""
        source = {prompt: row for row, prompt in enumerate(dict.fromkeys(self._prompts))}
        blocks = max(map(len, source)) // BLOCK + 1
        self._slots = Slots(self._layers, rows=len(source), blocks=blocks, dtype=self._decoder.tokens.dtype)
        pieces = [self._piece(prompt, row) for prompt, row in source.items()]
        last: dict[int, Tensor] = {}  # a prompt in several parts leaves the logits of its last
        states: dict[int, list[Tensor]] = {row: [] for row in source.values()}
        for part in chunks(pieces, CHUNK):
            tokens = read(part, self._kinds, self._slots, prompts=True)
            last |= dict(zip((piece.row for piece in part), self._run(tokens), strict=False))
            if self.reveal:
                for piece, seen in zip(part, torch.split(self._states, [len(piece.ids) for piece in part]), strict=True):
                    states[piece.row].append(seen)
        if self._past is not None:
            for prompt, row in source.items():
                self._past.keep(prompt, self._slots, row)
        rows = [source[prompt] for prompt in self._prompts]
        if len(source) < len(rows):
            self._slots = self._slots.select(torch.tensor(rows))
        self.hidden = [torch.cat(states[row]) for row in rows] if self.reveal else []
        return torch.stack([last[row] for row in rows])

    @property
    def lengths(self) -> tuple[int, ...]:
        """How many tokens each row holds."""
        return tuple(self._lengths)

    def rewind(self, lengths: Sequence[int]) -> None:
        """Forgets the last tokens of rows, down to these lengths."""
        self._lengths = list(lengths)

    def read(self, tokens: Sequence[Sequence[int]]) -> list[Tensor]:
        """Reads some more tokens of each row, one at least, and returns logits `(tokens, vocabulary)` of each row."""
        counts = [len(ids) for ids in tokens]
        if max(counts) == 1:
            return list(self.step(torch.tensor([ids[0] for ids in tokens]))[:, None])
        self._slots.reserve(max(map(sum, zip(self._lengths, counts, strict=True))))
        rows = zip(self._rows, self._lengths, tokens, strict=True)
        pieces = [Piece(row, length, tuple(ids)) for row, length, ids in rows]
        self._lengths = [length + count for length, count in zip(self._lengths, counts, strict=True)]
        read_all = read(pieces, self._kinds, self._slots, prompts=False)
        logits = self._run(replace(read_all, last=torch.arange(read_all.count)))
        return list(torch.split(logits[: read_all.count], counts))

    def step(self, tokens: Tensor) -> Tensor:
        """Reads one token per row."""
        self._slots.reserve(max(self._lengths) + 1)
        queries = [Query(row, length) for row, length in zip(self._rows, self._lengths, strict=True)]
        self._lengths = [length + 1 for length in self._lengths]
        logits = self._run(self._steps.read(tokens, queries, self._kinds, self._slots))[: len(tokens)]
        self.hidden = list(self._states[:, None])
        return logits

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some. Their slots stay where they are until half of all are unused."""
        kept = alive.tolist()
        self._rows = [self._rows[i] for i in kept]
        self._lengths = [self._lengths[i] for i in kept]
        if len(set(self._rows)) < len(self._rows):  # rows that part from here on need slots of their own
            self._slots, self._rows = self._slots.apart(self._rows, self._lengths)
        if 2 * len(kept) <= self._slots.rows:
            self._slots = self._slots.select(torch.tensor(self._rows))
            self._rows = list(range(len(kept)))

    def _piece(self, prompt: tuple[int, ...], row: int) -> Piece:
        """What of a prompt is to be read."""
        start = 0
        if self._past is not None:
            self._past.belong(self._decoder)
            start = self._past.recall(prompt, self._slots, row)
        return Piece(row, start, prompt[start:])

    def _run(self, tokens: Tokens) -> Tensor:
        """Logits after each piece; rows behind them, where they are fewer than `LANES`, mean nothing."""
        decoder = self._decoder
        turns = {name: table.at(tokens.positions, tokens.furthest) for name, table in decoder.rotaries.items()}
        x = decoder.embed(tokens.ids, tokens.positions)
        for layer, block in enumerate(decoder.blocks):
            x = block.run(x, partial(self._attend, layer, tokens, turns))
        self._states = decoder.norm(x[: tokens.count]) if self.reveal else self._states
        last = F.pad(tokens.last, (0, max(0, LANES - len(tokens.last))))
        return decoder.logits(x[last])

    def _attend(self, layer: int, tokens: Tokens, turns: Turns, attention: Attention, x: Tensor) -> Tensor:
        heads, both = attention.heads, attention.heads + attention.kv_heads
        qkv = attention.qkv(x).view(len(x), both + attention.kv_heads, attention.size)
        qk = qkv[:, :both]
        if attention.q_norm is not None and attention.k_norm is not None:
            qk = torch.cat([attention.q_norm(qk[:, :heads]), attention.k_norm(qk[:, heads:])], 1)
        if attention.rotary is not None:
            qk = rotate(qk, turns[attention.rotary])
        count = tokens.count
        self._slots.write(layer, qk[:count, heads:], qkv[:count, both:], tokens.places)
        y = self._look(layer, tokens, attention, qk[:count, :heads])
        return F.pad(y, (0, 0, 0, len(x) - len(y))) if len(y) < len(x) else y

    def _look(self, layer: int, tokens: Tokens, attention: Attention, q: Tensor) -> Tensor:
        """What each query finds, `(tokens, heads * features)`."""
        if tokens.blocks:
            return torch.cat([attend_block(attention, layer, q[part], self._slots, query) for part, query in tokens.blocks])
        return attend_each(attention, layer, q, self._slots, tokens.bags[attention.kind])
