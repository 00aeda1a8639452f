"""One draw per row from logits: `aigc.kernels.sample` beside the filters of transformers and `torch.multinomial`.

    python benchmarks/sampling.py [--quick]

Two threads. Rows are Zipf-like, as a language model's are (a nucleus of a few tokens), or standard normal, or normal of
variance 16. The peer does what `generate` does: logits to float32, the processors in their order, softmax, multinomial;
for greedy a copy and argmax. All of a cell's runs take turns in one process; the figure is the ratio of medians. A third
column has the time as a multiple of one `torch.softmax` over the same logits, a fourth the most memory that numpy held for
aigc at a time, as a share of the logits' own; half precision is copied to float32 in addition, half of the rows at a time.

A turn is three calls in a row, so that the median call finds its code in the processor's cache, as in a loop of its own.
"""

import argparse
import json
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from aigc import kernels
from aigc.device import threads

RESULTS = Path(__file__).parent / "results" / "sampling.json"
VOCABULARIES = (32_000, 50_257, 128_256, 151_936, 262_144)
BATCHES = (1, 8, 64)
SHAPES = ("zipf", "normal", "normal16")
SETTINGS: dict[str, dict[str, float]] = {
    "k": {"top_k": 50},
    "p": {"top_p": 0.9},
    "k+p": {"top_k": 50, "top_p": 0.9},
    "k+p+min-p": {"top_k": 50, "top_p": 0.9, "min_p": 0.05},
    "temperature": {"temperature": 0.8},
    "greedy": {"temperature": 0},
}
WARPERS = {
    "temperature": TemperatureLogitsWarper,
    "top_k": TopKLogitsWarper,
    "top_p": TopPLogitsWarper,
    "min_p": MinPLogitsWarper,
}


def logits(rows: int, vocab: int, shape: str, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(vocab + rows)
    if shape == "zipf":
        rank = torch.stack([torch.randperm(vocab, generator=generator) for _ in range(rows)])
        return (-2.2 * (rank + 1).float().log()).to(dtype)
    return (torch.randn(rows, vocab, generator=generator) * (4 if shape == "normal16" else 1)).to(dtype)


def transformers_chain(x: Tensor, setting: dict[str, float]) -> Callable[[], Tensor]:
    if setting == {"temperature": 0}:
        return lambda: x.to(copy=True, dtype=torch.float32).argmax(-1)
    warpers = [WARPERS[name](value) for name, value in setting.items()]

    def run() -> Tensor:
        scores = x.to(copy=True, dtype=torch.float32)
        for warp in warpers:
            scores = warp(None, scores)
        return torch.multinomial(torch.softmax(scores, -1), 1)

    return run


def medians(runs: list[Callable[[], Any]], seconds: float) -> list[float]:
    """Medians of rounds in turns, as many as fit in some seconds, but 5 at least."""
    times: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()
    end = time.perf_counter() + seconds
    while len(times[0]) < 5 or (time.perf_counter() < end and len(times[0]) < 400):
        for run, taken in zip(runs, times, strict=True):
            for _ in range(3):
                start = time.perf_counter()
                run()
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def memory(run: Callable[[], Any]) -> int:
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def cell(rows: int, vocab: int, shape: str, dtype: torch.dtype, name: str, x: Tensor, seconds: float) -> dict[str, Any]:
    seeds, setting = torch.arange(rows), SETTINGS[name]
    theirs, ours, softmax = medians(
        [
            transformers_chain(x, setting),
            lambda: kernels.sample(x, seed=seeds, step=0, **setting),
            lambda: torch.softmax(x, -1),
        ],
        seconds,
    )
    return {
        "memory": round(
            memory(lambda: kernels.sample(x, seed=seeds, step=0, **setting)) / (x.numel() * x.element_size()), 2
        ),
        "dtype": str(dtype).removeprefix("torch."),
        "vocab": vocab,
        "rows": rows,
        "shape": shape,
        "setting": name,
        "transformers_ms": round(1e3 * theirs, 4),
        "aigc_ms": round(1e3 * ours, 4),
        "softmax_ms": round(1e3 * softmax, 4),
        "ratio": round(theirs / ours, 2),
        "softmaxes": round(ours / softmax, 2),
    }


def summary(table: list[dict[str, Any]]) -> None:
    """Prints the ratios of each setting and kind of row: least, median, most, over vocabularies."""
    print(
        f"\n{'dtype':9} {'rows':>4} {'shape':9} {'setting':12}", "  least  median    most   median softmaxes   most memory"
    )
    keys = sorted({(c["dtype"], c["rows"], c["shape"], c["setting"]) for c in table}, key=str)
    for dtype, rows, shape, setting in keys:
        cells = [c for c in table if (c["dtype"], c["rows"], c["shape"], c["setting"]) == (dtype, rows, shape, setting)]
        ratios = sorted(c["ratio"] for c in cells)
        multiple = statistics.median(c["softmaxes"] for c in cells)
        print(
            f"{dtype:9} {rows:4} {shape:9} {setting:12} {ratios[0]:7.1f} {statistics.median(ratios):7.1f} {ratios[-1]:7.1f}"
            f"{multiple:10.1f}{max(c['memory'] for c in cells):16.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="three vocabularies in float32, fewer rounds; nothing is saved"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="per cell")
    given = parser.parse_args()
    vocabularies = (32_000, 128_256, 151_936) if given.quick else VOCABULARIES
    dtypes = (torch.float32,) if given.quick else (torch.float32, torch.bfloat16)
    table: list[dict[str, Any]] = []
    torch.zeros(2**22)  # a process that has had a model's memory need not ask for each array's anew
    with threads(2):
        for dtype in dtypes:
            for vocab in vocabularies:
                for rows in BATCHES:
                    for shape in SHAPES:
                        x = logits(rows, vocab, shape, dtype)
                        for name in SETTINGS:
                            table.append(cell(rows, vocab, shape, dtype, name, x, 0.2 if given.quick else given.seconds))
                            c = table[-1]
                            print(
                                f"{c['dtype']:9}{vocab:8,} x {rows:2} {shape:9}{name:12}{c['transformers_ms']:10.3f} ms"
                                f"{c['aigc_ms']:9.3f} ms  {c['ratio']:6.1f} times   {c['softmaxes']:5.1f} softmaxes",
                                flush=True,
                            )
    summary(table)
    if not given.quick:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        head = {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": 2,
            "machine": platform.machine(),
        }
        RESULTS.write_text(json.dumps({"with": head, "cells": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
