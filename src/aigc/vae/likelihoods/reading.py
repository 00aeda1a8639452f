"""What likelihoods have in common: how a decoder's output is read, and how data are checked."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from aigc import random
from aigc._checks import fail, fail_type

__all__ = ["Likelihood", "check_numbers", "noise", "read", "shaped", "total"]

_STEP = 2  # of the noise that data are drawn with; priors draw codes with steps 0 and 1 of the same seed


class Likelihood(Protocol):
    """A distribution over data whose parameters a decoder gives: an `nn.Module` with these names.

    A decoder's output leads with rows, and holds `size` numbers for each number of the data. It is read as
    `(rows, size, *data)` whatever its own shape is, so that an MLP may return `(rows, size * pixels)` and a convolution
    `(rows, size * channels, height, width)`. Half precisions are raised to float32.

    Attributes:
        size: Parameters for each number of the data.

    Example:
        >>> from aigc.vae.likelihoods import Gaussian
        >>> Gaussian("predicted").size
        2
    """

    size: int

    def log_prob(self, parameters: Tensor, x: Tensor, /) -> Tensor:
        """The log-probability, or log-density, of data in nats, summed over the data's axes.

        Args:
            parameters: Of k times as many rows as there are examples, k at least 1, the examples running fastest: row r is
                about example `r % batch`.
            x: `(batch, *data)`.

        Returns:
            `(rows,)`.

        Raises:
            ParameterError: If the parameters do not fit the data.
        """
        ...

    def mean(self, parameters: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """The expectation of the data.

        Args:
            parameters: As for `log_prob`.
            shape: Of an example; None takes it from the parameters: `(rows, size * c, ...)` is `(c, ...)`.

        Returns:
            `(rows, *data)`.
        """
        ...

    def sample(self, parameters: Tensor, seeds: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """Draws data: a function of each row's seed and parameters.

        Args:
            parameters: As for `log_prob`.
            seeds: int64, `(rows,)`.
            shape: As for `mean`.

        Returns:
            `(rows, *data)`.
        """
        ...

    def check(self, x: Tensor, /) -> None:
        """Checks that data are what the distribution is about.

        Raises:
            ParameterError: If values are outside the support, or not finite.
            TypeParameterError: If it is no tensor of the right kind of numbers.
        """
        ...


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


def total(each: Tensor) -> Tensor:
    """Sums `(samples, batch, *data)` over the data: `(samples * batch,)`."""
    return each.reshape(each.shape[0] * each.shape[1], -1).sum(-1)


def noise(seeds: Tensor, like: Tensor, *, more: int = 0) -> Tensor:
    """Uniforms for each number of data `(rows, *data)`, float64: a function of a row's seed and the number's place."""
    place = torch.arange(like[0].numel(), device=seeds.device)
    return random.uniform(seeds[:, None], _STEP + more, place).reshape(like.shape).to(like.device)


def check_numbers(x: Tensor, *, low: float = -math.inf, high: float = math.inf, cure: str = "") -> None:
    """Checks that data are finite floating numbers in a range.

    Raises:
        ParameterError: If they are not in it.
        TypeParameterError: If they are integers, or no tensor.
    """
    bounded = math.isfinite(low)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        shown = x.dtype if isinstance(x, Tensor) else x
        cure = "Call .float() / 255 on bytes." if bounded else "Call .float()."
        raise fail_type("x", "a tensor of floating numbers", shown, cure)
    if not x.numel():
        raise fail("x", "data of at least one number", tuple(x.shape))
    least, largest = (float(value) for value in x.aminmax())
    if not (math.isfinite(least) and math.isfinite(largest)):
        raise fail("x", "finite", f"{int((~x.isfinite()).sum())} values that are NaN or infinite", "Clean the data.")
    if least < low or largest > high:
        cure = "Divide by 255." if low == 0 <= least and 1 < largest <= 255 else cure
        raise fail("x", f"in [{low:g}, {high:g}]", f"values from {least:g} to {largest:g}", cure)


def _precise(parameters: Tensor) -> Tensor:
    return parameters if parameters.dtype == torch.float64 else parameters.float()
