"""Logits, one an example."""

import torch
from torch import Tensor

from aigc._checks import fail, fail_type

__all__ = ["flat"]


def flat(name: str, logits: Tensor) -> Tensor:
    """Logits as `(b,)`, in float32 at least."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise fail_type(name, "a tensor of floats", getattr(logits, "dtype", logits))
    if not logits.ndim or not len(logits) or logits.shape[1:] not in ((), (1,)):
        raise fail(name, "of shape (b,) or (b, 1), one logit for each of at least one example", tuple(logits.shape))
    return logits.reshape(-1).to(torch.promote_types(logits.dtype, torch.float32))
