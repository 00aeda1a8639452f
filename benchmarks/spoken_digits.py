"""Spoken digits made by a `VQVAE` of spectrograms, heard by a classifier that is trained here.

    python benchmarks/spoken_digits.py --data fsdd.zip --run FOLDER

Free Spoken Digit Dataset: 3,000 recordings of six speakers at 8 kHz; the first five of each digit and speaker are for the
test, as its authors say. Sounds of half a second become pictures of 128 frequencies and 64 moments. What share of
digits the classifier hears rightly is said of recordings, of what is left of them by the way to a picture and back, of
reconstructions, and of 1,000 digits that the model made when asked for them. A run that was cut goes on.
"""

import argparse
import json
import re
import time
from pathlib import Path

import torch
from torch import Tensor

import aigc
from aigc import metrics, nets
from aigc.data import Spectrogram, side_by_side, sounds, write_png, write_wav
from aigc.device import threads
from aigc.metrics.features import Classifier
from aigc.training import Cosine, CSVLogger
from aigc.vae.quantise import VQ

RESULTS = Path(__file__).parent / "results" / "spoken_digits.json"
SPECTROGRAM = Spectrogram(window=256, hop=64)


def loud(x: Tensor) -> Tensor:
    """All equally loud."""
    return x / x.abs().amax((1, 2), keepdim=True).clamp(min=0.001)


def shifted(x: Tensor) -> Tensor:
    """Pictures moved in time and pitch by a little, for the classifier: it shall not learn places by heart."""
    rng = torch.Generator().manual_seed(0)
    moves = torch.randint(-6, 7, (len(x), 2), generator=rng)
    return torch.stack([one.roll((int(a) // 2, int(b)), (1, 2)) for one, (a, b) in zip(x, moves, strict=True)])


def trained(given: argparse.Namespace, x: Tensor, labels: Tensor) -> aigc.VQVAE:
    """The model, after training."""
    vae = aigc.VQVAE.for_images((1, 128, 64), quantiser=VQ(256, features=32), steps=4)
    for part, epochs in (("nets", given.epochs), ("prior", given.prior_epochs)):
        steps = epochs * len(x) // 32
        how = {
            "steps": steps, "batch_size": 32, "seed": 0, "schedule": Cosine(steps, last=0.01), "checkpoint_every": 500,
            "checkpoint_dir": given.run / part, "log_every": 50, "loggers": [CSVLogger(given.run / f"{part}.csv")],
        }  # fmt: skip
        if part == "nets":
            vae.fit(x, **how)
        else:
            vae.fit_prior((x, labels), condition=nets.Classes(10), width=128, dropout=0.2, **how)
    vae.save_pretrained(given.run / "model")
    return vae


def measured(given: argparse.Namespace) -> dict[str, object]:
    """What is heard."""
    source = sounds(given.data, length=4096, channels=1, labels=lambda name: Path(name).name.split("_")[0])
    x, labels = SPECTROGRAM.pictures(loud(source.tensor())), source.labels
    held = torch.tensor([int(re.findall(r"_(\d+)\.wav", name)[0]) < 5 for name in source.source.files.names])
    twice = torch.cat([x[~held], shifted(x[~held])])
    judge = Classifier.fit(twice, labels[~held].repeat(2), epochs=8, batch_size=64, width=16, seed=0)

    def heard(pictures: Tensor, wanted: Tensor) -> float:
        again = SPECTROGRAM.pictures(loud(SPECTROGRAM.sounds(pictures.clamp(0, 1), seed=0)))
        return round(float((judge.predict(again) == wanted).double().mean()), 4)

    found: dict[str, object] = {"recordings": round(float((judge.predict(x[held]) == labels[held]).double().mean()), 4)}
    found["recordings, to pictures and back"] = heard(x[held], labels[held])
    vae = trained(given, x[~held], labels[~held])
    again = vae.reconstruct(x[held])
    found["reconstructions"] = heard(again, labels[held])
    found["off by decibels"] = round(float((again - x[held]).abs().mean()) * SPECTROGRAM.decibels, 2)
    asked = torch.arange(1000) % 10
    real = metrics.extract(judge, x[~held])
    for temperature in (0.7, 0.85, 1.0):
        made = vae.sample(1000, seed=0, condition=asked, temperature=temperature)
        both = metrics.density_coverage(real, metrics.extract(judge, made))
        found[f"made at {temperature}"] = {
            "heard": heard(made, asked),
            "density": round(both.density, 3),
            "coverage": round(both.coverage, 3),
        }
    shown(given.run, vae, x[held])
    return found


def shown(folder: Path, vae: aigc.VQVAE, x: Tensor) -> None:
    """Pictures, and one sound of all digits."""
    made = vae.sample(40, seed=1, condition=torch.arange(40) % 10, temperature=0.8)
    write_png(folder / "made.png", made.flip(2), columns=10, scale=1)
    some = x[::15]
    write_png(folder / "before-and-after.png", side_by_side(some.flip(2), vae.reconstruct(some).flip(2), columns=10))
    write_wav(folder / "zero-to-nine.wav", 0.9 * loud(SPECTROGRAM.sounds(made[:10], seed=0)).flatten(), rate=8000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--prior-epochs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    given.run.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    with threads(given.threads):
        found = measured(given)
    found["cpu_seconds of this call"] = round(time.process_time() - start)
    print(found)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(
        json.dumps(before | {f"{given.epochs} epochs, {given.prior_epochs} of the prior": found}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
