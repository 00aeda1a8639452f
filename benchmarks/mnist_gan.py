"""GANs on MNIST, and on StackedMNIST, measured by a classifier that is trained here.

    python benchmarks/mnist_gan.py mnist --data PATH --run FOLDER [--kind r3] [--plain]
    python benchmarks/mnist_gan.py stacked --data PATH --run FOLDER [--kind dcgan] [--plain]

mnist: Frechet distance, density and coverage of 10,000 samples against the 10,000 test images, in features of a classifier
of at least 99%; beside it the same for 10,000 training images, and for a DCGAN with the non-saturating loss (`--plain`).
stacked: a digit in each of three channels; modes found of 1,000, and the KL of their shares from uniform ones, by labels
of the classifier on 26,000 samples. Published: R3GAN's ablation 1,000 modes and .078, PacDCGAN 1,000 and .06, DCGAN 99 and
3.4; a perfect sampler has about .02. A run that was cut goes on.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import aigc
from aigc import metrics
from aigc.data import mnist as read
from aigc.data import write_png
from aigc.device import threads
from aigc.gan import losses, penalties
from aigc.metrics import features
from aigc.training import CSVLogger, Every

RESULTS = Path(__file__).parent / "results" / "mnist_gan.json"
SIZE = 64


def judge(data: Path, folder: Path) -> Any:
    """The classifier, trained once."""
    if (folder / "classifier").exists():
        return features.Classifier.from_pretrained(folder / "classifier")
    train, test = read(data, train=True), read(data, train=False)
    found = features.Classifier.fit(train.images, train.labels, epochs=3, seed=0)
    right = float((found.predict(test.images) == test.labels).double().mean())
    print(f"classifier: {right:.2%} of the test images")
    found.save_pretrained(folder / "classifier")
    return found


def stacks(images: Tensor, count: int) -> Tensor:
    """Three digits at random, one a channel."""
    places = torch.randint(len(images), (count, 3), generator=torch.Generator().manual_seed(0))
    return images[:, 0][places]


def trained(given: argparse.Namespace, x: Tensor) -> aigc.GAN:
    """The model, after training."""
    parts: dict[str, Any] = {"loss": losses.NonSaturating(), "penalties": []} if given.plain else {}
    if given.gamma != 1:  # of images in [-1, 1], as the nets see them
        gamma = penalties.annealed(given.gamma * 4 * penalties.default_gamma(x.shape[1:], SIZE), steps=given.steps)
        parts["penalties"] = [penalties.R1(gamma), penalties.R2(gamma)]
    parts |= {"width": given.width, "latent": given.latent, "kind": given.kind}
    gan = aigc.GAN.for_images(tuple(x.shape[1:]), **parts).to(given.device)
    folder = Path(given.run)

    def show(step: int) -> None:
        write_png(folder / "samples.png", gan.sample(64, seed=0).cpu(), scale=2)

    gan.fit(
        x, steps=given.steps, batch_size=SIZE, seed=0, lr=given.lr, checkpoint_dir=folder / "steps", checkpoint_every=250,
        log_every=50, loggers=[CSVLogger(folder / "curve.csv")], every=[Every(250, show)],
    )  # fmt: skip
    gan.save_pretrained(folder / "model")
    return gan


def sampled(gan: aigc.GAN, count: int) -> Tensor:
    """So many samples, on the CPU."""
    return torch.cat([gan.sample(1000, seed=range(i, i + 1000)).cpu() for i in range(0, count, 1000)])


def mnist(given: argparse.Namespace, classifier: Any) -> dict[str, Any]:
    """Quality of samples of digits."""
    train, test = read(given.data, train=True).images, read(given.data, train=False).images
    gan = trained(given, train)
    real = metrics.extract(classifier, test)
    sets = {"samples": sampled(gan, 10_000), "training images": train[:10_000]}
    found: dict[str, Any] = {}
    for name, images in sets.items():
        made = metrics.extract(classifier, images)
        both = metrics.density_coverage(real, made)
        found[name] = {
            "frechet": round(metrics.frechet_distance(real, made).value, 4),
            "density": round(both.density, 4),
            "coverage": round(both.coverage, 4),
        }
    return found


def stacked(given: argparse.Namespace, classifier: Any) -> dict[str, Any]:
    """Modes of stacks."""
    gan = trained(given, stacks(read(given.data, train=True).images, 60_000))
    found = metrics.mode_coverage(classifier.stacked(sampled(gan, 26_000)), modes=1000)
    return {"modes": found.modes, "kl": round(found.divergence, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_set", choices=["mnist", "stacked"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--kind", default="r3")
    parser.add_argument("--width", type=int, help="of the nets; that of the kind, if it is left out")
    parser.add_argument("--plain", action="store_true", help="the non-saturating loss, without penalties")
    parser.add_argument("--gamma", type=float, default=1.0, help="how many times the default one; at least 0")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--latent", type=int, default=64)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="where the GAN is trained")
    given = parser.parse_args()
    given.run.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    with threads(given.threads):
        classifier = judge(given.data, given.run.parent)
        found = (mnist if given.data_set == "mnist" else stacked)(given, classifier)
    found["cpu_seconds of this call"] = round(time.process_time() - start)
    print(found)
    kind = given.kind + (f" of width {given.width}" if given.width else "")
    what = ", non-saturating, no penalty" if given.plain else f", {given.gamma:g} times gamma" if given.gamma != 1 else ""
    key = f"{given.data_set}, {kind}{what}, {given.steps} steps"
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(before | {key: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
