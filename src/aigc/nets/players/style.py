r"""A light style-based generator (Karras et al., arXiv:1812.04948 and 1912.04958).

A mapping network turns a latent z, scaled to unit length a dimension, into a style w; the synthesis network writes from a
constant, and w scales the channels that go into each convolution. Demodulation divides what comes out by the length of the
scaled weights, so that unit variance in gives unit variance out, whatever the style.
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aigc import random
from aigc._checks import fail_type, integer, number
from aigc.nets._shapes import check_input, check_shape, scales
from aigc.nets._weights import LEFT, fill
from aigc.nets.conditions import Classes, Condition, Shift, Vector, check_condition, condition_from, condition_json
from aigc.nets.players._parts import channels, sides
from aigc.nets.players._resampling import finer

__all__ = ["StyleGenerator"]

_KEPT = 0.998  # of the mean style, at each forward pass in training mode
_ROWS = 256  # latents of the first mean style
_TINY = 1e-8
_PACE = 0.01  # of the mapping network against the rest, as in the papers: else styles run away from what reads them


class StyleGenerator(nn.Module):
    r"""Writes images or sound from styles; its output is not squashed.

    Truncation moves a style toward the mean one, $w \mapsto \bar w + \psi (w - \bar w)$: less variety for fewer misfits.
    The mean is that of the class, where classes are the condition. Noise is the same for every example, drawn once from
    the seed and scaled by what is learned, so that an example depends on its latent alone.

    Args:
        latent: Numbers of a latent.
        shape: `(channels, height, width)` or `(channels, length)`, as for `nets.ConvEncoder`.
        width: Channels at the finest two scales; they double at each coarser one, up to 8 times.
        styles: Numbers of a style.
        depth: Layers of the mapping network, at least 1.
        noise: Whether there is noise at each scale.
        condition: `nets.Classes`, `nets.Vector` or None; it is one more input of the mapping network.
        seed: Of the first weights, and of the noise.

    Attributes:
        config: These arguments as JSON, and the net's name: what `nets.build` takes.
        mean_style: The moving average of styles, `(classes or 1, styles)`: a buffer. `forward` moves it in training mode.

    Example:
        >>> generator = StyleGenerator(64, (3, 32, 32)).eval()
        >>> z = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
        >>> generator(z, truncation=0.7).shape
        torch.Size([5, 3, 32, 32])
        >>> (generator(z) == generator.synthesis(generator.mapping(z))).all()
        tensor(True)
    """

    mean_style: Tensor

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        *,
        width: int = 16,
        styles: int = 64,
        depth: int = 4,
        noise: bool = True,
        condition: Condition | Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(noise, bool):
            raise fail_type("noise", "True or False", noise)
        self.latent, self.shape = integer("latent", latent, low=1), check_shape(shape, places=(1, 2))
        self.condition, self.styles = condition_from(condition), integer("styles", styles, low=1)
        steps = scales(self.shape[1:])
        levels, places = channels(width, steps)[::-1], sides(steps)[::-1]
        with torch.device("meta"):
            self.layers = _Mapping(self.latent, self.styles, integer("depth", depth, low=1), self.condition)
            self.constant = nn.Parameter(torch.empty(levels[0], *places[0]))
            inner = zip([levels[0], *levels], levels, places, strict=False)
            self.scales = nn.ModuleList(_Scale(b, a, place, self.styles, self.shape[0], noise) for b, a, place in inner)
        self.steps = [None, *steps[::-1]]
        fill(self, seed, after=None)
        self._begin(random.stream(seed, 1))
        self.config = {
            "net": "StyleGenerator",
            "latent": self.latent,
            "shape": list(self.shape),
            "width": width,
            "styles": self.styles,
            "depth": depth,
            "noise": noise,
            "condition": condition_json(self.condition),
            "seed": seed,
        }

    def forward(self, z: Tensor, condition: Tensor | None = None, *, truncation: float | None = None) -> Tensor:
        """From `(batch, latent)`, and a condition, to `(batch, *shape)`.

        Args:
            z: Standard normal.
            condition: Of each example.
            truncation: How far styles are from the mean one: 1 where they were, 0 at the mean. None is off.
        """
        w = self.mapping(z, condition)
        if self.training:
            self._follow(w.detach(), condition)
        return self.synthesis(w if truncation is None else self.truncate(w, truncation, condition=condition))

    def mapping(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """From `(batch, latent)`, and a condition, to styles `(batch, styles)`."""
        check_input("z", z, (self.latent,))
        styles: Tensor = self.layers(z, check_condition(self.condition, condition, len(z)))
        return styles

    def truncate(self, w: Tensor, truncation: float, *, condition: Tensor | None = None) -> Tensor:
        """Moves styles toward the mean one of their class."""
        check_input("w", w, (self.styles,))
        share = number("truncation", truncation)
        return torch.lerp(self.mean_style[self._rows(w, condition)].to(w.dtype), w, share)

    def synthesis(self, w: Tensor) -> Tensor:
        """From styles `(batch, styles)` to `(batch, *shape)`."""
        check_input("w", w, (self.styles,))
        x = self.constant.expand(len(w), *self.constant.shape)
        out: Tensor | None = None
        for step, scale in zip(self.steps, self.scales, strict=True):
            x = x if step is None else finer(x, step)
            x, shown = scale(x, w)
            out = shown if out is None or step is None else finer(out, step) + shown
        return cast("Tensor", out)

    @torch.no_grad()
    def _follow(self, w: Tensor, condition: Tensor | None) -> None:
        """Moves the mean of each class that is there toward that of its styles here."""
        here = F.one_hot(self._rows(w, condition), len(self.mean_style)).to(w.dtype)
        counts = here.sum(0)[:, None]
        means = here.t() @ w / counts.clamp(min=1)
        self.mean_style.lerp_(means.to(self.mean_style.dtype), (1 - _KEPT) * (counts > 0).to(self.mean_style.dtype))

    def _rows(self, w: Tensor, condition: Tensor | None) -> Tensor:
        """Where in the mean styles those of a batch are."""
        if isinstance(self.condition, Classes):
            return cast("Tensor", check_condition(self.condition, condition, len(w)))
        return torch.zeros(len(w), dtype=torch.int64, device=w.device)

    @torch.no_grad()
    def _begin(self, seed: int) -> None:
        """What does not begin as other weights: scales of channels at 1, noise and its scale, the mean style."""
        generator = torch.Generator().manual_seed(seed)
        for scale in self.scales:
            cast("_Scale", scale).begin(generator, share=1 / math.sqrt(len(self.scales)))
        self.layers.begin()
        z = torch.randn(_ROWS, self.latent, generator=generator)
        told: list[Tensor | None] = [None]
        if isinstance(self.condition, Classes):
            told = list(torch.arange(self.condition.count)[:, None].expand(-1, _ROWS))
        elif isinstance(self.condition, Vector):
            told = [torch.randn(_ROWS, self.condition.size, generator=generator)]
        self.register_buffer("mean_style", torch.stack([self.layers(z, some).mean(0) for some in told]))


class _Mapping(nn.Module):
    """Linear layers over a latent of unit length a dimension, each with an activation.

    Their parameters are used at a hundredth of what they are, so that a step of Adam moves the layers by a hundredth.
    """

    def __init__(self, latent: int, styles: int, depth: int, condition: Condition | None) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(latent if i == 0 else styles, styles) for i in range(depth))
        self.shift = Shift(condition, styles)

    def begin(self) -> None:
        """Makes good the pace."""
        for linear in self.linear:
            cast("Tensor", linear.weight).mul_(1 / _PACE)

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        x = z * (z.square().mean(1, keepdim=True) + _TINY).rsqrt()
        for i, linear in enumerate(self.linear):
            x = F.linear(x, cast("Tensor", linear.weight) * _PACE, cast("Tensor", linear.bias) * _PACE)
            x = _activate(self.shift(x, condition) if i == 0 else x)
        return x


class _Scale(nn.Module):
    """A modulated convolution with noise, a bias and an activation; and what is shown of its features."""

    noise: Tensor | None

    def __init__(self, before: int, after: int, places: Sequence[int], styles: int, shown: int, noise: bool) -> None:
        super().__init__()
        self.convolution = Modulated(before, after, styles, (3,) * len(places))
        self.bias = nn.Parameter(torch.empty(after, *(1 for _ in places)))
        self.strength = nn.Parameter(torch.empty(())) if noise else None
        self.register_buffer("noise", torch.empty(*places) if noise else None)
        self.show = Modulated(after, shown, styles, (1,) * len(places), demodulate=False)
        self.shown_bias = nn.Parameter(torch.empty(shown, *(1 for _ in places)))

    def begin(self, generator: torch.Generator, *, share: float) -> None:
        """Begins with channels as they are, its share of what all scales show, and noise that is added nowhere."""
        nn.init.zeros_(self.shown_bias)
        self.convolution.begin(1.0)
        self.show.begin(share)
        if self.noise is not None and self.strength is not None:
            nn.init.zeros_(self.strength)
            self.noise.normal_(generator=generator)

    def forward(self, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        x = self.convolution(x, w)
        if self.noise is not None and self.strength is not None:
            x = x + self.noise * self.strength
        x = _activate(x + self.bias)
        return x, self.show(x, w) + self.shown_bias


class Modulated(nn.Module):
    r"""A convolution whose inputs are scaled by a style, example by example.

    $$ y_o = d_o \sum_{i} W_{oi} * (s_i x_i), \qquad d_o = \Big(\sum_{i, k} (s_i W_{oik})^2\Big)^{-1/2} $$

    That is a convolution with weights of each example's own, $d_o s_i W_{oi}$; but scaling what goes in and what comes out
    takes one convolution for all.

    Args:
        inputs: Channels.
        outputs: Channels.
        styles: Numbers of a style.
        kernel: Its places.
        demodulate: Whether there is a $d_o$; else it is 1.

    Example:
        >>> layer = Modulated(3, 4, 2, (3, 3))
        >>> layer(torch.ones(5, 3, 8, 8), torch.ones(5, 2)).shape
        torch.Size([5, 4, 8, 8])
    """

    def __init__(self, inputs: int, outputs: int, styles: int, kernel: tuple[int, ...], *, demodulate: bool = True) -> None:
        super().__init__()
        self.scales = nn.Linear(styles, inputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *kernel))
        self.demodulate = demodulate

    def begin(self, scale: float) -> None:
        """Scales standard normal weights by how many go into one output, and styles to be about 1."""
        self.weight.mul_(scale / math.sqrt(self.weight[0].numel()))
        nn.init.ones_(self.scales.bias)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """From `(batch, inputs, *places)` and `(batch, styles)` to `(batch, outputs, *places)`."""
        s: Tensor = self.scales(w)
        ones = tuple(1 for _ in x.shape[2:])
        convolve = F.conv1d if len(ones) == 1 else F.conv2d
        y: Tensor = convolve(x * s.reshape(*s.shape, *ones), self.weight, padding=self.weight.shape[-1] // 2)
        if not self.demodulate:
            return y
        d: Tensor = (s.square() @ self.weight.flatten(2).square().sum(2).t() + _TINY).rsqrt()
        return y * d.reshape(*d.shape, *ones)


def _activate(x: Tensor) -> Tensor:
    """A leaky rectifier that keeps the second moment of a standard normal."""
    return F.leaky_relu(x, 0.2) / math.sqrt(LEFT["leaky_relu"])
