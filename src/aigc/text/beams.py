"""Beam search: a prompt's likeliest beginnings side by side, of which each step keeps the best continuations.

A prompt's search is a few values, one `Group` of beams each, and a step is a function from a group to the next. The loop
reads one token per beam in a forward, for all prompts of a batch; beams that go on from the same one select its row twice.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from aigc._checks import fail, integer, number
from aigc.kernels import Status
from aigc.sampling import Categorical
from aigc.text.loop import Forward
from aigc.text.rows import Row, Step
from aigc.text.shaping import Shape, best, verdict

__all__ = ["Beam", "BeamLoop", "BeamSearch", "Candidate", "Found", "Group", "grow", "over", "write"]


@dataclass(frozen=True, slots=True)
class BeamSearch:
    r"""Looks for likely texts: keeps `beams` beginnings, and of all their continuations the best at each step.

    A text that ended is ranked by $\sum_i \log p_i \,/\, m^a$, with $m$ its number of tokens and $a$ the length penalty.
    That is `Completion.score`. Tokens are those of `transformers.generate(num_beams=...)`.

    Args:
        beams: At least 1; 1 is greedy. So many rows of the model run for each prompt.
        length_penalty: Above 0 it favours long texts, below 0 short ones; 0 ranks by probability.
        early_stopping: When a prompt's search ends. True: as soon as `beams` texts have ended. False: when the best
            beginning would not rank among them if it ended here. `"never"`: when it could not at any length.
        groups: Diverse beam search (Vijayakumar et al., 2016, arXiv:1610.02424): beams form so many groups, and a group
            pays for tokens that those before it took at this step. The texts are taken from the groups in turn.
        diversity: What each such token costs, in nats; above 0 with groups, and only with them. Scores keep it.

    Raises:
        ParameterError: If one is out of range.

    Example:
        >>> BeamSearch(4, length_penalty=0.8)
        BeamSearch(beams=4, length_penalty=0.8, early_stopping=False, groups=1, diversity=0.0)
    """

    beams: int = 4
    length_penalty: float = field(default=1.0, kw_only=True)
    early_stopping: bool | Literal["never"] = field(default=False, kw_only=True)
    groups: int = field(default=1, kw_only=True)
    diversity: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        integer("beams", self.beams, low=1)
        integer("groups", self.groups, low=1)
        number("length_penalty", self.length_penalty)
        number("diversity", self.diversity, low=0)
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise fail("early_stopping", 'True, False or "never"', self.early_stopping)
        if self.beams % self.groups:
            raise fail("groups", f"a divisor of beams={self.beams}", self.groups)
        if self.groups > 1 and self.diversity == 0:
            raise fail("diversity", "above 0 with groups, which would else be the same", self.diversity)
        if self.groups == 1 and self.diversity > 0:
            raise fail("diversity", "0 without groups", self.diversity, "Set groups to how many there shall be.")

    @property
    def size(self) -> int:
        """Beams of a group."""
        return self.beams // self.groups

    def score(self, total: float, length: int) -> float:
        """What ranks a text."""
        return total / math.pow(length, self.length_penalty)


class Candidate(NamedTuple):
    """A continuation of a beam by one token: what it counts, whose, which, and the token's log-probability."""

    total: float
    parent: int
    token: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Beam:
    """A text in the making, or one that ended.

    Attributes:
        row: The text; it is not changed any more, but forked.
        total: The sum of its log-probabilities, less what diversity cost.
        parent: The beam of its group that it goes on from.
    """

    row: Row
    total: float = 0.0
    parent: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Beams that compete: those that go on, and those that ended; the best first in both."""

    live: tuple[Beam, ...]
    finished: tuple[Beam, ...] = ()


class Found(NamedTuple):
    """The end of a prompt's search: its place in the batch, and its groups as they are."""

    place: int
    groups: tuple[Group, ...]
    status: Status


