"""Weights from a seed: a net is built without numbers, and filled from a generator of its own; no other is touched."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import nn

from aigc import random
from aigc._checks import fail

__all__ = ["LEFT", "Activation", "activation", "fill", "quiet"]

Activation = Literal["relu", "silu", "gelu", "tanh", "leaky_relu"]

_MADE: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "leaky_relu": partial(nn.LeakyReLU, 0.2),  # the slope of every GAN since DCGAN (arXiv:1511.06434)
}
# E[f(z)^2] for a standard normal z: what an activation leaves of the second moment, which weights make good.
LEFT = {"relu": 0.5, "silu": 0.355776, "gelu": 0.425222, "tanh": 0.394294, "leaky_relu": 0.52}


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


def activation(name: Activation) -> nn.Module:
    """Makes an activation."""
    if name not in get_args(Activation):
        raise fail("activation", f"one of {', '.join(get_args(Activation))}", name)
    return _MADE[name]()


def fill(net: nn.Module, seed: int, *, after: Activation | None) -> None:
    r"""Gives a net that was built on the meta device its memory and its first weights.

    A weight is normal with variance $1 / (n \operatorname{E}[f(z)^2])$, where n numbers go into a unit and f is the
    activation before it, so that the second moment stays as it is from layer to layer (He et al., arXiv:1502.01852).
    Biases are 0; rows of embeddings and other parameters are standard normal; normalisations begin with mean 0 and scale 1.

    Args:
        net: Of linear layers, convolutions, embeddings and normalisations.
        seed: An int of 64 bits.
        after: The activation between its layers; None if there is none, or what it leaves is made good elsewhere.
    """
    net.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(random.check_seed("seed", seed))
    left = 1.0 if after is None else LEFT[after]
    for module in net.modules():
        if isinstance(module, _NORMS):
            module.reset_parameters()  # constants: no generator is asked
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if name == "bias":
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=_std(module, left), generator=generator)


def quiet(layer: nn.Module, scale: float) -> None:
    """Makes the weights of a layer smaller."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name != "bias":
                parameter.mul_(scale)


def _std(module: nn.Module, left: float) -> float:
    if isinstance(module, nn.Linear):
        return 1 / math.sqrt(module.in_features * left)
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return 1 / math.sqrt(module.in_channels // module.groups * math.prod(module.kernel_size) * left)
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d):  # of its kernel, each place meets one in a stride
        reach = math.prod(module.kernel_size) / math.prod(module.stride)
        return 1 / math.sqrt(module.in_channels * reach * left)
    return 1.0
