"""A small classifier of images, trained in a minute, whose last layer but one gives features, and whose answers labels."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from aigc import checkpoint
from aigc._checks import fail, fail_type, integer, number
from aigc.errors import ModelFileError
from aigc.metrics.features.contract import Features, digest
from aigc.random import check_seed, stream

__all__ = ["Classifier"]

_DEEPEST = 5


class Classifier(nn.Module):
    """A convolutional classifier of images: an extractor of features, and a judge of what is generated.

    Stages of a convolution and batch normalisation halve the resolution until it is below 8; a linear layer makes features
    of `dim` numbers of what is left, another the logits.

    Args:
        shape: `(channels, height, width)` of an image.
        classes: At least 2.
        dim: Numbers of a feature vector.
        width: Channels of the first stage; each further stage has twice as many.
        seed: Of the first weights; no other generator is read or moved.

    Example:
        >>> images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> labels = (images.mean((1, 2, 3)) > 0.5).long()
        >>> judge = Classifier.fit(images, labels, epochs=1, seed=0)
        >>> judge(images).shape, judge.probabilities(images).values.shape, judge.predict(images).shape
        (torch.Size([40, 128]), torch.Size([40, 2]), torch.Size([40]))
    """

    name = "classifier"
    mean: Tensor
    std: Tensor
    size: Tensor

    def __init__(self, shape: Sequence[int], classes: int, *, dim: int = 128, width: int = 32, seed: int = 0) -> None:
        super().__init__()
        if len(shape) != 3:
            raise fail("shape", "(channels, height, width)", tuple(shape))
        channels, height, wide = (integer("shape", side, low=1) for side in shape)
        self.shape, self.classes = (channels, height, wide), integer("classes", classes, low=2)
        self.dim, self.width = integer("dim", dim, low=1), integer("width", width, low=1)
        stages: list[nn.Module] = []
        with torch.device("meta"):
            while not stages or (max(height, wide) >= 8 and len(stages) < _DEEPEST):
                stages.append(_stage(channels, width, 3 if stages else 5))
                channels, height, wide = width, -(-height // 2), -(-wide // 2)
                width *= 2
            places = (min(height, 8), min(wide, 8))
            self.stages = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(places), nn.Flatten())
            self.features = nn.Linear(channels * math.prod(places), self.dim)
            self.head = nn.Linear(self.dim, self.classes)
            for name in ("mean", "std", "size"):  # of the pixels, and of the features
                self.register_buffer(name, torch.ones(()))
        _fill(self, seed)
        self.eval()

    @classmethod
    def fit(
        cls,
        images: Tensor,
        labels: Tensor,
        *,
        epochs: int = 3,
        batch_size: int = 128,
        lr: float = 0.003,
        seed: int = 0,
        classes: int | None = None,
        **sizes: int,
    ) -> Self:
        """Trains a classifier on labelled images, by AdamW whose learning rate falls to 0 by a cosine.

        The same arguments give the same classifier on the same machine. Three epochs of MNIST give more than 99% of its
        test images, in about a minute on one core.

        Args:
            images: Floating, `(n, channels, height, width)`.
            labels: int64, `(n,)`.
            epochs: Passes over the images.
            batch_size: At least 2.
            lr: The highest learning rate.
            seed: Of the first weights and the order of the images.
            classes: How many there are; as the labels say, by default.
            **sizes: `dim` and `width`, as for `Classifier`.
        """
        _check(images, labels)
        labels = labels.to(images.device)
        count = int(labels.max()) + 1 if classes is None else integer("classes", classes, low=int(labels.max()) + 1)
        made = cls(tuple(images.shape[1:]), max(count, 2), seed=seed, **sizes).to(images.device)
        made.mean.copy_(images.mean())
        made.std.copy_(images.std().clamp(min=1e-6))
        size = min(integer("batch_size", batch_size, low=2), len(images))
        made._train(images, labels, integer("epochs", epochs, low=1), size, number("lr", lr, low=0), seed)
        made.eval()
        with torch.no_grad():
            some = torch.split(images[:10_000], 256)
            squares = torch.stack([made._hidden(part).double().square().sum() for part in some]).sum()
        made.size.copy_((squares / (len(images[:10_000]) * made.dim)).sqrt().clamp(min=1e-6))
        return made

    def _train(self, images: Tensor, labels: Tensor, epochs: int, size: int, lr: float, seed: int) -> None:
        steps = len(images) // size  # of an epoch; batch normalisation wants whole batches
        optimizer = torch.optim.AdamW(self.parameters(), lr=lr, weight_decay=0.01)
        self.train()
        for epoch in range(epochs):
            rng = torch.Generator().manual_seed(stream(seed, epoch + 1))
            order = torch.randperm(len(images), generator=rng).to(images.device)
            for step in range(steps):
                done = (epoch * steps + step + 1) / (epochs * steps)
                for group in optimizer.param_groups:
                    group["lr"] = lr * (1 + math.cos(math.pi * done)) / 2 * min(1.0, 20 * done)
                some = order[step * size : (step + 1) * size]
                loss = functional.cross_entropy(self.head(self._hidden(images[some])), labels[some])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    @property
    def version(self) -> str:
        """A digest of the weights: two classifiers' features do not go together."""
        return digest(*self.state_dict().values())

    def forward(self, x: Tensor) -> Tensor:
        """Maps images `(n, channels, height, width)` to features `(n, dim)`: the last layer but one, after its ReLU.

        They are divided by the root of their mean square over the training images, so that distances by one classifier are
        of the size of those by another.
        """
        return self._hidden(x) / self.size

    def _hidden(self, x: Tensor) -> Tensor:
        if x.shape[1:] != self.shape:
            raise fail("x", f"images of shape (n, {', '.join(map(str, self.shape))})", tuple(x.shape))
        x = (x.to(self.mean) - self.mean) / self.std
        found: Tensor = self.features(self.stages(x)).relu()
        return found

    def probabilities(self, images: Tensor, *, batch_size: int = 256) -> Features:
        """The probabilities of the classes, `(n, classes)`: for `inception_score`."""
        return Features(self._logits(images, batch_size).softmax(-1), self.name, self.version)

    def predict(self, images: Tensor, *, batch_size: int = 256) -> Tensor:
        """The likeliest class of each image, int64 `(n,)`."""
        return self._logits(images, batch_size).argmax(-1)

    def stacked(self, images: Tensor, *, batch_size: int = 256) -> Tensor:
        """The labels of stacked images, whose channels are images of one channel each: for `mode_coverage`.

        Args:
            images: `(n, channels, height, width)`.
            batch_size: Channels at once.

        Returns:
            int64 `(n,)`, in [0, classes ** channels): the predictions as digits, that of the first channel leading.
        """
        if images.ndim != 4:
            raise fail("images", "of shape (n, channels, height, width)", tuple(images.shape))
        digits = self.predict(images.flatten(0, 1)[:, None], batch_size=batch_size).view(images.shape[:2])
        found = torch.zeros_like(digits[:, 0])
        for digit in digits.unbind(1):
            found = found * self.classes + digit
        return found

    @torch.no_grad()
    def _logits(self, images: Tensor, batch_size: int) -> Tensor:
        return torch.cat(
            [self.head(self._hidden(part)) for part in torch.split(images, integer("batch_size", batch_size, low=1))]
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes it to a folder: JSON and safetensors."""
        config = {"model": "Classifier", "shape": list(self.shape), **self._sizes()}
        checkpoint.save(folder, config=config, tensors=self.state_dict())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Reads what `save_pretrained` wrote.

        Raises:
            ModelNotFoundError: If there is no such folder.
            ModelFileError: If a file is damaged, or of another model.
        """
        config, tensors = checkpoint.load(folder)
        if config.get("model") != "Classifier" or set(config) != {"model", "shape", "classes", "dim", "width"}:
            raise ModelFileError(f"{folder} holds {config.get('model')!r}, not a Classifier of this version.")
        made = cls(**{name: value for name, value in config.items() if name != "model"})
        expected = {name: tuple(value.shape) for name, value in made.state_dict().items()}
        checkpoint.check_state(expected, tensors, source=f"{folder}/model.safetensors")
        made.load_state_dict(tensors)
        return made

    def _sizes(self) -> dict[str, int]:
        return {"classes": self.classes, "dim": self.dim, "width": self.width}


def _stage(channels: int, outputs: int, side: int) -> nn.Module:
    """Half the resolution, other channels."""
    convolution = nn.Conv2d(channels, outputs, side, stride=2, padding=side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _fill(net: nn.Module, seed: int) -> None:
    """Memory and first weights: normal, of variance 2 / fan-in (He et al., arXiv:1502.01852)."""
    net.to_empty(device="cpu")
    rng = torch.Generator().manual_seed(check_seed("seed", seed))
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=math.sqrt(2 / module.weight[0].numel()), generator=rng)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    for name, value in (("mean", 0.0), ("std", 1.0), ("size", 1.0)):
        getattr(net, name).fill_(value)


def _check(images: Tensor, labels: Tensor) -> None:
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise fail_type("images", "a floating tensor", getattr(images, "dtype", images), "Call x.float() / 255 on bytes.")
    if images.ndim != 4 or len(images) < 2:
        raise fail("images", "of shape (n, channels, height, width), n at least 2", tuple(images.shape))
    if not bool(images.isfinite().all()):
        bad = (~images.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        raise fail("images", "finite", f"nan or infinity in {len(bad)}, first in images[{bad[0]}]", "Leave these out.")
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise fail_type("labels", "an int64 tensor", getattr(labels, "dtype", labels), "Call labels.long().")
    if labels.shape != images.shape[:1]:
        raise fail("labels", f"one for each of {len(images)} images", tuple(labels.shape))
    if int(labels.min()) < 0:
        raise fail("labels", "at least 0", int(labels.min()))
