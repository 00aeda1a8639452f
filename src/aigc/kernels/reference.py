r"""The specification of sampling, in float64: what every fast path must return, to the token.

Let $x$ be a row of logits, $M$ its maximum, $t$ its temperature and $z = (x - M) / t$. The filters act in this order:

1. **top-k** keeps the tokens whose logit is at least the k-th largest, ties included;
2. **top-p** renormalises over those, sorts them, and keeps a token while the probability of all larger ones is below p;
3. **min-p** keeps the tokens at least `min_p` times as likely as the first: $z \ge \log m$.

Each is a threshold, so together they are one: $\tau$, the smallest logit that all keep. A token survives if and only if
its logit is at least $\tau$; tokens that tie with the last one kept are kept too, and nothing depends on the order of the
vocabulary. At temperature 0 the first of the largest logits is the only survivor.

The draw is Gumbel-max: the survivor with the largest $z_v + g_v$, where $g_v$ is `aigc.random.gumbel(seed, step, v)`.
Where more than `FLAT` tokens survive, noise for each would be dear, and the draw has two levels: first a block of `BLOCK`
consecutive tokens, by the logarithm of its probability and the noise of index `-1 - block`, then a token in it as above.
Both levels together draw from the same distribution (Maddison, Tarlow and Minka, "A* sampling", NeurIPS 2014).
"""

import math

import torch
from torch import Tensor

from aigc import random
from aigc.kernels._types import Draw, Parameters, Status

__all__ = ["BLOCK", "FLAT", "block_masses", "draw", "sample", "status", "threshold"]

FLAT = 1024  # survivors that draw in one level
BLOCK = 256  # tokens in a block of the two-level draw


def threshold(logits: Tensor, given: Parameters) -> Tensor:
    """Returns the smallest logit that the filters keep, `(rows, 1)`, in the dtype of `logits` `(rows, vocab)`."""
    ordered = logits.sort(-1, descending=True).values
    z = tempered(ordered, given)
    keep = ordered > -math.inf
    if given.top_k is not None:
        keep &= ordered >= ordered.gather(-1, given.top_k.clamp(max=logits.shape[-1]) - 1)
    if given.top_p is not None:
        mass = z.exp() * keep
        larger = mass.cumsum(-1) - mass
        keep &= (larger < given.top_p * mass.sum(-1, keepdim=True)) | (given.top_p >= 1)
    if given.log_min_p is not None:
        keep &= z >= given.log_min_p
    # The sets are beginnings of one order, so the smallest kept logit is the threshold.
    return ordered.where(keep, math.inf).amin(-1, keepdim=True)


def draw(z: Tensor, keep: Tensor, start: Tensor) -> Tensor:
    """Draws one kept token per row from tempered logits `z` `(rows, vocab)`, float64; returns `(rows, 1)`."""
    token = torch.arange(z.shape[-1], device=z.device)
    score = z.where(keep, -math.inf) + random.gumbel_from(start[:, None], token)
    many = keep.sum(-1, keepdim=True) > FLAT
    if bool(many.any()):
        masses = block_masses(z.where(keep, -math.inf))
        block = torch.arange(masses.shape[-1], device=z.device)
        chosen = (masses.log() + random.gumbel_from(start[:, None], -1 - block)).argmax(-1, keepdim=True)
        score = score.where((token // BLOCK == chosen) | ~many, -math.inf)
    return score.argmax(-1, keepdim=True)


def sample(logits: Tensor, given: Parameters, start: Tensor) -> Draw:
    """Draws one token per row of `logits` `(rows, vocab)`.

    Args:
        logits: Any floating dtype.
        given: Parameters, one column each.
        start: `aigc.random.counter(seed, step)` of each row, `(rows,)`.
    """
    state = status(logits)
    bad = state != Status.OK
    logits = logits.masked_fill(bad[:, None], 0)
    z = tempered(logits, given)
    keep = logits >= threshold(logits, given)
    if given.greedy is not None:
        first = torch.zeros_like(keep).scatter_(-1, logits.argmax(-1, keepdim=True), True)
        keep = keep.where(~given.greedy, first)
        z = z.where(~given.greedy | first, -math.inf)
    keep &= logits > -math.inf
    token = draw(z, keep, start)
    kept_mass, mass = z.where(keep, -math.inf).exp().sum(-1), z.exp().sum(-1)
    logprob = z.gather(-1, token)[:, 0] - kept_mass.log()
    return Draw(
        token=token[:, 0].masked_fill(bad, -1),
        logprob=logprob.float().masked_fill(bad, math.nan),
        kept=keep.sum(-1).masked_fill(bad, 0),
        mass=(kept_mass / mass).float().masked_fill(bad, math.nan),
        status=state,
    )


def tempered(logits: Tensor, given: Parameters) -> Tensor:
    """$z = (x - M) / t$ in float64; rows of temperature 0 are left at $t = 1$."""
    z = logits.double()
    z = z - z.amax(-1, keepdim=True)
    return z if given.divisor is None else z / given.divisor


def status(logits: Tensor) -> Tensor:
    """The `Status` of each row of `logits` `(rows, vocab)`, int64."""
    top = logits.amax(-1)  # NaN if any is
    state = torch.where(top == -math.inf, int(Status.EMPTY), int(Status.OK))
    return state.masked_fill(top == math.inf, int(Status.INF)).masked_fill(top.isnan(), int(Status.NAN))


def block_masses(z: Tensor) -> Tensor:
    """Sums of exp(z) over blocks of consecutive tokens, `(rows, blocks)`."""
    short = -z.shape[-1] % BLOCK
    padded = torch.nn.functional.pad(z, (0, short), value=-math.inf) if short else z
    # Contiguous, for a sum over strided elements has another order, and so other bits.
    masses: Tensor = padded.exp().contiguous().view(len(z), -1, BLOCK).sum(-1)
    return masses
