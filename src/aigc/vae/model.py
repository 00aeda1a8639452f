"""`VAE`: an encoder and a decoder with a likelihood, a prior and a bound."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, Unpack, cast

import torch
from torch import Tensor, nn

from aigc import nets, random
from aigc._checks import fail, fail_type, integer
from aigc._models.conditions import one_each, repeated
from aigc._models.showing import parameters
from aigc.nets import paths
from aigc.nets._shapes import check_sequence
from aigc.training import History
from aigc.vae import building, coding, doors, files, learning, priors
from aigc.vae.bounds import ELBO, Bound, Elbo, Terms, elbo
from aigc.vae.building import Layers, Parts
from aigc.vae.coding import HierarchicalTerms
from aigc.vae.diagnostics import Diagnosis, diagnose, diagnose_hierarchy
from aigc.vae.doors import resting
from aigc.vae.estimates import LogLikelihood, importance_noise
from aigc.vae.gaussian import DiagonalGaussian
from aigc.vae.learning import FitOptions
from aigc.vae.likelihoods import Likelihood
from aigc.vae.priors import Prior
from aigc.vae.priors._drawing import check_codes

__all__ = ["VAE"]


class VAE(nn.Module):
    r"""A variational autoencoder (Kingma and Welling, arXiv:1312.6114).

    A model $p_\theta(x) = \int p_\theta(x \mid z)\, p(z)\, dz$ of data, trained together with $q_\phi(z \mid x)$ by

    $$ \log p_\theta(x) \ge \mathbb{E}_{q_\phi(z \mid x)} \big[\log p_\theta(x \mid z)\big]
       - \mathrm{KL}\big(q_\phi(z \mid x) \,\|\, p(z)\big). $$

    Args:
        encoder: A module from data `(batch, *data)` to `(batch, 2 * latent)`: means, then log standard deviations.
        decoder: A module from codes `(batch, latent)` to the parameters of the likelihood.
        latent: Dimensions of a code; those of the prior, if it is left out.
        likelihood: What the decoder's output says of data; `Gaussian("optimal")` by default.
        bound: What training maximises; `ELBO()` by default.
        prior: Where codes come from; `StandardNormal(latent)` by default.
        shape: Of one example; learned from the first data, if it is left out.

    Raises:
        ParameterError: If neither `latent` nor `prior` is given, or they contradict each other.

    Example:
        >>> x = torch.rand(64, 1, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 6.0)
        >>> vae = VAE(nets.MLPEncoder((5,), 2, hidden=(16,)), nets.MLPDecoder(2, (5,), hidden=(16,)), latent=2)
        >>> vae.fit(x, epochs=20, batch_size=32, seed=0, lr=0.01, progress=False).done
        40
        >>> vae.sample(3, seed=0).shape, vae.elbo(x).bound.shape
        (torch.Size([3, 5]), torch.Size([64]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        latent: int | None = None,
        likelihood: Likelihood | None = None,
        bound: Bound | None = None,
        prior: Prior | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        for name, module in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(module, nn.Module):
                raise fail_type(name, "an nn.Module", module)
        says = building.checked_likelihood(likelihood)
        building.check_prior(prior)
        building.check_bound(bound)
        if latent is None and prior is None:
            raise fail("latent", "given, or else a prior that has one", None, "Say latent=16.")
        self.latent = integer("latent", cast("Prior", prior).latent if latent is None else latent, low=1)
        if prior is not None and prior.latent != self.latent:
            raise fail("prior", f"of {self.latent} latent dimensions", f"one of {prior.latent}")
        self.encoder, self.decoder = encoder, decoder
        self.likelihood: Any = says
        self.prior: Any = priors.StandardNormal(self.latent) if prior is None else prior
        self.bound: Bound = ELBO() if bound is None else bound
        coding.check_hierarchy(decoder, self.prior, self.bound)
        self.shape = None if shape is None else check_sequence("shape", shape, least=0)
        self.images = False  # whether data are images in [0, 1]: `for_images` sets it
        self.eval()  # training mode is for `fit`

    @classmethod
    def for_images(cls, shape: Sequence[int], *, latent: int = 32, **parts: Unpack[Parts]) -> Self:
        """Builds a VAE for images in [0, 1].

        Args:
            shape: `(channels, height, width)`.
            latent: Dimensions of a code.
            **parts: `kind` of the nets, `"conv"`, `"residual"` or `"mlp"`; `condition`, what they are told besides, such as
                `nets.Classes(10)`; `seed` of their first weights; `likelihood`, `bound` and `prior` as for `VAE`.

        Example:
            >>> VAE.for_images((1, 28, 28), latent=8)
            VAE((1, 28, 28), latent=8, Gaussian, StandardNormal, 0.4M parameters)
        """
        pair, rest = building.built(nets.for_images, shape, latent, parts)
        made = cls(*pair, **rest)
        made.images = True
        return made

    @classmethod
    def for_sounds(cls, shape: Sequence[int], *, latent: int = 64, **parts: Unpack[Parts]) -> Self:
        """Builds a VAE for sounds, `(channels, length)`; the arguments are those of `for_images`.

        Example:
            >>> VAE.for_sounds((1, 1024), latent=8).shape
            (1, 1024)
        """
        pair, rest = building.built(nets.for_sounds, shape, latent, parts)
        return cls(*pair, **rest)

    @classmethod
    def hierarchical(cls, shape: Sequence[int], channels: Sequence[int] = (16, 8, 4), **parts: Unpack[Layers]) -> Self:
        """Builds a VAE with latents at several scales, for images in [0, 1] or sounds: see `nets.hierarchical`.

        Args:
            shape: `(channels, height, width)` or `(channels, length)`.
            channels: Of the latent of each layer, the coarsest first; usually two to four.
            **parts: `width`, `blocks` and `finest` as for `nets.hierarchical`; else as for `for_images`.

        Example:
            >>> VAE.hierarchical((1, 28, 28), (4, 2), width=8).latent
            162
        """
        pair, rest = building.layered(shape, channels, parts)
        made = cls(*pair, **rest)
        made.images = len(shape) == 3
        return made

    def fit(self, data: Any, **options: Unpack[FitOptions]) -> History:
        """Trains on data: see `aigc.vae.learning.fit`, whose arguments these are.

        Returns:
            The losses: `loss` is what is minimised; `loss/rate` and `loss/distortion` are its parts, in nats.
        """
        return learning.fit(learning.task(self), data, **options)

    def posterior(self, x: Tensor, condition: Tensor | None = None) -> DiagonalGaussian:
        """What the encoder says of the codes of data: q(z | x), `(batch, latent)`."""
        self._check(x, condition)
        return coding.posterior(self, x, condition)

    @resting
    def encode(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The codes of data, `(batch, latent)`: the means of their posteriors."""
        self._check(x, condition)
        return coding.codes(self, x, condition)

    @resting
    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The data that codes `(batch, latent)` stand for, `(batch, *data)`: the mean of p(x | z)."""
        doors.check_latents(z, self.latent, self.decoder)
        doors.check_told([self.decoder], condition, len(z))
        return self._mean(z, condition)

    @resting
    def reconstruct(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Data encoded and decoded, `(batch, *data)`."""
        return self._mean(self.encode(x, condition), condition)

    def terms(self, x: Tensor, noise: Tensor, condition: Tensor | None = None) -> Terms | HierarchicalTerms:
        """What a bound is made of, with gradients.

        Args:
            x: `(batch, *data)`.
            noise: Standard normal, `(k, batch, latent)`.
            condition: What the nets are told.
        """
        if not self.training:  # else `fit` has looked at the data
            self._check(x, condition)
        return coding.terms(self, x, noise, condition)

    @resting
    def elbo(self, x: Tensor, *, samples: int = 1, seed: int = 0, condition: Tensor | None = None) -> Elbo:
        """The evidence lower bound of each example and its two terms, in nats, `(batch,)` each.

        Args:
            x: `(batch, *data)`.
            samples: Codes for each example.
            seed: Of the codes; an example's noise depends on the seed and its place.
            condition: What the nets are told.

        Raises:
            ParameterError: If the data is not what the likelihood is about.
        """
        self._check(x, condition, values=True)
        return elbo(self.terms(x, self._noise(x, samples, seed, range(len(x))), condition))

    @resting
    def log_likelihood(
        self, x: Tensor, *, samples: int = 1000, seed: int = 0, condition: Tensor | None = None, chunk: int = 2_000
    ) -> LogLikelihood:
        r"""Estimates $\log p(x)$ by importance sampling from the posterior, with its standard error.

        $$ \log \frac1k \sum_{i=1}^k \frac{p(x \mid z_i)\, p(z_i)}{q(z_i \mid x)}, \qquad z_i \sim q(z \mid x) $$

        Exactly k samples are taken; the value is the same however they are cut into chunks, to the rounding of the nets.

        Args:
            x: `(n, *data)`.
            samples: k.
            seed: Of the codes.
            condition: What the nets are told.
            chunk: Codes that are decoded at once.

        Returns:
            Mean over the examples, its standard error, and the estimate of each example, in nats.
        """
        self._check(x, condition, values=True)
        samples, chunk = integer("samples", samples, low=1), integer("chunk", chunk, low=1)
        return coding.estimated(self, x, condition, samples=samples, seed=seed, chunk=chunk)

    @resting
    def diagnose(self, x: Tensor, *, seed: int = 0, condition: Tensor | None = None) -> Diagnosis:
        """What codes are used for, over some data: rate, distortion, mutual information, active units."""
        self._check(x, condition, values=True)
        if len(x) < 2:
            raise fail("x", "at least 2 examples, over which codes vary", len(x))
        return self._diagnosed(x, seed, condition)

    @resting
    def sample(
        self,
        n: int,
        *,
        seed: random.Seeds = None,
        condition: Tensor | None = None,
        prior: Prior | None = None,
        noise: bool = False,
    ) -> Tensor:
        """Draws codes and decodes them.

        Args:
            n: How many.
            seed: An int, from which sample i takes the stream (seed, i); or one int per sample; or None for fresh entropy.
                A sample depends on its own seed alone, whoever else is drawn, to the bit on a CPU.
            condition: What the decoder is told, one for each sample.
            prior: Where codes come from, such as what `fit_mixture` returned; the model's own by default.
            noise: Whether data are drawn from p(x | z); else its mean is returned.

        Returns:
            `(n, *data)`.
        """
        if prior is not None:
            building.check_part("prior", prior, ("sample",), "priors.StandardNormal(latent)")
        seeds = random.streams(seed, integer("n", n, low=1))
        doors.check_told([self.decoder], condition, n)
        z = coding.read_by(self.decoder, (self.prior if prior is None else prior).sample(seeds).to(self.device))
        check_codes(z, self.latent)
        more = [] if condition is None else [coding.read_by(self.decoder, condition).to(z.device)]
        parameters = nets.in_groups(self.decoder, [z, *more])
        if not noise:
            return self._shown(self.likelihood.mean(parameters, self.shape))
        return self._shown(self.likelihood.sample(parameters, seeds.to(self.device), self.shape))

    @resting
    def interpolate(
        self, a: Tensor, b: Tensor, *, steps: int = 8, spherical: bool = False, condition: Tensor | None = None
    ) -> Tensor:
        """Goes from data to data in the space of codes.

        Args:
            a: One example, or a batch.
            b: Likewise.
            steps: Points, ends included.
            spherical: Along a great circle instead of a line.
            condition: What the nets are told, one for each example.

        Returns:
            `(steps, *data)`, or `(steps, batch, *data)`.
        """
        one = isinstance(a, Tensor) and tuple(a.shape) == self.shape
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape != b.shape:
            raise fail("b", f"of the shape of a, {tuple(a.shape)}", tuple(b.shape))
        both = [(name, x[None] if one and isinstance(x, Tensor) else x) for name, x in (("a", a), ("b", b))]
        for name, x in both:
            doors.check_data(self, x, name=name)
        ends = [self.encode(x, condition) for _, x in both]
        z = paths.between(*ends, steps=steps, spherical=spherical)
        found = self._mean(z.flatten(0, 1), repeated(condition, len(z)))
        return found if one else found.view(*z.shape[:2], *found.shape[1:])

    @resting
    def combine(self, x: Tensor, weights: Sequence[float], *, condition: Tensor | None = None) -> Tensor:
        """Adds codes up: `combine(stack([smiling, neutral, other]), [1, -1, 1])` makes the other smile.

        Args:
            x: `(n, *data)`.
            weights: One for each.
            condition: What the nets are told, one for each; the result is decoded with that of the last.

        Returns:
            `(*data)`.
        """
        z = self.encode(x, condition)
        z = (torch.tensor(doors.check_weights(weights, len(x))).to(z)[:, None] * z).sum(0, keepdim=True)
        return self._mean(z, None if condition is None else condition[-1:])[0]

    @resting
    def walk(self, frames: int = 96, *, stops: int = 6, seed: int = 0, condition: Tensor | None = None) -> Tensor:
        """A closed walk through the space of codes, `(frames, *data)`: for `aigc.data.write_gif`."""
        z = paths.walk(self.latent, frames=frames, stops=stops, seed=seed).to(self.device)
        told = one_each(condition, len(z))
        doors.check_told([self.decoder], told, len(z))
        return self._mean(z, told)

    @resting
    def fit_prior(self, x: Tensor, *, components: int = 50, seed: int = 0, condition: Tensor | None = None) -> Prior:
        """Fits a mixture to the codes of data, after training: for `sample(prior=...)`.

        Args:
            x: `(n, *data)`, n at least `components`.
            components: Of the mixture.
            seed: Of the codes and of where the fit begins.
            condition: What the encoder is told.
        """
        self._check(x, condition)
        z = coding.codes(self, x, condition, self._noise(x, 1, seed, range(len(x)))[0])
        return cast("Prior", priors.fit_mixture(z, components=components, seed=seed).to(self.device))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes configuration, weights and a manifest of checksums to a folder, all or nothing.

        Nets of `aigc.nets` are rebuilt from the configuration; your own are given to `from_pretrained` again. So is a bound
        with a function of yours as its schedule: without it the model is loaded with `ELBO()`.
        """
        files.save(self, folder)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, encoder: nn.Module | None = None, decoder: nn.Module | None = None, **own: Any
    ) -> Self:
        """Reads what `save_pretrained` wrote.

        Args:
            folder: Where.
            encoder: Of the same build as the one that was saved, if that was not of `aigc.nets`.
            decoder: Likewise.
            **own: `likelihood`, `prior` or `bound`, where these are not of `aigc`.

        Raises:
            ModelNotFoundError: If there is no such folder.
            ModelFileError: If a file is damaged, or of another model.
        """
        return files.load(cls, folder, {"encoder": encoder, "decoder": decoder, **own})

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def __repr__(self) -> str:
        size = parameters([self])
        shown = "" if self.shape is None else f"{self.shape}, "
        kinds = f"{type(self.likelihood).__name__}, {type(self.prior).__name__}"
        return f"{type(self).__name__}({shown}latent={self.latent}, {kinds}, {size})"

    def _noise(self, x: Tensor, samples: int, seed: int, examples: Sequence[int]) -> Tensor:
        dtype = doors.code_type(doors.weight_type(self, torch.float32))
        return importance_noise(seed, examples, samples=samples, latent=self.latent, device=self.device, dtype=dtype)

    def _check(self, x: Tensor, condition: Tensor | None, *, values: bool = False) -> None:
        doors.check_data(self, x)
        if values:
            self.likelihood.check(x)
        doors.check_told((self.encoder, self.decoder), condition, len(x))

    def _diagnosed(self, x: Tensor, seed: int, condition: Tensor | None) -> Diagnosis:
        found = coding.terms(self, x, self._noise(x, 1, seed, range(len(x))), condition)
        if isinstance(found, HierarchicalTerms):
            mean = coding.codes(self, x, condition)
            return diagnose_hierarchy(found.divergence(), mean, found.log_likelihood[0])
        return diagnose(cast("DiagonalGaussian", found.posterior), found.z[0], self.prior, found.log_likelihood[0])

    def _mean(self, z: Tensor, condition: Tensor | None) -> Tensor:
        parameters = coding.told(self.decoder, coding.read_by(self.decoder, z), condition)
        return self._shown(self.likelihood.mean(parameters, self.shape))

    def _shown(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1) if self.images else x  # at every door
