"""Filters that shape a distribution: by its entropy, by the ids of tokens, by a coin."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from aigc._checks import fail, fail_type, string
from aigc.kernels import Draw
from aigc.sampling._ids import check_ids, drawable, inside, refuse_empty, tensor
from aigc.sampling._numbers import Parametric, check, column
from aigc.sampling._sums import entropy, masses
from aigc.sampling.filters import tempered
from aigc.sampling.noise import Noise
from aigc.sampling.words import Words

__all__ = ["XTC", "Allowed", "Banned", "DynamicTemperature", "LogitBias"]

_COIN = -(2**32) - 0x585443  # the index of XTC's noise, where no token and no block has its own
_EARLIER = "Put it before the filters that cut, or leave more tokens."


@dataclass(frozen=True, slots=True, repr=False)
class DynamicTemperature(Parametric):
    r"""Takes a temperature from the entropy of the row: `low` where the model is sure, `high` where it is not.

    $$ t = low + (high - low) \left(\frac{H}{\log n}\right)^{exponent} $$

    where n is how many logits are not -inf, so that the quotient is in [0, 1]; then as `Temperature(t)`. It is the dynatemp
    of llama.cpp, where the two are written as a temperature (low + high) / 2 and a range (high - low) / 2.

    Args:
        low: At least 0.
        high: At least `low`.
        exponent: Above 0; below 1 the temperature rises sooner.

    Example:
        >>> DynamicTemperature(0.5, 1.5)(torch.tensor([0.0, 0.0]))  # as unsure as can be
        tensor([0., 0.])
        >>> DynamicTemperature(0.5, 1.5)(torch.tensor([0.0, -50.0]))  # sure
        tensor([   0., -100.])
    """

    low: float | Tensor
    high: float | Tensor
    exponent: float | Tensor = 1.0

    per_row: ClassVar[tuple[str, ...]] = ("low", "high", "exponent")
    narrow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check("low", self.low, "a finite number of at least 0", low=0)
        check("high", self.high, "a finite number of at least 0", low=0)
        check("exponent", self.exponent, "a finite number above 0", low=0, above_low=True)
        low, high = (torch.as_tensor(value, dtype=torch.float64, device="cpu") for value in (self.low, self.high))
        if low.ndim and high.ndim and low.shape != high.shape:
            raise fail("high", f"one number, or {len(low)} as low is", high.tolist())
        if bool((high < low).any()):
            raise fail("high", f"at least low, {low.tolist()}", high.tolist())

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Divides; half precision becomes float32."""
        z, mass, whole = masses(logits)
        count = (z > -math.inf).sum(-1, keepdim=True)
        unsure = (entropy(z, mass, whole) / count.double().log()).clamp(0, 1).where(count > 1, 0.0)
        low, high, exponent = (column(value, logits) for value in (self.low, self.high, self.exponent))
        return tempered(logits, low + (high - low) * unsure**exponent)


@dataclass(frozen=True, slots=True, repr=False)
class LogitBias(Parametric):
    """Adds a number to the logits of some tokens: x nats more make a token e^x times as likely, beside the others.

    Args:
        biases: From token to number. A token is an id, or a string that the tokenizer encodes to exactly one token (" word"
            and "word" are two). -inf bans a token.

    Raises:
        ParameterError: If an id is not in the vocabulary, or a string is not one token; as soon as the tokenizer is known.
        GenerationError: If a row has no other tokens than those that are banned; in a sampler that row alone ends.

    Example:
        >>> LogitBias({0: -math.inf, 2: 1.5})(torch.tensor([1.0, 2.0, 3.0]))
        tensor([  -inf, 2.0000, 4.5000])
    """

    biases: Mapping[int | str, float]

    def __post_init__(self) -> None:
        if not isinstance(self.biases, Mapping):
            raise fail_type("biases", "a dict from tokens to numbers", self.biases)
        if not self.biases:
            raise fail("biases", "at least one", self.biases, "Leave the filter out to have it off.")
        for token, bias in self.biases.items():
            _ = string("biases", token) if isinstance(token, str) else check_ids("biases", [token])
            if not isinstance(bias, int | float) or isinstance(bias, bool):
                raise fail_type(f"biases[{token!r}]", "a number", bias)
            if math.isnan(bias) or bias == math.inf:
                raise fail(f"biases[{token!r}]", "a finite number, or -inf", bias)
        object.__setattr__(self, "biases", dict(self.biases))

    def bind(self, words: Words) -> "LogitBias":
        """The filter with ids in place of strings."""
        found: dict[int | str, float] = {}
        for token, bias in self.biases.items():
            ids = words.encode(token) if isinstance(token, str) else [token]
            if len(ids) != 1:
                raise fail(f"biases[{token!r}]", "of a string that is one token", f"{len(ids)} tokens, {ids}", "Give ids.")
            if ids[0] in found:
                raise fail(f"biases[{token!r}]", "of a token that has no bias yet", f"token {ids[0]} again")
            found[ids[0]] = bias
        _inside("biases", found, words.size)
        return LogitBias(found)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Adds; half precision becomes float32."""
        text = next((token for token in self.biases if isinstance(token, str)), None)
        if text is not None:
            raise fail("biases", "of ids, where there is no tokenizer", text, "Run the filter in a Generator.")
        _inside("biases", self.biases, logits.shape[-1])
        ids = tensor([*self.biases], logits)  # type: ignore[list-item]  # no string is among them
        x = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits.clone()
        x[..., ids] += torch.tensor([*self.biases.values()], dtype=x.dtype, device=x.device)
        if -math.inf in self.biases.values():
            refuse_empty(self, drawable(logits), x, _EARLIER)
        return x


@dataclass(frozen=True, slots=True, repr=False)
class Allowed(Parametric):
    """Keeps some tokens, and no other. To let a text end, allow one that ends it.

    Args:
        ids: At least one.

    Raises:
        ParameterError: If an id is not in the vocabulary, as soon as that is known.
        GenerationError: If a row has none of these tokens; in a sampler that row alone ends.

    Example:
        >>> Allowed([1, 2])(torch.tensor([1.0, 2.0, 3.0]))
        tensor([-inf, 2., 3.])
    """

    ids: Iterable[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", check_ids("allowed", self.ids))

    def bind(self, words: Words) -> "Allowed":
        """Checks the ids."""
        inside("allowed", _ids(self), words.size)
        return self

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts all others."""
        inside("allowed", _ids(self), logits.shape[-1])
        ids = tensor(_ids(self), logits)
        kept = torch.full_like(logits, -math.inf)
        kept[..., ids] = logits[..., ids]
        return _spared(self, logits, kept)


