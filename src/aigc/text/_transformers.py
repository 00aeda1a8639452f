"""Causal models, tokenizers and caches of transformers behind small types; `_transformers_kinds.py` has other models."""

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from aigc._checks import fail_type, string
from aigc.errors import ModelError
from aigc.text.forwards import Said, SlotCache
from aigc.text.packed.source import Source
from aigc.text.slots import LayerSlots, Positions, causal_mask

__all__ = ["MISFIT", "Recommended", "TransformersNetwork", "Vocabulary", "evaluating", "first_line"]

# The name of the cache in forward and in its output: of newer transformers, of older, of older recurrent models.
_CACHE_NAMES = ("cache", "cache_params", "past_key_values")
# What a forward that does not fit a cache or a mask raises; used where we try one and have another.
MISFIT = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Recommended:
    """What a model's `generation_config.json` says outright; None where it is silent."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None


@dataclass(slots=True)
class _Kept:
    """What a `_SlotCache` and its layers share.

    None of them knows the cache: its memory comes back when it is let go of, and not when the collector of cycles next
    runs, which knows nothing of the memory of a GPU.
    """

    at: Positions
    slots: list[LayerSlots]


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers ships no types for its caches
    """One layer of a `_SlotCache`, as transformers' attention sees it."""

    is_sliding = False

    def __init__(self, kept: _Kept, index: int) -> None:
        super().__init__()
        self._kept, self._index = kept, index

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self._kept.slots[self._index].put(key_states, value_states, self._kept.at)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._kept.at.window, 0

    def get_seq_length(self) -> int:
        return self._kept.at.window - self._kept.at.write.shape[1]

    def get_max_length(self) -> int:
        return -1

    get_max_cache_shape = get_max_length  # its name in older transformers


class _SlotCache(Cache):  # type: ignore[misc]
    """Slots behind transformers' public cache interface."""

    def __init__(self, layers: int) -> None:
        at = Positions(torch.zeros(1, 1, dtype=torch.int64), window=1, room=1)
        self._kept = _Kept(at, [LayerSlots() for _ in range(layers)])
        super().__init__(layers=[_SlotLayer(self._kept, index) for index in range(layers)])

    @property
    def at(self) -> Positions:
        """Where the next forward writes."""
        return self._kept.at

    @at.setter
    def at(self, at: Positions) -> None:
        self._kept.at = at

    @property
    def slots(self) -> list[LayerSlots]:
        """One per layer, each of which may be put in the place of another."""
        return self._kept.slots


