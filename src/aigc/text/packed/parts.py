"""What a decoder is made of: norms, positions, attention, blocks. A `Decoder` is what a transformers model is read into."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from aigc.text.packed.linear import ACTIVATIONS, Linear

__all__ = ["Attention", "Block", "Decoder", "Mlp", "Norm", "Rotary"]


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation (Ba et al. 2016), or with `centre=False` that by the root mean square (Zhang & Sennrich 2019).

    A weight in float32 beside activations in half precision is multiplied in float32, as Gemma's is.
    """

    weight: Tensor
    bias: Tensor | None
    eps: float
    centre: bool

    def __call__(self, x: Tensor) -> Tensor:
        """Normalises the last dimension."""
        if self.centre:
            return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
        if self.weight.dtype == x.dtype:
            return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        return F.rms_norm(x.float(), x.shape[-1:], self.weight, self.eps).to(x.dtype)


@dataclass(slots=True)
class Rotary:
    r"""Rotary positions (Su et al. 2021): pairs (i, i + size / 2) of the first `size` features turn by an angle.

    Attributes:
        table: Makes cosines and sines `(positions, size)` of so many positions, as the model itself does.
    """

    table: Callable[[int], tuple[Tensor, Tensor]]
    _cos: Tensor = field(default_factory=lambda: torch.empty(0))
    _sin: Tensor = field(default_factory=lambda: torch.empty(0))

    def at(self, positions: Tensor, last: int) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines `(tokens, 1, size)`; `last` is the largest position."""
        if last >= len(self._cos):
            cos, sin = self.table(max(last + 1, 2 * len(self._cos), 256))
            half = cos.shape[1] // 2
            self._cos, self._sin = cos, torch.cat([-sin[:, :half], sin[:, half:]], 1)
        return self._cos[positions][:, None], self._sin[positions][:, None]


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Turns heads `(tokens, heads, features)`."""
    cos, sin = turn
    size = cos.shape[-1]
    part = x if size == x.shape[-1] else x[..., :size]
    turned = torch.addcmul(part * cos, part.roll(size // 2, -1), sin)
    return turned if part is x else torch.cat([turned, x[..., size:]], -1)


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention of `heads` queries over `kv_heads` keys and values of `size` features.

    Attributes:
        qkv: To queries, keys and values side by side.
        out: Back to the residual stream.
        heads: Queries.
        kv_heads: Keys and values; each serves `heads / kv_heads` queries.
        size: Features of a head.
        scale: Of the products.
        window: How many tokens back a token sees, itself included; None for all.
        cap: Products become `cap * tanh(product / cap)` (Gemma 2); None for no cap.
        rotary: Which of the decoder's rotary tables; None for none.
        slopes: Of linear biases (Press et al. 2021), `(heads,)`; None for none.
        q_norm: Of each query; None for none.
        k_norm: Of each key.
    """

    qkv: Linear
    out: Linear
    heads: int
    kv_heads: int
    size: int
    scale: float
    window: int | None = None
    cap: float | None = None
    rotary: str | None = None
    slopes: Tensor | None = None
    q_norm: Norm | None = None
    k_norm: Norm | None = None

    @property
    def kind(self) -> tuple[object, ...]:
        """Layers of the same kind look at the same slots."""
        return self.heads, self.kv_heads, self.size, self.window, self.slopes is None


@dataclass(frozen=True, slots=True)
class Mlp:
    """`down(activation(up(x)))`, or `down(activation(gate(x)) * up(x))` (Shazeer 2020), with gate and up side by side."""

    up: Linear
    down: Linear
    activation: str
    gated: bool = False

    def inner(self, x: Tensor) -> Tensor:
        """What `down` takes."""
        if not self.gated:
            return self.up(x, activation=self.activation)
        gate, up = self.up(x).chunk(2, -1)
        return ACTIVATIONS[self.activation][0](gate) * up


@dataclass(frozen=True, slots=True)
class Block:
    """One layer. `parallel`: attention and MLP both read its input; `before_mlp=None`: one norm serves both."""

    before_attention: Norm
    attention: Attention
    before_mlp: Norm | None
    mlp: Mlp
    after_attention: Norm | None = None
    after_mlp: Norm | None = None
    parallel: bool = False

    def run(self, x: Tensor, attend: Callable[[Attention, Tensor], Tensor]) -> Tensor:
        """Returns the residual stream `(rows, width)` after this block."""
        seen = self.before_attention(x)
        after = _add(x, self.attention.out, attend(self.attention, seen), self.after_attention)
        if self.before_mlp is not None:
            seen = self.before_mlp(x if self.parallel else after)
        return _add(after, self.mlp.down, self.mlp.inner(seen), self.after_mlp)


def _add(x: Tensor, linear: Linear, inner: Tensor, norm: Norm | None) -> Tensor:
    return linear(inner, add=x) if norm is None else x + norm(linear(inner))


@dataclass(frozen=True, slots=True)
class Decoder:
    """A causal language model.

    Attributes:
        tokens: Embeddings `(vocabulary, width)`.
        positions: Embeddings of positions, the first of position 0; None for none.
        embed_scale: A factor on the embeddings of tokens.
        embed_norm: On the embeddings; None for none.
        blocks: The layers.
        norm: Before the head.
        head: To logits.
        cap: Logits become `cap * tanh(logit / cap)`; None for no cap.
        rotaries: Tables by name.
    """

    tokens: Tensor
    positions: Tensor | None
    embed_scale: Tensor | None
    embed_norm: Norm | None
    blocks: tuple[Block, ...]
    norm: Norm
    head: Linear
    cap: float | None
    rotaries: dict[str, Rotary]

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Returns the residual stream before the first block, `(rows, width)`."""
        x = F.embedding(ids, self.tokens)
        if self.embed_scale is not None:
            x = x * self.embed_scale
        if self.positions is not None:
            x = x + F.embedding(positions, self.positions)
        return x if self.embed_norm is None else self.embed_norm(x)

    def logits(self, x: Tensor) -> Tensor:
        """Returns logits `(rows, vocabulary)`."""
        logits = self.head(self.norm(x))
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap
