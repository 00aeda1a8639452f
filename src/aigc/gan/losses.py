r"""Losses: what each of the two players minimises, as functions of both players' logits.

    loss = Relativistic()
    loss.discriminator(real_logits, fake_logits)        # the discriminator minimises it
    loss.generator(fake_logits, real_logits)            # the generator minimises it

A discriminator's logit is larger where an example looks more real. Lower is better for the player named, always. Logits are
`(b,)` or `(b, 1)`, of any float type, and are read as `(b,)`: two shapes never broadcast into a table of all pairs. The
result is a scalar, the mean over examples, in float32 or, of float64, in float64; it and its gradient are finite for every
logit up to 10,000 in size.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor
from torch.nn import functional as F

from aigc._checks import fail, number
from aigc.gan._logits import flat

__all__ = [
    "Hinge",
    "LeastSquares",
    "Minimax",
    "NonSaturating",
    "Objective",
    "Relativistic",
    "Wasserstein",
]

_PAIRINGS = ("logistic", "hinge", "least_squares")


class Objective(Protocol):
    """What both players minimise: a frozen dataclass.

    Attributes:
        needs_real: Whether the generator's loss depends on the logits of real examples.

    Example:
        >>> objective: Objective = Relativistic()
        >>> objective.needs_real
        True
    """

    @property
    def needs_real(self) -> bool:
        """Whether the generator's loss depends on the logits of real examples."""
        ...

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor, /) -> Tensor:
        """What the discriminator minimises, a scalar."""
        ...

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None, /) -> Tensor:
        """What the generator minimises, a scalar; `real_logits` may be left out unless `needs_real`."""
        ...


@dataclass(frozen=True)
class Minimax:
    r"""The zero-sum game of the first paper (Goodfellow et al., arXiv:1406.2661), with $\sigma$ the logistic function.

    $$ L_D = -\mathbb{E} \log \sigma(D(x)) - \mathbb{E} \log(1 - \sigma(D(G(z)))), \qquad
       L_G = \mathbb{E} \log(1 - \sigma(D(G(z)))) $$

    At the best discriminator, $L_D = 2 \log 2 - 2\, \mathrm{JS}(p, q)$. Where the discriminator is sure of the fakes the
    generator's gradient vanishes: it is $-\sigma(D(G(z)))$ per logit. `NonSaturating` mends that.

    Example:
        >>> import torch
        >>> loss = Minimax()
        >>> loss.discriminator(torch.zeros(4), torch.zeros(4)), loss.generator(torch.zeros(4))
        (tensor(1.3863), tensor(-0.6931))
    """

    needs_real: ClassVar[bool] = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """What the discriminator minimises; see `Objective`."""
        return _cross_entropy(real_logits, fake_logits)

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        """What the generator minimises; see `Objective`."""
        return -_softplus(flat("fake_logits", fake_logits)).mean()


@dataclass(frozen=True)
class NonSaturating:
    r"""The discriminator of `Minimax`; the generator learns most where it fails (Goodfellow et al., arXiv:1406.2661).

    $$ L_D = -\mathbb{E} \log \sigma(D(x)) - \mathbb{E} \log(1 - \sigma(D(G(z)))), \qquad
       L_G = -\mathbb{E} \log \sigma(D(G(z))) $$

    The generator's gradient per logit is $-\sigma(-D(G(z)))$: -1 where the discriminator is sure of the fake, and 0 where
    it is fooled.

    Example:
        >>> import torch
        >>> loss = NonSaturating()
        >>> loss.discriminator(torch.zeros(4), torch.zeros(4)), loss.generator(torch.tensor([-50.0]))
        (tensor(1.3863), tensor(50.))
    """

    needs_real: ClassVar[bool] = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """What the discriminator minimises; see `Objective`."""
        return _cross_entropy(real_logits, fake_logits)

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        """What the generator minimises; see `Objective`."""
        return _softplus(-flat("fake_logits", fake_logits)).mean()


@dataclass(frozen=True)
class LeastSquares:
    r"""Logits drawn to labels (LSGAN; Mao et al., arXiv:1611.04076).

    $$ L_D = \tfrac12 \mathbb{E} (D(x) - b)^2 + \tfrac12 \mathbb{E} (D(G(z)) - a)^2, \qquad
       L_G = \tfrac12 \mathbb{E} (D(G(z)) - c)^2 $$

    The halves are the paper's; code for sound, such as HiFi-GAN's, leaves them out.

    Args:
        fake: a, the discriminator's label of fake examples.
        real: b, its label of real ones.
        wanted: c, what the generator wants its own to be labelled. With -1, 1, 0 the generator minimises a Pearson
            $\chi^2$ divergence at the best discriminator.

    Example:
        >>> import torch
        >>> LeastSquares().discriminator(torch.zeros(4), torch.zeros(4))
        tensor(0.5000)
    """

    fake: float = 0.0
    real: float = 1.0
    wanted: float = 1.0
    needs_real: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("fake", "real", "wanted"):
            number(name, getattr(self, name))
        if not self.real > self.fake:
            raise fail("real", f"above fake, {self.fake:g}", self.real, "A larger logit is more real.")

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """What the discriminator minimises; see `Objective`."""
        real, fake = flat("real_logits", real_logits), flat("fake_logits", fake_logits)
        return (real - self.real).square().mean() / 2 + (fake - self.fake).square().mean() / 2

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        """What the generator minimises; see `Objective`."""
        return (flat("fake_logits", fake_logits) - self.wanted).square().mean() / 2


