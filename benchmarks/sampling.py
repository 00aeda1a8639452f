"""One draw per row from logits: `aigc.kernels.sample` beside the filters of transformers and `torch.multinomial`.

    python benchmarks/sampling.py

One thread. Rows fall off like those of a language model (a nucleus of some tokens) or are flat (standard normal), which is
the case that a short list does not settle. The two are timed in turns; the figure is the ratio of the best times.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
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
SETTINGS: dict[str, dict[str, float]] = {
    "temperature": {"temperature": 0.8},
    "p=0.9": {"top_p": 0.9},
    "k=50": {"top_k": 50},
    "k=50 p=0.9 min_p=0.05": {"top_k": 50, "top_p": 0.9, "min_p": 0.05},
}
WARPERS = {
    "temperature": TemperatureLogitsWarper,
    "top_k": TopKLogitsWarper,
    "top_p": TopPLogitsWarper,
    "min_p": MinPLogitsWarper,
}


def logits(rows: int, vocab: int, shape: str) -> Tensor:
    generator = torch.Generator().manual_seed(vocab + rows)
    if shape == "flat":
        return torch.randn(rows, vocab, generator=generator)
    rank = torch.stack([torch.randperm(vocab, generator=generator) for _ in range(rows)])
    return -2.2 * (rank + 1).float().log()


def peer(x: Tensor, setting: dict[str, float], generator: torch.Generator) -> Tensor:
    for name, value in setting.items():
        x = WARPERS[name](value)(None, x)
    return torch.multinomial(x.softmax(-1), 1, generator=generator)


def best(runs: list[Callable[[], object]], *, rounds: int = 25) -> list[float]:
    """The best of some rounds of each, in turns."""
    times = [float("inf")] * len(runs)
    for _ in range(rounds):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            run()
            times[i] = min(times[i], time.perf_counter() - start)
    return times


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    table = []
    print(f"{'rows x vocabulary':>18} {'shape':>7}  {'setting':24}{'transformers':>14}{'aigc':>10}{'ratio':>8}")
    with threads(1):
        for rows, vocab in ((1, 10_000), (1, 128_256), (8, 128_256), (1, 262_144)):
            for shape in ("peaked", "flat"):
                x, seeds = logits(rows, vocab, shape), torch.arange(rows)
                for name, setting in SETTINGS.items():
                    theirs, ours = best(
                        [
                            lambda x=x, setting=setting: peer(x, setting, generator),
                            lambda x=x, setting=setting, seeds=seeds: kernels.sample(x, seed=seeds, step=0, **setting),
                        ]
                    )
                    row = {"rows": rows, "vocab": vocab, "shape": shape, "setting": name, "transformers_ms": 1e3 * theirs}
                    table.append(row | {"aigc_ms": 1e3 * ours, "ratio": theirs / ours})
                    size = f"{rows} x {vocab:,}"
                    print(
                        f"{size:>18} {shape:>7}  {name:24}{1e3 * theirs:11.3f} ms{1e3 * ours:7.3f} ms{theirs / ours:8.1f}"
                    )
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
