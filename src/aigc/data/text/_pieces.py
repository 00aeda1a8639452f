"""Long texts in pieces, so that what is done to a text at once does not depend on its length."""

from collections.abc import Iterator

__all__ = ["pieces"]

_BACK = 1000  # characters in which white space is looked for


def pieces(text: str, size: int = 2**18) -> Iterator[str]:
    r"""A text in pieces of at most `size` characters: at least one.

    They end with a line feed between two characters that are not white space; if there is none, behind white space, or else
    anywhere. Tokenizers that treat a lone line feed by itself make the same tokens of such pieces as of the whole.

    >>> list(pieces("ab\ncd\nef", 7)), list(pieces("ab cd", 4)), list(pieces("abcd", 3))
    (['ab\ncd\n', 'ef'], ['ab ', 'cd'], ['abc', 'd'])
    """
    start = 0
    while len(text) - start > size:
        end = _cut(text, start, start + size)
        yield text[start:end]
        start = end
    yield text[start:]


def _cut(text: str, start: int, end: int) -> int:
    at = end
    while (at := text.rfind("\n", start + 1, at)) > 0:
        if not text[at - 1].isspace() and not text[at + 1].isspace():
            return at + 1
    return next((i for i in range(end, max(start, end - _BACK), -1) if text[i - 1].isspace()), end)
