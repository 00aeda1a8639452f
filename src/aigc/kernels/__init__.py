"""Sampling kernels: logits in, tokens out; temperature, then top-k, then top-p, then min-p, then a keyed draw.

    reference.py   the specification, float64
    _torch.py      plain torch, any device, no sort of the vocabulary
    _types.py      Draw, Status, Parameters

Example:
    >>> import torch
    >>> from aigc import kernels
    >>> logits = torch.tensor([[0.0, 1.0, 2.0], [5.0, 0.0, 0.0]])
    >>> draw = kernels.sample(logits, seed=torch.tensor([7, 8]), step=0, top_k=2)
    >>> draw.kept
    tensor([2, 3])
"""

import math

import torch
from torch import Tensor

from aigc import random
from aigc._checks import fail, fail_type
from aigc.kernels import _torch, reference
from aigc.kernels._types import Draw, Parameters, Status

__all__ = [
    "Draw",
    "Parameters",
    "Status",
    "backend",
    "parameters",
    "reference",
    "run",
    "sample",
    "threshold",
    "unavailable",
]

Number = float | Tensor


def sample(
    logits: Tensor,
    *,
    seed: int | Tensor,
    step: int | Tensor = 0,
    temperature: Number | None = None,
    top_k: int | Tensor | None = None,
    top_p: Number | None = None,
    min_p: Number | None = None,
) -> Draw:
    r"""Draws one token per row; `aigc.kernels.reference` says exactly which.

    $$ v = \arg\max_{u :\, x_u \ge \tau} \; x_u / t + g_u, \qquad g_u = \mathrm{gumbel}(\text{seed}, \text{step}, u) $$

    A row's draw depends on its own logits, parameters, seed and step alone.

    Args:
        logits: `(*rows, vocab)`, floating, any strides; not changed.
        seed: An int, or int64 `(*rows,)`.
        step: An int, or int64 `(*rows,)`: the position of the token being drawn.
        temperature: At least 0; 0 takes the first of the largest logits. A number, or one per row.
        top_k: At least 1. In a tensor, the vocabulary's size or more is off.
        top_p: In (0, 1]. In a tensor, 1 is off.
        min_p: In (0, 1]. In a tensor, 0 is off.

    Returns:
        A `Draw`; its fields have the shape `(*rows,)`.

    Raises:
        ParameterError: If a parameter is out of range or of the wrong shape.

    Example:
        >>> import torch
        >>> from aigc import kernels
        >>> kernels.sample(torch.tensor([1.0, 3.0, 2.0]), seed=0, temperature=0).token
        tensor(1)
    """
    rows, flat = _flat(logits)
    given = parameters(rows, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, device=logits.device)
    seeds, steps = _one_per_row("seed", seed, rows, flat.device), _one_per_row("step", step, rows, flat.device)
    result = run(flat, given, random.counter(seeds, steps))
    return Draw(*(field.reshape(rows) for field in result))


def threshold(
    logits: Tensor,
    *,
    top_k: int | Tensor | None = None,
    top_p: Number | None = None,
    min_p: Number | None = None,
) -> Tensor:
    """Returns the smallest logit that top-k, then top-p over the survivors, then min-p keep.

    A token survives if its logit is at least this. Where nothing is cut it is the smallest logit that is not -inf. For a
    row that holds NaN or +inf, or nothing but -inf, it is that value.

    Args:
        logits: `(*rows, vocab)`, floating.
        top_k: As for `sample`.
        top_p: As for `sample`.
        min_p: As for `sample`.

    Returns:
        `(*rows,)`, in the dtype of the logits.

    Example:
        >>> import torch
        >>> from aigc import kernels
        >>> kernels.threshold(torch.tensor([0.5, 0.3, 0.2]).log(), top_p=0.7).exp()
        tensor(0.3000)
    """
    rows, flat = _flat(logits)
    given = parameters(rows, top_k=top_k, top_p=top_p, min_p=min_p, device=logits.device)
    return _torch.threshold(flat, given).reshape(rows)


def run(logits: Tensor, given: Parameters, start: Tensor) -> Draw:
    """Draws like `sample`, from arguments that are already checked.

    Args:
        logits: `(rows, vocab)`, floating.
        given: What `parameters` returns.
        start: `aigc.random.counter(seed, step)` of each row, int64 `(rows,)`.

    Example:
        >>> import torch
        >>> from aigc import kernels, random
        >>> kernels.run(torch.zeros(1, 4), kernels.Parameters(), random.counter(torch.tensor([7]), 0)).kept
        tensor([4])
    """
    return _torch.sample(logits, given, start)


