r"""Augmentation that both players live with: it is done to real and fake alike, and gradients pass through it.

    augment = DiffAugment()
    discriminator(augment(real, noise)), discriminator(augment(fake, noise))

A generator never sees it: what is changed in the same ways on both sides is told apart only by what it was before, as long
as the changes can be undone in distribution. A little data goes further so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aigc._checks import fail, fail_type, integer, number
from aigc.gan._logits import flat
from aigc.training import Noise, processes

__all__ = ["Adaptive", "DiffAugment", "adapted"]


@dataclass(frozen=True)
class DiffAugment:
    r"""Changes images or signals at random, differentiably (Zhao et al., arXiv:2006.10738).

    Each example is changed by its own row of the noise and by no other; each of the policy's parts is done to an example
    with probability p, in the order given. For images `(b, c, h, w)` in [0, 1]:

    - `"color"`: adds $b \sim U(-\tfrac14, \tfrac14)$; moves each pixel's channels from their mean by a factor
      $s \sim U(0, 2)$; moves all values from the image's mean by a factor $k \sim U(\tfrac12, \tfrac32)$. Values may leave
      [0, 1] and are not cut. The paper has the same on images in [-1, 1].
    - `"translation"`: moves by whole pixels, up to an eighth of each side, rounded; what comes in is 0.
    - `"cutout"`: sets a rectangle of half of each side to 0; its middle is anywhere, so that parts of it may lie outside.

    For signals `(b, c, n)` nothing is added to a value: `"color"` multiplies by $k \sim U(\tfrac12, \tfrac32)$,
    `"translation"` moves by up to an eighth of the length, and `"cutout"` silences a quarter of it, an image's share.

    Args:
        policy: Some of `"color"`, `"translation"`, `"cutout"`, each once. Empty changes nothing.
        p: The probability of each, in [0, 1], unless a call says otherwise.

    Example:
        >>> noise = Noise(0, 0, 0, rows=slice(0, 4), batch=4)
        >>> x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> torch.equal(DiffAugment()(x, noise), x), torch.equal(DiffAugment(p=0.0)(x, noise), x)
        (False, True)
    """

    policy: tuple[str, ...] = ("color", "translation", "cutout")
    p: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.policy, str) or not isinstance(self.policy, Sequence):
            cure = f"Write ({self.policy!r},)." if isinstance(self.policy, str) else "An empty one changes nothing."
            raise fail_type("policy", "a tuple of names", self.policy, cure)
        unknown = [name for name in self.policy if not isinstance(name, str) or name not in _PARTS]
        if unknown or len(set(self.policy)) < len(self.policy):
            raise fail("policy", f"of {', '.join(map(repr, _PARTS))}, each at most once", self.policy)
        object.__setattr__(self, "policy", tuple(self.policy))
        number("p", self.p, low=0, high=1)

    def __call__(self, x: Tensor, noise: Noise, *, p: float | Tensor | None = None) -> Tensor:
        """Changes examples.

        Args:
            x: Images `(b, c, h, w)` or signals `(b, c, n)`, of floats.
            noise: Of these b rows. As many numbers are drawn whatever p is.
            p: In place of the probability given before, such as `Adaptive.p`.

        Returns:
            Of the same shape and type; with p = 0, the same values.
        """
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise fail_type("x", "a tensor of floats", getattr(x, "dtype", x))
        if x.ndim not in (3, 4) or not x.numel():
            raise fail("x", "images (b, c, h, w) or signals (b, c, n)", tuple(x.shape))
        p = self.p if p is None else p if isinstance(p, Tensor) else number("p", p, low=0, high=1)
        for name in self.policy:
            chosen = noise.uniform() < p
            if len(chosen) != len(x):
                raise fail("noise", f"of {len(x)} rows, as x", f"{len(chosen)} rows")
            changed = _PARTS[name](x, noise)
            x = torch.where(_over(chosen, x), changed, x)
        return x


def adapted(p: Tensor, signs: Tensor, images: Tensor, *, target: float, speed: float) -> Tensor:
    r"""One step of adaptive augmentation (ADA; Karras et al., arXiv:2006.06676).

    $$ p' = \mathrm{clip}\!\left(p + \mathrm{sign}(r - r^*)\, \frac{n}{s},\, 0,\, 1\right), \qquad
       r = \mathbb{E}\, \mathrm{sign}\, D(x) $$

    r is 0 where the discriminator cannot tell, and 1 where it knows all real examples by heart.

    Args:
        p: The probability so far.
        signs: r, the mean sign of the logits of real examples.
        images: n, how many examples were seen since the last step.
        target: $r^*$.
        speed: s, the examples in which p goes from 0 to 1.

    Example:
        >>> adapted(torch.tensor(0.5), torch.tensor(0.9), torch.tensor(64), target=0.6, speed=640)
        tensor(0.6000)
    """
    return (p + (signs - target).sign() * images / speed).clamp(0, 1)


class Adaptive(nn.Module):
    """The probability of augmentation, led by how surely the discriminator knows real examples: see `adapted`.

    Its state is buffers, so that checkpoints have it: keep it among the modules that are saved.

    Args:
        target: The mean sign that is aimed at, in (-1, 1).
        speed: The examples in which p goes from 0 to 1.
        every: How many batches make one step of p.

    Attributes:
        p: The probability, a scalar tensor, for `DiffAugment`'s call; 0 at first.

    Example:
        >>> control = Adaptive(speed=640, every=1)
        >>> control.update(torch.ones(64))
        >>> control.p
        tensor(0.1000)
    """

    p: Tensor
    signs: Tensor
    images: Tensor
    rows: Tensor
    batches: Tensor

    def __init__(self, target: float = 0.6, *, speed: float = 500_000, every: int = 4) -> None:
        super().__init__()
        if not -1 < number("target", target) < 1:
            raise fail("target", "in (-1, 1)", target)
        self.target, self.speed, self.every = target, number("speed", speed, low=1), integer("every", every, low=1)
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(()))  # of the examples since the last step, their sum
        self.register_buffer("images", torch.zeros((), dtype=torch.int64))
        self.register_buffer("rows", torch.zeros((), dtype=torch.int64))  # of a batch whose micro-batches are still to come
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, real_logits: Tensor, fake_logits: Tensor | None = None, *, noise: Noise | None = None) -> None:
        """Takes real examples in, and moves p at the end of every `every`-th batch. Call it once for what is read at once.

        Args:
            real_logits: `(b,)` or `(b, 1)`, of the examples of this process. What is read at once, as by
                `penalties.Packed`, counts as one.
            fake_logits: As many, to be given where the loss is relativistic: such logits have no zero, so that signs of
                differences are looked at.
            noise: Of these examples, which says what part of a batch they are; without it they are the whole batch.
        """
        logits = flat("real_logits", real_logits)
        if fake_logits is not None:
            fake = flat("fake_logits", fake_logits)
            if len(fake) != len(logits):
                raise fail("fake_logits", f"{len(logits)} logits, as real_logits", len(fake))
            logits = logits - fake
        here, batch = (1, processes().world) if noise is None else (noise.rows.stop - noise.rows.start, noise.batch)
        seen = [logits.sign().sum(), logits.new_tensor(len(logits)), logits.new_tensor(here)]
        processes().total(seen)
        for count, more in zip((self.signs, self.images, self.rows), seen, strict=True):
            count.add_(more.to(count.dtype))
        over = self.rows >= batch  # on the device: nobody waits for it
        self.batches.add_(over)
        due = over & (self.batches % self.every == 0)
        moved = adapted(self.p, self.signs / self.images, self.images, target=self.target, speed=self.speed)
        self.p.copy_(torch.where(due, moved, self.p))
        self.rows.mul_(~over)
        self.signs.mul_(~due)
        self.images.mul_(~due)

    def extra_repr(self) -> str:
        """Its parameters."""
        return f"target={self.target}, speed={self.speed:g}, every={self.every}"


def _over(values: Tensor, x: Tensor) -> Tensor:
    """One value an example, to be broadcast over it."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def _color(x: Tensor, noise: Noise) -> Tensor:
    added, factor, contrast = (_over(value, x) for value in noise.uniform(3).to(x).unbind(1))
    if x.ndim == 3:
        return x * (contrast + 0.5)
    x = x + (added - 0.5) / 2
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (2 * factor)
    middle = x.mean((1, 2, 3), keepdim=True)
    return middle + (x - middle) * (contrast + 0.5)


