r"""Pictures of sounds, and sounds of pictures: magnitudes of the short-time Fourier transform, in decibels.

A waveform says the phase of each of its waves, which no ear hears and no small model learns. A spectrogram leaves it out,
and is a picture: models of images learn it. The way back looks for a sound whose spectrogram is the nearest to the picture.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from aigc import random
from aigc._checks import fail, fail_type, integer, number
from aigc.random import Seeds, streams

__all__ = ["Spectrogram"]

_AT_ONCE = 64  # sounds, whose transform takes some eight times their memory


@dataclass(frozen=True, slots=True)
class Spectrogram:
    r"""What turns sounds into pictures in [0, 1] and back.

    With the magnitude m of a wave of each frequency around each moment, where a sine of full scale has 1,

    $$ p = \mathrm{clip}\big(1 + 20 \log_{10}(m) / D,\; 0,\; 1\big). $$

    The transform has Hann windows, each `window` samples long and `hop` samples after the one before; a row of the picture
    is a frequency, from 0 upward by rate / `window`, and a column a moment. The highest frequency, rate / 2, is left out:
    there are window / 2 rows.

    Args:
        window: Samples, even, at least 4: a longer one tells frequencies apart, a shorter one moments. 32 ms are usual for
            speech.
        hop: Samples, at most half a window. A quarter is usual.
        decibels: D, above 0: what is quieter than that below full scale is silence.

    Raises:
        ParameterError: If a number is out of range.

    Example:
        >>> spectrogram = Spectrogram(window=64, hop=16)
        >>> wave = 0.5 * torch.sin(2 * torch.pi * 5 / 64 * torch.arange(512))  # 5 waves in a window, half of full scale
        >>> pictures = spectrogram.pictures(wave[None, None])
        >>> pictures.shape, pictures[0, 0, :, 16].argmax()
        (torch.Size([1, 1, 32, 32]), tensor(5))
        >>> round(60 * (float(pictures[0, 0, 5, 16]) - 1), 2)  # decibels
        -6.02
        >>> spectrogram.sounds(pictures, seed=0).shape
        torch.Size([1, 1, 512])
    """

    window: int = 256
    hop: int = 64
    decibels: float = 60.0

    def __post_init__(self) -> None:
        if integer("window", self.window, low=4) % 2:
            raise fail("window", "even", self.window)
        integer("hop", self.hop, low=1, high=self.window // 2)
        if not number("decibels", self.decibels) > 0:
            raise fail("decibels", "above 0", self.decibels)

    def pictures(self, sounds: Tensor) -> Tensor:
        """Draws sounds; each channel by itself.

        Args:
            sounds: float `(n, channels, length)`, in [-1, 1]; the length a multiple of `hop`.

        Returns:
            `(n, channels, window / 2, length / hop)`, in [0, 1].

        Raises:
            ParameterError: If sounds are of another shape, or NaN, or out of range.
        """
        sounds = _checked("sounds", sounds, 3, -1, "Divide them by their largest: x / x.abs().max().")
        if sounds.shape[-1] % self.hop:
            cure = f"Cut or pad them: read them with length={math.ceil(sounds.shape[-1] / self.hop) * self.hop}."
            raise fail("sounds", f"of a length that is a multiple of hop, {self.hop}", sounds.shape[-1], cure)
        return torch.cat([self._pictures(some) for some in torch.split(sounds, _AT_ONCE)])

    def _pictures(self, sounds: Tensor) -> Tensor:
        magnitudes = self._waves(sounds).abs()[..., :-1, :] * (2 / self._hann(sounds).sum())
        level = 20 / self.decibels * magnitudes.clamp(min=torch.finfo(sounds.dtype).tiny).log10()
        return (1 + level).clamp(0, 1)

    @torch.no_grad()
    def sounds(self, pictures: Tensor, *, seed: Seeds = None, iterations: int = 60, momentum: float = 0.99) -> Tensor:
        r"""Makes sounds of pictures, by finding phases that agree with each other.

        From random phases, magnitudes are made those of the picture and the whole is made the transform of a sound again,
        in turn (Griffin and Lim, IEEE Trans. ASSP 32(2), 1984): without momentum no round takes the spectrogram farther
        from the picture. With it, c + momentum (c - c') goes on where the last two rounds led, and comes nearer far sooner
        (Perraudin, Balazs and Sondergaard, WASPAA 2013).

        Args:
            pictures: float `(n, channels, window / 2, frames)`, in [0, 1]. 0 is silence.
            seed: An int, or one a picture: a picture makes the same sound in any batch. None draws one.
            iterations: Rounds, at least 0.
            momentum: At least 0; 0 is the method of 1984.

        Returns:
            `(n, channels, frames * hop)`: near the loudest pictures beyond [-1, 1], so divide by the largest before
            `write_wav`.

        Raises:
            ParameterError: If pictures are of another shape, or NaN, or out of range.
        """
        pictures = _checked("pictures", pictures, 4, 0, "Clip what a model makes: x.clamp(0, 1).")
        if pictures.shape[2] != self.window // 2:
            raise fail("pictures", f"of window / 2 = {self.window // 2} rows", pictures.shape[2])
        rounds, momentum = integer("iterations", iterations, low=0), number("momentum", momentum, low=0)
        seeds = streams(seed, len(pictures))
        made = [self._sound(picture, seed, rounds, momentum) for picture, seed in zip(pictures, seeds, strict=True)]
        return torch.stack(made)

    def _sound(self, picture: Tensor, seed: Tensor, rounds: int, momentum: float) -> Tensor:
        """The sound of one picture, `(channels, length)`."""
        magnitudes = torch.where(picture > 0, 10 ** ((picture - 1) * (self.decibels / 20)), torch.zeros_like(picture))
        target = functional.pad(magnitudes * (self._hann(picture).sum() / 2), (0, 0, 0, 1))
        turns = random.uniform(seed.cpu(), 0, torch.arange(target.numel())).view(target.shape).to(target)
        waves = torch.polar(target, 2 * math.pi * turns)
        before = torch.zeros_like(waves)
        for _ in range(rounds):
            now = self._waves(self._sum(waves))
            ahead, before = now + momentum * (now - before), now
            waves = torch.polar(target, ahead.angle())
        return self._sum(waves)

    def _waves(self, sounds: Tensor) -> Tensor:
        """The transform of `(*, length)`, complex `(*, window / 2 + 1, frames)`; frame t is around sample (t + 1/2) hop."""
        left = (self.window - self.hop) // 2
        padded = functional.pad(sounds, (left, self.window - self.hop - left))
        frames = padded.unfold(-1, self.window, self.hop) * self._hann(sounds)
        waves: Tensor = torch.fft.rfft(frames)
        return waves.transpose(-1, -2)

    def _sum(self, waves: Tensor) -> Tensor:
        """The sound of the nearest transform, by least squares: frames windowed again, over the squares of windows."""
        hann = self._hann(waves.real)
        frames = torch.fft.irfft(waves.transpose(-1, -2), n=self.window) * hann
        count, left = frames.shape[-2], (self.window - self.hop) // 2
        places = (
            torch.arange(count, device=waves.device)[:, None] * self.hop + torch.arange(self.window, device=waves.device)
        ).flatten()
        size = (count - 1) * self.hop + self.window
        total = frames.new_zeros(*frames.shape[:-2], size).index_add(-1, places, frames.flatten(-2))
        weight = hann.new_zeros(size).index_add(0, places, hann.square().repeat(count))
        inside = slice(left, left + count * self.hop)
        made: Tensor = total[..., inside] / weight[inside]
        return made

    def _hann(self, like: Tensor) -> Tensor:
        return torch.hann_window(self.window, dtype=like.dtype, device=like.device)


def _checked(name: str, values: Tensor, sides: int, low: int, cure: str) -> Tensor:
    if not isinstance(values, Tensor) or values.dtype not in (torch.float32, torch.float64):
        raise fail_type(name, "a tensor of float32 or float64", getattr(values, "dtype", values))
    if values.ndim != sides or not values.numel():
        shape = "(n, channels, length)" if sides == 3 else "(n, channels, window / 2, frames)"
        raise fail(name, f"of shape {shape}, none of them 0", tuple(values.shape))
    least, most = (float(value) for value in values.aminmax())
    if not (math.isfinite(least) and math.isfinite(most)):
        bad = int((~values.isfinite().flatten(1).all(1)).sum())
        raise fail(name, "finite", f"NaN or infinity in {bad} of {len(values)}", "Leave these out.")
    if not (low <= least and most <= 1):
        raise fail(name, f"in [{low}, 1]", most if least >= low else least, cure)
    return values.detach()
