"""A model's folder, looked at before a weight is read: every reason not to load it, in one sentence each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aigc import checkpoint
from aigc import device as devices
from aigc._checks import fail_type
from aigc._safetensors import read_header, weight_files
from aigc.device import Placement
from aigc.errors import ModelFileError, ModelNotFoundError

__all__ = ["check_config", "find", "inspect"]

# Far beyond any model there is; what is larger is damage, or an attempt to take the machine down.
_LIMITS = {
    "vocab_size": 10_000_000,
    "hidden_size": 1_000_000, "n_embd": 1_000_000, "d_model": 1_000_000,
    "intermediate_size": 10_000_000, "ffn_dim": 10_000_000, "n_inner": 10_000_000,
    "num_hidden_layers": 10_000, "n_layer": 10_000, "num_layers": 10_000,
    "num_attention_heads": 100_000, "n_head": 100_000, "num_key_value_heads": 100_000, "head_dim": 100_000,
    "max_position_embeddings": 1_000_000_000, "n_positions": 1_000_000_000,
}  # fmt: skip


def find(model: str | Path) -> Path | None:
    """Returns the folder that a model lies in, or None for a name that can only be one of the hub.

    Raises:
        ModelNotFoundError: If it looks like a path and is no folder.
    """
    if not isinstance(model, str | Path) or not str(model):
        raise fail_type("model", "a folder or the name of a hub model", model)
    folder = Path(model)
    if not folder.is_dir():
        if isinstance(model, Path) or folder.exists() or not _may_be_hub_id(model):
            raise ModelNotFoundError(
                f"model must be a folder or the name of a hub model, got {str(model)!r}. No such folder."
            )
        return None
    return folder


def inspect(folder: Path, *, placement: Placement, manifest: bool = True) -> None:
    """Checks a model's folder; `manifest` says whether a manifest in it is to be compared with its files.

    Raises:
        ModelFileError: If a file is damaged, missing, unsafe or absurd.
        ResourceError: If the weights do not fit into memory.
    """
    if manifest:
        checkpoint.verify(folder)
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        if name == "config.json" or (folder / name).exists():
            check_config(checkpoint.read_json(folder / name), source=str(folder / name))
    _check_ends(folder)
    checkpoint.refuse_pickle(folder)
    if not any(folder.glob("*.safetensors")):
        raise ModelFileError(
            f"{folder} has no weights: no file there ends in .safetensors. Download or save the model again."
        )
    _check_embedding(folder)
    devices.check_fits(devices.weights_size(folder, dtype=placement.dtype), placement.device)


def check_config(config: dict[str, Any], *, source: str) -> None:
    """Refuses code that a model brings along, and sizes that no model has.

    Raises:
        ModelFileError: Naming the entry.
    """
    for name, value in _entries(config):
        if name == "auto_map":
            raise ModelFileError(
                f"{source} asks for code of its own (auto_map), which aigc never runs. Use a model whose architecture is "
                "part of transformers."
            )
        limit = _LIMITS.get(name)
        if limit is None or value is None or isinstance(value, list):
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
            raise ModelFileError(
                f"{source}: {name} must be an integer in [1, {limit}], got {value!r}. The file is damaged."
            )


def _check_embedding(folder: Path) -> None:
    """Refuses a vocabulary that the weights cannot hold, before memory is taken for it."""
    config = checkpoint.read_json(folder / "config.json")
    width = next((config[name] for name in ("hidden_size", "n_embd", "d_model") if isinstance(config.get(name), int)), 1)
    vocabulary = config.get("vocab_size", 1)
    held = sum(tensor.numel for file in weight_files(folder) for tensor in read_header(file).values())
    if isinstance(vocabulary, int) and vocabulary * min(width, 64) > 4 * held:  # embeddings may be narrower than the model
        raise ModelFileError(
            f"{folder / 'config.json'}: vocab_size {vocabulary} and a width of {width} ask for more than the {held} "
            "numbers that the weights hold. The file is damaged."
        )


def _check_ends(folder: Path) -> None:
    """Refuses ids that end a text and that no token has: transformers passes over them, and no text would end."""
    config = checkpoint.read_json(folder / "config.json")
    sizes = [value for name, value in _entries(config) if name == "vocab_size" and isinstance(value, int)]
    vocabulary = max(sizes, default=_LIMITS["vocab_size"])
    for name in ("config.json", "generation_config.json"):
        ends = checkpoint.read_json(folder / name).get("eos_token_id") if (folder / name).exists() else None
        for end in ends if isinstance(ends, list) else [] if ends is None else [ends]:
            if isinstance(end, bool) or not isinstance(end, int) or not 0 <= end < vocabulary:
                raise ModelFileError(
                    f"{folder / name}: eos_token_id must be made of integers in [0, {vocabulary - 1}], got {ends!r}. "
                    "The file is damaged, or of another model."
                )


def _entries(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        yield name, value
        if isinstance(value, dict) and name.endswith("_config"):
            yield from _entries(value)


def _may_be_hub_id(name: str) -> bool:
    """Whether a name has the form of a hub id: `name` or `owner/name`, in the letters that the hub allows."""
    parts = name.split("/")
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    return len(parts) <= 2 and all(part and set(part) <= allowed and part.strip("-.") == part for part in parts)
