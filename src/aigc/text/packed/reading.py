"""From a transformers model to a `Decoder`: which family it is of, and whether every parameter was read."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aigc.text.packed.linear import ACTIVATIONS, Linear, Weights, pack
from aigc.text.packed.parts import Norm

__all__ = ["Reader", "Unreadable"]


class Unreadable(Exception):
    """A model is built otherwise than the families that are known; says how."""


class Reader:
    """Reads parameters, and remembers which.

    Args:
        windows: The window of each layer; None for all tokens.
        int8: Whether products are to be of eight-bit integers.
    """

    def __init__(self, windows: Sequence[int | None], *, int8: bool = False) -> None:
        self.windows, self._int8 = windows, int8
        self._read: set[int] = set()
        self._packed: dict[int, Linear] = {}

    def tensor(self, parameter: Tensor) -> Tensor:
        """A parameter as it is."""
        self._read.add(id(parameter))
        return parameter.detach()

    def weights(self, module: nn.Module) -> Weights:
        """A linear layer, or one that keeps its weights `(in, out)`, as transformers' Conv1D does."""
        weight, bias = (getattr(module, name, None) for name in ("weight", "bias"))
        if not isinstance(weight, Tensor) or weight.ndim != 2:
            raise Unreadable(f"{type(module).__name__} is not a linear layer")
        if type(module) is not nn.Linear and type(module).__name__ != "Conv1D":
            raise Unreadable(f"{type(module).__name__} is a linear layer of another kind")
        matrix = self.tensor(weight)
        return Weights(matrix if type(module) is nn.Linear else matrix.t(), None if bias is None else self.tensor(bias))

    def pack(self, weights: Weights) -> Linear:
        """Lays weights out."""
        return pack(weights, int8=self._int8)

    def linear(self, module: nn.Module) -> Linear:
        """A linear layer, laid out."""
        return self.pack(self.weights(module))

    def norm(self, module: Any, size: int | None = None) -> Norm:
        """A norm, over `size` features if that is given."""
        weight, bias = module.weight, getattr(module, "bias", None)
        if size is not None and len(weight) != size:
            raise Unreadable("queries are normed over all heads together")
        if type(module) is nn.LayerNorm:
            return Norm(self.tensor(weight), None if bias is None else self.tensor(bias), module.eps, centre=True)
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if bias is not None or eps is None:
            raise Unreadable(f"{type(module).__name__} is a norm of another kind")
        return Norm(self._gain(module), None, float(eps), centre=False)

    def activation(self, name: str) -> str:
        """The name of an activation, if it is known."""
        if name not in ACTIVATIONS:
            raise Unreadable(f"{name} is another activation")
        return name

    def left(self, model: nn.Module) -> list[str]:
        """The names of parameters that were not read."""
        return [name for name, parameter in model.named_parameters() if id(parameter) not in self._read]

    def _gain(self, module: Any) -> Tensor:
        """What a norm multiplies by, found by trying: Gemma's keeps it less 1, and multiplies in float32."""
        weight = self.tensor(module.weight)
        seen = module(torch.ones(1, len(weight), dtype=weight.dtype))[0].float()
        plain, more = weight.float(), 1 + weight.float()
        return weight if (seen - plain).abs().amax() < (seen - more).abs().amax() else more
