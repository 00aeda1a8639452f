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


def threshold(logits: Tensor, parameters: Parameters) -> Tensor:
    """Returns the smallest logit that the filters keep, `(rows,)`, in the dtype of `logits` `(rows, vocab)`."""
    ordered = logits.sort(-1, descending=True).values
    z = tempered(ordered, parameters)
    keep = ordered > -math.inf
    if parameters.top_k is not None:
        last = parameters.top_k.clamp(max=logits.shape[-1]) - 1
        keep &= ordered >= ordered.gather(-1, last[:, None])
    if parameters.top_p is not None:
        mass = z.exp() * keep
        larger = mass.cumsum(-1) - mass
        p = parameters.top_p[:, None]
        keep &= (larger < p * mass.sum(-1, keepdim=True)) | (p >= 1)
    if parameters.min_p is not None:
        keep &= z >= parameters.min_p.log()[:, None]
    # The sets are beginnings of one order, so the smallest kept logit is the threshold.
    return ordered.where(keep, math.inf).amin(-1)


def draw(z: Tensor, keep: Tensor, *, seed: Tensor, step: Tensor) -> Tensor:
    """Draws one kept token per row from tempered logits `z` `(rows, vocab)`, float64."""
    token = torch.arange(z.shape[-1], device=z.device)
    score = z.where(keep, -math.inf) + random.gumbel(seed[:, None], step[:, None], token)
    many = keep.sum(-1) > FLAT
    if many.any():
        masses = block_masses(z.where(keep, -math.inf))
        block = torch.arange(masses.shape[-1], device=z.device)
        noise = random.gumbel(seed[:, None], step[:, None], -1 - block)
        chosen = (masses.log() + noise).argmax(-1)
        score = score.where((token // BLOCK == chosen[:, None]) | ~many[:, None], -math.inf)
    return score.argmax(-1)


def sample(logits: Tensor, parameters: Parameters, *, seed: Tensor, step: Tensor) -> Draw:
    """Draws one token per row of `logits` `(rows, vocab)`; seed and step are int64 `(rows,)`."""
    state = status(logits)
    bad = state != Status.OK
    logits = logits.masked_fill(bad[:, None], 0)
    z = tempered(logits, parameters)
    keep = logits >= threshold(logits, parameters)[:, None]
    if parameters.temperature is not None:
        first = torch.zeros_like(keep).scatter_(-1, logits.argmax(-1, keepdim=True), True)
        keep = keep.where(parameters.temperature[:, None] > 0, first)
        z = z.where((parameters.temperature[:, None] > 0) | (z == 0), -math.inf)
    token = draw(z, keep, seed=seed, step=step)
    kept_mass, mass = z.where(keep, -math.inf).exp().sum(-1), z.exp().sum(-1)
    logprob = z.gather(-1, token[:, None])[:, 0] - kept_mass.log()
    share = kept_mass / mass
    if parameters.temperature is not None:
        share = share.where(parameters.temperature > 0, 1.0)
    return Draw(
        token=token.masked_fill(bad, -1),
        logprob=logprob.float().masked_fill(bad, math.nan),
        kept=keep.sum(-1).masked_fill(bad, 0),
        mass=share.float().masked_fill(bad, math.nan),
        status=state,
    )


def tempered(logits: Tensor, parameters: Parameters) -> Tensor:
    """$z = (x - M) / t$ in float64; rows of temperature 0 are left at $t = 1$."""
    z = logits.double()
    z = z - z.amax(-1, keepdim=True)
    if parameters.temperature is not None:
        t = parameters.temperature
        z = z / t.where(t > 0, 1.0)[:, None]
    return z


def status(logits: Tensor) -> Tensor:
    """The `Status` of each row of `logits` `(rows, vocab)`, int64."""
    top = logits.amax(-1)  # NaN if any is
    state = torch.where(top == -math.inf, int(Status.EMPTY), int(Status.OK))
    return state.masked_fill(top == math.inf, int(Status.INF)).masked_fill(top.isnan(), int(Status.NAN))


def block_masses(z: Tensor) -> Tensor:
    """Sums of exp(z) over blocks of consecutive tokens, `(rows, blocks)`."""
    short = -z.shape[-1] % BLOCK
    padded = torch.nn.functional.pad(z, (0, short), value=-math.inf) if short else z
    masses: Tensor = padded.exp().reshape(len(z), -1, BLOCK).sum(-1)
    return masses
