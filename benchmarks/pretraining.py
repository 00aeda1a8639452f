"""Tokens a second of pre-training: `Generator.fit` beside a loop written by hand and beside transformers' `Trainer`.

    python benchmarks/pretraining.py [--threads 2]

The same untrained model of the default model's shape, the same windows of 256 tokens in batches of 16, AdamW (fused),
clipping, bfloat16 by autocast and float32. The text is one long document of random tokens, so that attention is plainly
causal for all. The loop by hand is what one would write. Rounds take turns, and the best of each counts. `fit` is also run
with its own choice of optimizer, Muon, for which the others have no counterpart.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn.utils import clip_grad_norm_

import aigc
from aigc.data import Corpus, Tokens, pack, write_tokens
from aigc.device import threads

RESULTS = Path(__file__).parent / "results" / "pretraining.json"
LENGTH, BATCH, STEPS, ROUNDS, LR = 256, 16, 8, 4, 3e-4


def tokens(tokenizer: Any, folder: str) -> Tokens:
    """Random ones."""
    size = tokenizer.backend_tokenizer.get_vocab_size()
    ids = torch.randint(1, size, (LENGTH * BATCH * STEPS * 2,), generator=torch.Generator().manual_seed(0)).tolist()
    return write_tokens(
        Corpus.of(["x" * len(ids)]), f"{folder}/tokens", tokenizer=lambda _: ids, end=0, vocabulary=size, progress=False
    )


def new() -> aigc.Generator:
    """The model, untrained."""
    default = aigc.Generator.default()
    known = default.tokenizer.backend_tokenizer
    return aigc.Generator.from_scratch(Corpus.of(["x"]), parameters=7_400_000, tokenizer=known, device="cpu")


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=LR, weight_decay=0.1, fused=True)


def by_hand(windows: torch.Tensor, precision: str) -> Callable[[], None]:
    """A loop as one would write it."""
    model = new().model.train()
    optimizer = adamw(model.parameters())

    def run() -> None:
        for step in range(STEPS):
            ids = windows[torch.randint(len(windows), (BATCH,))]
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = model(input_ids=ids, labels=ids).loss
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % 10 == 0:
                loss.item()

    return run


def trainer(windows: torch.Tensor, precision: str, folder: str) -> Callable[[], None]:
    """transformers' own."""
    rows = [{"input_ids": row, "labels": row} for row in windows]
    model = new().model
    how: dict[str, Any] = {"report_to": [], "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}
    given = transformers.TrainingArguments(
        output_dir=f"{folder}/trainer", use_cpu=True, max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=LR,
        bf16=precision == "bfloat16", optim="adamw_torch_fused", weight_decay=0.1, max_grad_norm=1.0, **how,
    )  # fmt: skip

    def run() -> None:
        transformers.Trainer(model=model, args=given, train_dataset=rows).train()

    return run


def fit(packed: Any, precision: str, optimizer: Any) -> Callable[[], None]:
    gen = new()

    def run() -> None:
        gen.fit(packed, steps=STEPS, batch_size=BATCH, seed=0, precision=precision, optimizer=optimizer, progress=False)

    return run


def measured(precision: str, folder: str, made: Tokens) -> dict[str, float]:
    """Tokens a second of each, and the ratios."""
    packed = pack(made, length=LENGTH, how="concatenate")
    windows = torch.stack([packed[i].ids[:-1] for i in range(len(packed) - 1)])
    ways = {
        "by hand": by_hand(windows, precision),
        "Trainer": trainer(windows, precision, folder),
        "fit": fit(packed, precision, adamw),
        "fit, Muon": fit(packed, precision, None),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    found = {name: round(LENGTH * BATCH * STEPS / min(taken), 1) for name, taken in times.items()}
    ratios = {f"fit / {name}": round(found["fit"] / found[name], 3) for name in ("by hand", "Trainer")}
    return found | ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    found: dict[str, Any] = {"threads": given.threads, "torch": torch.__version__, "python": platform.python_version()}
    found["transformers"] = transformers.__version__
    with threads(given.threads), torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        made = tokens(new().tokenizer, folder)
        for precision in ("bfloat16", "float32"):
            found[precision] = measured(precision, folder, made)
            print(precision, found[precision], flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
