"""The reports that the page on evaluation reads: of a good model, a copyist, one that repeats itself, and of little text.

    python benchmarks/evaluation.py --data tinyshakespeare.txt.gz --pictures docs/pictures

The default model learns Shakespeare, of which the last tenth is held out in pieces of about 2,000 characters. It is set
against the default model as it is. The copyist learns 20,000 characters only, for long. All are compared by the states of
the default model. Figures go to benchmarks/results/evaluation.json.
"""

import argparse
import gzip
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import aigc
from aigc.data import texts
from aigc.data.text import Pieces
from aigc.device import threads
from aigc.sampling import Greedy
from aigc.text import evaluate
from aigc.text.evaluation import Evaluation

RESULTS = Path(__file__).parent / "results" / "evaluation.json"
FIT: dict[str, Any] = {"batch_size": 8, "length": 256, "packing": "concatenate", "seed": 0, "progress": False}
LITTLE = 20_000  # characters


def parts(data: Path) -> tuple[str, list[str]]:
    """What is trained on, and what is held out."""
    with gzip.open(data, "rt", encoding="utf-8") as file:
        text = file.read()
    cut = text.rindex("\n\n", 0, int(0.9 * len(text)))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "rest.txt").write_text(text[cut:], encoding="utf-8")
        return text[:cut], [document.text for document in texts(folder, divide=Pieces(2000))]


def figures(found: Evaluation) -> dict[str, Any]:
    """A report in few numbers."""
    one = found.model
    return {
        "warnings": list(found.warnings),
        "bits per byte": [None if x is None else round(x, 4) for x in one.likelihood.bits_per_byte],
        "verdict": None if found.comparison is None else found.comparison.verdict,
        "distinct-2": [round(one.sketch.distinct[1].value, 3), round(found.real.distinct[1].value, 3)],
        "repeated 4-grams": [round(one.sketch.repetition.repeated, 3), round(found.real.repetition.repeated, 3)],
        "nearness": None
        if one.divergence is None
        else [round(one.divergence.at_part, 3), round(one.divergence.baseline, 3)],
        "overlap": None if one.overlap is None else [round(one.overlap.share, 3), one.overlap.longest],
        "longest run": one.copied,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, help="folder for the pictures of the first report")
    parser.add_argument("--report", type=Path, help="folder for the first report")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    train, held_out = parts(given.data)
    plain = aigc.Generator.default()
    how: dict[str, Any] = {"against": plain, "features": plain, "samples": given.samples, "max_new_tokens": 64, "seed": 0}
    with threads(given.threads):
        good, copyist = aigc.Generator.default(), aigc.Generator.default()
        history = good.fit([train], held_out=held_out, steps=given.steps, log_every=5, **FIT)
        report = evaluate(good, held_out, training=[train], **how)
        print(history, report, report.to_markdown()[-4000:], sep="\n", flush=True)
        copyist.fit([train[:LITTLE]], steps=2 * given.steps, **FIT | {"batch_size": 4})
        copied = evaluate(copyist, held_out, training=[train[:LITTLE]], **how)
        print(copied, flush=True)
        repeated = evaluate(good, held_out, training=[train], sampler=Greedy(), **how | {"against": None})
        print(repeated, flush=True)
        little = evaluate(good, held_out[:3], training=[train], **how | {"samples": 20})
        print(little, flush=True)
    found = {"good": report, "copyist": copied, "greedy": repeated, "little text": little}
    RESULTS.write_text(json.dumps({k: figures(v) for k, v in found.items()}, indent=1, ensure_ascii=False) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        place = given.report or Path(folder) / "report"
        report.save(place)
        if given.pictures is not None:
            for picture in (place / "pictures").iterdir():
                shutil.copy(picture, given.pictures / f"evaluation-{picture.name}")
            history.picture(given.pictures / "loss.svg", names=("loss/bits_per_byte", "held_out"))


if __name__ == "__main__":
    main()
