"""Features of a convolutional net that was never trained: they see structure, and need no data and no download."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from aigc._checks import fail, integer
from aigc.random import check_seed, stream

__all__ = ["RandomConv"]


@dataclass(frozen=True, slots=True)
class RandomConv:
    """The mean and the deviation over places of each channel, at each scale of a random convolutional net.

    Kernels have three places a side and orthogonal weights, a function of the seed; between layers, the resolution is
    halved as long as it can be. It works for images `(n, c, h, w)` and for sounds `(n, c, length)`.

    Args:
        seed: Of the weights.
        width: Channels of a layer.
        layers: How many.

    Example:
        >>> RandomConv(0)(torch.zeros(2, 3, 32, 32)).shape, RandomConv(0).dim
        (torch.Size([2, 256]), 256)
    """

    seed: int = 0
    width: int = 32
    layers: int = 4

    def __post_init__(self) -> None:
        check_seed("seed", self.seed)
        integer("width", self.width, low=1)
        integer("layers", self.layers, low=1)

    @property
    def name(self) -> str:
        """Always the same."""
        return "random-conv"

    @property
    def version(self) -> str:
        """Says what the weights are a function of."""
        return f"{self.seed}-{self.width}x{self.layers}"

    @property
    def dim(self) -> int:
        """Numbers of a feature vector."""
        return 2 * self.width * self.layers

    def __call__(self, x: Tensor, /) -> Tensor:
        """Maps `(n, channels, *space)`, of one or two dimensions of space, to `(n, dim)`."""
        if x.ndim not in (3, 4) or not x.is_floating_point():
            raise fail("x", "floating images (n, c, h, w) or sounds (n, c, length)", f"{x.dtype} {tuple(x.shape)}")
        space = x.ndim - 2
        convolve = functional.conv2d if space == 2 else functional.conv1d
        pool = functional.avg_pool2d if space == 2 else functional.avg_pool1d
        found = []
        for weight in _weights(self.seed, x.shape[1], self.width, self.layers, space):
            x = functional.leaky_relu(convolve(x, weight.to(x), padding=1), 0.1)
            places = x.flatten(2)
            found += [places.mean(2), places.var(2, correction=0).sqrt()]
            if min(x.shape[2:]) >= 4:
                x = pool(x, 2)
        return torch.cat(found, 1)


@lru_cache(maxsize=16)
def _weights(seed: int, channels: int, width: int, layers: int, space: int) -> tuple[Tensor, ...]:
    """The kernels of each layer, scaled so that the second moment stays about as it is."""
    rng = torch.Generator().manual_seed(stream(seed, channels))
    found = []
    for _ in range(layers):
        fan = channels * 3**space
        normal = torch.randn(max(fan, width), min(fan, width), generator=rng, dtype=torch.float64)
        columns, triangle = torch.linalg.qr(normal)
        columns = columns * triangle.diagonal().sign()  # else the law would depend on how qr chooses signs
        rows = columns.mT if fan >= width else columns
        gain = (2 / (1 + 0.1**2) * max(1.0, width / fan)) ** 0.5
        found.append((rows * gain).float().view(width, channels, *(3,) * space))
        channels = width
    return tuple(found)
