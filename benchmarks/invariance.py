"""How many of 1,000 rows are not the same, to the bit, whoever shares the batch.

    python benchmarks/invariance.py [--rows 1000] [--dtypes bfloat16 float32 int8]

Each row is written alone, and again in a permuted batch of 2 to 32 rows whose prompts have other lengths; in a session;
and with speculation by lookup and by a draft. A row differs if a token or a bit of a log-probability does. The default
model, 24 tokens a row, prompts of up to 39 sentences, samplers of three kinds. A quarter of an hour on two cores.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import aigc
from aigc.sampling import MinP, Temperature, TopK, TopP, chain
from aigc.text import Completion, PromptLookup

RESULTS = Path(__file__).parent / "results" / "invariance.json"
PROMPTS = ["It was", "《春夜》\n", "Hello, how are you?", "The old man looked at the sea, and", "《江上》\n", "“Indeed,”"]
SAMPLERS = [chain(Temperature(0.8), TopP(0.95)), chain(Temperature(1.1), TopK(40)), chain(Temperature(1.0), MinP(0.05))]
NEW = 24

Row = tuple[str, int, Any]


def rows(count: int) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    repeats = torch.randint(1, 40, (count,), generator=generator).tolist()
    return [(PROMPTS[i % len(PROMPTS)] * repeats[i], 1000 + i, SAMPLERS[i % 3]) for i in range(count)]


def batches(count: int) -> list[list[int]]:
    """The rows in another order, cut into batches of 2 to 32."""
    generator = torch.Generator().manual_seed(1)
    order, cut = torch.randperm(count, generator=generator).tolist(), []
    while order:
        size = min(int(torch.randint(2, 33, (), generator=generator)), len(order))
        cut.append(order[:size])
        order = order[size:]
    return cut


def bits(completion: Completion) -> tuple[Any, ...]:
    return completion.tokens, completion.logprobs, completion.finish_reason


def write(generate: Callable[..., Any], given: list[Row], cut: list[list[int]], **how: Any) -> dict[int, tuple[Any, ...]]:
    found = {}
    for part in cut:
        prompts, seeds, samplers = zip(*(given[i] for i in part), strict=True)
        out = generate(prompts, max_new_tokens=NEW, sampler=samplers, seed=seeds, logprobs=True, **how)
        found |= dict(zip(part, map(bits, out), strict=True))
    return found


def count(gen: aigc.Generator, given: list[Row]) -> dict[str, int]:
    alone = write(gen.generate, given, [[i] for i in range(len(given))])
    cut = batches(len(given))
    found = {
        "batches of 2 to 32": write(gen.generate, given, cut),
        "speculation by lookup": write(gen.generate, given, cut, speculate=PromptLookup(ngram=1)),
        "speculation by a draft": write(gen.generate, given, cut, speculate=gen),
    }
    with gen.session() as session:
        found["a session"] = write(session.generate, given, cut)
    return {name: sum(other[i] != alone[i] for i in alone) for name, other in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32", "int8"])
    asked = parser.parse_args()
    given = rows(asked.rows)
    for dtype in asked.dtypes:
        gen = aigc.Generator.default(device="cpu", dtype=dtype)
        found = {"rows": len(given), **count(gen, given)}
        print(dtype, *(f"{name}: {value}" for name, value in found.items()), sep="   ", flush=True)
        before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps(before | {dtype: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
