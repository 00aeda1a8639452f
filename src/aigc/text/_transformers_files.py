"""Models and tokenizers of transformers, read from folders and written to them."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from aigc.device import preserved_rng
from aigc.errors import ModelFileError, ModelNotFoundError
from aigc.text._transformers import MISFIT, first_line

__all__ = ["download", "load_model", "load_tokenizer", "loading", "save"]


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


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes both to a folder, in the files that transformers reads."""
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
