"""Spoken digits made by a `VQVAE` or a `GAN` of spectrograms, heard by a classifier that is trained here.

    python benchmarks/spoken_digits.py --data fsdd.zip --run FOLDER
    python benchmarks/spoken_digits.py --data fsdd.zip --run FOLDER --gan r3 [--steps 10000] [--device cuda]

Free Spoken Digit Dataset: 3,000 recordings of six speakers at 8 kHz; the first five of each digit and speaker are for the
test, as its authors say. Sounds of half a second become pictures of 128 frequencies and 64 moments. What share of
digits the classifier hears rightly is said of recordings, of what is left of them by the way to a picture and back, of
reconstructions, and of 1,000 digits that the model made when asked for them; density and coverage are those of the
classifier's features, against the recordings that were learned. A run that was cut goes on.
"""

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import aigc
from aigc import metrics, nets
from aigc.data import Spectrogram, side_by_side, sounds, write_png, write_wav
from aigc.device import threads
from aigc.gan import DiffAugment, penalties
from aigc.metrics.features import Classifier
from aigc.training import Cosine, CSVLogger, Every, Stop
from aigc.vae.quantise import VQ

RESULTS = Path(__file__).parent / "results" / "spoken_digits.json"
SPECTROGRAM = Spectrogram(window=256, hop=64)
VQVAE_SAMPLES = {f"made at {temperature}": {"temperature": temperature} for temperature in (1.0, 0.7, 0.85)}
GAN_SAMPLES: dict[str, Any] = {"made with truncation at 0.7": {"truncation": 0.7}, "made": {}}


def loud(x: Tensor) -> Tensor:
    """All equally loud."""
    return x / x.abs().amax((1, 2), keepdim=True).clamp(min=0.001)


def shifted(x: Tensor) -> Tensor:
    """Pictures moved in time and pitch by a little, for the classifier: it shall not learn places by heart."""
    rng = torch.Generator().manual_seed(0)
    moves = torch.randint(-6, 7, (len(x), 2), generator=rng)
    return torch.stack([one.roll((int(a) // 2, int(b)), (1, 2)) for one, (a, b) in zip(x, moves, strict=True)])


def with_codes(given: argparse.Namespace, x: Tensor, labels: Tensor) -> aigc.VQVAE:
    """The autoencoder and its prior, after training."""
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


def with_a_game(given: argparse.Namespace, x: Tensor, labels: Tensor) -> aigc.GAN:
    """The GAN, after training. Few data: the discriminator sees them moved in time and pitch, and with holes."""
    parts: dict[str, Any] = {"condition": nets.Classes(10), "augment": DiffAugment(("translation", "cutout"))}
    gamma = given.gamma * 4 * penalties.default_gamma((1, 128, 64), 64)  # of images in [-1, 1], as the nets see them
    weight = penalties.annealed(gamma, steps=given.steps)
    parts |= {"penalties": [penalties.R1(weight), penalties.R2(weight)], "width": given.width}
    gan = aigc.GAN.for_images((1, 128, 64), latent=64, kind=given.gan, **parts).to(given.device)
    asked = torch.arange(40) % 10

    def show(step: int) -> None:
        write_png(given.run / "made.png", gan.sample(40, seed=1, condition=asked).cpu().flip(2), columns=10, scale=1)

    def stop(step: int) -> None:
        if step >= given.until:
            raise Stop("as was asked")

    every = [Every(500, show), *([Every(1, stop)] if given.until else [])]
    gan.fit(
        (x, labels), steps=given.steps, batch_size=64, seed=0, lr=given.lr, checkpoint_dir=given.run / "steps",
        checkpoint_every=500, log_every=50, loggers=[CSVLogger(given.run / "curve.csv")],
        every=every,
    )  # fmt: skip
    gan.save_pretrained(given.run / "model")
    return gan


def measured(given: argparse.Namespace) -> dict[str, object]:
    """What is heard."""
    source = sounds(given.data, length=4096, channels=1, labels=lambda name: Path(name).name.split("_")[0])
    x, labels = SPECTROGRAM.pictures(loud(source.tensor())), source.labels
    held = torch.tensor([int(re.findall(r"_(\d+)\.wav", name)[0]) < 5 for name in source.source.files.names])
    model = (with_a_game if given.gan else with_codes)(given, x[~held], labels[~held])
    twice = torch.cat([x[~held], shifted(x[~held])])
    judge = Classifier.fit(twice, labels[~held].repeat(2), epochs=8, batch_size=64, width=16, seed=0)
    asked, real = torch.arange(1000) % 10, metrics.extract(judge, x[~held])

    def heard(pictures: Tensor, wanted: Tensor) -> float:
        again = SPECTROGRAM.pictures(loud(SPECTROGRAM.sounds(pictures.clamp(0, 1), seed=0)))
        return round(float((judge.predict(again) == wanted).double().mean()), 4)

    found: dict[str, object] = {"recordings": round(float((judge.predict(x[held]) == labels[held]).double().mean()), 4)}
    found["recordings, to pictures and back"] = heard(x[held], labels[held])
    if isinstance(model, aigc.VQVAE):
        again = model.reconstruct(x[held])
        found["reconstructions"] = heard(again, labels[held])
        found["off by decibels"] = round(float((again - x[held]).abs().mean()) * SPECTROGRAM.decibels, 2)
        write_png(given.run / "before-and-after.png", side_by_side(x[held][::15].flip(2), again[::15].flip(2), columns=10))
    for name, how in GAN_SAMPLES.items() if given.gan else VQVAE_SAMPLES.items():
        made = model.sample(1000, seed=0, condition=asked, **how).cpu()
        both = metrics.density_coverage(real, metrics.extract(judge, made))
        quality = {"density": round(both.density, 3), "coverage": round(both.coverage, 3)}
        found[name] = {"heard": heard(made, asked), **quality}
        shown(given.run, model.sample(40, seed=1, condition=asked[:40], **how).cpu())
    return found


def shown(folder: Path, made: Tensor) -> None:
    """Pictures, and one sound of all digits."""
    write_png(folder / "made.png", made.flip(2), columns=10, scale=1)
    write_wav(folder / "zero-to-nine.wav", 0.9 * loud(SPECTROGRAM.sounds(made[:10], seed=0)).flatten(), rate=8000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--prior-epochs", type=int, default=30)
    parser.add_argument("--gan", help="the kind of nets of a GAN, such as r3, in place of the autoencoder")
    parser.add_argument("--steps", type=int, default=10_000, help="of the GAN")
    parser.add_argument("--until", type=int, help="the step at which the GAN's run is cut")
    parser.add_argument("--lr", type=float, default=5e-4, help="of the GAN")
    parser.add_argument("--width", type=int, help="of the GAN's nets; that of the kind, if it is left out")
    parser.add_argument("--gamma", type=float, default=1.0, help="of the GAN, how many times the default one")
    parser.add_argument("--device", default="cpu", help="of the GAN")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    given.run.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    with threads(given.threads):
        found = measured(given)
    found["cpu_seconds of this call"] = round(time.process_time() - start)
    print(found)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    codes, game = f"{given.epochs} epochs, {given.prior_epochs} of the prior", f"GAN, {given.gan}, {given.steps} steps"
    game += f", {given.gamma:g} times gamma" if given.gamma != 1 else ""
    game += f", width {given.width}" if given.width else ""
    game += f", cut at {given.until}" if given.until else ""
    RESULTS.write_text(json.dumps(before | {game if given.gan else codes: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
