"""Sums along rows whose bits depend on nothing but the row.

A library's sum takes an order that depends on the shape of the batch, on threads and on the device; so do its last bits.
These are trees of additions, element by element: a row has the same bits alone, in any batch, and with zeros at its end.
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Masses", "entropy", "masses", "running", "total", "weighted"]


class Masses(NamedTuple):
    """What the softmax of rows is made of, float64. Rows with NaN or +inf, or nothing but -inf, have a `whole` of NaN.

    Attributes:
        z: Logits less the row's largest, `(*rows, vocab)`.
        mass: exp(z), `(*rows, vocab)`.
        whole: The sum of the masses, `(*rows, 1)`: a probability is `mass / whole`.
    """

    z: Tensor
    mass: Tensor
    whole: Tensor


def masses(logits: Tensor) -> Masses:
    """The masses of logits `(*rows, vocab)`."""
    x = logits.double()
    z = x - x.amax(-1, keepdim=True)
    mass = z.exp()
    return Masses(z, mass, total(mass))


def entropy(z: Tensor, mass: Tensor, whole: Tensor) -> Tensor:
    r"""The entropy of rows in nats, $\log Z - \frac1Z \sum z e^z$, `(*rows, 1)`."""
    # Where one token has all but all of the mass, Z - 1 has digits that Z has lost.
    rest = total(mass.where(z < 0, 0)) + ((z == 0).sum(-1, keepdim=True) - 1)
    return rest.log1p() - total(weighted(z, mass)) / whole


def weighted(z: Tensor, mass: Tensor) -> Tensor:
    """Each z exp(z), which is 0 where z is -inf."""
    return z.clamp(min=-1000) * mass  # below -746 the mass is 0


def total(x: Tensor) -> Tensor:
    """The sum of each row, `(*rows, 1)`: the second half of a row is added to the first, and so on."""
    width = x.shape[-1]
    half = (1 << (width - 1).bit_length()) // 2
    if half:
        folded = x[..., :half].clone()
        folded[..., : width - half] += x[..., half:]
        x = folded
    while half > 1:
        half //= 2
        x = x[..., :half] + x[..., half:]
    return x


def running(x: Tensor) -> Tensor:
    """The sums of each row's beginnings; each depends on its beginning alone (Hillis and Steele, 1986)."""
    by = 1
    while by < x.shape[-1]:
        x = torch.cat((x[..., :by], x[..., by:] + x[..., :-by]), -1)
        by *= 2
    return x
