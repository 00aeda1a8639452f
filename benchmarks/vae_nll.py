"""Test log-likelihoods of VAEs: binarised digits in a minute each, MNIST in as long as it takes.

    python benchmarks/vae_nll.py digits                        # scikit-learn's digits, x >= 8; rows 0-1296 train
    python benchmarks/vae_nll.py mnist --data PATH --model vae --epochs 400 --run FOLDER

MNIST is binarised anew at each step for training, and once, by seed, for the test; nets 784-200-200-50 as in Burda et al.
(arXiv:1509.00519), 5,000 importance samples. Published there: VAE 86.76, IWAE-50 84.78. A run that was cut goes on.
`--model iwae50 --from FOLDER` begins with the weights of another run. `--model hierarchical` has latents at three scales.
"""

import argparse
import json
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import aigc
from aigc import nets, random
from aigc.device import threads
from aigc.training import Cosine, CSVLogger, Linear, MuonAdamW
from aigc.vae import ELBO, IWAE, likelihoods

RESULTS = Path(__file__).parent / "results" / "vae_nll.json"


def build(shape: tuple[int, ...], latent: int, hidden: tuple[int, ...], bound: Any, activation: Any = "silu") -> aigc.VAE:
    """A perceptron VAE of black and white images."""
    encoder = nets.MLPEncoder(shape, latent, hidden=hidden, activation=activation, seed=1)
    decoder = nets.MLPDecoder(latent, shape, hidden=hidden[::-1], activation=activation, seed=2)
    return aigc.VAE(encoder, decoder, latent=latent, likelihood=likelihoods.Bernoulli(), bound=bound, shape=shape)


def digits() -> dict[str, Any]:
    """Both bounds on scikit-learn's digits."""
    from sklearn.datasets import load_digits

    x = torch.tensor(load_digits().images >= 8).float()[:, None]
    train, test = x[:1297], x[1297:]
    found = {}
    # Chosen among five of each on rows 1037-1296, trained on those before.
    recipes = (("vae", ELBO(), (400, 200), 2000, 0.3), ("iwae10", IWAE(10), (200, 100), 1500, 0.1))
    for name, bound, hidden, steps, decay in recipes:
        vae = build((1, 8, 8), 8, hidden, bound)
        start = time.perf_counter()
        adam = partial(torch.optim.AdamW, lr=2e-3, weight_decay=decay, fused=True)
        vae.fit(
            train, steps=steps, batch_size=100, seed=0, optimizer=adam, schedule=Cosine(steps, last=0.01), average=20_000
        )
        seconds = time.perf_counter() - start
        result = vae.log_likelihood(test, samples=1000)
        found[f"digits {name}"] = {
            "nll": round(-result.mean, 3),
            "se": round(result.standard_error, 4),
            "seconds": round(seconds, 1),
        }
        print(f"digits {name}: {-result.mean:.3f} nats, {seconds:.0f} s")
    return found


def mnist(given: argparse.Namespace) -> dict[str, Any]:
    """One model on MNIST."""
    from aigc.data import mnist as read

    train, test = (read(given.data, train=part).images for part in (True, False))
    test = (random.uniform(0, torch.arange(len(test))[:, None], torch.arange(784)).view_as(test) < test).float()
    size = given.batch or (64 if given.model == "hierarchical" else 200 if given.muon and given.model == "vae" else 100)
    steps = given.epochs * len(train) // size
    if given.model == "hierarchical":
        rising = ELBO(beta=Linear(0.1, 1.0, steps=2000))
        layers: Any = {"width": given.width, "likelihood": likelihoods.Bernoulli(), "bound": rising}
        vae = aigc.VAE.hierarchical((1, 28, 28), (16, 8, 4), **layers)
    else:
        vae = build((1, 28, 28), 50, (200, 200), ELBO() if given.model == "vae" else IWAE(50), "tanh")
    if given.begin:
        vae.load_state_dict(aigc.VAE.from_pretrained(given.begin).state_dict())
    vae.to(given.device)
    muon = partial(MuonAdamW, lr=given.lr, adam_lr=min(given.lr, 2e-3))
    folder, start = Path(given.run), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        vae.fit(
            train, steps=steps, batch_size=size, seed=0, lr=given.lr, optimizer=muon if given.muon else None,
            schedule=Cosine(steps, last=0.01), average=60_000, transform=drawn,
            checkpoint_dir=folder / "steps", checkpoint_every=1000, log_every=600, precision=given.precision,
            loggers=[CSVLogger(folder / "curve.csv")],
        )  # fmt: skip
    vae.save_pretrained(folder / "model")
    result = vae.log_likelihood(test[: given.test].to(given.device), samples=given.samples, chunk=given.chunk)
    print(f"mnist {given.model}: {-result.mean:.3f} nats, give or take {result.standard_error:.3f}")
    how = (" of Muon" if given.muon else "") + (f", width {given.width}" if given.width != 16 else "")
    how += f" on {torch.cuda.get_device_name()}" if given.device == "cuda" else ""
    key = f"mnist {given.model}, {given.epochs} epochs{how}" + (
        f", from {Path(given.begin).parent.name}" if given.begin else ""
    )
    hours = round((time.perf_counter() - start) / 3600, 2)
    return {key: {"nll": round(-result.mean, 3), "se": round(result.standard_error, 4), "samples": given.samples,
                  "test": len(test[: given.test]), "hours of this call": hours}}  # fmt: skip


def drawn(x: Tensor, noise: Any) -> Tensor:
    """Black and white images of the grey ones, drawn anew."""
    return noise.bernoulli(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_set", choices=["digits", "mnist"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", choices=["vae", "iwae50", "hierarchical"], default="vae")
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--muon", action="store_true", help="matrices by Muon, at --lr, and the rest by AdamW")
    parser.add_argument("--run", type=Path, default=Path("mnist-run"))
    parser.add_argument("--from", dest="begin", type=Path)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--test", type=int, default=10_000)
    parser.add_argument("--chunk", type=int, default=2000, help="codes that are decoded at once")
    parser.add_argument("--batch", type=int, help="examples; what suits the model, if it is left out")
    parser.add_argument("--width", type=int, default=16, help="of the hierarchical model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    given = parser.parse_args()
    with threads(given.threads):
        found = digits() if given.data_set == "digits" else mnist(given)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(before | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
