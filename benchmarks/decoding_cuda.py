"""Tokens a second on a GPU: aigc, with CUDA graphs and without, beside `transformers.generate` with a static cache.

    python benchmarks/decoding_cuda.py [--batches 1 8 32] [--prompt 128] [--new 256]

A Llama of 1.2 billion random weights in bfloat16, temperature 0.8, top-k 50, top-p 0.9, no end of text; all contenders take
turns, and the best of some rounds counts. transformers compiles its step where the cache is static; that, and the plan of
aigc, is done in a round that is not timed. The first figure is tokens a second of whole calls: prompts, captures and text
included for aigc, prompts for transformers. The second is a step: what the last half of the tokens took, over their number.
The floor is one read of weights, keys and values at the speed at which this GPU reads a gigabyte.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import transformers
from decoding import SAMPLER, best, build, ids, texts
from sampling_cuda import bandwidth
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import aigc
from aigc import kernels
from aigc.text import graphs

RESULTS = Path(__file__).parent / "results" / "decoding_cuda.json"
MODEL = "llama-1b"
BASE = "transformers, static cache"

Run = Callable[[list[list[int]], int], Any]


def theirs(model: PreTrainedModel, **arguments: Any) -> Run:
    def run(prompts: list[list[int]], new: int) -> None:
        tensor = torch.tensor(prompts, device="cuda")
        model.generate(
            tensor, attention_mask=torch.ones_like(tensor), max_new_tokens=new, do_sample=True, temperature=0.8, top_k=50,
            top_p=0.9, pad_token_id=0, **arguments,
        )  # fmt: skip
        torch.cuda.synchronize()

    return run


def ours(gen: aigc.Generator) -> Run:
    return lambda prompts, new: gen.generate(texts(prompts), max_new_tokens=new, sampler=SAMPLER, seed=0)


def contenders(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> dict[str, Run]:
    graphed = aigc.Generator(model, tokenizer)
    print(graphed.plan)
    with mock.patch.object(graphs, "recorder", return_value=None):
        eager = aigc.Generator(model, tokenizer)
        print(eager.plan)
    return {
        "aigc": ours(graphed),
        "aigc without graphs": ours(eager),
        BASE: theirs(model, cache_implementation="static"),
        "transformers": theirs(model),
    }


def floor(model: PreTrainedModel, rows: int, length: int, speed: float) -> float:
    """Microseconds that a step takes at least, where rows hold so many tokens."""
    config = model.config
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    past = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * model.dtype.itemsize
    return (weights + rows * length * past) / speed


def cell(
    runs: dict[str, Run], model: PreTrainedModel, rows: int, length: int, new: int, speed: float, seconds: float
) -> dict[str, Any]:
    prompts = ids(rows, length, model.config.vocab_size)
    both = {
        (name, count): lambda run=run, count=count: run(prompts, count)
        for name, run in runs.items()
        for count in (new, new // 2)  # the longer first: a static cache that is long enough is not compiled for anew
    }
    for key, run in both.items():
        start = time.perf_counter()
        run()
        print(f"{rows} rows, {key[1]} tokens, {key[0]}: {time.perf_counter() - start:.1f} s the first time", flush=True)
    times = best(both, seconds)
    least = floor(model, rows, length + 3 * new // 4, speed)
    found: dict[str, Any] = {}
    for name in runs:
        step = 1e6 * (times[name, new] - times[name, new // 2]) / (new - new // 2)
        found[name] = {
            "tokens_per_second": round(rows * new / times[name, new], 1),
            "ratio": round(times[BASE, new] / times[name, new], 2),
            "step_us": round(step, 1),
            "share_of_floor": round(least / step, 3),
        }
    return {"rows": rows, "prompt": length, "new": new, "floor_us": round(least, 1), "found": found}


def shown(c: dict[str, Any]) -> str:
    head = f"\n{c['rows']} x {c['prompt']} tokens of prompt, {c['new']} new; floor {c['floor_us']:.0f} us a step"
    lines = [
        f"  {name:30}{f['tokens_per_second']:10.1f} tokens/s {f['ratio']:6.2f} times {f['step_us']:9.1f} us a step, "
        f"{100 * f['share_of_floor']:5.1f} % of the floor's speed"
        for name, f in c["found"].items()
    ]
    return "\n".join([head, *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=20.0, help="per cell")
    given = parser.parse_args()
    if reason := kernels.unavailable("cuda"):
        raise SystemExit(f"There is nothing to measure here. {reason}")
    model, tokenizer = build(MODEL, "cuda")
    model = model.to(torch.bfloat16)
    speed = bandwidth()
    print(f"{torch.cuda.get_device_name()}, {speed / 1e6:.2f} TB/s")
    runs, cells = contenders(model, tokenizer), []
    head = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "terabytes_a_second": round(speed / 1e6, 2),
    }
    for rows in given.batches:
        cells.append(cell(runs, model, rows, given.prompt, given.new, speed, given.seconds))
        print(shown(cells[-1]), flush=True)
        RESULTS.write_text(json.dumps({"with": head, "model": MODEL, "cells": cells}, indent=1) + "\n")


if __name__ == "__main__":
    main()
