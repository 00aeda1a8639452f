r"""A tokenizer of one's own: byte-level BPE, so that every text comes back to the letter.

Byte-level byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2019) begins with the 256 bytes and
joins the pair that occurs most often, again and again. Pairs do not cross the pieces that a text is split into first: words
with the space before them, single digits, punctuation, white space, and Chinese characters.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from aigc._checks import fail, fail_type, integer
from aigc.data.text._pieces import pieces
from aigc.data.text.documents import Document, documents_of
from aigc.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["END", "Han", "Kind", "plain", "tokenizer_hash", "train_tokenizer"]

END = "<|endoftext|>"
Kind = Literal["bpe", "bytes"]
Han = Literal["characters", "words"]

_BYTES = 256
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)| ?[^\W\d_{han}]+|\d| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+"
_SPLITS = {"characters": r"\p{Han}|" + _WORDS.replace("{han}", r"\p{Han}"), "words": _WORDS.replace("{han}", "")}
_PIECE = 2**14  # characters given to the trainer at once: it copies each


def train_tokenizer(
    corpus: Iterable[str | Document],
    *,
    size: int = 8192,
    kind: Kind = "bpe",
    special_tokens: Sequence[str] = (END,),
    han: Han = "characters",
    least: int = 2,
) -> "Tokenizer":
    r"""Trains a tokenizer of which `decode(encode(text))` is the text, whatever the text is.

    The same corpus gives the same tokenizer, and the order of its documents does not matter. A text that is encoded with
    special tokens gets the first of them, which ends documents, before it: its first token is predicted from something.

    Args:
        corpus: Read once, never in memory as a whole; the trainer counts distinct pieces. Of gigabytes, a tenth does:
            `corpus.split(held_out=0.1).held_out`.
        size: Tokens, special ones and the 256 bytes included. A corpus may have too few pairs to get there.
        kind: `"bpe"`, or `"bytes"` for the bytes alone, of which there are 256.
        special_tokens: The first ends documents.
        han: `"characters"` never joins a Chinese character with its neighbour, which suits small models; `"words"` may.
        least: How often a pair must occur to be joined.

    Returns:
        A `tokenizers.Tokenizer`. `PreTrainedTokenizerFast(tokenizer_object=...)` makes it one of transformers.

    Raises:
        DataError: If the corpus has no document.
        ParameterError: If an argument is out of range.

    Example:
        >>> from aigc.data.text import Corpus
        >>> tokenizer = train_tokenizer(Corpus.of(["low lower lowest 低低地 1024"] * 3), size=270)
        >>> ids = tokenizer.encode("lowest 高 🙂", add_special_tokens=False).ids
        >>> tokenizer.decode(ids), tokenizer.encode("1024", add_special_tokens=False).tokens
        ('lowest 高 🙂', ['1', '0', '2', '4'])
    """
    names = _special(special_tokens)
    if kind not in get_args(Kind) or han not in get_args(Han):
        raise fail("kind", f"one of {get_args(Kind)}, and han one of {get_args(Han)}", (kind, han))
    least = integer("least", least, low=1)
    floor = _BYTES + len(names)
    integer("size", size, low=floor, high=2**24, cure=f"{floor} are needed for every byte and the special tokens.")
    return _trained(documents_of("corpus", corpus), floor if kind == "bytes" else size, names, han, least)


def tokenizer_hash(tokenizer: "Tokenizer") -> str:
    """The SHA-256 of what a tokenizer writes of itself: two with the same make the same tokens.

    Raises:
        TypeParameterError: If it is none of tokenizers.

    Example:
        >>> from aigc.data.text import Corpus
        >>> len(tokenizer_hash(train_tokenizer(Corpus.of(["abc"]), kind="bytes")))
        64
    """
    return hashlib.sha256(plain(tokenizer).to_str().encode()).hexdigest()


def plain(tokenizer: "Tokenizer") -> "Tokenizer":
    """A copy that neither cuts nor fills texts, and takes the names of special tokens in a text for text."""
    from tokenizers import Tokenizer

    if not hasattr(tokenizer, "to_str") or isinstance(tokenizer, type):
        cure = "Of a fast tokenizer of transformers, give tokenizer.backend_tokenizer."
        raise fail_type("tokenizer", "a tokenizers.Tokenizer", tokenizer, cure)
    copy: Tokenizer = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = True
    return copy


def _trained(corpus: Iterable[Document], size: int, names: list[str], han: Han, least: int) -> "Tokenizer":
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    # tokenizers has no types that strict checking passes.
    splitter: Any = pre_tokenizers.Split(Regex(_SPLITS[han]), "isolated")
    level: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([splitter, level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=least,
        special_tokens=names,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    seen = _Seen(corpus)
    tokenizer.train_from_iterator(seen, trainer)
    if not seen.documents:
        raise DataError("corpus must have at least one document, and has none. Look at what was filtered out.")
    if names:
        begin = [(names[0], tokenizer.token_to_id(names[0]))]
        # A template has its own signs; the name of a token is none of them.
        tokenizer.post_processor = processors.TemplateProcessing(single=[names[0], "$A"], special_tokens=begin)
    return tokenizer  # type: ignore[no-any-return]


class _Seen:
    """The pieces of all documents, once; and how many documents there were."""

    def __init__(self, corpus: Iterable[Document]) -> None:
        self._corpus, self.documents = corpus, 0

    def __iter__(self) -> Iterator[str]:
        for document in self._corpus:
            self.documents += 1
            yield from pieces(document.text, _PIECE)


def _special(names: object) -> list[str]:
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise fail_type("special_tokens", "a sequence of strings", names)
    if len(set(names)) < len(names) or any(len(name) < 2 or name != name.strip() for name in names):
        cure = "A single character, or space around it, would be found in texts by chance."
        raise fail("special_tokens", "different strings of two characters or more, without space around them", names, cure)
    return list(names)
