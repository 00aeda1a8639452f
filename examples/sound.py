"""Sounds learned and made: `python examples/sound.py [folder or archive of WAV files] [folder for results]`.

Classes are what the names of the files begin with: 7_george_3.wav is a 7. Without arguments it plucks its own strings,
learns them in some seconds, and leaves no files. Half an hour of a core makes spoken digits of 3,000 recordings.
"""

import sys
import tempfile
from pathlib import Path

import torch

import aigc
from aigc import nets
from aigc.data import Spectrogram, side_by_side, sounds, write_png, write_wav
from aigc.vae.quantise import VQ

RATE = 8000


def strings(count: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Plucked strings of four pitches: sums of harmonics that fade, the higher ones sooner; some dull, some bright."""
    rng = torch.Generator().manual_seed(0)
    pitch = torch.randint(4, (count,), generator=rng)
    start, fade, bright, phase = torch.rand(4, count, 1, 1, generator=rng)
    time = torch.arange(length) / RATE - 0.06 * start
    base = 440 * 2 ** (pitch[:, None, None] / 4)
    harmonics = torch.arange(1, 5)[:, None]
    size = torch.exp(-(4 + 12 * fade) * harmonics * time) * harmonics ** -(0.5 + 2 * bright) * (time >= 0)
    return (torch.sin(2 * torch.pi * (base * harmonics * time + phase)) * size).sum(1, keepdim=True), pitch


with tempfile.TemporaryDirectory() as temporary:
    out = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
    out.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) > 1:
        source = sounds(sys.argv[1], length=4096, channels=1, labels=lambda name: Path(name).name.split("_")[0])
        x, labels, classes = source.tensor(), source.labels, source.classes
        epochs, rate, codes, steps, spectrogram = 30, source.rate, 256, 4, Spectrogram(window=256, hop=64)
    else:
        (x, labels), classes = strings(600, 1024), ("a", "c", "dis", "fis")
        epochs, rate, codes, steps, spectrogram = 8, RATE, 32, 3, Spectrogram(window=64, hop=32)

    x = x / x.abs().amax((1, 2), keepdim=True).clamp(min=0.001)  # all equally loud
    pictures = spectrogram.pictures(x)
    vae = aigc.VQVAE.for_images(tuple(pictures.shape[1:]), quantiser=VQ(codes, features=16), steps=steps)
    print(vae)
    print(vae.fit(pictures, epochs=epochs, batch_size=32, seed=0))
    told = nets.Classes(len(classes))
    print(vae.fit_prior((pictures, labels), condition=told, width=128, epochs=epochs, batch_size=32, seed=0))

    again = vae.reconstruct(pictures[:32])
    off = (again - pictures[:32]).abs().mean() * spectrogram.decibels
    print(f"a sound is {vae.encode(pictures[:1]).numel()} codes, which keep its spectrogram to {off:.1f} decibels")
    made = vae.sample(len(classes), seed=0, condition=torch.arange(len(classes)), temperature=0.8)
    for name, sound in zip(classes, spectrogram.sounds(made, seed=0), strict=True):
        write_wav(out / f"{name}.wav", sound / sound.abs().max().clamp(min=0.001) * 0.9, rate=rate)
    write_png(out / "made.png", made.flip(2), scale=2)  # low frequencies at the bottom
    write_png(out / "before-and-after.png", side_by_side(pictures[:32].flip(2), again.flip(2)), scale=2)
    if len(sys.argv) > 2:
        print(f"the sounds are in {out}")
