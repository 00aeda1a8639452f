r"""Sampling in plain torch, on any device, without sorting the vocabulary.

A partial `topk` of a few hundred logits is a hundred times cheaper than a sort, and nearly always enough. The certificate:
if the smallest logit of the list lies *below* the threshold found in the list, no token outside of it can survive, so the
threshold is the true one. For top-p the list's probabilities are compared with the whole row's, so a nucleus that does not
fit in the list keeps every token of it, and the certificate fails. Rows without a certificate are tried once more with a
longer list, and then done as the specification does them. Rows that no filter cuts need no list.

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


def sample(logits: Tensor, parameters: Parameters, *, seed: Tensor, step: Tensor) -> Draw:
    """Draws one token per row of `logits` `(rows, vocab)`; seed and step are int64 `(rows,)`."""
    state = reference.status(logits)
    bad = state != Status.OK
    any_bad = bool(bad.any())
    if any_bad:
        logits = logits.masked_fill(bad[:, None], 0)
    result = _sample(logits, parameters, seed, step)
    if any_bad:
        result = _Result(
            token=result.token.masked_fill(bad, -1),
            logprob=result.logprob.masked_fill(bad, math.nan),
            kept=result.kept.masked_fill(bad, 0),
            mass=result.mass.masked_fill(bad, math.nan),
        )
    return Draw(result.token, result.logprob.float(), result.kept, result.mass.float(), state)


def threshold(logits: Tensor, parameters: Parameters) -> Tensor:
    """Returns the smallest logit that the filters keep, `(rows,)`, in the dtype of `logits` `(rows, vocab)`."""
    state = reference.status(logits)
    bad = state != Status.OK
    top = logits.amax(-1)
    logits = logits.masked_fill(bad[:, None], 0)
    active = _active(parameters, logits.shape[-1])
    tau = logits.where(logits > -math.inf, math.inf).amin(-1)
    if active.any():
        tau[active] = _tau(logits[active], parameters.take(active))
    return tau.where(~bad, top)


class _Result(NamedTuple):
    token: Tensor
    logprob: Tensor
    kept: Tensor
    mass: Tensor


class _Listed(NamedTuple):
    """The largest logits of each row, sorted, and what the filters make of them."""

    ids: Tensor
    z: Tensor
    tau: Tensor
    keep: Tensor
    certain: Tensor


def _sample(logits: Tensor, parameters: Parameters, seed: Tensor, step: Tensor) -> _Result:
    """Sends each row the way it needs to go; what a row gets does not depend on where the others go."""
    greedy = None if parameters.temperature is None else parameters.temperature == 0
    if greedy is not None and bool(greedy.all()):
        return _greedy(logits)
    result = _drawn(logits, parameters, seed, step)
    if greedy is not None and bool(greedy.any()):
        first = _greedy(logits)
        result = _Result(*(a.where(~greedy, b) for a, b in zip(result, first, strict=True)))
    return result


def _drawn(logits: Tensor, parameters: Parameters, seed: Tensor, step: Tensor) -> _Result:
    active = _active(parameters, logits.shape[-1])
    if bool(active.all()):
        return _cut(logits, parameters, seed, step, NARROW)
    if not bool(active.any()):
        return _uncut(logits, parameters, seed, step)
    parts = []
    for rows, way in ((active, True), (~active, False)):
        part = logits[rows], parameters.take(rows), seed[rows], step[rows]
        parts.append((rows, _cut(*part, NARROW) if way else _uncut(*part)))
    return _merge(parts)


def _greedy(logits: Tensor) -> _Result:
    token = logits.argmax(-1)
    zeros = torch.zeros(token.shape, dtype=torch.float64, device=token.device)
    return _Result(token, zeros, torch.ones_like(token), zeros + 1)


def _uncut(logits: Tensor, parameters: Parameters, seed: Tensor, step: Tensor) -> _Result:
    """Rows that keep every token that is not -inf."""
    z = reference.tempered(logits, parameters)
    kept = (logits > -math.inf).sum(-1)
    masses = reference.block_masses(z)
    total = masses.cumsum(-1)[:, -1]
    token = torch.empty_like(kept)
    few = kept <= reference.FLAT
    if bool(few.any()):
        token[few] = reference.draw(z[few], logits[few] > -math.inf, seed=seed[few], step=step[few])
    if not bool(few.all()):
        token[~few] = _two_levels(z[~few], masses[~few], seed[~few], step[~few])
    logprob = z.gather(-1, token[:, None])[:, 0] - total.log()
    return _Result(token, logprob, kept, torch.ones_like(logprob))


def _two_levels(z: Tensor, masses: Tensor, seed: Tensor, step: Tensor) -> Tensor:
    """The draw of the specification for many survivors, with noise for the blocks and for one block's tokens."""
    seed, step = seed[:, None], step[:, None]
    block = torch.arange(masses.shape[-1], device=z.device)
    chosen = (masses.log() + random.gumbel(seed, step, -1 - block)).argmax(-1, keepdim=True)
    token = chosen * reference.BLOCK + torch.arange(reference.BLOCK, device=z.device)
    outside = token >= z.shape[-1]
    score = z.gather(-1, token.masked_fill(outside, 0)).masked_fill(outside, -math.inf)
    best = (score + random.gumbel(seed, step, token)).argmax(-1, keepdim=True)
    return token.gather(-1, best)[:, 0]


