"""Encoder-decoder and masked models of transformers behind small types, beside the causal ones of `_transformers.py`."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from aigc._checks import fail_type
from aigc.errors import ModelError
from aigc.text import _transformers_files as files
from aigc.text._transformers import TransformersNetwork, Vocabulary, evaluating
from aigc.text.gaps import Infilling

__all__ = ["MaskedNetwork", "Network", "Seq2SeqNetwork", "adapt", "load_model"]

# Heads that BERT was trained with beside the one that predicts words; checkpoints keep them.
_SPARE = ("pooler.", "seq_relationship.", "sop_classifier.")


class Seq2SeqNetwork:
    """An encoder-decoder model: a source is read once, and a text is written while the decoder looks at it."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        config = model.config
        self._encoder = getattr(config, "encoder", config)
        self._decoder = config.get_text_config(decoder=True)
        says = model.generation_config
        self._start = _first(
            getattr(says, "decoder_start_token_id", None),
            getattr(config, "decoder_start_token_id", None),
            getattr(says, "bos_token_id", None),
            getattr(config, "bos_token_id", None),
        )
        self._opening = _first(getattr(says, "forced_bos_token_id", None))
        banned = [ids[0] for ids in getattr(says, "bad_words_ids", None) or () if len(ids) == 1]
        self._output: Any = BaseModelOutput  # what the encoder returns; a mixture of experts looks for more fields in it
        self._banned = sorted({*banned, *(getattr(says, "suppress_tokens", None) or ())})

    @property
    def device(self) -> torch.device:
        """Where the model's first parameter lives."""
        return _device(self.model)

    @property
    def dtype(self) -> torch.dtype:
        """The model's floating type."""
        return _dtype(self.model)

    @property
    def vocabulary(self) -> int:
        """How many ids the encoder knows."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def start(self) -> int:
        """The token that every text starts with; it is not part of the text.

        Raises:
            ModelError: If no setting names it.
        """
        if self._start is None:
            raise ModelError(
                f"{type(self.model).__name__} does not say which token its texts start with. "
                "Set model.generation_config.decoder_start_token_id."
            )
        return self._start

    @property
    def targets(self) -> int:
        """How many ids the decoder writes: not those of the encoder, where two languages have each their own."""
        head = self.model.get_output_embeddings()
        return int(self._decoder.vocab_size if head is None else head.weight.shape[0])

    @property
    def context(self) -> int | None:
        """The longest text, start token included; None where positions are relative, as in T5."""
        return _positions(self._decoder, "max_decoder_position_embeddings")

    @property
    def source_context(self) -> int | None:
        """The longest source; None where positions are relative."""
        return _positions(self._encoder, "max_encoder_position_embeddings")

    def encode(self, ids: Tensor) -> Tensor:
        """What the encoder makes of a source `(1, length)`: `(1, length, features)`."""
        with evaluating(self.model):
            encoder = self.model.get_encoder()
            output = encoder(input_ids=ids, attention_mask=torch.ones_like(ids))
        self._output = type(output)
        read: Tensor = output.last_hidden_state
        return read

    def cache(self) -> EncoderDecoderCache:
        """Makes an empty cache of the decoder's own past and of what it looks at."""
        return EncoderDecoderCache(DynamicCache(), DynamicCache())

    def decode(self, ids: Tensor, source: Tensor, mask: Tensor, cache: Any) -> Tensor:
        """Logits `(rows, vocabulary)` after the last of `ids` `(rows, queries)`; `mask` is 0 where a source is padding."""
        output = self._run(ids, source, mask, use_cache=True, past_key_values=cache)
        logits: Tensor = output.logits[:, -1]
        return self._ban(logits)

    def plain(self, ids: Tensor, source: Tensor) -> Tensor:
        """Logits `(rows, length, vocabulary)` at every position of `ids`, without a cache or padding."""
        mask = torch.ones(source.shape[:2], dtype=torch.int64, device=source.device)
        logits: Tensor = self._run(ids, source, mask, use_cache=False).logits
        return self._ban(logits)

    def open(self, logits: Tensor) -> Tensor:
        """The logits of the first token: that alone which `generation_config.forced_bos_token_id` names, if it does."""
        if self._opening is None:
            return logits
        forced = torch.full_like(logits, -torch.inf)
        forced[:, self._opening] = 0
        return forced

    def logits(self, ids: Tensor) -> Tensor:
        """Refuses: the probability of a text is that of a target given a source.

        Raises:
            ModelError: Always.
        """
        raise ModelError(
            f"{type(self.model).__name__} cannot score a text by itself: it knows the probability of a target given its "
            "source. Use generate with logprobs=True, or score with a causal model such as GPT-2 or Qwen."
        )

    def gather(self, caches: list[Any], rows: list[int], width: int) -> EncoderDecoderCache:
        """Builds a batch's cache out of caches of one row each: row i becomes a copy of `caches[rows[i]]`."""
        own = [cache.self_attention_cache for cache in caches]
        across = [cache.cross_attention_cache for cache in caches]
        return EncoderDecoderCache(_gather(own, rows, None), _gather(across, rows, width))

    def select(self, cache: Any, alive: Tensor) -> None:
        """Keeps some rows of a cache."""
        cache.batch_select_indices(alive)

    def _run(self, ids: Tensor, source: Tensor, mask: Tensor, **arguments: Any) -> Any:
        with evaluating(self.model):
            return self.model(
                encoder_outputs=self._output(last_hidden_state=source),
                attention_mask=mask,
                decoder_input_ids=ids,
                **arguments,
            )

    def _ban(self, logits: Tensor) -> Tensor:
        """Hides what the model's makers say must not be written: Marian's padding, for one."""
        if not self._banned:
            return logits
        return logits.index_fill(-1, torch.tensor(self._banned, device=logits.device), -torch.inf)


