"""One draw per row on a GPU: `aigc.kernels.sample` beside FlashInfer's samplers, both in CUDA graphs.

    python benchmarks/sampling_cuda.py [--vocabulary 128256]

Needs a GPU of compute capability 8.0 or more; FlashInfer (`pip install flashinfer-python`, 0.6) is left out if it is not
there. A graph holds 20 calls, and the figure is the median of its replays over 20: launches and gaps are in it, Python is
not. FlashInfer gets what its own documentation says for each setting, softmax included, with fixed seeds. The floor is
one read of the logits at the speed at which this GPU reads a gigabyte; logits that fit in its cache, up to 64 rows on an
H100, stay there over the calls, for both.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aigc import kernels

RESULTS = Path(__file__).parent / "results" / "sampling_cuda.json"
BATCHES = (1, 8, 64, 128, 512)
SHAPES = ("zipf", "normal", "normal16")
SETTINGS: dict[str, dict[str, float]] = {
    "k": {"top_k": 50},
    "p": {"top_p": 0.9},
    "k+p": {"top_k": 50, "top_p": 0.9},
    "temperature": {"temperature": 0.8},
    "greedy": {"temperature": 0},
}
CALLS = 20


def logits(rows: int, vocabulary: int, shape: str) -> Tensor:
    generator = torch.Generator("cuda").manual_seed(vocabulary + rows)
    x = torch.randn(rows, vocabulary, generator=generator, device="cuda")
    if shape == "zipf":
        return -2.2 * (x.argsort(-1).argsort(-1) + 1).float().log()
    return x * (4 if shape == "normal16" else 1)


def graphed(call: Callable[[], Any], seconds: float) -> float:
    """Microseconds a call."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    times: list[float] = []
    while sum(times) < 1e3 * seconds or len(times) < 10:
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        graph.replay()
        after.record()
        after.synchronize()
        times.append(before.elapsed_time(after))
    return 1e3 * statistics.median(times) / CALLS


def bandwidth() -> float:
    """Bytes a microsecond that are read, or read and written: the better of a maximum and a sum, of a gigabyte."""
    x = torch.zeros(2**28, device="cuda")
    y = torch.empty_like(x)
    read, moved = graphed(lambda: x.amax(), 0.2), graphed(lambda: torch.add(x, 1.0, out=y), 0.2)
    return x.numel() * 4 * max(1 / read, 2 / moved)


def peer(x: Tensor, name: str) -> Callable[[], Any] | None:
    try:
        from flashinfer import sampling
    except ImportError:
        return None
    seeds = {"seed": 1, "offset": 0}
    if name == "k":
        return lambda: sampling.top_k_sampling_from_probs(sampling.softmax(x), 50, **seeds)
    if name == "p":
        return lambda: sampling.top_p_sampling_from_probs(sampling.softmax(x), 0.9, **seeds)
    if name == "k+p":
        return lambda: sampling.top_k_top_p_sampling_from_logits(x, 50, 0.9, filter_apply_order="top_k_first", **seeds)
    if name == "temperature":
        return lambda: sampling.sampling_from_logits(x / 0.8, **seeds)
    return lambda: x.argmax(-1)


def cell(rows: int, vocabulary: int, shape: str, name: str, speed: float, seconds: float) -> dict[str, Any]:
    x = logits(rows, vocabulary, shape)
    seeds, step = torch.arange(rows, device="cuda"), torch.zeros(rows, dtype=torch.int64, device="cuda")
    ours = graphed(lambda: kernels.sample(x, seed=seeds, step=step, **SETTINGS[name]), seconds)
    other = peer(x, name)
    theirs = None if other is None else graphed(other, seconds)
    floor = x.numel() * x.element_size() / speed
    return {
        "rows": rows,
        "vocabulary": vocabulary,
        "shape": shape,
        "setting": name,
        "aigc_us": round(ours, 2),
        "flashinfer_us": theirs and round(theirs, 2),
        "ratio": theirs and round(theirs / ours, 2),
        "floors": round(ours / floor, 1),
    }


def shown(c: dict[str, Any]) -> str:
    where = f"{c['vocabulary']:7,} x {c['rows']:3} {c['shape']:9}{c['setting']:12}"
    theirs = "" if c["ratio"] is None else f"FlashInfer {c['flashinfer_us']:8.1f} us, {c['ratio']:5.1f} times"
    return f"{where}{c['aigc_us']:8.1f} us  {c['floors']:7.1f} floors  {theirs}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[128_256])
    parser.add_argument("--seconds", type=float, default=0.2, help="per cell and contender")
    given = parser.parse_args()
    if reason := kernels.unavailable("cuda"):
        raise SystemExit(f"There is nothing to measure here. {reason}")
    speed = bandwidth()
    table = []
    print(f"{torch.cuda.get_device_name()}, {speed / 1e6:.2f} TB/s")
    for vocabulary in given.vocabulary:
        for rows in BATCHES:
            for shape in SHAPES:
                for name in SETTINGS:
                    c = cell(rows, vocabulary, shape, name, speed, given.seconds)
                    table.append(c)
                    print(shown(c), flush=True)
    head = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "terabytes_a_second": round(speed / 1e6, 2)}
    RESULTS.write_text(json.dumps({"with": head, "cells": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
