"""Checks of data before training starts: what is not as a model needs it is an error with a cure, and never repaired."""

import math

import torch
from torch import Tensor

from aigc._checks import fail, fail_type

__all__ = ["check_images", "check_levels", "check_sounds"]

_OVERSHOOT = 0.2  # beyond [0, 1]: bicubic scaling goes so far at an edge between black and white
_DARK = 16  # what has no value above it is hardly of bytes


def check_images(images: Tensor, *, shape: tuple[int, int, int] | None = None) -> Tensor:
    """Checks images: float, `(n, channels, height, width)`, in [0, 1], finite, and not each of one colour.

    Args:
        images: Several, at least one.
        shape: What one must have; None is any.

    Returns:
        The same tensor.

    Raises:
        ParameterError: If a condition does not hold; the sentence says how to mend it.

    Example:
        >>> check_images(torch.tensor([[[[0.0, 0.5], [0.5, 1.0]]]])).shape
        torch.Size([1, 1, 2, 2])
        >>> check_images(torch.tensor([[[[0.0, 128.0], [255.0, 7.0]]]]))
        Traceback (most recent call last):
            ...
        aigc.errors.ParameterError: images must be in [0, 1], got from 0 to 255. Divide them: x / 255.
    """
    _check_floats("images", images, 4, "(n, channels, height, width)", "x.float() / 255")
    if shape is not None and tuple(images.shape[1:]) != tuple(shape):
        raise fail("images", f"of shape (n, {', '.join(map(str, shape))})", tuple(images.shape))
    check_levels("images", images)
    _check_varied("images", images, "one colour")
    return images


def check_sounds(sounds: Tensor, *, shape: tuple[int, int] | None = None) -> Tensor:
    """Checks sounds: float, `(n, channels, length)`, in [-1, 1], finite, and not each of one value.

    Args:
        sounds: Several, at least one.
        shape: What one must have; None is any.

    Returns:
        The same tensor.

    Raises:
        ParameterError: If a condition does not hold; the sentence says how to mend it.

    Example:
        >>> check_sounds(torch.tensor([[[0.0, 0.5, -0.5]]])).shape
        torch.Size([1, 1, 3])
    """
    _check_floats("sounds", sounds, 3, "(n, channels, length)", "x.float() / 32768")
    if shape is not None and tuple(sounds.shape[1:]) != tuple(shape):
        raise fail("sounds", f"of shape (n, {', '.join(map(str, shape))})", tuple(sounds.shape))
    low, high = _range("sounds", sounds)
    if low < -1 or high > 1:
        cure = "Divide them: x / 32768." if max(-low, high) > 256 else "Divide them by their largest: x / x.abs().max()."
        raise fail("sounds", "in [-1, 1]", _Shown(f"from {low:.6g} to {high:.6g}"), cure)
    _check_varied("sounds", sounds, "one value")
    return sounds


def check_levels(name: str, images: Tensor) -> None:
    """Raises a `ParameterError` if images are not finite, and in [0, 1]."""
    low, high = _range(name, images)
    if low < 0 or high > 1:
        raise fail(name, "in [0, 1]", _Shown(f"from {low:.6g} to {high:.6g}"), _scale(low, high))


class _Shown:
    """A finding whose repr is itself."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _check_floats(name: str, x: Tensor, dimensions: int, shape: str, cure: str) -> None:
    if not isinstance(x, Tensor):
        raise fail_type(name, "a tensor", x)
    if not x.is_floating_point():
        raise fail_type(name, "of a floating type", x.dtype, f"Convert them: {cure}.")
    if x.ndim != dimensions or not x.numel():
        cure = f"One alone is x[None], {shape}." if x.ndim == dimensions - 1 else ""
        raise fail(name, f"of shape {shape}, none of them 0", tuple(x.shape), cure)


def _range(name: str, x: Tensor) -> tuple[float, float]:
    low, high = (float(value) for value in torch.aminmax(x.detach()))  # NaN and infinities come through
    if not math.isfinite(low) or not math.isfinite(high):
        bad = (~x.detach().flatten(1).isfinite()).any(1).nonzero().flatten()
        found = _Shown(f"NaN or infinity in {len(bad)} of {len(x)}, first in {name}[{int(bad[0])}]")
        raise fail(name, "finite", found, "Leave these out.")
    return low, high


def _check_varied(name: str, x: Tensor, noun: str) -> None:
    low, high = torch.aminmax(x.detach().flatten(1), dim=1)
    if x[0].numel() > 1 and bool((low == high).all()):
        raise fail(name, f"not all of {noun}", _Shown(f"{noun} in each of {len(x)}"), "Look at where they come from.")


def _scale(low: float, high: float) -> str:
    if low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
        return "Cut what is beyond off: x.clamp(0, 1)."
    if low >= 0 and _DARK < high <= 255:
        return "Divide them: x / 255."
    if low >= -1 and high <= 1:
        return "Move them: (x + 1) / 2."
    return "Scale them: (x - low) / (high - low), with the lowest and highest that can occur."
