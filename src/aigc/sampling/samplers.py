"""Samplers: what draws the tokens of a batch, and what it remembers between two steps.

A sampler is pure: `step` returns the next state and leaves the one it was given. A state is a value whose tensors all lead
with the rows, so that finished rows leave by one `select`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

from aigc import kernels
from aigc._checks import fail, fail_type, sequence
from aigc.kernels import Draw, Parameters
from aigc.sampling.noise import Noise
from aigc.sampling.parts import Memory, Part, has_memory, parts_of, take
from aigc.sampling.schedule import apply, arguments, draw, merge, schedule
from aigc.sampling.state import select
from aigc.sampling.words import Words, bind, within

__all__ = ["Categorical", "PerRow", "Sampler", "as_sampler"]

S = TypeVar("S")


@runtime_checkable
class Sampler(Protocol[S]):
    """Draws the next token of every row.

    Example:
        >>> from aigc.sampling import TopK
        >>> isinstance(Categorical(TopK(3)), Sampler)
        True
    """

    def init(self, prompts: Sequence[Sequence[int]]) -> S:
        """Returns the state after the rows' prompts."""
        ...

    def step(self, logits: Tensor, state: S, noise: Noise) -> tuple[Draw, S]:
        """Draws one token per row from logits `(rows, vocab)`, and returns the next state."""
        ...


class _Rows(NamedTuple):
    places: Tensor  # (rows,) the place in the call, for filters with parameters of their own per row
    given: Parameters  # of the filters that run in the kernel
    memories: tuple[Any, ...]  # one per part of the chain; None of a part that has no memory


@dataclass(frozen=True, slots=True)
class Categorical:
    """Draws from the distribution that a filter leaves.

    A run of temperature, top-k, top-p and min-p, in this order, any of them left out, is done by the kernel at once; see
    `explain`. Filters with memory see each token that is drawn.

    Args:
        filter: A filter, with memory or without, or a chain of filters.

    Example:
        >>> import torch
        >>> from aigc.sampling import TopK
        >>> sampler = Categorical(TopK(1))
        >>> draw, _ = sampler.step(torch.tensor([[0.0, 2.0]]), sampler.init([[0]]), Noise.of(torch.tensor([7]), 0))
        >>> draw.token
        tensor([1])
    """

    filter: Part

    @property
    def fused(self) -> bool:
        """Whether the kernel does all of it, so that there is nothing to remember and, on CUDA, nothing to wait for."""
        plan = schedule(parts_of(self.filter))
        return not plan.head and not plan.tail

    def take(self, rows: Tensor) -> "Categorical":
        """The sampler of some rows of a call, given by index."""
        return self._changed(take(self.filter, rows))

    def bind(self, words: Words) -> "Categorical":
        """The sampler on the words of a tokenizer."""
        return self._changed(bind(self.filter, words))

    def within(self, limits: Sequence[int]) -> "Categorical":
        """The sampler for rows of some lengths."""
        return self._changed(within(self.filter, limits))

    def init(self, prompts: Sequence[Sequence[int]]) -> _Rows:
        """The state holds the parameters of each row, so that they leave with it."""
        parts = parts_of(self.filter)
        memories = tuple(cast("Memory[Any]", part).start(prompts) if has_memory(part) else None for part in parts)
        given = kernels.parameters((len(prompts),), **arguments(schedule(parts).fused))
        return _Rows(torch.arange(len(prompts)), given, memories)

    def step(self, logits: Tensor, state: _Rows, noise: Noise) -> tuple[Draw, _Rows]:
        """Draws."""
        parts = parts_of(self.filter)
        if logits.device.type != "cpu":
            state = state._replace(given=state.given.to(logits.device))
        drawn = draw(schedule(parts), logits, state.given, state.memories, state.places, noise)
        return drawn, self.updated(state, drawn)

    def filtered(self, logits: Tensor, state: _Rows, noise: Noise) -> Tensor:
        """The logits `(rows, vocab)` that a step would draw from; what is cut is -inf."""
        return apply(parts_of(self.filter), logits, state.memories, state.places, noise)

    def updated(self, state: _Rows, drawn: Draw) -> _Rows:
        """The state after tokens that somebody else chose."""
        if all(memory is None for memory in state.memories):
            return state
        pairs = zip(parts_of(self.filter), state.memories, strict=True)
        updated = [
            cast("Memory[Any]", take(part, state.places)).update(old, drawn) if has_memory(part) else None
            for part, old in pairs
        ]
        return state._replace(memories=tuple(updated))

    def _changed(self, filter: Part) -> "Categorical":
        return self if filter is self.filter else Categorical(filter)


