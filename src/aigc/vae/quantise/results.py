"""What a quantiser returns; and the axes of its input."""

from typing import NamedTuple

import torch
from torch import Tensor

from aigc._checks import fail, fail_type

__all__ = ["Quantised", "check_vectors", "fold", "perplexity", "unfold"]


class Quantised(NamedTuple):
    """What a quantiser made of vectors `(batch, features, *space)`.

    Attributes:
        codes: What the decoder reads, of the same shape; gradients pass to the vectors.
        indices: Which codes, int64 `(batch, *space)`, or `(batch, depth, *space)` of a residual quantiser.
        commitment: The mean squared distance of an example's vectors from their codes, over features and places,
            `(batch,)`: it draws the encoder to the codes. Its mean does not depend on the batch size. 0 where nothing is
            to be learned.
        perplexity: How many codes the batch uses, as `perplexity` counts them; a scalar, or one per depth.

    Example:
        >>> from aigc.vae.quantise import FSQ
        >>> FSQ((3, 3))(torch.zeros(2, 2, 4)).indices.shape
        torch.Size([2, 4])
    """

    codes: Tensor
    indices: Tensor
    commitment: Tensor
    perplexity: Tensor


def perplexity(counts: Tensor) -> Tensor:
    """The exponential of the entropy of how often codes are used, in [1, codes].

    Args:
        counts: `(codes,)`, not all 0.

    Example:
        >>> perplexity(torch.tensor([5.0, 5.0, 0.0]))
        tensor(2.)
    """
    share = counts / counts.sum()
    entropy: Tensor = torch.special.entr(share).sum()
    return entropy.exp()


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
