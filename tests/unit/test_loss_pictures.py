"""Pictures of losses: where curves are, read back from the file and from the labels of its axes alone."""

import math
import re
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigc.errors import ParameterError
from aigc.training import History

Curve = list[tuple[float, float]]


def history(steps: tuple[int, ...], **values: tuple[float, ...]) -> History:
    return History(steps, values, done=steps[-1], seed=0)


def scale(labels: list[tuple[str, float]]) -> tuple[float, float]:
    """Offset and factor from pixels to numbers, by the first and the last label."""
    (a, x), (b, y) = labels[0], labels[-1]
    one, other = (float(label.replace(",", "")) for label in (a, b))
    factor = (other - one) / (y - x)
    return one - factor * x, factor


def read(file: Path, count: int) -> tuple[list[str], list[Curve], tuple[float, float]]:
    """Legend, curves in numbers, and how much a pixel is, by an SVG that is a file of its own."""
    root = Xml.fromstring(file.read_bytes())
    texts = [element for element in root.iter() if element.tag.endswith("text")]
    muted = [e for e in texts if "p-muted" in e.attrib["class"] and e.text != "steps"]
    across = scale([(str(e.text), float(e.attrib["x"])) for e in muted if e.attrib["text-anchor"] == "middle"])
    up = scale([(str(e.text), float(e.attrib["y"]) - 4) for e in muted if e.attrib["text-anchor"] == "end"])
    paths = [e.attrib["d"] for e in root.iter() if e.tag.endswith("path") and "p-line" in e.attrib["class"]]
    assert len(paths) == 2 * count, "each with a piece of it in the legend"
    curves = []
    for path in paths[1::2]:
        places = [tuple(map(float, pair.split())) for pair in re.findall(r"[-\d.]+ [-\d.]+", path)]
        curves.append([(across[0] + across[1] * x, up[0] + up[1] * y) for x, y in places])
    legend = [str(e.text) for e in texts if "p-ink" in e.attrib["class"]]
    return legend, curves, (abs(across[1]), abs(up[1]))


@given(
    steps=st.lists(st.integers(1, 100_000), min_size=2, max_size=30, unique=True).map(sorted),
    data=st.data(),
)
def test_curves_stand_where_the_numbers_are(
    steps: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    numbers = st.one_of(st.floats(-50, 50), st.just(math.nan), st.just(math.inf))
    values = {name: tuple(data.draw(numbers) for _ in steps) for name in ("a", "b & <c>")}
    values["a"] = (0.0, *values["a"][1:-1], 1.0)
    values["b & <c>"] = (*values["b & <c>"][:-1], 2.5)
    file = tmp_path_factory.mktemp("picture") / "loss.svg"
    history(tuple(steps), **values).picture(file)
    legend, curves, pixel = read(file, 2)
    assert legend == ["a: 1", "b & <c>: 2.5"]
    for curve, means in zip(curves, values.values(), strict=True):
        wanted = [(step, mean) for step, mean in zip(steps, means, strict=True) if math.isfinite(mean)]
        assert len(curve) == len(wanted)
        for found, point in zip(curve, wanted, strict=True):
            # Places are written with one digit, those of labels too, by which the scale is read.
            assert found[0] == pytest.approx(point[0], abs=0.2 * pixel[0] + 1e-3 * steps[-1])
            assert found[1] == pytest.approx(point[1], abs=0.2 * pixel[1])


def test_of_many_points_the_means_of_neighbours_are_drawn(tmp_path: Path) -> None:
    steps = tuple(range(1, 1102))
    history(steps, loss=tuple(3.0 * (step % 3 == 0) for step in steps)).picture(tmp_path / "loss.svg")
    legend, (curve,), pixel = read(tmp_path / "loss.svg", 1)
    assert legend == ["loss: 3"], "the last value, and no mean"
    assert len(curve) == 367, "of three each, as few as that are at most 400"
    assert curve[0] == pytest.approx((2.0, 1.0), abs=2 * pixel[0])
    assert {round(y, 1) for _, y in curve} == {1.0}


def test_the_legend_says_the_last_value_that_is_finite(tmp_path: Path) -> None:
    losses = (*(6.0,) * 3998, 1.0, math.nan)
    history(tuple(range(1, 4001)), loss=losses).picture(tmp_path / "loss.svg")
    assert read(tmp_path / "loss.svg", 1)[0] == ["loss: 1"]


def test_larger_is_higher_later_is_further_right_and_all_is_in_the_frame(tmp_path: Path) -> None:
    history((10_100, 10_300, 10_900), loss=(1.0, 5.0, 2.0)).picture(tmp_path / "loss.svg")
    svg = (tmp_path / "loss.svg").read_text()
    frame = [float(number) for number in re.findall(r'class="p-grid" d="M([\d.]+) [\d.]+v', svg)]
    path = re.findall(r'class="p-line[^>]* d="M([^"]+)"', svg)[1]
    (x, high), (y, low), (z, middle) = (map(float, place.split()) for place in path.split("L"))
    assert min(frame) <= x < y < z <= max(frame)
    assert max(frame) - min(frame) > 0.8 * 680, "the steps that there are fill the picture"
    assert z - y == pytest.approx(3 * (y - x), abs=0.3)
    assert low < middle < high, "pixels count from the top"
    assert high - middle == pytest.approx((high - low) / 4, abs=0.3)


def test_chosen_names_in_their_order(tmp_path: Path) -> None:
    found = history((1, 2), **dict.fromkeys("abcdefgh", (1.0, 2.0)))
    found.picture(tmp_path / "all.svg")
    assert [name[0] for name in read(tmp_path / "all.svg", 6)[0]] == list("abcdef")
    found.picture(tmp_path / "some.svg", names=("h", "b"))
    assert read(tmp_path / "some.svg", 2)[0] == ["h: 2", "b: 2"]


def test_a_name_given_often_is_one_curve(tmp_path: Path) -> None:
    history((1, 2), loss=(1.0, 2.0)).picture(tmp_path / "loss.svg", names=("loss",) * 7)
    assert read(tmp_path / "loss.svg", 1)[0] == ["loss: 2"]


def test_one_point_and_equal_ones_have_a_scale(tmp_path: Path) -> None:
    history((7,), loss=(3.0,)).picture(tmp_path / "one.svg")
    legend, ((point,),), pixel = read(tmp_path / "one.svg", 1)
    assert point == pytest.approx((7, 3), abs=max(pixel))
    assert legend == ["loss: 3"]


def test_what_cannot_be_drawn_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    found = history((1, 2), loss=(1.0, 2.0), never=(math.nan, math.inf))
    for names, match in (
        (("lost",), "names must be among loss, never, got 'lost'"),
        (("never",), "numbers that were measured"),
        ((), "numbers that were measured"),
        ("loss", "a sequence of names"),
    ):
        with pytest.raises(ParameterError, match=match):
            found.picture(tmp_path / "loss.svg", names=names)
    many = history((1,), **dict.fromkeys("abcdefg", (1.0,)))
    with pytest.raises(ParameterError, match="at most 6 names"):
        many.picture(tmp_path / "loss.svg", names=tuple("abcdefg"))
    with pytest.raises(ParameterError, match="in a folder that exists"):
        found.picture(tmp_path / "nowhere" / "loss.svg")
    assert list(tmp_path.iterdir()) == []
