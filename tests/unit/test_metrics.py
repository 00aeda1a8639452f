"""Metrics: what results say, which input is refused and how, and extractors of features."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aigc import checkpoint, metrics
from aigc.errors import ModelFileError, ParameterError, TypeParameterError
from aigc.metrics import Features, Moments, extract
from aigc.metrics.features import PCA, Classifier, FeatureExtractor, Flatten, RandomConv, Wrapped
from aigc.metrics.features.contract import digest

PAIRED = [metrics.frechet_distance, metrics.kid, metrics.precision_recall, metrics.density_coverage, metrics.c2st]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(metric: Callable[..., Any], real: Any, fake: Any, **how: Any) -> Any:
    """A metric of few examples."""
    return metric(real, fake, **({"subsets": 3, "size": 5} if metric is metrics.kid else {}), **how)


@pytest.mark.parametrize("metric", PAIRED)
def test_results_say_how_they_were_measured(metric: Callable[..., Any]) -> None:
    real, fake = Features(normal(30, 2), "encoder", "v7"), Features(normal(20, 2, seed=1), "encoder", "v7")
    found = small(metric, real, fake)
    assert (found.extractor, found.version, found.dim) == ("encoder", "v7", 2)
    assert (found.n_real, found.n_fake) == ((20, 20) if metric is metrics.c2st else (30, 20))
    assert f"features: encoder v7; {found.n_real} real, 20 generated" in str(found)
    assert "FID" not in str(found)
    assert "KID" not in str(found)
    assert small(metric, real.values, fake.values).extractor == "unnamed"
    with pytest.raises(AttributeError):
        found.n_real = 7


def test_published_names_are_for_inception() -> None:
    real, fake = (Features(normal(1200, 2, seed=i).double(), "inception", "2015-12-05") for i in (1, 2))
    assert str(metrics.frechet_distance(real, Moments.of(fake))).startswith("FID ")
    assert "1,200 real, 1,200 generated" in str(metrics.frechet_distance(real, fake))
    assert str(metrics.kid(real, fake, subsets=2, size=9)).startswith("KID ")
    named = Features(torch.eye(3), "inception", "2015-12-05")
    assert str(metrics.inception_score(named)).startswith("Inception score 3 of at most 3")
    assert str(metrics.inception_score(torch.eye(4), splits=2)).startswith("Classifier score 2 +- 0 over 2 splits")


@pytest.mark.parametrize("metric", PAIRED)
@pytest.mark.parametrize(
    "real, fake, message",
    [
        (normal(30), normal(30, 2), r"real must be features of shape \(n, d\), got \(30,\)\. Use extract"),
        (normal(30, 2), normal(30, 3), r"fake must be of 2 dimensions, as real is, got .*3.* Extract both"),
        (normal(30, 2).log(), normal(30, 2), r"real must be finite, got 'nan or infinity in \d+ rows, first in row \d+'"),
        (normal(30, 2), normal(30, 2) / 0, r"fake must be finite, got 'nan or infinity in 30 rows, first in row 0'"),
        (normal(30, 2), normal(0, 2), r"fake must be features of at least \d+ examples, got 0"),
        (normal(1, 2), normal(30, 2), r"real must be features of at least \d+ examples, got 1"),
        (normal(30, 0), normal(30, 0), r"real must be features of shape \(n, d\), got \(30, 0\)"),
        (Features(normal(30, 2), "a", "1"), Features(normal(30, 2), "a", "2"), r"other set, 'a 1', got 'a 2'\. Extract"),
        (Features(normal(30, 2), "a", "1"), normal(30, 2), r"other set, 'a 1', got 'unnamed'"),
    ],
)
def test_bad_features(metric: Callable[..., Any], real: Any, fake: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        small(metric, real, fake)


@pytest.mark.parametrize("metric", PAIRED)
@pytest.mark.parametrize("bad", [np.zeros((30, 2)), [[0.0]], None, torch.zeros(30, 2, dtype=torch.int64)])
def test_features_of_another_type(metric: Callable[..., Any], bad: Any) -> None:
    with pytest.raises(TypeParameterError, match="fake must be a floating tensor of features"):
        small(metric, normal(30, 2), bad)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: metrics.kid(x, x), "at least 1000 examples, got 9. Give more, or a smaller size"),
        (lambda x: metrics.kid(x, x, size=1), "size must be an integer of at least 2"),
        (lambda x: metrics.kid(x, x, subsets=0), "subsets must be an integer of at least 2, got 0. None is off"),
        (lambda x: metrics.kid(x, x, subsets=None, seed=0.5), "seed must be an integer"),
        (lambda x: metrics.kid(x, x, size=3, seed=2**63), "seed must be an integer in"),
        (lambda x: metrics.kid(x, x, subsets=None, block=0), "block must be an integer of at least 1"),
        (lambda x: metrics.precision_recall(x, x, k=9), "at least 10 examples, got 9. A 9-th neighbour needs 10"),
        (lambda x: metrics.precision_recall(x, x[:3], k=3), "fake must be features of at least 4 examples"),
        (lambda x: metrics.density_coverage(x, x, k=0), "k must be an integer of at least 1"),
        (lambda x: metrics.density_coverage(x, x, k=2.0), "k must be an integer of at least 1"),
        (lambda x: metrics.c2st(x, x), "at least 10 examples, got 9. Give more, or fewer folds"),
        (lambda x: metrics.c2st(x, x, folds=1), "folds must be an integer of at least 2"),
        (lambda x: metrics.c2st(x, x, folds=2, permutations=0), "permutations must be an integer of at least 20"),
        (lambda x: metrics.c2st(x, x, classifier="svm"), "classifier must be one of neighbours, linear, got 'svm'"),
        (lambda x: metrics.inception_score(x), "probabilities must be at least 0"),
        (lambda x: metrics.inception_score(x.exp()), r"rows that sum to 1, got '.* in row \d'\. Take logits"),
        (lambda x: metrics.inception_score(torch.eye(3), splits=5), "at least 5 examples, got 3"),
        (lambda x: metrics.inception_score(torch.eye(3), splits=1), "splits must be .* None is off"),
        (lambda x: metrics.mode_coverage(x), "one of the two, got 'neither'. Say modes=1000"),
        (lambda x: metrics.mode_coverage(x, modes=3, centres=x), "one of the two, got 'both'"),
        (lambda x: metrics.mode_coverage(x, modes=3), "fake must be int64 labels"),
        (lambda x: metrics.mode_coverage(torch.tensor([3]), modes=3), r"labels in \[0, 3\), got 3"),
        (lambda x: metrics.mode_coverage(torch.tensor([-1]), modes=3), r"labels in \[0, 3\), got -1"),
        (lambda x: metrics.mode_coverage(torch.tensor([[1]]), modes=3), r"labels \(n,\), at least one"),
        (lambda x: metrics.mode_coverage(torch.tensor([1]), modes=3, std=1.0), "std must be None with labels"),
        (lambda x: metrics.mode_coverage(torch.tensor([1]), modes=2, reference=torch.ones(2)), "2 probabilities"),
        (lambda x: metrics.mode_coverage(torch.tensor([1]), modes=2, reference=torch.ones(1)), "2 probabilities"),
        (lambda x: metrics.mode_coverage(x, centres=x), "std must be a finite number above 0, got None"),
        (lambda x: metrics.mode_coverage(x, centres=x, std=0), "std must be a finite number above 0"),
        (lambda x: metrics.mode_coverage(x, centres=x, std=1, radius=math.nan), "radius must be a finite number above 0"),
        (lambda x: metrics.mode_coverage(x, centres=x[:, :1], std=1), "centres must be of 2 dimensions"),
        (lambda x: Moments.of(x).update(x[:, :1]), "other must be of 2 dimensions"),
        (lambda x: Moments.of(Features(x, "a")).update(x), "extractor of the other set, 'a', got 'unnamed'"),
        (lambda x: Moments.of(x[:1]).covariance, "n must be at least 2 for a covariance"),
        (lambda x: metrics.frechet_distance(x, Moments.of(x[:1])), "fake must be moments of at least 2 examples"),
        (lambda x: Moments(3, x[0], x), r"of shapes \(d,\) and \(d, d\)"),
        (lambda x: Moments(3, x[0], x[:2]), "float64"),
        (lambda x: Moments.known(x[0], x[:2], n=9), "covariance must be a symmetric matrix"),
        (lambda x: Moments.known(x[0], torch.tensor([[1.0, 0.5], [0.4, 1.0]]), n=9), "covariance must be a symmetric"),
        (lambda x: Moments.known(x[0], -torch.eye(2), n=9), "variances of at least 0"),
        (lambda x: Moments.known(x[0], torch.eye(2) / 0, n=9), "finite"),
        (
            lambda x: Moments.known(x[0], torch.tensor([[1.0, 2.0], [2.0, 1.0]]), n=9),
            "of eigenvalues of at least 0, got -1",
        ),
        (lambda x: Moments.known([0.0, 0.0], torch.eye(2), n=9), "mean must be a tensor, got .*Call torch.as_tensor"),
        (lambda x: Moments.known(x[0], [[1.0]], n=9), "covariance must be a tensor"),
        (lambda x: metrics.mode_coverage(torch.tensor([1]), modes=2, reference=[0.5, 0.5]), "reference must be a tensor"),
        (lambda x: Moments.known(x[0], torch.eye(2), n=1), "n must be an integer of at least 2"),
        (lambda x: Moments.extract(Flatten(), []), "data must be at least one batch"),
        (lambda x: extract(Flatten(), iter([])), "data must be at least one batch"),
        (lambda x: extract(Flatten(), [(x, 0)]), "(?s)iterable of tensors, .* Leave labels out"),
        (lambda x: extract(Flatten(), x, batch_size=0), "batch_size must be"),
        (lambda x: extract(Wrapped(lambda v: v.sum(), "sum", "1"), x), r"output must be of shape \(9, d\)"),
        (lambda x: Wrapped(lambda v: v, "same", "1", dim=3)(x), r"output must be of shape \(9, 3\)"),
        (lambda x: Wrapped(7, "seven", "1"), "module must be an nn.Module or another function"),
        (lambda x: Wrapped(abs, "", "1"), "name must be a name"),
        (lambda x: PCA(2)(x), r"PCA must be fitted, .* Call PCA\(2\).fit"),
        (lambda x: PCA(3).fit(x), "x must be of more than 3 examples and at least 3 numbers"),
        (lambda x: PCA(1).fit(x)(x[:, :1]), "x must be of 2 numbers each"),
        (lambda x: PCA(1).fit((255 * x).byte()), r"x must be a floating tensor .*got torch.uint8.*float\(\) / 255"),
        (lambda x: PCA(1).fit(x)((255 * x).byte()), "x must be a floating tensor"),
        (lambda x: PCA(1).fit(x.numpy()), "x must be a floating tensor"),
        (lambda x: PCA(1).fit(x)(x.numpy()), "x must be a floating tensor"),
        (lambda x: PCA(1).fit(x.log()), "x must be finite"),
        (lambda x: RandomConv(0)(x), r"x must be floating images \(n, c, h, w\) or sounds"),
        (lambda x: RandomConv(0.5), "seed must be"),
    ],
)
def test_bad_arguments(call: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        call(normal(9, 2))


def test_moments_are_values_of_named_features() -> None:
    x = normal(20, 3)
    before = Moments.of(Features(x[:10], "a", "1"))
    after = before + Moments.of(Features(x[10:], "a", "1"))
    assert (before.n, after.n, after.extractor, after.version) == (10, 20, "a", "1")
    streamed = Moments.extract(Wrapped(lambda v: v * 1, "a", "1"), iter(x.split(7)))
    torch.testing.assert_close(streamed.scatter, after.scatter)
    assert metrics.frechet_distance(after, streamed).value < 1e-20
    assert (streamed.n, streamed.extractor, streamed.version) == (20, "a", "1")


@given(n=st.integers(1, 6), d=st.integers(1, 30), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_a_covariance_that_was_rounded_is_taken(n: int, d: int, seed: int) -> None:
    """Of fewer examples than dimensions, of very different sizes, rounded to float32: eigenvalues of 0 become any sign."""
    x = normal(n + 1, d, seed=seed).double() * torch.logspace(-6, 6, d, dtype=torch.float64)
    covariance = torch.from_numpy(np.cov(x.numpy(), rowvar=False).reshape(d, d)).float()
    covariance = (covariance + covariance.mT) / 2
    assert Moments.known(x[0], covariance, n=n + 1).dim == d
    assert Moments.known(x[0], torch.zeros(d, d), n=2).dim == d
    lowered = covariance.double() - 1e-5 * covariance.double().trace() * torch.eye(d)
    with pytest.raises(ParameterError, match="of (eigenvalues|variances) of at least 0"):
        Moments.known(x[0], lowered - torch.linalg.eigvalsh(covariance.double())[0].clamp(min=0) * torch.eye(d), n=9)


def test_extracting_joins_batches_without_gradients() -> None:
    x = normal(10, 1, 3, 3).requires_grad_()
    whole = extract(Flatten(), x, batch_size=4)
    assert not whole.values.requires_grad
    assert torch.equal(whole.values, x.flatten(1))
    assert torch.equal(extract(Flatten("samples"), x.split(3)).values, whole.values)
    assert extract(Flatten("samples"), x).extractor == "samples"
    assert Flatten()(torch.zeros(5)).shape == (5, 1)


def test_everything_built_in_is_an_extractor() -> None:
    images = normal(6, 1, 8, 8)
    for extractor in (Flatten(), PCA(2).fit(images), RandomConv(0), Classifier((1, 8, 8), 2), Wrapped(abs, "a", "1")):
        assert isinstance(extractor, FeatureExtractor)
        if not isinstance(extractor, Wrapped):
            assert extract(extractor, images).values.shape == (6, extractor.dim or 64)


def test_a_module_of_the_callers_has_its_data_where_its_weights_are() -> None:
    """Weights or buffers; a function has neither, and takes data where it is."""
    buffers = torch.nn.BatchNorm1d(4, affine=False, device="meta")
    for module in (torch.nn.Linear(4, 3, device="meta"), buffers):
        assert Wrapped(module, "own", "1")(normal(5, 4)).device.type == "meta"
    for here in (torch.nn.Identity(), lambda v: v):
        assert Wrapped(here, "own", "1")(normal(5, 4)).device.type == "cpu"


def test_versions_are_those_of_the_bytes_in_any_dtype() -> None:
    x = normal(3, 4)
    numbers = [digest(x.to(dtype)) for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)]
    assert len(set(numbers)) == 4
    for tensor in (x, x.mT, x[0, 0], x[:0], x > 0, torch.arange(5)):
        given = str(tuple(tensor.shape)).encode() + np.ascontiguousarray(tensor.numpy()).tobytes()
        assert digest(tensor) == hashlib.sha256(given).hexdigest()[:8]
    judge = Classifier((1, 8, 8), 2).bfloat16()
    assert extract(judge, normal(6, 1, 8, 8)).version == judge.version != Classifier((1, 8, 8), 2).version


@given(n=st.integers(3, 12), d=st.integers(2, 12), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_components_are_those_of_numpy(n: int, d: int, seed: int) -> None:
    x = normal(n, d, seed=seed).double()
    q = min(n - 1, d, 2)
    found = PCA(q).fit(x)
    centred = x.numpy() - x.numpy().mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    wanted = u[:, :q] * s[:q]
    np.testing.assert_allclose(found(x).abs().numpy(), np.abs(wanted), atol=1e-6)  # signs are free
    other = PCA(q).fit(x + 1)
    assert found.version == PCA(q).fit(x).version != other.version


def test_random_convolutions_are_orthogonal_and_of_the_seed() -> None:
    from aigc.metrics.features.random_conv import _weights

    for weight in _weights(3, 1, 8, 3, 2)[1:]:  # of more inputs than outputs
        rows = weight.flatten(1).double()
        torch.testing.assert_close(rows @ rows.T, 2 / 1.01 * torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-6)
    x = normal(4, 3, 16, 16)
    one = RandomConv(5)(x)
    assert torch.equal(one, RandomConv(5)(x))
    assert not torch.allclose(one, RandomConv(6)(x))
    assert RandomConv(5).version != RandomConv(6).version
    torch.testing.assert_close(RandomConv(5)(x[2:3]), one[2:3])
    assert RandomConv(5)(normal(2, 1, 50)).shape == (2, 256)
    assert RandomConv(5, width=4, layers=2)(normal(2, 2, 3, 3)).shape == (2, 16)


def test_a_wrapped_module_keeps_its_mode_and_sees_no_gradients() -> None:
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2)).train()
    module[2].eval()
    wrapped = Wrapped(module, "mine", "1", dim=2)
    before = [part.training for part in module.modules()]
    x = normal(5, 2)
    found = wrapped(x)
    assert [part.training for part in module.modules()] == before
    assert torch.equal(found, wrapped(x))
    assert not found.requires_grad
    assert int(module[2].num_batches_tracked) == 0


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)


@pytest.fixture(scope="module")
def judge(digits: tuple[Tensor, Tensor]) -> Classifier:
    return Classifier.fit(digits[0][:1297], digits[1][:1297], epochs=12, batch_size=64, seed=0)


def test_a_classifier_learns_digits(judge: Classifier, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits[0][1297:], digits[1][1297:]
    assert float((judge.predict(images) == labels).double().mean()) > 0.93  # logistic regression has about 0.91
    probabilities = judge.probabilities(images)
    assert torch.equal(probabilities.values.argmax(-1), judge.predict(images, batch_size=7))
    assert 8 < metrics.inception_score(probabilities).value <= 10
    assert float(judge.mean) == pytest.approx(float(digits[0][:1297].mean()))
    assert float(extract(judge, digits[0][:1297]).values.square().mean()) == pytest.approx(1, rel=1e-5)
    real, fake = extract(judge, digits[0][:250]), extract(judge, digits[0][250:500])
    noise = extract(judge, torch.rand(250, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert 4 * metrics.frechet_distance(real, fake).value < metrics.frechet_distance(real, noise).value
    assert "classifier" in str(metrics.frechet_distance(real, fake))


def test_a_classifier_judges_stacked_digits(judge: Classifier, digits: tuple[Tensor, Tensor]) -> None:
    which = torch.randint(500, (200, 3), generator=torch.Generator().manual_seed(0)) + 1297
    labels = judge.stacked(digits[0][which][:, :, 0])
    single = judge.predict(digits[0][1297:])
    wanted = [int("".join(str(int(single[i - 1297])) for i in row)) for row in which.tolist()]
    assert labels.tolist() == wanted
    found = metrics.mode_coverage(labels, modes=1000)
    assert found.modes == len(set(wanted))
    with pytest.raises(ParameterError, match="of shape"):
        judge.stacked(digits[0][:, 0])


def test_a_classifier_is_a_function_of_its_seed(digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits[0][:200], digits[1][:200]
    one, same, other = (Classifier.fit(images, labels, epochs=1, seed=s, width=4, dim=8) for s in (1, 1, 2))
    assert one.version == same.version != other.version
    assert Classifier((1, 8, 8), 10, seed=1).version != Classifier((1, 8, 8), 10, seed=2).version
    assert one(images).shape == (200, 8)
    assert not one.training
    torch.testing.assert_close(one(images[3:4]), one(images)[3:4])


def test_a_classifier_is_saved_and_read(judge: Classifier, digits: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    judge.save_pretrained(tmp_path / "judge")
    read = Classifier.from_pretrained(tmp_path / "judge")
    assert read.version == judge.version
    assert torch.equal(read(digits[0][:50]), judge(digits[0][:50]))
    checkpoint.save(tmp_path / "other", config={"model": "VAE"}, tensors={})
    with pytest.raises(ModelFileError, match="holds 'VAE', not a Classifier"):
        Classifier.from_pretrained(tmp_path / "other")


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4).long(), "images must be a floating tensor"),
        (torch.zeros(4, 8, 8), torch.zeros(4).long(), "images must be of shape"),
        (
            torch.zeros(4, 1, 8, 8).index_fill(0, torch.tensor([2]), math.nan),
            torch.zeros(4).long(),
            r"first in images\[2\]",
        ),
        (torch.ones(4, 1, 8, 8) / 0, torch.zeros(4).long(), "images must be finite, got 'nan or infinity in 4"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4), "labels must be an int64 tensor"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(3).long(), "labels must be one for each of 4 images"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4).long() - 1, "labels must be at least 0"),
    ],
)
def test_a_classifier_refuses(images: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Classifier.fit(images, labels)


def test_a_classifier_refuses_other_images(judge: Classifier) -> None:
    with pytest.raises(ParameterError, match=r"x must be images of shape \(n, 1, 8, 8\)"):
        judge(torch.zeros(2, 1, 9, 8))
    with pytest.raises(ParameterError, match="classes must be an integer of at least 3"):
        Classifier.fit(torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]), classes=2)
