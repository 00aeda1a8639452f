"""Sampling kernels: logits in, tokens out; temperature, then top-k, then top-p, then min-p, then a keyed draw.

    reference.py    the specification, float64
    _dispatch.py    checks the arguments, and takes the path that the device has
    _operators.py   the same as operators of torch, for torch.compile
    _torch.py       any device: rows on the host, one by one, without a sort of the vocabulary
    _triton.py      CUDA: three launches

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

from aigc.kernels import _dispatch, _operators, _torch, reference
from aigc.kernels._parameters import Number, Parameters, parameters
from aigc.kernels._types import Draw, Noise, Status

__all__ = [
    "Draw",
    "Parameters",
    "Status",
    "backend",
    "parameters",
    "race",
    "reference",
    "run",
    "sample",
    "survivors",
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
        check: Whether a row that cannot be drawn from is an error, which waits for the device; else its status says so.

    Returns:
        A `Draw`; its fields have the shape `(*rows,)`.

    Raises:
        ParameterError: If a parameter is out of range, of the wrong shape or on another device. With Triton the values of
            tensors are not read back to be checked; the status of a row whose parameter is out of range is `PARAMETER`.

    Example:
        >>> import torch
        >>> from aigc import kernels
        >>> kernels.sample(torch.tensor([1.0, 3.0, 2.0]), seed=0, temperature=0).token
        tensor(1)
    """
    way = _operators.sample if torch.compiler.is_compiling() else _dispatch.sample
    integers, reals = way(logits, Noise(seed, step), Parameters(temperature, top_k, top_p, min_p), check)
    return _unpacked(integers, reals, logits.shape[:-1])


def threshold(
    logits: Tensor,
    *,
    top_k: int | Tensor | None = None,
    top_p: Number | None = None,
    min_p: Number | None = None,
) -> Tensor:
    """Returns the smallest logit that top-k, then top-p over the survivors, then min-p keep.

    A token survives if its logit is at least this. Where nothing is cut it is the smallest logit that is not -inf. For a
    row that holds NaN or +inf, or nothing but -inf, it is that value; with Triton, NaN where a parameter is out of range.

    Args:
        logits: `(*rows, vocab)`, floating.
        top_k: As for `sample`.
        top_p: As for `sample`.
        min_p: As for `sample`.

    Returns:
        `(*rows,)`, in the dtype of the logits.

    Raises:
        ParameterError: As for `sample`.

    Example:
        >>> import torch
        >>> from aigc import kernels
        >>> kernels.threshold(torch.tensor([0.5, 0.3, 0.2]).log(), top_p=0.7).exp()
        tensor(0.3000)
    """
    filters = Parameters(None, top_k, top_p, min_p)
    return _operators.threshold(logits, filters) if torch.compiler.is_compiling() else _dispatch.threshold(logits, filters)


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
    noise = Noise(start, 0, hashed=True)
    if torch.compiler.is_compiling():
        return _unpacked(*_operators.sample(logits, noise, given.flat(), False), logits.shape[:-1])
    return _unpacked(*_dispatch.draw(logits, given, noise), logits.shape[:-1])


survivors = _torch.survivors
race = _torch.race


def backend(device: str | torch.device) -> str:
    """Says which path runs on a device: `"triton"` or `"torch"`.

    Example:
        >>> from aigc import kernels
        >>> kernels.backend("cpu")
        'torch'
    """
    return "torch" if unavailable(device) else "triton"


def unavailable(device: str | torch.device) -> str:
    """Says in a sentence why the Triton path cannot run on a device; an empty string if it can.

    Example:
        >>> from aigc import kernels
        >>> kernels.unavailable("cpu")
        'Triton kernels run on CUDA, and this device is cpu.'
    """
    return _dispatch.unavailable(device)


def _unpacked(integers: Tensor, reals: Tensor, rows: torch.Size) -> Draw:
    token, kept, status = integers.unbind()
    logprob, mass = reals.unbind()
    draw = Draw(token, logprob, kept, mass, status)
    return draw if len(rows) == 1 else Draw(*(field.reshape(rows) for field in draw))
