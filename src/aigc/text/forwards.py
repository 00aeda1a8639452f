"""Three ways to run a batch of unequal rows through a model as transformers wrote it, best first.

    SlotForward     every row starts at slot 0 and writes at its own position; prompts are read one at a time, once each
    PaddedForward   the usual left padding, for models that take no mask or position of ours (ALiBi, say)
    AloneForward    each row by itself, for models whose past cannot be padded (recurrent ones)

None of them imports transformers: a `Network` runs the model, and makes its caches.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from aigc.text.loop import Forward
from aigc.text.packed.source import Source
from aigc.text.slots import LayerSlots, Positions, round_up

__all__ = ["AloneForward", "Network", "PaddedForward", "Said", "SlotCache", "SlotForward", "apart"]

T = TypeVar("T")

CHUNK = 512  # prompt tokens read at once: bounds the mask of a long prompt


class SlotCache(Protocol):
    """A cache of slots: one `LayerSlots` per layer, and where the next forward writes."""

    at: Positions

    @property
    def slots(self) -> list[LayerSlots]:
        """The layers' slots."""
        ...


class Said(NamedTuple):
    """What a model says of some ids `(rows, queries)`.

    Attributes:
        logits: After the last, `(rows, vocabulary)`.
        hidden: States of the last layer, `(rows, queries, width)`; an empty tensor if they were not asked for.
    """

    logits: Tensor
    hidden: Tensor


class Network(Protocol):
    """A causal language model, one forward at a time."""

    @property
    def packed(self) -> Source:
        """Its decoder with packed weights, where there is one."""
        ...

    @property
    def device(self) -> torch.device:
        """Where ids go."""
        ...

    @property
    def context(self) -> int | None:
        """The longest sequence that its positions allow; None where they allow any."""
        ...

    def weights(self) -> list[Tensor]:
        """Its parameters and buffers as they are now: whoever holds these keeps their memory."""
        ...

    def slot_cache(self) -> SlotCache:
        """Makes an empty cache of slots."""
        ...

    def plain_cache(self) -> Any:
        """Makes an empty cache of the model's own kind; None lets the model make it."""
        ...

    def run_slots(self, ids: Tensor, cache: SlotCache, *, reveal: bool = False) -> "Said":
        """What the model says of `ids` `(rows, queries)`, written at `cache.at`."""
        ...

    def run_plain(self, ids: Tensor, cache: Any, mask: Tensor | None, *, reveal: bool = False) -> "tuple[Said, Any]":
        """What the model says of `ids`, and the cache; `mask` `(rows, past + queries)` is 0 on padding."""
        ...

    def select_plain(self, cache: Any, alive: Tensor) -> None:
        """Keeps some rows of a cache of the model's own kind."""
        ...


class SlotForward:
    """Rows from slot 0: see `aigc.text.slots`.

    A step has two halves: `widen` is all that the host decides, and `read` is what the device does, which is the same each
    time while the window is. So positions live on the device, and `read` can be captured in a CUDA graph.
    """

    def __init__(self, network: Network, prompts: Sequence[Sequence[int]]) -> None:
        self._network = network
        self._prompts = [tuple(prompt) for prompt in prompts]
        self._most = 2**62 if network.context is None else network.context
        self._lengths = [len(prompt) for prompt in prompts]
        self._next = torch.tensor(self._lengths, device=network.device)  # where each row writes next
        self._window = 0
        self._cache = network.slot_cache()
        self.reveal, self.hidden = False, list[Tensor]()

    def prefill(self) -> Tensor:
        """Reads each distinct prompt once, by itself, so that its bits owe nothing to the batch."""
        source = {prompt: i for i, prompt in enumerate(dict.fromkeys(self._prompts))}
        read = [self._read(prompt) for prompt in source]
        rows = [source[prompt] for prompt in self._prompts]
        caches = [cache for cache, _, _ in read]
        self.hidden = [read[row][2] for row in rows]
        self._cache.slots[:] = [
            LayerSlots.gather([cache.slots[layer] for cache in caches], rows) for layer in range(len(caches[0].slots))
        ]
        return torch.cat([read[row][1] for row in rows])

    def step(self, tokens: Tensor) -> Tensor:
        """Reads one token per row, each at its own position."""
        self.widen()
        return self.read(tokens)

    def widen(self, to: Callable[[int], int] = round_up) -> int:
        """Counts one more token of each row, and returns how many slots are read, rounded by `to`."""
        self._lengths = [min(length + 1, self._most) for length in self._lengths]
        self._window = to(max(self._lengths))
        return self._window

    def read(self, tokens: Tensor) -> Tensor:
        """Reads one token per row, and moves the positions on.

        A row that ended may still be read before it leaves. It stays at the last position then, and harms itself alone.
        """
        self._cache.at = Positions(self._next[:, None], window=self._window, room=self._window)
        logits, hidden = self._network.run_slots(tokens[:, None], self._cache, reveal=self.reveal)
        self.hidden = list(hidden)
        self._next.add_(1).clamp_(max=self._most - 1)
        return logits

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        self._lengths = [self._lengths[row] for row in alive.tolist()]
        self._next = self._next[alive]
        for layer in self._cache.slots:
            layer.select(alive)

    def _read(self, prompt: tuple[int, ...]) -> tuple[SlotCache, Tensor, Tensor]:
        cache, logits, parts = self._network.slot_cache(), torch.empty(0), []
        ids = torch.tensor([prompt], device=self._network.device)
        for start in range(0, len(prompt), CHUNK):
            part = ids[:, start : start + CHUNK]
            end = start + part.shape[1]
            write = torch.arange(start, end, device=ids.device)[None]
            cache.at = Positions(write, window=end, room=len(prompt))
            logits, hidden = self._network.run_slots(part, cache, reveal=self.reveal)
            parts.append(hidden[0] if self.reveal else hidden)
        return cache, logits, torch.cat(parts)


