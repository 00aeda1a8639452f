"""`GAN`: a generator and a discriminator with a loss and penalties."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

import torch
from torch import Tensor, nn

from aigc import nets, random
from aigc._checks import fail, fail_type, integer, known
from aigc._models.conditions import check_kind, one_each, repeated
from aigc._models.showing import parameters
from aigc.gan import drawing, files, learning, losses, projection
from aigc.gan.augment import Adaptive, DiffAugment
from aigc.gan.health import Health, look_at
from aigc.gan.learning import FitOptions
from aigc.gan.losses import Objective
from aigc.gan.penalties import Penalty
from aigc.gan.projection import Projection
from aigc.nets import Condition, GANKind, paths
from aigc.nets._shapes import check_sequence
from aigc.nets.conditions import check_condition
from aigc.training import History, Noise

__all__ = ["GAN"]


class Parts(TypedDict, total=False):
    """What a GAN may be built of."""

    kind: GANKind
    loss: Objective | None
    penalties: Sequence[Penalty] | None
    augment: DiffAugment | None
    adaptive: Adaptive | None
    condition: Condition | None
    auxiliary: bool
    width: int | None
    seed: int


class GAN(nn.Module):
    r"""A generative adversarial network (Goodfellow et al., arXiv:1406.2661).

    A generator G writes data from normal latents z, and a discriminator D tells them from real data x; each learns from the
    other. The default is the relativistic loss with two gradient penalties (Huang et al., arXiv:2501.05441),

    $$ L_D = \mathbb{E}\, \log(1 + e^{D(G(z)) - D(x)}) + \tfrac{\gamma}{2} \mathbb{E} \|\nabla D(x)\|^2
           + \tfrac{\gamma}{2} \mathbb{E} \|\nabla D(G(z))\|^2, \qquad
       L_G = \mathbb{E}\, \log(1 + e^{D(x) - D(G(z))}), $$

    which has no other optimum than the data's distribution, and converges near it.

    Args:
        generator: A module from latents `(batch, latent)` to data `(batch, *data)`.
        discriminator: A module from data to logits, `(batch,)` or `(batch, 1)`; larger is more real.
        latent: Numbers of a latent.
        loss: What both players minimise; `losses.Relativistic()` by default.
        penalties: What is added to the discriminator's loss. None takes R1 and R2 with a gamma by shape and batch size when
            training begins (`penalties.default_gamma`); an empty list is none.
        augment: Changes real and fake examples alike before the discriminator sees them, such as `DiffAugment()`.
        adaptive: Leads the probability of `augment`.
        shape: Of one example; learned from the first data, if it is left out.

    Attributes:
        average: The average of the generator's weights: samples are drawn with it.

    Raises:
        ParameterError: If an argument is out of range, or two contradict each other.

    Example:
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = torch.randn(256, 2, generator=rng) * torch.tensor([1.0, 0.2])
        >>> players = nets.MLPGenerator(2, (2,), hidden=(16,)), nets.MLPDiscriminator((2,), hidden=(16,))
        >>> gan = GAN(*players, latent=2)
        >>> gan.fit(x, steps=30, seed=0, progress=False).done
        30
        >>> gan.sample(5, seed=0).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        latent: int,
        loss: Objective | None = None,
        penalties: Sequence[Penalty] | None = None,
        augment: DiffAugment | None = None,
        adaptive: Adaptive | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        for name, module in (("generator", generator), ("discriminator", discriminator)):
            if not isinstance(module, nn.Module):
                raise fail_type(name, "an nn.Module", module)
        _check_parts(loss, penalties, augment, adaptive)
        self.latent = integer("latent", latent, low=1)
        self.generator, self.discriminator = generator, discriminator
        self.average = drawing.copied(generator)
        self.loss: Objective = losses.Relativistic() if loss is None else loss
        self.penalties = None if penalties is None else tuple(penalties)
        self.memories = nn.ModuleList(p for p in self.penalties or () if isinstance(p, nn.Module))
        self.augment, self.adaptive = augment, adaptive
        self.shape = None if shape is None else check_sequence("shape", shape, least=0)
        self.images = False  # whether data are images in [0, 1]: `for_images` sets it
        self.eval()  # training mode is for `fit`

    @classmethod
    def for_images(cls, shape: Sequence[int], *, latent: int = 128, **parts: Unpack[Parts]) -> Self:
        """Builds a GAN for images in [0, 1].

        Args:
            shape: `(channels, height, width)`.
            latent: Numbers of a latent.
            **parts: `kind`, `condition`, `auxiliary`, `width` and `seed` of the nets, as for `nets.gan_for_images`; `loss`,
                `penalties`, `augment` and `adaptive` as for `GAN`.

        Example:
            >>> GAN.for_images((1, 28, 28), latent=64, kind="dcgan")
            GAN((1, 28, 28), latent=64, Relativistic, DCGANGenerator, DCGANDiscriminator, 0.5M parameters)
        """
        made = cls._built(nets.gan_for_images, shape, latent, parts)
        made.images = True
        return made

    @classmethod
    def for_sounds(cls, shape: Sequence[int], *, latent: int = 128, **parts: Unpack[Parts]) -> Self:
        """Builds a GAN for sounds, `(channels, length)`; the arguments are those of `for_images`.

        Example:
            >>> GAN.for_sounds((1, 1024), latent=16, kind="dcgan").shape
            (1, 1024)
        """
        return cls._built(nets.gan_for_sounds, shape, latent, parts)

    @classmethod
    def _built(cls, make: Any, shape: Sequence[int], latent: int, parts: "Parts") -> Self:
        known(parts, Parts.__annotations__)
        own: dict[str, Any] = {name: parts.get(name) for name in ("loss", "penalties", "augment", "adaptive")}
        how = {name: parts[name] for name in ("kind", "condition", "auxiliary", "width", "seed") if name in parts}
        generator, discriminator = make(shape, latent, **how)
        return cls(generator, discriminator, latent=latent, shape=shape, **own)

    def fit(self, data: Any, **options: Unpack[FitOptions]) -> History:
        """Trains on data: see `aigc.gan.learning.fit`, whose arguments these are.

        Returns:
            The losses of both players, and what they are made of: `discriminator/real` and `discriminator/fake`, mean
            logits; `discriminator/adversarial` and `discriminator/penalty`, which add up to the loss; `generator/spread`,
            how much samples differ from each other as a share of how much data do, at every tenth step.
        """
        return learning.fit(self, data, **options)

    def train(self, mode: bool = True) -> Self:
        """Puts the players into training mode, or out of it; the average stays in evaluation mode, as it is not trained."""
        super().train(mode)
        self.average.eval()
        return self

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        seed: random.Seeds = None,
        condition: Tensor | None = None,
        truncation: float | None = None,
    ) -> Tensor:
        r"""Draws data.

        Args:
            n: How many.
            seed: An int, from which sample i takes the stream (seed, i); or one int per sample; or None for fresh entropy,
                which nobody draws again: `aigc.random.fresh_seed()` is an int to keep. A sample depends on its own seed
                alone, whoever else is drawn, to the bit on a CPU.
            condition: What the generator is told, one for each sample.
            truncation: Less variety for fewer misfits, in (0, 1]. Of a style generator, how far styles are from their mean;
                of others, latents are normal numbers cut at twice this, each drawn anew from its own noise. None is off.

        Returns:
            `(n, *data)`.
        """
        styled = drawing.has_styles(self.average)
        z = drawing.latents(self.latent, random.streams(seed, integer("n", n, low=1)), None if styled else truncation)
        return self.generate(z, condition=condition, truncation=truncation if styled else None)

    @torch.no_grad()
    def generate(
        self, latents: Tensor, *, condition: Tensor | None = None, truncation: float | None = None, space: str = "z"
    ) -> Tensor:
        """What latents become.

        Args:
            latents: `(n, latent)`; or styles `(n, styles)`, where space is `"w"`.
            condition: What the generator is told, one for each.
            truncation: As for `sample`, of a style generator.
            space: `"z"`, or `"w"` for the styles of a style generator.

        Returns:
            `(n, *data)`.
        """
        latents = drawing.check_latents(self, "latents", latents, space)
        if latents.ndim != 2:
            raise fail("latents", f"of shape (n, {self.latent})", tuple(latents.shape), "Call latents[None] on one.")
        told = self.told(condition, len(latents))
        drawn = drawing.generate(self.average, self._here(latents), told, truncation=truncation, space=space)
        return self.outward(drawn)

    @torch.no_grad()
    def interpolate(
        self,
        a: int | Tensor,
        b: int | Tensor,
        *,
        steps: int = 8,
        spherical: bool | None = None,
        condition: Tensor | None = None,
        truncation: float | None = None,
        space: str = "z",
    ) -> Tensor:
        """Goes from sample to sample through the space of latents.

        Args:
            a: The seed of a sample, as in `sample(1, seed=[a])`; or latents `(latent,)` or `(batch, latent)`.
            b: Likewise.
            steps: Points, ends included.
            spherical: Along a great circle instead of a line; by default in `"z"`, whose latents lie near a sphere.
            condition: What the generator is told, one for each of a batch.
            truncation: As for `generate`.
            space: As for `generate`; seeds are mapped to styles in `"w"`.

        Returns:
            `(steps, *data)`, or `(steps, batch, *data)`.
        """
        ends = [drawing.end(self, name, x, space, condition) for name, x in (("a", a), ("b", b))]
        way = paths.between(*ends, steps=steps, spherical=space == "z" if spherical is None else spherical)
        one = way.ndim == 2
        told = repeated(condition, len(way))
        found = self.generate(way if one else way.flatten(0, 1), condition=told, truncation=truncation, space=space)
        return found if one else found.view(*way.shape[:2], *found.shape[1:])

    @torch.no_grad()
    def walk(
        self,
        frames: int = 96,
        *,
        stops: int = 6,
        seed: int = 0,
        condition: Tensor | None = None,
        truncation: float | None = None,
    ) -> Tensor:
        """A closed walk through the space of latents, `(frames, *data)`: for `aigc.data.write_gif`."""
        z = paths.walk(self.latent, frames=frames, stops=stops, seed=seed)
        return self.generate(z, condition=one_each(condition, len(z)), truncation=truncation)

    def project(self, x: Tensor, **options: Any) -> Projection:
        """Finds the latents of data, such as a picture of your own: see `aigc.gan.projection.project`."""
        return projection.project(self, x, **options)

    def health(self, data: Tensor, *, held_out: Tensor | None = None, seed: int = 0, **told: Tensor) -> Health:
        """How training stands: see `aigc.gan.health.look_at`."""
        return look_at(self, data, held_out=held_out, seed=seed, **told)

    def told(self, condition: Tensor | None, rows: int) -> Tensor | None:
        """A condition where the weights are, of their type; checked before, as an accelerator names no wrong class."""
        if condition is None:
            return None
        if not isinstance(condition, Tensor) and not hasattr(self.generator, "condition"):
            return condition  # whatever nets of the caller's own are told
        check_kind(condition)
        if hasattr(self.generator, "condition"):
            check_condition(self.generator.condition, condition, rows)  # type: ignore[arg-type]  # of our nets
        return self._here(condition) if condition.is_floating_point() else condition.to(self.device)

    def augmented(self, x: Tensor, noise: Noise) -> Tensor:
        """Examples as the discriminator sees them."""
        if self.augment is None:
            return x
        return self.augment(x, noise) if self.adaptive is None else self.augment(x, noise, p=self.adaptive.p)

    def inward(self, x: Tensor) -> Tensor:
        """Data in the range of the nets: images move from [0, 1] to [-1, 1]."""
        return (2 * x).sub_(1) if self.images else x

    def outward(self, x: Tensor) -> Tensor:
        """What the generator wrote in the range of data."""
        return ((x + 1) / 2).clamp(0, 1) if self.images else x

    @property
    def auxiliary(self) -> bool:
        """Whether the discriminator tells classes."""
        config = getattr(self.discriminator, "config", None)
        return isinstance(config, dict) and bool(config.get("auxiliary"))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def trained(self) -> dict[str, nn.Module]:
        """What a checkpoint of a run holds, by name; the average is kept beside."""
        found: dict[str, nn.Module] = {"generator": self.generator, "discriminator": self.discriminator}
        found |= {"memories": self.memories} if len(self.memories) else {}
        return found if self.adaptive is None else {**found, "adaptive": self.adaptive}

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes configuration, weights and a manifest of checksums to a folder, all or nothing.

        Nets of `aigc.nets` are rebuilt from the configuration; your own are given to `from_pretrained` again, and so are
        losses and penalties of your own.
        """
        files.save(self, folder)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, generator: nn.Module | None = None, discriminator: nn.Module | None = None, **own: Any
    ) -> Self:
        """Reads what `save_pretrained` wrote.

        Args:
            folder: Where.
            generator: Of the same build as the one that was saved, if that was not of `aigc.nets`.
            discriminator: Likewise.
            **own: `loss`, `penalties` or `augment`, where these are not of `aigc`.

        Raises:
            ModelNotFoundError: If there is no such folder.
            ModelFileError: If a file is damaged, or of another model.
        """
        known(own, ("loss", "penalties", "augment"))
        return files.load(cls, folder, {"generator": generator, "discriminator": discriminator, **own})

    def __repr__(self) -> str:
        size = parameters((self.generator, self.discriminator))
        shown = "" if self.shape is None else f"{self.shape}, "
        kinds = ", ".join(type(part).__name__ for part in (self.loss, self.generator, self.discriminator))
        return f"{type(self).__name__}({shown}latent={self.latent}, {kinds}, {size})"

    def _here(self, x: Tensor) -> Tensor:
        own = next(self.parameters())
        return x.to(own.device, own.dtype)


def _check_parts(loss: Any, penalties: Any, augment: Any, adaptive: Any) -> None:
    """Checks what a game is made of besides its players: that they are objects of the kinds that training calls."""
    if loss is not None and (
        isinstance(loss, type) or not all(hasattr(loss, name) for name in ("discriminator", "generator"))
    ):
        raise fail_type("loss", "an objective, such as losses.Hinge()", loss)
    if penalties is not None and (isinstance(penalties, str) or not isinstance(penalties, Sequence)):
        raise fail_type(
            "penalties", "a list of penalties, or None for the default ones", penalties, "Say [penalties.R1(1.0)]."
        )
    for i, penalty in enumerate(penalties or ()):
        if isinstance(penalty, type) or not callable(getattr(penalty, "measure", None)):
            raise fail_type(f"penalties[{i}]", "a penalty, such as penalties.R1(1.0)", penalty)
    if augment is not None and (isinstance(augment, type) or not callable(augment)):
        raise fail_type("augment", "a function of examples and noise, such as DiffAugment()", augment)
    if adaptive is not None and not isinstance(adaptive, Adaptive):
        raise fail_type("adaptive", "an Adaptive, such as Adaptive()", adaptive)
    if adaptive is not None and augment is None:
        raise fail("adaptive", "given with augment, whose probability it leads", adaptive, "Say augment=DiffAugment().")
