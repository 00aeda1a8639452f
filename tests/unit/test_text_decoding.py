"""Incremental decoding: whole characters only, and together the text of all tokens."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

import tiny
from aigc.text.decoding import TextDecoder

BYTES = tiny.tokenizer()
unicode = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=20)

Decode = Callable[[Sequence[int]], str]


def decode_bytes(ids: Sequence[int]) -> str:
    text: str = BYTES.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def stream(decode: Decode, prompt: Sequence[int], ids: Sequence[int]) -> list[str]:
    decoder = TextDecoder(decode, prompt=prompt)
    return [*(decoder.push(token) for token in ids), decoder.finish()]


@given(prompt=unicode, text=unicode)
def test_pieces_join_to_the_text_and_never_hold_half_a_character(prompt: str, text: str) -> None:
    before, ids = (BYTES(part, add_special_tokens=False)["input_ids"] for part in (prompt, text))
    parts = stream(decode_bytes, before, ids)
    assert "".join(parts) == text
    assert not any("\ufffd" in part for part in parts)


@given(text=unicode, dropped=st.integers(1, 3))
def test_a_character_that_is_never_finished_is_left_out(text: str, dropped: int) -> None:
    ids = BYTES(text + "🎐", add_special_tokens=False)["input_ids"][:-dropped]
    assert "".join(stream(decode_bytes, [], ids)) == text


@given(st.lists(st.integers(0, 255), max_size=40))
def test_bytes_that_are_no_text_come_out_within_bounds(ids: list[int]) -> None:
    decoder = TextDecoder(decode_bytes, prompt=[])
    calls: list[int] = []

    def counted(part: Sequence[int]) -> str:
        calls.append(len(part))
        return decode_bytes(part)

    decoder = TextDecoder(counted, prompt=[])
    for token in ids:
        decoder.push(token)
    assert max(calls, default=0) <= 32, "a token must not cost more the longer the text is"


WORDS = ["▁the", "▁sea", "s", "▁", "海", "."]


def metaspace() -> Decode:
    """A tokenizer that drops the space before the first word, as those of Llama and Gemma do."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="."))
    inner.decoder = decoders.Metaspace()
    return lambda ids: str(inner.decode(list(ids)))


@given(prompt=st.lists(st.integers(0, 5), min_size=1, max_size=6), ids=st.lists(st.integers(0, 5), max_size=12))
def test_spaces_survive_the_joins(prompt: list[int], ids: list[int]) -> None:
    decode = metaspace()
    # One word before both keeps the decoder's rule about the first word out of the comparison.
    whole, before = decode([0, *prompt, *ids]), decode([0, *prompt])
    assert "".join(stream(decode, [0, *prompt], ids)) == whole[len(before) :]


def test_each_token_alone_loses_the_spaces() -> None:
    """The twin: decoding token by token, without context, breaks the law above."""
    decode = metaspace()
    assert "".join(decode([token]) for token in [0, 1]) != decode([0, 1])


@pytest.mark.parametrize("text", ["春风又绿江南岸", "👨‍👩‍👧 ok", "naïve café"])
def test_real_texts(text: str) -> None:
    ids = BYTES(text, add_special_tokens=False)["input_ids"]
    assert "".join(stream(decode_bytes, [], ids)) == text
