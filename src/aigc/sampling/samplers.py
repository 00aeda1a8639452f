"""Samplers: what draws the tokens of a batch, and what it remembers between two steps.

A sampler is pure: `step` returns the next state and leaves the one it was given. A state is a value whose tensors all lead
with the rows, so that finished rows leave by one `select`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

from aigc import kernels, random
from aigc._checks import fail_type
from aigc.kernels import Draw, Parameters
from aigc.sampling.filters import Chain, Filter, Greedy, MinP, Temperature, TopK, TopP, take

__all__ = ["Categorical", "Noise", "PerRow", "Sampler", "as_sampler", "select"]

S = TypeVar("S")


class Noise(NamedTuple):
    """The noise of one step: a value that answers for its rows.

    Attributes:
        start: Where each row's noise begins, `aigc.random.counter(seed, step)`, int64 `(rows,)`.

    Example:
        >>> noise = Noise.of(torch.tensor([1, 2]), 0)
        >>> noise.gumbel(torch.arange(3)).shape, noise.select(torch.tensor([1])) == Noise.of(torch.tensor([2]), 0)
        (torch.Size([2, 3]), True)
    """

    start: Tensor

    @classmethod
    def of(cls, seed: Tensor, step: int | Tensor) -> "Noise":
        """The noise of seeds, int64 `(rows,)`, at the position of the token being drawn."""
        return cls(random.counter(seed, step))

    def gumbel(self, tokens: Tensor) -> Tensor:
        """Gumbel noise of token ids `(tokens,)` or `(rows, tokens)`, float64 `(rows, tokens)`."""
        return random.gumbel_from(self.start[:, None], tokens)

    def uniform(self, tag: int) -> Tensor:
        """One uniform per row, float64 `(rows,)`; tags below `-2^32` never meet a token's or a block's noise."""
        return random.uniform_from(self.start, torch.tensor(tag, device=self.start.device))

    def select(self, rows: Tensor) -> "Noise":
        """The noise of some rows, given by index."""
        return Noise(self.start[rows])


@runtime_checkable
class Sampler(Protocol[S]):
    """Draws the next token of every row.

    Example:
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
    given: Parameters | None  # for the kernel, where it can do the filter by itself


@dataclass(frozen=True, slots=True)
class Categorical:
    """Draws from the distribution that a filter leaves; remembers nothing.

    A chain of temperature, top-k, top-p and min-p, in this order, any of them left out, runs fused in the kernel. Any other
    filter is applied, and the kernel draws from what it leaves, with the same noise.

    Args:
        filter: A filter, or a chain of filters.

    Example:
        >>> sampler = Categorical(TopK(1))
        >>> draw, _ = sampler.step(torch.tensor([[0.0, 2.0]]), sampler.init([[0]]), Noise.of(torch.tensor([7]), 0))
        >>> draw.token
        tensor([1])
    """

    filter: Filter

    @property
    def fused(self) -> bool:
        """Whether the kernel does all of it, so that there is nothing to remember and, on CUDA, nothing to wait for."""
        return _fused(self.filter) is not None

    def take(self, rows: Tensor) -> "Categorical":
        """The sampler of some rows of a call, given by index."""
        return Categorical(take(self.filter, rows))

    def init(self, prompts: Sequence[Sequence[int]]) -> _Rows:
        """The state holds the parameters of each row, so that they leave with it."""
        arguments = _fused(self.filter)
        given = None if arguments is None else kernels.parameters((len(prompts),), **arguments)
        return _Rows(torch.arange(len(prompts)), given)

    def step(self, logits: Tensor, state: _Rows, noise: Noise) -> tuple[Draw, _Rows]:
        """Draws."""
        if state.given is None:
            return kernels.run(take(self.filter, state.places)(logits), Parameters(), noise.start), state
        if logits.device.type != "cpu":
            state = _Rows(state.places, state.given.to(logits.device))
        return kernels.run(logits, cast("Parameters", state.given), noise.start), state


