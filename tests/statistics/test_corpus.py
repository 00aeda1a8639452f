"""What holds of corpora on average: alpha is 1e-6 for each test, and each has a twin that fails."""

import math
import random

import numpy as np

from aigc.data.text import Corpus, _minhash
from aigc.data.text._minhash import Bands

ALPHA_Z = 4.9  # two-sided, alpha = 1e-6


def z(hits: int, n: int, p: float) -> float:
    return (hits - n * p) / math.sqrt(n * p * (1 - p))


def test_the_share_held_out() -> None:
    corpus = Corpus.of([f"document {i}" for i in range(20_000)])
    counts = [corpus.split(held_out=0.1, seed=seed).held_out.count for seed in range(2)]
    assert all(abs(z(count or 0, 20_000, 0.1)) < ALPHA_Z for count in counts)
    assert counts[0] != counts[1]
    assert abs(z(counts[0] or 0, 20_000, 0.12)) > ALPHA_Z


def pair(rng: random.Random, common: int, alone: int) -> tuple[str, str]:
    """Two texts whose runs of one character are sets of known similarity: common / (common + 2 alone)."""
    letters = rng.sample(range(0x4E00, 0x9FA5), common + 2 * alone)
    both, first, second = letters[:common], letters[common : common + alone], letters[common + alone :]
    texts = [[*both, *first], [*both, *second]]
    for text in texts:
        rng.shuffle(text)
    return "".join(map(chr, texts[0])), "".join(map(chr, texts[1]))


def test_bands_meet_as_often_as_the_formula_says() -> None:
    rng, bands, n = random.Random(0), Bands(10, 4), 1500
    for common, alone in ((60, 20), (40, 30)):
        similarity = common / (common + 2 * alone)
        met = 0
        for trial in range(n):
            factors = _minhash.multipliers(bands.bands * bands.rows, trial)
            a, b = (_minhash.band_keys(text, 1, factors, bands) for text in pair(rng, common, alone))
            met += bool((a == b).any())
        assert abs(z(met, n, _minhash.probability(similarity, bands))) < ALPHA_Z
        assert abs(z(met, n, _minhash.probability(similarity, Bands(10, 5)))) > ALPHA_Z


def test_places_of_a_signature_are_independent() -> None:
    """The number of bands in common has the variance of a binomial, which it would not have if hashes went together."""
    rng, bands, n = random.Random(1), Bands(64, 1), 1500
    counts = []
    for trial in range(n):
        factors = _minhash.multipliers(64, trial)
        a, b = (_minhash.band_keys(text, 1, factors, bands) for text in pair(rng, 50, 25))
        counts.append(int((a == b).sum()))
    variance = 64 * 0.5 * 0.5
    # Of n numbers that are nearly normal, the variance has a standard deviation of variance sqrt(2 / n).
    assert abs(np.var(counts) / variance - 1) < ALPHA_Z * math.sqrt(2 / n)
    assert abs(np.mean(counts) - 32) < ALPHA_Z * math.sqrt(variance / n)
