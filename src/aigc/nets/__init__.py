"""Nets as plain modules: encoders, decoders, generators, discriminators; weights from a seed, rebuilt from a configuration.

mlp.py              perceptrons, for data of any shape
convolutional.py    plain and residual, for images and sound
hierarchical.py     latents at several scales
grids.py            codes with places of their own
causal.py           a transformer over indices
paths.py            ways between latents: lines, great circles, closed walks
conditions.py       classes and vectors
building.py         nets by configuration; pairs that suit a shape
players/            generators and discriminators
grouping.py         rows in groups of one size, which makes their bits independent of each other

Nothing in them mixes examples, but a batch norm that a generator was asked to have, in training mode; and building one
touches no generator but its own.
"""

from aigc.nets.building import Decoder, Encoder, Kind, Net, build, for_images, for_sounds, hierarchical, spatial
from aigc.nets.causal import Cache, CausalTransformer
from aigc.nets.conditions import Classes, Condition, Vector
from aigc.nets.convolutional import ConvDecoder, ConvEncoder
from aigc.nets.grids import GridDecoder, GridEncoder
from aigc.nets.grouping import in_groups
from aigc.nets.hierarchical import Descent, HierarchicalDecoder, HierarchicalEncoder
from aigc.nets.mlp import MLPDecoder, MLPEncoder
from aigc.nets.players import (
    DCGANDiscriminator,
    DCGANGenerator,
    Discriminator,
    GANKind,
    Generator,
    MLPDiscriminator,
    MLPGenerator,
    R3Discriminator,
    R3Generator,
    ResNetDiscriminator,
    ResNetGenerator,
    StyleGenerator,
    gan_for_images,
    gan_for_sounds,
)

__all__ = [
    "Cache",
    "CausalTransformer",
    "Classes",
    "Condition",
    "ConvDecoder",
    "ConvEncoder",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "Decoder",
    "Descent",
    "Discriminator",
    "Encoder",
    "GANKind",
    "Generator",
    "GridDecoder",
    "GridEncoder",
    "HierarchicalDecoder",
    "HierarchicalEncoder",
    "Kind",
    "MLPDecoder",
    "MLPDiscriminator",
    "MLPEncoder",
    "MLPGenerator",
    "Net",
    "R3Discriminator",
    "R3Generator",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "StyleGenerator",
    "Vector",
    "build",
    "for_images",
    "for_sounds",
    "gan_for_images",
    "gan_for_sounds",
    "hierarchical",
    "in_groups",
    "spatial",
]
