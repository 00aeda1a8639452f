"""What a sampler does, in a few lines."""

from collections.abc import Sequence
from typing import Any

from aigc.sampling.parts import Part, parts_of
from aigc.sampling.samplers import as_sampler
from aigc.sampling.schedule import schedule

__all__ = ["explain"]


def explain(sampler: Any) -> str:
    """Says how a filter, a chain or a sampler runs: what on whole rows, what in the kernel, what on the few tokens left.

    Example:
        >>> from aigc.sampling import Temperature, TopK, TopP, chain
        >>> print(explain(chain(Temperature(0.8), TopK(50), TopP(0.95))))
        in the kernel: Temperature(0.8), TopK(50), TopP(0.95), and the draw
        >>> print(explain(chain(TopK(50), Temperature(0.8))))
        in the kernel: TopK(50)
        on what is left: Temperature(0.8), and the draw
    """
    found: Any = as_sampler(sampler)
    if not hasattr(found, "filter"):
        inner, name = getattr(found, "sampler", None), type(found).__name__
        return f"{name}, by itself" if inner is None else f"{name}, around\n{explain(inner)}"
    plan = schedule(parts_of(found))
    lines = [f"on whole rows: {_named(plan.head)}"] if plan.head else []
    last = "" if plan.tail else "the draw"
    lines.append("in the kernel: " + ", and ".join(filter(None, (_named(plan.fused), last))))
    if plan.tail:
        lines.append(f"on what is left: {_named(plan.tail)}, and the draw")
    return "\n".join(lines)


def _named(parts: Sequence[Part]) -> str:
    return ", ".join(getattr(part, "__name__", repr(part)) for part in parts)
