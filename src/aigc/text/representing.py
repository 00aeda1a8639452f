"""Texts as vectors: what a causal model makes of them, for metrics that compare sets of texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from aigc.metrics import Features
from aigc.text.requests import strings

if TYPE_CHECKING:
    from aigc.text.generator import Generator

__all__ = ["mean_states"]

_ROWS = 16  # texts that are read at once


def mean_states(gen: "Generator", texts: Sequence[str]) -> Features:
    """Reads texts with a model, and returns the mean of the last layer's hidden states over the tokens of each.

    A text longer than the model's context counts with its beginning. The states say what the model expects next, so they
    know style, subject and form as far as the model does; a model judges its own texts kindly, so give `evaluate` another
    model's features where two are compared.

    Args:
        gen: Of a causal model.
        texts: At least one; none may be empty unless the model knows a token that begins texts.

    Returns:
        float64 features `(texts, width)`, named for the model's class and its parameters' number.

    Raises:
        ModelError: If the model is not causal, or does not return its states.

    Example:
        >>> from aigc import Generator
        >>> mean_states(Generator.default(device="cpu", dtype="float32"), ["The sea", "春风"])
        Features((2, 256), extractor='mean states', version='Qwen3ForCausalLM 7.4M')
    """
    values = strings("texts", texts)
    parts = [gen._engine.states(values[first : first + _ROWS]) for first in range(0, len(values), _ROWS)]
    size = sum(parameter.numel() for parameter in gen.model.parameters())
    return Features(torch.cat(parts), "mean states", f"{type(gen.model).__name__} {size / 1e6:.1f}M")
