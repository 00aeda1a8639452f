"""Truncations beside top-k, top-p and min-p: each cuts at a number that it works out from the row.

As in filters.py nothing depends on the order of the vocabulary, tokens that tie with the last one kept are kept too, what
is kept keeps its logit, and rows that hold NaN or +inf pass unchanged. Sums are in float64. All but `Typical` keep the most
likely tokens.

A pass over a vocabulary is what each costs; `Typical` and `TopH` look in order at the first few tokens, and at more only
where those are too few; `TailFree` sorts the row. After a top-k, top-p or min-p they run on the few tokens that it leaves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from aigc.sampling._numbers import Parametric, check, column
from aigc.sampling._sums import entropy, masses, running, total, weighted

__all__ = ["Epsilon", "Eta", "TailFree", "TopH", "TopNSigma", "Typical"]

_FEW = (256, 4096, 32768)  # how many tokens to put in order before all of them
_EVEN = 1e-6  # second differences that add up to no more than this count as equal, as in llama.cpp


@dataclass(frozen=True, slots=True, repr=False)
class Typical(Parametric):
    r"""Keeps the tokens whose information is nearest to the entropy, until their probability reaches p.

    Locally typical sampling (Meister et al., arXiv:2202.00666): tokens are taken by $|-\log p_v - H|$, the nearest first. A
    token is kept while the probability of all nearer ones is below p. So the most likely token may be cut: what is kept is
    no upper set of the logits.

    Args:
        p: In (0, 1]. 1 keeps everything, bit for bit.

    Example:
        >>> import torch
        >>> Typical(0.5)(torch.tensor([0.5, 0.3, 0.1, 0.1]).log()).softmax(-1)
        tensor([0.6250, 0.3750, 0.0000, 0.0000])
        >>> Typical(0.2)(torch.tensor([0.5, 0.3, 0.1, 0.1]).log()).softmax(-1)
        tensor([0., 1., 0., 0.])
    """

    p: float | Tensor

    per_row: ClassVar[tuple[str, ...]] = ("p",)
    narrow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check("typical_p", self.p, "a number in (0, 1]", low=0, high=1, above_low=True)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts what is farther than the token that crosses p."""
        z, mass, whole = masses(logits)
        # -log p - H is the mean of z less z: both have the same log Z.
        far = (z - total(weighted(z, mass)) / whole).abs()
        p = column(self.p, logits)

        def crosses(_: Tensor, at: Tensor) -> Tensor:
            return (running(mass.gather(-1, at)) >= p * whole) & (p < 1)

        near, first = _in_order(far, crosses, (p == 1) | whole.isnan())
        edge = near.gather(-1, first.clamp(min=0)).where(first >= 0, math.inf)
        return logits.masked_fill(far > edge, -math.inf)


@dataclass(frozen=True, slots=True, repr=False)
class Epsilon(Parametric):
    r"""Keeps the tokens of probability at least epsilon, and the most likely one always (Hewitt et al., arXiv:2210.15191).

    Args:
        epsilon: In (0, 1]; the paper uses 3e-4 to 9e-4.

    Example:
        >>> import torch
        >>> Epsilon(0.25)(torch.tensor([0.5, 0.3, 0.2]).log()).softmax(-1)
        tensor([0.6250, 0.3750, 0.0000])
    """

    epsilon: float | Tensor

    per_row: ClassVar[tuple[str, ...]] = ("epsilon",)
    narrow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check("epsilon", self.epsilon, "a number in (0, 1]", low=0, high=1, above_low=True)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts below epsilon."""
        z, mass, whole = masses(logits)
        return logits.masked_fill((mass / whole < column(self.epsilon, logits)) & (z < 0), -math.inf)


@dataclass(frozen=True, slots=True, repr=False)
class Eta(Parametric):
    r"""Keeps the tokens of probability at least eta, which sinks as the entropy rises, and the most likely one always.

    $$ \eta = \min(\epsilon, \sqrt{\epsilon}\, e^{-H}) $$

    (Hewitt et al., "Truncation sampling as language model desmoothing", arXiv:2210.15191).

    Args:
        epsilon: In (0, 1]; the paper uses 3e-4 to 4e-3.

    Example:
        >>> import torch
        >>> Eta(0.1)(torch.tensor([0.5, 0.3, 0.15, 0.05]).log()).softmax(-1)
        tensor([0.5263, 0.3158, 0.1579, 0.0000])
    """

    epsilon: float | Tensor

    per_row: ClassVar[tuple[str, ...]] = ("epsilon",)
    narrow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check("epsilon", self.epsilon, "a number in (0, 1]", low=0, high=1, above_low=True)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts below eta."""
        z, mass, whole = masses(logits)
        epsilon = column(self.epsilon, logits)
        eta = epsilon.minimum(epsilon.sqrt() * (-entropy(z, mass, whole)).exp())
        return logits.masked_fill((mass / whole < eta) & (z < 0), -math.inf)


