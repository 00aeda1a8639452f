r"""A watermark that changes no distribution, and its detection.

A draw is $\arg\max_v \; x_v + g_v$. Here the noise $g$ comes from a secret key and the last tokens of the text, where
otherwise it comes from the seed and the step. To whoever lacks the key the noise is noise, and the text is one that the
sampler could have written as well. Whoever has it asks of a text whether its tokens had much noise more often than chance
has it, and needs neither the model nor the prompt.

The hash of key and tokens is BLAKE2b (RFC 7693) with its key; from there on it is the noise of `aigc.random`.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aigc import kernels, random
from aigc._checks import fail, fail_type, integer
from aigc.errors import TypeParameterError
from aigc.kernels import Draw
from aigc.kernels.reference import FLAT
from aigc.sampling._numbers import Parametric
from aigc.sampling.noise import Noise
from aigc.sampling.parts import Chain, Part, is_greedy, take
from aigc.sampling.samplers import Categorical, Sampler, as_sampler
from aigc.sampling.state import select
from aigc.sampling.words import Words, bind, within

__all__ = ["Detection", "Watermark", "detect"]

_PURPOSE = b"aigc.watermark.1"  # other uses of the same key get other hashes
_MODEL = Categorical(Chain(()))  # what the model itself says


class _Text(NamedTuple):
    last: Tensor  # (rows, window) the last tokens of the text, fewer at its beginning; on the host
    seen: Tensor  # (rows, steps) the hashes of the contexts that were used; on the host
    inner: Any


@dataclass(frozen=True, slots=True, repr=False)
class Watermark(Parametric):
    r"""Draws with noise from a secret key and the last tokens, so that `detect` can tell the text.

    $$ v = \arg\max_u \; x_u + g_u, \qquad g_u = \mathrm{gumbel}(\mathrm{hash}_\text{key}(v_{t-h}, \ldots, v_{t-1}), u) $$

    Over keys, a text has the distribution that the sampler gives it, exactly. Two exceptions to the formula keep it so:

    - The first h tokens of a text are drawn by seed and step, as without a watermark. So seeds tell texts of one prompt
      apart, as long as they differ in their first h tokens: if they do not, they go on alike. A larger h helps.
    - So is a token whose h predecessors occurred in this text before: their noise was used.

    The log-probabilities are those of the sampler. Of a `Categorical` each token has its own noise, however many are kept:
    a draw in two levels, a block first, would leave a weaker mark. Where more than 1,024 are kept, that takes some 2 ms a
    row for 150,000 tokens on a CPU. A sampler of another kind is given the noise, and marks as far as it uses it. Tokens
    are taken to follow one another: gaps that a masked model fills carry no mark that can be found.

    Aaronson (2022); Kuditipudi et al., arXiv:2307.15593; the repeats as in Fernandez et al., arXiv:2308.00113.

    Args:
        sampler: A filter, a chain of filters or a sampler that draws.
        key: 16 to 64 secret bytes, `secrets.token_bytes(32)`. It is never printed. No str or int, which could be guessed.
        window: How many tokens the noise depends on, at least 1. An edited token spoils the mark of as many after it; with
            few of them contexts repeat more often.

    Raises:
        ParameterError: If the key is too short or too long, or the sampler is greedy.

    Example:
        >>> from aigc.sampling import Temperature
        >>> key = bytes.fromhex("9c1185a5c5e9fc54612808977ee8f548")  # keep yours to yourself
        >>> sampler = Watermark(Temperature(0.8), key=key)
        >>> sampler
        Watermark(Categorical(filter=Temperature(0.8)))
        >>> import aigc
        >>> text = aigc.Generator.default().generate("The sea", sampler=sampler, seed=0, max_new_tokens=60)[0]
        >>> detect(text.tokens, key=key).p_value < 1e-6, detect(text.tokens, key=bytes(32)).p_value < 1e-6
        (True, False)
    """

    sampler: Part | Sampler[Any] = _MODEL
    key: bytes = field(kw_only=True, repr=False)
    window: int = field(default=4, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sampler", as_sampler(self.sampler))
        object.__setattr__(self, "key", _key(self.key))
        object.__setattr__(self, "window", integer("window", self.window, low=1))
        if is_greedy(self.sampler):
            raise fail("sampler", "one that draws", self.sampler, "A text that leaves nothing to chance carries no mark.")

    def take(self, rows: Tensor) -> "Watermark":
        """The sampler of some rows of a call, given by index."""
        return self._around(take(self.sampler, rows))

    def bind(self, words: Words) -> "Watermark":
        """The sampler on the words of a tokenizer."""
        return self._around(bind(self.sampler, words))

    def within(self, limits: Sequence[int]) -> "Watermark":
        """The sampler for rows of some lengths."""
        return self._around(within(self.sampler, limits))

    def init(self, prompts: Sequence[Sequence[int]]) -> _Text:
        """The state at the beginning of the texts; prompts carry no mark."""
        nothing = torch.empty(len(prompts), 0, dtype=torch.int64)
        return _Text(nothing, nothing, cast("Sampler[Any]", self.sampler).init(prompts))

    def step(self, logits: Tensor, state: _Text, noise: Noise) -> tuple[Draw, _Text]:
        """Draws."""
        sampler, seen = cast("Sampler[Any]", self.sampler), state.seen
        if state.last.shape[1] < self.window:
            draw, inner = sampler.step(logits, state.inner, noise)
        else:
            start = torch.from_numpy(_hashes(state.last.numpy(), self.key))
            fresh = (seen != start[:, None]).all(-1).to(logits.device)
            noise = Noise(start.to(logits.device).where(fresh, noise.start))
            draw, inner = sampler.step(logits, state.inner, noise)
            wide = (fresh & (draw.kept > FLAT)).nonzero()[:, 0]
            if len(wide) and isinstance(sampler, Categorical):
                draw = _in_one_level(draw, sampler, logits, state.inner, noise, wide)
                inner = sampler.updated(state.inner, draw)
            seen = torch.cat([seen, start[:, None]], 1)
        last = torch.cat([state.last, draw.token.cpu()[:, None]], 1)[:, -self.window :]
        return draw, _Text(last, seen, inner)

    def _around(self, sampler: Part | Sampler[Any]) -> "Watermark":
        return self if sampler is self.sampler else replace(self, sampler=sampler)


@dataclass(frozen=True, slots=True)
class Detection:
    r"""What the tokens of a text say about a key.

    Attributes:
        p_value: How likely a text written without the key has at least this score: uniform over such texts.
        tokens: How many tokens were scored: those with enough before them, in a context that is new to the text.
        score: $-\sum \ln(1 - u_v)$, u being the uniform behind a token's noise. Without the key it has the Gamma
            distribution of shape `tokens`, whose mean is `tokens`. A token of probability p that was drawn with it adds the
            harmonic number $H_{1/p}$ on average: 1 where p is 1, so no mark, and 2.9 where p is 0.1.

    Example:
        >>> detect(range(100), key=bytes(16))  # doctest: +ELLIPSIS
        Detection(p_value=0.7459..., tokens=96, score=89.34...)
    """

    p_value: float
    tokens: int
    score: float


def detect(tokens: Sequence[int] | Tensor, *, key: bytes, window: int = 4) -> Detection:
    r"""Tests whether tokens were drawn by `Watermark` with a key.

    The p-value is exact for each number of tokens, not a limit (Fernandez et al., arXiv:2308.00113): with n tokens scored,

    $$ p = \Pr[\Gamma(n, 1) \ge S] = \frac{\Gamma(n, S)}{\Gamma(n)}. $$

    Args:
        tokens: The ids of a text, or of a part of one; a prompt among them only adds noise. `aigc.text.detect` takes text.
        key: As for `Watermark`.
        window: As for `Watermark`.

    Returns:
        A `Detection`. Reject where the p-value is below the share of false alarms that you allow.

    Raises:
        ParameterError: If the key is too short or too long, or a token is negative.

    Example:
        >>> detect([5, 6, 7], key=bytes(16))
        Detection(p_value=1.0, tokens=0, score=0.0)
    """
    ids, key, window = _ids(tokens), _key(key), integer("window", window, low=1)
    if len(ids) <= window:
        return Detection(1.0, 0, 0.0)
    contexts = np.lib.stride_tricks.sliding_window_view(ids[:-1], window)
    start, first = np.unique(_hashes(contexts, key), return_index=True)
    score = -math.fsum(np.log1p(-random.uniform_array(start, ids[window:][first])))
    shape, at = (torch.tensor(number, dtype=torch.float64) for number in (len(start), score))
    return Detection(float(torch.special.gammaincc(shape, at)), len(start), score)


def _hashes(contexts: npt.NDArray[np.int64], key: bytes) -> npt.NDArray[np.int64]:
    """Where the noise of each context begins, `(contexts,)`, from contexts `(contexts, window)`."""
    rows = np.ascontiguousarray(contexts, dtype="<i8")
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8, key=key, person=_PURPOSE).digest() for row in rows]
    return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)


def _in_one_level(draw: Draw, sampler: Categorical, logits: Tensor, state: Any, noise: Noise, rows: Tensor) -> Draw:
    """Draws some rows again, each token with its own noise: a block, drawn first, would take most of the mark."""
    token, logprob = draw.token.clone(), draw.logprob.clone()
    host = logits.device.type == "cpu"
    for at in torch.split(rows, 1 if host else len(rows)):  # one row fits into a processor's cache
        left = sampler.filtered(logits[at], select(state, at), noise.select(at)).double()
        if host:
            ids = np.arange(left.shape[-1])[None]
            drawn, logs, _ = map(torch.from_numpy, kernels.race(ids, left.numpy(), noise.start[at].numpy()[:, None]))
        else:
            drawn = (left + noise.select(at).gumbel(torch.arange(left.shape[-1], device=left.device))).argmax(-1)
            logs = left.log_softmax(-1).gather(-1, drawn[:, None])[:, 0]
        token[at], logprob[at] = drawn, logs.float()
    return draw._replace(token=token, logprob=logprob)


def _key(key: Any) -> bytes:
    """Checks a key; no error shows it."""
    if not isinstance(key, bytes):
        cure = "Draw one with secrets.token_bytes(32), and keep it."
        raise TypeParameterError(f"key must be 16 to 64 secret bytes, got a value of type {type(key).__name__}. {cure}")
    if not 16 <= len(key) <= 64:
        raise fail("key", "16 to 64 secret bytes", f"{len(key)} bytes", "Draw one with secrets.token_bytes(32).")
    return key


def _ids(tokens: Any) -> npt.NDArray[np.int64]:
    """Checks token ids."""
    if isinstance(tokens, str | bytes):
        raise fail_type("tokens", "token ids", tokens, "For text there is aigc.text.detect.")
    try:
        ids = np.asarray(tokens.detach().cpu() if isinstance(tokens, Tensor) else list(tokens))
    except (TypeError, ValueError):
        raise fail_type("tokens", "token ids", tokens) from None
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
        raise fail_type("tokens", "token ids of one text, all of them ints", tokens)
    if len(ids) and ids.min() < 0:
        raise fail("tokens", "token ids, at least 0", int(ids.min()))
    return ids.astype(np.int64)
