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
from aigc.kernels._parameters import Parameters
from aigc.kernels._types import Draw, Status

__all__ = ["BLOCK", "FLAT", "draw", "sample", "status", "tempered", "threshold"]

FLAT = 1024  # survivors that draw in one level
BLOCK = 256  # tokens in a block of the two-level draw


def threshold(x: Tensor, z: Tensor, k: Tensor, p: Tensor, log_m: Tensor) -> Tensor:
    """Returns the smallest of the logits `x` that the filters keep, `(rows, 1)`; `z` is `x` after temperature."""
    x, order = x.sort(-1, descending=True)
    z = z.gather(-1, order)
    keep = (x > -math.inf) & (x >= x.gather(-1, k.clamp(max=x.shape[-1]) - 1))
    mass = z.exp() * keep
    larger = mass.cumsum(-1) - mass
    keep &= (larger < p * mass.sum(-1, keepdim=True)) | (p == 1)
    keep &= z >= log_m
    # Each of these sets is a beginning of the same order, so the smallest logit in all of them is the threshold.
    return x.where(keep, math.inf).amin(-1, keepdim=True)


def draw(z: Tensor, keep: Tensor, start: Tensor) -> Tensor:
    """Draws one kept token per row from tempered logits `z` `(rows, vocab)`; returns `(rows, 1)`."""
    token = torch.arange(z.shape[-1], device=z.device)
    z = z.where(keep, -math.inf)
    score = z + random.gumbel_from(start[:, None], token)
    blocks = torch.nn.functional.pad(z, (0, -len(token) % BLOCK), value=-math.inf).view(len(z), -1, BLOCK).logsumexp(-1)
    block = torch.arange(blocks.shape[-1], device=z.device)
    chosen = (blocks + random.gumbel_from(start[:, None], -1 - block)).argmax(-1, keepdim=True)
    few = keep.sum(-1, keepdim=True) <= FLAT
    return score.where(few | (token // BLOCK == chosen), -math.inf).argmax(-1, keepdim=True)


def sample(logits: Tensor, given: Parameters, start: Tensor) -> Draw:
    """Draws one token per row of `logits` `(rows, vocab)`.

    Args:
        logits: Any floating dtype.
        given: What the filters do.
        start: `aigc.random.counter(seed, step)` of each row, `(rows,)`.
    """
    state = status(logits)
    bad = state != Status.OK
    x = logits.masked_fill(bad[:, None], 0)
    t, k, p, log_m = given.columns(x)
    first = torch.zeros_like(x, dtype=torch.bool).scatter_(-1, x.argmax(-1, keepdim=True), True)
    drawable = (x > -math.inf) & (first | (t > 0))
    z = tempered(x, t.where(t > 0, 1)).where(drawable, -math.inf)
    keep = (x >= threshold(x, z, k, p, log_m)) & drawable
    token = draw(z, keep, start)
    return Draw(
        token=token[:, 0].masked_fill(bad, -1),
        logprob=z.where(keep, -math.inf).log_softmax(-1).gather(-1, token)[:, 0].float().masked_fill(bad, math.nan),
        kept=keep.sum(-1).masked_fill(bad, 0),
        mass=(z.softmax(-1) * keep).sum(-1).float().masked_fill(bad, math.nan),
        status=state,
    )


def tempered(x: Tensor, divisor: Tensor) -> Tensor:
    """$z = (x - M) / t$, float64."""
    x = x.double()
    return (x - x.amax(-1, keepdim=True)) / divisor


def status(logits: Tensor) -> Tensor:
    """The `Status` of each row of `logits` `(rows, vocab)`, int64."""
    top = logits.amax(-1)  # NaN if any is
    state = torch.where(top == -math.inf, int(Status.EMPTY), int(Status.OK))
    return state.masked_fill(top == math.inf, int(Status.INF)).masked_fill(top.isnan(), int(Status.NAN))
