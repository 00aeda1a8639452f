"""Penalties: what is added to the discriminator's loss so that training converges.

contract.py     Scores, look: what a discriminator says of a batch, once for all penalties
gradients.py    R1, R2, WGANGP, ZeroCentred, OneCentred: on its gradient
logits.py       LeCam, Consistency: on its logits
packing.py      Packed: a discriminator that reads several examples at once
gamma.py        how large a weight: a default, annealing, and whether it was too much or too little
"""

from aigc.gan.penalties.contract import Discriminator, Penalty, Scores, look
from aigc.gan.penalties.gamma import Balance, annealed, balance, default_gamma
from aigc.gan.penalties.gradients import R1, R2, WGANGP, OneCentred, ZeroCentred
from aigc.gan.penalties.logits import Consistency, LeCam
from aigc.gan.penalties.packing import Packed

__all__ = [
    "R1",
    "R2",
    "WGANGP",
    "Balance",
    "Consistency",
    "Discriminator",
    "LeCam",
    "OneCentred",
    "Packed",
    "Penalty",
    "Scores",
    "ZeroCentred",
    "annealed",
    "balance",
    "default_gamma",
    "look",
]
