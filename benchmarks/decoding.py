"""Tokens a second of whole calls: aigc beside transformers, a bare forward loop, CTranslate2 and llama.cpp.

    python benchmarks/decoding.py [--models gpt2 llama-124m qwen3-0.6b llama-1b] [--prompts 16 512] [--batches 1 5 32]

Two threads, 64 new tokens, temperature 0.8, top-k 50, top-p 0.9; random weights, no end of text. All of a cell's runs
take turns, and the best of some rounds counts, as neighbours on the machine only ever make it slower. CTranslate2 and
llama.cpp have processes of their own, as their threads slow others down for good: in one process aigc fell by a third
once CTranslate2 had run. aigc reads and writes text; the others are given ids, and CTranslate2 its own tokens.
CTranslate2 and llama.cpp take part where `pip install ctranslate2 llama-cpp-python gguf` found them; llama.cpp in
batches of one. Then, for each model, the first token beside transformers' own, and how much longer the first call takes
than the second.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peers
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast, Qwen3Config

import aigc
from aigc.device import threads
from aigc.sampling import Temperature, TopK, TopP, chain

RESULTS = Path(__file__).parent / "results" / "decoding.json"
NEW = 64
SAMPLER = chain(Temperature(0.8), TopK(50), TopP(0.9))
NONE: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}
CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: GPT2Config(**NONE),
    "llama-124m": lambda: LlamaConfig(
        vocab_size=50_257, hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=1024, tie_word_embeddings=True, **NONE,
    ),
    "qwen3-0.6b": lambda: Qwen3Config(
        vocab_size=151_936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
        num_key_value_heads=8, head_dim=128, max_position_embeddings=2048, tie_word_embeddings=True, **NONE,
    ),
    "llama-1b": lambda: LlamaConfig(
        vocab_size=128_256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, head_dim=64, max_position_embeddings=2048, tie_word_embeddings=True, **NONE,
    ),
}  # fmt: skip


def build(name: str, device: str = "cpu") -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A model with random weights, and a tokenizer that has a word for each token."""
    config = CONFIGS[name]()
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(config.vocab_size)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return model, PreTrainedTokenizerFast(tokenizer_object=words)


