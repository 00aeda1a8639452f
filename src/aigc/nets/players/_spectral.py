"""Spectral normalisation, from a seed: torch's own draws its first vectors from the global generator."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Spectral", "settle"]


class Spectral(nn.Module):
    r"""A layer whose weight W is divided by its largest singular value (Miyato et al., arXiv:1802.05957).

    W is read as a matrix of outputs by all that goes into one. Its singular value is $u^\top W v$, with u and v from a
    power iteration that goes one round further at each call in training mode, and stands still in evaluation mode. They
    are buffers, so that a checkpoint goes on where it was. The gradient goes through W, and takes u and v as they are.

    Args:
        layer: A linear layer, a convolution or an embedding.
    """

    left: Tensor
    right: Tensor

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        rows, columns = self._matrix().shape
        self._shape = tuple(cast("Tensor", layer.weight).shape)
        self.register_buffer("left", torch.empty(rows))
        self.register_buffer("right", torch.empty(columns))

    def weight(self) -> Tensor:
        """The weight as the layer has it now, divided."""
        matrix = self._matrix()
        with torch.autocast(matrix.device.type, enabled=False):
            if self.training:
                self.iterate(1)
            left, right = self.left.clone(), self.right.clone()  # the next call moves them, and a graph still needs these
            sigma = (left * torch.mv(matrix, right)).sum()
            return matrix.view(self._shape) / sigma

    @torch.no_grad()
    def iterate(self, rounds: int) -> None:
        """Goes some rounds of the power iteration."""
        matrix = self._matrix()
        for _ in range(rounds):
            self.right.copy_(F.normalize(torch.mv(matrix.t(), self.left), dim=0, eps=1e-12))
            self.left.copy_(F.normalize(torch.mv(matrix, self.right), dim=0, eps=1e-12))

    def forward(self, x: Tensor) -> Tensor:
        """What the layer does, with that weight."""
        layer, weight = self.layer, self.weight()
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, layer.bias)
        if isinstance(layer, nn.Conv1d):
            return F.conv1d(x, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        if isinstance(layer, nn.Conv2d):
            return F.conv2d(x, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        return F.embedding(x, weight)

    def _matrix(self) -> Tensor:
        return cast("Tensor", self.layer.weight).flatten(1)


def settle(net: nn.Module, seed: int) -> None:
    """Gives the power iterations of a net their first vectors, from a generator of its own, and lets them come near.

    Args:
        net: With weights.
        seed: An int of 64 bits.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, Spectral):
            module.left.copy_(F.normalize(torch.randn(module.left.shape, generator=generator), dim=0))
            module.iterate(30)
