"""What makes token ids of texts: a tokenizer, or any function, with what has to be known of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aigc._checks import fail, fail_type, integer
from aigc.data.text.tokenizer import plain, tokenizer_hash
from aigc.errors import DataError

__all__ = ["Encoder", "Ids", "encoder"]

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Encoder:
    """Makes ids of texts, many at once.

    Attributes:
        encode: From texts to ids.
        vocabulary: How many ids there are.
        end: The id that ends a document.
        identity: The SHA-256 of the tokenizer; empty if it is a function.
        json: The tokenizer; empty if it is a function.
    """

    encode: Callable[[list[str]], list[Sequence[int]]]
    vocabulary: int
    end: int
    identity: str
    json: str

    def checked(self, ids: Sequence[int], name: str) -> Ids:
        """Ids as an array, all of the vocabulary, and none of them the end.

        Raises:
            DataError: If it is not so; it names the document.
        """
        try:
            given = np.asarray(ids).reshape(-1)
        except ValueError:  # sequences of different lengths
            given = np.array([None])
        if len(given) and given.dtype.kind not in "iu":
            raise DataError(f"the tokenizer must give ids, which are integers, got {str(ids)[:40]!r} in document {name!r}.")
        found = given.astype(np.int64, copy=False)
        if len(found) and not 0 <= int(found.min()) <= int(found.max()) < self.vocabulary:
            bad = next(int(x) for x in found if not 0 <= x < self.vocabulary)
            what = f"the tokenizer must give ids in [0, {self.vocabulary}), got {bad} in document {name!r}"
            raise DataError(f"{what}. It does not fit its vocabulary: give the vocabulary= that it has.")
        if (found == self.end).any():
            cure = (
                "Take what it is made of out of the text, or give a token as end= that texts do not have. If the tokenizer "
            )
            cure += "adds it, let it add no special tokens: the end is added here."
            raise DataError(f"document {name!r} must not have the token that ends documents, {self.end}, in it. {cure}")
        return found


def encoder(tokenizer: Any, end: str | int, vocabulary: int | None) -> Encoder:
    """Makes one of a tokenizer of tokenizers, or of transformers that has one inside, or of a function."""
    inner = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(inner, "encode_batch") and hasattr(inner, "to_str"):
        return _of_tokenizer(inner, end, vocabulary)
    if not callable(tokenizer):
        raise fail_type("tokenizer", "a tokenizers.Tokenizer, a fast tokenizer of transformers, or a function", tokenizer)
    if vocabulary is None or isinstance(end, str):
        cure = "A function says neither how many tokens there are nor which ends a document."
        raise fail("vocabulary", "given, and end= an id, with a function as tokenizer", (vocabulary, end), cure)
    integer("vocabulary", vocabulary, low=1, high=2**32)

    def encode(texts: list[str]) -> list[Sequence[int]]:
        return [tokenizer(text) for text in texts]

    return Encoder(encode, vocabulary, integer("end", end, low=0, high=vocabulary - 1), "", "")


def _of_tokenizer(tokenizer: Any, end: str | int, vocabulary: int | None) -> Encoder:
    copy: Any = plain(tokenizer)
    have = int(copy.get_vocab_size())
    vocabulary = have if vocabulary is None else integer("vocabulary", vocabulary, low=1, high=2**32)
    place = copy.token_to_id(end) if isinstance(end, str) else end
    if place is None:
        raise fail("end", "a token of the tokenizer", end, "Give the token that ends its documents, such as '</s>'.")
    integer("end", place, low=0, high=vocabulary - 1)

    def encode(texts: list[str]) -> list[Sequence[int]]:
        return [made.ids for made in copy.encode_batch_fast(texts, add_special_tokens=False)]

    return Encoder(encode, vocabulary, place, tokenizer_hash(tokenizer), copy.to_str())
