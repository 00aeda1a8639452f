"""From the arguments of a call to the path that its device has: checks, then Triton on CUDA, else the host.

What comes back is packed: token, kept and status, int64 `(3, rows)`, and logprob and mass, float32 `(2, rows)`.
"""

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from aigc import random
from aigc._checks import fail, fail_type
from aigc.kernels import _torch
from aigc.kernels._parameters import Parameters, checked, same_device
from aigc.kernels._types import Noise, Status

__all__ = ["draw", "sample", "threshold", "unavailable"]

_LONGEST = 2**21  # tokens of a row, for Triton
_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def sample(logits: Tensor, noise: Noise, filters: Parameters, check: bool) -> tuple[Tensor, Tensor]:
    """Checks the arguments of `aigc.kernels.sample`, and draws."""
    rows, x = _flat(logits)
    given = checked(rows, logits.device, *filters, read=not _on_triton(x))
    seed, step = (_seed(name, value, rows, logits.device) for name, value in zip(("seed", "step"), noise, strict=False))
    packed = draw(x, given, Noise(seed, step, noise.hashed))
    if check:
        _check_rows(packed[0][2].reshape(rows))
    return packed


def threshold(logits: Tensor, filters: Parameters) -> Tensor:
    """Checks the arguments of `aigc.kernels.threshold`, and finds it."""
    rows, x = _flat(logits)
    on_triton = _on_triton(x)
    given = checked(rows, logits.device, *filters, read=not on_triton)
    if on_triton:
        from aigc.kernels import _triton

        return _triton.threshold(x, given).reshape(rows)
    return _torch.threshold(x, given).reshape(rows)


def draw(x: Tensor, given: Parameters, noise: Noise) -> tuple[Tensor, Tensor]:
    """Draws a token for each row of `x` `(rows, vocab)`, of which all is checked."""
    if _on_triton(x):
        from aigc.kernels import _triton

        return _triton.sample(x, given, noise)
    return _torch.sample(x, given, noise)


def _flat(logits: Tensor) -> tuple[torch.Size, Tensor]:
    """Checks logits; returns the shape of the batch, and the logits as `(rows, vocab)`."""
    check_logits(logits)
    shape = logits.shape
    return shape[:-1], logits if len(shape) == 2 else logits.reshape(-1, shape[-1])


def check_logits(logits: Any) -> None:
    """Checks the kind of logits, not their values."""
    if not isinstance(logits, Tensor):
        raise fail_type("logits", "a floating tensor", logits, "Call torch.as_tensor.")
    if not logits.is_floating_point():
        raise fail("logits", "a floating tensor", logits.dtype, "Call logits.float().")
    if logits.layout is not torch.strided:
        raise fail("logits", "dense", logits.layout, "Call logits.to_dense().")
    if not logits.ndim or not logits.shape[-1]:
        raise fail("logits", "of shape (*rows, vocab) with at least one token", tuple(logits.shape), "Add a dimension.")


def unavailable(device: str | torch.device) -> str:
    """Says in a sentence why the Triton path cannot run on a device; empty if it can."""
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise fail("device", "a device of torch", device) from None
    return _unavailable(found.type, found.index)


@lru_cache
def _unavailable(kind: str, index: int | None) -> str:
    if kind != "cuda":
        return f"Triton kernels run on CUDA, and this device is {kind}."
    if not torch.cuda.is_available():
        return "This torch has no CUDA, or the machine has no GPU that it can use."
    if torch.version.hip:
        return "The Triton kernels have not been tried on ROCm; the torch path runs instead."
    if find_spec("triton") is None:
        return "Triton is not installed: pip install triton."
    major, minor = torch.cuda.get_device_capability(index)
    if major < 8:
        return f"The Triton kernels need a GPU of compute capability 8.0 or more, and this one has {major}.{minor}."
    return ""


def _on_triton(x: Tensor) -> bool:
    if x.device.type != "cuda" or x.dtype not in _TYPES or x.shape[-1] > _LONGEST:
        return False
    return not _unavailable("cuda", x.device.index)


def _seed(name: str, value: Any, rows: torch.Size, device: torch.device) -> int | Tensor:
    """Checks a seed or a step."""
    if not isinstance(value, Tensor):
        return random.check_seed(name, value)
    if value.dtype != torch.int64:
        raise fail(name, "an int or an int64 tensor", value.dtype, f"Call {name}.long().")
    if value.ndim and value.shape != rows:
        raise fail(name, f"of shape {tuple(rows)}, one per row", tuple(value.shape), f"Reshape {name}.")
    if value.ndim and not same_device(value.device, device):
        raise fail(name, f"on {device}, as the logits are", value.device, f"Call {name}.to(logits.device).")
    return value


def _check_rows(status: Tensor) -> None:
    bad = (status != Status.OK).nonzero().tolist()
    if bad:
        found = Status(int(status[tuple(bad[0])]))
        name = f"logits[{', '.join(map(str, bad[0]))}]" if bad[0] else "logits"
        raise fail(name, "a row that can be drawn from", found, found.sentence)
