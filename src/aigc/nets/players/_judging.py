"""The end of a discriminator: from features to a logit, with a projection for a condition, and to classes."""

import math
from typing import cast

from torch import Tensor, nn

from aigc._checks import fail, fail_type
from aigc.nets._weights import quiet
from aigc.nets.conditions import Classes, Condition, Shift
from aigc.nets.players._spectral import Spectral

__all__ = ["Judge"]


class Judge(nn.Module):
    r"""The logit of features $\phi$ under a condition y: $D = w \cdot \phi + b + \langle e_y, \phi \rangle$.

    The inner product is what the log ratio of two conditional densities of an exponential family looks like (Miyato and
    Koyama, "cGANs with projection discriminator", arXiv:1802.05637). An auxiliary classifier reads the class from the same
    features (Odena et al., arXiv:1610.09585).

    Args:
        features: How many.
        condition: None adds nothing.
        auxiliary: Whether it tells classes too.
        spectral: Whether each layer is divided by its norm.
    """

    def __init__(self, features: int, condition: Condition | None, *, auxiliary: bool, spectral: bool = False) -> None:
        super().__init__()
        if not isinstance(auxiliary, bool):
            raise fail_type("auxiliary", "True or False", auxiliary)
        if auxiliary and not isinstance(condition, Classes):
            raise fail("auxiliary", "False without classes to tell", auxiliary, "Say condition=nets.Classes(10).")
        base: nn.Module = nn.Linear(features, 1)
        told = Shift(condition, features).of
        self.base = Spectral(base) if spectral else base
        self.told = Spectral(told) if spectral and told is not None else told
        self.classes = nn.Linear(features, condition.count) if auxiliary and isinstance(condition, Classes) else None
        self.features = features

    def soften(self) -> None:
        """Makes the inner product begin as large as the base: it sums as many terms as there are features."""
        if self.told is not None:
            quiet(self.told, 1 / math.sqrt(self.features))

    def forward(self, features: Tensor, condition: Tensor | None) -> Tensor:
        """From `(batch, features)` and a condition to `(batch,)`."""
        logit = cast("Tensor", self.base(features))[:, 0]
        return logit if self.told is None else logit + (self.told(condition) * features).sum(1)

    def classify(self, features: Tensor) -> Tensor:
        """From `(batch, features)` to logits of classes, `(batch, classes)`."""
        if self.classes is None:
            raise fail("auxiliary", "True where classes shall be told", False, "Build the net with auxiliary=True.")
        return cast("Tensor", self.classes(features))
