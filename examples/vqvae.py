"""Discrete codes: pictures become a few whole numbers each, and a transformer learns to write such numbers.

`python examples/vqvae.py [folder for results]`. It draws its own pictures, small rings and crosses, and learns them in some
seconds; without a folder it leaves no files.
"""

import sys
import tempfile
from pathlib import Path

import torch

import aigc
from aigc import nets
from aigc.data import side_by_side, write_png
from aigc.vae.quantise import VQ


def drawings(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rings (class 0) and crosses (class 1), 16 by 16, at random places and of random sizes."""
    rng = torch.Generator().manual_seed(0)
    x, y, size = torch.rand(3, count, 1, 1, generator=rng)
    kind = torch.arange(count) % 2
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    down, right, size = rows - (5 + 6 * y), columns - (5 + 6 * x), 3 + 1.5 * size
    ring = (1.5 - ((down.square() + right.square()).sqrt() - size).abs()).clamp(0, 1)
    near = ((size + 1 - torch.maximum(down.abs(), right.abs())).clamp(0, 1)) * 1.0
    cross = (1.5 - torch.minimum((down - right).abs(), (down + right).abs()) / 1.4).clamp(0, 1) * near
    return torch.where(kind[:, None, None] == 0, ring, cross)[:, None], kind


with tempfile.TemporaryDirectory() as temporary:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
    out.mkdir(parents=True, exist_ok=True)
    x, kind = drawings(1500)

    vae = aigc.VQVAE.for_images((1, 16, 16), quantiser=VQ(32, features=8), steps=2, width=16)  # 4 by 4 codes a picture
    print(vae)
    print(vae.fit(x, epochs=10, batch_size=50, seed=0, lr=3e-3))
    print("a picture as indices:", vae.encode(x[:1]).flatten().tolist())

    uniform = vae.elbo(x[:500]).divergence.mean()
    small = {"width": 48, "layers": 2, "heads": 4}
    print(vae.fit_prior((x, kind), condition=nets.Classes(2), epochs=15, batch_size=50, seed=0, lr=3e-3, **small))
    found = vae.diagnose(x[:500], kind[:500])
    print(f"a code takes {found.rate:.1f} nats; {uniform:.1f} if all were as likely")
    print(f"of {found.usage.codes} codes {found.usage.dead[0]} are not used; perplexity {found.usage.perplexity[0]:.1f}")

    write_png(out / "reconstructions.png", side_by_side(x[:16], vae.reconstruct(x[:16])), scale=3)
    wanted = torch.arange(64) // 8 % 2  # a row of rings, a row of crosses
    write_png(out / "samples.png", vae.sample(64, seed=0, condition=wanted, temperature=0.8), columns=8, scale=3)
    vae.save_pretrained(out / "model")
    again = aigc.VQVAE.from_pretrained(out / "model")
    alone = again.sample(1, seed=[aigc.random.stream(0, 5)], condition=wanted[5:6], temperature=0.8)
    whole = vae.sample(64, seed=0, condition=wanted, temperature=0.8)
    print("sample 5 is the same by itself, after saving:", torch.equal(alone[0], whole[5]))
    if len(sys.argv) > 1:
        print(f"pictures and the model are in {out}")
