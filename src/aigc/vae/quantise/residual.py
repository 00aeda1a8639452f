r"""Quantisation in steps: each replaces what the ones before left."""

from typing import Any

import torch
from torch import Tensor, nn

from aigc._checks import integer
from aigc.vae.quantise._rows import check_vectors, fold, unfold
from aigc.vae.quantise.gradients import GRADIENTS
from aigc.vae.quantise.results import Quantised
from aigc.vae.quantise.vectors import VQ

__all__ = ["ResidualVQ"]


class ResidualVQ(nn.Module):
    r"""Replaces each vector by a sum of codes, one of each codebook (Zeghidour et al., arXiv:2107.03312).

    $$ r_0 = z, \qquad q_i = \mathrm{VQ}_i(r_i), \qquad r_{i+1} = r_i - q_i, \qquad q = \textstyle\sum_i q_i $$

    The first codebooks say the coarse, the last the fine: the first few of the indices already are a code.

    Args:
        codes: In each codebook.
        features: Of a vector.
        depth: Codebooks, at least 1.
        decay: As for `VQ`.
        restart: As for `VQ`.
        gradient: As for `VQ`; it passes the sum.
        seed: As for `VQ`.

    Attributes:
        layers: The quantisers, of type `VQ`.
        count: The number of codes in each codebook.
        config: The arguments as JSON, and the name: what `quantise.build` takes.

    Example:
        >>> out = ResidualVQ(4, features=2, depth=3)(torch.randn(5, 2, generator=torch.Generator().manual_seed(0)))
        >>> out.indices.shape, out.perplexity.shape
        (torch.Size([5, 3]), torch.Size([3]))
    """

    def __init__(
        self,
        codes: int,
        *,
        features: int,
        depth: int,
        decay: float = 0.99,
        restart: float | None = 0.03,
        gradient: str = "rotation",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.depth, self.features, self.gradient = integer("depth", depth, low=1), features, gradient
        made = [
            VQ(codes, features=features, decay=decay, restart=restart, gradient=gradient, seed=seed + place)
            for place in range(depth)
        ]
        self.count, self.layers = made[0].count, nn.ModuleList(made)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments."""
        first: dict[str, Any] = self.layers[0].config  # type: ignore[assignment]  # layers are VQ
        return first | {"quantiser": "ResidualVQ", "depth": self.depth}

    def forward(self, z: Tensor) -> Quantised:
        """Quantises vectors `(batch, features, *space)`; the commitment is the mean over the codebooks."""
        check_vectors(z, self.features)
        left, total, found = z, torch.zeros_like(z), []
        for layer in self.layers:
            found.append(layer(left))
            code = found[-1].codes.detach()
            left, total = left - code, total + code
        rows = GRADIENTS[self.gradient](fold(z), fold(total))
        return Quantised(
            codes=unfold(rows, z),
            indices=torch.stack([one.indices for one in found], dim=1),
            commitment=torch.stack([one.commitment for one in found]).mean(0),
            perplexity=torch.stack([one.perplexity for one in found]),
        )

    def lookup(self, indices: Tensor) -> Tensor:
        """The sums of the codes of indices: `(batch, n, *space)`, n at most the depth, to `(batch, features, *space)`."""
        integer("indices.shape[1]", indices.shape[1], low=1, high=self.depth)
        found = [layer.lookup(index) for layer, index in zip(self.layers, indices.unbind(1), strict=False)]  # type: ignore[operator]  # layers are VQ
        return torch.stack(found).sum(0)
