"""CUDA: metrics of features that lie there are those of the CPU, in float64. Run with `pytest -m gpu`.

Extractors that convolve are compared in float64 too: in float32 a GPU rounds what it multiplies there to 10 bits.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from aigc import metrics
from aigc.metrics import Features, Moments, extract
from aigc.metrics.features import PCA, Classifier, Flatten, RandomConv, Wrapped
from aigc.training import Processes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

DEVICE = torch.device("cuda")
SHAPE = (1, 8, 8)


def features(n: int, seed: int, *, d: int = 12, dtype: torch.dtype = torch.float64) -> Tensor:
    made = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (made * torch.linspace(0.5, 2, d, dtype=torch.float64) + 0.3 * seed).to(dtype)


def images(n: int, *, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Noise, and a bright stripe where the class says."""
    labels = torch.arange(n) % classes
    x = torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(0)) * 0.3
    for place, label in enumerate(labels.tolist()):
        x[place, :, 2 * label] += 1
    return x, labels


def same(found: Any, expected: Any) -> None:
    """Results are equal: words and counts exactly, numbers to 1e-8."""
    one, other = asdict(found), asdict(expected)
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, float):
            assert value == pytest.approx(other[name], rel=1e-8, abs=1e-8), name
        elif isinstance(value, Tensor):
            torch.testing.assert_close(value.cpu(), other[name].cpu(), rtol=1e-8, atol=1e-8)
        else:
            assert value == other[name], name


PAIRS: dict[str, Callable[[Any, Any], Any]] = {
    "frechet": metrics.frechet_distance,
    "kid": lambda a, b: metrics.kid(a, b, subsets=5, size=40, block=64),
    "kid of all": lambda a, b: metrics.kid(a, b, subsets=None, block=33),
    "precision": lambda a, b: metrics.precision_recall(a, b, block=50),
    "density": lambda a, b: metrics.density_coverage(a, b, block=50),
    "neighbours": lambda a, b: metrics.c2st(a, b, permutations=20),
    "linear": lambda a, b: metrics.c2st(a, b, permutations=20, classifier="linear"),
    "mauve": metrics.mauve,
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name: str, dtype: torch.dtype) -> None:
    """Whatever they come in, they are compared in float64; one set may be on the CPU."""
    real, fake = features(150, 0, dtype=dtype), features(120, 1, dtype=dtype)
    expected = PAIRS[name](real, fake)
    same(PAIRS[name](real.to(DEVICE), fake.to(DEVICE)), expected)
    same(PAIRS[name](real.to(DEVICE), fake), expected)
    same(PAIRS[name](real, fake.to(DEVICE)), expected)


@pytest.mark.parametrize("name", ["frechet", "linear", "kid of all"])
def test_more_dimensions_than_examples(name: str) -> None:
    real, fake = features(40, 0, d=90), features(30, 1, d=90)
    same(PAIRS[name](real.to(DEVICE), fake.to(DEVICE)), PAIRS[name](real, fake))


@pytest.mark.parametrize("name", ["precision", "density"])
def test_a_set_compared_with_itself_has_all_its_points_on_the_edge(name: str) -> None:
    real = features(120, 0)
    same(PAIRS[name](real.to(DEVICE), real.to(DEVICE)), PAIRS[name](real, real))


def test_modes() -> None:
    centres = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0)).double() * 4
    points = centres[torch.arange(200) * 7 % 8] + features(200, 0, d=2) * 0.5
    how: dict[str, Any] = {"std": 0.5, "radius": 2.0}
    expected = metrics.mode_coverage(points, centres=centres, **how)
    same(metrics.mode_coverage(points.to(DEVICE), centres=centres, **how), expected)
    same(metrics.mode_coverage(points, centres=centres.to(DEVICE), **how), expected)
    labels, share = torch.arange(100) % 7, torch.full((9,), 1 / 9)
    expected = metrics.mode_coverage(labels, modes=9, reference=share)
    same(metrics.mode_coverage(labels.to(DEVICE), modes=9, reference=share.to(DEVICE)), expected)


@pytest.mark.parametrize("splits", [None, 4])
def test_inception_score(splits: int | None) -> None:
    p = features(50, 0).softmax(-1)
    same(metrics.inception_score(p.to(DEVICE), splits=splits), metrics.inception_score(p, splits=splits))


def test_bad_numbers_are_named_where_they_are() -> None:
    x = features(20, 0)
    x[7, 3] = torch.nan
    with pytest.raises(ValueError, match="first in row 7"):
        metrics.frechet_distance(features(20, 1).to(DEVICE), x.to(DEVICE))


