"""Chains of many filters beside the one fused draw, and beside the same filters of transformers.

    python benchmarks/samplers.py [--quick]

Two threads, 8 rows of 151,936 logits in float32, histories of 500 tokens. Rows are Zipf-like, as a language model's are, or
normal of variance 9, where many tokens survive. Each run is a step of a sampler: filters, draw and the next state. The peer
does what `generate` does with its processors in the same order, softmax and multinomial; it has no penalty by frequency and
no top-n-sigma, and does without.

All runs of a kind of row take turns in one process; the figure is the best of all rounds, and ratios are compared. A
round is three calls in a row, so that one of them finds its code in the processor's cache, as in a loop of its own.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from aigc import sampling as s
from aigc.device import threads
from aigc.sampling import Noise, as_sampler, chain, explain

RESULTS = Path(__file__).parent / "results" / "samplers.json"
ROWS, VOCABULARY, HISTORY = 8, 151_936, 500
SHAPES = ("zipf", "normal9")
FUSED = chain(s.Temperature(0.8), s.TopK(50), s.TopP(0.95), s.MinP(0.02))
SIX = (s.TopK(50), s.Typical(0.95), s.TopP(0.95), s.MinP(0.02), s.Temperature(0.8), s.TopNSigma(3.0))
PENALTIES = (s.RepetitionPenalty(1.1), s.FrequencyPenalty(0.2, prompt=True))
CHAINS: dict[str, Any] = {
    "fused": FUSED,
    "six filters": chain(*SIX),
    "six filters and two penalties": chain(*PENALTIES, *SIX),
    "two penalties, fused": chain(*PENALTIES, FUSED),
}
ALONE: tuple[Any, ...] = (
    *PENALTIES, s.PresencePenalty(0.5, prompt=True), s.NoRepeatNGram(3), s.DRY(0.8, breakers=()), s.Temperature(0.8),
    s.TopK(50), s.TopP(0.95), s.MinP(0.02), s.Typical(0.95), s.Epsilon(0.0009), s.Eta(0.004), s.TopNSigma(3.0), s.TopH(0.4),
    s.TailFree(0.95), s.DynamicTemperature(0.5, 1.5), s.XTC(0.1, 0.5), s.Mirostat(5.0), s.LogitBias({7: 1.0}),
    s.Watermark(s.Temperature(0.8), key=bytes(16)), s.Watermark(FUSED, key=bytes(16)),
)  # fmt: skip


def logits(shape: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if shape == "zipf":
        rank = torch.stack([torch.randperm(VOCABULARY, generator=generator) for _ in range(ROWS)])
        return -2.2 * (rank + 1).float().log()
    return torch.randn(ROWS, VOCABULARY, generator=generator) * 3


def histories() -> Tensor:
    """Tokens as often as in a text: some many times, most once."""
    generator = torch.Generator().manual_seed(1)
    rank = torch.rand(ROWS, HISTORY, generator=generator).mul(-7.5).exp()  # from 1 down to 1/1800, evenly in logarithm
    return (1 / rank).long() * 83 % VOCABULARY


def ours(sampler: Any, x: Tensor, prompts: list[list[int]]) -> Callable[[], Any]:
    whole = as_sampler(sampler)
    noise, state = Noise.of(torch.arange(ROWS), 0), whole.init(prompts)
    for step in range(5):  # a watermark marks from its fifth token on
        _, state = whole.step(x, state, Noise.of(torch.arange(ROWS), step))
    return lambda: whole.step(x, state, noise)


def theirs(x: Tensor, ids: Tensor) -> Callable[[], Tensor]:
    processors = [
        RepetitionPenaltyLogitsProcessor(1.1),
        TopKLogitsWarper(50),
        TypicalLogitsWarper(0.95),
        TopPLogitsWarper(0.95),
        MinPLogitsWarper(0.02),
        TemperatureLogitsWarper(0.8),
    ]

    def run() -> Tensor:
        scores = x.to(copy=True, dtype=torch.float32)
        for process in processors:
            scores = process(ids, scores)
        return torch.multinomial(torch.softmax(scores, -1), 1)

    return run


def best(runs: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """The shortest time of each, in milliseconds, of rounds in turns: as many as fit in some seconds, but 5 at least."""
    times = {name: float("inf") for name in runs}
    for run in runs.values():
        run()
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 5 or time.perf_counter() < end:
        for name, run in runs.items():
            for _ in range(3):
                start = time.perf_counter()
                run()
                times[name] = min(times[name], time.perf_counter() - start)
        rounds += 1
    return {name: 1e3 * taken for name, taken in times.items()}


def measured(shape: str, seconds: float) -> list[dict[str, Any]]:
    x, ids = logits(shape), histories()
    samplers = CHAINS | {repr(one): one for one in ALONE}
    runs: dict[str, Callable[[], Any]] = {name: ours(sampler, x, ids.tolist()) for name, sampler in samplers.items()}
    taken = best({**runs, "transformers": theirs(x, ids)}, seconds)
    return [
        {"shape": shape, "run": name, "ms": round(ms, 3), "of_fused": round(ms / taken["fused"], 2)}
        for name, ms in taken.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds; nothing is saved")
    given = parser.parse_args()
    torch.zeros(2**22)  # a process that has had a model's memory need not ask for each array's anew
    print(explain(CHAINS["six filters and two penalties"]), "\n")
    table: list[dict[str, Any]] = []
    with threads(2):
        for shape in SHAPES:
            rows = measured(shape, 5 if given.quick else 60)
            for row in rows:
                print(f"{shape:9}{row['run']:75}{row['ms']:10.3f} ms{row['of_fused']:9.2f} of the fused draw", flush=True)
            table += rows
    if not given.quick:
        with_ = {"torch": torch.__version__, "transformers": transformers.__version__, "threads": 2}
        size = {"rows": ROWS, "vocabulary": VOCABULARY, "history": HISTORY, "machine": platform.machine()}
        RESULTS.write_text(json.dumps({"with": with_ | size, "runs": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
