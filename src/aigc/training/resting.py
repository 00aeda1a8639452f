"""Modules in evaluation mode for a while: they may be looked at while they are trained."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["at_rest"]


@contextmanager
def at_rest(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Puts modules into evaluation mode, and afterwards those parts that were in training mode back into it.

    What moves with every look in training mode, such as codebooks, spectral norms and statistics of batches, stays, so that
    a run that is looked at ends as one that is not.

    Example:
        >>> net = nn.Dropout()
        >>> with at_rest([net]):
        ...     net.training
        False
        >>> net.training
        True
    """
    moving = [part for module in modules for part in module.modules() if part.training]
    for part in moving:
        part.training = False
    try:
        yield
    finally:
        for part in moving:
            part.training = True