class PaddedForward:
    """Rows that end at the same place, padded on the left, with a mask over the padding."""

    def __init__(self, network: Network, prompts: Sequence[Sequence[int]]) -> None:
        self._network = network
        self._cache = network.plain_cache()
        self.reveal, self.hidden = False, list[Tensor]()
        width = max(map(len, prompts))
        padding = [width - len(prompt) for prompt in prompts]
        self._lengths = list(map(len, prompts))
        # The mask hides the padding, so any id will do; 0 is in every vocabulary.
        ids = [[0] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)]
        self._ids = torch.tensor(ids, device=network.device)
        self._mask = (torch.arange(width) >= torch.tensor(padding)[:, None]).long().to(network.device)

    def prefill(self) -> Tensor:
        """Reads all prompts in one forward."""
        logits = self._run(self._ids)
        self.hidden = [hidden[-length:] for hidden, length in zip(self.hidden, self._lengths, strict=False)]
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        """Reads one token per row."""
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        return self._run(tokens[:, None])

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        self._mask = self._mask[alive]
        self._network.select_plain(self._cache, alive)

    def _run(self, ids: Tensor) -> Tensor:
        (logits, hidden), self._cache = self._network.run_plain(ids, self._cache, self._mask, reveal=self.reveal)
        self.hidden = list(hidden)
        return logits


class AloneForward:
    """One forward per row and step: slow, and right for every model."""

    def __init__(self, network: Network, prompts: Sequence[Sequence[int]]) -> None:
        self._network = network
        self._prompts = prompts
        self._caches: list[Any] = [network.plain_cache() for _ in prompts]
        self.reveal, self.hidden = False, list[Tensor]()

    def prefill(self) -> Tensor:
        """Reads the prompts one after the other."""
        return self._run([torch.tensor([prompt], device=self._network.device) for prompt in self._prompts])

    def step(self, tokens: Tensor) -> Tensor:
        """Reads one token per row, one row after the other."""
        return self._run(list(tokens[:, None, None].unbind()))

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        self._caches = apart(self._caches, alive)

    def _run(self, rows: list[Tensor]) -> Tensor:
        said = []
        for row, ids in enumerate(rows):
            one, self._caches[row] = self._network.run_plain(ids, self._caches[row], None, reveal=self.reveal)
            said.append(one)
        self.hidden = [hidden for one in said for hidden in one.hidden]
        return torch.cat([one.logits for one in said])


def apart(rows: Sequence[T], alive: Tensor) -> list[T]:
    """Some rows by index; one that is named again is copied, as each writes into what it holds."""
    seen: set[int] = set()
    chosen = []
    for row in alive.tolist():
        chosen.append(copy.deepcopy(rows[row]) if row in seen else rows[row])
        seen.add(row)
    return chosen


Way = Callable[[Any, Sequence[Sequence[int]]], Forward]
"""Makes a `Forward` of a network, of the kind that the way is for, and of what its rows read."""
