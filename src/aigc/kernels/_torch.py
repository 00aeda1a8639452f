r"""Sampling in plain torch, on any device, without sorting the vocabulary.

A partial `topk` of a few hundred logits is a hundred times cheaper than a sort, and nearly always enough. The certificate:
if the smallest logit of the list lies *below* the threshold found in the list, no token outside of it can survive, so the
threshold is the true one. For top-p the list's probabilities are compared with the whole row's, so a nucleus that does not
fit in the list keeps every token of it, and the certificate fails. Rows without a certificate are tried once more with a
longer list, and then sorted. Rows that no filter cuts need no list.

Every sum over a row is taken in blocks of fixed size and then in order, so that its bits do not depend on the rows beside
it. What is drawn is decided in float64, on the survivors only.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from aigc import random
from aigc.kernels import reference
from aigc.kernels._types import Draw, Parameters, Status

__all__ = ["sample", "threshold"]

NARROW, WIDE = 256, 4096  # lengths of the first list and of the second


def sample(logits: Tensor, given: Parameters, start: Tensor) -> Draw:
    """Draws one token per row of `logits` `(rows, vocab)`; `start` `(rows,)` is where each row's noise begins."""
    if not len(logits):
        empty = logits.new_empty(0, dtype=torch.float32)
        return Draw(empty.long(), empty, empty.long(), empty, empty.long())
    if bool(logits.amax(-1).isfinite().all()):
        result = _sample(logits, given, start)
        return Draw(result.token, result.logprob.float(), result.kept, result.mass.float(), torch.zeros_like(result.token))
    state = reference.status(logits)
    bad = state != Status.OK
    result = _sample(logits.masked_fill(bad[:, None], 0), given, start)
    return Draw(
        token=result.token.masked_fill(bad, -1),
        logprob=result.logprob.float().masked_fill(bad, math.nan),
        kept=result.kept.masked_fill(bad, 0),
        mass=result.mass.float().masked_fill(bad, math.nan),
        status=state,
    )


def threshold(logits: Tensor, given: Parameters) -> Tensor:
    """Returns the smallest logit that the filters keep, `(rows,)`, in the dtype of `logits` `(rows, vocab)`."""
    top = logits.amax(-1)
    good = top.isfinite()
    logits = logits.masked_fill(~good[:, None], 0)
    cut = _cut_rows(given, logits.shape[-1], len(logits), logits.device)
    tau = logits.where(logits > -math.inf, math.inf).amin(-1)
    if bool(cut.any()):
        tau[cut] = _tau(logits[cut], given.select(cut))
    return tau.where(good, top)


class _Result(NamedTuple):
    """A `Draw` in float64, of rows that are all OK."""

    token: Tensor
    logprob: Tensor
    kept: Tensor
    mass: Tensor


class _List(NamedTuple):
    """The largest logits of each row, sorted, and what the filters make of them."""

    ids: Tensor
    z: Tensor
    tau: Tensor
    keep: Tensor
    certain: Tensor


def _sample(logits: Tensor, given: Parameters, start: Tensor) -> _Result:
    """Sends each row the way it needs to go; what a row gets does not depend on where the others go."""
    if given.all_greedy:
        return _greedy(logits)
    result = _drawn(logits, given, start)
    if given.greedy is not None and bool(given.greedy.any()):
        greedy = given.greedy[:, 0]
        return _Result(*(b.where(greedy, a) for a, b in zip(result, _greedy(logits), strict=True)))
    return result


def _greedy(logits: Tensor) -> _Result:
    token = logits.argmax(-1)
    zeros = torch.zeros(token.shape, dtype=torch.float64, device=token.device)
    return _Result(token, zeros, torch.ones_like(token), zeros + 1)


def _drawn(logits: Tensor, given: Parameters, start: Tensor) -> _Result:
    vocabulary = logits.shape[-1]
    if given.surely_cut or (given.largest_k is not None and given.largest_k < vocabulary):
        return _cut(logits, given, start, NARROW)
    cut = _cut_rows(given, vocabulary, len(logits), logits.device)
    parts = []
    for rows, is_cut in ((cut, True), (~cut, False)):
        if bool(rows.any()):
            part = logits[rows], given.select(rows), start[rows]
            result = _cut(*part, NARROW) if is_cut else _uncut(*part)
            parts.append((rows, result if is_cut else result._replace(mass=torch.ones_like(result.mass))))
    return _merge(parts)


def _uncut(logits: Tensor, given: Parameters, start: Tensor) -> _Result:
    """Draws from every token that is not -inf; `mass` is the sum of exp(z) over them, not yet a share."""
    z = reference.tempered(logits, given)
    kept = (logits > -math.inf).sum(-1)
    masses = reference.block_masses(z)
    token = torch.empty_like(kept)
    few = kept <= reference.FLAT
    if bool(few.any()):
        token[few] = reference.draw(z[few], logits[few] > -math.inf, start[few])[:, 0]
    if not bool(few.all()):
        token[~few] = _two_levels(z[~few], masses[~few], start[~few])
    whole = masses.cumsum(-1)[:, -1]
    return _Result(token, z.gather(-1, token[:, None])[:, 0] - whole.log(), kept, whole)


def _two_levels(z: Tensor, masses: Tensor, start: Tensor) -> Tensor:
    """The draw of the specification for many survivors, with noise for the blocks and for one block's tokens."""
    block = torch.arange(masses.shape[-1], device=z.device)
    chosen = (masses.log() + random.gumbel_from(start[:, None], -1 - block)).argmax(-1, keepdim=True)
    token = chosen * reference.BLOCK + torch.arange(reference.BLOCK, device=z.device)
    outside = token >= z.shape[-1]
    score = z.gather(-1, token.masked_fill(outside, 0)).masked_fill(outside, -math.inf)
    best = (score + random.gumbel_from(start[:, None], token)).argmax(-1, keepdim=True)
    return token.gather(-1, best)[:, 0]


