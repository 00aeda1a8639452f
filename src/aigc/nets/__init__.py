"""Nets: encoders and decoders as plain modules, with first weights from a seed and a configuration that rebuilds them.

mlp.py              perceptrons, for data of any shape
convolutional.py    plain and residual, for images and sound
hierarchical.py     latents at several scales
grids.py            codes with places of their own
causal.py           a transformer over indices
conditions.py       classes and vectors
building.py         nets by configuration; pairs that suit a shape

Nothing in them mixes examples, and building one touches no generator but its own.
"""

from aigc.nets.building import Decoder, Encoder, Kind, Net, build, for_images, for_sounds, hierarchical, spatial
from aigc.nets.causal import Cache, CausalTransformer
from aigc.nets.conditions import Classes, Condition, Vector
from aigc.nets.convolutional import ConvDecoder, ConvEncoder
from aigc.nets.grids import GridDecoder, GridEncoder
from aigc.nets.hierarchical import Descent, HierarchicalDecoder, HierarchicalEncoder
from aigc.nets.mlp import MLPDecoder, MLPEncoder

__all__ = [
    "Cache",
    "CausalTransformer",
    "Classes",
    "Condition",
    "ConvDecoder",
    "ConvEncoder",
    "Decoder",
    "Descent",
    "Encoder",
    "GridDecoder",
    "GridEncoder",
    "HierarchicalDecoder",
    "HierarchicalEncoder",
    "Kind",
    "MLPDecoder",
    "MLPEncoder",
    "Net",
    "Vector",
    "build",
    "for_images",
    "for_sounds",
    "hierarchical",
    "spatial",
]
