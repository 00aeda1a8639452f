"""How many of the codes are used."""

from typing import NamedTuple

import torch
from torch import Tensor

from aigc._checks import fail, integer
from aigc.vae.quantise.results import perplexity

__all__ = ["CodeDiagnosis", "Usage", "usage"]


class Usage(NamedTuple):
    """How often codes are used, over some data; one number for each codebook.

    Attributes:
        perplexity: The exponential of the entropy of how often each code is used: in [1, codes].
        dead: Codes that nothing uses.
        codes: In each codebook.
        vectors: How many were looked at.

    Example:
        >>> Usage(perplexity=(200.0,), dead=(40,), codes=512, vectors=100_000).warning is None
        True
    """

    perplexity: tuple[float, ...]
    dead: tuple[int, ...]
    codes: int
    vectors: int

    @property
    def warning(self) -> str | None:
        """A sentence if a codebook has collapsed.

        It has where the perplexity is below a tenth of the codes (or of the vectors looked at, if those are fewer), or a
        single code is used.
        """
        most = min(self.codes, self.vectors)
        for place, (effective, dead) in enumerate(zip(self.perplexity, self.dead, strict=True)):
            if most > 1 and (effective < most / 10 or self.codes - dead == 1):
                which = "The codebook" if len(self.dead) == 1 else f"Codebook {place}"
                return (
                    f"{which} has collapsed: of {self.codes} codes {self.codes - dead} are used, with a perplexity of "
                    f"{effective:.1f}. Train longer, take fewer codes or features, or FSQ, which has no codebook."
                )
        return None


class CodeDiagnosis(NamedTuple):
    """What a model with discrete codes uses them for, over some data.

    Attributes:
        rate: The mean of -log p(indices) in nats per example: what the prior needs to say a code.
        distortion: The mean negative log-likelihood of the data given their codes, in nats per example.
        usage: How many of the codes are used.

    Example:
        >>> CodeDiagnosis(20.0, 80.0, Usage((200.0,), (40,), 512, 100_000)).warning is None
        True
    """

    rate: float
    distortion: float
    usage: Usage

    @property
    def warning(self) -> str | None:
        """A sentence if the codebook has collapsed; see `Usage`."""
        return self.usage.warning


def usage(indices: Tensor, *, codes: int, depth: int | None = None) -> Usage:
    """Counts how often codes are used.

    Args:
        indices: int64 `(batch, *space)`, or `(batch, depth, *space)` of a residual quantiser.
        codes: How many there are, in each codebook.
        depth: Codebooks of a residual quantiser; None of others.

    Raises:
        ParameterError: If there is no index, or one is out of range.

    Example:
        >>> found = usage(torch.tensor([[0, 1], [1, 0]]), codes=4)
        >>> round(found.perplexity[0], 6), found.dead, found.vectors
        (2.0, (2,), 4)
    """
    codes = integer("codes", codes, low=1)
    levels = [indices] if depth is None else list(indices.unbind(1))
    if not indices.numel() or int(indices.min()) < 0 or int(indices.max()) >= codes:
        shown = (int(indices.min()), int(indices.max())) if indices.numel() else "none"
        raise fail("indices", f"in [0, {codes - 1}], at least one", shown)
    counts = [torch.bincount(level.flatten(), minlength=codes) for level in levels]
    effective = tuple(float(perplexity(count.double())) for count in counts)
    return Usage(effective, tuple(int((count == 0).sum()) for count in counts), codes, levels[0].numel())
