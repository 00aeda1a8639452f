"""What a decode loop costs beyond the model's own forwards: aigc and transformers, per token and per call.

    python benchmarks/overhead.py

A tiny Llama (2 layers of 64, 1,000 tokens), batch 1, float32, one thread, so that the forward is cheap and the loop is
what one sees. The floor is the bare forward loop of each library's cache: greedy argmax, nothing else.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.cache_utils import DynamicCache

import aigc
from aigc.device import threads
from aigc.sampling import Greedy, MinP, Temperature, TopK, TopP, chain

RESULTS = Path(__file__).parent / "results" / "overhead.json"
VOCABULARY, PROMPT, SHORT, LONG, ROUNDS = 1000, 8, 8, 136, 15


def tiny() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=512,
            bos_token_id=0,
            eos_token_id=None,
        )
        model = LlamaForCausalLM(config).eval()
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return model, PreTrainedTokenizerFast(tokenizer_object=words)


def seconds(run: Callable[[int], object]) -> tuple[float, float]:
    """Seconds per token and per call, from runs of two lengths, the median of several rounds."""
    run(SHORT), run(LONG)
    short, long = [], []
    for _ in range(ROUNDS):
        for length, times in ((SHORT, short), (LONG, long)):
            start = time.perf_counter()
            run(length)
            times.append(time.perf_counter() - start)
    token = (median(long) - median(short)) / (LONG - SHORT)
    return token, median(short) - SHORT * token


@torch.inference_mode()
def bare(model: LlamaForCausalLM, ids: torch.Tensor, length: int) -> torch.Tensor:
    """The forward loop and an argmax: the floor."""
    cache = DynamicCache(config=model.config)
    for _ in range(length):
        logits = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        ids = logits[:, -1].argmax(-1, keepdim=True)
    return ids


def main() -> None:
    model, tokenizer = tiny()
    gen = aigc.Generator(model, tokenizer)
    prompt = " ".join(f"w{i}" for i in range(1, PROMPT + 1))
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    peer = {"do_sample": True, "top_k": 50, "top_p": 0.9, "min_p": 0.05}
    filters = chain(Temperature(1.0), TopK(50), TopP(0.9), MinP(0.05))

    def hugging(length: int, **arguments: object) -> object:
        mask = torch.ones_like(ids)
        return model.generate(ids, attention_mask=mask, max_new_tokens=length, pad_token_id=0, **arguments)

    runs: dict[str, Callable[[int], object]] = {
        "bare forward loop": lambda length: bare(model, ids, length),
        "transformers greedy": lambda length: hugging(length, do_sample=False),
        "aigc greedy": lambda length: gen.generate(prompt, max_new_tokens=length, sampler=Greedy(), seed=0),
        "transformers k=50 p=0.9 min_p=0.05": lambda length: hugging(length, **peer),
        "aigc k=50 p=0.9 min_p=0.05": lambda length: gen.generate(prompt, max_new_tokens=length, sampler=filters, seed=0),
    }
    with threads(1), torch.random.fork_rng():
        measured = {name: seconds(run) for name, run in runs.items()}
    floor = measured["bare forward loop"][0]
    print(f"{'':38}{'us/token':>10}{'over bare':>11}{'ratio':>8}{'ms/call':>9}")
    table = {}
    for name, (token, call) in measured.items():
        over = 1e6 * (token - floor)
        table[name] = {
            "us_per_token": 1e6 * token,
            "us_over_bare": over,
            "ratio_to_bare": token / floor,
            "ms_per_call": 1e3 * call,
        }
        print(f"{name:38}{1e6 * token:10.0f}{over:+11.0f}{token / floor:8.2f}{1e3 * call:9.2f}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
