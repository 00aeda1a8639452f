"""A batch, and its parts: for micro-batches and for processes."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from aigc._checks import fail, fail_type

__all__ = ["Piece", "Processes", "length", "part", "pieces", "processes", "to_device"]

B = TypeVar("B")


class Processes(NamedTuple):
    """Which of how many processes this is.

    Example:
        >>> Processes(rank=1, world=2)
        Processes(rank=1, world=2)
    """

    rank: int
    world: int

    def total(self, values: list[Tensor]) -> None:
        """Adds tensors up over all processes, in place: one message."""
        if self.world == 1 or not values:
            return
        flat = torch.cat([value.reshape(-1) for value in values])  # in the widest of their dtypes
        if dist.get_backend() == "nccl" and not flat.is_cuda:  # of a model on the CPU: NCCL sends nothing that is there
            flat = flat.to(_messages())
        dist.all_reduce(flat)
        at = 0
        for value in values:
            value.copy_(flat[at : at + value.numel()].view_as(value))
            at += value.numel()

    @torch.no_grad()
    def mean(self, values: list[Tensor]) -> None:
        """Replaces tensors by their means over all processes: where they were equal, they stay, up to rounding."""
        if self.world > 1 and values:
            self.total(values)
            torch._foreach_div_(values, self.world)

    def any(self, *said: bool) -> tuple[bool, ...]:
        """Whether one of all processes says so, of each: one message."""
        if self.world == 1:
            return said
        found = torch.tensor(said, dtype=torch.float32, device=_messages())
        self.total([found])
        return tuple(count > 0 for count in found.tolist())

    @torch.no_grad()
    def from_first(self, value: Tensor) -> None:
        """Replaces a tensor by that of the first process."""
        if self.world > 1:
            sent = value.to(_messages())
            dist.broadcast(sent, 0)
            value.copy_(sent)

    def agree(self, values: Tensor) -> bool:
        """Whether numbers are the same in all processes."""
        first = values.clone()
        self.from_first(first)
        return not any(self.any(not torch.equal(values.nan_to_num(), first.nan_to_num())))


class Piece(NamedTuple):
    """Some examples of a batch."""

    rows: slice
    weight: float  # their share of the batch


def _messages() -> str:
    """Where tensors must be that are sent."""
    return "cuda" if dist.get_backend() == "nccl" else "cpu"


def processes() -> Processes:
    """This process among those of `torch.distributed`; one of one where that was not started.

    Example:
        >>> processes()
        Processes(rank=0, world=1)
    """
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return Processes(0, 1)


def length(batch: Any) -> int:
    """How many examples a batch has: the length of its first tensor.

    Example:
        >>> length({"x": torch.zeros(3, 2), "y": torch.zeros(3)})
        3
    """
    if isinstance(batch, Tensor):
        if not batch.ndim:
            raise fail("batch", "a tensor that leads with the examples", "a scalar")
        return batch.shape[0]
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, tuple | list) else ()
    lengths = {length(part) for part in parts}
    if not lengths:
        raise fail_type("batch", "a tensor, or a tuple, list or dict of tensors", batch)
    if len(lengths) > 1:
        raise fail("batch", "made of tensors that all lead with as many examples", sorted(lengths))
    return lengths.pop()


def pieces(examples: int, accumulate: int, among: Processes, *, idle: bool = False) -> list[Piece]:
    """The parts of a batch that this process works on, one after the other; fewer where the batch has fewer examples.

    Args:
        examples: Of the batch, such as the last one of an epoch.
        accumulate: Parts for each process, at most.
        among: The processes.
        idle: Whether a process for which there is no example works on one of another, at a weight of 0.

    Raises:
        ParameterError: If there is no example for one of them.

    Example:
        >>> pieces(4, 2, Processes(0, 1))
        [Piece(rows=slice(0, 2, None), weight=0.5), Piece(rows=slice(2, 4, None), weight=0.5)]
        >>> pieces(1, 2, Processes(0, 2), idle=True), pieces(1, 2, Processes(1, 2), idle=True)
        ([Piece(rows=slice(0, 1, None), weight=0.0)], [Piece(rows=slice(0, 1, None), weight=1.0)])
    """
    if examples < among.world and not idle:
        cure = "Take another batch_size, so that an epoch's last batch has as many, or fewer processes."
        raise fail("batch", f"of at least {among.world} examples, one for each process", examples, cure)
    each = max(1, min(accumulate, examples // among.world))
    count = each * among.world
    edges = [examples * i // count for i in range(count + 1)]
    ours = [(edges[i], edges[i + 1]) for i in range(among.rank * each, (among.rank + 1) * each)]
    return [Piece(slice(a, b), (b - a) / examples) if a < b else Piece(slice(0, 1), 0.0) for a, b in ours]


def part(batch: B, rows: slice) -> B:
    """Some examples of a batch."""
    return cast("B", _map(batch, lambda tensor: tensor[rows]))


def to_device(batch: B, device: torch.device) -> B:
    """A batch on a device."""
    return cast("B", _map(batch, lambda tensor: tensor.to(device, non_blocking=True)))


def _map(batch: Any, change: Any) -> Any:
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {key: _map(value, change) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        changed = [_map(value, change) for value in batch]
        return type(batch)(*changed) if hasattr(batch, "_fields") else type(batch)(changed)
    return batch
