"""How a decoder's output is read, and how data are checked."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from aigc import random
from aigc._checks import fail, fail_type

__all__ = ["check_numbers", "first", "noise", "read", "shaped", "total"]

_STEP = 2  # of the noise that data are drawn with; priors draw codes with steps 0 and 1 of the same seed


def read(parameters: Tensor, x: Tensor, size: int) -> Tensor:
    """Parameters of data, as `(samples, batch, size, *data)`.

    Raises:
        ParameterError: If there are too many or too few numbers.
    """
    each = size * math.prod(x.shape)
    rows = parameters.shape[0] if parameters.ndim else 0
    if not each or not rows or parameters.numel() % each or rows % len(x) or parameters.numel() // each != rows // len(x):
        data = tuple(x.shape[1:])
        condition = f"{size} numbers for each of the data, (rows, {size}, *{data}), in rows that are a multiple of {len(x)}"
        raise fail("the decoder's output", condition, tuple(parameters.shape), "Change its last layer, or the likelihood.")
    return _precise(parameters).reshape(-1, len(x), size, *x.shape[1:])


def shaped(parameters: Tensor, size: int, shape: Sequence[int] | None) -> Tensor:
    """Parameters without data, as `(rows, size, *data)`.

    Raises:
        ParameterError: If they do not fit the shape, or show none.
    """
    rows = parameters.shape[0]
    if shape is None:
        own = tuple(parameters.shape[1:])
        if size == 1:
            shape = own
        elif own and own[0] % size == 0:
            shape = (own[0] // size, *own[1:])
        else:
            cure = "Say the shape of an example."
            raise fail("the decoder's output", f"(rows, {size} * channels, ...)", tuple(parameters.shape), cure)
    if parameters.numel() != rows * size * math.prod(shape):
        condition = f"{size} numbers for each of the data, (rows, {size}, *{tuple(shape)})"
        raise fail("the decoder's output", condition, tuple(parameters.shape), "Change its last layer, or the likelihood.")
    return _precise(parameters).reshape(rows, size, *shape)


def first(found: Tensor) -> Tensor:
    """The first parameter of each number, `(samples, batch, *data)`: where it is the only one, by a view, as a select's
    gradient fills a tensor of its own.
    """  # noqa: D205
    return found.squeeze(2) if found.shape[2] == 1 else found[:, :, 0]


def total(each: Tensor) -> Tensor:
    """Sums `(samples, batch, *data)` over the data: `(samples * batch,)`."""
    return each.reshape(each.shape[0] * each.shape[1], -1).sum(-1)


def noise(seeds: Tensor, like: Tensor, *, more: int = 0) -> Tensor:
    """Uniforms for each number of data `(rows, *data)`, float64: a function of a row's seed and the number's place."""
    place = torch.arange(like[0].numel(), device=seeds.device)
    return random.uniform(seeds[:, None], _STEP + more, place).reshape(like.shape).to(like.device)


def check_numbers(x: Tensor, *, low: float = -math.inf, high: float = math.inf, cure: str = "", name: str = "x") -> None:
    """Checks that data are finite floating numbers in a range.

    Raises:
        ParameterError: If they are not in it.
        TypeParameterError: If they are integers, or no tensor.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        shown = x.dtype if isinstance(x, Tensor) else x
        raise fail_type(name, "a tensor of floating numbers", shown, _conversion(x, name, bounded=math.isfinite(low)))
    if not x.numel():
        raise fail(name, "data of at least one number", tuple(x.shape))
    least, largest = (float(value) for value in x.detach().aminmax())
    if not (math.isfinite(least) and math.isfinite(largest)):
        raise fail(name, "finite", f"{int((~x.isfinite()).sum())} values that are NaN or infinite", "Clean the data.")
    if least < low or largest > high:
        cure = "Divide by 255." if low == 0 <= least and 1 < largest <= 255 else cure
        raise fail(name, f"in [{low:g}, {high:g}]", f"values from {least:g} to {largest:g}", cure)


def _conversion(x: object, name: str, *, bounded: bool) -> str:
    """How data become floating numbers."""
    if not isinstance(x, Tensor):
        return "" if x is None else f"Call torch.as_tensor({name})."
    return "Call .float() / 255 on bytes." if bounded else "Call .float()."


def _precise(parameters: Tensor) -> Tensor:
    return parameters if parameters.dtype == torch.float64 else parameters.float()
