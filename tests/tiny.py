"""Tiny random models of many architectures, and a tokenizer of bytes, for the tests of the text layer."""

import copy

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from aigc.text.packed.linear import PackedLinear, Weights, pack

# The types whose products this processor has packed kernels for: in others a row's bits may depend on its batch.
PACKED = [
    dtype
    for dtype in (torch.float32, torch.bfloat16)
    if isinstance(pack(Weights(torch.zeros(4, 4, dtype=dtype), None)), PackedLinear)
]
VOCABULARY = 258  # 256 bytes, begin, end
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
COMMON = {"vocab_size": VOCABULARY, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257}
ROPE = {**COMMON, **SIZES, "max_position_embeddings": 128, "tie_word_embeddings": False}

CONFIGS: dict[str, hf.PreTrainedConfig] = {
    "gpt2": hf.GPT2Config(**COMMON, n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "llama": hf.LlamaConfig(**ROPE, num_key_value_heads=2),
    "qwen3": hf.Qwen3Config(**ROPE, num_key_value_heads=2, head_dim=8),
    "mistral": hf.MistralConfig(**ROPE, num_key_value_heads=2, sliding_window=8),
    "gemma": hf.GemmaConfig(**ROPE, num_key_value_heads=1, head_dim=8),
    "gemma2": hf.Gemma2Config(**ROPE, num_key_value_heads=1, head_dim=8, sliding_window=8),
    "gemma3": hf.Gemma3TextConfig(**ROPE, num_key_value_heads=1, head_dim=8, sliding_window=8),
    "gpt_neox": hf.GPTNeoXConfig(**ROPE),
    "opt": hf.OPTConfig(
        **COMMON, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64, word_embed_proj_dim=32,
        max_position_embeddings=128,
    ),
    "phi": hf.PhiConfig(**ROPE),
    "bloom": hf.BloomConfig(**COMMON, hidden_size=32, n_layer=2, n_head=4),
    "mamba": hf.MambaConfig(**COMMON, hidden_size=32, num_hidden_layers=2, state_size=8),
}  # fmt: skip


def model(name: str, *, dtype: torch.dtype = torch.float32, vocabulary: int = VOCABULARY) -> hf.PreTrainedModel:
    """A random model, whose logits are spread enough for greedy texts to differ."""
    config = copy.deepcopy(CONFIGS[name])
    if vocabulary != VOCABULARY:
        config.vocab_size = vocabulary
        config.bos_token_id = config.eos_token_id = config.pad_token_id = None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = hf.AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for parameter in made.parameters():
                if parameter.ndim >= 2:
                    parameter.mul_(16.0)
    return made.to(dtype)


def tokenizer(*, begin: bool = False) -> hf.PreTrainedTokenizerFast:
    """Bytes as tokens: id b is byte b in the order of the byte alphabet; 256 begins and 257 ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = {letter: i for i, letter in enumerate(alphabet)} | {"<s>": 256, "</s>": 257}
    inner = Tokenizer(models.BPE(vocab=letters, merges=[]))
    inner.add_special_tokens(["<s>", "</s>"])
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    special = {"bos_token": "<s>"} if begin else {}
    return hf.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", **special)


WIDE = 261  # 256 bytes, begin, end, mask, padding, unknown
MASK = "<mask>"
_ENCODER = {
    "vocab_size": WIDE,
    "pad_token_id": 259,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "max_position_embeddings": 96,
}
_BOTH = {
    "vocab_size": WIDE, "pad_token_id": 259, "bos_token_id": 256, "eos_token_id": 257, "d_model": 32, "encoder_layers": 2,
    "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64, "max_position_embeddings": 96, "forced_eos_token_id": None,
}  # fmt: skip

SEQ2SEQ: dict[str, hf.PreTrainedConfig] = {
    "t5": hf.T5Config(
        vocab_size=WIDE, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, pad_token_id=259, eos_token_id=257,
        decoder_start_token_id=259,
    ),
    "bart": hf.BartConfig(**_BOTH, decoder_start_token_id=257, tie_word_embeddings=False),
    "marian": hf.MarianConfig(**_BOTH, decoder_start_token_id=259),
}  # fmt: skip

MASKED: dict[str, hf.PreTrainedConfig] = {
    "bert": hf.BertConfig(**_ENCODER, **SIZES),
    "roberta": hf.RobertaConfig(**_ENCODER | {"max_position_embeddings": 360}, **SIZES),
    "distilbert": hf.DistilBertConfig(
        vocab_size=WIDE, pad_token_id=259, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=96
    ),
}


def seq2seq(name: str, *, dtype: torch.dtype = torch.float32) -> hf.PreTrainedModel:
    """A random encoder-decoder model, whose logits depend on the source."""
    return _made(hf.AutoModelForSeq2SeqLM, SEQ2SEQ[name], dtype, 6.0)


def masked(name: str, *, dtype: torch.dtype = torch.float32) -> hf.PreTrainedModel:
    """A random masked model."""
    return _made(hf.AutoModelForMaskedLM, MASKED[name], dtype, 8.0)


def _made(kind: type, config: hf.PreTrainedConfig, dtype: torch.dtype, spread: float) -> hf.PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = kind.from_config(copy.deepcopy(config)).eval()
        with torch.no_grad():
            for parameter in made.parameters():
                if parameter.ndim >= 2:
                    parameter.mul_(spread)
    return made.to(dtype)


def closed_tokenizer(*, begin: bool = True, mask: str = MASK) -> hf.PreTrainedTokenizerFast:
    """Bytes as tokens, with a mask; it closes a text, and opens it too, as the tokenizers of encoders do."""
    inner = tokenizer().backend_tokenizer
    inner.add_special_tokens([mask, "<pad>", "<unk>"])
    around = "<s> $A </s>" if begin else "$A </s>"
    inner.post_processor = processors.TemplateProcessing(single=around, special_tokens=[("<s>", 256), ("</s>", 257)])
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", mask_token=mask, pad_token="<pad>", unk_token="<unk>"
    )
