"""Priors: the density that codes come from, and latent samplers fitted after training.

    from aigc.vae import priors

    priors.StandardNormal(16)
    priors.Mixture(16, components=10)                               # learned with the model
    priors.VampPrior(encoder, components=500, shape=(1, 28, 28))    # a mixture of posteriors
    priors.Flow(16)                                                 # extra: aigc[flows]
    priors.fit_mixture(z, components=10, seed=0)                    # after training, to the codes of the data
    priors.fit_flow(z, seed=0)                                      # likewise; extra
    priors.Autoregressive(net, (7, 7))                              # of discrete codes; what VQVAE.fit_prior trains

normal.py       what a prior is; the standard normal
mixtures.py     Mixture, FullMixture, VampPrior
fitting.py      fit_mixture: expectation-maximisation
flow.py         Flow, fit_flow
autoregressive.py   CodePrior, Autoregressive: of discrete codes
"""

from aigc.vae.priors.autoregressive import Autoregressive, CodePrior
from aigc.vae.priors.fitting import fit_mixture
from aigc.vae.priors.flow import Flow, fit_flow
from aigc.vae.priors.mixtures import FullMixture, Mixture, VampPrior
from aigc.vae.priors.normal import Prior, StandardNormal

__all__ = [
    "Autoregressive",
    "CodePrior",
    "Flow",
    "FullMixture",
    "Mixture",
    "Prior",
    "StandardNormal",
    "VampPrior",
    "fit_flow",
    "fit_mixture",
]
