"""Penalties on what was written before. Each gathers the logits of the tokens at hand, and puts them back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from aigc._checks import fail_type, integer
from aigc.kernels import Draw
from aigc.sampling._history import Counts, Repeats, repeats_of
from aigc.sampling._numbers import Parametric, check, column
from aigc.sampling.noise import Noise

__all__ = ["FrequencyPenalty", "NoRepeatNGram", "PresencePenalty", "RepetitionPenalty"]


class _Counting(Parametric):
    """What penalties on counts remember: how often each token occurred, within their window."""

    __slots__ = ()
    window: int | None
    prompt: bool

    def start(self, prompts: Sequence[Sequence[int]]) -> Counts:
        """Counts the tokens of the prompts, if they count."""
        return Counts.of(_counted(prompts, self.prompt), self.window)

    def update(self, state: Counts, draw: Draw) -> Counts:
        """Counts the tokens drawn."""
        return state.after(draw.token, self.window)


@dataclass(frozen=True, slots=True, repr=False)
class RepetitionPenalty(_Counting):
    r"""Divides the positive logits of tokens that occurred by a penalty, and multiplies the negative ones.

    $$ x_v \mapsto \begin{cases} x_v / \theta & x_v > 0 \\ x_v \, \theta & x_v \le 0 \end{cases} $$

    once for each distinct token (Keskar et al., CTRL, arXiv:1909.05858). It depends on where 0 is: put it before
    Temperature, which makes the largest logit 0. A logit that would overflow becomes the largest or the least finite
    number.

    Args:
        penalty: Above 0; 1 changes nothing, more makes repetition less likely.
        window: How many of the last tokens count; None counts all.
        prompt: Whether the prompt counts.

    Example:
        >>> from aigc.sampling import Noise
        >>> penalty = RepetitionPenalty(2.0)
        >>> state = penalty.start([[0, 1, 1]])
        >>> penalty.apply(torch.tensor([[1.0, -1.0, 1.0]]), state, Noise.of(torch.tensor([7]), 0))
        tensor([[ 0.5000, -2.0000,  1.0000]])
    """

    penalty: float | Tensor
    window: int | None = field(default=None, kw_only=True)
    prompt: bool = field(default=True, kw_only=True)

    per_row: ClassVar[tuple[str, ...]] = ("penalty",)

    def __post_init__(self) -> None:
        check("penalty of RepetitionPenalty", self.penalty, "a finite number above 0", low=0, above_low=True)
        _check_reach("RepetitionPenalty", self.window, self.prompt)

    def apply(self, logits: Tensor, state: Counts, noise: Noise) -> Tensor:
        """Penalizes."""
        ids, times, x, penalty = _gathered(logits, state, self.penalty)
        return _put(logits, ids, x, torch.where(x > 0, x / penalty, x * penalty).where(times > 0, x))


@dataclass(frozen=True, slots=True, repr=False)
class PresencePenalty(_Counting):
    r"""Subtracts a penalty from the logits of tokens that occurred: $x_v \mapsto x_v - \alpha \, [n_v > 0]$.

    As the parameter of that name in OpenAI's interface. A logit that would overflow becomes the least finite number.

    Args:
        penalty: A number; above 0 it makes repetition less likely, below 0 more.
        window: How many of the last tokens count; None counts all.
        prompt: Whether the prompt counts.

    Example:
        >>> from aigc.sampling import Noise
        >>> penalty = PresencePenalty(0.5, prompt=True)
        >>> penalty.apply(torch.tensor([[1.0, 1.0]]), penalty.start([[1, 1]]), Noise.of(torch.tensor([7]), 0))
        tensor([[1.0000, 0.5000]])
    """

    penalty: float | Tensor
    window: int | None = field(default=None, kw_only=True)
    prompt: bool = field(default=False, kw_only=True)

    per_row: ClassVar[tuple[str, ...]] = ("penalty",)

    def __post_init__(self) -> None:
        check("penalty of PresencePenalty", self.penalty, "a finite number")
        _check_reach("PresencePenalty", self.window, self.prompt)

    def apply(self, logits: Tensor, state: Counts, noise: Noise) -> Tensor:
        """Penalizes."""
        ids, times, x, penalty = _gathered(logits, state, self.penalty)
        return _put(logits, ids, x, x - penalty * (times > 0))


@dataclass(frozen=True, slots=True, repr=False)
class FrequencyPenalty(_Counting):
    r"""Subtracts a penalty for each time that a token occurred: $x_v \mapsto x_v - \alpha \, n_v$.

    As the parameter of that name in OpenAI's interface. A logit that would overflow becomes the least finite number.

    Args:
        penalty: A number; above 0 it makes repetition less likely, below 0 more.
        window: How many of the last tokens count; None counts all.
        prompt: Whether the prompt counts.

    Example:
        >>> from aigc.sampling import Noise
        >>> penalty = FrequencyPenalty(0.5, prompt=True)
        >>> penalty.apply(torch.tensor([[1.0, 1.0]]), penalty.start([[1, 1]]), Noise.of(torch.tensor([7]), 0))
        tensor([[1., 0.]])
    """

    penalty: float | Tensor
    window: int | None = field(default=None, kw_only=True)
    prompt: bool = field(default=False, kw_only=True)

    per_row: ClassVar[tuple[str, ...]] = ("penalty",)

    def __post_init__(self) -> None:
        check("penalty of FrequencyPenalty", self.penalty, "a finite number")
        _check_reach("FrequencyPenalty", self.window, self.prompt)

    def apply(self, logits: Tensor, state: Counts, noise: Noise) -> Tensor:
        """Penalizes."""
        ids, times, x, penalty = _gathered(logits, state, self.penalty)
        return _put(logits, ids, x, x - penalty * times)


@dataclass(frozen=True, slots=True, repr=False)
class NoRepeatNGram(Parametric):
    """Forbids tokens that would write a sequence of `size` tokens a second time (Paulus et al., arXiv:1705.04304).

    A row that has no other token left is left as it was.

    Args:
        size: At least 1; 1 forbids every token that occurred.
        prompt: Whether the prompt counts.

    Example:
        >>> from aigc.sampling import Noise
        >>> ngrams = NoRepeatNGram(2)
        >>> state = ngrams.start([[0, 1, 2, 0]])  # 0 was followed by 1
        >>> ngrams.apply(torch.zeros(1, 3), state, Noise.of(torch.tensor([7]), 0))
        tensor([[0., -inf, 0.]])
    """

    size: int
    prompt: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        integer("size of NoRepeatNGram", self.size, low=1)
        _check_reach("NoRepeatNGram", None, self.prompt)

    def start(self, prompts: Sequence[Sequence[int]]) -> Repeats:
        """Finds where the ends of the prompts occurred before."""
        texts = _counted(prompts, self.prompt)
        return repeats_of(texts, [len(text) for text in texts])

    def apply(self, logits: Tensor, state: Repeats, noise: Noise) -> Tensor:
        """Forbids."""
        state = Repeats(*(each.to(logits.device) for each in state))
        forbidden = (state.before() >= self.size - 1) & (state.ids >= 0)
        if not state.ids.shape[1] or (logits.device.type == "cpu" and not forbidden.any()):
            return logits
        ids = state.ids.clamp(min=0)
        before = logits.gather(-1, ids)
        # One token may stand in several places, forbidden in some: the sum of -inf and 0 is -inf in any order.
        logits.scatter_add_(-1, ids, torch.zeros_like(before).masked_fill(forbidden, -math.inf))
        empty = _empty(logits)
        if logits.device.type == "cpu" and not empty.any():
            return logits
        return logits.scatter_(-1, ids, before.where(empty, logits.gather(-1, ids)))

    def update(self, state: Repeats, draw: Draw) -> Repeats:
        """Looks for the new end."""
        return state.after(draw.token, None)


def finite(x: Tensor, given: Tensor, dtype: torch.dtype) -> Tensor:
    """Keeps changed logits, float64, within the numbers of a dtype; those that were not finite stay as they were."""
    limits = torch.finfo(dtype)
    return x.clamp(limits.min, limits.max).where(given.isfinite(), given).to(dtype)


def _check_reach(name: str, window: object, prompt: object) -> None:
    if window is not None:
        integer(f"window of {name}", window, low=1, cure="None counts all tokens.")
    if not isinstance(prompt, bool):
        raise fail_type(f"prompt of {name}", "a bool", prompt)


def _counted(prompts: Sequence[Sequence[int]], prompt: bool) -> Sequence[Sequence[int]]:
    return prompts if prompt else [()] * len(prompts)


def _gathered(logits: Tensor, state: Counts, penalty: float | Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids, their counts, their logits in float64, and the penalties beside them."""
    ids, times = state.ids.to(logits.device), state.times.to(logits.device)
    return ids, times, logits.gather(-1, ids).double(), column(penalty, logits)


def _put(logits: Tensor, ids: Tensor, x: Tensor, changed: Tensor) -> Tensor:
    """Puts changed logits back; places of one id hold one number."""
    return logits.scatter_(-1, ids, finite(changed, x, logits.dtype))


def _empty(logits: Tensor) -> Tensor:
    """Which rows have nothing but -inf, `(rows, 1)`; most often a few numbers tell that none has."""
    some = logits[:, :256].amax(-1, keepdim=True) == -math.inf
    if logits.device.type == "cpu" and not some.any():
        return some
    return logits.amax(-1, keepdim=True) == -math.inf
