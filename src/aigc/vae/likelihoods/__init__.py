"""Likelihoods: what a decoder's output says of data. Exact and normalised log-probabilities, in nats.

    from aigc.vae import likelihoods

    likelihoods.Bernoulli()                 # 0 or 1
    likelihoods.ContinuousBernoulli()       # [0, 1]
    likelihoods.Gaussian("optimal")         # any real numbers
    likelihoods.Laplace("shared")
    likelihoods.DiscretisedLogistic()       # 256 levels in [0, 1]: images as they come
    likelihoods.LogisticMixture(5)
    likelihoods.Categorical(10)             # whole numbers

contract.py         what all have in common: start here
bernoulli.py        Bernoulli, ContinuousBernoulli
locations.py        Gaussian, Laplace: location and scale
logistics.py        DiscretisedLogistic, LogisticMixture
categorical.py      Categorical
"""

from aigc.vae.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from aigc.vae.likelihoods.categorical import Categorical
from aigc.vae.likelihoods.contract import Likelihood
from aigc.vae.likelihoods.locations import Gaussian, Laplace
from aigc.vae.likelihoods.logistics import DiscretisedLogistic, LogisticMixture

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretisedLogistic",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "LogisticMixture",
]
