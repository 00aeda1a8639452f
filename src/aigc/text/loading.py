"""From a folder, or a name on the hub, to a model and its tokenizer: checked before any weight is read."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from aigc import device as devices
from aigc._checks import fail
from aigc.data.text import Manifest
from aigc.text import files, provenance
from aigc.text._transformers_files import download, load_tokenizer
from aigc.text._transformers_kinds import load_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Loaded", "load"]


class Loaded(NamedTuple):
    """What was read, whether products are to be of eight-bit integers, and what the model was trained on, if it is said."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    int8: bool
    trained_on: tuple[Manifest, ...] = ()


def load(name: str | Path, *, device: str | torch.device, dtype: str | torch.dtype, revision: str | None) -> Loaded:
    """Loads a model and its tokenizer; the arguments are those of `Generator.from_pretrained`."""
    int8 = dtype == "int8"
    named = isinstance(dtype, str) and dtype.removeprefix("torch.") in devices.DTYPES
    if not (named or int8 or dtype == "auto" or dtype in devices.DTYPES.values()):
        raise fail("dtype", f'"auto" or one of {", ".join(devices.DTYPES)}, int8', dtype)
    placement = devices.place("cpu" if int8 and device == "auto" else device, dtype="auto" if int8 else dtype)
    local = files.find(name)
    if local is not None and revision is not None:
        raise fail(
            "revision", "left out where the model is a folder", revision, "Check that revision out, or give its hub id."
        )
    folder = local or download(str(name), revision=revision)
    files.inspect(folder, placement=placement, manifest=local is not None)
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, dtype=placement.dtype).to(placement.device)
    return Loaded(model, tokenizer, int8, provenance.read(folder))