class _PerRowState(NamedTuple):
    which: Tensor  # (rows,) which of the distinct samplers draws a row
    states: tuple[Any, ...]  # one per distinct sampler, each for its own rows

    def select(self, alive: Tensor) -> "_PerRowState":
        alive = alive.to(self.which.device)
        kept = self.which[alive]
        states = []
        for i, state in enumerate(self.states):
            ours = (self.which == i).nonzero()[:, 0]  # the rows of sampler i, in order
            place = torch.full_like(self.which, -1)
            place[ours] = torch.arange(len(ours), device=place.device)
            states.append(select(state, place[alive][kept == i]))
        return _PerRowState(kept, tuple(states))


@dataclass(frozen=True, slots=True)
class PerRow:
    """Gives each row a sampler of its own; rows with the same one are drawn together.

    Args:
        samplers: One per row.

    Example:
        >>> from aigc.sampling import Greedy, TopK
        >>> sampler = PerRow((Categorical(TopK(1)), Categorical(Greedy())))
        >>> logits = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
        >>> sampler.step(logits, sampler.init([[0], [0]]), Noise.of(torch.tensor([7, 8]), 0))[0].token
        tensor([1, 0])
    """

    samplers: tuple[Sampler[Any], ...]

    def __post_init__(self) -> None:
        for i, each in enumerate(sequence("samplers", self.samplers, "samplers, one per row")):
            if not (hasattr(each, "init") and hasattr(each, "step")):
                raise fail_type(f"samplers[{i}]", "a sampler", each, "Make one of a filter with as_sampler.")
        if not self.samplers:
            raise fail("samplers", "at least one sampler", self.samplers)

    def init(self, prompts: Sequence[Sequence[int]]) -> _PerRowState:
        """Starts each distinct sampler on its rows."""
        distinct = self._distinct()
        which = [next(i for i, one in enumerate(distinct) if one is sampler) for sampler in self.samplers]
        states = [
            sampler.init([prompt for prompt, choice in zip(prompts, which, strict=True) if choice == i])
            for i, sampler in enumerate(distinct)
        ]
        return _PerRowState(torch.tensor(which), tuple(states))

    def bind(self, words: Words) -> "PerRow":
        """Each sampler on the words of a tokenizer."""
        bound = {id(sampler): bind(sampler, words) for sampler in self.samplers}
        return PerRow(tuple(bound[id(sampler)] for sampler in self.samplers))

    def within(self, limits: Sequence[int]) -> "PerRow":
        """Each sampler for the rows that are its own."""
        told = {}
        for one in self._distinct():
            ours = [limit for limit, sampler in zip(limits, self.samplers, strict=True) if sampler is one]
            told[id(one)] = within(one, ours)
        return PerRow(tuple(told[id(sampler)] for sampler in self.samplers))

    def step(self, logits: Tensor, state: _PerRowState, noise: Noise) -> tuple[Draw, _PerRowState]:
        """Draws each group of rows with its sampler."""
        states: list[Any] = []
        draws, places = [], []
        for i, (sampler, inner) in enumerate(zip(self._distinct(), state.states, strict=True)):
            rows = (state.which == i).nonzero()[:, 0]
            after = inner
            if len(rows):
                at = rows.to(logits.device)
                drawn, after = sampler.step(logits[at], inner, noise.select(at))
                draws.append(drawn)
                places.append(rows.tolist())
            states.append(after)
        return merge(draws, places), _PerRowState(state.which, tuple(states))

    def _distinct(self) -> list[Sampler[Any]]:
        return list({id(sampler): sampler for sampler in self.samplers}.values())


def as_sampler(value: Part | Sampler[Any]) -> Sampler[Any]:
    """Makes a sampler of a filter; a sampler stays what it is.

    Example:
        >>> from aigc.sampling import TopK
        >>> as_sampler(TopK(3))
        Categorical(filter=TopK(3))
    """
    if hasattr(value, "init") and hasattr(value, "step"):
        return cast("Sampler[Any]", value)
    if not isinstance(value, type) and (callable(value) or has_memory(value)):
        return Categorical(value)
    raise fail_type("sampler", "a filter, a chain of filters or a sampler", value, "For instance Temperature(0.8).")
