"""What a likelihood is."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

__all__ = ["Likelihood"]


class Likelihood(Protocol):
    """A distribution over data whose parameters a decoder gives: an `nn.Module` with these names.

    A decoder's output leads with rows, and holds `size` numbers for each number of the data. It is read as
    `(rows, size, *data)` whatever its own shape is, so that an MLP may return `(rows, size * pixels)` and a convolution
    `(rows, size * channels, height, width)`. Half precisions are raised to float32.

    Attributes:
        size: Parameters for each number of the data.

    Example:
        >>> from aigc.vae.likelihoods import Gaussian
        >>> Gaussian("predicted").size
        2
    """

    size: int

    def log_prob(self, parameters: Tensor, x: Tensor, /) -> Tensor:
        """The log-probability, or log-density, of data in nats, summed over the data's axes.

        Args:
            parameters: Of k times as many rows as there are examples, k at least 1, the examples running fastest: row r is
                about example `r % batch`.
            x: `(batch, *data)`.

        Returns:
            `(rows,)`.

        Raises:
            ParameterError: If the parameters do not fit the data.
        """
        ...

    def mean(self, parameters: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """The expectation of the data.

        Args:
            parameters: As for `log_prob`.
            shape: Of an example; None takes it from the parameters: `(rows, size * c, ...)` is `(c, ...)`.

        Returns:
            `(rows, *data)`.
        """
        ...

    def sample(self, parameters: Tensor, seeds: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """Draws data: a function of each row's seed and parameters.

        Args:
            parameters: As for `log_prob`.
            seeds: int64, `(rows,)`.
            shape: As for `mean`.

        Returns:
            `(rows, *data)`.
        """
        ...

    def check(self, x: Tensor, /) -> None:
        """Checks that data are what the distribution is about.

        Raises:
            ParameterError: If values are outside the support, or not finite.
            TypeParameterError: If it is no tensor of the right kind of numbers.
        """
        ...