def ids(rows: int, length: int, vocabulary: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(rows * length)
    return torch.randint(1, min(50_000, vocabulary), (rows, length), generator=generator).tolist()


def texts(prompts: list[list[int]]) -> list[str]:
    return [" ".join(f"w{i}" for i in prompt) for prompt in prompts]


def hugging(model: PreTrainedModel, prompts: list[list[int]], new: int, **arguments: Any) -> Callable[[], Any]:
    tensor = torch.tensor(prompts)

    def run() -> Any:
        return model.generate(
            tensor, attention_mask=torch.ones_like(tensor), max_new_tokens=new, do_sample=True, temperature=0.8, top_k=50,
            top_p=0.9, pad_token_id=0, **arguments,
        )  # fmt: skip

    return run


def ours(gen: aigc.Generator, prompts: list[list[int]], new: int) -> Callable[[], Any]:
    given = texts(prompts)
    return lambda: gen.generate(given, max_new_tokens=new, sampler=SAMPLER, seed=0)


@contextmanager
def generators(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Iterator[dict[str, aigc.Generator]]:
    """aigc in three types, of one folder."""
    with tempfile.TemporaryDirectory() as folder:
        aigc.Generator(model, tokenizer).save_pretrained(Path(folder) / "model")
        kinds = ("float32", "bfloat16", "int8")
        yield {f"aigc {kind}": aigc.Generator.from_pretrained(Path(folder) / "model", dtype=kind) for kind in kinds}


def runs(
    ways: dict[str, aigc.Generator], others: dict[str, peers.Peer], model: PreTrainedModel, half: PreTrainedModel,
    prompts: list[list[int]],
) -> dict[str, Callable[[], Any]]:  # fmt: skip
    """Everything that takes part in one cell."""
    found: dict[str, Callable[[], Any]] = {
        "transformers float32": hugging(model, prompts, NEW),
        "transformers bfloat16": hugging(half, prompts, NEW),
        "transformers bfloat16, static cache": hugging(half, prompts, NEW, cache_implementation="static"),
        "bare loop float32": lambda: peers.bare(model, prompts, NEW),
    }
    found |= {name: ours(gen, prompts, NEW) for name, gen in ways.items()}
    found |= {name: lambda peer=peer: peer(prompts, NEW) for name, peer in others.items() if len(prompts) <= peer.most}
    return found


def best(found: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """The best time of each, from rounds in turns for some seconds, two at least."""
    times: dict[str, list[float]] = {name: [] for name in found}
    end = time.perf_counter() + seconds
    while len(next(iter(times.values()))) < 2 or time.perf_counter() < end:
        for name, run in found.items():
            time.sleep(0.3)  # until the threads of the one before no longer look for work
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: min(taken) for name, taken in times.items()}


def first(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, gen: aigc.Generator) -> dict[str, float]:
    """Milliseconds to the first token, and what the first call costs beyond the second."""
    prompts = ids(1, 512, model.config.vocab_size)
    reading = best({"theirs": hugging(model, prompts, 1), "ours": ours(gen, prompts, 1)}, 5)
    fresh = aigc.Generator(model, tokenizer)
    call, taken = ours(fresh, ids(1, 16, model.config.vocab_size), NEW), []
    for _ in range(2):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return {
        "transformers_first_token_ms": round(1e3 * reading["theirs"], 1),
        "aigc_first_token_ms": round(1e3 * reading["ours"], 1),
        "first_call_over_second_s": round(taken[0] - taken[1], 2),
    }


def show(model: str, length: int, rows: int, measured: dict[str, float]) -> dict[str, Any]:
    base = measured["transformers float32"]
    print(f"\n{model}, {rows} x {length} tokens of prompt, {NEW} new")
    for name, taken in measured.items():
        print(f"  {name:38}{rows * NEW / taken:9.1f} tokens/s {base / taken:8.2f} times", flush=True)
    rates = {name: round(rows * NEW / taken, 1) for name, taken in measured.items()}
    return {"model": model, "prompt": length, "rows": rows, "tokens_per_second": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(CONFIGS), choices=list(CONFIGS))
    parser.add_argument("--prompts", nargs="+", type=int, default=[16, 512])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 5, 32])
    parser.add_argument("--seconds", type=float, default=20.0, help="per cell")
    given = parser.parse_args()
    cells: list[dict[str, Any]] = []
    starts: dict[str, Any] = {}
    with threads(2), torch.random.fork_rng():
        for name in given.models:
            model, tokenizer = build(name)
            half = build(name)[0].to(torch.bfloat16)
            with generators(model, tokenizer) as ways, peers.found(name, model, tokenizer) as others:
                for length in given.prompts:
                    for rows in given.batches:
                        prompts = ids(rows, length, model.config.vocab_size)
                        measured = best(runs(ways, others, model, half, prompts), given.seconds)
                        cells.append(show(name, length, rows, measured))
                starts[name] = first(model, tokenizer, ways["aigc bfloat16"])
                print(starts[name])
    save(cells, starts)


def save(cells: list[dict[str, Any]], starts: dict[str, Any]) -> None:
    """Writes results, beside those of other cells that were measured before."""
    head = {"torch": torch.__version__, "transformers": transformers.__version__, "machine": platform.machine()}
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cells": [], "first": {}}
    new = {(cell["model"], cell["prompt"], cell["rows"]) for cell in cells}
    kept = [cell for cell in before["cells"] if (cell["model"], cell["prompt"], cell["rows"]) not in new]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    table = {"with": head, "cells": [*kept, *cells], "first": before["first"] | starts}
    RESULTS.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
