"""Sampling as operators of torch, so that `torch.compile(fullgraph=True)` takes them whole.

An operator has the arguments of the function it stands for, each as a number or as a tensor, and checks them when it
runs: while it is traced, nothing is known of them but shapes.
"""

from typing import Any

import torch
from torch import Tensor

from aigc.kernels import _dispatch
from aigc.kernels._dispatch import Arguments

__all__ = ["sample", "threshold"]


def sample(
    logits: Tensor, seed: int | Tensor, step: int | Tensor, filters: Arguments, check: bool
) -> tuple[Tensor, Tensor]:
    """`_dispatch.sample`, to be traced."""
    noise = *_either(seed), *_either(step)
    packed: tuple[Tensor, Tensor] = _sample(logits.detach(), *noise, *_split(filters), check)
    return packed


def threshold(logits: Tensor, filters: Arguments) -> Tensor:
    """`_dispatch.threshold`, to be traced."""
    tau: Tensor = _threshold(logits.detach(), *_split(filters))
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
    check: bool,
) -> tuple[Tensor, Tensor]:
    filters = Arguments(
        temperature if temperatures is None else temperatures,
        top_k if top_ks is None else top_ks,
        top_p if top_ps is None else top_ps,
        min_p if min_ps is None else min_ps,
    )
    noise: list[Any] = [seed if seeds is None else seeds, step if steps is None else steps]
    return _dispatch.sample(logits, noise[0], noise[1], filters, check)


@_sample.register_fake
def _(logits: Tensor, *_arguments: object) -> tuple[Tensor, Tensor]:
    rows = logits.shape[:-1].numel()
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
    filters = Arguments(
        temperature if temperatures is None else temperatures,
        top_k if top_ks is None else top_ks,
        top_p if top_ps is None else top_ps,
        min_p if min_ps is None else min_ps,
    )
    return _dispatch.threshold(logits, filters)


@_threshold.register_fake
def _(logits: Tensor, *_arguments: object) -> Tensor:
    return logits.new_empty(logits.shape[:-1])


def _either(value: object) -> tuple[object, object]:
    return (None, value) if isinstance(value, Tensor) else (value, None)


def _split(filters: Arguments) -> list[object]:
    return [argument for value in filters for argument in _either(value)]
