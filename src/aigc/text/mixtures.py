"""Conversations and plain texts together: windows of the ones, then windows of the others, all of one length."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from aigc.data.text import IGNORED, Corpus, Document, Packed, Window
from aigc.text.conversations import Conversations

__all__ = ["Mixture", "Turned", "plain", "talks"]


class Turned(Exception):  # it is no error
    """Raised where a conversation is met among what was thought to be plain texts."""


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


def plain(corpus: Corpus, *, all_of_it: bool = False) -> Corpus:
    """The plain texts of a corpus.

    Args:
        corpus: The corpus.
        all_of_it: Whether they are expected to be all: running through it raises `Turned` at the first conversation.
    """
    if all_of_it:
        return replace(corpus, documents=_Plain(corpus))
    return corpus.where(lambda document: not document.turns)


@dataclass(frozen=True, slots=True, eq=False)
class _Plain:
    corpus: Corpus

    def __iter__(self) -> Iterator[Document]:
        for document in self.corpus:
            if document.turns:
                raise Turned
            yield document


def _filled(values: Tensor, more: int, value: int) -> Tensor:
    return torch.cat([values, values.new_full((more,), value)]) if more else values
