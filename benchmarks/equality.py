"""How often the paths agree: the specification, the torch path and the Triton path, row by row.

    python benchmarks/equality.py [--rows 4000]

Rows are those of `aigc.testing.strategies` and of the sampling benchmark, with filters of all kinds. Where two float sums
straddle the nucleus edge (exclusive mass within 2e-6 of p), the paths may differ: such rows are counted, and those that
do differ. Without a GPU, the Triton path is interpreted, and gets one row in twenty.
"""

import argparse
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from hypothesis import HealthCheck, Phase, given, settings
from torch import Tensor

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

from aigc import kernels, random
from aigc.kernels import Draw, Noise, Parameters, _triton, reference
from aigc.testing import strategies

RESULTS = Path(__file__).parent / "results" / "equality.json"
EDGE = 2e-6


def near_edge(x: Tensor, given_row: Parameters) -> bool:
    """Whether a float64 sum comes near the edge of the nucleus."""
    if given_row.top_p is None or not x.amax().isfinite():
        return False
    z = reference.tempered(x[None], torch.tensor(given_row.temperature or 1.0, dtype=torch.float64))
    _, k, _, _ = given_row.columns(x[None])
    off = torch.ones(1, 1, dtype=torch.float64)
    kept = x[None] >= reference.threshold(x[None], z, k, off, 0 * off)
    mass = (z.exp() * kept)[0].sort(descending=True).values
    exclusive = (mass.cumsum(0) - mass) / mass.sum()
    return bool(((exclusive - given_row.top_p).abs() <= EDGE).any())


def triton(x: Tensor, given_row: Parameters, start: Tensor) -> Draw:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    integers, reals = _triton.sample(x.to(device), given_row, Noise(start.to(device), 0, hashed=True))
    return Draw(integers[0].cpu(), reals[0].cpu(), integers[1].cpu(), reals[1].cpu(), integers[2].cpu())


def drawn_rows(count: int) -> Iterator[tuple[str, Tensor, dict[str, float | None]]]:
    """Rows of the strategies, then rows of the benchmark's shapes."""
    found: list[tuple[str, Tensor, dict[str, float | None]]] = []

    @settings(
        max_examples=count, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(
        strategies.logits(rows=1, bad=True, dtypes=[torch.float32, torch.bfloat16, torch.float16]),
        strategies.temperature(),
        strategies.top_k(),
        strategies.top_p(),
        strategies.min_p(),
    )
    def collect(x: Tensor, t: float | None, k: int | None, p: float | None, m: float | None) -> None:
        found.append(("strategies", x, {"temperature": t, "top_k": k, "top_p": p, "min_p": m}))

    collect()
    yield from found
    generator = torch.Generator().manual_seed(0)
    for i in range(count // 4):
        vocabulary = (32_000, 50_257, 128_256)[i % 3]
        x = torch.randn(1, vocabulary, generator=generator) * (1, 4)[i % 2]
        p = float(torch.rand((), generator=generator)) * 0.98 + 0.01
        yield "vocabularies", x, {"temperature": 0.8, "top_k": (None, 50, 1000)[i % 3], "top_p": p, "min_p": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    warnings.simplefilter("ignore", RuntimeWarning)  # of the interpreter's numbers, which wrap around
    counts: dict[str, Counter[str]] = {}
    for i, (kind, x, filters) in enumerate(drawn_rows(parser.parse_args().rows)):
        given_row = kernels.parameters((1,), **filters)
        start = random.counter(torch.tensor([i]), 0)
        spec, edge = reference.sample(x, given_row, start), near_edge(x[0], given_row)
        paths = {"torch": kernels.run} | ({"triton": triton} if i % 20 == 0 or torch.cuda.is_available() else {})
        for path, way in paths.items():
            draw = way(x, given_row, start)
            tally = counts.setdefault(f"{path}, {kind}", Counter(rows=0, near_the_edge=0, tokens_differ=0, kept_differ=0))
            tally["rows"] += 1
            tally["near_the_edge"] += edge
            tally["tokens_differ"] += int(draw.token != spec.token)
            tally["kept_differ"] += int(draw.kept != spec.kept)
            tally["differ_elsewhere"] += int((draw.token != spec.token or draw.kept != spec.kept) and not edge)
    for name, tally in counts.items():
        print(f"{name:22}", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in tally.items()))
    RESULTS.write_text(json.dumps(counts, indent=1) + "\n")


if __name__ == "__main__":
    main()
