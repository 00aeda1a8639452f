"""How a chain runs: what by itself on whole rows, what in the kernel, and what on the few tokens that the kernel leaves.

A pass over a vocabulary is what a filter costs. The kernel does temperature, top-k, top-p and min-p in one; and where it
leaves few tokens, filters that look at nothing but the values of what is left (`narrow`) run on those alone.
"""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from aigc import kernels
from aigc.errors import GenerationError
from aigc.kernels import Draw, Parameters, Status
from aigc.kernels.reference import FLAT
from aigc.sampling._ids import Emptied
from aigc.sampling.filters import Greedy, MinP, Temperature, TopK, TopP
from aigc.sampling.noise import Noise
from aigc.sampling.parts import Filter, Memory, Part, has_memory, take
from aigc.sampling.state import select

__all__ = ["Schedule", "apply", "arguments", "draw", "merge", "schedule"]

_ORDER: dict[type, str] = {Temperature: "temperature", TopK: "top_k", TopP: "top_p", MinP: "min_p"}
_NAMES = list(_ORDER.values())
_NARROWEST = 16


class Schedule(NamedTuple):
    """The parts of a chain, in its order.

    Attributes:
        head: Parts that run on whole rows, one by one.
        fused: Filters that run in the kernel, together.
        tail: Parts that run on what the kernel leaves.
    """

    head: tuple[Part, ...]
    fused: tuple[Part, ...]
    tail: tuple[Part, ...]


def schedule(parts: Sequence[Part]) -> Schedule:
    """Finds the first filters that the kernel can do together, of which all that follow can run on what they leave.

    Example:
        >>> schedule((Temperature(0.8), TopK(50), TopP(0.95))).fused
        (Temperature(0.8), TopK(50), TopP(0.95))
        >>> schedule((TopK(50), Temperature(0.8))).tail
        (Temperature(0.8),)
    """
    parts = tuple(parts)
    if len(parts) == 1 and isinstance(parts[0], Greedy):
        return Schedule((), parts, ())
    first = len(parts)
    while first and getattr(type(parts[first - 1]), "narrow", False):
        first -= 1
    cut = next((i for i in range(first, len(parts)) if type(parts[i]) in (TopK, TopP, MinP)), None)
    if cut is None:
        end = len(parts)
        begin = end - 1 if first < end and type(parts[-1]) is Temperature else end
    else:
        begin = cut - 1 if cut > first and type(parts[cut - 1]) is Temperature else cut
        end = begin + 1
        while end < len(parts) and _rank(parts[end - 1]) < _rank(parts[end]) < len(_NAMES):
            end += 1
    return Schedule(parts[:begin], parts[begin:end], parts[end:])


def arguments(fused: Sequence[Part]) -> dict[str, Any]:
    """The kernel's arguments for the fused filters of a schedule."""
    if any(isinstance(part, Greedy) for part in fused):
        return {"temperature": 0.0}
    return {_ORDER[type(part)]: getattr(part, fields(cast("Any", part))[0].name) for part in fused}


def apply(parts: Sequence[Part], x: Tensor, states: Sequence[Any], places: Tensor, noise: Noise) -> Tensor:
    """Applies parts to whole rows of logits, which stay as they are.

    Args:
        parts: With memory or without.
        x: `(rows, vocab)`.
        states: One per part; that of a filter is not looked at.
        places: The place of each row among those that parameters per row are for, `(rows,)`.
        noise: Of this step.

    Raises:
        GenerationError: If a part returns something else than logits of the same shape.
    """
    given = x
    for part, state in zip(parts, states, strict=True):
        part = take(part, places)
        try:
            if has_memory(part):
                wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
                wide = wide.clone() if wide.data_ptr() == given.data_ptr() else wide
                x = cast("Memory[Any]", part).apply(wide, state, noise)
            else:
                x = cast("Filter", part)(x)
        except Emptied as error:
            if error.part is not part:  # one within a function of the caller's own, the rest of which was not done
                raise
            x = error.left  # the draw reports the row, and the others go on
        if not isinstance(x, Tensor) or x.shape != given.shape or not x.is_floating_point():
            raise _no_logits(part, given, x)
    return x


