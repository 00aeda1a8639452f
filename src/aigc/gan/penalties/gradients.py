r"""Penalties on the discriminator's gradient in its input.

All are means over examples of a function of that example's gradient, so a penalty does not depend on who shares the batch,
as long as the discriminator does not mix examples. Where `Packed` has it read several at once, the gradient in all of them
counts as one.

A weight called gamma stands before half the square, as in StyleGAN, StudioGAN and R3GAN. Mescheder's own code has no half:
its 10 is our 20.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from aigc._checks import fail
from aigc.gan._logits import flat
from aigc.gan.penalties.contract import Discriminator, Scores, called, check_weight, drawn, look, packing, value_at
from aigc.training import Noise, Schedule

__all__ = ["R1", "R2", "WGANGP", "OneCentred", "ZeroCentred", "slopes"]


@dataclass(frozen=True)
class R1:
    r"""The zero-centred penalty on real examples (Mescheder et al., arXiv:1801.04406).

    $$ \frac{\gamma}{2}\, \mathbb{E}\, \|\nabla_x D(x)\|^2 $$

    With it, training converges near the equilibrium; without one, it circles there: see `examples/dirac_gan.py`.

    Args:
        gamma: A number of at least 0 or a schedule, as `annealed(default_gamma(shape, batch_size), steps=...)`.

    Example:
        >>> critic = lambda x: x @ torch.tensor([3.0, 4.0])
        >>> R1(2.0)(critic, torch.ones(8, 2), torch.zeros(8, 2)).item()
        25.0
    """

    gamma: float | Schedule
    needs: ClassVar[frozenset[str]] = frozenset({"real"})
    reads: ClassVar[frozenset[str]] = frozenset({"real"})

    def __post_init__(self) -> None:
        check_weight("gamma", self.gamma)

    def measure(self, scores: Scores, *, noise: Noise | None = None, step: int = 0) -> Tensor:
        """The penalty of what a discriminator said; see `Penalty`."""
        return value_at(self.gamma, step) / 2 * _slope("real", scores.real_logits, scores.real).square().sum(1).mean()

    __call__ = called


@dataclass(frozen=True)
class R2:
    r"""The zero-centred penalty on fake examples (Mescheder et al., arXiv:1801.04406).

    $$ \frac{\gamma}{2}\, \mathbb{E}\, \|\nabla_x D(x)\|^2, \qquad x = G(z) $$

    The relativistic loss needs both R1 and R2 (Huang et al., arXiv:2501.05441). Near the equilibrium they are one penalty
    of twice the weight.

    Args:
        gamma: A number of at least 0 or a schedule.

    Example:
        >>> critic = lambda x: x @ torch.tensor([3.0, 4.0])
        >>> R2(2.0)(critic, torch.ones(8, 2), torch.zeros(8, 2)).item()
        25.0
    """

    gamma: float | Schedule
    needs: ClassVar[frozenset[str]] = frozenset({"fake"})
    reads: ClassVar[frozenset[str]] = frozenset({"fake"})

    def __post_init__(self) -> None:
        check_weight("gamma", self.gamma)

    def measure(self, scores: Scores, *, noise: Noise | None = None, step: int = 0) -> Tensor:
        """The penalty of what a discriminator said; see `Penalty`."""
        return value_at(self.gamma, step) / 2 * _slope("fake", scores.fake_logits, scores.fake).square().sum(1).mean()

    __call__ = called


@dataclass(frozen=True)
class ZeroCentred:
    r"""The zero-centred penalty between real and fake examples (Thanh-Tung et al., arXiv:1902.03984).

    $$ \frac{\gamma}{2}\, \mathbb{E}\, \|\nabla_{\hat x} D(\hat x)\|^2, \qquad \hat x = u\, x + (1 - u)\, G(z), \quad
       u \sim U(0, 1) $$

    It costs a forward of the discriminator.

    Args:
        gamma: A number of at least 0 or a schedule.

    Example:
        >>> critic = lambda x: x @ torch.tensor([3.0, 4.0])
        >>> ZeroCentred(2.0)(critic, torch.ones(8, 2), torch.zeros(8, 2)).item()
        25.0
    """

    gamma: float | Schedule
    needs: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_weight("gamma", self.gamma)

    def measure(self, scores: Scores, *, noise: Noise | None = None, step: int = 0) -> Tensor:
        """The penalty of what a discriminator says between the two; see `Penalty`."""
        return value_at(self.gamma, step) / 2 * _slope_between(scores, noise).square().sum(1).mean()

    __call__ = called


@dataclass(frozen=True)
class OneCentred:
    r"""The one-centred penalty between real and fake examples: that of WGAN-GP, with gamma's half.

    $$ \frac{\gamma}{2}\, \mathbb{E}\, (\|\nabla_{\hat x} D(\hat x)\| - 1)^2, \qquad \hat x = u\, x + (1 - u)\, G(z), \quad
       u \sim U(0, 1) $$

    Args:
        gamma: A number of at least 0 or a schedule.
        one_sided: Whether only slopes above 1 are penalised (Gulrajani et al., arXiv:1704.00028, section 4).

    Example:
        >>> critic = lambda x: x @ torch.tensor([3.0, 4.0])
        >>> OneCentred(2.0)(critic, torch.ones(8, 2), torch.zeros(8, 2)).item()
        16.0
    """

    gamma: float | Schedule
    one_sided: bool = False
    needs: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_weight("gamma", self.gamma)

    def measure(self, scores: Scores, *, noise: Noise | None = None, step: int = 0) -> Tensor:
        """The penalty of what a discriminator says between the two; see `Penalty`."""
        # The norm of torch has the gradient 0 at 0, where that of a square root of squares is NaN.
        excess = torch.linalg.vector_norm(_slope_between(scores, noise), dim=1) - 1
        excess = excess.clamp(min=0) if self.one_sided else excess
        found: Tensor = value_at(self.gamma, step) / 2 * excess.square().mean()
        return found

    __call__ = called


@dataclass(frozen=True)
class WGANGP:
    r"""The gradient penalty of Wasserstein GANs (Gulrajani et al., arXiv:1704.00028), on straight lines between pairs.

    $$ \lambda\, \mathbb{E}\, (\|\nabla_{\hat x} D(\hat x)\| - 1)^2, \qquad \hat x = u\, x + (1 - u)\, G(z), \quad
       u \sim U(0, 1) $$

    The norm is that of each example's own gradient. It is `OneCentred(2 * weight)`, for the paper's weight has no half. It
    costs a forward of the discriminator, and does not converge near the equilibrium (Mescheder et al., arXiv:1801.04406).

    Args:
        weight: $\lambda$, a number of at least 0 or a schedule.

    Example:
        >>> critic = lambda x: x @ torch.tensor([3.0, 4.0])
        >>> WGANGP()(critic, torch.ones(8, 2), torch.zeros(8, 2)).item()
        160.0
    """

    weight: float | Schedule = 10.0
    needs: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_weight("weight", self.weight)

    def measure(self, scores: Scores, *, noise: Noise | None = None, step: int = 0) -> Tensor:
        """The penalty of what a critic says between the two; see `Penalty`."""
        return OneCentred(2 * value_at(self.weight, step)).measure(scores, noise=noise, step=step)

    __call__ = called


def _slope(name: str, logits: Tensor, x: Tensor) -> Tensor:
    """The gradient of each logit in what it was computed from, `(logits, numbers)`, in float32 at least."""
    if not x.requires_grad or not logits.requires_grad:
        cure = f"Call {name}.requires_grad_() before the discriminator looks at it, with gradients enabled."
        raise fail(name, "a tensor that requires a gradient, as its logits do", "one that does not", cure)
    logits = flat(f"{name}_logits", logits)
    # Backward operations are recorded as they would run now: without autocast.
    with torch.autocast(x.device.type, enabled=False):
        (slope,) = torch.autograd.grad(logits, x, torch.ones_like(logits), create_graph=True, allow_unused=True)
        if slope is None:
            cure = "Compute the logits from this very tensor; a discriminator must not detach it."
            raise fail(f"{name}_logits", f"a function of {name}", "one of something else", cure)
        return slope.reshape(len(logits), -1).to(torch.promote_types(slope.dtype, torch.float32))


def _slope_between(scores: Scores, noise: Noise | None) -> Tensor:
    """The same at a random point of the line between each real example and its fake one."""
    real, fake = scores.real.detach(), scores.fake.detach()
    if real.shape != fake.shape:
        raise fail("real and fake", "of one shape, for lines join them", (tuple(real.shape), tuple(fake.shape)))
    share = drawn(noise, real).uniform(dtype=torch.float64 if real.dtype == torch.float64 else None)
    if len(share) != len(real):
        raise fail("noise", f"of {len(real)} rows, as the examples", f"{len(share)} rows")
    together = len(real) // len(scores.real_logits) if len(scores.real_logits) else packing(scores.discriminator)
    # Those that are read at once lie on one line, in the space of all of them.
    share = share[torch.arange(len(real), device=share.device) // together * together]
    kind = torch.promote_types(real.dtype, fake.dtype)  # under autocast a generator writes a narrower one
    between = torch.lerp(fake.to(kind), real.to(kind), share.to(real.device, kind).reshape(-1, *[1] * (real.ndim - 1)))
    looked = look(scores.discriminator, between, fake, penalties=[_AT_REAL], reads=["real"])
    return _slope("between", looked.real_logits, looked.real)


_AT_REAL = R1(0.0)  # asks for what a slope at `real` needs


def slopes(discriminator: Discriminator, x: Tensor) -> Tensor:
    """The gradient of each logit in its example, `(logits, numbers)`, without a graph behind it."""
    looked = look(discriminator, x, x, penalties=[_AT_REAL], reads=["real"])
    return _slope("real", looked.real_logits, looked.real).detach()