@dataclass(frozen=True, slots=True, repr=False)
class Banned(Parametric):
    """Cuts some tokens.

    Args:
        ids: At least one.

    Raises:
        ParameterError: If an id is not in the vocabulary, or all ids are banned, as soon as that is known.
        GenerationError: If a row has no other tokens; in a sampler that row alone ends.

    Example:
        >>> Banned([1, 2])(torch.tensor([1.0, 2.0, 3.0]))
        tensor([1., -inf, -inf])
    """

    ids: Iterable[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", check_ids("banned", self.ids))

    def bind(self, words: Words) -> "Banned":
        """Checks the ids."""
        self._check(words.size)
        return self

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts them."""
        self._check(logits.shape[-1])
        return _spared(self, logits, logits.index_fill(-1, tensor(_ids(self), logits), -math.inf))

    def _check(self, size: int) -> None:
        inside("banned", _ids(self), size)
        if len(_ids(self)) == size:
            raise fail("banned", "fewer than all tokens", f"all {size}", "Leave one that can be drawn.")


@dataclass(frozen=True, slots=True, repr=False)
class XTC(Parametric):
    """Now and then excludes the top choices: of the tokens above a threshold all but the least likely.

    Where at least two tokens have probability `threshold` or more, cuts those of them that are more likely than the least
    likely of them: what is left is still likely, and the text leaves the trodden way (llama.cpp pull request 9742). Whether
    it does is a coin for each row and step.

    The coin is the noise of index -2^32 - 0x585443, `noise.uniform`: a function of the row's seed and the step, independent
    of what tokens are drawn with. Two of these in a chain toss the same coin.

    Args:
        threshold: In (0, 0.5]: above a half there are never two.
        probability: In (0, 1], that of cutting.

    Example:
        >>> from aigc.sampling import Noise
        >>> noise = Noise.of(torch.tensor([7]), 0)
        >>> XTC(0.25, 1.0).apply(torch.tensor([[0.5, 0.3, 0.2]]).log(), None, noise).softmax(-1)
        tensor([[0.0000, 0.6000, 0.4000]])
    """

    threshold: float | Tensor
    probability: float | Tensor

    per_row: ClassVar[tuple[str, ...]] = ("threshold", "probability")
    narrow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check("xtc_threshold", self.threshold, "a number in (0, 0.5]", low=0, high=0.5, above_low=True)
        check("xtc_probability", self.probability, "a number in (0, 1]", low=0, high=1, above_low=True)

    def start(self, prompts: Sequence[Sequence[int]]) -> None:
        """There is nothing to remember."""

    def apply(self, logits: Tensor, state: None, noise: Noise) -> Tensor:
        """Cuts, if the row's coin says so."""
        z, mass, whole = masses(logits)
        likely = mass / whole >= column(self.threshold, logits)
        least = z.where(likely, math.inf).amin(-1, keepdim=True)
        tossed = noise.uniform(_COIN)[:, None] < column(self.probability, logits)
        return logits.masked_fill((z > least) & tossed, -math.inf)

    def update(self, state: None, draw: Draw) -> None:
        """There is nothing to remember."""


def _ids(part: Any) -> tuple[int, ...]:
    """The ids, which were made a tuple when they were checked."""
    found: tuple[int, ...] = part.ids
    return found


def _inside(name: str, biases: Mapping[int | str, float], size: int) -> None:
    inside(name, [token for token in biases if isinstance(token, int)], size)


def _spared(part: object, logits: Tensor, cut: Tensor) -> Tensor:
    """What a filter leaves of logits that it cut by id; bad rows stay what they are."""
    had = drawable(logits)
    left = cut if bool(had.all()) else cut.where(had[..., None], logits)
    refuse_empty(part, had, left, _EARLIER)
    return left