class MaskedNetwork:
    """A masked model: every position at once, each seen from both sides."""

    def __init__(self, model: PreTrainedModel, words: Vocabulary, infilling: Infilling) -> None:
        self.model = model
        self.words = words
        self.infilling = infilling
        mask = words.tokenizer.mask_token_id
        if mask is None:
            raise ModelError(
                f"the tokenizer has no mask token, and without one {type(model).__name__} has nothing to fill. "
                "Load the tokenizer that belongs to the model."
            )
        self.mask: int = mask
        self.mask_token: str = words.tokenizer.mask_token
        ids = {*words.tokenizer.all_special_ids, *range(len(words.tokenizer), self.vocabulary)}
        self.banned = sorted(id for id in ids if id < self.vocabulary)

    @property
    def device(self) -> torch.device:
        """Where the model's first parameter lives."""
        return _device(self.model)

    @property
    def dtype(self) -> torch.dtype:
        """The model's floating type."""
        return _dtype(self.model)

    @property
    def vocabulary(self) -> int:
        """How many logits the model returns."""
        return int(self.model.config.get_text_config().vocab_size)

    @property
    def context(self) -> int | None:
        """The longest text; RoBERTa and its kin number positions from behind the padding's id."""
        for name, module in self.model.named_modules():
            if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
                return int(module.num_embeddings) - int(module.padding_idx) - 1
        return _positions(self.model.config.get_text_config(), "n_positions")

    def predict(self, ids: Tensor) -> Tensor:
        """Logits `(rows, length, vocabulary)` of every position of `ids` `(rows, length)`, without padding."""
        with evaluating(self.model):
            logits: Tensor = self.model(input_ids=ids).logits
        return logits

    def logits(self, ids: Tensor) -> Tensor:
        """Refuses: a masked model has no probability of a text.

        Raises:
            ModelError: Always.
        """
        raise ModelError(
            f"{type(self.model).__name__} cannot score a text: it is not causal, and knows the chance of a token given "
            "those on both sides; these do not multiply to that of the text. Use fill, or a causal model such as GPT-2."
        )


