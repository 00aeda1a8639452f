"""How the training of a GAN stands: what the discriminator tells apart, what it knows by heart, how much samples differ."""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from aigc import random
from aigc._models.data import check_alike, check_given
from aigc.gan.penalties import look
from aigc.gan.penalties.gradients import slopes
from aigc.gan.playing import judged
from aigc.training.resting import at_rest

if TYPE_CHECKING:
    from aigc.gan.model import GAN

__all__ = ["Health", "look_at"]

_BY_HEART = 0.8  # of pairs of a known and an unknown example, told apart
_ALIKE = 0.5  # of the distance between data
_PAIRED = 512  # examples of which all pairs are measured


class Health(NamedTuple):
    """How training stands.

    Attributes:
        real: The mean logit of data.
        fake: Of samples.
        told_apart: The share of pairs of a datum and a sample in which the datum has the larger logit: 0.5 where they
            cannot be told apart, 1 where they always are.
        by_heart: Likewise of a datum that was trained on and one that was held out: 0.5 is well, 1 says that the
            discriminator knows its data by heart. None where nothing was held out.
        slope_real: The root mean squared slope of the discriminator at data, which R1 keeps small.
        slope_fake: At samples, which R2 does.
        diversity: The mean distance between samples, as a share of that between data: of all pairs among at most 512, so
            that the order of the data says nothing; of more, 512 are drawn, always at the same places.

    Example:
        >>> Health(0.4, 0.1, 0.6, 0.9, 0.2, 0.2, 0.3).warnings[0].split(":")[0]
        'the discriminator knows its data by heart'
    """

    real: float
    fake: float
    told_apart: float
    by_heart: float | None
    slope_real: float
    slope_fake: float
    diversity: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong, in sentences with cures."""
        found = []
        if self.by_heart is not None and self.by_heart > _BY_HEART:
            found.append(
                f"the discriminator knows its data by heart: it tells them from others in {self.by_heart:.0%} of pairs. "
                "Take augment=DiffAugment(), more data, or fewer steps."
            )
        if self.diversity < _ALIKE:
            found.append(
                f"samples are too much alike: their distance is {self.diversity:.0%} of that between data. Raise gamma, "
                "take losses.Relativistic(), or lower the learning rate."
            )
        return tuple(found)


def look_at(
    gan: "GAN", data: Tensor, *, held_out: Tensor | None = None, seed: int = 0, condition: Tensor | None = None
) -> Health:
    """Looks at how training stands: `gan.health(data)`.

    Args:
        gan: The model.
        data: Some hundred examples that were trained on, at least 2, in any float type.
        held_out: As many that were not; with `condition`, they have the same.
        seed: Of as many samples.
        condition: What the nets are told, one for each.

    Raises:
        ParameterError: If data are of another shape, not finite, or of images not in [0, 1].
    """
    check_given(gan, "data", data, least=2)
    if held_out is not None:
        check_given(gan, "held_out", held_out)
    judge = judged(gan, gan.told(condition, len(data)))
    with at_rest([gan.discriminator]), torch.no_grad():
        fake = gan.inward(gan.sample(len(data), seed=random.check_seed("seed", seed), condition=condition))
        for name, x in (("data", data), ("held_out", data if held_out is None else held_out)):
            check_alike(name, x, fake)
        real = gan.inward(data.to(fake))
        other = None if held_out is None else judge(gan.inward(held_out.to(fake))).flatten()
    with at_rest([gan.discriminator]), torch.enable_grad():
        steep = [slopes(judge, x) for x in (real, fake)]
        scores = look(judge, real, fake)
    said, made = scores.real_logits.detach().flatten(), scores.fake_logits.detach().flatten()
    return Health(
        real=float(said.mean()),
        fake=float(made.mean()),
        told_apart=_larger(said, made),
        by_heart=None if other is None else _larger(said, other),
        slope_real=float(steep[0].square().sum(1).mean().sqrt()),
        slope_fake=float(steep[1].square().sum(1).mean().sqrt()),
        diversity=_apart(fake) / max(_apart(real), 1e-12),
    )


def _larger(a: Tensor, b: Tensor) -> float:
    """The share of pairs in which the one of a is larger; ties count half."""
    return float(((a[:, None] > b).double() + (a[:, None] == b).double() / 2).mean())


def _apart(x: Tensor) -> float:
    """The mean distance of all pairs, of some examples where there are many."""
    flat = x.flatten(1).double()
    if len(flat) > _PAIRED:  # drawn, since data may be sorted, and classes come in turns
        flat = flat[torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))[:_PAIRED].to(flat.device)]
    flat = flat - flat.mean(0)  # so that little is lost where distances are small beside the values
    found = torch.cdist(flat, flat, compute_mode="use_mm_for_euclid_dist").fill_diagonal_(0)
    return float(found.sum() / (len(flat) * (len(flat) - 1)))
