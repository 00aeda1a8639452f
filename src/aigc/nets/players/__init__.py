"""Players: generators and discriminators of adversarial nets, as plain modules.

mlp.py              perceptrons, for data of any shape
dcgan.py            strided convolutions
resnet.py           residual blocks, with spectral norms in the discriminator
r3.py               residual blocks without normalisation, which begin as the identity
style.py            styles, modulated convolutions, truncation
pairs.py            both nets for a shape

Generators are `(batch, latent)[, condition] -> (batch, *shape)`, discriminators `(batch, *shape)[, condition] -> (batch,)`,
where larger is more real; a discriminator has `features`, and `classify` if it was built for that. In evaluation mode no
net mixes examples; in training mode only batch norms do, which are off unless asked for.
"""

from aigc.nets.players.dcgan import DCGANDiscriminator, DCGANGenerator
from aigc.nets.players.mlp import MLPDiscriminator, MLPGenerator
from aigc.nets.players.pairs import Discriminator, GANKind, Generator, gan_for_images, gan_for_sounds
from aigc.nets.players.r3 import R3Discriminator, R3Generator
from aigc.nets.players.resnet import ResNetDiscriminator, ResNetGenerator
from aigc.nets.players.style import StyleGenerator

__all__ = [
    "DCGANDiscriminator",
    "DCGANGenerator",
    "Discriminator",
    "GANKind",
    "Generator",
    "MLPDiscriminator",
    "MLPGenerator",
    "R3Discriminator",
    "R3Generator",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "StyleGenerator",
    "gan_for_images",
    "gan_for_sounds",
]
