"""What the two players minimise: the phases of a GAN's training."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc._models.data import Transform, parts
from aigc.errors import TrainingError
from aigc.gan.penalties import Penalty, look
from aigc.training import Loss, Noise

if TYPE_CHECKING:
    from aigc.gan.model import GAN

__all__ = ["call", "discriminator_loss", "generator_loss", "judged"]

_MEASURE, _LOOK = 10, 100  # steps between two measurements of spread; from which on it may be too small
_COLLAPSED = 1e-3  # of the spread of data
_FEW = 8  # examples whose spread says too little


def discriminator_loss(
    gan: "GAN", penalties: Sequence[Penalty], transform: Transform | None = None
) -> Callable[[Any, Noise], Loss]:
    """What the discriminator minimises: its part of the loss, and the penalties."""

    def loss(batch: Any, noise: Noise) -> Loss:
        real, told = _read(gan, batch, noise, transform)
        with torch.no_grad():
            fake = call(gan.generator, noise.normal(gan.latent, dtype=real.dtype), told)
        real, fake = (gan.augmented(x, noise) for x in (real, fake))
        scores = look(judged(gan, told), real, fake, penalties=penalties)
        value = gan.loss.discriminator(scores.real_logits, scores.fake_logits)
        report = {
            "real": scores.real_logits.mean(),
            "fake": scores.fake_logits.mean(),
            "adversarial": value,
        }
        if penalties:
            costs = [penalty.measure(scores, noise=noise, step=noise.step) for penalty in penalties]
            report["penalty"] = torch.stack(costs).sum()
            value = value + report["penalty"]
        if gan.adaptive is not None:
            gan.adaptive.update(scores.real_logits, scores.fake_logits if gan.loss.needs_real else None, noise=noise)
            report["augmentation"] = gan.adaptive.p.clone()
        return _with_classes(gan, Loss(value, report), real, told)

    return loss


def generator_loss(
    gan: "GAN", transform: Transform | None = None, *, plays_every: int = 1, saved_every: int = 1000
) -> Callable[[Any, Noise], Loss]:
    """What the generator minimises.

    How much its examples differ is measured at every tenth step, and where it plays first after a checkpoint was written:
    of two checkpoints in a row one at most is of a generator that has collapsed.

    Args:
        gan: The model.
        transform: Changes each batch before it is looked at.
        plays_every: Steps between two of the generator.
        saved_every: Steps between two checkpoints.
    """

    def loss(batch: Any, noise: Noise) -> Loss:
        real, told = _read(gan, batch, noise, transform)
        fake = call(gan.generator, noise.normal(gan.latent, dtype=real.dtype), told)
        saved = noise.step // saved_every > (noise.step - plays_every) // saved_every
        report = {"spread": _spread(fake, real, noise.step)} if saved or noise.step % _MEASURE == 0 else {}
        judge, seen = judged(gan, told), gan.augmented(fake, noise)
        fake_logits, real_logits = judge(seen), None
        if gan.loss.needs_real:
            with torch.no_grad():
                real_logits = judge(gan.augmented(real, noise))
        value = gan.loss.generator(fake_logits, real_logits)
        return _with_classes(gan, Loss(value, report), seen, told)

    return loss


def call(net: nn.Module, x: Tensor, told: Tensor | None, **options: Any) -> Any:
    """A net's output, with a condition if there is one."""
    return net(x, **options) if told is None else net(x, told, **options)


def _read(gan: "GAN", batch: Any, noise: Noise, transform: Transform | None) -> tuple[Tensor, Tensor | None]:
    """Real examples in the nets' own range, and what the nets are told."""
    x, told = parts(batch)
    return gan.inward(x if transform is None else transform(x, noise)), told


def judged(gan: "GAN", told: Tensor | None) -> Callable[[Tensor], Tensor]:
    """The discriminator of examples, told their conditions."""
    if told is None:
        return gan.discriminator
    own = next(gan.discriminator.parameters(), None)
    narrow = own is not None and own.dtype in (torch.float16, torch.bfloat16)  # a penalty sees a module, and not that

    def judge(x: Tensor) -> Tensor:
        logits: Tensor = gan.discriminator(x.to(own.dtype) if narrow and own is not None else x, told)
        return logits

    return judge


def _with_classes(gan: "GAN", loss: Loss, x: Tensor, told: Tensor | None) -> Loss:
    """Adds what an auxiliary classifier says of classes, if there is one (Odena et al., arXiv:1610.09585)."""
    if not gan.auxiliary or told is None:
        return loss
    error = F.cross_entropy(gan.discriminator.classify(x), told)  # type: ignore[operator]  # a method of our nets
    return Loss(loss.value + error, {**loss.report, "classes": error})


def _spread(fake: Tensor, real: Tensor, step: int) -> Tensor:
    """How much fake examples differ from each other, as a share of how much real ones do.

    Raises:
        TrainingError: If they do not differ at all.
    """
    with torch.no_grad():
        ours, theirs = (x.flatten(1).float().std(0).mean() if len(x) > 1 else x.new_ones(()) for x in (fake, real))
        share = ours / theirs.clamp(min=1e-12)
    if step >= _LOOK and len(fake) >= _FEW and bool((theirs > 0) & (share < _COLLAPSED)):
        raise TrainingError(
            f"the generator has collapsed at step {step}: its examples differ {float(share):.1g} times as much as the "
            "data. Train anew, in another folder, with a larger gamma, a lower learning rate, or Relativistic(). Of the "
            "checkpoints the newest may be from after it."
        )
    return share
