r"""A prior over discrete codes that draws them one by one, each given those before it."""

import math
from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from aigc import kernels
from aigc._checks import fail, fail_type
from aigc.kernels import Draw
from aigc.nets import CausalTransformer, Condition
from aigc.nets._shapes import check_sequence
from aigc.nets.conditions import check_condition
from aigc.vae.priors._drawing import check_seeds

__all__ = ["ROWS", "Autoregressive", "CodePrior", "blocks", "padded"]

ROWS = 16  # of every product of matrices while samples are drawn, however many there are


class CodePrior(Protocol):
    """A distribution over discrete codes: an `nn.Module` with these names.

    Attributes:
        condition: What it is told, or None.

    Example:
        >>> prior: CodePrior = Autoregressive(CausalTransformer(5, 6, width=8, layers=1, heads=2), (2, 3))
        >>> prior.condition is None
        True
    """

    @property
    def condition(self) -> Condition | None:
        """What it is told."""
        ...

    def log_prob(self, indices: Tensor, condition: Tensor | None = None, /) -> Tensor:
        """The log-probability in nats, `(batch,)`, of indices `(batch, *shape)`."""
        ...

    def sample(
        self,
        seeds: Tensor,
        /,
        *,
        condition: Tensor | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Tensor:
        """Draws indices for each seed, a function of that seed and of its condition: `(n,)` to `(n, *shape)`."""
        ...


class Autoregressive(nn.Module):
    r"""The distribution of a causal net, one index after the other (van den Oord et al., arXiv:1711.00937).

    $$ \log p(c) = \sum_i \log p(c_i \mid c_{<i}) $$

    Places come in raster order; of residual codes, the levels of a place behind each other, the coarsest first.

    Args:
        net: `CausalTransformer`, of as many positions as a code has indices.
        shape: Of the indices of one example: `(height, width)` or `(length,)`, with the depth of residual codes before it.

    Raises:
        ParameterError: If net and shape do not fit.

    Example:
        >>> prior = Autoregressive(CausalTransformer(5, 6, width=8, layers=1, heads=2), (2, 3))
        >>> codes = prior.sample(torch.tensor([7, 8]))
        >>> codes.shape, torch.equal(codes[1:], prior.sample(torch.tensor([8])))
        (torch.Size([2, 2, 3]), True)
        >>> prior.log_prob(codes).shape
        torch.Size([2])
    """

    def __init__(self, net: CausalTransformer, shape: Sequence[int]) -> None:
        super().__init__()
        self.net, self.shape = net, check_sequence("shape", shape)
        if math.prod(self.shape) != net.length:
            raise fail("shape", f"of {net.length} indices, the length of the net", self.shape)
        if net.depth > 1 and self.shape[0] != net.depth:
            raise fail("shape", f"(depth, *space) with the depth of the net, {net.depth}", self.shape)
        self.eval()

    @property
    def condition(self) -> Condition | None:
        """What it is told."""
        return self.net.condition

    @property
    def config(self) -> dict[str, Any]:
        """What it was built of, as JSON."""
        return {"prior": "Autoregressive", "net": self.net.config, "shape": list(self.shape)}

    def log_prob(self, indices: Tensor, condition: Tensor | None = None, /) -> Tensor:
        """The log-probability in nats: the sum over all positions.

        Args:
            indices: int64 `(batch, *shape)`.
            condition: What the net is told, one for each.

        Returns:
            `(batch,)`.

        Raises:
            ParameterError: If indices have another shape or are out of range, or the condition is missing.
        """
        sequence = self._sequence(indices)
        logits: Tensor = self.net(sequence, self._told(condition))
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return logits.log_softmax(-1).gather(-1, sequence[..., None]).sum((-1, -2))

    @torch.no_grad()
    def sample(
        self,
        seeds: Tensor,
        /,
        *,
        condition: Tensor | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Tensor:
        """Draws indices, each keyed by (seed, position, index): see `aigc.kernels.sample`.

        Rows are worked on in blocks of always as many, so that every product of matrices has the same shape; then a row's
        logits have the same bits alone and in any batch, where a product does not depend on a row's place in the block: so
        it is on the CPUs that the tests ran on. Elsewhere logits agree to rounding, and an index differs only where two
        were as good as equal.

        Args:
            seeds: int64 `(n,)`, one for each sample.
            condition: What the net is told, one for each.
            temperature: Logits are divided by it; 0 takes the likeliest index each time, and None is 1.
            top_k: How many of the likeliest indices are kept at each position.
            top_p: The probability that the likeliest indices which are kept must have.

        Returns:
            int64 `(n, *shape)`, on the device of the net.

        Raises:
            ParameterError: If an argument is out of range, or the condition is missing.
        """
        device = self.net.start.device
        seeds = check_seeds(seeds).to(device)
        told = self._told(check_condition(self.condition, condition, len(seeds)))
        told = None if told is None else told.to(device)
        filters = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        found = seeds.new_empty(len(seeds), self.net.length)
        for rows in blocks(len(seeds)):
            some = None if told is None else padded(told[rows])
            found[rows] = self._drawn(padded(seeds[rows]), some, filters)[: rows.stop - rows.start]
        if self.net.depth == 1:
            return found.reshape(-1, *self.shape)
        return found.reshape(-1, *self.shape[1:], self.net.depth).movedim(-1, 1)

    def _drawn(self, seeds: Tensor, condition: Tensor | None, filters: dict[str, Any]) -> Tensor:
        """Sequences `(rows, length)`."""
        cache, last, drawn = self.net.cache(len(seeds)), None, []
        for position in range(self.net.length):
            logits = self.net.step(last, cache, condition)
            draw: Draw = kernels.sample(logits, seed=seeds, step=position, check=True, **filters)
            last = draw.token
            drawn.append(last)
        return torch.stack(drawn, 1)

    def _told(self, condition: Tensor | None) -> Tensor | None:
        """A condition whose numbers are of the type of the weights."""
        numbers = isinstance(condition, Tensor) and condition.is_floating_point()
        return cast("Tensor", condition).to(self.net.start.dtype) if numbers else condition

    def _sequence(self, indices: Tensor) -> Tensor:
        """Indices in the order in which they are drawn, `(batch, length)`."""
        if not isinstance(indices, Tensor) or indices.dtype != torch.int64:
            shown = indices.dtype if isinstance(indices, Tensor) else indices
            raise fail_type("indices", f"int64 of shape (batch, {', '.join(map(str, self.shape))})", shown)
        if tuple(indices.shape[1:]) != self.shape or not indices.ndim:
            raise fail("indices", f"of shape (batch, {', '.join(map(str, self.shape))})", tuple(indices.shape))
        return (indices if self.net.depth == 1 else indices.movedim(1, -1)).flatten(1)


def blocks(rows: int) -> list[slice]:
    """Rows in blocks of `ROWS`; the last may be smaller, and is to be `padded`."""
    return [slice(first, min(first + ROWS, rows)) for first in range(0, rows, ROWS)]


def padded(some: Tensor) -> Tensor:
    """A block of exactly `ROWS` rows: the last row is repeated."""
    if len(some) == ROWS:
        return some
    return torch.cat([some, some[-1:].expand(ROWS - len(some), *some.shape[1:])])
