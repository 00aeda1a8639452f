"""A GAN from pictures to pictures: `python examples/gan.py [folder of images, or of MNIST] [folder for results]`.

Without arguments it draws its own pictures, small moons, learns them in some seconds, and leaves no files.
"""

import sys
import tempfile
from pathlib import Path

import torch

import aigc
from aigc import metrics
from aigc.data import images, mnist, side_by_side, write_gif, write_png


def moons(count: int, seed: int) -> torch.Tensor:
    """Discs with a bite taken out on the left or on the right, 16 by 16, at random places and of random sizes."""
    rng = torch.Generator().manual_seed(seed)
    x, y, size, phase, side = torch.rand(5, count, 1, 1, generator=rng)
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    x, y, size = 6 + 3.5 * x, 6 + 3.5 * y, 4 + 1.5 * size

    def disc(x: torch.Tensor) -> torch.Tensor:
        return (size - ((rows - y).square() + (columns - x).square()).sqrt()).clamp(0, 1)

    return (disc(x) - disc(x + torch.where(side < 0.5, -2 - 2 * phase, 2 + 2 * phase))).clamp(0, 1)[:, None]


with tempfile.TemporaryDirectory() as temporary:
    out = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
    out.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) > 1:
        source = Path(sys.argv[1])
        data = mnist(source).images if list(source.glob("*ubyte*")) else images(source, size=(64, 64)).tensor()
        data, held = data[: -(len(data) // 10)], data[-(len(data) // 10) :]
        gan = aigc.GAN.for_images(tuple(data.shape[1:]), latent=64)  # half a second a step on one core
        options = {"steps": 10_000, "checkpoint_dir": out / "run"}  # called again, a run that was cut goes on
    else:
        data, held = moons(2000, seed=0), moons(2000, seed=1)
        gan = aigc.GAN.for_images((1, 16, 16), latent=8, kind="dcgan", width=16)  # small nets, which bear a high rate
        options = {"steps": 400, "lr": 8e-3, "average": 2000}
    print(gan)
    print(gan.fit(data, seed=0, **options))

    few = min(500, len(data), len(held))
    health = gan.health(data[:few], held_out=held[:few])
    print(
        f"a picture looks more real than a sample in {health.told_apart:.0%} of pairs, and one that was learned more than "
        f"one that was not in {health.by_heart:.0%}; samples differ {health.diversity:.2f} times as much as pictures do"
    )
    for warning in health.warnings:
        print(warning)

    count = min(2000, len(held))
    sets = held[:count], data[:count], gan.sample(count, seed=0)
    real, other, made = (metrics.extract(metrics.features.Flatten(), some) for some in sets)
    print("samples:      ", metrics.frechet_distance(real, made))
    print("learned data: ", metrics.frechet_distance(real, other), "- what a perfect generator would have")

    write_png(out / "samples.png", gan.sample(64, seed=0), scale=4)
    write_png(out / "between.png", gan.interpolate(0, 8, steps=12), columns=12, scale=4)
    write_gif(out / "walk.gif", gan.walk(96, seed=0), scale=8)
    found = gan.project(held[:8])
    write_png(out / "projected.png", side_by_side(held[:8], found.data), scale=4)
    print(f"nearest to 8 pictures it never saw: root mean squared error {found.error.mean():.3f}")
    gan.save_pretrained(out / "model")
    again = aigc.GAN.from_pretrained(out / "model")
    alone = again.sample(1, seed=[aigc.random.stream(0, 5)])
    print("sample 5 is the same by itself, after saving:", torch.equal(alone[0], gan.sample(64, seed=0)[5]))
    if len(sys.argv) > 2:
        print(f"pictures, an animation and the model are in {out}")
