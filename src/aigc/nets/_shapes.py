"""Shapes that nets are built for, and what goes into them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from aigc._checks import fail, fail_type, integer

__all__ = ["Scale", "check_input", "check_sequence", "check_shape", "scales"]


class Scale(NamedTuple):
    """One halving of places.

    Attributes:
        fine: Places before it: height and width, or a length.
        coarse: After it.
        factors: By what each side is divided: rounded up, so that any size can be.
    """

    fine: tuple[int, ...]
    coarse: tuple[int, ...]
    factors: tuple[int, ...]


def scales(places: Sequence[int]) -> list[Scale]:
    """How places become fewer: sides of images are halved until none is above 4, and lengths of sound quartered until 8.

    Example:
        >>> [scale.coarse for scale in scales((28, 28))], [scale.coarse for scale in scales((4096,))]
        ([(14, 14), (7, 7), (4, 4)], [(1024,), (256,), (64,), (16,), (4,)])
    """
    factor, least = (4, 8) if len(places) == 1 else (2, 4)
    found: list[Scale] = []
    fine = tuple(places)
    while max(fine) > least:
        factors = tuple(factor if side > least else 1 for side in fine)
        coarse = tuple(-(-side // by) for side, by in zip(fine, factors, strict=True))
        found.append(Scale(fine, coarse, factors))
        fine = coarse
    return found


def check_shape(shape: Sequence[int], *, places: Sequence[int] | None = None) -> tuple[int, ...]:
    """Checks the shape of one example.

    Args:
        shape: Its sides; the first is its channels.
        places: How many sides may come after the channels; None is any number.
    """
    sides = check_sequence("shape", shape)
    if places is not None and len(sides) - 1 not in places:
        raise fail("shape", "(channels, height, width) or (channels, length)", sides, "For others, use an MLP.")
    if places is not None and not scales(sides[1:]):
        least = 8 if len(sides) == 2 else 4
        raise fail("shape", f"larger than {least} along a side", sides, "For so few places, use an MLP.")
    return sides


def check_sequence(name: str, value: Sequence[int], *, least: int = 1) -> tuple[int, ...]:
    """Checks whole numbers above 0, at least so many."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence) or len(value) < least:
        raise fail_type(name, f"at least {least} integers in a sequence", value)
    return tuple(integer(f"{name}[{i}]", side, low=1) for i, side in enumerate(value))


def check_input(name: str, x: Any, shape: tuple[int, ...]) -> Tensor:
    """Checks a batch of what a net was built for."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        found = x.dtype if isinstance(x, Tensor) else x
        raise fail_type(name, f"floats of shape (batch, {', '.join(map(str, shape))})", found)
    if tuple(x.shape[1:]) != shape or x.ndim == 0:
        raise fail(name, f"of shape (batch, {', '.join(map(str, shape))})", tuple(x.shape))
    return x
