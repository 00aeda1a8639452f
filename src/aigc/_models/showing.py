"""How models show themselves."""

from collections.abc import Iterable

from torch import nn

__all__ = ["parameters"]


def parameters(modules: Iterable[nn.Module]) -> str:
    """How many parameters there are, as people say it.

    Example:
        >>> parameters([nn.Linear(100, 100)]), parameters([nn.Linear(1000, 1000)])
        ('10k parameters', '1.0M parameters')
    """
    count = sum(parameter.numel() for module in modules for parameter in module.parameters())
    if count < 1000:
        return f"{count} parameters"
    return f"{count / 1e3:.0f}k parameters" if count < 100_000 else f"{count / 1e6:.1f}M parameters"
