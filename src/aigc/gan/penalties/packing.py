"""Packing: a discriminator that reads several examples at once, and so sees a lack of variety."""

from torch import Tensor, nn

from aigc._checks import fail, fail_type, integer

__all__ = ["Packed"]


class Packed(nn.Module):
    r"""Has a discriminator read m examples at once (PacGAN; Lin et al., arXiv:1712.04086).

    Consecutive examples are joined along the channels: $(b, c, \ldots) \to (b/m, m c, \ldots)$, or, of vectors,
    $(b, d) \to (b/m, m d)$, and the logits are `(b/m,)`. Samples that lack some modes look more like each other than data
    do, and the more so the more of them are seen together:
    $\mathrm{TV}(P^m, Q^m) \ge \mathrm{TV}(P, Q)$. A penalty on its gradient is one for each pack.

    Args:
        discriminator: Of m times the channels, or features.
        m: At least 1; with 1 nothing changes.

    Attributes:
        packing: m.

    Example:
        >>> import torch
        >>> Packed(nn.Linear(3 * 2, 1), 3)(torch.zeros(12, 2)).shape
        torch.Size([4, 1])
    """

    def __init__(self, discriminator: nn.Module, m: int) -> None:
        super().__init__()
        if not isinstance(discriminator, nn.Module):
            raise fail_type("discriminator", "a module", discriminator)
        self.discriminator, self.packing = discriminator, integer("m", m, low=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of packs, of examples `(b, channels, ...)` or `(b, features)`."""
        m = self.packing
        if x.ndim < 2 or len(x) % m:
            cure = "Take batches, and micro-batches, of a multiple of that."
            raise fail("x", f"of shape (b, channels, ...) with b a multiple of {m}", tuple(x.shape), cure)
        logits: Tensor = self.discriminator(x.reshape(len(x) // m, m * x.shape[1], *x.shape[2:]))
        return logits

    def extra_repr(self) -> str:
        """How many it joins."""
        return f"m={self.packing}"
