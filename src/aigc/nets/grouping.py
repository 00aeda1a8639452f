"""Rows in groups of one size, so that a row's result has the same bits whoever else is asked for."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from aigc._checks import fail, fail_type, integer

__all__ = ["in_groups"]


def in_groups(net: Callable[..., Tensor], inputs: Sequence[Tensor | None], *, rows: int = 16, **options: Any) -> Tensor:
    """Calls a net with groups of rows of one size, the last one filled up with rows that are thrown away.

    Libraries of linear algebra take other ways for other numbers of rows, and so add in another order: a row of a batch of
    64 differs in its last bits from the same row alone. Where all groups are of one size, they go one way, and on a CPU a
    row's bits depend neither on its place in a group nor on the others in it, as long as the net mixes no rows.

    Args:
        net: A module, or another function of tensors with one row an example.
        inputs: Its arguments, each of as many rows; None stays None.
        rows: Of a group. More are faster, if there are many; fewer waste less, if there are few.
        **options: Further arguments of the net, the same for all groups.

    Returns:
        What the net returns for each row.

    Raises:
        ParameterError: If an argument has no rows, or other numbers of them.

    Example:
        >>> net = torch.nn.Linear(3, 2)
        >>> x = torch.arange(60.0).reshape(20, 3)
        >>> torch.equal(in_groups(net, [x])[7:8], in_groups(net, [x[7:8]]))
        True
    """
    size = integer("rows", rows, low=1)
    counts = {len(tensor) for tensor in map(_checked, inputs) if tensor is not None}
    if len(counts) != 1 or counts == {0}:
        raise fail("inputs", "tensors of as many rows, at least 1", sorted(counts))
    (count,) = counts
    found = []
    for first in range(0, count, size):
        group = [None if tensor is None else _filled(tensor[first : first + size], size) for tensor in inputs]
        found.append(net(*group, **options))
    return torch.cat(found)[:count]


def _checked(tensor: Tensor | None) -> Tensor | None:
    if tensor is not None and (not isinstance(tensor, Tensor) or tensor.ndim == 0):
        raise fail_type("inputs", "tensors with one row an example, or None", tensor)
    return tensor


def _filled(tensor: Tensor, size: int) -> Tensor:
    """A group of that many rows: the last is repeated, so that the others are of the kind the net expects."""
    missing = size - len(tensor)
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) if missing else tensor
