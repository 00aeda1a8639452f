"""Rows become batches: as many at once as memory allows, halved where it runs out, with nothing finished lost.

A row's text does not depend on its batch, so how rows are cut changes how long they take and nothing else.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from aigc import device as devices
from aigc.errors import AigcError, GenerationError, ResourceError
from aigc.text.results import Chunk
from aigc.text.rows import Request, Step, Written

__all__ = ["Budget", "once", "slot_bytes", "steps", "working_set"]

# Rows at once unless the caller says otherwise. On two cores the default model writes 43 rows a second 32 at a time, 51 by
# 64, 56 by 128 and 42 by 256; a GPU has room for more.
_ROWS = {"cpu": 64}
_ROWS_ELSEWHERE = 256
_SHARE = 2  # 1/2 of the free memory goes to slots; growing and selecting rows makes copies


@dataclass(slots=True)
class Budget:
    """How much runs at once.

    Attributes:
        rows: The most rows.
        slots: The most tokens of all rows together, read and written; None is no limit. Where memory runs out this is
            halved, not the rows: after a few long prompts the short ones run in large batches again.
    """

    rows: int
    slots: int | None = None

    def take(self, waiting: Iterable[Request]) -> int:
        """How many of the waiting rows may run together; always at least one."""
        longest = 0
        for count, request in enumerate(islice(waiting, self.rows)):
            longest = max(longest, _slots(request))
            if count and self.slots is not None and (count + 1) * longest > self.slots:
                return count
        return self.rows

    def parted(self, width: int) -> "Budget":
        """The budget where a row is so many rows of the model."""
        return Budget(max(1, self.rows // width), None if self.slots is None else self.slots // width)

    def shrink(self, part: Sequence[Request]) -> None:
        """Learns that some rows were too many."""
        self.slots = len(part) * max(map(_slots, part)) // 2


def working_set(device: torch.device, *, batch_size: int | None, slot_bytes: int | None) -> Budget:
    """The budget of a call.

    Where the system grants memory that it does not have, as on Linux, running out ends the process without an error to
    catch: so on the CPU free memory is a bound from the beginning, unless the caller chose a batch size.
    """
    if batch_size is not None:
        return Budget(batch_size)
    rows = _ROWS.get(device.type, _ROWS_ELSEWHERE)
    free = devices.available_memory(device) if device.type == "cpu" and slot_bytes else None
    return Budget(rows, None if free is None or not slot_bytes else free // _SHARE // slot_bytes)


def slot_bytes(config: Any, dtype: torch.dtype) -> int | None:
    """Bytes that one token takes in the cache, from a model's configuration; None where that does not tell.

    >>> from types import SimpleNamespace
    >>> llama = SimpleNamespace(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, hidden_size=4096)
    >>> slot_bytes(llama, torch.bfloat16), slot_bytes(SimpleNamespace(), torch.bfloat16)
    (131072, None)
    """
    layers, heads = getattr(config, "num_hidden_layers", None), getattr(config, "num_attention_heads", None)
    if not isinstance(layers, int) or not isinstance(heads, int):
        return None
    features = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // heads
    return 2 * layers * (getattr(config, "num_key_value_heads", None) or heads) * features * dtype.itemsize or None


def steps(rows: Iterable[Request], write: Callable[[Sequence[Request]], Iterator[Step]], budget: Budget) -> Iterator[Step]:
    """Runs rows in batches, in the order given, and yields what each step wrote.

    Where memory runs out the unfinished rows of a batch begin again, in smaller batches.

    Raises:
        ResourceError: If one row alone does not fit.
        GenerationError: If `write` raises anything else that is not of aigc; caused by it.
    """
    waiting = deque(rows)
    first: Exception | None = None
    while waiting:
        part = [waiting.popleft() for _ in range(min(budget.take(waiting), len(waiting)))]
        finished: set[int] = set()
        try:
            for step in write(sorted(part, key=lambda request: request.index)):
                finished.update(row.request.index for row, chunk in step if chunk.finish_reason is not None)
                yield step
            continue
        except Exception as error:
            if isinstance(error, AigcError):
                raise
            if not devices.is_out_of_memory(error):
                raise _failed(error) from error
            first = first or error
        # Outside of the handler: the error's traceback holds the tensors of the run that failed.
        first = first.with_traceback(None)
        if len(part) == 1:
            raise _no_room(part[0]) from first
        waiting.extendleft(request for request in reversed(part) if request.index not in finished)
        budget.shrink(part)
        devices.release_memory()


def once(steps: Iterable[Step]) -> Iterator[list[Chunk]]:
    """Yields the chunks of steps, and of a row that began again only those that it did not yield before.

    Raises:
        GenerationError: If such a row writes something else than it did: it was rounded differently, in another batch.
    """
    rows: dict[int, tuple[Written, list[int]]] = {}  # and what was seen of each: a step may write several tokens
    before: dict[int, list[int]] = {}  # of rows that began again, as far as they had come
    for step in steps:
        chunks = []
        for row, chunk in step:
            last, seen = rows.get(chunk.index, (row, []))
            if last is not row:
                before[chunk.index] = max(seen, before.get(chunk.index, seen), key=len)
                seen = []
            rows[chunk.index] = row, seen
            if not _repeats(chunk, len(seen), before.get(chunk.index, [])):
                chunks.append(chunk)
            if chunk.token is not None:
                seen.append(chunk.token)
            if chunk.finish_reason is not None:
                rows.pop(chunk.index), before.pop(chunk.index, None)
        yield chunks


def _repeats(chunk: Chunk, place: int, before: list[int]) -> bool:
    if place >= len(before):
        return False
    if chunk.token != before[place]:
        raise GenerationError(
            "memory ran out, and a text that was begun could not be repeated in a smaller batch, because its logits are "
            "rounded differently there. Stream fewer rows at once with batch_size, or use generate."
        )
    return True


def _slots(request: Request) -> int:
    one = len(request.read) + request.limit
    return one + len(request.negative) + request.limit if request.negative else one


def _failed(error: Exception) -> GenerationError:
    return GenerationError(
        f"the model or the sampler failed while it wrote: {type(error).__name__}: {error}. "
        "The error that caused this one says where; the Generator can be used as before."
    )


def _no_room(request: Request) -> ResourceError:
    return ResourceError(
        f"one item alone does not fit in memory: a prompt of {len(request.ids)} tokens with up to {request.limit} more. "
        "Use a smaller model, a shorter text, or another device."
    )
