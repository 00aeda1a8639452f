r"""Exponential moving averages of weights, by a half-life counted in examples."""

import copy
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from aigc._checks import positive

__all__ = ["EMA"]

M = TypeVar("M", bound=nn.Module)


class EMA(Generic[M]):
    r"""A copy of a module whose weights follow its own at a distance.

    $$ \bar w \leftarrow \beta \bar w + (1 - \beta) w, \qquad \beta = 2^{-b / h} $$

    for a batch of b examples and a half-life of h examples, so that the average does not depend on the batch size (Karras
    et al., arXiv:2006.06676). Buffers are copied.

    Args:
        module: What is followed.
        half_life: In examples, above 0.
        average: What goes on from where it is, if there is one already: a module made like the other.
        ramp: While n examples have been seen the half-life is at most `ramp * n`, so that the start is soon forgotten; None
            is off.

    Attributes:
        average: The copy; not trained, in evaluation mode.

    Example:
        >>> module = nn.Linear(1, 1)
        >>> ema = EMA(module, half_life=10)
        >>> before = ema.average.weight.item()
        >>> with torch.no_grad():
        ...     _ = module.weight.add_(1.0)
        >>> ema.update(10)
        >>> round(ema.average.weight.item() - before, 4)
        0.5
    """

    def __init__(self, module: M, *, half_life: float, ramp: float | None = None, average: M | None = None) -> None:
        positive("half_life", half_life, of="a number of examples")
        if ramp is not None:
            positive("ramp", ramp, cure="None is off.")
        self.module, self.half_life, self.ramp = module, half_life, ramp
        self.average: M = copy.deepcopy(module) if average is None else average
        self.average.eval().requires_grad_(False)
        self.examples = 0
        both = self.average, self.module  # walking through modules at each step would take longer than the average
        self._parameters = [list(one.parameters()) for one in both]
        self._buffers = [list(one.buffers()) for one in both]

    @torch.no_grad()
    def update(self, examples: int) -> None:
        """Follows the module after a step of so many examples."""
        half_life = self.half_life if self.ramp is None else min(self.half_life, max(self.ramp * self.examples, 1e-9))
        self.examples += examples
        ours, theirs = ([parameter.detach() for parameter in some] for some in self._parameters)
        torch._foreach_lerp_(ours, theirs, 1 - 0.5 ** (examples / half_life))
        for kept, buffer in zip(*self._buffers, strict=True):
            kept.copy_(buffer)

    def state(self) -> dict[str, Tensor]:
        """The average, for a checkpoint."""
        return dict(self.average.state_dict())

    def restore(self, tensors: Mapping[str, Tensor], examples: int) -> None:
        """Goes on from a checkpoint."""
        self.average.load_state_dict(dict(tensors))
        self.examples = examples

    def __repr__(self) -> str:
        ramp: Any = "" if self.ramp is None else f", ramp={self.ramp}"
        return f"EMA({type(self.module).__name__}, half_life={self.half_life}{ramp})"
