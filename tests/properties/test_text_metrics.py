"""The laws of metrics of text, against brute force in plain Python and against closed forms."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from aigc.metrics import text as T
from aigc.metrics.text import OverlapIndex, ScoredText
from aigc.metrics.text._kmeans import kmeans

SEEDS = st.integers(0, 10**6)
TEXT = st.text("ab明月 .'-😀", max_size=20)
IDS = st.lists(st.integers(0, 3), max_size=12)


def doubles(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- units --------------------------------------------------------------------------------------------------------------


@given(text=st.text(max_size=40))
def test_units_lose_nothing_but_spaces(text: str) -> None:
    spans = T.spans(text)
    assert [text[a:b] for a, b in spans] == T.words(text)
    assert all(a < b for a, b in spans)
    assert all(b <= c for (_, b), (c, _) in itertools.pairwise(spans))
    assert "".join(T.words(text)) == "".join(c for c in text if not c.isspace())


@given(
    words=st.lists(st.sampled_from(["tide", "Été", "don't", "x_1", "42", "well-known"]), max_size=6),
    sea=st.text("海明あー𠀀", max_size=6),
)
def test_units_are_words_and_characters(words: list[str], sea: str) -> None:
    assert T.words(" ".join(words) + " " + sea) == [*words, *sea]
    assert T.words("".join(f"{word}。" for word in words)) == [part for word in words for part in (word, "。")]


# --- diversity ----------------------------------------------------------------------------------------------------------


def grams(text: list, n: int) -> list[tuple]:
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


@given(texts=st.lists(IDS, min_size=1, max_size=5), n=st.integers(1, 3), units=st.integers(1, 30) | st.none())
def test_distinct_and_entropy_count_what_is_there(texts: list[list[int]], n: int, units: int | None) -> None:
    flat = [(i, unit) for i, text in enumerate(texts) for unit in text]
    assume(units is None or n <= units <= len(flat))
    kept = flat[:units]
    cut = [[unit for j, unit in kept if j == i] for i in range(len(texts))]
    counts = Counter(gram for text in cut for gram in grams(text, n))
    assume(counts)
    total = sum(counts.values())
    found, entropy = T.distinct_n(texts, n=n, units=units), T.ngram_entropy(texts, n=n, units=units)
    assert (found.distinct, found.total, found.units) == (len(counts), total, len(kept))
    assert found.value == len(counts) / total
    assert entropy.value == pytest.approx(-sum(c / total * math.log2(c / total) for c in counts.values()), abs=1e-12)


def bleu(text: list[int], others: list[list[int]], n: int) -> float:
    """BLEU as published, smoothed by Lin and Och, of effective order."""
    logs = []
    for k in range(1, n + 1):
        own = Counter(grams(text, k))
        if not own:
            continue
        shared = sum(min(c, max(Counter(grams(other, k))[gram] for other in others)) for gram, c in own.items())
        share = shared / sum(own.values()) if k == 1 else (shared + 1) / (sum(own.values()) + 1)
        if share == 0:
            return 0.0
        logs.append(math.log(share))
    if not logs:
        return 0.0
    nearest = sorted((abs(len(other) - len(text)), len(other)) for other in others)[0][1]
    return min(1.0, math.exp(1 - nearest / len(text))) * math.exp(sum(logs) / len(logs))


@given(texts=st.lists(IDS, min_size=2, max_size=6), n=st.integers(1, 4))
def test_self_bleu_is_the_mean_of_each_against_the_others(texts: list[list[int]], n: int) -> None:
    assume(any(texts))
    wanted = [bleu(text, texts[:i] + texts[i + 1 :], n) for i, text in enumerate(texts)]
    assert T.self_bleu(texts, n=n).value == pytest.approx(sum(wanted) / len(wanted), abs=1e-12)


# --- repetition and lengths ---------------------------------------------------------------------------------------------


@given(
    texts=st.lists(st.lists(st.integers(0, 2), max_size=24), min_size=1, max_size=4),
    n=st.integers(1, 4),
    w=st.integers(1, 6),
)
def test_repetition_is_brute_force(texts: list[list[int]], n: int, w: int) -> None:
    assume(any(len(text) >= n for text in texts))
    shares = [1 - len(set(grams(text, n))) / len(grams(text, n)) for text in texts if len(text) >= n]
    near = sum(text[i] in text[max(0, i - w) : i] for text in texts for i in range(len(text)))
    longest = [
        max((k for k in range(len(text)) if len(set(grams(text, k))) < len(grams(text, k))), default=0) for text in texts
    ]
    found = T.repetition(texts, n=n, window=w)
    assert found.repeated == pytest.approx(sum(shares) / len(shares), abs=1e-12)
    assert found.near == near / sum(map(len, texts))
    assert (found.longest, found.longest_text) == (max(longest), longest.index(max(longest)))
    assert (found.measured, found.texts) == (len(shares), len(texts))


@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_lengths_are_numpys_quantiles(sizes: list[int]) -> None:
    found = T.lengths(["x" * size for size in sizes], tokenize=list)
    assert found.mean == pytest.approx(np.mean(sizes))
    assert dict(found.quantiles) == pytest.approx({q: float(np.quantile(sizes, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)})


# --- likelihood ---------------------------------------------------------------------------------------------------------


@given(nats=st.lists(st.floats(0, 1e4), min_size=1, max_size=8), seed=SEEDS)
def test_bits_and_perplexity_are_the_formulas(nats: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 100, (len(nats), 3))
    documents = [ScoredText(x, int(t), int(c), int(b)) for x, (t, c, b) in zip(nats, counts, strict=True)]
    total, (tokens, characters, size) = sum(nats), counts.sum(0)
    found = T.likelihood(documents, confidence=None)
    assert found.bits_per_byte.value == pytest.approx(total / math.log(2) / size)
    assert found.bits_per_character.value == pytest.approx(total / math.log(2) / characters)
    assume(total / tokens < 700)
    assert found.perplexity.value == pytest.approx(math.exp(total / tokens))
    assert found.amount == T.Amount(len(nats), int(characters), int(size), int(tokens))


@given(text=TEXT, parts=st.lists(st.floats(-9, 0), max_size=9))
def test_a_scored_text_knows_its_size(text: str, parts: list[float]) -> None:
    found = ScoredText.of(parts, text)
    assert (found.tokens, found.characters, found.bytes) == (len(parts), len(text), len(text.encode()))
    assert found.nats == pytest.approx(-sum(parts))


@given(seed=SEEDS, scale=st.floats(0.1, 10))
def test_an_interval_follows_its_unit_and_holds_its_figure(seed: int, scale: float) -> None:
    x = 50 + 5 * doubles(20, seed=seed)
    documents = [ScoredText(float(v), 10, 30, 40) for v in x]
    larger = [ScoredText(scale * float(v), 10, 30, 40) for v in x]
    a, b = (T.likelihood(each, resamples=500, seed=seed) for each in (documents, larger))
    assert a.bits_per_byte.low < a.bits_per_byte.value < a.bits_per_byte.high
    assert b.bits_per_byte == pytest.approx(tuple(scale * v for v in a.bits_per_byte))
    bits = a.bits_per_byte
    assert a.bits_per_character == pytest.approx(tuple(v * 40 / 30 for v in bits))  # the same draws, other units
    assert a.perplexity == pytest.approx(tuple(math.exp(v * math.log(2) * 4) for v in bits))
    assert T.likelihood(documents, resamples=500, seed=seed) == a


# --- comparison ---------------------------------------------------------------------------------------------------------


@given(nats=st.lists(st.floats(0, 1e4), min_size=2, max_size=30), seed=SEEDS, level=st.floats(0.5, 0.99))
def test_a_model_is_never_better_than_itself(nats: list[float], seed: int, level: float) -> None:
    documents = [ScoredText(v, 5, 7, 9) for v in nats]
    found = T.compare(documents, list(documents), seed=seed, resamples=200, confidence=level)
    assert (found.verdict, found.difference, found.low, found.high, found.p_value) == ("undecided", 0.0, 0.0, 0.0, 1.0)


@given(off=st.lists(st.floats(-5, 5), min_size=2, max_size=10), seed=SEEDS)
def test_the_test_by_signs_is_exact_and_no_verdict_is_without_both(off: list[float], seed: int) -> None:
    ours = [ScoredText(100 + v, 5, 7, 9) for v in off]
    theirs = [ScoredText(100.0, 5, 7, 9) for _ in off]
    real = [document.nats - 100.0 for document in ours]
    sums = [
        abs(math.fsum(s * v for s, v in zip(signs, real, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(off))
    ]
    seen = abs(math.fsum(real))
    wanted = sum(value >= seen - 1e-9 for value in sums) / len(sums)
    strictly = sum(value > seen + 1e-9 for value in sums) / len(sums)
    found, turned = (T.compare(*pair, resamples=300, seed=seed) for pair in ((ours, theirs), (theirs, ours)))
    assert strictly <= found.p_value <= wanted
    assert found.difference == pytest.approx(-turned.difference)
    if found.low <= 0 <= found.high or found.p_value > 0.05 or len(off) < 6:
        assert found.verdict == "undecided"
    else:
        assert found.verdict == ("first" if seen and sum(real) < 0 else "second")
        assert turned.verdict != found.verdict


def test_a_difference_within_the_margin_is_none() -> None:
    ours = [ScoredText(100.0 + 1e-5 + 1e-7 * (i % 3), 5, 7, 9) for i in range(40)]
    theirs = [ScoredText(100.0, 5, 7, 9)] * 40
    assert T.compare(ours, theirs).verdict == "second"  # 1.6e-6 bits per byte
    assert T.compare(ours, theirs, margin=1e-4).verdict == "undecided"


# --- divergence ---------------------------------------------------------------------------------------------------------


def trapezoid(p: np.ndarray, q: np.ndarray, c: float) -> float:
    """The area by two hundred thousand mixtures, from both ends on."""
    odds = np.linspace(-60, 60, 200_001)
    more, less = 1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(odds))
    x, y = np.zeros_like(odds), np.zeros_like(odds)
    for a, b in zip(p, q, strict=True):
        mixed = more * a + less * b
        x += b * np.log(b / mixed) if b else 0
        y += a * np.log(a / mixed) if a else 0
    x, y = np.exp(-c * x), np.exp(-c * y)
    return float(x[-1] * y[-1] + (-np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


@settings(max_examples=20)
@given(
    p=st.lists(st.integers(0, 9), min_size=2, max_size=5),
    q=st.lists(st.integers(0, 9), min_size=2, max_size=5),
    c=st.floats(1, 8),
)
def test_the_area_is_that_of_a_fine_grid_and_the_integral_that_of_quadrature(p: list[int], q: list[int], c: float) -> None:
    size = min(len(p), len(q))
    a, b = (np.array(values[:size], dtype=float) for values in (p, q))
    assume(a.sum() and b.sum())
    one, other = torch.from_numpy(a), torch.from_numpy(b)
    found, turned = T.divergence_frontier(one, other, scaling=c), T.divergence_frontier(other, one, scaling=c)
    a, b = a / a.sum(), b / b.sum()
    assert found.area == pytest.approx(trapezoid(a, b, c), abs=2e-6)  # of the grid
    assert turned.area == pytest.approx(found.area, abs=1e-10)  # symmetric, which no part of the sum is
    nodes, weights = np.polynomial.legendre.leggauss(100)
    total = 0.0
    for weight, value in zip(weights / 2, (nodes + 1) / 2, strict=True):
        mixed = value * a + (1 - value) * b
        total += (
            weight
            * 2
            * (
                value * sum(x * math.log(x / r) for x, r in zip(a, mixed, strict=True) if x)
                + (1 - value) * sum(x * math.log(x / r) for x, r in zip(b, mixed, strict=True) if x)
            )
        )
    assert found.integral == pytest.approx(total, abs=1e-5)  # of the quadrature, which meets logarithms
    assert turned.integral == pytest.approx(found.integral, abs=1e-12)


@given(c=st.floats(0.5, 8), k=st.integers(1, 4))
def test_the_area_of_laws_without_anything_in_common_is_a_beta_function(c: float, k: int) -> None:
    p, q = torch.eye(2, dtype=torch.float64).repeat_interleave(k, dim=1)
    wanted = c * math.exp(math.lgamma(c + 1) + math.lgamma(c) - math.lgamma(2 * c + 1))
    found = T.divergence_frontier(p, q, scaling=c)
    assert found.area == pytest.approx(wanted, rel=1e-9)
    assert found.integral == pytest.approx(1.0, abs=1e-12)


@given(share=st.floats(0.01, 0.99))
def test_a_law_within_another_one_has_its_area_in_closed_form(share: float) -> None:
    """P = (1, 0), Q = (s, 1 - s) at c = 1: x and y are powers of the mixture's weights, and lambda is eased at its end."""
    nodes, weights = np.polynomial.legendre.leggauss(100)
    # With r = lambda + (1 - lambda) s: y = r, x = r^s (1 - lambda)^(1 - s) / s^s; by parts, area = y(0) + int x dy.
    left = ((nodes + 1) / 2) ** 6
    lam, weights = 1 - left, weights * 6 * ((nodes + 1) / 2) ** 5
    r = lam + (1 - lam) * share
    x = (r / share) ** share * left ** (1 - share)
    wanted = share + float((weights / 2 * x * (1 - share)).sum())
    found = T.divergence_frontier(
        torch.tensor([1.0, 0.0]), torch.tensor([share, 1 - share], dtype=torch.float64), scaling=1.0
    )
    assert found.area == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=25)
