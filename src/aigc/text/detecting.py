"""Watermarks of texts: for what has been printed, copied or edited, and has no token ids any more."""

from typing import TYPE_CHECKING, Any

from aigc._checks import encodable, fail_type
from aigc.sampling import Detection
from aigc.sampling import detect as detect_ids
from aigc.text.turns import lock_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["detect"]


def detect(text: str, key: bytes, *, tokenizer: "PreTrainedTokenizerBase", window: int = 4) -> Detection:
    """Tests whether a text was written with `Watermark` and a key. It needs the model's tokenizer, and not the model.

    A text may be tokenized in another way than it was written: each such place costs the mark of the tokens there and of
    `window` after them. Where the ids are at hand, as in `Completion.tokens`, `aigc.sampling.detect` is sharper.

    Args:
        text: What was written, without its prompt; or a part of it.
        key: As for `Watermark`.
        tokenizer: That of the model, `gen.tokenizer`.
        window: As for `Watermark`.

    Raises:
        ParameterError: If the key is too short or too long, or the text has lone surrogates.

    Example:
        >>> import aigc
        >>> from aigc.sampling import Watermark
        >>> gen, key = aigc.Generator.default(), bytes.fromhex("9c1185a5c5e9fc54612808977ee8f548")
        >>> text = gen.generate("The sea", sampler=Watermark(key=key), seed=0, max_new_tokens=60)[0].text
        >>> detect(text, key, tokenizer=gen.tokenizer).p_value < 1e-6
        True
    """
    if not isinstance(text, str):
        raise fail_type("text", "a string", text, "For token ids there is aigc.sampling.detect.")
    encodable("text", text)
    if not callable(tokenizer):
        raise fail_type("tokenizer", "the model's tokenizer", tokenizer, "Give gen.tokenizer.")
    with lock_of(tokenizer):
        encoded: Any = tokenizer(text, add_special_tokens=False, verbose=False)
    return detect_ids(encoded["input_ids"], key=key, window=window)
