"""Features without training: the numbers themselves, their principal components, a module of the caller's."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from aigc._checks import fail, fail_type, integer
from aigc.metrics.features.contract import digest

__all__ = ["PCA", "Flatten", "Wrapped"]


@dataclass(frozen=True, slots=True)
class Flatten:
    """The numbers of an example as they are.

    Args:
        name: What they are called in results.

    Example:
        >>> Flatten()(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 64])
    """

    name: str = "pixels"

    @property
    def version(self) -> str:
        """Always the same."""
        return ""

    @property
    def dim(self) -> None:
        """As many as the data has."""
        return None

    def __call__(self, x: Tensor, /) -> Tensor:
        """Maps `(n, *data)` to `(n, d)`."""
        return x.flatten(1) if x.ndim > 1 else x[:, None]


@dataclass(frozen=True, eq=False)
class PCA:
    """The first principal components of data, not scaled.

    Args:
        dim: How many components.
        mean: Of the data, `(d,)`; `fit` finds it.
        components: Orthonormal rows, `(dim, d)`; `fit` finds them.

    Example:
        >>> x = torch.randn(100, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> found = PCA(3).fit(x)
        >>> found(x).shape, found.name
        (torch.Size([100, 3]), 'pca-3')
    """

    dim: int
    mean: Tensor | None = None
    components: Tensor | None = None

    def __post_init__(self) -> None:
        integer("dim", self.dim, low=1)

    @property
    def name(self) -> str:
        """Says how many components there are."""
        return f"pca-{self.dim}"

    @property
    def version(self) -> str:
        """A digest of the components: fits to other data do not go together."""
        return digest(*self._fitted())

    def fit(self, x: Tensor) -> "PCA":
        """The same with the components of data `(n, *data)`, of the real set as a rule.

        Raises:
            ParameterError: If n - 1 or d is smaller than the number of components, or x is not a tensor of finite floats.
        """
        _check_floats(x)
        rows = x.flatten(1).double()
        most = min(len(rows) - 1, rows.shape[1])
        if self.dim > most:
            raise fail("x", f"of more than {self.dim} examples and at least {self.dim} numbers", tuple(x.shape))
        if not bool(rows.isfinite().all()):
            raise fail(
                "x", "finite", f"{int((~rows.isfinite()).sum())} values that are nan or infinite", "Leave these out."
            )
        mean = rows.mean(0)
        centred = rows - mean
        if len(rows) > rows.shape[1]:  # the covariance is the smaller problem
            components = torch.linalg.eigh(centred.mT @ centred).eigenvectors.mT.flip(0)[: self.dim]
        else:
            components = torch.linalg.svd(centred, full_matrices=False).Vh[: self.dim]
        return PCA(self.dim, mean.to(x.dtype), components.to(x.dtype))

    def __call__(self, x: Tensor, /) -> Tensor:
        """Maps `(n, *data)` to `(n, dim)`."""
        mean, components = self._fitted()
        _check_floats(x)
        if x.flatten(1).shape[1] != len(mean):
            raise fail("x", f"of {len(mean)} numbers each, as what the components were fitted to", tuple(x.shape))
        return (x.flatten(1) - mean.to(x)) @ components.to(x).mT

    def _fitted(self) -> tuple[Tensor, Tensor]:
        if self.mean is None or self.components is None:
            raise fail("PCA", "fitted", "one that is not", f"Call PCA({self.dim}).fit(real) and use what it returns.")
        return self.mean, self.components


@dataclass(frozen=True, eq=False)
class Wrapped:
    """A module of the caller's, such as the encoder of a VAE or an InceptionV3.

    A module is called in evaluation mode, and left in the mode that it had; data goes to the device of its weights.

    For the published FID, the module is the InceptionV3 of 2015-12-05 up to its last pooling, `(n, 3, h, w)` to
    `(n, 2048)`, resizing included, from whoever you trust, its weights from safetensors; aigc ships and downloads none:

        Wrapped(inception, name="inception", version="2015-12-05", dim=2048)

    Args:
        module: From `(n, *data)` to `(n, dim)`: an `nn.Module`, or any function.
        name: What it is called in results; `"inception"` for that network alone.
        version: What tells it from others of that name.
        dim: Numbers of a feature vector, if they are to be checked.

    Example:
        >>> encoder = nn.Linear(4, 2, device="meta").to_empty(device="cpu")
        >>> Wrapped(encoder, name="encoder", version="1")(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """

    module: Callable[[Tensor], Tensor]
    name: str
    version: str
    dim: int | None = None

    def __post_init__(self) -> None:
        if not callable(self.module):
            raise fail_type("module", "an nn.Module or another function of a tensor", self.module)
        if not self.name:
            raise fail("name", "a name that results can print", self.name)

    def __call__(self, x: Tensor, /) -> Tensor:
        """Maps `(n, *data)` to `(n, dim)`, without gradients."""
        modes: dict[nn.Module, bool] = {}
        if isinstance(self.module, nn.Module):
            modes = {part: part.training for part in self.module.modules()}
            weights = next(chain(self.module.parameters(), self.module.buffers()), None)
            x = x if weights is None else x.to(weights.device)
        try:
            for part in modes:
                part.training = False
            with torch.no_grad():
                found = self.module(x)
        finally:
            for part, mode in modes.items():
                part.training = mode
        if self.dim is not None and found.shape != (len(x), self.dim):
            raise fail("the module's output", f"of shape ({len(x)}, {self.dim})", tuple(found.shape))
        return found


def _check_floats(x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        shown = x.dtype if isinstance(x, Tensor) else x
        raise fail_type("x", "a floating tensor (n, *data)", shown, "Call torch.as_tensor(x).float() / 255 on bytes.")
