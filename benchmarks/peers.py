"""The peers of `decoding.py` that are not of Python's own world: CTranslate2 and llama.cpp, where they are installed."""

import importlib.util
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.cache_utils import DynamicCache

__all__ = ["Peer", "bare", "found"]

Run = Callable[[list[list[int]], int], Any]


@dataclass(frozen=True)
class Peer:
    """Writes so many tokens after prompts, `most` at a time, in a process of its own: its threads are not ours to idle."""

    ask: Connection
    most: int

    def __call__(self, prompts: list[list[int]], new: int) -> None:
        self.ask.send((prompts, new))
        if (answer := self.ask.recv()) is not None:
            raise RuntimeError(answer)


@torch.inference_mode()
def bare(model: PreTrainedModel, prompts: list[list[int]], new: int) -> Tensor:
    """The forward loop and nothing else: the largest logit is taken."""
    cache, ids = DynamicCache(config=model.config), torch.tensor(prompts)
    for _ in range(new):
        logits = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        ids = logits[:, -1].argmax(-1, keepdim=True)
    return ids


@contextmanager
def found(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Iterator[dict[str, Peer]]:
    """The peers that are installed and know the model's architecture."""
    ways: dict[str, tuple[Callable[[Path, str], Run], str, int]] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if importlib.util.find_spec("ctranslate2"):
            tokenizer.add_special_tokens({"bos_token": "w0", "eos_token": "w0", "unk_token": "w0"})
            model.save_pretrained(folder / "theirs")
            tokenizer.save_pretrained(folder / "theirs")
            ways |= {f"CTranslate2 {kind}": (_ctranslate2, kind, 64) for kind in ("float32", "int8")}
        if name.startswith("llama") and importlib.util.find_spec("llama_cpp") and importlib.util.find_spec("gguf"):
            for kind in ("F16", "Q8_0"):
                _write_gguf(model, folder / f"{kind}.gguf", kind)
            ways |= {f"llama.cpp {kind}": (_llama_cpp, kind, 1) for kind in ("F16", "Q8_0")}
        peers: dict[str, Peer] = {}
        spawn = multiprocessing.get_context("spawn")
        for label, (way, kind, most) in ways.items():
            ours, theirs = spawn.Pipe()
            spawn.Process(target=_serve, args=(theirs, way, folder, kind), daemon=True).start()
            peers[label] = Peer(ours, most)
            peers[label]([[1, 2, 3]], 2)  # returns when the model is loaded
        yield peers
        for peer in peers.values():
            peer.ask.send(None)


def _serve(asked: Connection, way: Callable[[Path, str], Run], folder: Path, kind: str) -> None:
    """Loads a peer's model and answers until nothing is asked."""
    run = way(folder, kind)
    while (question := asked.recv()) is not None:
        try:
            run(*question)
            asked.send(None)
        except Exception as error:
            asked.send(repr(error))


def _ctranslate2(folder: Path, kind: str) -> Run:
    import ctranslate2

    made = str(folder / kind)
    ctranslate2.converters.TransformersConverter(str(folder / "theirs")).convert(made, quantization=kind)
    generator = ctranslate2.Generator(made, device="cpu", compute_type=kind, intra_threads=2, inter_threads=1)

    def run(prompts: list[list[int]], new: int) -> Any:
        return generator.generate_batch(
            [[f"w{i}" for i in prompt] for prompt in prompts], min_length=new, max_length=new, sampling_topk=50,
            sampling_topp=0.9, sampling_temperature=0.8, include_prompt_in_result=False,
        )  # fmt: skip

    return run


def _llama_cpp(folder: Path, kind: str) -> Run:
    from llama_cpp import Llama

    llama = Llama(str(folder / f"{kind}.gguf"), n_ctx=1024, n_threads=2, n_threads_batch=2, verbose=False)

    def run(prompts: list[list[int]], new: int) -> Any:
        llama.reset()
        written = llama.generate(prompts[0], temp=0.8, top_k=50, top_p=0.9, min_p=0.0, repeat_penalty=1.0)
        return [next(written) for _ in range(new)]

    return run


_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _write_gguf(model: PreTrainedModel, file: Path, kind: str) -> None:
    """A Llama as llama.cpp reads it. Heads' features are not put in its order: weights are random, and times the same."""
    import gguf

    writer, config = gguf.GGUFWriter(file, "llama"), model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"w{i}".encode() for i in range(config.vocab_size)])
    writer.add_token_scores([0.0] * config.vocab_size)
    writer.add_token_types([gguf.TokenType.NORMAL] * config.vocab_size)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.float().numpy()
        if values.ndim == 2:
            numbers = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(_gguf_name(name), gguf.quants.quantize(values, numbers), raw_dtype=numbers)
        else:
            writer.add_tensor(_gguf_name(name), values)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()


def _gguf_name(name: str) -> str:
    parts = name.removeprefix("model.").removesuffix(".weight")
    if parts.startswith("layers."):
        _, layer, inner = parts.split(".", 2)
        return f"blk.{layer}.{_NAMES[inner]}.weight"
    return {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight", "lm_head": "output.weight"}[parts]
