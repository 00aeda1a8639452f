r"""Data that are one of some classes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aigc._checks import fail, fail_type, integer
from aigc.vae.likelihoods._reading import noise, read, shaped, total

__all__ = ["Categorical"]


class Categorical(nn.Module):
    r"""Whole numbers $x \in \{0, \dots, C - 1\}$, with C logits for each.

    $$ \log p(x) = \sum_i l_{i x_i} - \log \sum_c e^{l_{ic}} $$

    Args:
        classes: C, at least 2.

    Example:
        >>> Categorical(4).log_prob(torch.zeros(1, 4, 3), torch.tensor([[0, 1, 3]]))
        tensor([-4.1589])
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = self.size = integer("classes", classes, low=2)

    def log_prob(self, parameters: Tensor, x: Tensor, /) -> Tensor:
        """The log-probability in nats, `(rows,)`; see `Likelihood`."""
        logits = read(parameters, x, self.size)
        index = x.long()[:, None].expand(len(logits), -1, -1, *x.shape[1:])
        return total(logits.log_softmax(2).gather(2, index)[:, :, 0])

    def mean(self, parameters: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """The most probable class, int64 `(rows, *data)`: classes have no mean."""
        return shaped(parameters, self.size, shape).argmax(1)

    def sample(self, parameters: Tensor, seeds: Tensor, /, shape: Sequence[int] | None = None) -> Tensor:
        """Classes, int64 `(rows, *data)`."""
        logits = shaped(parameters, self.size, shape)
        edges = logits.double().softmax(1).cumsum(1)
        return (noise(seeds, logits[:, 0])[:, None] > edges[:, :-1]).sum(1)

    def check(self, x: Tensor, /) -> None:
        """Checks that values are classes."""
        if not isinstance(x, Tensor) or x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
            shown = x.dtype if isinstance(x, Tensor) else x
            raise fail_type("x", "a tensor of whole numbers", shown, "Call .long() on classes.")
        if not x.numel():
            raise fail("x", "data of at least one number", tuple(x.shape))
        least, largest = (int(value) for value in x.aminmax())
        if least < 0 or largest >= self.classes:
            condition = f"classes from 0 to {self.classes - 1}"
            raise fail("x", condition, f"classes from {least} to {largest}", "Count them, and give classes= that many.")

    def extra_repr(self) -> str:
        """Its classes."""
        return str(self.classes)
