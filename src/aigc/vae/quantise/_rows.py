"""The axes of a quantiser's input."""

from torch import Tensor

from aigc._checks import fail, fail_type

__all__ = ["check_vectors", "fold", "unfold"]


def fold(z: Tensor) -> Tensor:
    """Vectors as rows: `(batch, features, *space)` to `(batch * places, features)`."""
    return z.movedim(1, -1).reshape(-1, z.shape[1])


def unfold(rows: Tensor, z: Tensor) -> Tensor:
    """Rows as vectors of the shape of z."""
    return rows.reshape(z.shape[0], *z.shape[2:], z.shape[1]).movedim(-1, 1)


def check_vectors(z: Tensor, features: int) -> None:
    """Checks vectors.

    Raises:
        ParameterError: If they have another number of features.
        TypeParameterError: If they are not of floating numbers.
    """
    if not isinstance(z, Tensor) or not z.is_floating_point():
        raise fail_type("z", "a tensor of floating numbers", z.dtype if isinstance(z, Tensor) else z)
    if z.ndim < 2 or z.shape[1] != features or not z.numel():
        raise fail("z", f"vectors of {features} features, (batch, {features}, *space)", tuple(z.shape))