@given(seed=SEEDS, n=st.integers(3, 6), k=st.integers(1, 3))
def test_clusters_of_few_points_are_the_best_there_are(seed: int, n: int, k: int) -> None:
    x = doubles(n, 2, seed=seed)

    def cost(labels: tuple[int, ...]) -> float:
        found = 0.0
        for label in set(labels):
            points = x[torch.tensor(labels) == label]
            found += float((points - points.mean(0)).square().sum())
        return found

    best = min(cost(labels) for labels in itertools.product(range(k), repeat=n))
    found = kmeans(x, k, rng=torch.Generator().manual_seed(seed), restarts=20)
    assert cost(tuple(found.tolist())) == pytest.approx(best, abs=1e-9)


@settings(max_examples=20)
@given(seed=SEEDS, a=st.integers(1, 4), b=st.integers(1, 4))
def test_mauve_of_clusters_far_apart_is_the_frontier_of_their_shares(seed: int, a: int, b: int) -> None:
    centres = 1000 * torch.eye(3, dtype=torch.float64)
    real = torch.cat([centres[0].expand(5 * a, 3), centres[1].expand(5, 3)]) + doubles(5 * a + 5, 3, seed=seed)
    fake = torch.cat([centres[0].expand(5, 3), centres[2].expand(5 * b, 3)]) + doubles(5 * b + 5, 3, seed=seed + 1)
    p, q = torch.tensor([a, 1, 0]), torch.tensor([1, 0, b])
    found = T.mauve(real, fake, clusters=3, seed=seed)
    wanted = T.divergence_frontier(p, q)
    assert (found.area, found.integral) == pytest.approx((wanted.area, wanted.integral), abs=1e-9)
    smooth = T.divergence_frontier(5 * p + 0.5, 5 * q + 0.5)
    assert found.smoothed == pytest.approx(smooth.area, abs=1e-9)
    assert T.mauve(real, fake, clusters=3, seed=seed) == found
    scaled = torch.tensor([1.0, 1e-3, 30.0], dtype=torch.float64)  # standardised away
    assert T.mauve(real * scaled, fake * scaled, clusters=3, seed=seed).area == pytest.approx(found.area, abs=1e-9)


