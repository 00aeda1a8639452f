"""Train the small bilingual model that ships with aigc, by the library itself, on a CPU.

    python scripts/train_default_model.py --data DATA --run runs/default                  # goes on where it was cut
    python scripts/train_default_model.py --data DATA --run runs/default --start FOLDER   # from a model that is there
    torchrun --nproc-per-node 2 scripts/train_default_model.py --threads 1 ...            # on a machine that is busy

DATA holds `english_books.txt.gz` (one paragraph a line, books headed by `=== name`) and `chinese_poems.tsv.gz` (title,
author, body). Held out are two whole novels and every 50th poem. Each other poem is read twice in an epoch: most often
bare, and under its title or its 《title》. The trained model is at last in RUN/model.
"""

import argparse
import gzip
import os
import random
from collections.abc import Iterator
from pathlib import Path

from torch import distributed

from aigc import Generator
from aigc.data import Corpus
from aigc.data.text import Document
from aigc.device import threads
from aigc.training import CSVLogger, Every, processes

HELD_OUT_BOOKS = ("enchanted_april", "room_with_view")
HELD_OUT_POEM = 50  # every 50th
LICENCE = "public domain"

Poem = tuple[str, str]  # title, body


def read_books(data: Path) -> dict[str, str]:
    """The books by their names."""
    books: dict[str, list[str]] = {}
    name = ""
    with gzip.open(data / "english_books.txt.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("=== "):
                name = line[4:].strip()
                books[name] = []
            else:
                books[name].append(line)
    return {name: "".join(lines) for name, lines in books.items()}


def read_poems(data: Path) -> tuple[list[Poem], list[Poem]]:
    """The poems to train on, and those held out."""
    with gzip.open(data / "chinese_poems.tsv.gz", "rt", encoding="utf-8") as lines:
        fields = [line.rstrip("\n").split("\t") for line in lines]
    poems = [(title, body) for title, _, body in fields]
    kept = [poem for i, poem in enumerate(poems) if i % HELD_OUT_POEM]
    return kept, poems[::HELD_OUT_POEM]


def forms(title: str, body: str, chance: random.Random) -> Iterator[str]:
    """A poem as it is read in an epoch."""
    under = f"{title}\n{body}"
    yield body if chance.random() < 0.8 else under
    yield under if chance.random() < 0.5 else f"《{title}》\n{body}"


def documents(data: Path) -> Corpus:
    """Everything that is trained on."""
    chance = random.Random(0)
    books = [(name, text) for name, text in read_books(data).items() if name not in HELD_OUT_BOOKS]
    found = [Document(text, name=name, source=name, licence=LICENCE) for name, text in books]
    for title, body in read_poems(data)[0]:
        for text in forms(title, body, chance):
            found.append(Document(text, name=title, source="chinese_poems.tsv.gz", licence=LICENCE))
    return Corpus.of(found)


def aside(data: Path) -> list[str]:
    """Some of what is held out, to look at on the way."""
    books = read_books(data)
    return [books[name][50_000:70_000] for name in HELD_OUT_BOOKS] + [body for _, body in read_poems(data)[1][::15]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder of checkpoints, and of the model at the end")
    parser.add_argument("--start", type=Path, help="folder of a model to go on from, in place of a new one")
    parser.add_argument("--steps", type=int, default=5600, help="of 16 windows of 512 tokens")
    parser.add_argument("--lr", type=float, default=0.005)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if "RANK" in os.environ:
        distributed.init_process_group()
    corpus = documents(args.data)
    if args.start:
        gen = Generator.from_pretrained(args.start, device="cpu")
    else:
        gen = Generator.from_scratch(corpus, parameters=7_400_000, vocabulary=10_000, context=512)
    print(gen, flush=True)

    def sample(step: int) -> None:
        for prompt in ("《春夜》\n", "It was a dark night, and"):
            print(step, prompt, gen.generate(prompt, seed=step, max_new_tokens=80)[0].text, flush=True)

    args.run.mkdir(parents=True, exist_ok=True)
    with threads(args.threads):
        gen.fit(
            corpus,
            held_out=aside(args.data),
            steps=args.steps,
            batch_size=16,
            lr=args.lr,
            seed=0,
            checkpoint_dir=args.run / "checkpoints",
            checkpoint_every=100,
            loggers=[CSVLogger(args.run / "curve.csv")],
            every=[Every(200, sample)],
            progress=True,
        )
    if processes().rank == 0:
        gen.trained_on = tuple(manifest.by_source() for manifest in gen.trained_on)  # the whole is larger than the model
        gen.model.bfloat16()
        gen.save_pretrained(args.run / "model")


if __name__ == "__main__":
    main()