def _cut(logits: Tensor, given: Parameters, start: Tensor, width: int) -> _Result:
    """Rows that a filter may cut: certain ones from a list, the others from a longer one or as specified."""
    total = _total(logits, given)
    listed = _list(logits, given, total, width)
    if bool(listed.certain.all()):
        return _from_list(listed, total, start)
    parts = []
    for rows, done in ((listed.certain, True), (~listed.certain, False)):
        if not bool(rows.any()):
            continue
        if done:
            parts.append((rows, _from_list(_List(*(field[rows] for field in listed)), total[rows], start[rows])))
        else:
            rest = logits[rows], given.select(rows), start[rows]
            parts.append((rows, _cut(*rest, WIDE) if width < WIDE else _sorted(*rest, total[rows])))
    return _merge(parts)


def _from_list(listed: _List, total: Tensor, start: Tensor) -> _Result:
    z = listed.z.masked_fill(~listed.keep, -math.inf)
    best = (z + random.gumbel_from(start[:, None], listed.ids)).argmax(-1, keepdim=True)
    kept_mass = z.exp().cumsum(-1)[:, -1]  # in order: zeros at the end of a longer list change no bit
    logprob = z.gather(-1, best)[:, 0] - kept_mass.log()
    # The two sums are rounded differently; a share is at most the whole.
    return _Result(listed.ids.gather(-1, best)[:, 0], logprob, listed.keep.sum(-1), (kept_mass / total).clamp(max=1.0))


def _sorted(logits: Tensor, given: Parameters, start: Tensor, total: Tensor) -> _Result:
    """Rows that no list settles: the threshold from a sort, as specified, and a draw from what it leaves."""
    left = logits.masked_fill(logits < reference.threshold(logits, given), -math.inf)
    result = _uncut(left, given, start)
    return result._replace(mass=(result.mass / total).clamp(max=1.0))


def _tau(logits: Tensor, given: Parameters) -> Tensor:
    total = _total(logits, given)
    for width in (NARROW, WIDE):
        listed = _list(logits, given, total, width)
        if bool(listed.certain.all()):
            return listed.tau
    tau, uncertain = listed.tau, ~listed.certain
    tau[uncertain] = reference.threshold(logits[uncertain], given.select(uncertain))[:, 0]
    return tau


def _list(logits: Tensor, given: Parameters, total: Tensor, width: int) -> _List:
    """Applies the filters to the largest logits of each row; `certain` says where that is the whole truth.

    The length of the list is fixed: were it the largest k of the batch, a row's way would depend on its neighbours. A
    k that does not fit keeps the whole list, and so fails the certificate. So does a row with more than `FLAT`
    survivors, which draws in two levels.
    """
    vocabulary = logits.shape[-1]
    values, ids = logits.topk(min(width, vocabulary))
    complete = values.shape[-1] == vocabulary
    z = values.double()
    z = z - z[:, :1]
    if given.divisor is not None:
        z = z / given.divisor
    keep = values > -math.inf
    fits: Tensor | None = None
    mass, whole = z.exp(), total[:, None]
    if given.top_k is not None:
        last = values.gather(-1, given.top_k.clamp(max=values.shape[-1]) - 1)
        off = given.top_k >= vocabulary
        keep &= (values >= last) | off
        fits = ((values[:, -1:] < last) | off)[:, 0]
        mass = mass * keep
    running = mass.cumsum(-1)
    if given.top_k is not None:
        whole = whole.where(off, running[:, -1:])
    if given.top_p is not None:
        keep &= (running - mass < given.top_p * whole) | (given.top_p >= 1)
    if given.log_min_p is not None:
        keep &= z >= given.log_min_p
    tau = values.masked_fill(~keep, math.inf).amin(-1)
    keep = values >= tau[:, None]
    certain = (values[:, -1] < tau) | complete
    if fits is not None:
        certain &= fits | complete  # else top-p has renormalised over a part of the survivors of top-k
    if values.shape[-1] > reference.FLAT:
        certain &= keep.sum(-1) <= reference.FLAT
    return _List(ids, z, tau, keep & (values > -math.inf), certain)


def _total(logits: Tensor, given: Parameters) -> Tensor:
    """The sum of exp(z) over each whole row; float32 inside, for it is compared, never drawn from."""
    x = logits if logits.dtype == torch.float64 else logits.float()
    z = x - x.amax(-1, keepdim=True)
    if given.divisor is not None:
        # Rounded to float32, an extreme temperature would be 0 or infinite, and 0 / 0 and inf / inf are NaN.
        limits = torch.finfo(z.dtype)
        z = z / given.divisor.to(z.dtype).clamp(limits.tiny, limits.max)
    return reference.block_masses(z).double().cumsum(-1)[:, -1]


def _cut_rows(given: Parameters, vocabulary: int, rows: int, device: torch.device) -> Tensor:
    """Which rows a filter may cut, bool `(rows,)`."""
    cut = torch.zeros(rows, 1, dtype=torch.bool, device=device)
    if given.top_k is not None:
        cut = cut | (given.top_k < vocabulary)
    if given.top_p is not None:
        cut = cut | (given.top_p < 1)
    if given.log_min_p is not None:
        cut = cut | (given.log_min_p > -math.inf)
    return cut[:, 0]


def _merge(parts: list[tuple[Tensor, _Result]]) -> _Result:
    if len(parts) == 1:
        return parts[0][1]
    merged = [field.new_empty(len(parts[0][0])) for field in parts[0][1]]
    for where, result in parts:
        for whole, part in zip(merged, result, strict=True):
            whole[where] = part
    return _Result(*merged)
