"""What it takes to prepare a large corpus: seconds, of the clock and of processors, and the most memory, by stage.

    python benchmarks/corpus.py [--megabytes 200] [--folder DIR] [--duplicates] [--bytes]

Makes a corpus of made-up words, English and Chinese, the n-th as frequent as 1 / (n + 10), in documents of about 5,000
bytes, five thousand to a file, half of the files packed; then reads, cleans, trains a tokenizer (of more than 500 MB on a
tenth), writes tokens, packs, and reads 1,000 and 50,000 windows at random. With --bytes no tokenizer is trained, and each
byte is a token: that leaves the tokenizer's own time and memory out. The memory is what the operating system says
(`getrusage`), of the whole process: "before" is Python with torch and numpy, having made the corpus.
"""

import argparse
import gzip
import json
import platform
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from aigc.data.text import Lines, Tokens, pack, texts, train_tokenizer, write_tokens

RESULTS = Path(__file__).parent / "results" / "corpus.json"
DOCUMENT, FILE, WINDOWS, LENGTH, SAMPLED = 5_000, 5_000, (1_000, 50_000), 512, 500 * 10**6
T = TypeVar("T")


def make(folder: Path, size: int, seed: int = 0) -> int:
    """Writes files of about that many bytes together, and returns how many they have."""
    rng = random.Random(seed)
    words = ["".join(rng.choice("etaoinshrdlucmfw") for _ in range(rng.randint(2, 9))) for _ in range(50_000)]
    han = ["".join(chr(rng.randint(0x4E00, 0x5FFF)) for _ in range(rng.randint(1, 3))) for _ in range(20_000)]
    odds = {len(pool): list(accumulate(1 / (n + 10) for n in range(len(pool)))) for pool in (words, han)}
    written = number = 0
    while written < size:
        packed = number % 2 == 1
        path = folder / f"{number:04}.txt{'.gz' if packed else ''}"
        with gzip.open(path, "wb", compresslevel=1) if packed else path.open("wb") as file:
            for _ in range(FILE):
                pool, gap = (han, "，") if rng.random() < 0.2 else (words, " ")
                line = (gap.join(rng.choices(pool, cum_weights=odds[len(pool)], k=DOCUMENT // 7)) + " \n").encode()
                file.write(line)
                written += len(line)
                if written >= size:
                    break
        number += 1
    return written


def resident() -> float:
    """The most memory that was resident so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def as_bytes(text: str) -> Any:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def stages(folder: Path, size: int, *, duplicates: bool, plain: bool) -> Iterator[tuple[str, float, float, float]]:
    """Yields what was done, how long it took by the clock and on processors, and the most memory so far."""

    def timed(name: str, job: Callable[[], T]) -> T:
        start, busy = time.perf_counter(), time.process_time()
        value = job()
        done.append((name, time.perf_counter() - start, time.process_time() - busy, resident()))
        return value

    done: list[tuple[str, float, float, float]] = [("before", 0.0, 0.0, resident())]
    corpus = timed("read once", lambda: texts(folder / "texts", divide=Lines()))
    yield from done
    corpus = corpus.clean()
    if duplicates:
        done = []
        corpus = timed("near duplicates", lambda: corpus.without_duplicates(near=0.8))
        yield from done
    done = []
    some: Any = {"tokenizer": as_bytes, "vocabulary": 257, "end": 256}
    if not plain:
        sample = corpus.split(held_out=0.1).held_out if size > SAMPLED else corpus
        some = {"tokenizer": timed("tokenizer, 8,192", lambda: train_tokenizer(sample))}
    yield from done
    done = []
    timed("clean and write tokens", lambda: write_tokens(corpus, folder / "tokens", progress=False, **some))
    yield from done
    done = []
    tokens = timed("verify", lambda: Tokens.open(folder / "tokens", verify=True))
    packed = timed("pack, best fit", lambda: pack(tokens, length=LENGTH))
    rng = random.Random(1)
    for count in WINDOWS:
        places = [rng.randrange(len(packed)) for _ in range(count)]
        timed(f"{count:,} windows", lambda places=places: [int(packed[place].ids[0]) for place in places])
    print(f"{len(tokens):,} documents, {tokens.count:,} tokens; {len(packed):,} windows, padding {packed.padding:.2%}")
    yield from done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where the files go, and are deleted; default: a temporary folder")
    parser.add_argument("--duplicates", action="store_true", help="look for near duplicates too")
    parser.add_argument("--bytes", action="store_true", help="each byte a token")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=args.folder) as place:
        folder = Path(place)
        (folder / "texts").mkdir()
        size = make(folder / "texts", args.megabytes * 10**6)
        print(f"{size / 1e6:,.0f} MB; {platform.machine()}, Python {platform.python_version()}")
        for name, seconds, busy, memory in stages(folder, size, duplicates=args.duplicates, plain=args.bytes):
            pace = size / 1e6 / busy if busy else 0.0
            print(f"{name:24}{seconds:9.2f} s {busy:9.2f} CPU s {pace:8.1f} MB/CPU s {memory:6.0f} MB at most", flush=True)
            numbers = {"seconds": round(seconds, 3), "cpu_seconds": round(busy, 3), "resident_mb": round(memory)}
            rows.append({"stage": name, **numbers})
    table = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    name = f"{args.megabytes} MB" + ", bytes as tokens" * args.bytes + ", near duplicates" * args.duplicates
    RESULTS.write_text(json.dumps({**table, name: rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