def test_moments_of_parts_here_and_there() -> None:
    real, fake = features(160, 0), features(150, 1)
    parts = [Moments.of(part.to(DEVICE)) for part in real.split(50)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged + part
    expected = Moments.of(real)
    for name in ("mean", "scatter"):
        torch.testing.assert_close(getattr(merged, name).cpu(), getattr(expected, name), rtol=1e-9, atol=1e-9)
    assert merged.mean.device.type == DEVICE.type
    mixed = Moments.of(real[:50]).update(real[50:].to(DEVICE))
    assert mixed.mean.device.type == "cpu"
    wanted = metrics.frechet_distance(real, fake)
    for one in (merged, mixed):
        found = metrics.frechet_distance(one, Moments.of(fake.to(DEVICE)))
        assert found.value == pytest.approx(wanted.value, rel=1e-8)
    empty = Moments.of(real[:0].to(DEVICE)) + merged
    torch.testing.assert_close(empty.scatter, merged.scatter)
    known = Moments.known(expected.mean.to(DEVICE), expected.covariance.to(DEVICE), n=160)
    assert metrics.frechet_distance(known, fake).value == pytest.approx(wanted.value, rel=1e-8)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of this one process."""
    backend = "nccl" if DEVICE.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("where", ["cpu", "device"])
def test_moments_of_all_processes_are_sent_from_wherever_they_are(where: str, group: None) -> None:
    """NCCL itself sends nothing that is on the CPU."""
    own = Moments.of(features(60, 0).to(DEVICE if where == "device" else "cpu"))
    found = own.over_processes()
    assert found.mean.device == own.mean.device
    torch.testing.assert_close(found.mean, own.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.scatter, own.scatter, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("where", ["cpu", "device"])
def test_numbers_of_all_processes_are_added_wherever_they_are(where: str, group: None) -> None:
    """As if there were two, of which the other sends nothing. Those of a model on the CPU go by way of the device."""
    values = [features(3, 0), torch.ones(()), torch.arange(4)]
    sent = [value.to(DEVICE if where == "device" else "cpu") for value in values]
    Processes(rank=0, world=2).total(sent)
    assert {value.device.type for value in sent} == {DEVICE.type if where == "device" else "cpu"}
    assert all(torch.equal(found.cpu(), value) for found, value in zip(sent, values, strict=True))


EXTRACTORS: dict[str, Callable[[Tensor], Any]] = {
    "flatten": lambda x: Flatten(),
    "pca": lambda x: PCA(5).fit(x),
    "pca of few": lambda x: PCA(5).fit(x[:20]),
    "random": lambda x: RandomConv(width=8, layers=3),
}


@pytest.mark.parametrize("name", EXTRACTORS)
def test_extractors(name: str) -> None:
    """Components may point either way, which no distance sees."""
    x = images(70)[0].double()
    here, there = EXTRACTORS[name](x), EXTRACTORS[name](x.to(DEVICE))
    one, other = extract(here, x, batch_size=32).values, extract(there, x.to(DEVICE), batch_size=32).values
    assert other.device.type == DEVICE.type
    torch.testing.assert_close(other.cpu().abs(), one.abs(), rtol=1e-7, atol=1e-8)
    moved = extract(there, x)  # fitted on the device, and applied to data of the CPU
    torch.testing.assert_close(moved.values, other.cpu(), rtol=1e-7, atol=1e-8)
    assert moved.version == there.version


@pytest.mark.parametrize("labelled", ["cpu", "device"])
def test_a_classifier_learns_on_the_device(labelled: str, tmp_path: Path) -> None:
    """Labels may be on the CPU, and so may what it is asked about."""
    x, y = images(90)
    net = Classifier.fit(x.to(DEVICE), y.to(DEVICE if labelled == "device" else "cpu"), epochs=12, batch_size=30, width=8)
    assert {p.device.type for p in net.parameters()} == {DEVICE.type}
    assert float((net.predict(x).cpu() == y).double().mean()) > 0.9
    assert torch.equal(net.predict(x), net.predict(x.to(DEVICE)))
    net.save_pretrained(tmp_path / "net")
    here, there = Classifier.from_pretrained(tmp_path / "net").double(), net.double()
    torch.testing.assert_close(there(x).cpu(), here(x), rtol=1e-9, atol=1e-9)
    same(metrics.inception_score(there.probabilities(x)), metrics.inception_score(here.probabilities(x)))
    both = [extract(one, x, batch_size=40) for one in (here, there)]
    assert both[0].version == both[1].version
    found = metrics.frechet_distance(Moments.extract(there, x[:60].to(DEVICE)), both[0])
    assert found.value == pytest.approx(metrics.frechet_distance(Moments.extract(here, x[:60]), both[0]).value, rel=1e-7)
    stacked = torch.cat([x[:10], x[10:20]], 1)
    assert there.stacked(stacked).tolist() == here.stacked(stacked).tolist()


def test_a_module_of_the_callers() -> None:
    with torch.random.fork_rng():  # a layer draws its first weights from the global generator
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 6), torch.nn.Dropout()).double()
    x = images(20)[0].double()
    expected = extract(Wrapped(net, "own", "1", dim=6), x).values
    found = extract(Wrapped(net.to(DEVICE), "own", "1", dim=6), (part.to(DEVICE) for part in x.split(7)))
    torch.testing.assert_close(found.values.cpu(), expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(extract(Wrapped(net, "own", "1", dim=6), x.split(7)).values, found.values)  # data of the CPU
    kinds = metrics.frechet_distance(found, Features(expected + 1, "own", "1"))
    assert kinds.value == pytest.approx(6.0, rel=1e-8)