class TransformersNetwork:
    """A `PreTrainedModel` as a `Network`, which never changes the model itself."""

    def __init__(self, model: PreTrainedModel) -> None:
        if not isinstance(model, PreTrainedModel):
            raise fail_type("model", "a language model of transformers", model)
        if getattr(model.config, "is_encoder_decoder", False) or not model.can_generate():
            cure = "Load it with AutoModelForCausalLM, AutoModelForSeq2SeqLM or AutoModelForMaskedLM."
            condition = "a causal language model, an encoder-decoder or a masked language model, that reads text"
            raise fail_type("model", condition, type(model).__name__, cure)
        self.model = model
        self._accepts = _parameters(model)
        self._cache_name = next(name for name in _CACHE_NAMES if name in self._accepts or name == _CACHE_NAMES[-1])
        self._config = model.config.get_text_config(decoder=True)
        self._sliding = _sliding_windows(model)
        self._packed = Source(model, None if self._sliding is None else [window for _, window in self._sliding])

    @property
    def device(self) -> torch.device:
        """Where the model's first parameter lives."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def packed(self) -> Source:
        """The model's decoder with packed weights, where there is one."""
        return self._packed

    @property
    def dtype(self) -> torch.dtype:
        """The model's floating type."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def vocabulary(self) -> int:
        """How many logits the model returns."""
        return int(self._config.vocab_size)

    @property
    def context(self) -> int | None:
        """The longest sequence that the model's positions allow; None where they allow any."""
        for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
            value = getattr(self._config, name, None)
            if isinstance(value, int) and value > 0:
                return value
        return None

    @property
    def why_no_slots(self) -> str | None:
        """A sentence if slots cannot be tried at all, else None."""
        if "position_ids" not in self._accepts:
            return f"{type(self.model).__name__}.forward takes no position_ids"
        if getattr(self._config, "alibi", False):
            return f"{type(self.model).__name__} builds ALiBi from a two-dimensional mask"
        if self._sliding is None:
            return f"{type(self.model).__name__} keeps a past that is not keys and values alone"
        return None

    def weights(self) -> list[Tensor]:
        """The model's parameters and buffers as they are now: whoever holds these keeps their memory."""
        return [tensor.data for tensor in (*self.model.parameters(), *self.model.buffers())]

    def slot_cache(self) -> _SlotCache:
        """Makes an empty cache of slots."""
        return _SlotCache(len(self._sliding or ()))

    def plain_cache(self) -> Any:
        """Makes an empty `DynamicCache` for the model's layers."""
        return DynamicCache(config=self.model.config)

    def run_slots(self, ids: Tensor, cache: SlotCache, *, reveal: bool = False) -> Said:
        """What the model says of `ids` `(rows, queries)`, which are written at `cache.at`."""
        how: dict[str, Any] = {"output_hidden_states": True} if reveal else {}
        output = self._forward(ids, cache, attention_mask=self._masks(cache.at), position_ids=cache.at.write, **how)
        return self._said(output, reveal=reveal)

    def run_plain(self, ids: Tensor, cache: Any, mask: Tensor | None, *, reveal: bool = False) -> tuple[Said, Any]:
        """What the model says of `ids`, and the cache; `mask` is 0 on left padding."""
        arguments: dict[str, Any] = {"output_hidden_states": True} if reveal else {}
        if mask is not None:
            arguments["attention_mask"] = mask
            if "position_ids" in self._accepts:
                positions = (mask.cumsum(-1) - 1).clamp(min=0)
                arguments["position_ids"] = positions[:, -ids.shape[1] :]
        output = self._forward(ids, cache, **arguments)
        made = next((kept for name in _CACHE_NAMES if (kept := getattr(output, name, None)) is not None), cache)
        return self._said(output, reveal=reveal), made

    def select_plain(self, cache: Any, alive: Tensor) -> None:
        """Keeps some rows of a `DynamicCache`."""
        for layer in cache.layers:
            layer.batch_select_indices(alive)

    def logits(self, ids: Tensor) -> Tensor:
        """Logits `(rows, length, vocabulary)` at every position of `ids`, without a cache."""
        with evaluating(self.model):
            logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return logits

    def _forward(self, ids: Tensor, cache: Any, **arguments: Any) -> Any:
        if "logits_to_keep" in self._accepts:
            arguments["logits_to_keep"] = 1
        arguments[self._cache_name] = cache
        with evaluating(self.model):
            return self.model(input_ids=ids, use_cache=True, **arguments)

    def _said(self, output: Any, *, reveal: bool) -> Said:
        states = getattr(output, "hidden_states", None) if reveal else ()
        if reveal and not states:
            name, cure = type(self.model).__name__, "Use another search, or a model such as GPT-2, Llama or Qwen."
            raise ModelError(f"{name} does not return its hidden states, which ContrastiveSearch compares. {cure}")
        logits: Tensor = output.logits[:, -1]
        return Said(logits, states[-1] if states else logits.new_empty(0))

    def _masks(self, at: Positions) -> Tensor | dict[str, Tensor]:
        """One mask, or one per kind of attention for models that mix kinds: they take a dictionary."""
        kinds = dict(self._sliding or ())
        masks = {kind: causal_mask(at, dtype=self.dtype, sliding=window) for kind, window in kinds.items()}
        return masks if len(masks) > 1 else next(iter(masks.values()))


