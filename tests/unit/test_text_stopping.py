"""Stop strings: against a brute-force oracle, whatever the cut into tokens."""

import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigc.text.stopping import StopStrings

letters = st.text("ab。", max_size=24)
stops = st.lists(st.text("ab。", min_size=1, max_size=4), max_size=3).map(tuple)
cuts = st.lists(st.integers(0, 24), max_size=8)

Machine = Callable[[tuple[str, ...]], StopStrings]


def oracle(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Reads letter by letter: the first stop that is complete ends the text where the longest such begins."""
    for end in range(len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


def pieces(text: str, cuts: Sequence[int]) -> list[str]:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    return [text[a:b] for a, b in itertools.pairwise(edges)]


def law(machine: Machine, text: str, stops: tuple[str, ...], cuts: Sequence[int]) -> None:
    state = machine(stops)
    shown = ""
    expected, hit = oracle(text, stops)
    for piece in pieces(text, cuts):
        shown += state.push(piece)
        assert expected.startswith(shown), "a part of a stop string leaked"
    shown += state.finish()
    assert (shown, state.hit) == (expected, hit)


@given(text=letters, stops=stops, cuts=cuts)
def test_any_cut_gives_what_the_whole_text_gives(text: str, stops: tuple[str, ...], cuts: list[int]) -> None:
    law(StopStrings, text, stops, cuts)


class Leaky(StopStrings):
    """A mutant that holds nothing back."""

    def push(self, text: str) -> str:
        for stop in self.stops:
            if stop in text:
                self.hit = True
                return text[: text.index(stop)]
        return "" if self.hit else text


class FirstBeginning(StopStrings):
    """A mutant in which the stop string that begins first wins, so that the cut into tokens matters."""

    def push(self, text: str) -> str:
        found = [text.index(stop) for stop in self.stops if stop in text]
        if found and not self.hit:
            self.hit = True
            return text[: min(found)]
        return super().push(text)


@pytest.mark.parametrize("mutant", [Leaky, FirstBeginning])
def test_the_law_kills(mutant: Machine) -> None:
    @settings(database=None, report_multiple_bugs=False, max_examples=1000)
    @given(text=letters, stops=stops, cuts=cuts)
    def check(text: str, stops: tuple[str, ...], cuts: list[int]) -> None:
        law(mutant, text, stops, cuts)

    with pytest.raises(AssertionError):
        check()
