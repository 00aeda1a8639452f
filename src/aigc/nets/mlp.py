"""Multilayer perceptrons, for data of any shape."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from aigc._checks import integer
from aigc.nets._shapes import check_input, check_sequence, check_shape
from aigc.nets._weights import Activation, activation, fill, quiet
from aigc.nets.conditions import Condition, Shift, check_condition, condition_from, condition_json

__all__ = ["MLPDecoder", "MLPEncoder"]


class MLPEncoder(nn.Module):
    """Reads data of any shape into a mean and a log standard deviation for each latent feature.

    Args:
        shape: Of one example.
        latent: Features.
        hidden: Units of the layers between, from the data on.
        activation: After each of these: `"relu"`, `"silu"`, `"gelu"`, `"tanh"` or `"leaky_relu"`.
        condition: `nets.Classes`, `nets.Vector` or None.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> MLPEncoder((1, 28, 28), 32)(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 64])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        *,
        hidden: Sequence[int] = (512, 256),
        activation: Activation = "silu",
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.latent = check_shape(shape), integer("latent", latent, low=1)
        self.condition = condition_from(condition)
        units = check_sequence("hidden", hidden)
        with torch.device("meta"):
            self.layers = _Layers((math.prod(self.shape), *units), activation, self.condition)
            self.head = nn.Linear(units[-1], 2 * self.latent)
        fill(self, seed, after=activation)
        quiet(self.head, 0.1)  # the posterior begins near the standard normal
        self.config = {
            "net": "MLPEncoder",
            "shape": list(self.shape),
            "latent": self.latent,
            "hidden": list(units),
            "activation": activation,
            "condition": condition_json(self.condition),
            "seed": seed,
        }

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, *shape)`, and a condition, to `(batch, 2 * latent)`."""
        check_input("x", x, self.shape)
        told = check_condition(self.condition, condition, len(x))
        out: Tensor = self.head(self.layers(x.flatten(1), told))
        return out


class MLPDecoder(nn.Module):
    """Writes the parameters of a likelihood for data of any shape.

    Args:
        latent: Features.
        shape: Of one example.
        outputs: Parameters for each number of the data: the likelihood's `size`.
        hidden: Units of the layers between, from the code on.
        activation: After each of these: `"relu"`, `"silu"`, `"gelu"`, `"tanh"` or `"leaky_relu"`.
        condition: `nets.Classes`, `nets.Vector` or None.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> MLPDecoder(32, (1, 28, 28))(torch.zeros(5, 32)).shape
        torch.Size([5, 1, 28, 28])
        >>> MLPDecoder(32, (1, 28, 28), outputs=2)(torch.zeros(5, 32)).shape
        torch.Size([5, 2, 1, 28, 28])
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        *,
        outputs: int = 1,
        hidden: Sequence[int] = (256, 512),
        activation: Activation = "silu",
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.latent, self.shape = integer("latent", latent, low=1), check_shape(shape)
        self.outputs = integer("outputs", outputs, low=1)
        self.condition = condition_from(condition)
        units = check_sequence("hidden", hidden)
        with torch.device("meta"):
            self.layers = _Layers((self.latent, *units), activation, self.condition)
            self.head = nn.Linear(units[-1], self.outputs * math.prod(self.shape))
        fill(self, seed, after=activation)
        quiet(self.head, 0.1)
        self.config = {
            "net": "MLPDecoder",
            "latent": self.latent,
            "shape": list(self.shape),
            "outputs": self.outputs,
            "hidden": list(units),
            "activation": activation,
            "condition": condition_json(self.condition),
            "seed": seed,
        }

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, latent)`, and a condition, to `(batch, outputs, *shape)`; one output has no axis of its own."""
        check_input("z", z, (self.latent,))
        told = check_condition(self.condition, condition, len(z))
        out: Tensor = self.head(self.layers(z, told))
        return out.reshape(len(z), *((self.outputs,) if self.outputs > 1 else ()), *self.shape)


class _Layers(nn.Module):
    """Linear layers, each with its condition and an activation."""

    def __init__(self, units: Sequence[int], name: Activation, condition: Condition | None) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(units))
        self.shift = nn.ModuleList(Shift(condition, after) for after in units[1:])
        self.activation = activation(name)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        for linear, shift in zip(self.linear, self.shift, strict=True):
            x = self.activation(shift(linear(x), condition))
        return x
