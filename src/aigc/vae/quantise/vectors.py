r"""Vector quantisation with codes that follow by moving averages."""

from typing import Any

import torch
from torch import Tensor, nn

from aigc import random
from aigc._checks import fail, integer
from aigc.training import processes
from aigc.vae._clusters import assigned, centres, nearest
from aigc.vae.quantise._rows import check_vectors, fold, unfold
from aigc.vae.quantise.gradients import GRADIENTS
from aigc.vae.quantise.results import Quantised, perplexity

__all__ = ["VQ"]


class VQ(nn.Module):
    r"""Replaces each vector by the nearest of some codes (van den Oord et al., arXiv:1711.00937).

    In training mode a call also moves the codes: each follows the mean of the vectors that chose it,

    $$ N_c \leftarrow d N_c + (1 - d) n_c, \qquad m_c \leftarrow d m_c + (1 - d) \textstyle\sum_{i \in c} z_i, \qquad
       e_c = m_c / N_c, $$

    which with d = 0 is a step of k-means; a code that nothing chose stays. The first such call starts them by k-means of
    its batch. Where `torch.distributed` was started, all processes move the codes by all their vectors. Buffers hold all of
    this, so that checkpoints have it; what is random is a function of (seed, how many calls there were).

    Args:
        codes: How many, at least 2.
        features: Of a vector.
        decay: d, in [0, 1).
        restart: A code that is used less than this share of an equal one is replaced by a vector of the batch (Dhariwal et
            al., arXiv:2005.00341). None is off.
        gradient: `"rotation"` (Fifty et al., arXiv:2410.06424) or `"straight"` through.
        seed: Of the start and of restarts.

    Attributes:
        codebook: `(codes, features)`.
        count: The number of codes.
        config: The arguments as JSON, and the name: what `quantise.build` takes.

    Example:
        >>> vq = VQ(4, features=2)
        >>> out = vq(torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0)))
        >>> out.codes.shape, out.indices.shape, out.commitment.shape
        (torch.Size([3, 2, 5, 5]), torch.Size([3, 5, 5]), torch.Size([3]))
        >>> torch.equal(vq.eval()(out.codes).codes, out.codes)  # the codes have moved, but not far
        False
    """

    codebook: Tensor
    sizes: Tensor
    sums: Tensor
    calls: Tensor
    depth = None

    def __init__(
        self,
        codes: int,
        *,
        features: int,
        decay: float = 0.99,
        restart: float | None = 0.03,
        gradient: str = "rotation",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.count, self.features = integer("codes", codes, low=2), integer("features", features, low=1)
        if not 0 <= decay < 1:
            raise fail("decay", "in [0, 1)", decay)
        if restart is not None and not 0 < restart < 1:
            raise fail("restart", "in (0, 1)", restart, "None is off.")
        if gradient not in GRADIENTS:
            raise fail("gradient", f"one of {', '.join(map(repr, GRADIENTS))}", gradient)
        self.decay, self.restart, self.gradient = decay, restart, gradient
        self.seed = random.check_seed("seed", seed)
        first = random.normal(torch.arange(codes)[:, None], torch.arange(features), step=self.seed).float()
        self.register_buffer("codebook", first)
        self.register_buffer("sizes", torch.ones(codes))
        self.register_buffer("sums", first.clone())
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments."""
        own = {"quantiser": "VQ", "codes": self.count, "features": self.features, "decay": self.decay}
        return own | {"restart": self.restart, "gradient": self.gradient, "seed": self.seed}

    def forward(self, z: Tensor) -> Quantised:
        """Quantises vectors `(batch, features, *space)`; in training mode, moves the codes."""
        check_vectors(z, self.features)
        rows = fold(z)
        if self.training and not int(self.calls):
            self._start(rows.detach())
        index = nearest(rows, self.codebook)
        chosen = self.codebook[index].to(rows.dtype)
        counts = torch.bincount(index, minlength=self.count).to(self.sizes.dtype)
        passed = GRADIENTS[self.gradient](rows, chosen)
        commitment = (rows - chosen).square().reshape(len(z), -1).mean(1)
        if self.training:
            self._follow(rows.detach(), index)
        places = index.reshape(z.shape[0], *z.shape[2:])
        return Quantised(unfold(passed, z), places, commitment, perplexity(counts))

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes of indices: int64 `(batch, *space)` to `(batch, features, *space)`."""
        return self.codebook[indices].movedim(-1, 1)

    @torch.no_grad()
    def _start(self, rows: Tensor) -> None:
        """Codes by k-means of the first batch; one process finds them for all."""
        among = processes()
        found = torch.zeros_like(self.codebook)
        if among.rank == 0:
            rng = torch.Generator().manual_seed(random.stream(self.seed, 0))
            found.copy_(centres(rows.to(found.dtype).cpu(), self.count, rng=rng, steps=10))
        among.total([found])
        self._place(torch.ones_like(self.sizes).bool(), found, torch.ones_like(self.sizes))

    @torch.no_grad()
    def _follow(self, rows: Tensor, index: Tensor) -> None:
        """One step of the averages, and of restarts."""
        sums, counts = assigned(rows.to(self.sums.dtype), index, self.count)
        among = processes()
        among.total([sums, counts])
        self.sizes.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        used = self.sizes > 1e-10
        self.codebook.copy_(torch.where(used[:, None], self.sums / self.sizes.clamp(min=1e-10)[:, None], self.codebook))
        self.calls.add_(1)
        if self.restart is None:
            return
        fair = self.sizes.mean()
        dead = self.sizes < self.restart * fair
        if bool(dead.any()):
            fresh = torch.zeros_like(self.codebook)
            if among.rank == 0:
                rng = torch.Generator().manual_seed(random.stream(self.seed, int(self.calls)))
                fresh.copy_(rows[torch.randint(len(rows), (self.count,), generator=rng).to(rows.device)])
            among.total([fresh])
            self._place(dead, fresh, fair.expand_as(self.sizes))

    def _place(self, which: Tensor, codes: Tensor, sizes: Tensor) -> None:
        """Puts some codes somewhere else, with averages as if they had been used that often."""
        self.codebook.copy_(torch.where(which[:, None], codes, self.codebook))
        self.sizes.copy_(torch.where(which, sizes, self.sizes))
        self.sums.copy_(torch.where(which[:, None], self.codebook * self.sizes[:, None], self.sums))

    def extra_repr(self) -> str:
        """Its parameters."""
        return f"{self.count}, features={self.features}, decay={self.decay}, restart={self.restart}"
