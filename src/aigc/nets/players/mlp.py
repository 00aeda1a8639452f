"""Perceptrons that play, for data of any shape."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from aigc._checks import integer
from aigc.nets._shapes import check_input, check_sequence, check_shape
from aigc.nets._weights import LEFT, Activation, activation, fill, quiet
from aigc.nets.conditions import Condition, Shift, check_condition, condition_from, condition_json
from aigc.nets.players._judging import Judge
from aigc.nets.players._parts import Norm, norm

__all__ = ["MLPDiscriminator", "MLPGenerator"]


class MLPGenerator(nn.Module):
    """Writes data of any shape from latents, by linear layers; its output is not squashed.

    Args:
        latent: Numbers of a latent.
        shape: Of one example.
        hidden: Units of the layers between, from the latent on.
        norm: Before each activation: None, `"layer"`, or `"batch"`, which mixes examples in training mode only.
        activation: After each layer between: `"relu"`, `"silu"`, `"gelu"`, `"tanh"` or `"leaky_relu"`.
        condition: `nets.Classes`, `nets.Vector` or None; it is one more input of each layer between.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> MLPGenerator(4, (2,))(torch.zeros(5, 4)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        *,
        hidden: Sequence[int] = (128, 128, 128),
        norm: Norm | None = None,
        activation: Activation = "leaky_relu",
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.latent, self.shape = integer("latent", latent, low=1), check_shape(shape)
        self.condition = condition_from(condition)
        units = check_sequence("hidden", hidden)
        with torch.device("meta"):
            self.layers = _Layers((self.latent, *units), activation, self.condition, norms=norm, of="generator")
            self.head = nn.Linear(units[-1], math.prod(self.shape))
        fill(self, seed, after=activation)
        quiet(self.head, math.sqrt(LEFT[activation]))  # the second moment of the data is then about that of the latents
        self.config = {
            "net": "MLPGenerator",
            "latent": self.latent,
            "shape": list(self.shape),
            "hidden": list(units),
            "norm": norm,
            "activation": activation,
            "condition": condition_json(self.condition),
            "seed": seed,
        }

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, latent)`, and a condition, to `(batch, *shape)`."""
        check_input("z", z, (self.latent,))
        told = check_condition(self.condition, condition, len(z))
        out: Tensor = self.head(self.layers(z, told))
        return out.reshape(len(z), *self.shape)


class MLPDiscriminator(nn.Module):
    """Judges data of any shape, by linear layers.

    Args:
        shape: Of one example.
        hidden: Units of the layers between, from the data on.
        norm: Before each activation: None or `"layer"`.
        activation: After each layer between: `"relu"`, `"silu"`, `"gelu"`, `"tanh"` or `"leaky_relu"`.
        condition: `nets.Classes`, `nets.Vector` or None; a projection.
        auxiliary: Whether it tells classes too: `classify`.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> MLPDiscriminator((2,))(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        hidden: Sequence[int] = (128, 128, 128),
        norm: Norm | None = None,
        activation: Activation = "leaky_relu",
        condition: Condition | Mapping[str, int] | None = None,
        auxiliary: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.condition = check_shape(shape), condition_from(condition)
        units = check_sequence("hidden", hidden)
        with torch.device("meta"):
            self.layers = _Layers((math.prod(self.shape), *units), activation, None, norms=norm, of="discriminator")
            self.judge = Judge(units[-1], self.condition, auxiliary=auxiliary)
        fill(self, seed, after=activation)
        self.judge.soften()
        self.config = {
            "net": "MLPDiscriminator",
            "shape": list(self.shape),
            "hidden": list(units),
            "norm": norm,
            "activation": activation,
            "condition": condition_json(self.condition),
            "auxiliary": auxiliary,
            "seed": seed,
        }

    def features(self, x: Tensor) -> Tensor:
        """From `(batch, *shape)` to what is judged, `(batch, features)`."""
        check_input("x", x, self.shape)
        found: Tensor = self.layers(x.flatten(1), None)
        return found

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, *shape)`, and a condition, to logits `(batch,)`: larger is more real."""
        told = check_condition(self.condition, condition, len(x))
        logits: Tensor = self.judge(self.features(x), told)
        return logits

    def classify(self, x: Tensor) -> Tensor:
        """From `(batch, *shape)` to logits of classes, `(batch, classes)`; the body is that of `forward`."""
        return self.judge.classify(self.features(x))


class _Layers(nn.Module):
    """Linear layers, each with a norm, its condition and an activation."""

    def __init__(
        self, units: Sequence[int], name: Activation, condition: Condition | None, *, norms: Norm | None, of: str
    ) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(units))
        self.norm = nn.ModuleList(norm(norms, after, 0, of=of) for after in units[1:])
        self.shift = nn.ModuleList(Shift(condition, after) for after in units[1:])
        self.activation = activation(name)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        for linear, normal, shift in zip(self.linear, self.norm, self.shift, strict=True):
            x = self.activation(shift(normal(linear(x)), condition))
        return x
