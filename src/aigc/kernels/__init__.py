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

import torch
from torch import Tensor

from aigc import random
from aigc._checks import fail, fail_type
from aigc.kernels import _torch, reference
from aigc.kernels._parameters import Number, Parameters, parameters
from aigc.kernels._types import Draw, Status

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


def sample(
    logits: Tensor,
    *,
    seed: int | Tensor,
    step: int | Tensor = 0,
    temperature: Number | None = None,
    top_k: int | Tensor | None = None,
    top_p: Number | None = None,
    min_p: Number | None = None,
    check: bool = False,
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
    _check_noise(seed, step, rows, logits.device)
    if isinstance(given.temperature, float) and given.temperature == 0:
        draw = _torch.greedy(flat)
    else:
        draw = run(flat, given, _starts(seed, step, rows, logits.device))
    if check:
        pass
    return draw if len(rows) == 1 else Draw(*(field.reshape(rows) for field in draw))


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
    if isinstance(given.temperature, float) and given.temperature == 0:
        return _torch.greedy(logits)
    return _torch.sample(logits, given, start)


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
    shape = logits.shape
    if not shape or not shape[-1]:
        raise fail("logits", "of shape (*rows, vocab) with at least one token", tuple(shape))
    if logits.requires_grad:
        logits = logits.detach()
    return shape[:-1], logits if len(shape) == 2 else logits.reshape(-1, shape[-1])


def _check_noise(seed: int | Tensor, step: int | Tensor, rows: torch.Size, device: torch.device) -> None:
    for name, value in (("seed", seed), ("step", step)):
        if not isinstance(value, Tensor):
            random.check_seed(name, value)
        elif value.dtype != torch.int64:
            raise fail_type(name, "an int or an int64 tensor", value.dtype)
        elif value.ndim and value.shape != rows:
            raise fail(name, f"of shape {tuple(rows)}, one per row", tuple(value.shape))
        elif value.ndim and value.device != device:
            raise fail(name, f"on {device}, as the logits are", value.device, f"Call {name}.to(logits.device).")


def _starts(seed: int | Tensor, step: int | Tensor, rows: torch.Size, device: torch.device) -> Tensor:
    """Where the noise of each row begins, `(rows,)`."""
    if rows.numel() == 1 and device.type == "cpu":  # then Python's integers are several times faster than tensors
        return torch.tensor([random.counter_int(int(seed), int(step))])
    seeds, steps = (torch.as_tensor(value, device=device).expand(rows).reshape(-1) for value in (seed, step))
    return random.counter(seeds, steps)
