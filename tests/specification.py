"""The law that binds every path to the specification, and a reading of the specification by hand."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from aigc import kernels, random
from aigc.kernels import Draw, reference

EDGE = 2e-6  # two float sums may straddle the nucleus edge by this much: the one licence of the specification


def kept_by_hand(x: Tensor, t: float | None, k: int | None, p: float | None, m: float | None) -> tuple[set[int], float]:
    """Kept ids of one row in plain Python and exact sums, and how near the nucleus edge it came."""
    values = [float(v) for v in x.double()]
    top = max(values)
    z = [(v - top) / (t or 1.0) for v in values]
    order = sorted((i for i in range(len(z)) if values[i] > -math.inf), key=lambda i: -values[i])
    if k is not None and k < len(values):
        order = [i for i in order if values[i] >= values[order[min(k, len(order)) - 1]]]
    edge = math.inf
    if p is not None and p < 1:
        whole = math.fsum(math.exp(z[i]) for i in order)
        kept, before = [], 0.0
        for i in order:
            tied = kept and values[i] == values[kept[-1]]
            if not tied:
                edge = min(edge, abs(before / whole - p))
            if before / whole < p or tied:
                kept.append(i)
            before += math.exp(z[i])
        order = kept
    if m is not None:
        order = [i for i in order if z[i] >= math.log(m)]
    return set(order), edge


def law_specification(way: Callable[..., Draw], x: Tensor, seed: int, step: int, **filters: float | None) -> None:
    """The token and everything else; of a row that comes near the nucleus edge, if it keeps the same."""
    given_rows = kernels.parameters(x.shape[:1], device=x.device, **filters)
    start = random.counter(seed ^ torch.arange(len(x)), step)
    spec, fast = reference.sample(x, given_rows, start), way(x, given_rows, start)
    exact = torch.tensor([not _near_edge(row, *filters.values()) for row in x])
    law_equality(spec, fast, exact)


def law_equality(spec: Draw, fast: Draw, exact: Tensor) -> None:
    """Two draws agree in all; where not `exact`, either may keep what lies within `EDGE` of the nucleus edge."""
    same = spec.kept == fast.kept
    assert (same | ~exact).all()
    assert torch.equal(spec.status, fast.status)
    assert torch.equal(spec.token[same], fast.token[same])
    torch.testing.assert_close(fast.logprob[same], spec.logprob[same], rtol=1e-6, atol=1e-6, equal_nan=True)
    # The whole row is summed in float32 on a fast path, in float64 in the specification.
    torch.testing.assert_close(fast.mass[same], spec.mass[same], rtol=2e-6, atol=1e-7, equal_nan=True)
    assert ((fast.mass - spec.mass)[~same].abs() <= 2 * EDGE).all()


def _near_edge(x: Tensor, t: float | None, k: int | None, p: float | None, m: float | None) -> bool:
    if not bool(x.isfinite().any()) or bool(x.isnan().any()) or bool((x == math.inf).any()):
        return False
    return kept_by_hand(x, t, k, p, m)[1] <= EDGE


def nearly_alike(seed: int, step: int, apart: float) -> Tensor:
    """A row `(1, 3000)` whose first two blocks, by noise and mass, score as near each other as this in the uncut draw."""
    x = torch.randn(1, 3000, generator=torch.Generator().manual_seed(1))
    blocks = (
        torch.nn.functional.pad(x, (0, -3000 % 256), value=-math.inf).double().unflatten(-1, (-1, 256)).logsumexp(-1)[0]
    )
    scores = blocks + random.gumbel(seed, step, -1 - torch.arange(len(blocks)))
    first, second = scores.topk(2).indices.tolist()
    x[0, second * 256 : second * 256 + 256] += float(scores[first] - scores[second] + apart)
    return x