class _PerRowState(NamedTuple):
    which: Tensor  # (rows,) which of the distinct samplers draws a row
    states: tuple[Any, ...]  # one per distinct sampler, each for its own rows

    def select(self, alive: Tensor) -> "_PerRowState":
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
        >>> sampler = PerRow((Categorical(TopK(1)), Categorical(Greedy())))
        >>> logits = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
        >>> sampler.step(logits, sampler.init([[0], [0]]), Noise.of(torch.tensor([7, 8]), 0))[0].token
        tensor([1, 0])
    """

    samplers: tuple[Sampler[Any], ...]

    def init(self, prompts: Sequence[Sequence[int]]) -> _PerRowState:
        """Starts each distinct sampler on its rows."""
        distinct = self._distinct()
        which = [next(i for i, one in enumerate(distinct) if one is sampler) for sampler in self.samplers]
        states = [
            sampler.init([prompt for prompt, choice in zip(prompts, which, strict=True) if choice == i])
            for i, sampler in enumerate(distinct)
        ]
        return _PerRowState(torch.tensor(which), tuple(states))

    def step(self, logits: Tensor, state: _PerRowState, noise: Noise) -> tuple[Draw, _PerRowState]:
        """Draws each group of rows with its sampler."""
        states: list[Any] = []
        merged: list[Tensor] | None = None
        for i, (sampler, inner) in enumerate(zip(self._distinct(), state.states, strict=True)):
            rows = (state.which == i).nonzero()[:, 0].to(logits.device)
            if not len(rows):
                states.append(inner)
                continue
            draw, after = sampler.step(logits[rows], inner, noise.select(rows))
            states.append(after)
            merged = merged or [field.new_empty(len(logits)) for field in draw]
            for whole, part in zip(merged, draw, strict=True):
                whole[rows] = part
        assert merged is not None, "a batch has at least one row"
        return Draw(*merged), _PerRowState(state.which, tuple(states))

    def _distinct(self) -> list[Sampler[Any]]:
        return list({id(sampler): sampler for sampler in self.samplers}.values())


def as_sampler(value: Filter | Sampler[Any]) -> Sampler[Any]:
    """Makes a sampler of a filter; a sampler stays what it is.

    Example:
        >>> as_sampler(TopK(3))
        Categorical(filter=TopK(3))
    """
    if hasattr(value, "init") and hasattr(value, "step"):
        return cast("Sampler[Any]", value)
    if callable(value) and not isinstance(value, type):
        return Categorical(value)
    raise fail_type("sampler", "a filter, a chain of filters or a sampler", value, "For instance Temperature(0.8).")


def select(state: S, alive: Tensor) -> S:
    """Keeps some rows of a state: a tensor, or a tuple, list, dict or dataclass of states, or what has its own `select`.

    Example:
        >>> select((torch.tensor([5, 6, 7]), "shared"), torch.tensor([0, 2]))
        (tensor([5, 7]), 'shared')
    """
    value: Any = state
    if isinstance(value, Tensor):
        return cast("S", value[alive.to(value.device)])
    if hasattr(value, "select"):
        return cast("S", value.select(alive.to("cpu") if isinstance(value, _PerRowState) else alive))
    if isinstance(value, tuple | list):
        kept = [select(part, alive) for part in value]
        return cast("S", type(value)(*kept) if hasattr(value, "_fields") else type(value)(kept))
    if isinstance(value, dict):
        return cast("S", {key: select(part, alive) for key, part in value.items()})
    if is_dataclass(value) and not isinstance(value, type):
        return cast("S", type(value)(**{f.name: select(getattr(value, f.name), alive) for f in fields(value)}))
    return state


_ORDER: dict[type, str] = {Temperature: "temperature", TopK: "top_k", TopP: "top_p", MinP: "min_p"}


def _fused(chosen: Filter) -> dict[str, Any] | None:
    """The kernel's arguments for a filter that it can do by itself, else None."""
    filters = chosen.filters if isinstance(chosen, Chain) else (chosen,)
    if len(filters) == 1 and isinstance(filters[0], Greedy):
        return {"temperature": 0.0}
    names = [_ORDER.get(type(one)) for one in filters]
    ranks = [list(_ORDER.values()).index(name) for name in names if name is not None]
    if None in names or ranks != sorted(set(ranks)):
        return None
    return {str(name): getattr(one, fields(cast("Any", one))[0].name) for name, one in zip(names, filters, strict=True)}