@dataclass(frozen=True, slots=True, repr=False)
class TopNSigma(Parametric):
    r"""Keeps the logits within n standard deviations of the largest: $x \ge \max x - n \sigma$.

    (Tang et al., arXiv:2411.07641.) $\sigma$ is the standard deviation of all logits that are not -inf; as in llama.cpp,
    their sum of squares is divided by their number. The authors' code divides by one less, which at 50,000
    tokens is one part in 100,000. No temperature before it changes what is kept; what was cut before it does.

    Args:
        n: Above 0; often 1.

    Example:
        >>> import torch
        >>> TopNSigma(1.0)(torch.tensor([5.0, 4.0, 1.0, 0.0, 0.0]))
        tensor([5., 4., -inf, -inf, -inf])
    """

    n: float | Tensor

    per_row: ClassVar[tuple[str, ...]] = ("n",)
    narrow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check("top_n_sigma", self.n, "a finite number above 0", low=0, above_low=True)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts n standard deviations below the largest."""
        x = logits.double()
        z = x - x.amax(-1, keepdim=True)
        there = z > -math.inf
        count = there.sum(-1, keepdim=True)
        mean = total(z.where(there, 0)) / count
        sigma = (total((z - mean).where(there, 0).square()) / count).sqrt()
        return logits.masked_fill(z < -column(self.n, logits) * sigma, -math.inf)


@dataclass(frozen=True, slots=True, repr=False)
class TopH(Parametric):
    r"""Keeps the most likely tokens while the entropy of what is kept is at most alpha times that of the whole row.

    $$ H(q) \le \alpha H(p), \qquad q_v = p_v / \sum_{u \text{ kept}} p_u $$

    (Baghaei Potraghloo et al., arXiv:2509.02510). Each further token raises H(q), so there is one largest such set; however
    long it is, it is found. The most likely token is always kept, and tokens that tie with the last one are too.

    `transformers` compares another number, the sum of $-p \log p$ over the kept tokens, which is not renormalised, and it
    looks at 100 tokens at most. Of ten tokens that are all but equal, at alpha 0.45, it keeps four, whose entropy is 0.6 of
    the whole; here two are kept.

    Args:
        alpha: In (0, 1]; the paper uses 0.4. 1 keeps everything, bit for bit.

    Example:
        >>> import torch
        >>> TopH(0.5)(torch.tensor([0.5, 0.25, 0.125, 0.125]).log()).softmax(-1)
        tensor([1., 0., 0., 0.])
        >>> TopH(0.6)(torch.tensor([0.5, 0.25, 0.125, 0.125]).log()).softmax(-1)
        tensor([0.6667, 0.3333, 0.0000, 0.0000])
    """

    alpha: float | Tensor

    per_row: ClassVar[tuple[str, ...]] = ("alpha",)
    narrow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check("top_h", self.alpha, "a number in (0, 1]", low=0, high=1, above_low=True)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts from the token that brings too much entropy."""
        z, mass, whole = masses(logits)
        alpha = column(self.alpha, logits)
        most = alpha * entropy(z, mass, whole)

        def crosses(below: Tensor, _: Tensor) -> Tensor:
            beginning = (-below).exp()
            beginning[..., 0] = 0  # in place of 1, as in `entropy`
            rest = running(beginning)
            return (rest.log1p() - running(weighted(-below, beginning)) / (1 + rest) > most) & (alpha < 1)

        below, first = _in_order(-z, crosses, (alpha == 1) | whole.isnan())
        edge = below.gather(-1, (first - 1).clamp(min=0)).where(first >= 0, math.inf)
        return logits.masked_fill(-z > edge, -math.inf)