class Vocabulary:
    """A tokenizer, with the ids that begin and end a text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, *, whole: bool = False) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise fail_type("tokenizer", "a transformers tokenizer", tokenizer)
        self.tokenizer = tokenizer
        recommended = getattr(model, "generation_config", None)  # a masked model has none
        self.ends = _ids(
            getattr(recommended, "eos_token_id", None),
            getattr(model.config, "eos_token_id", None),
            tokenizer.eos_token_id,
        )
        self.begin: int | None = tokenizer.bos_token_id
        self._whole = whole  # an encoder reads a text with what closes it

    def encode(self, text: str) -> list[int]:
        """Ids of a text, with the special tokens that the tokenizer puts around one."""
        string("text", text)
        ids: list[int] = self.tokenizer(text, verbose=False)["input_ids"]
        if self._whole:
            return ids
        plain: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        # A tokenizer made for training may close the text, which is to go on: what it added behind is left out. And a
        # text that begins with the begin token, as a chat template writes it, gets no second one.
        while len(ids) > len(plain) and ids[-len(plain) :] != plain and ids[-1] in self.ends:
            ids = ids[:-1]
        return plain if self.begin is not None and plain[:1] == [self.begin] else ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, without special tokens."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def conversation(self, messages: Sequence[dict[str, str]]) -> tuple[str, list[int]]:
        """The text and ids that the model's own chat template makes of messages; jinja2 runs it in a sandbox."""
        if not self.tokenizer.chat_template:
            raise ModelError(
                "the tokenizer has no chat template, so this model cannot chat. "
                "Use generate with a prompt, or load a model that was trained on conversations."
            )
        text = self.written(messages, answer=True)
        return text, self.encode(text)

    def written(self, messages: Sequence[dict[str, str]], *, answer: bool) -> str:
        """Messages as the model's template writes them, with the beginning of an answer or without."""
        try:
            text: str = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=answer)
        except (*MISFIT, TemplateError) as error:
            raise ModelError(f"the model's chat template refuses these messages: {first_line(error)}") from error
        return text

    def recommended(self, model: PreTrainedModel) -> Recommended | None:
        """What `generation_config.json` recommends for sampling; None if it does not ask to sample."""
        config = getattr(model, "generation_config", None)
        says: dict[str, Any] = config.to_diff_dict() if config else {}
        if not says.get("do_sample"):
            return None
        return Recommended(says.get("temperature"), says.get("top_k"), says.get("top_p"), says.get("min_p"))


@contextlib.contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Runs a model without dropout, and gives a model in training back as it was."""
    if not model.training:
        yield
        return
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _parameters(model: PreTrainedModel) -> set[str]:
    """The names that forward takes; where it passes `**kwargs` on, those of the classes it wraps as well."""
    names: set[str] = set()
    for forward in (model.forward, *(vars(kind)["forward"] for kind in type(model).__mro__ if "forward" in vars(kind))):
        found = inspect.signature(forward).parameters
        names |= set(found)
        if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in found.values()):
            break
    return names


def _sliding_windows(model: PreTrainedModel) -> list[tuple[str, int | None]] | None:
    """The kind of each layer with its window, or None if a layer keeps more than keys and values."""
    kinds = set(getattr(model.config.get_text_config(decoder=True), "layer_types", None) or ())
    if kinds - {"full_attention", "sliding_attention"}:
        return None
    layers = DynamicCache(config=model.config).layers
    windows: list[tuple[str, int | None]] = []
    for layer in layers:
        if type(layer) is DynamicLayer:
            windows.append(("full_attention", None))
        elif type(layer) is DynamicSlidingWindowLayer:
            windows.append(("sliding_attention", layer.sliding_window))
        else:
            return None
    return windows or None


def _ids(*values: int | list[int] | None) -> frozenset[int]:
    """The first of several settings that says something, as a set of ids."""
    for value in values:
        if value is not None:
            return frozenset([value] if isinstance(value, int) else value)
    return frozenset()


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"
