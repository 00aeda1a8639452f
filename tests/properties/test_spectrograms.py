"""Spectrograms, against a transform written out in numpy; and the way back."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aigc.data import Spectrogram
from aigc.errors import ParameterError


def written_out(x: np.ndarray, window: int, hop: int, decibels: float) -> np.ndarray:
    """The picture of one sound, one sum a pixel."""
    hann = np.array([0.5 - 0.5 * np.cos(2 * np.pi * i / window) for i in range(window)])
    made = np.zeros((window // 2, len(x) // hop))
    for frame in range(len(x) // hop):
        first = frame * hop - (window - hop) // 2
        piece = np.array([x[first + i] if 0 <= first + i < len(x) else 0.0 for i in range(window)]) * hann
        for row in range(window // 2):
            wave = np.exp(-2j * np.pi * row * np.arange(window) / window)
            size = abs((piece * wave).sum()) * 2 / hann.sum()
            made[row, frame] = np.clip(1 + 20 * np.log10(max(size, 1e-300)) / decibels, 0, 1)
    return made


def noise(seed: int, *shape: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=rng, dtype=torch.float64) * 2 - 1


@st.composite
def kinds(draw: st.DrawFn) -> Spectrogram:
    window = 2 * draw(st.integers(2, 12))
    return Spectrogram(window=window, hop=draw(st.integers(1, window // 2)), decibels=draw(st.floats(10, 90)))


@given(kinds(), st.integers(1, 5), st.integers(0, 99))
def test_a_picture_is_the_transform_written_out(kind: Spectrogram, frames: int, seed: int) -> None:
    x = noise(seed, 2, 2, frames * kind.hop)
    made = kind.pictures(x)
    assert made.shape == (2, 2, kind.window // 2, frames)
    for i in range(2):
        for channel in range(2):
            wanted = written_out(x[i, channel].numpy(), kind.window, kind.hop, kind.decibels)
            np.testing.assert_allclose(made[i, channel].numpy(), wanted, atol=1e-9)


@given(st.floats(0.1, 20), st.integers(2, 29))
def test_a_quieter_sound_is_darker_by_as_many_decibels(decibels: float, row: int) -> None:
    kind = Spectrogram(window=64, hop=16, decibels=80)
    wave = torch.sin(2 * torch.pi * row / 64 * torch.arange(512, dtype=torch.float64))[None, None]
    loud, quiet = kind.pictures(wave)[0, 0], kind.pictures(wave * 10 ** (-decibels / 20))[0, 0]
    assert loud[:, 16].argmax() == row
    assert abs(float(loud[row, 16]) - 1) < 1e-3
    assert float(loud[row, 16] - quiet[row, 16]) == pytest.approx(decibels / 80, abs=1e-3)


def distance(kind: Spectrogram, sound: torch.Tensor, picture: torch.Tensor) -> float:
    """Of magnitudes, not of decibels: what the rounds bring down; the row that the picture leaves out is silent in it."""
    size = torch.hann_window(kind.window, dtype=torch.float64)
    left = (kind.window - kind.hop) // 2
    padded = torch.nn.functional.pad(sound[0, 0], (left, kind.window - kind.hop - left))
    magnitudes = torch.fft.rfft(padded.unfold(0, kind.window, kind.hop) * size).abs().T
    target = torch.where(picture > 0, 10 ** ((picture - 1) * kind.decibels / 20), 0.0)[0, 0] * size.sum() / 2
    weights = torch.full((len(magnitudes), 1), 2.0, dtype=torch.float64)  # both halves of a real signal's transform
    weights[0] = weights[-1] = 1
    target = torch.cat([target, torch.zeros_like(target[:1])])
    return float(((magnitudes - target).square() * weights).sum())


@given(kinds(), st.integers(2, 8), st.integers(0, 99))
def test_no_round_without_momentum_leads_away(kind: Spectrogram, frames: int, seed: int) -> None:
    picture = noise(seed, 1, 1, kind.window // 2, frames).abs()
    far = [distance(kind, kind.sounds(picture, seed=seed, iterations=i, momentum=0), picture) for i in range(6)]
    for before, after in itertools.pairwise(far):
        assert after <= before * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("momentum", [0, 0.99])
def test_a_sound_comes_back(momentum: float) -> None:
    time = torch.arange(2048, dtype=torch.float64) / 8000
    wave = sum(torch.sin(2 * torch.pi * 220 * i * time) * torch.exp(-3 * i * time) / (2 * i) for i in (1, 2, 3))
    kind = Spectrogram()
    picture = kind.pictures(torch.as_tensor(wave)[None, None])
    again = kind.sounds(picture, seed=0, momentum=momentum)
    silence = torch.zeros_like(again)
    assert distance(kind, again, picture) < 0.02 * distance(kind, silence, picture)
    assert distance(kind, kind.sounds(picture, seed=0, iterations=0), picture) > 0.1 * distance(kind, silence, picture)


def test_momentum_comes_nearer() -> None:
    kind = Spectrogram(window=64, hop=16)
    picture = kind.pictures(noise(0, 1, 1, 640))
    plain, fast = (distance(kind, kind.sounds(picture, seed=0, momentum=m), picture) for m in (0, 0.99))
    assert fast < 0.95 * plain


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4), st.integers(0, 99))
def test_a_picture_makes_the_same_sound_in_any_batch(seeds: list[int], seed: int) -> None:
    kind = Spectrogram(window=16, hop=4)
    pictures = noise(seed, len(seeds), 2, 8, 6).abs().float()
    together = kind.sounds(pictures, seed=seeds, iterations=3)
    for i, own in enumerate(seeds):
        assert torch.equal(together[i], kind.sounds(pictures[i : i + 1], seed=[own], iterations=3)[0])
    assert not torch.equal(together, kind.sounds(pictures, seed=[own + 1 for own in seeds], iterations=3))


def test_silence_is_silent() -> None:
    kind = Spectrogram(window=16, hop=4)
    assert not kind.pictures(torch.zeros(1, 1, 32)).any()
    assert not kind.sounds(torch.zeros(1, 1, 8, 5), seed=0).any()


@pytest.mark.parametrize(
    ("kind", "cure"),
    [
        ({"window": 7}, "even"),
        ({"window": 2}, "window"),
        ({"window": 16, "hop": 9}, "hop"),
        ({"hop": 0}, "hop"),
        ({"decibels": 0}, "decibels"),
        ({"decibels": float("nan")}, "decibels"),
    ],
)
def test_numbers_out_of_range(kind: dict[str, float], cure: str) -> None:
    with pytest.raises(ParameterError, match=cure):
        Spectrogram(**kind)  # type: ignore[arg-type]


def test_sounds_and_pictures_are_checked() -> None:
    kind = Spectrogram(window=16, hop=4)
    for bad, cure in (
        (torch.zeros(1, 1, 33), "length=36"),
        (torch.zeros(1, 32), "shape"),
        (torch.zeros(0, 1, 32), "none of them 0"),
        (torch.full((1, 1, 32), 1.5), r"x.abs\(\).max\(\)"),
        (torch.full((1, 1, 32), float("nan")), "finite, .* Leave these out"),
        (torch.zeros(1, 1, 32, dtype=torch.int64), "float32"),
    ):
        with pytest.raises(ParameterError, match=cure):
            kind.pictures(bad)
    for bad, cure in (
        (torch.zeros(1, 1, 9, 5), "8 rows"),
        (torch.zeros(1, 8, 5), "shape"),
        (torch.full((1, 1, 8, 5), -0.1), "clamp"),
    ):
        with pytest.raises(ParameterError, match=cure):
            kind.sounds(bad, seed=0)
    with pytest.raises(ParameterError, match="iterations"):
        kind.sounds(torch.zeros(1, 1, 8, 5), iterations=-1)
