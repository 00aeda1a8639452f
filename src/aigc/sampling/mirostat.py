"""Mirostat: a truncation that steers how surprising a text is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import threshold

from aigc.kernels import Draw, Status
from aigc.sampling._numbers import Parametric, check, column
from aigc.sampling.noise import Noise

__all__ = ["Mirostat"]

_BITS = 1 / math.log(2)


@dataclass(frozen=True, slots=True, repr=False)
class Mirostat(Parametric):
    r"""Keeps the tokens whose surprise is at most $\mu$, and steers $\mu$ so that the mean surprise becomes $\tau$.

    $$ \{v : -\log_2 p_v \le \mu\}, \qquad \mu \leftarrow \mu - \eta \, (s - \tau), \qquad \mu_0 = 2 \tau $$

    where $s$ is the surprise of the token drawn, in bits, under what was left. It is Mirostat 2 (Basu et al.,
    arXiv:2007.14966). The most likely token is always kept. Mirostat is meant to end a chain: what filters after it cut is
    part of $s$.

    Args:
        tau: The surprise aimed at, in bits per token; above 0.
        eta: How fast $\mu$ follows; at least 0.

    Example:
        >>> from aigc.sampling import Noise
        >>> mirostat = Mirostat(0.75)  # at first, 1.5 bits
        >>> logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
        >>> mirostat.apply(logits, mirostat.start([[0]]), Noise.of(torch.tensor([7]), 0)).exp()
        tensor([[0.5000, 0.0000, 0.0000]])
    """

    tau: float | Tensor
    eta: float | Tensor = field(default=0.1, kw_only=True)

    per_row: ClassVar[tuple[str, ...]] = ("tau", "eta")
    narrow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check("tau of Mirostat", self.tau, "a finite number above 0", low=0, above_low=True)
        check("eta of Mirostat", self.eta, "a finite number of at least 0", low=0)

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """The largest surprise allowed at first, in bits, float64 `(rows,)`."""
        return torch.as_tensor(self.tau, dtype=torch.float64).cpu().expand(len(prompts)).mul(2)

    def apply(self, logits: Tensor, state: Tensor, noise: Noise) -> Tensor:
        """Cuts what is too surprising."""
        top = logits.amax(-1, keepdim=True)
        # Row by row: how the sum over a long row is split among threads depends on how many rows there are.
        mass = torch.stack([(row - most).exp_().sum(dtype=torch.float64) for row, most in zip(logits, top, strict=True)])
        least = top + (mass.log()[:, None] - column(state, logits) / _BITS).clamp(max=0.0)
        return _cut(logits, least.to(logits.dtype))

    def update(self, state: Tensor, draw: Draw) -> Tensor:
        """Corrects the largest surprise allowed by what the token drawn was too surprising."""
        state = state.to(draw.token.device)
        tau, eta = (torch.as_tensor(each, dtype=torch.float64, device=state.device) for each in (self.tau, self.eta))
        surprise = draw.logprob.double() * -_BITS
        return (state - eta * (surprise - tau)).where(draw.status == Status.OK, state)


def _cut(logits: Tensor, least: Tensor) -> Tensor:
    """Cuts what is less than `least`, `(rows, 1)`, in place."""
    if logits.device.type != "cpu":
        return logits.masked_fill_(logits < least, -math.inf)
    # On a CPU a mask takes a branch for each number, which it cannot foresee; a threshold takes none, and a tenth of the
    # time.
    below = torch.nextafter(least, torch.tensor(-math.inf, dtype=least.dtype))
    for row, edge in zip(logits, below.flatten().tolist(), strict=True):
        threshold(row, edge, -math.inf, inplace=True)
    return logits
