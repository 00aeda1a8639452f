"""Measure the packaged model on what it never saw, and print the figures of its model card.

    python scripts/evaluate_default_model.py --data DATA [--model FOLDER]

DATA is the folder that it was trained from (see train_default_model.py, which holds the same books and poems out).
Results go to benchmarks/results/default_model.json.
"""

import argparse
import itertools
import json
import math
import re
from pathlib import Path

from train_default_model import HELD_OUT_BOOKS, read_books, read_poems

import aigc
from aigc.metrics.text import OverlapIndex
from aigc.text.generator import DEFAULT_MODEL

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results" / "default_model.json"


def lines_of(body: str) -> list[str]:
    return [line for line in re.split("[，。？！；]", body.strip()) if line]


def is_regular(body: str) -> bool:
    """Four or eight lines, all of five or all of seven characters, and nothing else."""
    lines = lines_of(body)
    lengths = {len(line) for line in lines}
    chinese = all("\u4e00" <= character <= "\u9fff" for line in lines for character in line)
    return len(lines) in (4, 8) and lengths in ({5}, {7}) and chinese and body.strip().endswith("。")


def couplets(body: str) -> set[tuple[str, str]]:
    lines = lines_of(body)
    return set(itertools.pairwise(lines))


def novels(gen: aigc.Generator, data: Path, characters: int | None) -> dict[str, float]:
    books = read_books(data)
    figures = {}
    nats = size = 0.0
    for name in HELD_OUT_BOOKS:
        score = gen.score(books[name][:characters])
        figures[name] = round(score.bits_per_byte, 4)
        nats, size = nats + score.nats, size + score.bytes
        print(f"{name}: {score.bits_per_byte:.4f} bits per byte", flush=True)
    return {**figures, "both": round(nats / size / math.log(2), 4)}


def poems(gen: aigc.Generator, bodies: list[str]) -> float:
    bits = sum(score.nats for score in gen.score(bodies)) / math.log(2)
    return round(bits / sum(map(len, bodies)), 4)


def unknown(bodies: list[str], seen: list[str]) -> list[str]:
    """Those that share no line with poems that were seen: some stand in collections twice, under other titles."""
    known = {line for body in seen for line in lines_of(body)}
    return [body for body in bodies if not known & set(lines_of(body))]


def verse(gen: aigc.Generator, data: Path, count: int) -> dict[str, object]:
    """Poems on titles that were not in the data: their form, and what they have in common with poems that were."""
    seen, unseen = read_poems(data)
    known_titles = {title for title, _ in seen}
    titles = list(dict.fromkeys(title for title, _ in unseen if title not in known_titles))[:count]
    known = set().union(*(couplets(body) for _, body in seen))
    out = gen.generate([f"《{title}》\n" for title in titles], max_new_tokens=120, seed=0)
    regular = sum(c.finish_reason == "eos" and is_regular(c.text) for c in out)
    copied = sum(bool(couplets(c.text) & known) for c in out)
    for completion in out[:6]:
        print(completion.prompt.strip(), completion.text.strip(), completion.finish_reason)
    overlap = OverlapIndex((body for _, body in seen), n=14).search([c.text for c in out])
    return {
        "poems": len(out), "regular": regular / len(out), "repeats_two_lines": copied / len(out),
        "overlap": str(overlap), "lengths of runs": sorted((n for n in overlap.lengths if n), reverse=True)[:20],
    }  # fmt: skip


def prose(gen: aigc.Generator, data: Path, count: int) -> dict[str, object]:
    """Passages of 200 tokens that go on from openings in the unseen novels, and what they copy."""
    books = read_books(data)
    text = books[HELD_OUT_BOOKS[0]]
    openings = [text[i * len(text) // count :][:200] for i in range(count)]
    out = gen.generate(openings, max_new_tokens=200, seed=0)
    known = (book for name, book in books.items() if name not in HELD_OUT_BOOKS)
    overlap = OverlapIndex(known, n=50).search([c.text for c in out])
    print(out[0].prompt[-60:], "|", out[0].text)
    return {"passages": count, "overlap": str(overlap)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--characters", type=int, help="score only so much of each novel, for a quick look")
    args = parser.parse_args()
    gen = aigc.Generator.from_pretrained(args.model)
    print(gen)
    results: dict[str, object] = {"model": repr(gen)}
    results["verse"] = verse(gen, args.data, 500)
    print(results["verse"], flush=True)
    results["prose"] = prose(gen, args.data, 100)
    print(results["prose"], flush=True)
    seen, unseen = ([body for _, body in some] for some in read_poems(args.data))
    rare = unknown(unseen, seen)
    results["bits_per_character_unseen_poems"] = poems(gen, unseen)
    results["the same, of those that share no line"] = {"poems": len(rare), "bits_per_character": poems(gen, rare)}
    print(results["bits_per_character_unseen_poems"], "bits per character", flush=True)
    results["bits_per_byte_unseen_novels"] = novels(gen, args.data, args.characters)
    if args.model == DEFAULT_MODEL and args.characters is None:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
