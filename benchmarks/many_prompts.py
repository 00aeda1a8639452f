"""Many short prompts: memory, rows a second, and whether a run that was interrupted ends with the same texts.

    python benchmarks/many_prompts.py [--prompts 10000] [--tokens 16] [--tiny] [--save]

The same prompts run three times: through `generate`, which holds all results; through `generate_each`, which holds none;
and through `generate` with an interrupt halfway, and the rest with `resume=`. Memory is the process's peak resident size
over what it was before the call, each in a process of its own; `results` is what the completions themselves take.
"""

import argparse
import json
import multiprocessing
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from overhead import tiny

import aigc
from aigc.text import Completions, Progress

RESULTS = Path(__file__).parent / "results" / "many_prompts.json"
SENTENCE = "the sea was calm and a small ship came slowly in to land with no one on it at the end of day"


def prompts(count: int, words: list[str]) -> list[str]:
    """Prompts of 3 to 14 words, no two neighbours alike in length."""
    return [" ".join(words[(i * i + 7 * j) % len(words)] for j in range(3 + 5 * i % 12)) for i in range(count)]


def memory(field: str) -> int:
    """VmRSS or VmHWM, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def generator(small: bool) -> tuple[aigc.Generator, list[str]]:
    return (
        (aigc.Generator(*tiny()), [f"w{i}" for i in range(1, 40)])
        if small
        else (aigc.Generator.default(), SENTENCE.split(" "))
    )


def measure(how: str, count: int, tokens: int, small: bool, out: Any) -> None:
    """Runs in a process of its own, so that the peak is that of one call."""
    gen, words = generator(small)
    texts, arguments = prompts(count, words), {"max_new_tokens": tokens, "seed": 0, "progress": False}
    gen.generate(texts[:64], **arguments)  # what is allocated once: the plan, kernels, the allocator's own pools
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start, held = memory("VmRSS"), time.perf_counter(), 0
    if how == "generate":
        completions = gen.generate(texts, **arguments)
    else:
        for _ in gen.generate_each(iter(texts), **arguments):
            pass
    seconds, peak = time.perf_counter() - start, memory("VmHWM") - before
    if how == "generate":
        held = size(completions)
    out.put({"seconds": seconds, "rows_per_second": count / seconds, "peak_mib": peak / 2**20, "results_mib": held / 2**20})


def size(out: Completions) -> int:
    """Bytes of the completions and all that they hold, each object counted once."""
    held: dict[int, int] = {}
    for c in out:
        for thing in (c, c.text, c.tokens, c.pieces, c.seed, *c.tokens, *c.pieces):
            held[id(thing)] = sys.getsizeof(thing)
    return sum(held.values())


def interrupted(count: int, tokens: int, small: bool) -> dict[str, bool | int]:
    """Interrupts one run halfway, goes on, and compares with a run that nothing disturbed."""
    gen, words = generator(small)
    texts, arguments = prompts(count, words), {"max_new_tokens": tokens, "seed": 0}

    def halfway(progress: Progress) -> None:
        if progress.done >= count // 2:
            raise KeyboardInterrupt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        partial = gen.generate(texts, **arguments, progress=halfway)
    resumed = gen.generate(texts, **arguments, resume=partial)
    whole = gen.generate(texts, **arguments)
    different = sum(a.tokens != b.tokens for a, b in zip(whole, resumed, strict=True))
    ordered = [c.prompt for c in whole] == texts
    assert isinstance(resumed, Completions)
    return {"finished_before": count - len(partial.unfinished), "texts_that_differ": different, "order_kept": ordered}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--tiny", action="store_true", help="an untrained Llama of two layers instead of the default model")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    given = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    table: dict[str, Any] = {"prompts": given.prompts, "tokens": given.tokens, "threads": torch.get_num_threads()}
    print(f"{given.prompts:,} prompts, {given.tokens} tokens each\n{'':16}{'rows/s':>8}{'peak MiB':>10}{'results MiB':>13}")
    for how in ("generate", "generate_each"):
        out = spawn.SimpleQueue()
        process = spawn.Process(target=measure, args=(how, given.prompts, given.tokens, given.tiny, out))
        process.start()
        row = table[how] = out.get()
        process.join()
        print(f"{how:16}{row['rows_per_second']:8.1f}{row['peak_mib']:10.1f}{row['results_mib']:13.1f}")
    table["interrupted"] = interrupted(given.prompts, given.tokens, given.tiny)
    print("interrupted:", ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in table["interrupted"].items()))
    if given.save:
        RESULTS.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
