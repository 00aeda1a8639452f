"""How the tokens of a tokenizer are spelt, in bytes: what samplers that look at text go by."""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from aigc._checks import encodable
from aigc.errors import ModelError
from aigc.text._transformers import Vocabulary
from aigc.text.turns import lock_of

__all__ = ["Spelling"]


class Spelling:
    """A tokenizer as samplers see it: see `aigc.sampling.Words`.

    Args:
        vocabulary: The tokenizer.
        size: How many logits a row of the model has.
    """

    def __init__(self, vocabulary: Vocabulary, size: int) -> None:
        self._vocabulary = vocabulary
        self.size = size
        self.ends = frozenset(vocabulary.ends)

    @cached_property
    def spelling(self) -> Sequence[bytes]:
        """The bytes that each token adds to a text; empty for special tokens.

        Raises:
            ModelError: If the tokenizer does not say how its tokens are spelt.
        """
        tokenizer: Any = self._vocabulary.tokenizer
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                f"{type(tokenizer).__name__} does not say how its tokens are spelt. Load the tokenizer with use_fast=True."
            )
        decoder = json.loads(tokenizer.backend_tokenizer.to_str()).get("decoder") or {}
        spell = _speller(decoder)
        special = set(tokenizer.all_special_ids)
        added = {id: str(token) for id, token in tokenizer.added_tokens_decoder.items()}
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        return [
            b"" if id in special or token is None else added[id].encode() if id in added else spell(token)
            for id, token in enumerate(tokens)
        ]

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens.

        Raises:
            ParameterError: If it has lone surrogates.
        """
        encodable("a string of the sampler", text)
        with lock_of(self._vocabulary.tokenizer):
            ids: list[int] = self._vocabulary.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        with lock_of(self._vocabulary.tokenizer):
            return self._vocabulary.decode(ids)


def _speller(decoder: dict[str, Any]) -> Any:
    """How one token becomes bytes, from what tokenizers write in `tokenizer.json` of the way back."""
    kinds = {part["type"]: part for part in _flat(decoder)}
    if "ByteLevel" in kinds:
        table = {character: byte for byte, character in _printed_bytes().items()}

        def of_bytes(token: str) -> bytes:
            return bytes(table[c] for c in token) if all(c in table for c in token) else token.encode()

        return of_bytes
    if "Metaspace" in kinds or any(part.get("pattern") == {"String": "▁"} for part in kinds.values()):
        mark = kinds.get("Metaspace", {}).get("replacement", "▁")
        fallback = "ByteFallback" in kinds

        def of_pieces(token: str) -> bytes:
            if fallback and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
                return bytes([int(token[3:5], 16)])
            return token.replace(mark, " ").encode()

        return of_pieces
    if "WordPiece" in kinds:
        prefix = kinds["WordPiece"].get("prefix", "##")
        return lambda token: (token.removeprefix(prefix) if token.startswith(prefix) else " " + token).encode()
    # Words, one a token: the decoder of tokenizers, where there is none, puts a space between them.
    return lambda token: token.encode() if kinds else (" " + token).encode()


def _flat(decoder: dict[str, Any]) -> list[dict[str, Any]]:
    parts = decoder.get("decoders") if decoder.get("type") == "Sequence" else [decoder]
    return [part for part in parts or [] if part.get("type")]


def _printed_bytes() -> dict[int, str]:
    """The characters that byte-level tokenizers print bytes as: themselves where they can be seen, else from 256 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    printed = {byte: chr(byte) for byte in seen}
    hidden = (byte for byte in range(256) if byte not in printed)
    return printed | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
