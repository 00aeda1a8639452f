"""Two ways to write from sources of unequal lengths with an encoder-decoder model.

    TogetherForward   a source is read once, by itself; the texts are written together, each row looking at its own source
                      behind a mask over the slots that other rows fill
    ApartForward      each row by itself, for models that do not take such a mask

The prompt is the source. All texts begin with the same start token and so are always equally long: they need no padding.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aigc._checks import fail
from aigc.text._transformers_kinds import Seq2SeqNetwork
from aigc.text.forwards import apart
from aigc.text.rows import Framed
from aigc.text.slots import round_up

__all__ = ["ApartForward", "TogetherForward", "frame"]


class _Read(NamedTuple):
    """A source after the encoder and the start token: one row."""

    source: Tensor
    cache: Any
    logits: Tensor


class TogetherForward:
    """Rows that share each step of the decoder."""

    def __init__(self, network: Seq2SeqNetwork, sources: Sequence[Sequence[int]]) -> None:
        self._network = network
        self._sources = [tuple(source) for source in sources]
        # Whole buckets: a row then looks at as many slots alone as beside others, unless one of them is much longer.
        self._width = round_up(max(map(len, self._sources)))
        lengths = torch.tensor([len(source) for source in self._sources])
        self._mask = (torch.arange(self._width) < lengths[:, None]).long().to(network.device)

    def prefill(self) -> Tensor:
        """Reads each distinct source once, by itself, so that its bits owe nothing to the batch."""
        place = {source: i for i, source in enumerate(dict.fromkeys(self._sources))}
        read = [_read(self._network, source, width=round_up(len(source))) for source in place]
        rows = [place[source] for source in self._sources]
        wide = [torch.nn.functional.pad(one.source, (0, 0, 0, self._width - one.source.shape[1])) for one in read]
        self._source = torch.cat([wide[row] for row in rows])
        self._cache = self._network.gather([one.cache for one in read], rows, self._width)
        return self._network.open(torch.cat([read[row].logits for row in rows]))

    def step(self, tokens: Tensor) -> Tensor:
        """Reads one token per row."""
        return self._network.decode(tokens[:, None], self._source, self._mask, self._cache)

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        self._source, self._mask = self._source[alive], self._mask[alive]
        self._network.select(self._cache, alive)


class ApartForward:
    """One forward per row and step: slow, and right for every model."""

    def __init__(self, network: Seq2SeqNetwork, sources: Sequence[Sequence[int]]) -> None:
        self._network = network
        self._sources = sources
        self._rows: list[_Read] = []

    def prefill(self) -> Tensor:
        """Reads the sources one after the other, without padding."""
        self._rows = [_read(self._network, source, width=len(source)) for source in self._sources]
        return self._network.open(torch.cat([row.logits for row in self._rows]))

    def step(self, tokens: Tensor) -> Tensor:
        """Reads one token per row, one row after the other."""
        logits = []
        for ids, row in zip(tokens[:, None, None].unbind(), self._rows, strict=True):
            mask = torch.ones(row.source.shape[:2], dtype=torch.int64, device=ids.device)
            logits.append(self._network.decode(ids, row.source, mask, row.cache))
        return torch.cat(logits)

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        self._rows = apart(self._rows, alive)


def frame(network: Seq2SeqNetwork, name: str, ids: Sequence[int], wanted: int) -> Framed:
    """Says how a source becomes a row: the decoder begins with its start token, and goes as far as its positions do.

    Raises:
        ParameterError: If the source is longer than the encoder reads.
        ModelError: If no setting names the start token.
    """
    longest = network.source_context
    if longest is not None and len(ids) > longest:
        cure = "Shorten it, or give it in parts."
        raise fail(name, f"at most {longest} tokens long, which is what the encoder reads", f"{len(ids)} tokens", cure)
    limit = wanted if network.context is None else min(wanted, network.context)
    return Framed((network.start,), tuple(ids), limit)


def _read(network: Seq2SeqNetwork, source: Sequence[int], *, width: int) -> _Read:
    """Reads a source, and then the start token with the source padded to some width."""
    read = network.encode(torch.tensor([source], device=network.device))
    padded = torch.nn.functional.pad(read, (0, 0, 0, width - len(source)))
    mask = (torch.arange(width, device=read.device) < len(source)).long()[None]
    cache, start = network.cache(), torch.tensor([[network.start]], device=read.device)
    return _Read(padded, cache, network.decode(start, padded, mask, cache))
