"""Examples a second of GAN training: `GAN.fit` beside a loop written by hand, with the same nets, loss and penalties.

    python benchmarks/gan_training.py

Nets `r3` and `mlp` for 28 x 28 images, batches of 64, the relativistic loss, R1 and R2, Adam, two threads. The loop by hand
is what one would write: fresh noise for each player, D(x) and D(G(z)) used for loss and penalties alike, an average of the
generator. Rounds take turns, and the best of each counts.
"""

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import aigc
from aigc import nets
from aigc.device import threads
from aigc.gan import penalties

RESULTS = Path(__file__).parent / "results" / "gan_training.json"
SHAPE, LATENT, SIZE, ROUNDS = (1, 28, 28), 64, 64, 10
STEPS = {"r3": 12, "mlp": 200}
X = torch.rand(1280, *SHAPE, generator=torch.Generator().manual_seed(0))


def slope(logits: Tensor, x: Tensor) -> Tensor:
    """The mean squared gradient."""
    (found,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return found.square().flatten(1).sum(1).mean()


def by_hand(kind: Any) -> Callable[[], None]:
    """A loop as one would write it."""
    generator, discriminator = nets.gan_for_images(SHAPE, LATENT, kind=kind)
    average = copy.deepcopy(generator)
    one = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.0, 0.99), fused=True)
    two = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.0, 0.99), fused=True)
    players: tuple[nn.Module, nn.Module] = (generator, discriminator)

    def run() -> None:
        order = torch.randperm(len(X)).repeat(1 + STEPS[kind] * SIZE // len(X))
        for step in range(STEPS[kind]):
            x = 2 * X[order[step * SIZE : (step + 1) * SIZE]] - 1
            players[1].requires_grad_(True)
            with torch.no_grad():
                fake = players[0](torch.randn(SIZE, LATENT))
            x.requires_grad_(True)
            fake.requires_grad_(True)
            real_logits, fake_logits = players[1](x), players[1](fake)
            cost = slope(real_logits, x) + slope(fake_logits, fake)
            two.zero_grad()
            (F.softplus(fake_logits - real_logits).mean() + 0.5 * cost).backward()
            two.step()
            players[1].requires_grad_(False)
            fake_logits = players[1](players[0](torch.randn(SIZE, LATENT)))
            with torch.no_grad():
                real_logits = players[1](x)
            one.zero_grad()
            F.softplus(real_logits - fake_logits).mean().backward()
            one.step()
            with torch.no_grad():
                for mine, theirs in zip(average.parameters(), players[0].parameters(), strict=True):
                    mine.lerp_(theirs, 0.01)

    return run


def model(kind: Any) -> Callable[[], None]:
    """`GAN.fit`."""
    own = [penalties.R1(1.0), penalties.R2(1.0)]
    gan = aigc.GAN.for_images(SHAPE, latent=LATENT, kind=kind, penalties=own)
    return lambda: (gan.fit(X, steps=STEPS[kind], batch_size=SIZE, seed=0, progress=False), None)[1]


def main() -> None:
    found: dict[str, Any] = {}
    with threads(2), torch.random.fork_rng(devices=[]):
        for kind in STEPS:
            ways = {"by hand": by_hand(kind), "GAN.fit": model(kind)}
            times: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(ROUNDS):
                for name, run in ways.items():
                    start = time.perf_counter()
                    run()
                    times[name].append(time.perf_counter() - start)
            rates = {name: STEPS[kind] * SIZE / min(taken) for name, taken in times.items()}
            found[kind] = {name: round(rate) for name, rate in rates.items()}
            found[kind]["of_by_hand"] = round(rates["GAN.fit"] / rates["by hand"], 3)
            print(kind, found[kind])
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
