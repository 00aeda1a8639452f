"""What a quantiser is, and what it returns."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Quantised", "Quantiser", "perplexity"]


class Quantiser(Protocol):
    """Replaces vectors by codes: an `nn.Module` with these names.

    Attributes:
        features: Of a vector.
        count: How many codes there are; of a residual one, in each codebook.
        depth: Codebooks of a residual one; None of others.

    Example:
        >>> from aigc.vae.quantise import FSQ
        >>> quantiser: Quantiser = FSQ((3, 3))
        >>> quantiser.features, quantiser.count, quantiser.depth
        (2, 9, None)
    """

    @property
    def features(self) -> int:
        """Of a vector."""
        ...

    @property
    def count(self) -> int:
        """How many codes there are."""
        ...

    @property
    def depth(self) -> int | None:
        """Codebooks of a residual one."""
        ...

    def __call__(self, z: Tensor, /) -> "Quantised":
        """Quantises vectors `(batch, features, *space)`."""
        ...

    def lookup(self, indices: Tensor, /) -> Tensor:
        """The codes of indices, `(batch, features, *space)`."""
        ...


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
