"""Where each family of architectures keeps its parameters: from its modules to a `Decoder`."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aigc.text.packed.linear import Weights
from aigc.text.packed.parts import Attention, Block, Decoder, Mlp, Rotary
from aigc.text.packed.reading import Reader, Unreadable

__all__ = ["build"]


def llama(read: Reader, model: Any) -> Decoder:
    """Llama and what is built like it: Mistral, Qwen 2 and 3, Gemma 1 to 3, Phi."""
    inner = model.model
    blocks = [
        _llama_block(read, layer, inner.config, window) for layer, window in zip(inner.layers, read.windows, strict=True)
    ]
    scale = getattr(inner.embed_tokens, "embed_scale", None)
    return Decoder(
        tokens=read.tensor(inner.embed_tokens.weight),
        positions=None,
        embed_scale=None if scale is None else torch.as_tensor(scale).to(inner.embed_tokens.weight.dtype),
        embed_norm=None,
        blocks=tuple(blocks),
        norm=read.norm(inner.norm if hasattr(inner, "norm") else inner.final_layernorm),
        head=read.linear(model.lm_head),
        cap=getattr(inner.config, "final_logit_softcapping", None),
        rotaries={kind: _rotary(inner, kind) for kind in {block.attention.rotary for block in blocks} if kind},
    )


def _llama_block(read: Reader, layer: Any, config: Any, window: int | None) -> Block:
    attention, mlp = layer.self_attn, layer.mlp
    q, k, v = (read.weights(getattr(attention, f"{name}_proj")) for name in "qkv")
    size = attention.head_dim
    norms = [getattr(attention, f"{name}_norm", getattr(attention, f"{name}_layernorm", None)) for name in "qk"]
    q_norm, k_norm = (None if norm is None else read.norm(norm, size) for norm in norms)
    four = hasattr(layer, "pre_feedforward_layernorm")  # Gemma 2 and 3 norm what goes in and what comes out
    after = getattr(layer, "post_attention_layernorm", None)
    gated = hasattr(mlp, "gate_proj")
    inner = (mlp.gate_proj, mlp.up_proj) if gated else (mlp.fc1,)
    return Block(
        before_attention=read.norm(layer.input_layernorm),
        attention=Attention(
            qkv=read.pack(Weights.join(q, k, v)),
            out=read.linear(attention.o_proj if hasattr(attention, "o_proj") else attention.dense),
            heads=len(q.weight) // size,
            kv_heads=len(k.weight) // size,
            size=size,
            scale=float(attention.scaling),
            window=window,
            cap=getattr(attention, "attn_logit_softcapping", None),
            rotary=attention.layer_type if _by_layer(config) else "all",
            q_norm=q_norm,
            k_norm=k_norm,
        ),
        before_mlp=read.norm(layer.pre_feedforward_layernorm) if four else None if after is None else read.norm(after),
        mlp=Mlp(
            up=read.pack(Weights.join(*(read.weights(part) for part in inner))),
            down=read.linear(mlp.down_proj if gated else mlp.fc2),
            activation=read.activation(getattr(config, "hidden_activation", None) or config.hidden_act),
            gated=gated,
        ),
        after_attention=read.norm(after) if four else None,
        after_mlp=read.norm(layer.post_feedforward_layernorm) if four else None,
        parallel=after is None,
    )


def gpt_neox(read: Reader, model: Any) -> Decoder:
    """GPT-NeoX and Pythia."""
    inner, config = model.gpt_neox, model.config
    heads = config.num_attention_heads
    size = config.hidden_size // heads
    blocks = [
        Block(
            before_attention=read.norm(layer.input_layernorm),
            attention=Attention(
                qkv=read.pack(_by_head(read.weights(layer.attention.query_key_value), heads)),
                out=read.linear(layer.attention.dense),
                heads=heads,
                kv_heads=heads,
                size=size,
                scale=size**-0.5,
                rotary="all",
            ),
            before_mlp=read.norm(layer.post_attention_layernorm),
            mlp=_mlp(read, layer.mlp.dense_h_to_4h, layer.mlp.dense_4h_to_h, config.hidden_act),
            parallel=config.use_parallel_residual,
        )
        for layer in inner.layers
    ]
    return Decoder(
        tokens=read.tensor(inner.embed_in.weight),
        positions=None,
        embed_scale=None,
        embed_norm=None,
        blocks=tuple(blocks),
        norm=read.norm(inner.final_layer_norm),
        head=read.linear(model.lm_head if hasattr(model, "lm_head") else model.embed_out),
        cap=None,
        rotaries={"all": _rotary(inner, "all")},
    )


def gpt2(read: Reader, model: Any) -> Decoder:
    """GPT-2, whose products keep their weights `(in, out)`."""
    inner, config = model.transformer, model.config
    heads, size = config.n_head, config.n_embd // config.n_head
    blocks = []
    for i, layer in enumerate(inner.h):
        scale = size**-0.5 if config.scale_attn_weights else 1.0
        attention = Attention(
            qkv=read.linear(layer.attn.c_attn),
            out=read.linear(layer.attn.c_proj),
            heads=heads,
            kv_heads=heads,
            size=size,
            scale=scale / (i + 1) if config.scale_attn_by_inverse_layer_idx else scale,
        )
        mlp = _mlp(read, layer.mlp.c_fc, layer.mlp.c_proj, config.activation_function)
        blocks.append(Block(read.norm(layer.ln_1), attention, read.norm(layer.ln_2), mlp))
    return Decoder(
        tokens=read.tensor(inner.wte.weight),
        positions=read.tensor(inner.wpe.weight),
        embed_scale=None,
        embed_norm=None,
        blocks=tuple(blocks),
        norm=read.norm(inner.ln_f),
        head=read.linear(model.lm_head),
        cap=None,
        rotaries={},
    )


def opt(read: Reader, model: Any) -> Decoder:
    """OPT, whose first two embeddings of positions belong to no position."""
    inner, config = model.model.decoder, model.config
    if not config.do_layer_norm_before or inner.project_in is not None:
        raise Unreadable("norms come after the blocks, or embeddings are projected")
    heads, size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    blocks = []
    for layer in inner.layers:
        q, k, v = (read.weights(getattr(layer.self_attn, f"{name}_proj")) for name in "qkv")
        qkv, out = read.pack(Weights.join(q, k, v)), read.linear(layer.self_attn.out_proj)
        attention = Attention(qkv, out, heads, heads, size, scale=size**-0.5)
        mlp = _mlp(read, layer.fc1, layer.fc2, config.activation_function)
        blocks.append(Block(read.norm(layer.self_attn_layer_norm), attention, read.norm(layer.final_layer_norm), mlp))
    return Decoder(
        tokens=read.tensor(inner.embed_tokens.weight),
        positions=read.tensor(inner.embed_positions.weight)[2:],
        embed_scale=None,
        embed_norm=None,
        blocks=tuple(blocks),
        norm=read.norm(inner.final_layer_norm),
        head=read.linear(model.lm_head),
        cap=None,
        rotaries={},
    )


def bloom(read: Reader, model: Any) -> Decoder:
    """BLOOM, with linear biases for positions."""
    inner, config = model.transformer, model.config
    if config.apply_residual_connection_post_layernorm:
        raise Unreadable("the residual stream is taken after the norms")
    heads, size = config.n_head, config.hidden_size // config.n_head
    blocks = []
    for layer in inner.h:
        qkv = read.pack(_by_head(read.weights(layer.self_attention.query_key_value), heads))
        out = read.linear(layer.self_attention.dense)
        attention = Attention(qkv, out, heads, heads, size, scale=size**-0.5, slopes=_slopes(heads))
        mlp = _mlp(read, layer.mlp.dense_h_to_4h, layer.mlp.dense_4h_to_h, "gelu_new")
        blocks.append(Block(read.norm(layer.input_layernorm), attention, read.norm(layer.post_attention_layernorm), mlp))
    return Decoder(
        tokens=read.tensor(inner.word_embeddings.weight),
        positions=None,
        embed_scale=None,
        embed_norm=read.norm(inner.word_embeddings_layernorm),
        blocks=tuple(blocks),
        norm=read.norm(inner.ln_f),
        head=read.linear(model.lm_head),
        cap=None,
        rotaries={},
    )


def build(model: nn.Module, windows: Sequence[int | None], *, int8: bool = False) -> Decoder:
    """Reads a transformers model.

    Args:
        model: On the CPU.
        windows: The window of each layer; None for all tokens.
        int8: Whether products are to be of eight-bit integers.

    Raises:
        Unreadable: If it is built otherwise than the families here, or has a parameter that they do not.
    """
    read = Reader(windows, int8=int8)
    family = next((make for layers, inside, make in FAMILIES if _has(model, layers, inside)), None)
    if family is None:
        raise Unreadable("its modules are not those of a family that aigc knows")
    try:
        decoder = family(read, model)
    except AttributeError as error:
        raise Unreadable(f"it lacks a part ({error})") from error
    if left := read.left(model):
        raise Unreadable(f"it has a parameter that its family does not have, {left[0]}")
    return decoder


# By the attribute of the model that holds its layers, and what its first layer holds.
FAMILIES: list[tuple[str, str, Callable[[Reader, Any], Decoder]]] = [
    ("model.layers", "self_attn.q_proj", llama),
    ("transformer.h", "attn.c_attn", gpt2),
    ("gpt_neox.layers", "attention.query_key_value", gpt_neox),
    ("model.decoder.layers", "self_attn.q_proj", opt),
    ("transformer.h", "self_attention.query_key_value", bloom),
]


def _has(model: nn.Module, layers: str, inside: str) -> bool:
    try:
        found: Any = operator.attrgetter(layers)(model)
        operator.attrgetter(inside)(found[0])
    except (AttributeError, IndexError, TypeError):
        return False
    return True


def _mlp(read: Reader, up: nn.Module, down: nn.Module, activation: str) -> Mlp:
    return Mlp(read.linear(up), read.linear(down), read.activation(activation))


def _by_head(weights: Weights, heads: int) -> Weights:
    """From q, k and v of each head in turn to the queries of all heads, then the keys, then the values."""

    def sorted_by_kind(x: Tensor) -> Tensor:
        return x.reshape(heads, 3, -1, *x.shape[1:]).transpose(0, 1).reshape(x.shape)

    return Weights(sorted_by_kind(weights.weight), None if weights.bias is None else sorted_by_kind(weights.bias))


def _slopes(heads: int) -> Tensor:
    """Slopes of linear biases (Press et al. 2021): powers of a ratio, of two ratios where heads are no power of two."""
    power = 2 ** math.floor(math.log2(heads))
    ratio = 2 ** (-8 / power)
    more = [2 ** (-4 / power * (2 * i + 1)) for i in range(heads - power)]
    return torch.tensor([ratio ** (i + 1) for i in range(power)] + more)


def _by_layer(config: Any) -> bool:
    """Whether kinds of layers have rotary positions of their own."""
    return "rope_type" not in config.rope_parameters


def _rotary(inner: Any, kind: str) -> Rotary:
    """The model's own table: whatever scaling it has is in it."""
    layered = _by_layer(inner.config)
    own = inner.config.rope_parameters[kind] if layered else inner.config.rope_parameters
    if own.get("rope_type", "default") not in ("default", "linear", "llama3", "yarn"):
        raise Unreadable(f"rotary positions of type {own['rope_type']} depend on the length of the text")

    def table(count: int) -> tuple[Tensor, Tensor]:
        like = torch.empty(0, dtype=next(inner.parameters()).dtype)
        cos, sin = inner.rotary_emb(like, torch.arange(count)[None], *([kind] if layered else []))
        return cos[0], sin[0]

    return Rotary(table)
