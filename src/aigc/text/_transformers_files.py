"""Models and tokenizers of transformers, read from folders and written to them."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import huggingface_hub
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.utils import logging as transformers_logging

from aigc._checks import fail
from aigc.data.text import END
from aigc.device import preserved_rng, seeded_rng
from aigc.errors import ModelError, ModelFileError, ModelNotFoundError
from aigc.text._transformers import MISFIT, first_line

__all__ = ["Shape", "download", "load_model", "load_tokenizer", "loading", "save", "untrained"]


def download(name: str, *, revision: str | None) -> Path:
    """Fetches a hub model into the local cache, or finds it there, and returns its folder.

    Only what we read is fetched: safetensors, tokenizer files and JSON. A manifest is left out, for the cache keeps its
    files as links, and has checked them already.

    Raises:
        ModelNotFoundError: If it is neither in the cache nor to be had from the hub.
    """
    try:
        folder = huggingface_hub.snapshot_download(
            name,
            revision=revision,
            allow_patterns=["model*.safetensors", "*.json", "*.txt", "*.model", "*.spm", "*.jinja"],
            ignore_patterns=["manifest.json", "*/*"],
        )
    except OSError as error:
        raise ModelNotFoundError(
            f"model must be a folder or a model of the Hugging Face hub, got {name!r}. It is no folder here, and "
            "neither in the local cache nor to be had from the hub. Check the spelling and the network, or fetch it "
            "beforehand with `hf download`."
        ) from error
    return Path(folder)


def load_model(folder: Path, *, dtype: torch.dtype, kind: Any, spare: Sequence[str] = ()) -> PreTrainedModel:
    """Loads a model of an Auto class on the CPU: safetensors only, no remote code, every tensor accounted for.

    Tensors of heads that write nothing may be left over: `spare` holds parts of their names.

    Raises:
        ModelFileError: If a file cannot be read, or the tensors are not those that the configuration asks for.
    """
    # transformers draws initial values for tensors that are missing, before it tells us of them.
    with loading(folder), preserved_rng():
        model, info = kind.from_pretrained(
            folder,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    parts = (("missing_keys", "missing"), ("unexpected_keys", "left over"), ("mismatched_keys", "misshapen"))
    for part, meaning in parts:
        kept = spare if part == "unexpected_keys" else ()
        if names := sorted(name for name in map(str, info.get(part) or ()) if not any(word in name for word in kept)):
            raise ModelFileError(
                f"the weights in {folder} do not fit its config.json: {len(names)} tensors {meaning}, "
                f"the first of them {names[0]}. Save the model again with save_pretrained."
            )
    return model.eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a model.

    Raises:
        ModelFileError: If it cannot be read.
    """
    with loading(folder):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return tokenizer


class Shape(Protocol):
    """Sizes of a model."""

    @property
    def vocabulary(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def head(self) -> int: ...


def untrained(
    shape: Shape, tokenizer: Any, *, context: int, seed: int, device: torch.device
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Makes a model of Qwen3's architecture with random weights, and wraps a tokenizer of tokenizers.

    Raises:
        ParameterError: If the tokenizer lacks the token that ends texts.
    """
    end = tokenizer.token_to_id(END)
    if end is None:
        raise fail("tokenizer", f"one with {END}, the token that ends texts", tokenizer)
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.width // shape.head,
        num_key_value_heads=shape.width // shape.head,
        head_dim=shape.head,
        max_position_embeddings=context,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
    )
    with seeded_rng(seed, torch.device("cpu")):
        model = Qwen3ForCausalLM(config)
    for layer in model.model.layers:  # each block begins as the identity
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    draws = {"do_sample": True, "temperature": 0.8, "top_p": 0.95}
    model.generation_config = GenerationConfig(bos_token_id=end, eos_token_id=end, pad_token_id=end, **draws)
    ends = {"bos_token": END, "eos_token": END, "pad_token": END}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=context, **ends)
    return model.eval().to(device), wrapped


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes both to a folder, in the files that transformers reads.

    Raises:
        ModelError: If the model has adapters, which such files have no place for.
    """
    if any(".lora_" in name for name, _ in model.named_parameters()):
        cure = "Call gen.adapters.save(folder) for the adapter, or gen.adapters.merge() or .remove() first."
        raise ModelError(f"the model has adapters, and is not written as a whole. {cure}")
    with _quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Runs what reads a folder quietly, and turns its errors into ours."""
    try:
        with _quiet():
            yield
    except (*MISFIT, OSError, ImportError, SafetensorError, StrictDataclassError) as error:
        raise ModelFileError(
            f"{folder} cannot be loaded: {first_line(error)}. Download or save the model again."
        ) from error
    except Exception as error:
        if type(error) is not Exception:
            raise
        # The tokenizers library raises bare Exceptions, and nothing more precise.
        raise ModelFileError(f"the tokenizer in {folder} cannot be read: {first_line(error)}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds transformers' progress bars and advice back while we load; our errors say what matters."""
    bars, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
