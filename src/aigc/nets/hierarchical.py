r"""A hierarchy of latents: a net that walks from coarse to fine, and draws some of its features at each scale.

The prior is $p(z) = \prod_i p(z_i \mid z_{<i})$ and the posterior $q(z \mid x) = \prod_i q(z_i \mid z_{<i}, x)$, all of
them diagonal Gaussians whose mean and scale come from the features at hand (Sønderby et al., arXiv:1602.02282; Child, "Very
deep VAEs", arXiv:2011.10650). A posterior is told relative to its prior (Vahdat and Kautz, arXiv:2007.03898).

Every z is had from standard normal numbers through the prior, z_i = mean_i + std_i * code_i, one to one; so the codes are
one latent with a standard normal prior, and the decoder takes them as any other does: sampling, interpolation and the like
need nothing new. What a posterior drew is told as codes too.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from aigc._checks import fail, integer
from aigc.nets._blocks import Blocks, Rise, convolution, soften
from aigc.nets._shapes import check_input, check_sequence, check_shape, scales
from aigc.nets._stacks import Descending, ascending, last, widths
from aigc.nets._weights import Activation, activation, fill, quiet
from aigc.nets.conditions import Condition, Shift, check_condition, condition_from, condition_json

__all__ = ["Descent", "HierarchicalDecoder", "HierarchicalEncoder"]

_STEEPEST = 5.0  # log standard deviations lie within this of 0


class Descent(NamedTuple):
    """What a decoder wrote for data that a posterior has seen.

    Attributes:
        parameters: Of the likelihood, `(batch, outputs, *shape)`; one output has no axis of its own.
        codes: What the prior would have had to draw, `(batch, latent)`: the decoder writes the same parameters for them.
        divergences: KL from each layer's posterior to its prior, given what was drawn above, `(batch, layers)`, nats.
        log_ratios: log q(z_i) - log p(z_i) of what was drawn, `(batch, layers)`, nats: its mean is the divergence.

    Example:
        >>> encoder = HierarchicalEncoder((1, 8, 8), 1, width=4)
        >>> decoder = HierarchicalDecoder((2,), (1, 8, 8), width=4)
        >>> [tuple(part.shape) for part in decoder.descend(encoder(torch.zeros(3, 1, 8, 8)), torch.zeros(3, 32))]
        [(3, 1, 8, 8), (3, 32), (3, 1), (3, 1)]
    """

    parameters: Tensor
    codes: Tensor
    divergences: Tensor
    log_ratios: Tensor


class HierarchicalEncoder(nn.Module):
    """Reads images or sound into features at the coarsest scales: a residual net from fine to coarse.

    Args:
        shape: `(channels, height, width)` or `(channels, length)`.
        layers: How many scales have features: as many as the decoder has layers.
        width: As for `ConvEncoder`; the same as the decoder's.
        blocks: Residual blocks at each scale but the finest.
        finest: Residual blocks at the finest scale, which take the most time; 0 leaves this scale without features.
        activation: `"relu"`, `"silu"`, `"gelu"`, `"tanh"` or `"leaky_relu"`.
        condition: `nets.Classes`, `nets.Vector` or None.
        seed: Of the first weights.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> [tuple(x.shape[1:]) for x in HierarchicalEncoder((1, 28, 28), 3, width=8)(torch.zeros(5, 1, 28, 28))]
        [(32, 4, 4), (16, 7, 7), (8, 14, 14)]
    """

    def __init__(
        self,
        shape: Sequence[int],
        layers: int,
        *,
        width: int = 32,
        blocks: int = 1,
        finest: int = 0,
        activation: Activation = "silu",
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape = check_shape(shape, places=(1, 2))
        steps = scales(self.shape[1:])
        counts = integer("blocks", blocks, low=0), integer("finest", finest, low=0)
        channels = widths(width, len(steps))
        self.layers = integer("layers", layers, low=1, high=len(ascending(channels, counts)))
        self.condition = condition_from(condition)
        with torch.device("meta"):
            self.body = Descending(self.shape[0], channels, steps, counts, activation, self.condition)
        fill(self, seed, after=activation)
        soften(self, activation)
        self.config = {
            "net": "HierarchicalEncoder",
            "shape": list(self.shape),
            "layers": self.layers,
            "width": width,
            "blocks": blocks,
            "finest": finest,
            "activation": activation,
            "condition": condition_json(self.condition),
            "seed": seed,
        }

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, ...]:
        """From `(batch, *shape)`, and a condition, to features of each layer, the coarsest first."""
        check_input("x", x, self.shape)
        told = check_condition(self.condition, condition, len(x))
        return tuple(self.body(x, told)[: self.layers])


class HierarchicalDecoder(nn.Module):
    """Writes the parameters of a likelihood from codes, layer by layer, from coarse to fine.

    `decoder(codes)` is the way of the prior, where codes are standard normal; `decoder.descend(features, noise)` is that of
    the posterior, for training.

    Args:
        channels: Of the latent of each layer, the coarsest first; layer i lies at the i-th coarsest scale.
        shape: `(channels, height, width)` or `(channels, length)`.
        outputs: Parameters for each number of the data: the likelihood's `size`.
        width: As for `ConvDecoder`; the same as the encoder's.
        blocks: Residual blocks at each scale but the finest.
        finest: Residual blocks at the finest scale, which take the most time; 0 leaves this scale without features.
        activation: `"relu"`, `"silu"`, `"gelu"`, `"tanh"` or `"leaky_relu"`.
        condition: `nets.Classes`, `nets.Vector` or None.
        seed: Of the first weights.

    Attributes:
        latent: Numbers of a code: those of all layers behind each other.
        places: The shape of each layer's latent.
        config: These arguments as JSON, and the net's name: what `nets.build` takes.

    Example:
        >>> encoder = HierarchicalEncoder((1, 28, 28), 2, width=8)
        >>> decoder = HierarchicalDecoder((4, 2), (1, 28, 28), width=8)
        >>> decoder.latent, decoder.places
        (162, ((4, 4, 4), (2, 7, 7)))
        >>> seen = decoder.descend(encoder(torch.zeros(5, 1, 28, 28)), torch.zeros(5, 162))
        >>> seen.parameters.shape, seen.divergences.shape
        (torch.Size([5, 1, 28, 28]), torch.Size([5, 2]))
        >>> torch.allclose(decoder(seen.codes), seen.parameters, atol=1e-5)
        True
    """

    def __init__(
        self,
        channels: Sequence[int],
        shape: Sequence[int],
        *,
        outputs: int = 1,
        width: int = 32,
        blocks: int = 1,
        finest: int = 0,
        activation: Activation = "silu",
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.channels = check_shape(shape, places=(1, 2)), check_sequence("channels", channels)
        self.outputs, axes = integer("outputs", outputs, low=1), len(self.shape) - 1
        self.condition = condition_from(condition)
        counts = integer("blocks", blocks, low=0), integer("finest", finest, low=0)
        steps = scales(self.shape[1:])[::-1]
        levels = ascending(widths(width, len(steps)), counts)
        if len(self.channels) > len(levels):
            raise fail("channels", f"of at most {len(levels)} layers, one a scale with blocks", self.channels)
        sides = [steps[0].coarse, *(step.fine for step in steps)]
        self.places = tuple((count, *side) for count, side in zip(self.channels, sides, strict=False))
        self.sizes = [math.prod(place) for place in self.places]
        self.latent = sum(self.sizes)
        with torch.device("meta"):
            self.start = nn.Parameter(torch.empty(levels[0][0], *sides[0]))
            ups = zip(levels, levels[1:], steps, strict=False)
            self.rise = nn.ModuleList(Rise(b, a, step, activation, self.condition) for (b, _), (a, _), step in ups)
            drawn = zip(self.channels, levels, strict=False)
            self.layers = nn.ModuleList(_Layer(count, w, axes, activation, self.condition) for count, (w, _) in drawn)
            self.blocks = nn.ModuleList(Blocks(count, w, axes, activation, self.condition) for w, count in levels)
            self.head = last(width, self.outputs * self.shape[0], steps[-1], counts)
        fill(self, seed, after=activation)
        soften(self, activation)
        for layer in self.layers:
            cast("_Layer", layer).soften(len(self.channels))
        quiet(self.head, 0.1)
        self.config = {
            "net": "HierarchicalDecoder",
            "channels": list(self.channels),
            "shape": list(self.shape),
            "outputs": self.outputs,
            "width": width,
            "blocks": blocks,
            "finest": finest,
            "activation": activation,
            "condition": condition_json(self.condition),
            "seed": seed,
        }

    def forward(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, latent)`, standard normal, and a condition, to `(batch, outputs, *shape)`."""
        check_input("codes", codes, (self.latent,))
        return self._walk(None, codes, condition).parameters

    def descend(self, features: Sequence[Tensor], noise: Tensor, condition: Tensor | None = None) -> Descent:
        """Draws from the posterior of each layer, and writes the parameters.

        Args:
            features: What the encoder read from the data.
            noise: Standard normal, `(batch, latent)`.
            condition: As it was given to the encoder.

        Returns:
            The parameters, the codes, and how far each posterior is from its prior.
        """
        check_input("noise", noise, (self.latent,))
        if len(features) != len(self.channels):
            raise fail("features", f"of {len(self.channels)} layers", len(features), "Build both nets for as many.")
        return self._walk(features, noise, condition)

    def _walk(self, features: Sequence[Tensor] | None, noise: Tensor, condition: Tensor | None) -> Descent:
        told = check_condition(self.condition, condition, len(noise))
        parts = torch.split(noise, self.sizes, 1)
        x = self.start.expand(len(noise), *self.start.shape)
        draws: list[_Draw] = []
        for i, blocks in enumerate(self.blocks):
            x = self.rise[i - 1](x, told) if i else x
            if i < len(self.layers):
                part = parts[i].reshape(len(noise), *self.places[i])
                x, draw = self.layers[i](x, None if features is None else features[i], part, told)
                draws.append(draw)
            x = blocks(x, told)
        out = self.head(x).reshape(len(noise), *((self.outputs,) if self.outputs > 1 else ()), *self.shape)
        codes = torch.cat([draw.code.flatten(1) for draw in draws], 1)
        divergences = torch.stack([draw.divergence.flatten(1).sum(1) for draw in draws], 1)
        return Descent(out, codes, divergences, torch.stack([draw.log_ratio.flatten(1).sum(1) for draw in draws], 1))


