"""Which learning rate: short runs that differ in nothing else, and how well what was held out is predicted then.

    python benchmarks/learning_rates.py scratch --data tinyshakespeare.txt.gz
    python benchmarks/learning_rates.py lora --data tinyshakespeare.txt.gz --rates 0.001 0.004 0.016 --steps 60

`scratch` is a new model of a million parameters, `full` the default model, `lora` an adapter of rank 16 on it. The last
tenth of the text is held out and scored whole, with a window that slides. Each run is added to the results as it ends.
"""

import argparse
import gzip
import json
import math
import time
from pathlib import Path
from typing import Any

import aigc
from aigc.data import Corpus
from aigc.device import threads
from aigc.text.adapters import LoRA

RESULTS = Path(__file__).parent / "results" / "learning_rates.json"


def run(kind: str, text: str, lr: float, given: argparse.Namespace) -> dict[str, Any]:
    """Trains one model with one rate, and scores what was held out."""
    cut = int(0.9 * len(text))
    train, test = text[:cut], text[cut:]
    if kind == "scratch":
        gen = aigc.Generator.from_scratch(Corpus.of([train]), parameters=given.parameters, seed=given.seed)
    else:
        gen = aigc.Generator.default()
    if kind == "lora":
        gen.adapters.add("lora", LoRA(rank=16), seed=given.seed)
    width = gen.model.get_input_embeddings().weight.shape[1]
    how: dict[str, Any] = {"batch_size": 8, "length": 256, "packing": "concatenate", "log_every": 1, "progress": False}
    begin = time.process_time()
    history = gen.fit([train], steps=given.steps, lr=lr, seed=given.seed, **how)
    seconds = time.process_time() - begin
    last = history.values["loss/bits_per_byte"][-given.steps // 10 :]
    return {
        "model": repr(gen), "width": width, "steps": given.steps, "seed": given.seed, "lr": lr,
        "bits per character held out": round(-sum(gen.score(test).logprobs) / math.log(2) / len(test), 4),
        "bits per byte trained on, last tenth of steps": round(sum(last) / len(last), 4),
        "characters held out": len(test), "cpu_seconds": round(seconds), "threads": given.threads,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["scratch", "full", "lora"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0006, 0.00125, 0.0025, 0.005, 0.01])
    parser.add_argument("--steps", type=int, default=250, help="of 8 windows of 256 tokens")
    parser.add_argument("--parameters", type=int, default=1_000_000, help="of a model from scratch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    with gzip.open(given.data, "rt", encoding="utf-8") as file:
        text = file.read()
    for lr in given.rates:
        with threads(given.threads):
            found = run(given.kind, text, lr, given)
        print(found, flush=True)
        before = json.loads(given.results.read_text()) if given.results.exists() else {}
        name = f"{given.kind}, {given.steps} steps, lr {lr:g}, seed {given.seed}"
        given.results.write_text(json.dumps(before | {name: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
