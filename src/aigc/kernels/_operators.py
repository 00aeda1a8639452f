"""Sampling as operators of torch, so that `torch.compile(fullgraph=True)` takes them whole.

An operator has the arguments of the function it stands for, each as a number or as a tensor, and checks them when it runs:
while it is traced, nothing is known of them but shapes.
"""

import math
from typing import Any

import torch
from torch import Tensor

from aigc.kernels import _dispatch
from aigc.kernels._parameters import Parameters
from aigc.kernels._types import Noise

__all__ = ["sample", "threshold"]


def sample(logits: Tensor, noise: Noise, filters: Parameters, check: bool) -> tuple[Tensor, Tensor]:
    """`_dispatch.sample`, to be traced."""
    _dispatch.check_logits(logits)
    seed, step, hashed = noise
    arguments = [*_parted(seed, step), *_parted(*filters)]
    packed: tuple[Tensor, Tensor] = _sample(logits.detach(), *arguments, hashed, check)
    return packed


def threshold(logits: Tensor, filters: Parameters) -> Tensor:
    """`_dispatch.threshold`, to be traced."""
    _dispatch.check_logits(logits)
    tau: Tensor = _threshold(logits.detach(), *_parted(*filters))
    return tau


@torch.library.custom_op("aigc::sample", mutates_args=())
def _sample(
    logits: Tensor,
    seed: int | None,
    seeds: Tensor | None,
    step: int | None,
    steps: Tensor | None,
    temperature: float | None,
    temperatures: Tensor | None,
    top_k: int | None,
    top_ks: Tensor | None,
    top_p: float | None,
    top_ps: Tensor | None,
    min_p: float | None,
    min_ps: Tensor | None,
    hashed: bool,
    check: bool,
) -> tuple[Tensor, Tensor]:
    begin, position = _joined(seed, seeds, step, steps)
    noise = Noise(begin, position, hashed)
    filters = Parameters(*_joined(temperature, temperatures, top_k, top_ks, top_p, top_ps, min_p, min_ps))
    return _dispatch.sample(logits, noise, filters, check)


@_sample.register_fake
def _(logits: Tensor, *_arguments: object) -> tuple[Tensor, Tensor]:
    rows = math.prod(logits.shape[:-1])
    return logits.new_empty((3, rows), dtype=torch.int64), logits.new_empty((2, rows), dtype=torch.float32)


@torch.library.custom_op("aigc::threshold", mutates_args=())
def _threshold(
    logits: Tensor,
    temperature: float | None,
    temperatures: Tensor | None,
    top_k: int | None,
    top_ks: Tensor | None,
    top_p: float | None,
    top_ps: Tensor | None,
    min_p: float | None,
    min_ps: Tensor | None,
) -> Tensor:
    filters = Parameters(*_joined(temperature, temperatures, top_k, top_ks, top_p, top_ps, min_p, min_ps))
    return _dispatch.threshold(logits, filters)


@_threshold.register_fake
def _(logits: Tensor, *_arguments: object) -> Tensor:
    return logits.new_empty(logits.shape[:-1])


def _parted(*values: Any) -> list[Any]:
    """Each value as two arguments: a number, and a tensor."""
    return [part for value in values for part in ((None, value) if isinstance(value, Tensor) else (value, None))]


def _joined(*parts: Any) -> list[Any]:
    """The values again."""
    return [number if tensor is None else tensor for number, tensor in zip(parts[::2], parts[1::2], strict=True)]
