"""What a constraint costs per token: aigc beside the engine's own mask and beside the processors of outlines.

    python benchmarks/constraints.py [--quick]

One thread, whose own time is measured, and no model: random logits, one row and eight, vocabularies of 10,000 tokens (those
of the default model) and of 150,000 (the same and made-up words). aigc's figure is a step of `Constrained` around
`Temperature(1.0)`, less a step of `Temperature(1.0)` on the same logits: mask, next state, and the way to an end. That of
the engine is llguidance's `consume_token` and `compute_bitmask` along the same tokens. outlines, where it is installed, is
timed along the same tokens too, with each of its two engines: what its processor does to logits that it may change. Medians
over all tokens of all texts.

Below that: what each engine takes to compile, and of random schemas how many it takes, and of ten random texts of each of
those how many are valid.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import aigc
from aigc.device import threads
from aigc.sampling import Constrained, Json, Noise, Regex, Temperature, as_sampler, bind, within
from aigc.sampling.constraints._engine import engine, lark
from aigc.sampling.constraints._lexicon import lexicon_of
from aigc.sampling.constraints._patterns import parsed, written

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import constraining

RESULTS = Path(__file__).parent / "results" / "constraints.json"
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 60},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "minItems": 1, "maxItems": 4},
        "mood": {"enum": ["calm", "glad", "cross"]},
    },
    "required": ["name", "age", "tags", "mood"],
    "additionalProperties": False,
}
PATTERN = r"[A-Z][a-z]{2,12} [0-9]{1,4}(, [A-Z][a-z]{2,12} [0-9]{1,4}){2,6}"
TASKS = {"schema": Json(PERSON), "pattern": Regex(PATTERN)}
LIMIT = 120


def words(size: int) -> constraining.Toy:
    """The default model's tokens, and made-up ones."""
    own = [text for text in aigc.Generator.default(device="cpu")._engine.words.spelling if text]
    r, letters = random.Random(0), b'abcdefghijklmnopqrstuvwxyzABCDEFGHIJ      {}",:0123456789'
    while len(own) < size - 1:
        own += [bytes(r.choices(letters, k=r.randint(2, 9))) for _ in range(size - 1 - len(own))]
        own = list(dict.fromkeys(own))
    return constraining.Toy(tuple(own[: size - 1]))


def logits(size: int, step: int, rows: int) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(step))


def timed(times: list[float], run: Callable[[], Any]) -> Any:
    start = time.thread_time()
    found = run()
    times.append(1e6 * (time.thread_time() - start))
    return found


def ours(tokenizer: Any, constraint: Any, rows: int, seeds: int) -> tuple[dict[str, float], list[list[int]]]:
    """Microseconds per step, and the texts of the first row."""
    constrained, plain, texts = [], [], []
    bound = bind(Constrained(Temperature(1.0), constraint), tokenizer)
    free = as_sampler(Temperature(1.0))
    for seed in range(seeds):
        sampler = within(bound, [LIMIT] * rows)
        state, other = sampler.init([[0]] * rows), free.init([[0]] * rows)
        text: list[int] = []
        for step in range(LIMIT):
            noise, x = Noise.of(torch.arange(rows) + 1000 * seed, step), logits(tokenizer.size, step + 1000 * seed, rows)
            draw, state = timed(constrained, lambda at=sampler, s=state, n=noise, x=x: at.step(x, s, n))
            _, other = timed(plain, lambda s=other, n=noise, x=x: free.step(x, s, n))
            if int(draw.token[0]) in tokenizer.ends:
                break
            text.append(int(draw.token[0]))
        texts.append(text)
    step, less = statistics.median(constrained), statistics.median(plain)
    return {"step_us": step, "plain_us": less, "per_token_us": (step - less) / rows}, texts


def engines_own(tokenizer: Any, constraint: Any, texts: list[list[int]]) -> float:
    """Microseconds of consume and mask per token."""
    times: list[float] = []
    start = engine().LLMatcher(lexicon_of(tokenizer).whole, grammar(constraint), log_level=0)
    for seed, text in enumerate(texts):
        matcher = start.deep_copy()
        matcher.compute_bitmask()
        for step, token in enumerate(text):
            logits(tokenizer.size, step + 1000 * seed, 1)  # as between the steps of the others: caches are not left warm
            timed(times, lambda m=matcher, t=token: (m.consume_token(t), m.compute_bitmask()))
    return statistics.median(times)


def grammar(constraint: Any) -> str:
    if isinstance(constraint, Json):
        return lark("json", constraint.text)
    return lark("regex", written(parsed(constraint.pattern)))


def outlines_vocabulary(tokenizer: Any) -> Any:
    from outlines_core import Vocabulary

    spelt: dict[bytes, list[int]] = {}
    for id, text in enumerate(tokenizer.spelling):
        if text:
            spelt.setdefault(text, []).append(id)
    return Vocabulary(next(iter(tokenizer.ends)), spelt)


def outlines_pattern(constraint: Any) -> str:
    from outlines_core.json_schema import build_regex_from_schema

    return build_regex_from_schema(constraint.text, r"") if isinstance(constraint, Json) else constraint.pattern


