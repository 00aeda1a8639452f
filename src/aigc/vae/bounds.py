r"""Bounds on log p(x), and what training minimises.

    terms = Terms(log_likelihood, posterior, z, prior)      # what a model says of a batch
    ELBO(beta=Linear(0.0, 1.0, steps=1000)).loss(terms, step)       # (batch,), to be averaged
    IWAE(50, gradient="dreg").loss(terms, step)
    elbo(terms).bound                                       # the evidence lower bound itself

All is per example: the loss of a batch is the mean of those of its examples, so it does not depend on who shares it, and
gradients accumulated over micro-batches are those of the whole. What a likelihood with an optimal sigma, or a codebook that
follows its codes, learns of a batch it learns of each micro-batch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

from torch import Tensor

from aigc._checks import fail, fail_type, integer
from aigc.training import Schedule
from aigc.vae.estimates import log_mean_exp

__all__ = ["ELBO", "IWAE", "Bound", "Elbo", "Said", "Terms", "elbo", "log_weight_excess"]

_GRADIENTS = ("standard", "stl", "dreg")


class _Posterior(Protocol):
    def log_prob(self, value: Tensor, /) -> Tensor: ...
    def detach(self) -> Self: ...


class _Prior(Protocol):
    def log_prob(self, z: Tensor, /) -> Tensor: ...
    def kl(self, posterior: Any, /) -> Tensor | None: ...


class Terms(NamedTuple):
    r"""What a model says of a batch: all that a bound is made of. k samples, b examples.

    A model computes it in three lines, and knows nothing of bounds:

        posterior = DiagonalGaussian.read(encoder(x))
        z = posterior.rsample(noise)                                              # noise (k, b, latent)
        terms = Terms(likelihood.log_prob(decoder(z.flatten(0, 1)), x).view(k, b), posterior, z, prior)

    Attributes:
        log_likelihood: $\log p(x \mid z_i)$, `(k, b)`, computed from this very `z`.
        posterior: $q(z \mid x)$, of b examples: has `log_prob(z)` and `detach()`, as `DiagonalGaussian`.
        z: Codes drawn from it by reparametrisation, `(k, b, latent)`.
        prior: Has `log_prob(z)`, and `kl(posterior)`, the divergence in closed form `(b, latent)` or None.

    Example:
        >>> import torch
        >>> from aigc.vae import DiagonalGaussian
        >>> from aigc.vae.priors import StandardNormal
        >>> q = DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 3))
        >>> Terms(torch.zeros(1, 2), q, q.rsample(torch.ones(1, 2, 3)), StandardNormal(3)).log_weights().shape
        torch.Size([1, 2])
    """

    log_likelihood: Tensor
    posterior: _Posterior
    z: Tensor
    prior: _Prior

    def log_weights(self, *, detached: bool = False) -> Tensor:
        r"""The log-weights $\log p(x \mid z) + \log p(z) - \log q(z \mid x)$, `(k, b)`.

        Args:
            detached: Whether no gradient is taken of q's parameters but through z.
        """
        posterior = self.posterior.detach() if detached else self.posterior
        return self.log_likelihood + self.prior.log_prob(self.z) - posterior.log_prob(self.z)

    def divergence(self) -> Tensor:
        r"""$\mathrm{KL}(q \,\|\, p)$ in nats: `(b, latent)` where the prior has a closed form.

        Else a mean over the samples of $\log q(z \mid x) - \log p(z)$, `(b, 1)`, which may be negative.
        """
        closed = self.prior.kl(self.posterior)
        if closed is not None:
            return closed
        return (self.posterior.log_prob(self.z) - self.prior.log_prob(self.z)).mean(0)[:, None]

    def dimensions(self, columns: int) -> int:
        """How many dimensions each of so many columns of the divergence is about."""
        return self.z.shape[-1] // columns


class Said(Protocol):
    """What a bound needs to know of a batch: `Terms`, or the same of a hierarchy."""

    @property
    def log_likelihood(self) -> Tensor:
        """`(k, b)`."""
        ...

    @property
    def z(self) -> Tensor:
        """`(k, b, latent)`."""
        ...

    def log_weights(self, *, detached: bool = False) -> Tensor:
        """`(k, b)`."""
        ...

    def divergence(self) -> Tensor:
        """`(b, columns)`."""
        ...

    def dimensions(self, columns: int) -> int | Tensor:
        """How many dimensions each column is about."""
        ...


class Elbo(NamedTuple):
    """The evidence lower bound of some examples and its two terms, in nats, each `(batch,)`.

    Attributes:
        bound: `reconstruction - divergence`: in expectation at most log p(x).
        reconstruction: The log-likelihood of the data given codes of the posterior, their mean if there are several.
        divergence: From the posterior to the prior, in closed form where there is one.

    Example:
        >>> import torch
        >>> Elbo(torch.tensor([-3.0]), torch.tensor([-1.0]), torch.tensor([2.0])).bound
        tensor([-3.])
    """

    bound: Tensor
    reconstruction: Tensor
    divergence: Tensor


def elbo(terms: Said) -> Elbo:
    r"""The evidence lower bound $\mathbb{E}_q[\log p(x \mid z)] - \mathrm{KL}(q \,\|\, p)$, whatever training minimises.

    Example:
        >>> import torch
        >>> from aigc.vae import DiagonalGaussian
        >>> from aigc.vae.priors import StandardNormal
        >>> q = DiagonalGaussian(torch.ones(2, 3), torch.zeros(2, 3))
        >>> elbo(Terms(-torch.ones(1, 2), q, q.rsample(torch.zeros(1, 2, 3)), StandardNormal(3))).bound
        tensor([-2.5000, -2.5000])
    """
    reconstruction, divergence = terms.log_likelihood.mean(0), terms.divergence().sum(-1)
    return Elbo(reconstruction - divergence, reconstruction, divergence)


class Bound(Protocol):
    """What training minimises: a frozen dataclass.

    Attributes:
        samples: Codes that it wants for each example: the k of `Terms`.

    Example:
        >>> bound: Bound = IWAE(50)
        >>> bound.samples
        50
    """

    @property
    def samples(self) -> int:
        """Codes for each example."""
        ...

    def loss(self, terms: Said, step: int = 0) -> Tensor:
        """What is to be minimised, one number per example, `(b,)`: take the mean.

        Args:
            terms: Of a batch, with k = `samples`.
            step: The step's number, for schedules.
        """
        ...


@dataclass(frozen=True)
class ELBO:
    r"""The evidence lower bound (Kingma & Welling, arXiv:1312.6114), and what is made of it against collapse.

    $$ \mathcal{L} = -\mathbb{E}_q \log p(x \mid z) + \beta \sum_j \max(\lambda, \mathrm{KL}_j), \qquad
       \mathcal{L}_C = -\mathbb{E}_q \log p(x \mid z) + \beta\, \big|\textstyle\sum_j \mathrm{KL}_j - C\big| $$

    The divergence is taken in closed form where the prior has one, else of the drawn codes. With beta 1 and nothing else it
    is the negative bound; `IWAE(1)` is the same bound with the divergence of the drawn codes for any prior.

    Args:
        beta: The weight of the divergence, a number of at least 0 or a schedule (Higgins et al., 2017; cyclical: Fu et al.,
            arXiv:1903.10145).
        free_bits: $\lambda$, nats of divergence that a dimension has free (Kingma et al., arXiv:1606.04934): below it the
            gradient of that dimension's divergence is exactly 0. It is applied per example, where the paper averages over
            the batch first, so that the loss of an example does not depend on the others. Where the prior has no closed
            form, a code has $\lambda$ times its dimensions free as a whole, and of a hierarchy each layer. None is off.
        capacity: C, nats that the divergence is drawn to, a number or a schedule (Burgess et al., arXiv:1804.03599; their
            weight is beta). None is off.
        samples: Codes for each example, whose log-likelihoods are averaged.

    Raises:
        ParameterError: If a number is out of range, or both `free_bits` and `capacity` are given.

    Example:
        >>> import torch
        >>> from aigc.vae import DiagonalGaussian
        >>> from aigc.vae.priors import StandardNormal
        >>> q = DiagonalGaussian(torch.ones(1, 4), torch.zeros(1, 4))
        >>> terms = Terms(-torch.ones(1, 1), q, q.rsample(torch.zeros(1, 1, 4)), StandardNormal(4))
        >>> [bound.loss(terms).item() for bound in (ELBO(), ELBO(beta=4.0), ELBO(free_bits=0.75), ELBO(capacity=5.0))]
        [3.0, 9.0, 4.0, 4.0]
    """

    beta: float | Schedule = 1.0
    free_bits: float | None = None
    capacity: float | Schedule | None = None
    samples: int = 1

    def __post_init__(self) -> None:
        _number("beta", self.beta)
        if self.free_bits is not None:
            _number("free_bits", self.free_bits, schedule=False)
        if self.capacity is not None:
            _number("capacity", self.capacity)
            if self.free_bits is not None:
                raise fail("capacity", "None where free_bits is given", self.capacity, "Take one of the two.")
        integer("samples", self.samples, low=1)

    def loss(self, terms: Said, step: int = 0) -> Tensor:
        """What is to be minimised, `(b,)`; see `Bound`."""
        _check(terms, self.samples)
        each = terms.divergence()
        if self.free_bits is not None:
            each = each.clamp(min=self.free_bits * terms.dimensions(each.shape[-1]))
        divergence = each.sum(-1)
        if self.capacity is not None:
            divergence = (divergence - _at(self.capacity, step)).abs()
        return _at(self.beta, step) * divergence - terms.log_likelihood.mean(0)


@dataclass(frozen=True)
class IWAE:
    r"""The importance-weighted bound (Burda et al., arXiv:1509.00519).

    $$ \mathcal{L}_k = -\mathbb{E} \log \frac1k \sum_{i=1}^k w_i, \qquad w_i = \frac{p(x \mid z_i) p(z_i)}{q(z_i \mid x)} $$

    The value is this bound for every gradient; it is never $\sum_i \tilde w_i \log w_i$, which is larger by the divergence
    of the normalised weights $\tilde w$ from uniform ones (`log_weight_excess`).

    Args:
        samples: k, at least 1.
        gradient: How the encoder learns; decoder and prior are given $\sum_i \tilde w_i \nabla \log w_i$ by all three.

            - `"standard"`: the gradient of the value. Its signal for the encoder drowns in noise as k grows.
            - `"stl"`: without the score of q, which is 0 on average for k = 1 (sticking the landing; Roeder et al.,
              arXiv:1703.09194). No variance at the exact posterior; for k > 1 biased.
            - `"dreg"`: doubly reparametrised, $\sum_i \tilde w_i^2 \, \partial \log w_i / \partial z_i \cdot \partial z_i$
              (Tucker et al., arXiv:1810.04152). Unbiased, and its signal grows with k. It puts a hook on `terms.z`: take
              the loss of the same codes once.

    Example:
        >>> import torch
        >>> from aigc.vae import DiagonalGaussian
        >>> from aigc.vae.priors import StandardNormal
        >>> q = DiagonalGaussian(torch.zeros(1, 2), torch.zeros(1, 2))
        >>> IWAE(2).loss(Terms(torch.tensor([[-1.0], [-3.0]]), q, q.rsample(torch.ones(2, 1, 2)), StandardNormal(2)))
        tensor([1.5662])
    """

    samples: int
    gradient: str = "standard"

    def __post_init__(self) -> None:
        integer("samples", self.samples, low=1)
        if self.gradient not in _GRADIENTS:
            raise fail("gradient", f"one of {', '.join(map(repr, _GRADIENTS))}", self.gradient)

    def loss(self, terms: Said, step: int = 0) -> Tensor:
        """What is to be minimised, `(b,)`; see `Bound`."""
        _check(terms, self.samples)
        if self.gradient == "standard":
            return -log_mean_exp(terms.log_weights())
        log_weights = terms.log_weights(detached=True)
        normalised = log_weights.detach().softmax(0)
        if self.gradient == "dreg" and terms.z.requires_grad:
            # What reaches z was weighted once, below; the encoder behind it is to be weighted twice.
            terms.z.register_hook(  # type: ignore[no-untyped-call]  # of torch
                lambda g: g * normalised[..., None].to(g.dtype)
            )
        surrogate = (normalised * log_weights).sum(0)  # has the gradient; its value is not the bound
        return -(surrogate + (log_mean_exp(log_weights) - surrogate).detach())


def log_weight_excess(log_weights: Tensor) -> Tensor:
    r"""By how much $\sum_i \tilde w_i \log w_i$ exceeds the bound, $\mathrm{KL}(\tilde w \,\|\, U) \in [0, \log k]$.

    It says how uneven the weights are: at log k one sample has all of it.

    Args:
        log_weights: `(k, batch)`.

    Returns:
        Nats, `(batch,)`.

    Example:
        >>> import torch
        >>> log_weight_excess(torch.tensor([[0.0, 0.0], [0.0, 100.0]]))
        tensor([0.0000, 0.6931])
    """
    normalised = log_weights.log_softmax(0)
    return (normalised.exp() * normalised).sum(0) + math.log(len(log_weights))


def _at(value: float | Callable[[int], float], step: int) -> float:
    return value(step) if callable(value) else value


def _number(name: str, value: object, *, schedule: bool = True) -> None:
    if schedule and callable(value):
        return
    wanted = "a number of at least 0" + (", or a schedule" if schedule else "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise fail_type(name, wanted, value)
    if not 0 <= value < math.inf:
        raise fail(name, wanted, value)


def _check(terms: Said, samples: int) -> None:
    if terms.log_likelihood.shape != terms.z.shape[:2] or len(terms.z) != samples:
        shapes = f"{tuple(terms.log_likelihood.shape)} and {tuple(terms.z.shape)}"
        cure = "Draw as many codes as the bound has samples."
        raise fail("log_likelihood and z", f"(k, batch) and (k, batch, latent) with k = {samples}", shapes, cure)
