"""How often the paths agree: the specification, the torch path and the Triton path, row by row.

    python benchmarks/equality.py [--rows 4000]

Rows are those of `aigc.testing.strategies` and of the sampling benchmark, with filters of all kinds. Where two float sums
straddle the nucleus edge (exclusive mass within 2e-6 of p), the paths may differ: such rows are counted, and those that
do differ. Without a GPU, the Triton path is interpreted, and gets one row in 23.
"""

import argparse
import itertools
import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
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
TURN = 23  # of so many rows the interpreter gets one; no multiple of it is a multiple of the cells below
KEYS = ("rows", "near_the_edge", "kept_differ", "tokens_differ", "differ_elsewhere")


def near_edge(x: Tensor, given_row: Parameters) -> bool:
    """Whether the nucleus edge comes near a float64 sum over the tokens larger than one of them."""
    if given_row.top_p is None or not x.amax().isfinite():
        return False
    t, k, p, off = given_row._replace(min_p=None).columns(x[None])
    z = reference.tempered(x[None], t.where(t > 0, 1))
    ordered, order = x[None].sort(descending=True)
    mass = (z.exp() * (x >= reference.threshold(x[None], z, k, p * 0 + 1, off))).gather(1, order)
    larger = (mass.cumsum(1) - mass) / mass.sum()
    first = torch.cat([torch.ones(1, 1, dtype=torch.bool), ordered[:, 1:] < ordered[:, :-1]], 1)  # of those that tie
    return bool(((larger - p).abs() <= EDGE)[first].any())


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
    cells = list(itertools.product((32_000, 50_257, 128_256, 262_144), (1, 4), (None, 50, 1000), (0.8, 1.5)))
    for i in range(count // 4):
        vocabulary, scale, k, t = cells[i % len(cells)]
        x = torch.randn(1, vocabulary, generator=generator) * scale
        p = float(torch.rand((), generator=generator)) * 0.98 + 0.01
        yield "vocabularies", x, {"temperature": t, "top_k": k, "top_p": p, "min_p": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    warnings.simplefilter("ignore", RuntimeWarning)  # of the interpreter's numbers, which wrap around
    counts: dict[str, Counter[str]] = {}
    turns: Counter[str] = Counter()
    for i, (kind, x, filters) in enumerate(drawn_rows(parser.parse_args().rows)):
        given_row = kernels.parameters((1,), **filters)
        start = random.counter(torch.tensor([i]), 0)
        spec, edge = reference.sample(x, given_row, start), near_edge(x[0], given_row)
        turns[kind] += 1
        paths: dict[str, Callable[[Tensor, Parameters, Tensor], Draw]] = {"torch": kernels.run}
        if torch.cuda.is_available() or turns[kind] % TURN == 1:
            paths["triton"] = triton
        for path, way in paths.items():
            draw = way(x, given_row, start)
            same = bool(draw.kept == spec.kept) and bool(draw.status == spec.status)
            same_token = bool(draw.token == spec.token) and torch.allclose(
                draw.logprob, spec.logprob, atol=1e-6, equal_nan=True
            )
            tally = counts.setdefault(f"{path}, {kind}", Counter(dict.fromkeys(KEYS, 0)))
            tally.update(rows=1, near_the_edge=edge, kept_differ=not same, tokens_differ=not (same and same_token))
            tally.update(differ_elsewhere=not (same and same_token) and not edge)
    for name, tally in counts.items():
        print(f"{name:22}", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in tally.items()))
    RESULTS.write_text(json.dumps(counts, indent=1) + "\n")


if __name__ == "__main__":
    main()