# --- overlap ------------------------------------------------------------------------------------------------------------


def brute(corpus: list[str], text: str, n: int) -> tuple[int, int, int, int] | None:
    """Longest, then first in the text, then first in the corpus."""
    for length in range(len(text), n - 1, -1):
        for start in range(len(text) - length + 1):
            piece = text[start : start + length]
            for document, body in enumerate(corpus):
                if (offset := body.find(piece)) >= 0:
                    return length, start, document, offset
    return None


def check(corpus: list[str], texts: list[str], n: int) -> None:
    found = OverlapIndex(corpus, n=n).search(texts)
    wanted = [brute(corpus, text, n) for text in texts]
    got = [None if run is None else (run.length, run.start, run.document, run.offset) for run in found.runs]
    assert got == wanted
    assert found.lengths == tuple(0 if run is None else run[0] for run in wanted)
    assert found.share == sum(run is not None for run in wanted) / len(texts)


FEW = st.text("ab", max_size=60)
MANY = st.text("ab明月，😀\ud800\U0010ffff\x00", max_size=40)


@settings(max_examples=300)
@given(corpus=st.lists(FEW, min_size=1, max_size=4), texts=st.lists(FEW, min_size=1, max_size=3), n=st.integers(1, 12))
def test_overlap_is_brute_force_where_all_repeats(corpus: list[str], texts: list[str], n: int) -> None:
    check(corpus, texts, n)


