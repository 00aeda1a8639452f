"""GANs as mathematics: losses, penalties and augmentation, each a small function checked against closed forms.

losses.py       what each player minimises: Relativistic, NonSaturating, Minimax, LeastSquares, Hinge, Wasserstein
penalties/      what the discriminator pays for its slopes: R1, R2, WGANGP and others; how large gamma should be
augment.py      DiffAugment, done to real and fake alike; Adaptive, which leads its probability
"""

from aigc.gan import augment, losses, penalties
from aigc.gan.augment import Adaptive, DiffAugment
from aigc.gan.losses import Objective
from aigc.gan.penalties import Penalty, Scores, look

__all__ = [
    "Adaptive",
    "DiffAugment",
    "Objective",
    "Penalty",
    "Scores",
    "augment",
    "look",
    "losses",
    "penalties",
]
