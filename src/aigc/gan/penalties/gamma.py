r"""How large a penalty's weight should be: a default, its decay over a run, and whether it was too much or too little."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from aigc._checks import fail, fail_type, integer, number
from aigc.training import Cosine

__all__ = ["Balance", "annealed", "balance", "default_gamma"]

_DOMINATES, _VANISHES = 10.0, 1e-4


def default_gamma(shape: Sequence[int], batch_size: int) -> float:
    r"""The gamma of R1 and of R2, where both are used, to begin a run with; `annealed` takes it down from there.

    $$ \gamma = 320 \cdot 0.0002\, \frac{\text{pixels}}{\min(\text{batch}, 256)} \text{ for images, } \qquad
       \gamma = 0.05 \text{ for vectors} $$

    The rule for images is StyleGAN2-ADA's (arXiv:2006.06676), 0.0002 pixels / batch, times 320. That one is for R1 alone,
    for the non-saturating loss, and for images in [-1, 1], where squares of slopes are a quarter of those in [0, 1]: in its
    units ours is 1,280 times as much. With the relativistic loss it is too small. R3GAN (arXiv:2501.05441), which trains
    images with this loss and both penalties, begins with 125 to 10,000 times as much, and does not lower it for batches of
    thousands. Ours is within a factor of about 4 of what R3GAN begins with on FFHQ at 64 and 256 pixels and on ImageNet at
    32 and 64, and 20 times above it on CIFAR-10. It errs upward on purpose: in short runs on smaller pictures larger gammas
    were better throughout, on MNIST a tenth and ten times were both worse, and too small ones lost modes; one that is too
    large learns coarse things first, which decay mends.

    The rule for vectors is for data of unit variance; multiply it by the square of the standard deviation. Narrow modes of
    width w want a gamma that ends near w^2 / 30.

    Args:
        shape: Of an example: `(channels, height, width)` of an image in [0, 1]; of one in [-1, 1], take 4 times the result.
            `(channels, length)` of a signal, whose samples count as pixels; `(features,)` of a vector.
        batch_size: Examples of a batch, over all processes.

    Example:
        >>> default_gamma((1, 28, 28), 64), default_gamma((2,), 256)
        (0.784, 0.05)
    """
    sides = [integer("shape", side, low=1) for side in shape]
    batch_size = integer("batch_size", batch_size, low=1)
    if not 1 <= len(sides) <= 3:
        raise fail("shape", "(channels, height, width), (channels, length) or (features,)", tuple(shape))
    if len(sides) == 1:
        return 0.05
    return 320 * 0.0002 * math.prod(sides[1:]) / min(batch_size, 256)


def annealed(gamma: float, *, steps: int, last: float = 0.1) -> Cosine:
    """Takes gamma down along half a cosine, as R3GAN does: early steps need the damping, late ones the detail.

    Args:
        gamma: At step 0.
        steps: Of the run.
        last: The share of it that is left at the end; for narrow densities 0.01.

    Returns:
        A schedule, which is a dataclass of numbers and so goes into a checkpoint's JSON.

    Example:
        >>> annealed(0.5, steps=1000)
        Cosine(steps=1000, first=0.5, last=0.05, warmup=0)
    """
    gamma, last = number("gamma", gamma, low=0), number("last", last, low=0, high=1)
    return Cosine(integer("steps", steps, low=1), first=gamma, last=gamma * last)


class Balance(NamedTuple):
    """How a penalty compares to the loss that it is added to.

    Attributes:
        adversarial: The loss, without penalties.
        penalty: The sum of penalties.
        ratio: The penalty over the size of the loss.
        warning: A sentence, where the penalty dominates or vanishes; else None.

    Example:
        >>> balance(0.6, 0.01).ratio
        0.016666666666666666
    """

    adversarial: float
    penalty: float
    ratio: float
    warning: str | None


def balance(adversarial: float | Tensor, penalty: float | Tensor) -> Balance:
    """Compares a discriminator's penalty to its loss, and says where gamma is far off.

    Both are best taken as means over some hundred steps. In runs that went well the ratio was between 0.003 and 0.3; above
    10 the discriminator is held flat and has nothing to say, below 0.0001 there might as well be no penalty. A ratio in
    between is no proof that gamma is right: where it is too small slopes grow, and the ratio with them.

    Args:
        adversarial: The discriminator's loss without penalties.
        penalty: The sum of its penalties.

    Raises:
        ParameterError: If a number is not finite, or the penalty is below 0.

    Example:
        >>> print(balance(0.2, 30.0).warning)
        the penalty is 150 times the discriminator's loss (30 and 0.2): it dominates. Lower gamma, for instance to a tenth.
    """
    loss, cost = _finite("adversarial", adversarial), _finite("penalty", penalty)
    if cost < 0:
        raise fail("penalty", "a number of at least 0", cost)
    ratio = cost / abs(loss) if loss else math.inf if cost else 0.0
    warning = None
    if ratio > _DOMINATES:
        warning = (
            f"the penalty is {ratio:.3g} times the discriminator's loss ({cost:.3g} and {loss:.3g}): it dominates. "
            "Lower gamma, for instance to a tenth."
        )
    elif ratio < _VANISHES:
        warning = (
            f"the penalty is {ratio:.3g} times the discriminator's loss ({cost:.3g} and {loss:.3g}): it vanishes. "
            "Raise gamma, for instance tenfold, or leave the penalty out."
        )
    return Balance(loss, cost, ratio, warning)


def _finite(name: str, value: float | Tensor) -> float:
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise fail_type(name, "a number or a scalar tensor", tuple(value.shape))
        value = float(value.detach())
    return number(name, value)
