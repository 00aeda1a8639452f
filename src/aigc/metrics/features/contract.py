"""What an extractor of features is, what it returns, and how it is applied to data of any size."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from aigc._checks import fail, fail_type, integer

__all__ = ["UNNAMED", "FeatureExtractor", "Features", "digest", "extract", "extracted"]

UNNAMED = "unnamed"


@runtime_checkable
class FeatureExtractor(Protocol):
    """A map from data to vectors, in which distances mean something, and which a result can name."""

    @property
    def name(self) -> str:
        """What it is called in results; `"inception"` is for the InceptionV3 of the published FID and for nothing else."""
        ...

    @property
    def version(self) -> str:
        """What tells it from others of that name: two sets are compared only if both names and both versions agree."""
        ...

    @property
    def dim(self) -> int | None:
        """Numbers of a feature vector; None where the data decides."""
        ...

    def __call__(self, x: Tensor, /) -> Tensor:
        """Maps `(n, *data)` to `(n, dim)`; a row's features depend on that row alone."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Feature vectors and where they come from, as every metric takes them.

    Args:
        values: `(n, d)`.
        extractor: Name of the extractor.
        version: Its version.

    Example:
        >>> Features(torch.zeros(100, 2048), extractor="inception", version="2015-12-05")
        Features((100, 2048), extractor='inception', version='2015-12-05')
    """

    values: Tensor
    extractor: str = UNNAMED
    version: str = ""

    def __repr__(self) -> str:
        return f"Features({tuple(self.values.shape)}, extractor={self.extractor!r}, version={self.version!r})"

    def __len__(self) -> int:
        return len(self.values)


def extract(extractor: FeatureExtractor, data: Tensor | Iterable[Tensor], *, batch_size: int = 256) -> Features:
    """Applies an extractor to data, batch by batch, without gradients.

    Where the features of all data together are too large for memory, `Moments.extract` keeps only what a Frechet distance
    needs.

    Args:
        extractor: Any `FeatureExtractor`.
        data: `(n, *data)`, or batches of that form, such as a generator that samples from a model.
        batch_size: Examples at once, where data is one tensor.

    Returns:
        Features, `(n, d)`, named for the extractor.

    Raises:
        ParameterError: If there is no data, or the extractor returns something else than `(n, d)`.

    Example:
        >>> from aigc.metrics.features import Flatten
        >>> extract(Flatten(), torch.zeros(10, 1, 28, 28))
        Features((10, 784), extractor='pixels', version='')
    """
    parts = list(extracted(extractor, data, batch_size=batch_size))
    if not parts:
        raise fail("data", "at least one batch", "none")
    return Features(torch.cat(parts), extractor.name, extractor.version)


def extracted(extractor: FeatureExtractor, data: Tensor | Iterable[Tensor], *, batch_size: int = 256) -> Iterator[Tensor]:
    """The features of data, batch by batch."""
    if isinstance(data, Tensor):
        data = torch.split(data, integer("batch_size", batch_size, low=1))
    for batch in data:
        if not isinstance(batch, Tensor):
            cure = "Leave labels out: (images for images, labels in loader)."
            raise fail_type("data", "a tensor, or an iterable of tensors", batch, cure)
        with torch.no_grad():
            found = extractor(batch)
        if found.ndim != 2 or len(found) != len(batch):
            raise fail(
                "the extractor's output", f"of shape ({len(batch)}, d), one row for each example", tuple(found.shape)
            )
        yield found.detach()


def digest(*tensors: Tensor) -> str:
    """Eight hexadecimal digits of the SHA-256 of some weights: the version of an extractor that was fitted."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(str(tuple(tensor.shape)).encode())
        # As bytes, since numpy has no bfloat16; in one dimension, since a number has none to lay bytes along.
        found.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:8]
