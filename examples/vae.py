"""A VAE from pictures to pictures: `python examples/vae.py [folder of images, or of MNIST] [folder for results]`.

Without arguments it draws its own pictures, small moons, learns them in a few seconds, and leaves no files.
"""

import sys
import tempfile
from pathlib import Path

import torch

import aigc
from aigc.data import images, mnist, side_by_side, write_gif, write_png


def moons(count: int) -> torch.Tensor:
    """Discs with a bite taken out, 16 by 16, at random places, sizes and phases."""
    rng = torch.Generator().manual_seed(0)
    x, y, size, phase = torch.rand(4, count, 1, 1, generator=rng)
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")

    def disc(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ((3 + 2 * size) - ((rows - y).square() + (columns - x).square()).sqrt()).clamp(0, 1)

    x, y = 5 + 6 * x, 5 + 6 * y
    return (disc(x, y) - disc(x + 6 * phase - 3, y)).clamp(0, 1)[:, None]


with tempfile.TemporaryDirectory() as temporary:
    out = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
    out.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) > 1:
        source = Path(sys.argv[1])
        data = mnist(source).images if list(source.glob("*ubyte*")) else images(source, size=(64, 64)).tensor()
        shape, epochs = tuple(data.shape[1:]), 20
    else:
        data, shape, epochs = moons(2000), (1, 16, 16), 25
    own = len(sys.argv) > 1
    vae = aigc.VAE.for_images(shape, latent=32 if own else 5, kind="conv" if own else "mlp")
    print(vae)
    print(vae.fit(data, epochs=epochs, batch_size=64, seed=0))

    held = data[:8]
    found = vae.log_likelihood(held, samples=200)
    print(f"log p(x): {found.mean:.1f} nats, give or take {found.standard_error:.1f}")
    use = vae.diagnose(data[:1000])
    print(
        f"rate {use.rate:.1f} nats, of which {use.mutual_information:.1f} tell pictures apart; {use.active_units} of "
        f"{use.latent} dimensions are used"
    )

    write_png(out / "reconstructions.png", side_by_side(held, vae.reconstruct(held)), scale=4)
    prior = vae.fit_prior(data[:5000], components=50, seed=0)  # where the codes of the data are
    write_png(out / "samples.png", vae.sample(64, seed=0, prior=prior), scale=2)
    write_png(out / "between.png", vae.interpolate(held[0], held[1], steps=10), scale=4)
    write_gif(out / "walk.gif", vae.walk(96, seed=0), scale=8)
    vae.save_pretrained(out / "model")
    again = aigc.VAE.from_pretrained(out / "model")
    print("the same after saving:", torch.equal(again.sample(4, seed=1), vae.sample(4, seed=1)))
    if len(sys.argv) > 2:
        print(f"pictures, an animation and the model are in {out}")
