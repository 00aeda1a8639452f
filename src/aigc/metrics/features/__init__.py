"""Extractors of features: what maps images, sounds or other data to the vectors that metrics compare.

Nothing is downloaded. `Flatten` takes the numbers as they are, `PCA` the first components of the real set, `RandomConv`
what a random convolutional net sees, `Classifier` what a small net sees that was trained on labels, `Wrapped` whatever a
module of the caller's finds, such as the encoder of a VAE, or the InceptionV3 of the published FID. Any object with `name`,
`version`, `dim` and a call is one too: see `FeatureExtractor`.
"""

from aigc.metrics.features.classifier import Classifier
from aigc.metrics.features.contract import FeatureExtractor, Features, extract
from aigc.metrics.features.flat import PCA, Flatten, Wrapped
from aigc.metrics.features.random_conv import RandomConv

__all__ = ["PCA", "Classifier", "FeatureExtractor", "Features", "Flatten", "RandomConv", "Wrapped", "extract"]
