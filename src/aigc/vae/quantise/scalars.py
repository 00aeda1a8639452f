r"""Finite scalar quantisation: a grid instead of a codebook."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aigc._checks import fail, fail_type, integer
from aigc.vae.quantise._rows import check_vectors
from aigc.vae.quantise.gradients import straight
from aigc.vae.quantise.results import Quantised, perplexity

__all__ = ["FSQ"]


class FSQ(nn.Module):
    r"""Rounds each feature to one of L levels (Mentzer et al., arXiv:2309.15505).

    It has no parameters, and nothing to collapse.

    $$ q = \frac{1}{\lfloor L / 2 \rfloor} \operatorname{round}\Big( h \tanh(z + s) - o \Big), \qquad h = \frac{L - 1}{2},
       \quad o = \tfrac12 [L \text{ even}], \quad s = \operatorname{artanh} \frac{o}{h} $$

    so that z = 0 is the level 0, and levels are evenly spaced in [-1, 1]: for L even from -1 to $1 - \tfrac2L$.
    (The paper's listing has a tangent for s.) The gradient of the rounding goes straight through.

    Args:
        levels: L of each feature, at least 2 (where s is 0); their product is the number of codes.
            The paper's: (8, 6, 5), (8, 5, 5, 5), (7, 5, 5, 5, 5), (8, 8, 8, 6, 5).

    Attributes:
        count: The number of codes.
        features: The number of levels.
        config: The arguments as JSON, and the name: what `quantise.build` takes.

    Example:
        >>> fsq = FSQ((8, 5, 5, 5))
        >>> fsq.count, fsq(torch.zeros(1, 4)).indices, fsq.lookup(torch.tensor([0]))
        (1000, tensor([562]), tensor([[-1., -1., -1., -1.]]))
    """

    reach: Tensor
    offset: Tensor
    shift: Tensor
    width: Tensor
    basis: Tensor
    depth = None

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        if isinstance(levels, str | bytes) or not isinstance(levels, Sequence):
            raise fail_type("levels", "a sequence of numbers of levels", levels, "Say FSQ((8, 5, 5, 5)).")
        self.levels = tuple(integer("levels", level, low=2) for level in levels)
        if not self.levels:
            raise fail("levels", "at least one number of levels", levels)
        self.features, self.count = len(self.levels), math.prod(self.levels)
        sizes = torch.tensor(self.levels, dtype=torch.float64)
        reach = (sizes - 1) / 2
        offset = (sizes % 2 == 0).double() / 2
        shift = torch.atanh((offset / reach).where(sizes > 2, 0.0))
        basis = torch.tensor([math.prod(self.levels[i + 1 :]) for i in range(self.features)])
        for name, value in (("reach", reach), ("offset", offset), ("shift", shift), ("width", sizes // 2)):
            self.register_buffer(name, value.float(), persistent=False)
        self.register_buffer("basis", basis, persistent=False)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments."""
        return {"quantiser": "FSQ", "levels": list(self.levels)}

    def forward(self, z: Tensor) -> Quantised:
        """Quantises vectors `(batch, features, *space)`."""
        check_vectors(z, self.features)
        rows = self.bound(z.movedim(1, -1))
        level = rows.detach().round()
        codes = straight(rows, level) / self.width.to(z.dtype)
        indices = self._number(level)
        counts = torch.bincount(indices.flatten(), minlength=self.count).float()
        return Quantised(codes.movedim(-1, 1), indices, z.new_zeros(len(z)), perplexity(counts))

    def bound(self, rows: Tensor) -> Tensor:
        """Squashes numbers `(*, features)` to where each rounds to a level that there is."""
        reach, offset, shift = (value.to(rows.dtype) for value in (self.reach, self.offset, self.shift))
        return reach * torch.tanh(rows + shift) - offset

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes of indices: int64 `(batch, *space)` to `(batch, features, *space)`."""
        sizes = torch.tensor(self.levels, device=indices.device)
        place = indices[..., None] // self.basis % sizes
        return ((place - self.width) / self.width).movedim(-1, 1)

    def number(self, codes: Tensor) -> Tensor:
        """The indices of codes, `(batch, features, *space)` to int64 `(batch, *space)`: the inverse of `lookup`."""
        check_vectors(codes, self.features)
        return self._number((codes.movedim(1, -1) * self.width).round())

    def _number(self, level: Tensor) -> Tensor:
        return ((level + self.width).long() * self.basis).sum(-1)

    def extra_repr(self) -> str:
        """Its levels."""
        return str(self.levels)
