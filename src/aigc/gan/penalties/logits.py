"""Penalties on logits themselves: those of data against their past, and against those of changed data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from aigc._checks import fail, fail_type
from aigc.gan._logits import flat
from aigc.gan.penalties.contract import Scores, called, check_weight, drawn, value_at
from aigc.training import Noise, Schedule, processes

__all__ = ["Augmentation", "Consistency", "LeCam"]

Augmentation = Callable[[Tensor, Noise], Tensor]

_BOTH = frozenset({"real", "fake"})


class LeCam(nn.Module):
    r"""Draws logits toward averages of the other side's, for training on little data (Tseng et al., arXiv:2104.03310).

    $$ \lambda \left( \mathbb{E} (D(x) - \alpha_F)^2 + \mathbb{E} (D(G(z)) - \alpha_R)^2 \right), \qquad
       \alpha_R \leftarrow d\, \alpha_R + (1 - d)\, \mathbb{E} D(x), \quad
       \alpha_F \leftarrow d\, \alpha_F + (1 - d)\, \mathbb{E} D(G(z)) $$

    Each call in training mode moves the averages by its batch, that of all processes where `torch.distributed` was started,
    and measures against the moved ones; the first batch starts them. Micro-batches move them by their share of a batch.
    The averages are buffers, so that checkpoints have them: keep the module among those that are saved. No gradient passes
    through them.

    Args:
        weight: $\lambda$, a number of at least 0 or a schedule. It suits losses whose logits have a zero, which the
            relativistic ones do not.
        decay: d, in [0, 1).

    Example:
        >>> penalty = LeCam(0.5)
        >>> critic = lambda x: x[:, 0]
        >>> penalty(critic, torch.full((4, 1), 3.0), torch.full((4, 1), 1.0))  # 0.5 (3 - 1)^2 + 0.5 (1 - 3)^2
        tensor(4.)
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[frozenset[str]] = _BOTH
    real: Tensor
    fake: Tensor
    batches: Tensor

    def __init__(self, weight: float | Schedule = 0.3, *, decay: float = 0.99) -> None:
        super().__init__()
        check_weight("weight", weight)
        if isinstance(decay, bool) or not isinstance(decay, int | float):
            raise fail_type("decay", "a number in [0, 1)", decay)
        if not 0 <= decay < 1:
            raise fail("decay", "in [0, 1)", decay)
        self.weight, self.decay = weight, decay
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("fake", torch.zeros(()))
        self.register_buffer("batches", torch.zeros(()))

    def measure(self, scores: Scores, *, noise: Noise | None = None, step: int = 0) -> Tensor:
        """The penalty of what a discriminator said; see `Penalty`. In training mode, moves the averages."""
        real, fake = flat("real_logits", scores.real_logits), flat("fake_logits", scores.fake_logits)
        if self.training:
            share = 1 / processes().world if noise is None else (noise.rows.stop - noise.rows.start) / noise.batch
            self._follow(real.detach(), fake.detach(), share)
        # Copies, for the next call moves the averages before this one's gradient may be taken.
        toward_real, toward_fake = self.real.clone(), self.fake.clone()
        gaps = (real - toward_fake).square().mean() + (fake - toward_real).square().mean()
        return value_at(self.weight, step) * gaps

    forward = called

    @torch.no_grad()
    def _follow(self, real: Tensor, fake: Tensor, share: float) -> None:
        """Moves the averages; `share` is how much of the whole batch this process has here."""
        totals = [real.sum(), fake.sum(), real.new_tensor(len(real)), real.new_tensor(len(fake)), real.new_tensor(share)]
        processes().total(totals)
        moved = totals[4]
        first = self.batches / (self.batches + moved)  # a mean over the micro-batches of the first batch
        kept = torch.where(self.batches < 0.99, first, self.decay**moved)  # shares in bfloat16 do not add up to 1
        for average, total, count in zip((self.real, self.fake), totals[:2], totals[2:4], strict=True):
            average.copy_(kept * average + (1 - kept) * (total / count))
        self.batches.add_(moved)

    def extra_repr(self) -> str:
        """Its parameters."""
        return f"weight={self.weight}, decay={self.decay}"


@dataclass(frozen=True)
class Consistency:
    r"""Asks for the same logit where an example is changed in a way that does not matter.

    $$ \lambda \left( \mathbb{E} (D(x) - D(T(x)))^2 + \mathbb{E} (D(G(z)) - D(T(G(z))))^2 \right) $$

    Of real examples alone it is that of Zhang et al. (arXiv:1910.12027); of both, the balanced one of Zhao et al.
    (arXiv:2002.04724). It costs a forward of the discriminator for each.

    Args:
        weight: $\lambda$, a number of at least 0 or a schedule.
        augment: T, from examples and noise to changed examples, as `aigc.gan.augment.DiffAugment()`.
        fake: Whether fake examples are compared as well.

    Example:
        >>> critic = lambda x: x[:, 0]
        >>> Consistency(10.0, lambda x, noise: x + 0.5)(critic, torch.ones(4, 1), torch.zeros(4, 1))
        tensor(5.)
    """

    weight: float | Schedule
    augment: Augmentation
    fake: bool = True
    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def reads(self) -> frozenset[str]:
        """Which players' logits it reads."""
        return _BOTH if self.fake else frozenset({"real"})

    def __post_init__(self) -> None:
        check_weight("weight", self.weight)
        if not callable(self.augment):
            raise fail_type("augment", "a function of examples and noise", self.augment)

    def measure(self, scores: Scores, *, noise: Noise | None = None, step: int = 0) -> Tensor:
        """The penalty of what a discriminator said, and of what it says of changed examples; see `Penalty`."""
        noise = drawn(noise, scores.real)
        gaps = self._gap("real", scores, scores.real, scores.real_logits, noise)
        if self.fake:
            gaps = gaps + self._gap("fake", scores, scores.fake, scores.fake_logits, noise)
        return value_at(self.weight, step) * gaps

    __call__ = called

    def _gap(self, name: str, scores: Scores, x: Tensor, logits: Tensor, noise: Noise) -> Tensor:
        changed = self.augment(x.detach(), noise)
        if changed.shape != x.shape:
            raise fail("augment", f"a function that keeps the shape {tuple(x.shape)}", tuple(changed.shape))
        again = flat(f"{name}_logits", scores.discriminator(changed))
        return (flat(f"{name}_logits", logits) - again).square().mean()
