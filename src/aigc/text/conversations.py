"""Conversations as windows to train on: written by the model's own template, and the answers alone are predicted.

What is before an answer is encoded as `chat` would encode it, the answer by itself, as it will be written: token by token
behind that. So a model meets in training what it meets later.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from aigc.data.text import IGNORED, Document, Window
from aigc.data.text._fitting import Bins, best_fit
from aigc.errors import DataError, ModelError

if TYPE_CHECKING:
    from aigc.text._transformers import Vocabulary

__all__ = ["PLAIN_TEMPLATE", "ROLES", "Conversations", "conversations"]

ROLES = {
    **dict.fromkeys(("user", "human", "prompt", "instruction", "question", "input"), "user"),
    **dict.fromkeys(("assistant", "gpt", "completion", "response", "answer", "output"), "assistant"),
    "system": "system",
}

PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'user' %}Question: {{ message.content }}\n"
    "{% elif message.role == 'assistant' %}Answer: {{ message.content }}{{ eos_token }}"
    "{% else %}{{ message.content }}\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Answer:{% endif %}"
)


@dataclass(frozen=True, slots=True, eq=False)
class Conversations:
    """Windows of conversations; none is cut.

    Attributes:
        length: Targets of a window.
        ids: Of each conversation.
        answers: Which of them are predicted.
        bins: Which conversations share a window.
        pad: What fills the rest.
        counts: Tokens of each document.
        targets: Tokens that are predicted.
        bytes: Of the answers, in UTF-8.
    """

    length: int
    ids: tuple[npt.NDArray[np.int32], ...]
    answers: tuple[npt.NDArray[np.bool_], ...]
    bins: Bins
    pad: int
    counts: tuple[int, ...]
    targets: int
    bytes: int

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, index: int) -> Window:
        size = self.length + 1
        ids = np.full(size, self.pad, dtype=np.int64)
        labels, segments = np.full(size, IGNORED, dtype=np.int64), np.full(size, -1, dtype=np.int64)
        at = 0
        for number, which in enumerate(self.bins[range(len(self))[index]].tolist()):
            found, answer = self.ids[which], self.answers[which]
            stop = at + len(found)
            ids[at:stop] = found
            labels[at:stop][answer] = found[answer]
            segments[at:stop] = number
            at = stop
        return Window(torch.from_numpy(ids), torch.from_numpy(labels), torch.from_numpy(segments))


def conversations(tokenizer: Any, vocabulary: "Vocabulary", corpus: Iterable[Document], *, length: int) -> Conversations:
    """Encodes conversations.

    Args:
        tokenizer: That has a chat template.
        vocabulary: The same, as `chat` encodes by it.
        corpus: Documents with turns, whose roles are among `ROLES`.
        length: Targets of a window.

    Raises:
        ModelError: If there is no chat template.
        DataError: If a document has no turns, no answer, an unknown role, or is longer than a window; it names it.
    """
    if not tokenizer.chat_template:
        cure = "Set gen.tokenizer.chat_template, for instance to aigc.text.PLAIN_TEMPLATE; save_pretrained keeps it."
        raise ModelError(f"the tokenizer has no chat template, by which conversations are written. {cure}")
    parts: list[tuple[list[int], list[bool]]] = []
    counts, size = [], 0
    for document in corpus:
        messages = _messages(document)
        own = [_encoded(tokenizer, vocabulary, part) for part in _parts(vocabulary, messages, document)]
        for ids, _ in own:
            if len(ids) > length + 1:
                what = f"{document.name!r} in {document.source or 'the corpus'} takes {len(ids)} tokens"
                raise DataError(f"{what}, more than the window of {length + 1}. Give a larger length, or cut it.")
        parts += own
        counts.append(sum(len(ids) for ids, _ in own))
        size += sum(len(message["content"].encode()) for message in messages if message["role"] == "assistant")
    costs = np.array([len(ids) for ids, _ in parts], dtype=np.int64)
    bins = best_fit(costs, np.arange(len(parts), dtype=np.int64), length + 1)
    return Conversations(
        length,
        tuple(np.array(ids, dtype=np.int32) for ids, _ in parts),
        tuple(np.array(answer, dtype=np.bool_) for _, answer in parts),
        bins,
        int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0),
        tuple(counts),
        sum(sum(answer) for _, answer in parts),
        size,
    )


_Part = list[tuple[str, bool]]  # pieces of text, and whether each is an answer


def _messages(document: Document) -> list[dict[str, str]]:
    messages = []
    for turn in document.turns:
        role = ROLES.get(turn.role.lower())
        if role is None:
            known = ", ".join(ROLES)
            raise DataError(f"{document.name!r} has a turn of {turn.role!r}, which is none of {known}. Rename it.")
        messages.append({"role": role, "content": turn.content})
    if not any(message["role"] == "assistant" for message in messages):
        raise DataError(f"{document.name!r} has no answer, so that nothing could be learned from it. Leave it out.")
    return messages


def _parts(vocabulary: "Vocabulary", messages: Sequence[dict[str, str]], document: Document) -> list[_Part]:
    """A conversation in one part; in one for each answer where the template writes earlier turns otherwise."""
    pieces: list[_Part] = []
    whole: _Part = []
    before = ""
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked = vocabulary.written(messages[:place], answer=True)
        full = vocabulary.written(messages[: place + 1], answer=False)
        if not full.startswith(asked):
            what = f"the chat template does not write {document.name!r} so that an answer follows its question"
            raise DataError(f"{what}. Use a template whose generation prompt begins an answer.")
        if whole and not asked.startswith(before):
            pieces, whole = [*pieces, whole], []
        whole = [*whole, (asked[len(before) if whole else 0 :], False), (full[len(asked) :], True)]
        before = full
    return [*pieces, whole]


def _encoded(tokenizer: Any, vocabulary: "Vocabulary", part: _Part) -> tuple[list[int], list[bool]]:
    ids: list[int] = []
    answers: list[bool] = []
    for place, (text, answer) in enumerate(part):
        found = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] if place else vocabulary.encode(text)
        ids += found
        answers += [answer] * len(found)
    return ids, answers
