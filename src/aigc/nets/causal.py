r"""A causal transformer over a sequence of indices of a known length: what comes next, given what came before.

Each block adds to what it is given, after a normalisation of it (pre-norm; Xiong et al., arXiv:2002.04745):

$$ x \leftarrow x + W_o \operatorname{attention}(\operatorname{norm}(x)), \qquad
   x \leftarrow x + W_2 \operatorname{gelu}(W_1 \operatorname{norm}(x)) $$
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc._checks import fail, fail_type, integer, number
from aigc.nets._weights import LEFT, fill, quiet
from aigc.nets.conditions import Condition, Shift, check_condition, condition_from, condition_json

__all__ = ["Cache", "CausalTransformer"]


@dataclass(slots=True)
class Cache:
    """Keys and values of the positions that a `CausalTransformer` has read: `net.cache(rows)` makes one.

    Attributes:
        keys: One tensor a layer, `(rows, heads, length, features)`.
        values: Likewise.
        read: How many positions are filled.

    Example:
        >>> CausalTransformer(5, 3, width=8, layers=1, heads=2).cache(2).keys[0].shape
        torch.Size([2, 2, 3, 4])
    """

    keys: list[Tensor]
    values: list[Tensor]
    read: int = 0


class CausalTransformer(nn.Module):
    """Says what each index of a sequence may be, given those before it (Vaswani et al., arXiv:1706.03762).

    The logits at position i are a function of the indices before i and of the condition; those at position 0 of the
    condition alone. Positions are learned. Of residual codes, `depth` indices behind each other belong to one place: each
    level has indices, an embedding and a last layer of its own.

    Args:
        vocabulary: How many indices there are, at least 1; at each level, if there are several.
        length: Positions of the longest sequence, a multiple of `depth`.
        depth: Levels that take turns.
        width: Features of a position, a multiple of `heads`.
        layers: Blocks.
        heads: Of attention.
        dropout: The share of what a block adds that training leaves out, in [0, 1).
        condition: `nets.Classes`, `nets.Vector` or None.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> net = CausalTransformer(5, 3, width=8, layers=1, heads=2)
        >>> logits = net(torch.tensor([[4, 0, 2]]))
        >>> logits.shape, torch.equal(logits, net(torch.tensor([[4, 0, 1]])))  # the last is read by nobody
        (torch.Size([1, 3, 5]), True)
        >>> torch.allclose(net.step(None, net.cache(1)), logits[:, 0], atol=1e-6)
        True
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        *,
        depth: int = 1,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.0,
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.vocabulary, self.depth = integer("vocabulary", vocabulary, low=1), integer("depth", depth, low=1)
        self.length, self.width = integer("length", length, low=1), integer("width", width, low=1)
        self.heads, layers = integer("heads", heads, low=1), integer("layers", layers, low=1)
        if self.length % self.depth:
            raise fail("length", f"a multiple of depth, {depth}", length)
        if self.width % self.heads:
            raise fail("width", f"a multiple of heads, {heads}", width)
        if number("dropout", dropout, low=0.0, high=1.0) == 1:
            raise fail("dropout", "below 1", dropout)
        self.condition = condition_from(condition)
        with torch.device("meta"):
            self.index = _embedding(self.depth * self.vocabulary, self.width)
            self.place = _embedding(self.length // self.depth, self.width)
            self.level = _embedding(self.depth, self.width) if self.depth > 1 else None
            self.start = nn.Parameter(torch.empty(self.width))
            self.shift = Shift(self.condition, self.width)
            self.drop = nn.Dropout(dropout)
            self.blocks = nn.ModuleList(_Block(self.width, self.heads, dropout) for _ in range(layers))
            self.norm = nn.LayerNorm(self.width)
            self.heads_out = nn.ModuleList(nn.Linear(self.width, self.vocabulary) for _ in range(self.depth))
        self._begin(seed)
        self.config = {
            "net": "CausalTransformer",
            "vocabulary": self.vocabulary,
            "length": self.length,
            "depth": self.depth,
            "width": self.width,
            "layers": layers,
            "heads": self.heads,
            "dropout": dropout,
            "condition": condition_json(self.condition),
            "seed": seed,
        }

    def forward(self, indices: Tensor, condition: Tensor | None = None) -> Tensor:
        """The logits of each position, given the indices before it.

        Args:
            indices: int64 `(batch, positions)`, positions at most `length`; the last is not read.
            condition: What the net is told.

        Returns:
            `(batch, positions, vocabulary)`.

        Raises:
            ParameterError: If there are too many, or (on the CPU, where looking costs nothing) one is out of range.
        """
        self._check(indices)
        told = check_condition(self.condition, condition, len(indices))
        before = self.index(indices[:, :-1] + self._offsets(0, indices.shape[1] - 1, indices.device))
        x = torch.cat([self.start.expand(len(indices), 1, -1), before], 1)
        x = self._at(x, told, 0)
        for block in self.blocks:
            x = block(x, None)
        x = self.norm(x)
        out = [self.heads_out[i](x[:, i :: self.depth]) for i in range(min(self.depth, x.shape[1]))]
        if len(out) == 1:
            return cast("Tensor", out[0])
        logits: Tensor = x.new_empty(*x.shape[:2], self.vocabulary, dtype=out[0].dtype)
        for i, level in enumerate(out):
            logits[:, i :: self.depth] = level
        return logits

    def cache(self, rows: int) -> Cache:
        """Makes an empty cache for some sequences."""
        like = self.start
        sides = (rows, self.heads, self.length, self.width // self.heads)
        keys, values = ([like.new_empty(sides) for _ in self.blocks] for _ in range(2))
        return Cache(keys, values)

    def step(self, last: Tensor | None, cache: Cache, condition: Tensor | None = None) -> Tensor:
        """The logits of the next position; what was read before is in the cache, which takes this in.

        Args:
            last: The index at the position before, int64 `(rows,)`; None at the first.
            cache: Of the same rows.
            condition: What the net is told, at every step the same.

        Returns:
            `(rows, vocabulary)`: those of `forward`, to rounding.
        """
        at, rows = cache.read, cache.keys[0].shape[0]
        if at >= self.length:
            raise fail("cache", f"of fewer than {self.length} positions", at, "Make a new one.")
        if (last is None) != (at == 0):
            raise fail("last", "the index at the position before, and None at the first", last)
        told = check_condition(self.condition, condition, rows)
        if last is None:
            x = self.start.expand(rows, 1, -1)
        else:
            self._check(last[:, None])
            x = self.index(last[:, None] + self._offsets(at - 1, 1, last.device))
        x = self._at(x, told, at)
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x = block(x, (keys, values, at))
        cache.read = at + 1
        return cast("Tensor", self.heads_out[at % self.depth](self.norm(x[:, 0])))

    def _at(self, x: Tensor, told: Tensor | None, first: int) -> Tensor:
        """Adds to features `(batch, positions, width)` where they are, and the condition."""
        positions = torch.arange(first, first + x.shape[1], device=x.device)
        x = x + self.place(positions // self.depth)
        if self.level is not None:
            x = x + self.level(positions % self.depth)
        return cast("Tensor", self.drop(self.shift(x.transpose(1, 2), told).transpose(1, 2)))

    def _offsets(self, first: int, count: int, device: torch.device) -> Tensor:
        """Where the rows of the embedding of each position's level begin."""
        return torch.arange(first, first + count, device=device) % self.depth * self.vocabulary

    def _check(self, indices: Tensor) -> None:
        if not isinstance(indices, Tensor) or indices.dtype != torch.int64:
            shown = indices.dtype if isinstance(indices, Tensor) else indices
            raise fail_type("indices", f"int64 of shape (batch, at most {self.length})", shown)
        if indices.ndim != 2 or not 1 <= indices.shape[1] <= self.length:
            raise fail("indices", f"of shape (batch, at most {self.length})", tuple(indices.shape))
        if indices.device.type == "cpu" and indices.numel():
            least, largest = (int(value) for value in indices.aminmax())
            if least < 0 or largest >= self.vocabulary:
                raise fail("indices", f"in [0, {self.vocabulary - 1}]", (least, largest))

    @torch.no_grad()
    def _begin(self, seed: int) -> None:
        """First weights: what each block adds has a variance of 1 / layers in all, and logits are nearly even."""
        fill(self, seed, after="gelu")
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
            elif isinstance(module, nn.Linear):
                quiet(module, LEFT["gelu"] ** 0.5)  # most come after a normalisation
        for block in self.blocks:
            cast("_Block", block).soften(len(self.blocks))
        for head in self.heads_out:
            quiet(head, 0.1)
        for parameter in (self.index.weight, self.place.weight, self.start):
            parameter.mul_(0.5)


class _Block(nn.Module):
    """Attention to the positions before, and a perceptron at each."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.read, self.write = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm_again, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def soften(self, layers: int) -> None:
        """Makes what the block adds smaller."""
        quiet(self.write, 1 / math.sqrt(2 * layers))
        quiet(self.down, 1 / math.sqrt(2 * layers * LEFT["gelu"]))

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor, int] | None) -> Tensor:
        """On features `(batch, positions, width)`; with a memory of keys and values, that takes one position in."""
        sides = (*x.shape[:2], 3, self.heads, x.shape[2] // self.heads)
        query, key, value = self.read(self.norm(x)).view(sides).permute(2, 0, 3, 1, 4)
        if memory is not None:
            keys, values, at = memory
            keys[:, :, at], values[:, :, at] = key[:, :, 0], value[:, :, 0]
            key, value = keys[:, :, : at + 1], values[:, :, : at + 1]
        found: Tensor = F.scaled_dot_product_attention(query, key, value, is_causal=memory is None)
        x = x + self.drop(self.write(found.transpose(1, 2).reshape(x.shape)))
        return cast("Tensor", x + self.drop(self.down(F.gelu(self.up(self.norm_again(x))))))


def _embedding(count: int, width: int) -> Any:
    rows = torch.empty(count, width)  # given, since first values of its own would wake the compiler
    return nn.Embedding.from_pretrained(rows, freeze=False)  # type: ignore[no-untyped-call]