def _cut(logits: Tensor, parameters: Parameters, seed: Tensor, step: Tensor, width: int) -> _Result:
    """Rows that a filter may cut: certain ones from a list, the others from a longer one or as specified."""
    total = _total(logits, parameters)
    listed = _list(logits, parameters, total, width)
    certain = listed.certain & (listed.keep.sum(-1) <= reference.FLAT)
    if bool(certain.all()):
        return _from_list(listed, total, seed, step)
    parts = []
    for rows, done in ((certain, True), (~certain, False)):
        if not bool(rows.any()):
            continue
        if done:
            few = _Listed(*(field[rows] for field in listed))
            parts.append((rows, _from_list(few, total[rows], seed[rows], step[rows])))
        else:
            rest = logits[rows], parameters.take(rows), seed[rows], step[rows]
            parts.append((rows, _cut(*rest, WIDE) if width < WIDE else _as_specified(*rest)))
    return _merge(parts)


def _from_list(listed: _Listed, total: Tensor, seed: Tensor, step: Tensor) -> _Result:
    z = listed.z.where(listed.keep, -math.inf)
    best = (z + random.gumbel(seed[:, None], step[:, None], listed.ids)).argmax(-1, keepdim=True)
    kept_mass = z.exp().cumsum(-1)[:, -1]  # in order: zeros at the end of a longer list change no bit
    logprob = z.gather(-1, best)[:, 0] - kept_mass.log()
    # The two sums are rounded differently; a share is at most the whole.
    return _Result(listed.ids.gather(-1, best)[:, 0], logprob, listed.keep.sum(-1), (kept_mass / total).clamp(max=1.0))


def _as_specified(logits: Tensor, parameters: Parameters, seed: Tensor, step: Tensor) -> _Result:
    result = reference.sample(logits, parameters, seed=seed, step=step)
    return _Result(result.token, result.logprob.double(), result.kept, result.mass.double())


def _tau(logits: Tensor, parameters: Parameters) -> Tensor:
    total = _total(logits, parameters)
    for width in (NARROW, WIDE):
        listed = _list(logits, parameters, total, width)
        if bool(listed.certain.all()):
            return listed.tau
    tau, uncertain = listed.tau, ~listed.certain
    tau[uncertain] = reference.threshold(logits[uncertain], parameters.take(uncertain))
    return tau


def _list(logits: Tensor, parameters: Parameters, total: Tensor, width: int) -> _Listed:
    """Applies the filters to the largest logits of each row; `certain` says where that is the whole truth.

    The length of the list is fixed: were it the largest k of the batch, a row's way would depend on its neighbours. A
    k that does not fit keeps the whole list, and so fails the certificate.
    """
    vocabulary = logits.shape[-1]
    values, ids = logits.topk(min(width, vocabulary))
    z = _tempered(values, parameters)
    keep = values > -math.inf
    complete = torch.full_like(total, values.shape[-1] == vocabulary, dtype=torch.bool)
    fits = complete
    if parameters.top_k is not None:
        k = parameters.top_k[:, None]
        last = values.gather(-1, k.clamp(max=values.shape[-1]) - 1)
        keep = keep & ((values >= last) | (k >= vocabulary))
        fits = complete | (values[:, -1] < last[:, 0]) | (parameters.top_k >= vocabulary)
    mass = z.exp() * keep
    running = mass.cumsum(-1)
    whole = total
    if parameters.top_k is not None:
        whole = total.where(parameters.top_k >= vocabulary, running[:, -1])
    if parameters.top_p is not None:
        p = parameters.top_p[:, None]
        keep = keep & ((running - mass < p * whole[:, None]) | (p >= 1))
    if parameters.min_p is not None:
        keep = keep & (z >= parameters.min_p.log()[:, None])
    tau = values.where(keep, math.inf).amin(-1)
    certain = complete | (values[:, -1] < tau)
    if parameters.top_k is not None:
        certain = certain & fits  # else top-p has renormalised over a part of the survivors of top-k
    return _Listed(ids, z, tau, values >= tau[:, None], certain)


def _tempered(values: Tensor, parameters: Parameters) -> Tensor:
    """As the specification has it, for rows sorted from the largest."""
    z = values.double()
    z = z - z[:, :1]
    if parameters.temperature is not None:
        t = parameters.temperature
        z = z / t.where(t > 0, 1.0)[:, None]
    return z


def _total(logits: Tensor, parameters: Parameters) -> Tensor:
    """The sum of exp(z) over each whole row; float32 inside, for it is compared, never drawn from."""
    x = logits if logits.dtype == torch.float64 else logits.float()
    z = x - x.amax(-1, keepdim=True)
    if parameters.temperature is not None:
        t = parameters.temperature
        z = z / t.where(t > 0, 1.0)[:, None].to(z.dtype)
    return reference.block_masses(z).double().cumsum(-1)[:, -1]


def _active(parameters: Parameters, vocabulary: int) -> Tensor:
    """Which rows a filter may cut."""
    tests = []
    if parameters.top_k is not None:
        tests.append(parameters.top_k < vocabulary)
    if parameters.top_p is not None:
        tests.append(parameters.top_p < 1)
    if parameters.min_p is not None:
        tests.append(parameters.min_p > 0)
    if not tests:
        return torch.zeros(1, dtype=torch.bool)
    active = tests[0]
    for test in tests[1:]:
        active = active | test
    return active


def _merge(parts: list[tuple[Tensor, _Result]]) -> _Result:
    rows = parts[0][0]
    merged = [field.new_empty(len(rows)) for field in parts[0][1]]
    for where, result in parts:
        for whole, part in zip(merged, result, strict=True):
            whole[where] = part
    return _Result(*merged)
