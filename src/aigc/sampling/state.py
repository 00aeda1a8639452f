"""States of samplers: values whose tensors lead with the rows, so that finished rows leave by one `select`."""

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

from torch import Tensor

__all__ = ["select"]

S = TypeVar("S")


def select(state: S, alive: Tensor) -> S:
    """Keeps some rows of a state: a tensor, or a tuple, list, dict or dataclass of states, or what has its own `select`.

    Example:
        >>> import torch
        >>> select((torch.tensor([5, 6, 7]), "shared"), torch.tensor([0, 2]))
        (tensor([5, 7]), 'shared')
    """
    value: Any = state
    if isinstance(value, Tensor):
        return cast("S", value[alive.to(value.device)])
    if hasattr(value, "select"):
        return cast("S", value.select(alive))
    if isinstance(value, tuple | list):
        kept = [select(part, alive) for part in value]
        return cast("S", type(value)(*kept) if hasattr(value, "_fields") else type(value)(kept))
    if isinstance(value, dict):
        return cast("S", {key: select(part, alive) for key, part in value.items()})
    if is_dataclass(value) and not isinstance(value, type):
        return cast("S", type(value)(**{f.name: select(getattr(value, f.name), alive) for f in fields(value)}))
    return state
