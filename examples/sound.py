"""Sounds learned and made: `python examples/sound.py [folder or archive of WAV files] [folder for results]`.

Classes are what the names of the files begin with: 7_george_3.wav is a 7. Without arguments it plucks its own strings,
learns them in some seconds, and leaves no files.
"""

import sys
import tempfile
from pathlib import Path

import torch

import aigc
from aigc import nets
from aigc.data import sounds, write_wav
from aigc.vae.quantise import VQ

RATE = 8000


def strings(count: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Plucked strings of four pitches: sums of harmonics that fade, the higher ones sooner."""
    rng = torch.Generator().manual_seed(0)
    pitch = torch.randint(4, (count,), generator=rng)
    strength, phase = torch.rand(2, count, 1, 1, generator=rng)
    time = torch.arange(length) / RATE
    base = 220 * 2 ** (pitch[:, None, None] / 4)
    harmonics = torch.arange(1, 5)[:, None]
    waves = torch.sin(2 * torch.pi * (base * harmonics * time + phase)) * torch.exp(-6 * harmonics * time) / harmonics
    return (0.3 + 0.2 * strength) * waves.sum(1, keepdim=True), pitch


with tempfile.TemporaryDirectory() as temporary:
    out = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
    out.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) > 1:
        source = sounds(sys.argv[1], length=4096, channels=1, labels=lambda name: Path(name).name.split("_")[0])
        x, labels, classes = source.tensor(), source.labels, len(source.classes)
        epochs, rate = 40, source.rate
    else:
        (x, labels), classes, epochs, rate = strings(1000, 512), 4, 10, RATE
    # A waveform has a phase, which no small code of real numbers keeps; whole numbers for short pieces of it do better.
    vae = aigc.VQVAE.for_sounds(tuple(x.shape[1:]), quantiser=VQ(256, features=32), steps=3)
    print(vae)
    print(vae.fit(x, epochs=epochs, batch_size=32, seed=0))
    print(vae.fit_prior((x, labels), condition=nets.Classes(classes), width=64, epochs=epochs, batch_size=32, seed=0))

    again = vae.reconstruct(x[:64])
    left = (again - x[:64]).square().mean() / x[:64].square().mean()
    print(f"of the energy of sounds, {1 - left:.0%} is in what their codes say, {vae.encode(x[:1]).numel()} for each")
    made = vae.sample(classes, seed=0, condition=torch.arange(classes), temperature=0.9)
    for name, sound in enumerate(made):
        write_wav(out / f"{name}.wav", sound / sound.abs().max().clamp(min=1e-3) * 0.9, rate=rate)
    write_wav(out / "before-and-after.wav", torch.cat([x[0], again[0]], 1).clamp(-1, 1), rate=rate)
    if len(sys.argv) > 2:
        print(f"the sounds are in {out}")
