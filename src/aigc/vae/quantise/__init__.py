"""Discrete codes: nets write vectors, a quantiser replaces each by one of a codebook.

    from aigc.vae import quantise

    quantise.VQ(512, features=64)                   # learned codes
    quantise.ResidualVQ(512, features=64, depth=4)  # codes of what is left
    quantise.FSQ((8, 5, 5, 5))                      # a fixed grid: 1000 codes

results.py      Quantiser, what each is; Quantised, what it returns
vectors.py      VQ: learned by moving averages
residual.py     ResidualVQ
scalars.py      FSQ
gradients.py    how a gradient passes: straight through, or rotated
building.py     quantisers by configuration
usage.py        how many of the codes are used
"""

from aigc.vae.quantise.building import build
from aigc.vae.quantise.gradients import rotate, straight
from aigc.vae.quantise.residual import ResidualVQ
from aigc.vae.quantise.results import Quantised, Quantiser, perplexity
from aigc.vae.quantise.scalars import FSQ
from aigc.vae.quantise.usage import CodeDiagnosis, Usage, usage
from aigc.vae.quantise.vectors import VQ

__all__ = [
    "FSQ",
    "VQ",
    "CodeDiagnosis",
    "Quantised",
    "Quantiser",
    "ResidualVQ",
    "Usage",
    "build",
    "perplexity",
    "rotate",
    "straight",
    "usage",
]
