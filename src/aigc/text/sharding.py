"""A model in shards, beside the whole one: what is trained where a model and its optimizer do not fit one device."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor, nn

from aigc._checks import fail
from aigc.data.text import Window
from aigc.errors import ModelError
from aigc.text.network_loss import WindowLoss
from aigc.training import Every, processes
from aigc.training.loop import NotFiniteError
from aigc.training.shards import shard, whole

__all__ = ["Shards", "gather", "gathered_at_end", "gathered_before"]

Gather = Callable[[], None]


class Shards(nn.Module):
    """The loss of a model, by a twin of which each process holds a shard.

    The model itself stays as it is, and where it is, until weights are gathered into it.

    Args:
        loss: Of the model.

    Attributes:
        model: The twin.

    Raises:
        ModelError: If the model does not name its layers.
        ParameterError: If `torch.distributed` was not started.
    """

    def __init__(self, loss: WindowLoss) -> None:
        super().__init__()
        sums = [one.detach().double().sum().cpu() for one in loss.model.parameters()]
        if not processes().agree(torch.stack(sums)):
            raise fail("model", "the same in all processes", "others", "Load it from one folder, or make it with one seed.")
        own = {id(one): nn.Parameter(one.detach(), one.requires_grad) for one in loss.model.parameters()}
        self.model = copy.deepcopy(loss.model, own)  # its parameters are the same memory, until they are cut
        self._loss = copy.copy(loss)
        self._loss.model = self.model
        names = set(self.model._no_split_modules or ())
        layers = [part for part in self.model.modules() if type(part).__name__ in names]
        if not layers:
            raise ModelError(f"{type(loss.model).__name__} does not name its layers, to be sharded. Leave sharded out.")
        shard(self, layers)

    def forward(self, windows: Window) -> Tensor:
        """As the loss: within one call, so that what is not in layers is gathered once for the embedding and the head."""
        return self._loss(windows)


@torch.no_grad()
def gather(shards: nn.Module, into: nn.Module) -> None:
    """Copies sharded parameters into whole ones, in all processes; all of them call it."""
    for value, own in zip(shards.parameters(), into.parameters(), strict=True):
        own.copy_(whole(value))


def gathered_before(every: Sequence[Every], do: Gather | None) -> list[Every]:
    """What is done at intervals, with weights gathered before, once a step."""
    if do is None:
        return list(every)
    once = lru_cache(maxsize=1)(lambda step: do())
    return [one for what in every for one in (what._replace(do=once, together=True), what)]


@contextmanager
def gathered_at_end(do: Gather | None) -> Iterator[None]:
    """Gathers weights after the block, and where a loss was not finite, which all processes find together."""
    try:
        yield
    except NotFiniteError:
        if do is not None:
            do()
        raise
    if do is not None:
        do()