def _translation(x: Tensor, noise: Noise) -> Tensor:
    for axis in range(2, x.ndim):
        side = x.shape[axis]
        reach = (side + 4) // 8  # an eighth, rounded
        come_from = torch.arange(side, device=x.device) - (noise.integers(2 * reach + 1, 1) - reach)  # (b, side)
        shape = [len(x), *(side if other == axis else 1 for other in range(1, x.ndim))]
        there = ((come_from >= 0) & (come_from < side)).reshape(shape)
        x = torch.take_along_dim(x, come_from.clamp(0, side - 1).reshape(shape), axis).masked_fill(~there, 0)
    return x


def _cutout(x: Tensor, noise: Noise) -> Tensor:
    inside = torch.ones(1, dtype=torch.bool, device=x.device)
    for axis in range(2, x.ndim):
        side = x.shape[axis]
        size = (side + 1) // 2 if x.ndim == 4 else (side + 2) // 4
        # (b, 1): the middle is at any pixel, or, of an even size, at any edge between two.
        first = noise.integers(side + 1 - size % 2, 1) - size // 2
        place = torch.arange(side, device=x.device)
        cut = (place >= first) & (place < first + size)
        inside = inside & cut.reshape([len(x), *(side if other == axis else 1 for other in range(1, x.ndim))])
    return x.masked_fill(inside, 0)


_PARTS: dict[str, Callable[[Tensor, Noise], Tensor]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