class _Draw(NamedTuple):
    """What a layer drew; all of the shape of its latent."""

    code: Tensor
    divergence: Tensor
    log_ratio: Tensor


class _Layer(nn.Module):
    """A stochastic layer: features to features, by way of a latent that it draws."""

    def __init__(self, count: int, width: int, axes: int, name: Activation, condition: Condition | None) -> None:
        super().__init__()
        self.count, self.width = count, width
        self.prior = _Reader(width, 2 * count + width, axes, name, condition)
        self.posterior = _Reader(2 * width, 2 * count, axes, name, condition)
        made = nn.Conv1d if axes == 1 else nn.Conv2d
        self.inlet = made(count, width, 1)

    def soften(self, layers: int) -> None:
        """Begins near standard normals, with what it adds to the features small."""
        quiet(self.prior.second, 0.1)
        quiet(self.posterior.second, 0.03)
        quiet(self.inlet, 1 / math.sqrt(layers))

    def forward(self, x: Tensor, features: Tensor | None, noise: Tensor, condition: Tensor | None) -> tuple[Tensor, _Draw]:
        read = self.prior(x, condition)
        mean, scale, extra = torch.split(read, [self.count, self.count, self.width], 1)
        log_std = _bounded(scale)
        if features is None:
            nothing = torch.zeros_like(noise)
            code, draw = noise, _Draw(noise, nothing, nothing)
        else:
            apart, by = self.posterior(torch.cat([x, features], 1), condition).chunk(2, 1)
            other = _bounded(scale + by)
            # In units of the prior: the posterior is normal(apart, ratio), and the prior standard.
            apart, ratio = apart / log_std.exp(), (other - log_std).exp()
            code = apart + ratio * noise
            divergence = (apart.square() + ratio.square() - 1) / 2 + log_std - other
            draw = _Draw(code, divergence, (code.square() - noise.square()) / 2 + log_std - other)
        return x + extra + self.inlet(mean + log_std.exp() * code), draw


class _Reader(nn.Module):
    """Two convolutions that read something from features."""

    def __init__(self, inputs: int, outputs: int, axes: int, name: Activation, condition: Condition | None) -> None:
        super().__init__()
        self.first, self.second = convolution(inputs, inputs // 2, axes), convolution(inputs // 2, outputs, axes)
        self.shift, self.activation = Shift(condition, inputs // 2), activation(name)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        inner = self.shift(self.first(self.activation(x)), condition)
        return cast("Tensor", self.second(self.activation(inner)))


def _bounded(x: Tensor) -> Tensor:
    """About x where it is small, and never so large that its exponential is lost."""
    return _STEEPEST * torch.tanh(x / _STEEPEST)