def parameters(
    rows: torch.Size | tuple[int, ...],
    *,
    temperature: Number | None = None,
    top_k: int | Tensor | None = None,
    top_p: Number | None = None,
    min_p: Number | None = None,
    device: torch.device | None = None,
) -> Parameters:
    """Checks filter parameters, and gives each one number per row.

    Example:
        >>> from aigc import kernels
        >>> kernels.parameters((2,), temperature=0.5).divisor
        tensor([[0.5000],
                [0.5000]], dtype=torch.float64)
    """
    t = _checked("temperature", temperature, rows, condition="a finite number of at least 0", low=0.0)
    k = _checked("top_k", top_k, rows, condition="an integer of at least 1", low=1, whole=True)
    p = _checked("top_p", top_p, rows, condition="a number in (0, 1]", low=0.0, open_low=True, high=1.0)
    open_low = not isinstance(min_p, Tensor)
    m = _checked("min_p", min_p, rows, condition="a number in (0, 1]", low=0.0, open_low=open_low, high=1.0)
    greedy = None if t is None or bool((t > 0).all()) else t == 0
    cutting = (p is not None and bool((p < 1).all())) or (m is not None and bool((m > 0).all()))
    given = Parameters(
        divisor=None if t is None else t.where(t > 0, 1.0),
        greedy=greedy,
        top_k=k,
        top_p=p,
        log_min_p=None if m is None else m.log(),
        all_greedy=greedy is not None and bool(greedy.all()),
        largest_k=None if k is None or not len(k) else int(k.max()),
        surely_cut=cutting,
    )
    return given if device is None else given.to(device)


def backend(device: str | torch.device) -> str:
    """Says which path runs on a device: `"triton"` or `"torch"`.

    Example:
        >>> from aigc import kernels
        >>> kernels.backend("cpu")
        'torch'
    """
    return "torch" if unavailable(device) else "triton"


def unavailable(device: str | torch.device) -> str:
    """Says in a sentence why the Triton path cannot run on a device.

    Example:
        >>> from aigc import kernels
        >>> kernels.unavailable("cpu")
        'Triton kernels run on CUDA, and this device is cpu.'
    """
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise fail("device", "a device of torch", device) from None
    if kind != "cuda":
        return f"Triton kernels run on CUDA, and this device is {kind}."
    return "This release of aigc has no Triton kernels; the torch path runs on CUDA too."


def _flat(logits: Tensor) -> tuple[torch.Size, Tensor]:
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise fail_type("logits", "a floating tensor", getattr(logits, "dtype", logits))
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise fail("logits", "of shape (*rows, vocab) with at least one token", tuple(logits.shape))
    return logits.shape[:-1], logits.reshape(-1, logits.shape[-1])


def _one_per_row(name: str, value: int | Tensor, rows: torch.Size, device: torch.device) -> Tensor:
    if isinstance(value, Tensor):
        if value.dtype != torch.int64:
            raise fail_type(name, "an int or an int64 tensor", value.dtype)
        if value.ndim and value.shape != rows:
            raise fail(name, f"of shape {tuple(rows)}, one per row", tuple(value.shape))
        return value.to(device).expand(rows).reshape(-1)
    return torch.full((rows.numel(),), random.check_seed(name, value), dtype=torch.int64, device=device)


def _checked(
    name: str,
    value: float | Tensor | None,
    rows: torch.Size | tuple[int, ...],
    *,
    condition: str,
    low: float,
    high: float = math.inf,
    open_low: bool = False,
    whole: bool = False,
) -> Tensor | None:
    if value is None:
        return None
    dtype = torch.int64 if whole else torch.float64
    if isinstance(value, Tensor):
        if value.is_complex() or value.dtype == torch.bool or (whole and value.is_floating_point()):
            raise fail_type(name, condition, value.dtype)
        given = value.to(dtype)
    elif isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise fail_type(name, condition, value)
    else:
        try:
            given = torch.tensor(value, dtype=dtype)
        except (OverflowError, RuntimeError, ValueError):
            raise fail(name, condition, value) from None
    inside = (given > low if open_low else given >= low) & (given <= high) & (given < math.inf)
    if not bool(inside.all()):
        raise fail(name, condition, value.tolist() if isinstance(value, Tensor) else value, "None is off.")
    if given.ndim and given.shape != torch.Size(rows):
        raise fail(name, f"a number, or one for each row, of shape {tuple(rows)}", tuple(given.shape))
    return given.expand(rows).reshape(-1, 1)
