"""`VQVAE`: an encoder and a decoder with a quantiser between them, and a prior over the indices of codes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, Unpack, cast

import torch
from torch import Tensor, nn

from aigc import random
from aigc._checks import fail, fail_type, integer, number
from aigc._models.conditions import check_kind
from aigc._models.data import check_type
from aigc._models.showing import parameters
from aigc.nets import Condition
from aigc.nets._shapes import check_sequence
from aigc.nets.conditions import check_condition, condition_from
from aigc.random import Seeds, streams
from aigc.training import History
from aigc.training.resting import at_rest
from aigc.vae import coding, doors, learning, vqfiles, vqlearning
from aigc.vae.bounds import Elbo
from aigc.vae.building import check_part, checked_likelihood
from aigc.vae.learning import FitOptions
from aigc.vae.likelihoods import Likelihood
from aigc.vae.priors import CodePrior
from aigc.vae.priors.autoregressive import blocks, padded
from aigc.vae.quantise import CodeDiagnosis, Quantised, Quantiser, usage
from aigc.vae.vqbuilding import CodeParts, built, check_quantiser

__all__ = ["VQVAE"]

_DATA = 1  # the stream of a sample's seed that data are drawn with; its codes take the seed itself


class VQVAE(nn.Module):
    r"""A variational autoencoder with discrete codes (van den Oord et al., arXiv:1711.00937).

    The encoder writes vectors, the quantiser replaces each by one of a codebook, the decoder reads these. With $c(x)$ the
    indices of the codes, all probability of the posterior lies on one code, so that for any prior p(c)

    $$ \log p(x) = \log \sum_c p(x \mid c)\, p(c) \ge \log p(x \mid c(x)) + \log p(c(x)). $$

    `fit` trains nets and codebook, `fit_prior` then the prior, which is uniform until it does.

    Args:
        encoder: A module from data `(batch, *data)` to vectors `(batch, features, *space)`.
        decoder: A module from codes `(batch, features, *space)` to the parameters of the likelihood.
        quantiser: `quantise.VQ`, `FSQ` or `ResidualVQ`, of the encoder's features.
        likelihood: What the decoder's output says of data; `Gaussian("optimal")` by default.
        commitment: How strongly vectors are drawn to their codes, at least 0; see `aigc.vae.vqlearning.task`.
        condition: What both nets are told besides; a prior may be told something though they are not.
        shape: Of one example; learned from the first data, if it is left out.

    Attributes:
        prior: What `fit_prior` trained; None is the uniform one.

    Example:
        >>> from aigc.vae.likelihoods import Bernoulli
        >>> from aigc.vae.quantise import FSQ
        >>> x = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()
        >>> vae = VQVAE.for_images((1, 8, 8), quantiser=FSQ((4, 4)), width=8, likelihood=Bernoulli())
        >>> vae.fit(x, steps=2, batch_size=32, seed=0, progress=False).done
        2
        >>> vae.fit_prior(x, width=8, layers=1, heads=2, steps=2, batch_size=32, seed=0, progress=False).done
        2
        >>> vae.encode(x).shape, vae.sample(3, seed=0).shape, vae.elbo(x).bound.shape
        (torch.Size([64, 4, 4]), torch.Size([3, 1, 8, 8]), torch.Size([64]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        quantiser: Quantiser,
        *,
        likelihood: Likelihood | None = None,
        commitment: float = 0.25,
        condition: Condition | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        for name, module in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(module, nn.Module):
                raise fail_type(name, "an nn.Module", module)
        check_quantiser(quantiser)
        self.encoder, self.decoder, self.quantiser = encoder, decoder, cast("Any", quantiser)
        self.likelihood: Any = checked_likelihood(likelihood)
        self.commitment, self.condition = number("commitment", commitment, low=0), condition_from(condition)
        self.prior: Any = None
        self.shape = None if shape is None else check_sequence("shape", shape, least=0)
        self.images = False  # whether data are images in [0, 1]: `for_images` sets it
        self.eval()  # training mode is for `fit`

    @classmethod
    def for_images(cls, shape: Sequence[int], **parts: Unpack[CodeParts]) -> Self:
        """Builds a model for images in [0, 1].

        Args:
            shape: `(channels, height, width)`.
            **parts: `quantiser`, by default `VQ(512, features=64)`, or of as many `features` as are said; `steps`, how
                often sides are halved (28 by 28 becomes 7 by 7 codes by default: see `nets.GridEncoder`); `width`, `blocks`
                and `finest` of the nets; `condition`, what they are told besides, such as `nets.Classes(10)`; `seed` of the
                first weights; `likelihood` and `commitment` as for `VQVAE`.

        Example:
            >>> VQVAE.for_images((1, 28, 28))
            VQVAE((1, 28, 28), VQ of 512 codes, Gaussian, uniform prior, 0.3M parameters)
        """
        made = cls._built(shape, 3, parts)
        made.images = True
        return made

    @classmethod
    def for_sounds(cls, shape: Sequence[int], **parts: Unpack[CodeParts]) -> Self:
        """Builds a model for sounds, `(channels, length)`; the arguments are those of `for_images`.

        Example:
            >>> vae = VQVAE.for_sounds((1, 1024), width=8)
            >>> vae.encode(torch.zeros(2, 1, 1024)).shape
            torch.Size([2, 64])
        """
        return cls._built(shape, 2, parts)

    @classmethod
    def _built(cls, shape: Sequence[int], sides: int, parts: CodeParts) -> Self:
        nets, rest = built(shape, sides, parts)
        return cls(*nets, **rest)

    def fit(self, data: Any, **options: Unpack[FitOptions]) -> History:
        """Trains encoder, decoder and codebook on data: see `aigc.vae.learning.fit`, whose arguments these are.

        Since the codes are others afterwards, the prior is the uniform one again: call `fit_prior` then.

        Returns:
            The losses: `loss` is what is minimised, in nats; `loss/distortion` is -log p(x | codes), `loss/commitment` the
            mean squared distance of vectors from their codes, `loss/perplexity` how many codes a batch uses.
        """
        history = learning.fit(vqlearning.task(self), data, **options)
        self.prior = None  # of the codes that were, also where a finished run was taken up
        return history

    def fit_prior(
        self,
        data: Any,
        *,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
        condition: Condition | None = None,
        **options: Unpack[FitOptions],
    ) -> History:
        """Trains a causal transformer over the indices of data's codes, after `fit`, and takes it for the prior.

        Args:
            data: As for `fit`. Tensors and arrays are encoded once, unless there is a `transform`; else each batch is.
            width: Features of the transformer.
            layers: Its blocks.
            heads: Of attention.
            dropout: The share of what a block adds that training leaves out.
            condition: What the prior is told, such as `nets.Classes(10)`, where data are pairs `(data, condition)`; by
                default what the nets are told. Nets without a condition may have a prior with one.
            **options: As for `fit`.

        Returns:
            The losses: `loss` is -log p(indices), in nats per example, and `loss/bits` the bits of one index.
        """
        sizes = {"width": width, "layers": layers, "heads": heads, "dropout": dropout}
        told = self.condition if condition is None else condition
        return vqlearning.fit_prior(self, data, sizes, told, options)

    def quantise(self, x: Tensor, condition: Tensor | None = None) -> Quantised:
        """Codes of data, with gradients: what the quantiser makes of the encoder's vectors."""
        doors.check_shape(self.shape, x)
        if not self.training:  # else `fit` has looked at the data
            check_type(x, self.encoder)
        return cast("Quantised", self.quantiser(self._told(self.encoder, x, condition)))

    def log_prob(self, x: Tensor, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        """Log p(x | codes) of data given codes `(batch, features, *space)`, in nats, with gradients: `(batch,)`."""
        return cast("Tensor", self.likelihood.log_prob(self._told(self.decoder, codes, condition), x))

    @torch.no_grad()
    def encode(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The indices of data's codes, int64 `(batch, *space)`, or `(batch, depth, *space)` of a residual quantiser."""
        doors.check_data(self, x)
        return self._indices(x, condition)

    @torch.no_grad()
    def decode(self, indices: Tensor, condition: Tensor | None = None) -> Tensor:
        """The data that codes stand for, `(batch, *data)`: the mean of p(x | codes).

        Args:
            indices: What `encode` returned; of a residual quantiser, the first levels alone are codes too.
            condition: What the decoder is told.

        Raises:
            ParameterError: If an index is out of range.
        """
        self._check_indices(indices)
        with at_rest([self]):
            parameters = self._told(self.decoder, self.quantiser.lookup(indices), condition)
            return self._shown(self.likelihood.mean(parameters, self.shape))

    def reconstruct(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Data encoded and decoded, `(batch, *data)`."""
        return self.decode(self.encode(x, condition), condition)

    @torch.no_grad()
    def elbo(self, x: Tensor, *, condition: Tensor | None = None) -> Elbo:
        """A lower bound on log p(x) of each example and its two terms, in nats, `(batch,)` each.

        The divergence of a posterior that has one code is -log p(indices), of the prior or of the uniform one.

        Args:
            x: `(batch, *data)`.
            condition: What nets and prior are told.

        Raises:
            ParameterError: If the data is not what the likelihood is about.
        """
        doors.check_data(self, x)
        self.likelihood.check(x)
        return self._elbo(x, condition)

    def diagnose(self, x: Tensor, condition: Tensor | None = None) -> CodeDiagnosis:
        """What codes are used for, over some data: rate, distortion, perplexity, dead codes."""
        doors.check_data(self, x)
        self.likelihood.check(x)
        return self._diagnosed(x, condition)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        seed: Seeds = None,
        condition: Tensor | None = None,
        prior: CodePrior | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        noise: bool = False,
    ) -> Tensor:
        """Draws codes of the prior and decodes them.

        Args:
            n: How many.
            seed: An int, from which sample i takes the stream (seed, i); or one int per sample; or None for fresh entropy.
                A sample depends on its own seed and condition alone, whoever else is drawn: samples are drawn and decoded
                in blocks of always as many rows, so that it has the same bits (see `Autoregressive.sample`).
            condition: What prior and decoder are told, one for each sample.
            prior: In place of the model's own.
            temperature: As for `aigc.kernels.sample`; below 1 samples are likelier and less various.
            top_k: Likewise.
            top_p: Likewise.
            noise: Whether data are drawn from p(x | codes); else its mean is returned.

        Returns:
            `(n, *data)`.

        Raises:
            ParameterError: If no prior was fitted, or an argument is out of range.
        """
        if prior is not None:
            check_part("prior", prior, ("condition", "sample"), "priors.Autoregressive(net, shape)")
        chosen: Any = self.prior if prior is None else prior
        if chosen is None:
            raise fail("prior", "fitted before codes are drawn", None, "Call vae.fit_prior(data).")
        seeds = streams(seed, integer("n", n, low=1))
        if condition is not None:
            wanted = chosen.condition if self.condition is None else self.condition
            condition = cast("Tensor", check_condition(wanted, check_kind(condition), n)).to(self.device)
        for_nets = self._for_nets(condition, chosen)
        for_prior = None if chosen.condition is None else condition
        with at_rest([self]):
            filters: Any = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
            indices = chosen.sample(seeds, condition=for_prior, **filters).to(self.device)
            parts = [self._written(indices, seeds, for_nets, rows, noise) for rows in blocks(n)]
        return self._shown(torch.cat(parts))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes configuration, weights, codebook, prior and a manifest of checksums to a folder, all or nothing.

        Parts of `aigc` are rebuilt from the configuration; your own are given to `from_pretrained` again.
        """
        vqfiles.save(self, folder)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, encoder: nn.Module | None = None, decoder: nn.Module | None = None, **own: Any
    ) -> Self:
        """Reads what `save_pretrained` wrote.

        Args:
            folder: Where.
            encoder: Of the same build as the one that was saved, if that was not of `aigc.nets`.
            decoder: Likewise.
            **own: `quantiser`, `likelihood` or `prior`, where these are not of `aigc`.

        Raises:
            ModelNotFoundError: If there is no such folder.
            ModelFileError: If a file is damaged, or of another model.
        """
        return vqfiles.load(cls, folder, {"encoder": encoder, "decoder": decoder, **own})

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def __repr__(self) -> str:
        size = parameters([self])
        shown = "" if self.shape is None else f"{self.shape}, "
        codes = f"{type(self.quantiser).__name__} of {self.quantiser.count} codes"
        prior = "uniform prior" if self.prior is None else type(self.prior).__name__
        kinds = f"{type(self.likelihood).__name__}, {prior}"
        return f"{type(self).__name__}({shown}{codes}, {kinds}, {size})"

    @torch.no_grad()
    def _indices(self, x: Tensor, condition: Tensor | None) -> Tensor:
        with at_rest([self]):
            return self.quantise(x, condition).indices

    @torch.no_grad()
    def _elbo(self, x: Tensor, condition: Tensor | None) -> Elbo:
        nets_are_told = self._for_nets(condition, self.prior)
        with at_rest([self]):
            indices = self.quantise(x, nets_are_told).indices
            reconstruction = self.log_prob(x, self.quantiser.lookup(indices), nets_are_told)
            divergence = -self._log_prior(indices, condition).to(reconstruction.dtype)
        return Elbo(reconstruction - divergence, reconstruction, divergence)

    def _diagnosed(self, x: Tensor, condition: Tensor | None) -> CodeDiagnosis:
        found = self._elbo(x, condition)
        indices = self._indices(x, self._for_nets(condition, self.prior))
        counted = usage(indices, codes=self.quantiser.count, depth=self.quantiser.depth)
        rate, distortion = (float(term.double().mean()) for term in (found.divergence, -found.reconstruction))
        return CodeDiagnosis(rate, distortion, counted)

    def _written(self, indices: Tensor, seeds: Tensor, condition: Tensor | None, rows: slice, noise: bool) -> Tensor:
        """The data of a block of samples."""
        told = None if condition is None else padded(condition[rows])
        parameters = self._told(self.decoder, self.quantiser.lookup(padded(indices[rows])), told)[: rows.stop - rows.start]
        if not noise:
            return cast("Tensor", self.likelihood.mean(parameters, self.shape))
        own = torch.tensor([random.stream(seed, _DATA) for seed in seeds[rows].tolist()], device=self.device)
        return cast("Tensor", self.likelihood.sample(parameters, own, self.shape))

    def _log_prior(self, indices: Tensor, condition: Tensor | None) -> Tensor:
        """Log p(indices), `(batch,)`."""
        if self.prior is None:
            nats = -indices[0].numel() * math.log(self.quantiser.count)
            return torch.full((len(indices),), nats, device=indices.device)
        return cast("Tensor", self.prior.log_prob(indices, None if self.prior.condition is None else condition))

    def _for_nets(self, condition: Tensor | None, prior: Any) -> Tensor | None:
        """The condition, if it is for the nets; None if it is for the prior alone."""
        return None if self.condition is None and prior is not None and prior.condition is not None else condition

    def _shown(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1) if self.images else x  # at every door

    def _told(self, net: nn.Module, x: Tensor, condition: Tensor | None) -> Tensor:
        return coding.told(net, x, check_condition(self.condition, condition, len(x)))

    def _check_indices(self, indices: Tensor) -> None:
        if not isinstance(indices, Tensor) or indices.dtype != torch.int64:
            shown = indices.dtype if isinstance(indices, Tensor) else indices
            raise fail_type("indices", "int64, as encode returns them", shown)
        if indices.ndim < (1 if self.quantiser.depth is None else 2) or not indices.numel():
            raise fail(
                "indices", "(batch, *space), or (batch, depth, *space) of a residual quantiser", tuple(indices.shape)
            )
        least, largest = (int(value) for value in indices.aminmax())
        if least < 0 or largest >= self.quantiser.count:
            raise fail("indices", f"in [0, {self.quantiser.count - 1}]", (least, largest))
