"""GANs as mathematics: losses, penalties and augmentation as small functions, and a model that is trained with them.

model.py        GAN: the model; learning.py how it is trained, files.py how it is kept
playing.py      what the two players minimise
losses.py       losses of both players' logits
penalties/      what is added to the discriminator's loss
augment.py      augmentation that gradients pass through
drawing.py      from seeds to latents, and from latents to data
projection.py   the latents of given data
health.py       how training stands
"""

from aigc.gan import augment, losses, penalties
from aigc.gan.augment import Adaptive, DiffAugment
from aigc.gan.health import Health
from aigc.gan.losses import Hinge, LeastSquares, Minimax, NonSaturating, Objective, Relativistic, Wasserstein
from aigc.gan.model import GAN
from aigc.gan.projection import Projection

__all__ = [
    "GAN",
    "Adaptive",
    "DiffAugment",
    "Health",
    "Hinge",
    "LeastSquares",
    "Minimax",
    "NonSaturating",
    "Objective",
    "Projection",
    "Relativistic",
    "Wasserstein",
    "augment",
    "losses",
    "penalties",
]
