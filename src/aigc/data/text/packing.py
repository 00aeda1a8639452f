r"""Documents as windows of one length, for a model that predicts each token from those before it.

Each document has one target more than tokens: its end. Every target is in exactly one window, and is predicted there from
the token before it; the first token of a document from an end, as in the file of a text that follows another.

    concatenate   the documents behind each other, cut every `length` targets: no padding but at the very end, and documents
                  are cut wherever a window ends
    best-fit      documents that fit a window are never cut: the largest first, each into the fullest window that has room
                  (best-fit-decreasing; Ding et al. 2024, arXiv:2404.10830). Longer ones fill windows of their own, and what
                  is left of them is packed like a document
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aigc._checks import fail, fail_type, integer
from aigc.data.text._fitting import Bins, best_fit
from aigc.data.text.tokens import Tokens
from aigc.errors import DataError

__all__ = ["IGNORED", "Packed", "Packing", "Window", "pack"]

Packing = Literal["concatenate", "best-fit"]
IGNORED = -100  # what transformers and torch's cross_entropy leave out of a loss


class Window(NamedTuple):
    """A window of `length + 1` tokens.

    Position j is predicted from those before it. A loss compares the logits at `ids[:-1]` with `labels[1:]`; models of
    transformers take `labels` as they are.

    Attributes:
        ids: int64, `(length + 1,)`; padding is the token that ends documents.
        labels: The same ids where they are to be predicted, and -100 elsewhere: at the first position, at padding, and at
            the token before the rest of a document that was cut.
        segments: Which document of the window a token belongs to, from 0; -1 for padding. An end belongs to the document
            that it begins. Attention that shall not cross documents compares these.

    Example:
        >>> Window(torch.tensor([0, 5, 0]), torch.tensor([-100, 5, 0]), torch.tensor([0, 0, 1])).ids.shape
        torch.Size([3])
    """

    ids: Tensor
    labels: Tensor
    segments: Tensor


class Part(NamedTuple):
    """Some targets of a document.

    Attributes:
        document: Its place.
        start: The first target.
        stop: The one behind the last; a document of n tokens has n + 1 targets.
    """

    document: int
    start: int
    stop: int


class _Layout(Protocol):
    def __len__(self) -> int: ...

    def parts(self, index: int) -> Iterator[Part]:
        """What is in a window."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Windows of a corpus, made when they are asked for; `pack` makes this.

    `len(x)` says how many there are, and `x[i]` is a `Window`. `aigc.training.fit` takes it as it is, and so does a
    DataLoader, whose batches are windows with one dimension more.

    Attributes:
        tokens: The corpus.
        length: Targets of a window.
        how: How it is packed.

    Example:
        >>> import tempfile
        >>> from aigc.data.text import Corpus, write_tokens
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     corpus = Corpus.of(["ab", "cdefg", "h"])
        ...     tokens = write_tokens(
        ...         corpus, f"{folder}/tokens", tokenizer=lambda text: [ord(c) - 96 for c in text], end=0, vocabulary=27
        ...     )
        ...     for how in ("concatenate", "best-fit"):
        ...         packed = pack(tokens, length=5, how=how)
        ...         [window.ids.tolist() for window in packed], round(packed.padding, 2), packed.cut
        ([[0, 1, 2, 0, 3, 4], [4, 5, 6, 7, 0, 8], [8, 0, 0, 0, 0, 0]], 0.27, 2)
        ([[0, 3, 4, 5, 6, 7], [0, 1, 2, 0, 7, 0], [0, 8, 0, 0, 0, 0]], 0.27, 1)
    """

    tokens: Tokens
    length: int
    how: Packing
    _layout: _Layout = field(repr=False)

    def __len__(self) -> int:
        return len(self._layout)

    def __getitem__(self, index: int) -> Window:
        place = index if index >= 0 else index + len(self)
        if not 0 <= place < len(self):
            raise IndexError(f"index {index} is out of range: there are {len(self)} windows")
        return self._window(self._layout.parts(place))

    def parts(self, index: int) -> tuple[Part, ...]:
        """Which targets of which documents a window holds."""
        return tuple(self._layout.parts(index))

    @property
    def targets(self) -> int:
        """How many tokens are predicted, ends of documents included."""
        return self.tokens.count + len(self.tokens)

    @property
    def padding(self) -> float:
        """The share of targets that windows have room for and that are none, in [0, 1)."""
        return 1 - self.targets / (len(self) * self.length)

    @property
    def cut(self) -> int:
        """How many documents are in more than one window."""
        lengths = self.tokens.lengths() + 1
        if self.how == "best-fit":
            return int((lengths > self.length).sum())
        stops = np.cumsum(lengths)
        return int(((stops - lengths) // self.length != (stops - 1) // self.length).sum())

    def _window(self, parts: Iterator[Part]) -> Window:
        end, size = self.tokens.end, self.length + 1
        ids = np.full(size, end, dtype=np.int64)
        labels, segments = np.full(size, IGNORED, dtype=np.int64), np.full(size, -1, dtype=np.int64)
        at, ended = 0, False  # ended: the last token is the end of a document, and can begin the next
        for number, part in enumerate(parts):
            first, last = self.tokens.bounds(part.document)
            if ended and not part.start:
                segments[at - 1] = number
            else:
                ids[at] = self.tokens.read(first + part.start - 1, first + part.start)[0] if part.start else end
                segments[at] = number
                at += 1
            body = self.tokens.read(first + part.start, min(first + part.stop, last))
            stop = at + part.stop - part.start
            ids[at : at + len(body)] = body  # what follows, if anything, is an end already
            labels[at:stop] = ids[at:stop]
            segments[at:stop] = number
            at, ended = stop, first + part.stop > last
        return Window(torch.from_numpy(ids), torch.from_numpy(labels), torch.from_numpy(segments))


def pack(tokens: Tokens, *, length: int, how: Packing = "best-fit") -> Packed:
    """Makes windows of a corpus; no token is lost, however long its document.

    Args:
        tokens: The corpus.
        length: Targets of a window, at least 2; a window has one token more, the first, from which the first target is
            predicted.
        how: `"best-fit"` cuts no document that fits; `"concatenate"` fills every window.

    Raises:
        ParameterError: If the length is out of range.
        DataError: If the corpus is too small for half a window.

    Example:
        See `Packed`.
    """
    if not isinstance(tokens, Tokens):
        raise fail_type("tokens", "Tokens, as write_tokens() returns and Tokens.open() opens", tokens)
    integer("length", length, low=2, high=2**24)
    if how not in get_args(Packing):
        raise fail("how", "'best-fit' or 'concatenate'", how)
    if 2 * (tokens.count + len(tokens)) < length:
        what = f"the corpus has {tokens.count} tokens, which do not fill half a window of {length}"
        raise DataError(f"{what}. Give more text, or a smaller length.")
    return Packed(tokens, length, how, _BestFit.of(tokens, length) if how == "best-fit" else _Concatenated(tokens, length))


@dataclass(frozen=True, slots=True, eq=False)
class _Concatenated:
    tokens: Tokens
    length: int

    def __len__(self) -> int:
        return -(-(self.tokens.count + len(self.tokens)) // self.length)

    def parts(self, index: int) -> Iterator[Part]:
        at, stop = index * self.length, (index + 1) * self.length
        document = self.tokens.where(at)
        while at < stop and document < len(self.tokens):
            first, last = self.tokens.bounds(document)
            begin, end = first + document, last + document + 1  # among all targets
            yield Part(document, at - begin, min(stop, end) - begin)
            at, document = min(stop, end), document + 1


@dataclass(frozen=True, slots=True, eq=False)
class _BestFit:
    """Windows that one document fills, and then those that are packed.

    Attributes:
        length: Targets of a window.
        lengths: Tokens of each document.
        long: The documents that fill windows.
        filled: How many windows those up to each fill.
        bins: The others, and the rests of these.
    """

    length: int
    lengths: npt.NDArray[np.int64]
    long: npt.NDArray[np.int64]
    filled: npt.NDArray[np.int64]
    bins: Bins

    @classmethod
    def of(cls, tokens: Tokens, length: int) -> "_BestFit":
        lengths = tokens.lengths()
        windows, rests = np.divmod(lengths + 1, length)
        long, some = np.flatnonzero(windows), np.flatnonzero(rests)
        # The rest of a document needs the token before it, where a whole document begins with the last one's end.
        costs = rests[some] + (windows[some] > 0)
        return cls(length, lengths, long, np.cumsum(windows[long]), best_fit(costs, some, length))

    def __len__(self) -> int:
        return (int(self.filled[-1]) if len(self.filled) else 0) + len(self.bins)

    def parts(self, index: int) -> Iterator[Part]:
        filled = len(self) - len(self.bins)
        if index < filled:
            place = int(np.searchsorted(self.filled, index, side="right"))
            start = (index - (int(self.filled[place - 1]) if place else 0)) * self.length
            yield Part(int(self.long[place]), start, start + self.length)
            return
        for document in self.bins[index - filled].tolist():
            targets = int(self.lengths[document]) + 1
            yield Part(document, targets // self.length * self.length, targets)