def grow(group: Group, candidates: Sequence[Candidate], given: BeamSearch, *, ends: Collection[int]) -> Group:
    """A step of a group. Of the candidates, best first, those that end count only among the best `size`."""
    live: list[Beam] = []
    finished = list(group.finished)
    for rank, candidate in enumerate(candidates[: _reach(given, ends)]):
        if len(live) == given.size <= rank:
            break
        row = group.live[candidate.parent].row.fork()
        row.push(candidate.token, candidate.logprob, end=candidate.token in ends)
        beam = Beam(row, candidate.total, candidate.parent)
        if row.finish_reason is None and len(live) < given.size:
            live.append(beam)
        elif row.finish_reason is not None and rank < given.size:
            row.score = given.score(beam.total, len(row.tokens))
            finished.append(beam)
    finished.sort(key=_score, reverse=True)  # stable: what ended first stays before what ranks the same
    kept = Group(tuple(live), tuple(finished[: given.size]))
    return replace(kept, live=()) if over(kept, given) else kept


def over(group: Group, given: BeamSearch) -> bool:
    """Whether no beam that goes on could still matter."""
    if not group.live:
        return True
    if len(group.finished) < given.size or given.early_stopping is True or given.beams == 1:
        return len(group.finished) == given.size
    row = group.live[0].row
    longest = given.early_stopping == "never" and given.length_penalty > 0
    hoped = given.score(group.live[0].total, row.request.limit if longest else len(row.tokens))
    return hoped <= _score(group.finished[-1])


def _score(beam: Beam) -> float:
    assert beam.row.score is not None, "it ended"
    return beam.row.score


def _reach(given: BeamSearch, ends: Collection[int]) -> int:
    """How many candidates are looked at: so many that `size` of them go on, were all ends among the best."""
    return max(2, 1 + len(ends)) * given.size


class _Search(NamedTuple):
    """A prompt's search: its place in the batch, its filters, its groups, and the first of its rows."""

    place: int
    shape: Shape
    groups: tuple[Group, ...]


