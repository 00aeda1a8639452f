"""VAEs as mathematics: densities, likelihoods, bounds, priors and quantisers, each checked against closed forms.

model.py        VAE: the model; learning.py how it is trained, files.py how it is kept
coding.py       from data to codes and back, flat or as a hierarchy
doors.py        what comes in is checked, and nothing moves; building.py what models are built of
vqvae.py        VQVAE: with discrete codes; vqlearning.py how it and its prior are trained, vqfiles.py how it is kept
gaussian.py     DiagonalGaussian: what an encoder's output says of a code
likelihoods/    what a decoder's output says of data
priors/         where codes come from
bounds.py       what training minimises: ELBO, IWAE
estimates.py    log p(x) by importance sampling, with its standard error
diagnostics.py  what codes are used for; a warning at collapse
quantise/       discrete codes
"""

from aigc.vae import bounds, diagnostics, likelihoods, priors, quantise
from aigc.vae.bounds import ELBO, IWAE, Bound, Elbo, Said, Terms, elbo
from aigc.vae.coding import HierarchicalTerms
from aigc.vae.diagnostics import Diagnosis, active_units, collapsed, diagnose
from aigc.vae.estimates import (
    Estimate,
    LogLikelihood,
    estimate,
    importance_noise,
    log_likelihood,
    log_mean_exp,
)
from aigc.vae.gaussian import DiagonalGaussian
from aigc.vae.model import VAE
from aigc.vae.quantise import CodeDiagnosis
from aigc.vae.vqvae import VQVAE

__all__ = [
    "ELBO",
    "IWAE",
    "VAE",
    "VQVAE",
    "Bound",
    "CodeDiagnosis",
    "Diagnosis",
    "DiagonalGaussian",
    "Elbo",
    "Estimate",
    "HierarchicalTerms",
    "LogLikelihood",
    "Said",
    "Terms",
    "active_units",
    "bounds",
    "collapsed",
    "diagnose",
    "diagnostics",
    "elbo",
    "estimate",
    "importance_noise",
    "likelihoods",
    "log_likelihood",
    "log_mean_exp",
    "priors",
    "quantise",
]