@dataclass(frozen=True)
class Hinge:
    r"""A margin for the discriminator (Lim and Ye, arXiv:1705.02894; Miyato et al., arXiv:1802.05957).

    $$ L_D = \mathbb{E} \max(0, 1 - D(x)) + \mathbb{E} \max(0, 1 + D(G(z))), \qquad L_G = -\mathbb{E} D(G(z)) $$

    Beyond its margin of 1 the discriminator has no gradient.

    Example:
        >>> import torch
        >>> Hinge().discriminator(torch.tensor([0.0, 5.0]), torch.tensor([-5.0, 0.0]))
        tensor(1.)
    """

    needs_real: ClassVar[bool] = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """What the discriminator minimises; see `Objective`."""
        real, fake = flat("real_logits", real_logits), flat("fake_logits", fake_logits)
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        """What the generator minimises; see `Objective`."""
        return -flat("fake_logits", fake_logits).mean()


@dataclass(frozen=True)
class Wasserstein:
    r"""The difference of means (Arjovsky et al., arXiv:1701.07875): the discriminator is a critic, its logits have no zero.

    $$ L_D = \mathbb{E} D(G(z)) - \mathbb{E} D(x), \qquad L_G = -\mathbb{E} D(G(z)) $$

    Both are minimised: the critic pushes real examples up and fake ones down, the generator pushes its own up. Over critics
    of slope at most 1, $-L_D$ has the supremum $W_1(p, q)$; without such a bound, as by `penalties.WGANGP`, it has none.

    Example:
        >>> import torch
        >>> loss = Wasserstein()
        >>> loss.discriminator(torch.tensor([3.0]), torch.tensor([1.0])), loss.generator(torch.tensor([1.0]))
        (tensor(-2.), tensor(-1.))
    """

    needs_real: ClassVar[bool] = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """What the critic minimises; see `Objective`."""
        return flat("fake_logits", fake_logits).mean() - flat("real_logits", real_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        """What the generator minimises; see `Objective`."""
        return -flat("fake_logits", fake_logits).mean()


@dataclass(frozen=True)
class Relativistic:
    r"""Real examples against fake ones, in pairs (Jolicoeur-Martineau, arXiv:1807.00734; Huang et al., arXiv:2501.05441).

    $$ L_D = \mathbb{E}\, f(D(x) - D(G(z))), \qquad L_G = \mathbb{E}\, f(D(G(z)) - D(x)) $$

    - `"logistic"`: $f(t) = \log(1 + e^{-t})$, the default of R3GAN, where it stands with the penalties R1 and R2. The best
      discriminator has $D = \log p/q$ up to a constant, where $L_D = \log 2 - \mathrm{JS}(p \otimes q, q \otimes p)$.
    - `"hinge"`: $f(t) = \max(0, 1 - t)$.
    - `"least_squares"`: $f(t) = \tfrac12 (1 - t)^2$; the first paper has no half.

    The generator's loss is the non-saturating one. Only differences count: a constant added to all logits changes nothing.
    Real example i is paired with fake example i, so there are as many of each.

    Args:
        pairing: `"logistic"`, `"hinge"` or `"least_squares"`.

    Example:
        >>> import torch
        >>> loss = Relativistic()
        >>> loss.discriminator(torch.tensor([7.0, 9.0]), torch.tensor([7.0, 9.0]))
        tensor(0.6931)
        >>> loss.generator(torch.tensor([0.0]), torch.tensor([50.0]))
        tensor(50.)
    """

    pairing: str = "logistic"
    needs_real: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.pairing not in _PAIRINGS:
            raise fail("pairing", f"one of {', '.join(map(repr, _PAIRINGS))}", self.pairing)

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """What the discriminator minimises; see `Objective`."""
        return self._loss(*_pairs(real_logits, fake_logits))

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        """What the generator minimises; see `Objective`."""
        if real_logits is None:
            raise fail("real_logits", "given: only pairs have a loss", None, "Call generator(fake_logits, real_logits).")
        real, fake = _pairs(real_logits, fake_logits)
        return self._loss(fake, real)

    def _loss(self, ours: Tensor, theirs: Tensor) -> Tensor:
        lead = ours - theirs
        if self.pairing == "logistic":
            return _softplus(-lead).mean()
        if self.pairing == "hinge":
            return F.relu(1 - lead).mean()
        return (1 - lead).square().mean() / 2


def _cross_entropy(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Of telling real from fake, in nats: the sum of both sides."""
    real, fake = flat("real_logits", real_logits), flat("fake_logits", fake_logits)
    return _softplus(-real).mean() + _softplus(fake).mean()


def _softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), right to the last digit at both ends; that of torch is x from 20 on, and 2e-9 too small there."""
    return -F.logsigmoid(-x)


def _pairs(real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
    real, fake = flat("real_logits", real_logits), flat("fake_logits", fake_logits)
    if len(real) != len(fake):
        cure = "Draw as many fake examples as there are real ones."
        raise fail("real_logits and fake_logits", "as many, for they are paired", (len(real), len(fake)), cure)
    return real, fake