class BeamLoop(Iterator[list[Found]]):
    """Grows the beams of all prompts by one token each time it is asked, and returns the searches that ended.

    Args:
        model: The forward of the prompts, one row each.
        rows: An empty text for each.
        samplers: The filters of each.
        given: How to search.
        ends: The ids that end a text.
    """

    def __init__(
        self,
        model: Forward,
        rows: Sequence[Row],
        samplers: Sequence[Categorical],
        given: BeamSearch,
        *,
        ends: Collection[int],
    ) -> None:
        self._model, self._given, self._ends = model, given, ends
        self._searches = [
            _Search(i, Shape.begin(sampler, row.request.ids, row.request.seed), (Group((Beam(row),)),) * given.groups)
            for i, (row, sampler) in enumerate(zip(rows, samplers, strict=True))
        ]
        self._tokens: Tensor | None = None

    def __next__(self) -> list[Found]:
        # As in `Loop`: inference mode must not stay on while the caller holds what was found.
        with torch.inference_mode():
            if not self._searches:
                raise StopIteration
            return self._step(self._model.prefill() if self._tokens is None else self._model.step(self._tokens))

    def _step(self, logits: Tensor) -> list[Found]:
        first = self._tokens is None
        counts = [1 if first else sum(len(group.live) for group in search.groups) for search in self._searches]
        parts = zip(self._searches, torch.split(logits, counts), strict=True)
        left = [search.shape.filtered(part) for search, part in parts]
        tops = torch.cat([part.amax(-1) for part in left]).tolist()
        reach = _reach(self._given, self._ends) + (self._given.beams if self._given.groups > 1 else 0)
        likeliest = best(torch.cat(left).log_softmax(-1), reach)
        found: list[Found] = []
        searches: list[_Search] = []
        alive: list[int] = []
        at = 0
        for search, count in zip(self._searches, counts, strict=True):
            rows = slice(at, at + count)
            status = max((verdict(top) for top in tops[rows]), key=lambda one: one is not Status.OK)
            if status is not Status.OK:
                found.append(Found(search.place, search.groups, status))
            else:
                groups, parents = self._grow(search.groups, likeliest[rows], shared=first)
                if parents:
                    searches.append(self._follow(search, groups, parents))
                    alive += [at + parent for parent in parents]
                else:
                    found.append(Found(search.place, groups, Status.OK))
            at += count
        self._go_on(searches, alive, logits)
        return found

    def _grow(
        self, groups: Sequence[Group], likeliest: Sequence[list[tuple[float, int]]], *, shared: bool
    ) -> tuple[tuple[Group, ...], list[int]]:
        """The next groups of a prompt, and which of its rows each beam that goes on reads further; `shared`: all row 0."""
        taken: Counter[int] = Counter()
        grown: list[Group] = []
        parents: list[int] = []
        first = 0
        for group in groups:
            rows = likeliest[first : first + len(group.live)]
            candidates = [
                Candidate(beam.total + logprob - self._given.diversity * taken[token], parent, token, logprob)
                for parent, (beam, row) in enumerate(zip(group.live, rows, strict=True))
                for logprob, token in row
                if logprob > -torch.inf
            ]
            candidates.sort(key=lambda one: (-one.total, one.parent, one.token))
            after = grow(group, candidates, self._given, ends=self._ends) if group.live else group
            taken.update(beam.row.tokens[-1] for beam in after.live)
            parents += [first + beam.parent for beam in after.live]
            grown.append(after)
            first += 0 if shared else len(group.live)
        return tuple(grown), parents

    def _follow(self, search: _Search, groups: tuple[Group, ...], parents: Sequence[int]) -> _Search:
        beams = [beam for group in groups for beam in group.live]
        tokens = torch.tensor([beam.row.tokens[-1] for beam in beams])
        logprobs = torch.tensor([beam.row.logprobs[-1] for beam in beams])
        return _Search(search.place, search.shape.follow(torch.tensor(parents), tokens, logprobs), groups)

    def _go_on(self, searches: list[_Search], alive: list[int], logits: Tensor) -> None:
        self._searches = searches
        if not searches:
            return
        if alive != list(range(len(logits))):
            self._model.select(torch.tensor(alive, device=logits.device))
        tokens = [beam.row.tokens[-1] for search in searches for group in search.groups for beam in group.live]
        self._tokens = torch.tensor(tokens, device=logits.device)


def write(loop: BeamLoop, *, n: int, turn: AbstractContextManager[object], rows: Sequence[Row]) -> Iterator[Step]:
    """Runs a batch of searches, and yields the `n` best texts of each when it ends: `n * i + j` is the j-th of prompt i.

    Args:
        loop: The searches.
        n: Texts per prompt.
        turn: Held while a step runs, and never while the caller has one.
        rows: The empty text of each prompt.
    """
    while True:
        with turn:
            found = next(loop, None)
        if found is None:
            return
        step: Step = []
        for one in found:
            row = rows[one.place]
            texts = _failed(one, row, n) if one.status is not Status.OK else _chosen(one.groups, row, n)
            for j, text in enumerate(texts):
                step += [(text, chunk) for chunk in text.chunks(n * row.request.index + j)]
        yield step


def _chosen(groups: Sequence[Group], row: Row, n: int) -> list[Row]:
    """The texts of a search: of each group in turn its best, best first. Where filters leave too few, the rest fail."""
    turns = [beam for rank in range(n) for group in groups for beam in group.finished[rank : rank + 1]]
    texts = [beam.row for beam in sorted(turns[:n], key=_score, reverse=True)]
    return texts + _failures([row] * (n - len(texts)), Status.EMPTY)


def _failed(found: Found, row: Row, n: int) -> list[Row]:
    """The beginnings that a search had when a row of its logits was bad."""
    beams = sorted((beam for group in found.groups for beam in group.live), key=lambda beam: beam.total, reverse=True)
    return _failures([*(beam.row for beam in beams), *[row] * n][:n], found.status)


def _failures(rows: Sequence[Row], status: Status) -> list[Row]:
    failed = [row.fork() for row in rows]
    for row in failed:
        row.end(status)
    return failed
