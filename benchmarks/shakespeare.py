"""The default model learns Shakespeare: all of its weights, or an adapter, or a model from scratch.

    python benchmarks/shakespeare.py full --data tinyshakespeare.txt.gz
    python benchmarks/shakespeare.py lora --data tinyshakespeare.txt.gz
    python benchmarks/shakespeare.py scratch --data tinyshakespeare.txt.gz --steps 1000

The last tenth is held out, and scored with a window that slides. Published of nanoGPT on the same parts: 1.47 nats a
character, 2.12 bits, by 10 million parameters from scratch on a GPU, and 1.88 nats by a small model
on a CPU in some minutes.
"""

import argparse
import gzip
import json
import time
from pathlib import Path
from typing import Any

import aigc
from aigc.data import Corpus
from aigc.device import threads
from aigc.text.adapters import LoRA

RESULTS = Path(__file__).parent / "results" / "shakespeare.json"


def run(kind: str, text: str, given: argparse.Namespace) -> dict[str, Any]:
    """Trains one, and scores what was held out."""
    cut = int(0.9 * len(text))
    train, test = text[:cut], text[cut:]
    begin = time.process_time(), time.perf_counter()
    known = kind != "scratch"
    gen = aigc.Generator.default() if known else aigc.Generator.from_scratch(Corpus.of([train]))
    before = gen.score(test).bits_per_byte
    if kind == "lora":
        gen.adapters.add("shakespeare", LoRA(rank=32))
    how: dict[str, Any] = {"batch_size": 8, "length": 256, "packing": "concatenate", "lr": given.lr, "progress": True}
    history = gen.fit([train], steps=given.steps, seed=0, **how)
    trained = round(time.process_time() - begin[0]), round(time.perf_counter() - begin[1])
    found = gen.score(test)
    print(gen.generate("ROMEO:", seed=0, max_new_tokens=120)[0].text)
    return {
        "model": repr(gen), "steps": history.done, "bits per character before": round(before, 3),
        "bits per character": round(-sum(found.logprobs) / 0.6931471805599453 / len(test), 3),
        "cpu_seconds": trained[0], "seconds": trained[1], "characters held out": len(test), "threads": given.threads,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["full", "lora", "scratch"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with threads(given.threads), gzip.open(given.data, "rt", encoding="utf-8") as file:
        found = run(given.kind, file.read(), given)
    print(found)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(before | {f"{given.kind}, {given.steps} steps": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
