r"""The loss of a language model, without the logits of all positions at once.

A vocabulary of 100,000 and 16,000 positions make 6 GB of logits, and as much again for their gradient. Here a part of the
positions is multiplied with the embedding at a time, and its gradient taken at once: the softmax less one at the target.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from aigc._checks import fail

__all__ = ["IGNORED", "linear_cross_entropy", "token_losses"]

IGNORED = -100  # of labels: what is not to be predicted
_ROWS = 256


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, *, rows: int = _ROWS) -> Tensor:
    r"""The sum of $-\log \mathrm{softmax}(W h_i)_{t_i}$ over positions, with gradients in h and W.

    The gradient, $\mathrm{softmax}(W h_i) - e_{t_i}$ times W and times h, is taken with the value, so that no logits are
    kept (Wijmans et al., arXiv:2411.09009, take them apart likewise). Products are in the type of `hidden`, sums over the
    vocabulary in float32 at least.

    Args:
        hidden: h, `(n, features)`.
        weight: W, `(vocabulary, features)`.
        targets: t, int64 `(n,)`; positions with -100 are left out.
        rows: Positions at once.

    Returns:
        A scalar, in nats.

    Example:
        >>> hidden, weight = torch.zeros(3, 2), torch.ones(4, 2)
        >>> round(float(linear_cross_entropy(hidden, weight, torch.tensor([0, 3, -100]))), 4)  # 2 log 4
        2.7726
    """
    if hidden.ndim != 2 or targets.shape != hidden.shape[:1] or weight.shape[1:] != hidden.shape[1:]:
        shapes = (tuple(hidden.shape), tuple(weight.shape), tuple(targets.shape))
        raise fail("hidden, weight and targets", "of shapes (n, features), (vocabulary, features) and (n,)", shapes)
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    if not torch.is_grad_enabled():  # a Function is told otherwise
        hidden, weight = hidden.detach(), weight.detach()
    kept = targets != IGNORED
    if not bool(kept.all()):
        hidden, targets = hidden[kept], targets[kept]
    total: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, rows)  # type: ignore[no-untyped-call]
    return total


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> Tensor:
        product = weight.detach().to(hidden.dtype)
        exact = torch.promote_types(hidden.dtype, torch.float32)
        total = torch.zeros((), dtype=exact, device=hidden.device)
        wanted = ctx.needs_input_grad
        d_hidden = torch.empty_like(hidden) if wanted[0] else None
        d_weight = torch.zeros_like(product, dtype=exact) if wanted[1] else None
        with torch.autocast(hidden.device.type, enabled=False):
            for first in range(0, len(hidden), rows):
                part, goal = hidden[first : first + rows], targets[first : first + rows, None]
                logs = (part @ product.T).to(exact).log_softmax(-1)
                total -= logs.gather(1, goal).sum()
                if d_hidden is None and d_weight is None:
                    continue
                slopes = logs.exp_().scatter_add_(1, goal, torch.full_like(goal, -1, dtype=exact)).to(hidden.dtype)
                if d_hidden is not None:
                    torch.mm(slopes, product, out=d_hidden[first : first + rows])
                if d_weight is not None:
                    d_weight += slopes.T @ part
        ctx.save_for_backward(d_hidden, d_weight if d_weight is None else d_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        d_hidden, d_weight = ctx.saved_tensors
        slopes = (None if d is None else d * grad.to(d.dtype) for d in (d_hidden, d_weight))
        return next(slopes), next(slopes), None, None


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum of the same over logits `(n, vocabulary)` that a model made itself, softcapped or scaled as it likes."""
    exact = torch.promote_types(logits.dtype, torch.float32)
    return functional.cross_entropy(logits.to(exact), targets, ignore_index=IGNORED, reduction="sum")
