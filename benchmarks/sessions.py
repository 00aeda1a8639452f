"""What speculation and sessions save: the same calls with and without, in turns, and whether the texts are the same.

    python benchmarks/sessions.py

Two threads. Speculation by lookup writes 100 tokens with the default model: greedily after a text that repeats itself, and
with temperature 0.8 after ordinary prose. The chat has 20 turns on a history of 2,000 tokens, 32 new tokens an answer, on a
Llama of 124 M with random weights: its text means nothing, and takes as long.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import decoding
from transformers import LlamaConfig

import aigc
from aigc.device import threads
from aigc.sampling import Greedy, Temperature, TopP, chain
from aigc.text import Completions, PromptLookup

RESULTS = Path(__file__).parent / "results" / "sessions.json"
COPY = "The rain fell upon the roof, and the wind blew over the sea. " * 4
PROSE = "It was late in the autumn when she came back to the house, and the garden was full of leaves."
ROUNDS = 7


def fastest(runs: dict[str, Callable[[], Any]]) -> tuple[dict[str, float], dict[str, Any]]:
    """The best time of each of some rounds, in turns, and what each returned last."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    results: dict[str, Any] = {}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            results[name] = run()
            times[name].append(time.perf_counter() - start)
    return {name: min(taken) for name, taken in times.items()}, results


def lookup(gen: aigc.Generator, prompt: str, rows: int, sampler: Any) -> dict[str, Any]:
    prompts = [prompt] * rows

    def write(speculate: PromptLookup | None) -> Completions:
        return gen.generate(prompts, max_new_tokens=100, sampler=sampler, seed=0, speculate=speculate)

    times, out = fastest({"without": lambda: write(None), "with": lambda: write(PromptLookup())})
    return {
        "rows": rows,
        "times": round(times["without"] / times["with"], 2),
        "same": out["with"].texts == out["without"].texts,
    }


def chat(gen: aigc.Generator, ask: Any) -> tuple[float, float, list[str]]:
    """Seconds of 20 turns, of their reading alone, and the answers."""
    history = decoding.texts(decoding.ids(1, 2000, 50_000))[0]
    answers = []
    total = reading = 0.0
    for turn in range(20):
        history += " " + decoding.texts(decoding.ids(1, 16 + turn, 50_000))[0]
        start = time.perf_counter()
        for chunk in ask.stream(history, max_new_tokens=32, seed=turn):
            if chunk.token is not None and not answers[turn:]:
                answers.append("")
                reading += time.perf_counter() - start
            answers[turn] += chunk.text
        total += time.perf_counter() - start
        history += " " + answers[turn]
    return total, reading, answers


def main() -> None:
    table: dict[str, Any] = {}
    with threads(2):
        gen = aigc.Generator.default(device="cpu")
        drawn = chain(Temperature(0.8), TopP(0.95))
        for rows in (1, 8):
            table[f"copies, {rows} rows"] = lookup(gen, COPY, rows, Greedy())
            table[f"prose, {rows} rows"] = lookup(gen, PROSE, rows, drawn)
        decoding.CONFIGS["long"] = lambda: LlamaConfig(
            **decoding.CONFIGS["llama-124m"]().to_diff_dict() | {"max_position_embeddings": 4096}
        )
        model, tokenizer = decoding.build("long")
        gen = aigc.Generator(model.bfloat16(), tokenizer)
        gen.generate("w1", max_new_tokens=1)
        plain = chat(gen, gen)
        with gen.session() as session:
            kept = chat(gen, session)
    table["chat, 20 turns, 2,000 tokens"] = {
        "times": round(plain[0] / kept[0], 2),
        "times of reading": round(plain[1] / kept[1], 2),
        "seconds": [round(plain[0], 1), round(kept[0], 1)],
        "same": plain[2] == kept[2],
    }
    for name, row in table.items():
        print(f"{name:32}", *(f"{key} {value}" for key, value in row.items()))
    RESULTS.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
