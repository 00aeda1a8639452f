"""Examples a second of training: aigc's engine and `VAE.fit` beside a loop written by hand.

    python benchmarks/training.py

A VAE of perceptrons, 784-512-16 and back, Bernoulli, batches of 128, Adam, two threads. The loop by hand is what one would
write: shuffled indices, `torch.randn`, `loss.backward()`, `optimizer.step()`, once with torch's default Adam and once with
its fused one, which `VAE.fit` takes. pythae, where it is installed (`pip install --no-deps pythae cloudpickle pydantic
pydantic-core annotated-types typing-inspection imageio`), trains the same sizes with its own trainer and its default nets.
Rounds take turns, and the best of each counts.
"""

import contextlib
import importlib.util
import io
import json
import logging
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import aigc
from aigc import nets
from aigc.device import threads
from aigc.training import Phase, batches, train
from aigc.vae import likelihoods

RESULTS = Path(__file__).parent / "results" / "training.json"
STEPS, SIZE, ROUNDS = 600, 128, 4
X = (torch.rand(12_800, 784, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def modules() -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder."""
    return nets.MLPEncoder((784,), 16, hidden=(512,), seed=1), nets.MLPDecoder(16, (784,), hidden=(512,), seed=2)


def bound(encoder: nn.Module, decoder: nn.Module, x: Tensor, noise: Tensor) -> Tensor:
    """The negative evidence lower bound."""
    mean, log_std = encoder(x).chunk(2, -1)
    logits = decoder(mean + log_std.exp() * noise)
    error = binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
    return (error + (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(-1) / 2).mean()


def by_hand(fused: bool) -> Callable[[], None]:
    """A loop as one would write it."""
    encoder, decoder = modules()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=fused)

    def run() -> None:
        order = torch.randperm(len(X))
        for step in range(STEPS):
            x = X[order[step % 100 * SIZE : (step % 100 + 1) * SIZE]]
            optimizer.zero_grad()
            bound(encoder, decoder, x, torch.randn(len(x), 16)).backward()
            optimizer.step()

    return run


def engine(fused: bool) -> Callable[[], None]:
    """The same loss in aigc's loop."""
    encoder, decoder = modules()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=fused)
    phase = Phase("bound", lambda x, noise: bound(encoder, decoder, x, noise.normal(16)), optimizer=optimizer)

    def run() -> None:
        for _ in islice(train([phase], batches(X, batch_size=SIZE, seed=0).after(0), seed=0), STEPS):
            pass

    return run


def model() -> Callable[[], None]:
    """`VAE.fit`."""
    vae = aigc.VAE(*modules(), latent=16, likelihood=likelihoods.Bernoulli(), shape=(784,))
    return lambda: (vae.fit(X, steps=STEPS, batch_size=SIZE, seed=0, progress=False), None)[1]


def pythae() -> Callable[[], None]:
    """pythae's trainer, with the nets of its defaults: 784-512-16."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    logging.getLogger("pythae").setLevel(logging.ERROR)
    vae = VAE(VAEConfig(input_dim=(784,), latent_dim=16, reconstruction_loss="bce"))
    data, epochs = BaseDataset(X, torch.zeros(len(X))), STEPS * SIZE // len(X)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            config = BaseTrainerConfig(
                output_dir=folder, num_epochs=epochs, per_device_train_batch_size=SIZE, learning_rate=1e-3, no_cuda=True
            )
            BaseTrainer(model=vae, train_dataset=data, training_config=config).train()

    return run


def main() -> None:
    ways = {
        "by hand, Adam": by_hand(False),
        "by hand, fused Adam": by_hand(True),
        "train, Adam": engine(False),
        "train, fused Adam": engine(True),
        "VAE.fit": model(),
    }
    if importlib.util.find_spec("pythae"):
        ways["pythae"] = pythae()
    times: dict[str, list[float]] = {name: [] for name in ways}
    with threads(2), torch.random.fork_rng(devices=[]):
        for _ in range(ROUNDS):
            for name, run in ways.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    rates = {name: STEPS * SIZE / min(taken) for name, taken in times.items()}
    found: dict[str, Any] = {
        name: {"examples_per_second": round(rate), "of_by_hand": round(rate / rates["by hand, Adam"], 3)}
        for name, rate in rates.items()
    }
    for name, each in found.items():
        print(f"{name:20}", each)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
