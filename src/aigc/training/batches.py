"""The order of examples: which are in batch i is a function of (seed, i), so that a run can be cut and resumed anywhere."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from aigc import random
from aigc._checks import fail, fail_type, integer
from aigc.training.pieces import length

__all__ = ["Batches", "Dataset", "Order", "Stream", "batches"]


@runtime_checkable
class Dataset(Protocol):
    """Examples by number, as torch has them."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """An example: a tensor, or a tuple or dict of tensors."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """Each epoch a new permutation, by (seed, epoch); batches do not cross from one epoch into the next.

    Args:
        examples: How many there are.
        batch_size: At least 1, and at most that many.
        seed: An int.
        drop_last: Whether an epoch's last batch is left out where it is smaller.

    Example:
        >>> order = Order(5, batch_size=2, seed=0)
        >>> [len(order.batch(step)) for step in range(4)], sorted(sum((order.batch(s).tolist() for s in range(3)), []))
        ([2, 2, 1, 2], [0, 1, 2, 3, 4])
    """

    examples: int
    batch_size: int
    seed: int
    drop_last: bool = False

    def __post_init__(self) -> None:
        if not self.examples:
            raise fail("data", "at least one example", "none", "Look at where they come from.")
        cure = "Give more examples, or a smaller batch_size."
        integer("batch_size", self.batch_size, low=1, high=self.examples, cure=cure)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return self.examples // self.batch_size if self.drop_last else -(-self.examples // self.batch_size)

    def batch(self, step: int) -> Tensor:
        """The places of the examples of a batch, int64."""
        epoch, at = divmod(step, self.steps)
        return self.epoch(epoch)[at * self.batch_size : (at + 1) * self.batch_size]

    def epoch(self, number: int) -> Tensor:
        """All places in the order of an epoch."""
        generator = torch.Generator().manual_seed(random.stream(self.seed, number))
        return torch.randperm(self.examples, generator=generator)

    def after(self, start: int) -> Iterator[Tensor]:
        """The batches from one on, without end."""
        epoch, at = divmod(start, self.steps)
        while True:
            places = self.epoch(epoch)
            for first in range(at, self.steps):
                yield places[first * self.batch_size : (first + 1) * self.batch_size]
            epoch, at = epoch + 1, 0


class Batches(Protocol):
    """Batches from a step on."""

    @property
    def steps(self) -> int | None:
        """Batches of an epoch; None if nobody knows."""
        ...

    def after(self, start: int) -> Iterator[Any]:
        """Batches from a step on, without end where they can be repeated."""
        ...


@dataclass(frozen=True, slots=True)
class _Arrays:
    """Tensors in memory, that all lead with the examples."""

    data: Any
    order: Order

    @property
    def steps(self) -> int:
        return self.order.steps

    def after(self, start: int) -> Iterator[Any]:
        return (_take(self.data, places) for places in self.order.after(start))


@dataclass(frozen=True, slots=True)
class _Examples:
    """Examples that are read one by one, by worker processes if asked."""

    data: Dataset
    order: Order
    workers: int

    @property
    def steps(self) -> int:
        return self.order.steps

    def after(self, start: int) -> Iterator[Any]:
        places = (batch.tolist() for batch in self.order.after(start))
        loader: Any = DataLoader(
            cast("Any", self.data),
            batch_sampler=cast("Any", _Endless(places)),
            num_workers=self.workers,
            generator=torch.Generator().manual_seed(random.stream(self.order.seed, start)),
        )
        return iter(loader)


class _Endless:
    """A batch sampler that goes on as long as it is asked."""

    def __init__(self, places: Iterator[list[int]]) -> None:
        self._places = places

    def __iter__(self) -> Iterator[list[int]]:
        return self._places


@dataclass(frozen=True, slots=True)
class Stream:
    """Batches that come from an iterable of the caller's, in its own order; where it can begin anew, again and again.

    Attributes:
        data: For instance a DataLoader. To go on at a step, the batches before it are read and left.

    Example:
        >>> [int(batch) for batch, _ in zip(Stream([torch.tensor(0), torch.tensor(1)]).after(1), range(3))]
        [1, 0, 1]
    """

    data: Iterable[Any]

    @property
    def steps(self) -> int | None:
        """Batches of an epoch, if it says so."""
        return len(self.data) if isinstance(self.data, Sized) else None

    def after(self, start: int) -> Iterator[Any]:
        """Batches from a step on."""
        return islice(self._again(), start, None)

    def _again(self) -> Iterator[Any]:
        while True:
            empty = True
            for batch in self.data:
                empty = False
                yield batch
            if empty or iter(self.data) is self.data:
                return


def batches(data: Any, *, batch_size: int, seed: int, drop_last: bool = False, workers: int = 0) -> Batches:
    """Makes batches of data.

    Args:
        data: A tensor or array that leads with the examples; a tuple or dict of these; a `Dataset`; or an iterable of
            batches, such as a DataLoader, which keeps its own order and size.
        batch_size: Examples per batch.
        seed: Of the order.
        drop_last: Whether an epoch's last batch is left out where it is smaller.
        workers: Processes that read a `Dataset`; the batches are the same with any number.

    Raises:
        ParameterError: If there are fewer examples than a batch has.
        TypeParameterError: If the data is nothing of this.

    Example:
        >>> made = batches(torch.arange(10.0)[:, None], batch_size=4, seed=0)
        >>> made.steps, [len(batch) for batch, _ in zip(made.after(1), range(3))]
        (3, [4, 2, 4])
    """
    seed, workers = random.check_seed("seed", seed), integer("workers", workers, low=0)
    found = _tensors(data)
    if found is not None:
        return _Arrays(found, Order(length(found), batch_size, seed, drop_last))
    if isinstance(data, DataLoader):
        return Stream(data)
    if isinstance(data, Dataset) and not isinstance(data, str | bytes | Sequence | Mapping):
        return _Examples(data, Order(len(data), batch_size, seed, drop_last), workers)
    if isinstance(data, Iterable) and not isinstance(data, str | bytes):
        return Stream(data)
    raise fail_type("data", "a tensor, an array, a tuple or dict of these, a Dataset or an iterable of batches", data)


def _tensors(data: Any) -> Any:
    """Arrays as tensors, without a copy; None if they are something else."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, np.ndarray):
        return torch.from_numpy(data if data.flags.writeable else data.copy())
    if isinstance(data, Mapping) and data:
        made = {key: _tensors(value) for key, value in data.items()}
        return None if any(value is None for value in made.values()) else made
    if isinstance(data, tuple) and data:
        values = [_tensors(value) for value in data]
        strange = [i for i, value in enumerate(values) if value is None]
        if len(strange) == len(values):
            return None
        if strange:
            cure = "Call torch.tensor on a list."
            raise fail_type(
                f"data[{strange[0]}]", "a tensor or an array, as others of the tuple are", data[strange[0]], cure
            )
        return type(data)(*values) if hasattr(data, "_fields") else tuple(values)
    return None


def _take(data: Any, places: Tensor) -> Any:
    if isinstance(data, Tensor):
        return data[places.to(data.device)]
    if isinstance(data, Mapping):
        return {key: _take(value, places) for key, value in data.items()}
    taken = [_take(value, places) for value in data]
    return type(data)(*taken) if hasattr(data, "_fields") else tuple(taken)
