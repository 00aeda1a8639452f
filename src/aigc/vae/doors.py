"""What the doors of models have in common: what comes in is checked once, and nothing of the model moves."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from aigc._checks import fail, fail_type, number
from aigc._models.conditions import check_kind
from aigc._models.data import check_type
from aigc.nets.conditions import check_condition
from aigc.training.resting import at_rest
from aigc.vae.likelihoods._reading import check_numbers
from aigc.vae.priors._drawing import check_codes

__all__ = [
    "check_data",
    "check_latents",
    "check_shape",
    "check_told",
    "check_weights",
    "code_type",
    "resting",
    "weight_type",
]

_SCALE = "Scale them as the images of training were: those in [-1, 1] by (x + 1) / 2."

M = TypeVar("M", bound=nn.Module)
P = ParamSpec("P")
R = TypeVar("R")


class _Model(Protocol):
    images: bool
    shape: tuple[int, ...] | None
    encoder: nn.Module


def resting(door: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """A method without gradients, during which the model is in evaluation mode: what is looked at in training stays."""

    @wraps(door)
    def entered(model: M, /, *args: P.args, **options: P.kwargs) -> R:
        with torch.no_grad(), at_rest([model]):
            return door(model, *args, **options)

    return entered


def check_data(model: _Model, x: Any, *, name: str = "x") -> None:
    """Checks data that come from a caller, all of them: it takes about as long as reading them once.

    Raises:
        ParameterError: If they are of another shape, not finite, or of images not in [0, 1].
        TypeParameterError: If they are of another type than the weights, or no tensor.
    """
    check_shape(model.shape, x, name=name)
    if model.images:
        check_numbers(x, low=0, high=1, name=name, cure=_SCALE)
    elif x.is_floating_point():
        check_numbers(x, name=name)
    check_type(x, model.encoder)


def check_shape(shape: tuple[int, ...] | None, x: Any, *, name: str = "x") -> None:
    """Checks that data are a batch of what the model is about: what takes no time."""
    wanted = "a tensor that leads with the examples, (batch, *data)"
    if not isinstance(x, Tensor):
        raise fail_type(name, wanted, x, "" if x is None else f"Call torch.as_tensor({name}).")
    one = x.ndim < 2 if shape is None else tuple(x.shape) == shape
    if one:
        raise fail(name, wanted, f"one of shape {tuple(x.shape)}", f"Call {name}[None] on one.")
    if shape is not None and x.shape[1:] != shape:
        raise fail(name, f"of shape (batch, {', '.join(map(str, shape))})", tuple(x.shape))


def check_latents(z: Any, latent: int, net: nn.Module) -> None:
    """Checks codes that come from a caller: their shape, that they are finite, and of a type that the model writes."""
    check_codes(z, latent)
    if len(z):
        check_numbers(z, name="z")
    wanted = code_type(own := weight_type(net, z.dtype))
    if z.dtype not in (wanted, own):
        raise fail_type("z", f"of {wanted}, as encode returns them", z.dtype, f"Convert them: z.to({wanted}).")


def check_told(nets: Iterable[nn.Module], condition: Any, rows: int) -> None:
    """Checks what nets are to be told: a tensor, of one row for each example, and what each net was built with."""
    if condition is not None:
        check_kind(condition)
    for net in nets:
        if hasattr(net, "condition"):
            check_condition(net.condition, condition, rows)  # type: ignore[arg-type]  # of our nets
    if condition is not None and len(condition) != rows:
        raise fail("condition", f"of {rows} rows, one for each", f"{len(condition)} rows")


def check_weights(weights: Any, count: int) -> list[float]:
    """Checks finite numbers, one for each of some data, in a sequence, an array or a tensor."""
    wanted = f"{count} numbers, one for each of the data"
    if isinstance(weights, Tensor | np.ndarray):
        weights = weights.tolist()
    if isinstance(weights, str | bytes) or not isinstance(weights, Sequence):
        raise fail_type("weights", wanted, weights)
    if len(weights) != count:
        raise fail("weights", wanted, f"{len(weights)} numbers")
    plain = (each.item() if isinstance(each, np.number | Tensor) and not each.ndim else each for each in weights)
    return [number(f"weights[{i}]", each) for i, each in enumerate(plain)]


def weight_type(net: nn.Module, otherwise: torch.dtype) -> torch.dtype:
    """The type of a net's weights; of a net that has none, another."""
    return next((p.dtype for p in net.parameters() if p.is_floating_point()), otherwise)


def code_type(weights: torch.dtype) -> torch.dtype:
    """The type of codes, which lower precisions than float32 would coarsen."""
    return torch.float64 if weights == torch.float64 else torch.float32
