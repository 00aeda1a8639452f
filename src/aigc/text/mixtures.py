"""Conversations and plain texts together: windows of the ones, then windows of the others, all of one length."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from aigc.data.text import IGNORED, Corpus, Document, Packed, Window
from aigc.text.conversations import Conversations

__all__ = ["Mixture", "Plain", "talks"]


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Windows of conversations, and behind them those of plain texts, which are filled up to the same length.

    Attributes:
        talks: Of conversations.
        texts: Of plain texts.
    """

    talks: Conversations
    texts: Packed

    @property
    def targets(self) -> int:
        """Tokens that are predicted: of conversations the answers', of texts all."""
        return self.talks.targets + self.texts.targets

    @property
    def bytes(self) -> int:
        """Of what is predicted, in UTF-8."""
        return self.talks.bytes + self.texts.tokens.bytes

    def __len__(self) -> int:
        return len(self.talks) + len(self.texts)

    def __getitem__(self, index: int) -> Window:
        place = range(len(self))[index]
        if place < len(self.talks):
            return self.talks[place]
        ids, labels, segments = self.texts[place - len(self.talks)]
        more = self.talks.length + 1 - len(ids)
        return Window(
            _filled(ids, more, self.texts.tokens.end), _filled(labels, more, IGNORED), _filled(segments, more, -1)
        )


def talks(corpus: Corpus) -> Corpus:
    """The conversations of a corpus."""
    return corpus.where(lambda document: bool(document.turns))


@dataclass(slots=True, eq=False)
class Plain:
    """The plain texts of a corpus.

    Attributes:
        corpus: All of it.
        met: Whether a conversation was passed over by one who ran through it so far.
    """

    corpus: Corpus
    met: bool = False

    def __iter__(self) -> Iterator[Document]:
        for document in self.corpus:
            if document.turns:
                self.met = True
            else:
                yield document


def _filled(values: Tensor, more: int, value: int) -> Tensor:
    return torch.cat([values, values.new_full((more,), value)]) if more else values
