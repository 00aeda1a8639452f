"""Token ids to text, one token at a time, never half a character, in constant time per token.

A token is not a piece of text: a Chinese character or an emoji may take three tokens, and a tokenizer may write a
token with or without a space depending on the one before. So the last few tokens are decoded twice, with and without
the new one, and the difference is what the new one adds. A difference that ends in U+FFFD is the beginning of a
character, and is held until the rest of it comes.
"""

import copy
from collections.abc import Callable, Sequence

__all__ = ["TextDecoder"]

_UNFINISHED = "\ufffd"
_PATIENCE = 8  # a character takes at most four bytes; after this many tokens the bytes are simply not UTF-8
_CONTEXT = 4  # tokens of the prompt that tell how the first new token joins it


class TextDecoder:
    r"""Decodes the continuation of one row.

    Args:
        decode: From ids to text, without special tokens; the tokenizer's.
        prompt: The ids that come before; only the last few matter.

    >>> letters = {0: "H", 1: "i", 2: "\ufffd", 3: "!"}
    >>> decoder = TextDecoder(lambda ids: "".join(letters[i] for i in ids), prompt=[0])
    >>> decoder.push(1), decoder.push(2), decoder.push(3), decoder.finish()
    ('i', '', '\ufffd!', '')
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], *, prompt: Sequence[int]) -> None:
        self._decode = decode
        self._ids = list(prompt[-_CONTEXT:])  # context, then what is not yet shown
        self._context = len(self._ids)
        self._shown = decode(self._ids) if self._ids else ""

    def fork(self) -> "TextDecoder":
        """A copy, for a text that goes on otherwise."""
        copied = copy.copy(self)
        copied._ids = list(self._ids)
        return copied

    def push(self, token: int) -> str:
        """Takes the next token, and returns the whole characters that it completes."""
        self._ids.append(token)
        text = self._decode(self._ids)
        waiting = len(self._ids) - self._context
        if text.endswith(_UNFINISHED) and waiting < _PATIENCE:
            return ""
        return self._emit(text)

    def finish(self) -> str:
        """Returns what is held back, without the character that will never be finished."""
        if len(self._ids) == self._context:
            return ""
        return self._emit(self._decode(self._ids)).rstrip(_UNFINISHED)

    def _emit(self, text: str) -> str:
        new = text[len(self._shown) :] if text.startswith(self._shown) else text[_common(text, self._shown) :]
        # A special token decodes to nothing and gives the next one no context, so the tokens before it stay.
        if new or len(self._ids) > 2 * _PATIENCE:
            self._ids = self._ids[self._context :] or self._ids
        self._context = len(self._ids)
        self._shown = self._decode(self._ids)
        return new


def _common(a: str, b: str) -> int:
    size = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        size += 1
    return size