@dataclass(frozen=True, slots=True, repr=False)
class TailFree(Parametric):
    r"""Cuts the tail where the curve of sorted probabilities has become flat (Phénix and Egan, 2019; llama.cpp's `tfs_z`).

    Let $p_0 \ge p_1 \ge \dots$ be sorted, without -inf, and $c_i = |p_i - 2 p_{i+1} + p_{i+2}|$. Tokens 0 to k - 1 are
    kept, where k is the first of 1, 2, ... with $c_0 + \dots + c_k > z \sum_i c_i$; all are, if there is none. Where the
    $c_i$ together are at most $10^{-6}$ each counts the same. The row is sorted, which takes longer than any other filter.

    Args:
        z: In (0, 1]. 1 keeps everything, bit for bit.

    Example:
        >>> import torch
        >>> TailFree(0.9)(torch.tensor([0.5, 0.3, 0.1, 0.05, 0.05]).log()).softmax(-1)
        tensor([0.6250, 0.3750, 0.0000, 0.0000, 0.0000])
    """

    z: float | Tensor

    per_row: ClassVar[tuple[str, ...]] = ("z",)
    narrow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check("tail_free_z", self.z, "a number in (0, 1]", low=0, high=1, above_low=True)

    def __call__(self, logits: Tensor, /) -> Tensor:
        """Cuts where the curve is flat."""
        if logits.shape[-1] < 4:
            return logits.clone()
        x = _descending(logits).double()
        ordered = x - x[..., :1]
        mass = ordered.exp()
        p = mass / total(mass)
        there = ordered[..., 2:] > -math.inf
        curve = (p[..., :-2] - 2 * p[..., 1:-1] + p[..., 2:]).abs().where(there, 0)
        curve = curve.where(total(curve) > _EVEN, there.double())
        share = column(self.z, logits)
        crossed = ((running(curve) > share * total(curve)) & there)[..., 1:] & (share < 1)
        last = crossed.int().argmax(-1, keepdim=True)  # of the kept: crossed at place k - 1 says that k are
        edge = x.gather(-1, last).where(crossed.any(-1, keepdim=True), -math.inf)
        return logits.masked_fill(logits < edge, -math.inf)


def _descending(x: Tensor) -> Tensor:
    """The numbers of each row, sorted; NaN comes first."""
    if x.device.type != "cpu":
        return x.sort(-1, descending=True).values
    # torch sorts places too, which takes several times as long; and numpy 2.4 sorts some rows of float16 wrongly.
    array = (x if x.dtype == torch.float64 else x.float()).detach().numpy()
    return torch.from_numpy(np.sort(array, -1)).flip(-1)


def _in_order(keys: Tensor, crosses: Callable[[Tensor, Tensor], Tensor], never: Tensor) -> tuple[Tensor, Tensor]:
    """Looks along the smallest keys of each row for the first place that crosses; widens the look where there is none.

    Args:
        keys: `(*rows, vocab)`.
        crosses: Given the smallest keys in order, and where they are, says of each place whether it crosses; that depends
            on nothing but the places up to it.
        never: Rows `(*rows, 1)` where no place can cross.

    Returns:
        The smallest keys, in order, and the first place that crosses in each row, `(*rows, 1)`; -1 where none does.
    """
    vocabulary = keys.shape[-1]
    for width in (*_FEW, vocabulary):
        smallest, at = keys.topk(min(width, vocabulary), largest=False)
        crossed = crosses(smallest, at)
        found = crossed.any(-1, keepdim=True)
        if width >= vocabulary or bool((found | never).all()):
            break
    return smallest, crossed.int().argmax(-1, keepdim=True).where(found, -1)