def peers(tokenizer: Any, constraint: Any) -> Iterator[tuple[str, float, Any]]:
    """Name, seconds to compile, and a processor of logits, of what is installed of outlines."""
    try:
        from outlines.backends.llguidance import LLGuidanceLogitsProcessor
        from outlines.backends.outlines_core import OutlinesCoreLogitsProcessor
        from outlines_core import Index
    except ImportError:
        return
    vocabulary = outlines_vocabulary(tokenizer)
    start = time.perf_counter()
    index = Index(outlines_pattern(constraint), vocabulary)
    yield "outlines, outlines-core", time.perf_counter() - start, OutlinesCoreLogitsProcessor(index, "torch")
    start = time.perf_counter()
    made = LLGuidanceLogitsProcessor(grammar(constraint), lexicon_of(tokenizer).whole, "torch")
    yield "outlines, llguidance", time.perf_counter() - start, made


def peer_cost(processor: Any, tokenizer: Any, texts: list[list[int]], rows: int) -> float:
    """Microseconds per token of a processor along the texts."""
    times: list[float] = []
    for seed, text in enumerate(texts):
        processor.reset()
        ids = torch.zeros(rows, 1, dtype=torch.int64)
        for step, token in enumerate(text):
            x = logits(tokenizer.size, step + 1000 * seed, rows)
            timed(times, lambda i=ids, x=x: processor.process_logits(i, x))
            ids = torch.cat([ids, torch.full((rows, 1), token)], 1)
    return statistics.median(times) / rows


def compile_cost(tokenizer: Any, constraint: Any) -> dict[str, float]:
    """Milliseconds until the first mask; with the tokenizer known, and with the way to an end."""
    lexicon, times = lexicon_of(tokenizer), []
    lexicon.whole, lexicon.small  # noqa: B018  # once per tokenizer
    for _ in range(5):
        timed(times, lambda: within(bind(Constrained(Temperature(1.0), constraint), tokenizer), [LIMIT]).init([[0]]))
    mask: list[float] = []
    for _ in range(5):
        timed(mask, lambda: engine().LLMatcher(lexicon.whole, grammar(constraint), log_level=0).compute_bitmask())
    return {"aigc_ms": statistics.median(times) / 1e3, "llguidance_ms": statistics.median(mask) / 1e3}


def coverage(count: int) -> dict[str, dict[str, int]]:
    """Of random schemas: how many an engine compiles, and how many of ten random texts of each of those are valid."""
    import jsonschema

    tokenizer, found = constraining.BYTES, {}
    schemas = [constraining.whole(constraining.schema(random.Random(seed))) for seed in range(count)]
    for name, texts in (("llguidance", _our_texts), ("outlines-core", _core_texts)):
        counts = {"schemas": count, "compiled": 0, "texts": 0, "valid": 0}
        for schema in schemas:
            try:
                made = texts(tokenizer, schema)
            except Exception:  # whatever an engine raises says that it does not compile
                continue
            counts["compiled"] += 1
            for text in made:
                counts["texts"] += 1
                try:
                    jsonschema.validate(json.loads(text), schema)
                    counts["valid"] += 1
                except (ValueError, jsonschema.ValidationError):
                    pass
        found[name] = counts
    return found


def _our_texts(tokenizer: Any, schema: Any) -> list[str]:
    made = Constrained(Temperature(1.0), Json(schema))
    return [each.text for each in constraining.write(made, tokenizer, limits=[300] * 10, seeds=range(10))]


def _core_texts(tokenizer: Any, schema: Any) -> list[str]:
    """Walks of outlines-core's automaton, as far as 300 tokens; one that is not at its end is not counted."""
    from outlines_core import Guide, Index

    index, r, texts = Index(outlines_pattern(Json(schema)), outlines_vocabulary(tokenizer)), random.Random(0), []
    for _ in range(10):
        guide, text = Guide(index), b""
        for _ in range(300):
            token = r.choice(guide.get_tokens())
            if token in tokenizer.ends:
                texts.append(text.decode())
                break
            text += tokenizer.spelling[token]
            guide.advance(token)
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one text each and few schemas; nothing is saved")
    quick = parser.parse_args().quick
    table: list[dict[str, Any]] = []
    with threads(1):
        for size in (10_000, 150_000):
            tokenizer = words(size)
            for name, constraint in TASKS.items():
                costs = compile_cost(tokenizer, constraint)
                print(f"\n{size:,} tokens, {name}: compiled in {costs['aigc_ms']:.1f} ms")
                print(f"  llguidance: compiled in {costs['llguidance_ms']:.1f} ms")
                processors = list(peers(tokenizer, constraint))
                for peer, seconds, _ in processors:
                    costs[f"{peer}_ms"] = 1e3 * seconds
                    print(f"  {peer}: compiled in {1e3 * seconds:.1f} ms")
                for rows in (1, 8):
                    cell, texts = ours(tokenizer, constraint, rows, 1 if quick else 5)
                    cell |= {"llguidance_us": engines_own(tokenizer, constraint, texts)}
                    cell |= {f"{peer}_us": peer_cost(made, tokenizer, texts, rows) for peer, _, made in processors}
                    table.append({"vocabulary": size, "task": name, "rows": rows, **costs, **cell})
                    shown = ", ".join(f"{key.removesuffix('_us')} {value:.0f}" for key, value in cell.items())
                    print(f"  {rows} rows, microseconds: {shown}", flush=True)
        covered = coverage(20 if quick else 200)
    print(covered)
    if not quick:
        head = {"torch": torch.__version__, "threads": 1, "machine": platform.machine()}
        RESULTS.write_text(json.dumps({"with": head, "cells": table, "coverage": covered}, indent=1) + "\n")


if __name__ == "__main__":
    main()