def draw(plan: Schedule, x: Tensor, given: Parameters, states: Sequence[Any], places: Tensor, noise: Noise) -> Draw:
    """Draws from logits `(rows, vocab)`.

    Args:
        plan: The chain.
        x: The logits.
        given: The kernel's arguments for `plan.fused`, of these rows.
        states: One per part of the chain.
        places: As for `apply`.
        noise: Of this step.
    """
    heads, tails = len(plan.head), len(plan.head) + len(plan.fused)
    x = apply(plan.head, x, states[:heads], places, noise)
    if not plan.tail:
        return kernels.run(x, given, noise.start)
    found = kernels.survivors(x, given) if x.device.type == "cpu" else [None] * len(x)
    groups: dict[int, list[int]] = {}
    for row, left in enumerate(found):
        groups.setdefault(0 if left is None else _width(len(left[0])), []).append(row)
    drawn = []
    for width, rows in groups.items():
        # Most often all rows are of one width, and then nothing needs to be picked.
        at = torch.tensor(rows, device=x.device)
        one = len(groups) == 1
        part_states = states[heads:] if one else [select(state, at) for state in states[heads:]]
        part_noise, part_places = (noise, places) if one else (noise.select(at), places[at.to(places.device)])
        if width:
            lists = [cast("tuple[Any, Any]", found[row]) for row in rows]
            drawn.append(_narrow(plan.tail, lists, width, part_states[tails - heads :], part_places, part_noise))
        else:
            after = plan.fused + plan.tail
            wide = apply(after, x if one else x[at], part_states, part_places, part_noise)
            drawn.append(kernels.run(wide, Parameters(), part_noise.start))
    return drawn[0] if len(drawn) == 1 else merge(drawn, list(groups.values()))


def merge(draws: Sequence[Draw], rows: Sequence[Sequence[int]]) -> Draw:
    """Puts draws of some rows each together."""
    count = sum(map(len, rows))
    merged = [field.new_empty(count) for field in draws[0]]
    for draw, part in zip(draws, rows, strict=True):
        at = torch.tensor(part, device=draw.token.device)
        for whole, field in zip(merged, draw, strict=True):
            whole[at] = field
    return Draw(*merged)


def _no_logits(part: Part, given: Tensor, found: object) -> GenerationError:
    wanted = f"a floating tensor of the shape {tuple(given.shape)}"
    got = f"{found.dtype} of {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
    name = getattr(part, "__name__", repr(part))
    cure = "Keep the shape of the logits, and put -inf where a token shall not be drawn."
    return GenerationError(f"a filter must return {wanted}, and {name} returned {got}. {cure}")


def _rank(part: Part) -> int:
    name = _ORDER.get(type(part))
    return len(_NAMES) if name is None else _NAMES.index(name)


def _width(count: int) -> int:
    """The length of a row's list, which depends on nothing but the row: so do the bits of sums over it."""
    width = _NARROWEST
    while width < count:
        width *= 2
    assert width <= FLAT, "survivors are at most FLAT"
    return width


def _narrow(
    tail: Sequence[Part],
    found: Sequence[tuple[Any, Any]],
    width: int,
    states: Sequence[Any],
    places: Tensor,
    noise: Noise,
) -> Draw:
    """Draws from the survivors of rows whose lists have one length."""
    ids = np.zeros((len(found), width), dtype=np.int64)
    z = np.full((len(found), width), -math.inf)
    for row, (tokens, values) in enumerate(found):
        ids[row, : len(tokens)] = tokens
        z[row, : len(tokens)] = values
    left = apply(tail, torch.from_numpy(z), states, places, noise).numpy()
    token, logprob, kept = kernels.race(ids, left, noise.start.numpy()[:, None])
    return Draw(
        torch.from_numpy(token),
        torch.from_numpy(logprob).float(),
        torch.from_numpy(kept),
        torch.ones(len(found)),
        torch.full((len(found),), int(Status.OK)),
    )