@settings(max_examples=200)
@given(corpus=st.lists(MANY, min_size=1, max_size=4), texts=st.lists(MANY, min_size=1, max_size=3), n=st.integers(1, 9))
@example(corpus=["ab"], texts=["\x00ab"], n=1)
def test_overlap_is_brute_force_of_all_characters(corpus: list[str], texts: list[str], n: int) -> None:
    check(corpus, texts, n)


@settings(max_examples=200)
@given(
    data=st.data(), corpus=st.lists(st.text("abc", min_size=20, max_size=80), min_size=1, max_size=3), n=st.integers(2, 20)
)
def test_copies_are_found_wherever_they_are(data: st.DataObject, corpus: list[str], n: int) -> None:
    body = corpus[data.draw(st.integers(0, len(corpus) - 1))]
    start = data.draw(st.integers(0, len(body) - 1))
    length = data.draw(st.integers(1, len(body) - start))
    text = data.draw(st.text("abcx", max_size=6)) + body[start : start + length] + data.draw(st.text("abcx", max_size=6))
    check(corpus, [text], n)


def test_what_is_not_there_has_no_overlap() -> None:
    index = OverlapIndex(["明月光" * 20, "the sea " * 20], n=4)
    found = index.search(["今人不见古时", "quick brown fox", ""])
    assert (found.lengths, found.share, found.longest, found.count) == ((0, 0, 0), 0.0, 0, 0)


def test_many_characters_and_long_runs_of_one() -> None:
    """Wider numbers than bytes, and than 16 bits; pairs in several blocks."""
    wide = "".join(map(chr, range(0x3400, 0x3400 + 600)))
    check([wide, wide[::-1]], [wide[100:300] + "x" + wide[400:410]], 8)
    huge = "".join(chr(c) for c in range(0x10000, 0x10000 + 70_000))
    index = OverlapIndex(["start", huge, "end"], n=8)
    run = index.longest("zz" + huge[66_000:66_040])
    assert run == T.Run(40, 2, 1, 66_000)
    assert OverlapIndex(["a" * 3000], n=10).longest("b" + "a" * 400 + "b") == T.Run(400, 1, 0, 0)