Network = TransformersNetwork | Seq2SeqNetwork | MaskedNetwork


def adapt(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, infilling: Infilling | None
) -> tuple[Network, Vocabulary]:
    """Finds what kind of language model this is.

    Raises:
        TypeParameterError: If it is none, or `infilling` is given for a model that does not fill gaps.
        ModelError: If a masked model's tokenizer has no mask token.
    """
    masked = isinstance(model, PreTrainedModel) and _is_masked(model)
    if infilling is not None and not isinstance(infilling, Infilling):
        raise fail_type("infilling", "an Infilling", infilling)
    if infilling is not None and not masked:
        raise fail_type("infilling", "left out: only a masked model fills gaps", infilling)
    if masked:
        words = Vocabulary(tokenizer, model, whole=True)
        return MaskedNetwork(model, words, infilling or Infilling()), words
    if isinstance(model, PreTrainedModel) and _is_seq2seq(model):
        return Seq2SeqNetwork(model), Vocabulary(tokenizer, model, whole=True)
    return TransformersNetwork(model), Vocabulary(tokenizer, model)


def load_model(folder: Path, *, dtype: torch.dtype) -> PreTrainedModel:
    """Loads a causal, encoder-decoder or masked model, as its configuration says; see `_transformers_files`.

    Raises:
        ModelFileError: If a file cannot be read, or the tensors are not those that the configuration asks for.
    """
    with files.loading(folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        made_for = (config.architectures or [""])[0]
        causal_one = made_for in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
        masks = made_for.endswith(("ForMaskedLM", "ForPreTraining"))
    if config.is_encoder_decoder and not causal_one:
        return files.load_model(folder, dtype=dtype, kind=AutoModelForSeq2SeqLM)
    if masks and not causal_one and config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return files.load_model(folder, dtype=dtype, kind=AutoModelForMaskedLM, spare=_SPARE)
    return files.load_model(folder, dtype=dtype, kind=AutoModelForCausalLM)


def _is_seq2seq(model: PreTrainedModel) -> bool:
    return bool(
        getattr(model.config, "is_encoder_decoder", False)
        and model.can_generate()
        and model.main_input_name == "input_ids"  # others read sounds or pictures
    )


def _is_masked(model: PreTrainedModel) -> bool:
    names = set(MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()) - set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    both = getattr(model.config, "is_encoder_decoder", False) or getattr(model.config, "is_decoder", False)
    return not both and any(kind.__name__ in names for kind in type(model).__mro__)


def _device(model: PreTrainedModel) -> torch.device:
    device: torch.device = next(model.parameters()).device
    return device


def _dtype(model: PreTrainedModel) -> torch.dtype:
    dtype: torch.dtype = model.dtype
    return dtype


def _positions(config: Any, other: str) -> int | None:
    """The longest sequence by a configuration; T5's `n_positions` is no limit, for its positions are relative."""
    for name in ("max_position_embeddings", other):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _first(*values: Any) -> int | None:
    """The first setting that names a token."""
    for value in values:
        if value is not None:
            return int(value[0] if isinstance(value, list | tuple) else value)
    return None


def _gather(caches: list[Any], rows: list[int], width: int | None) -> DynamicCache:
    joined = DynamicCache()
    for index in range(len(caches[0].layers)):
        layers = [cache.layers[index] for cache in caches]
        keys = torch.cat([_widened(layers[row].keys, width) for row in rows])
        values = torch.cat([_widened(layers[row].values, width) for row in rows])
        joined.update(keys, values, index)
    return joined


def _widened(states: Tensor, width: int | None) -> Tensor:
    """States `(1, heads, slots, features)` with zeros behind them, up to a number of slots."""
    return states if width is None else nn.functional.pad(states, (0, 0, 0, width - states.shape[2]))
