"""Products with weights that are laid out once for the kernels that read them.

oneDNN's blocked layout is read at the speed of the memory, and gives a row the same bits for any number of rows from two
on. A lone row may take another kernel, so at least `LANES` rows are always run: four are no slower than one.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ACTIVATIONS", "EIGHT_BITS", "LANES", "Linear", "Weights", "pack"]

LANES = 4
ONEDNN: bool = torch._C._has_mkldnn  # not in every build of torch: those for Apple's processors have none
# Without these instructions an x86 processor adds pairs of products in 16 bits, which overflow.
_HAS: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # newer than the oldest torch we take
EIGHT_BITS: bool = ONEDNN and any(_HAS.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))

# The name of an activation in transformers: the function, and oneDNN's name and algorithm for it.
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], str, str]] = {
    "gelu": (F.gelu, "gelu", "none"),
    "gelu_new": (lambda x: F.gelu(x, approximate="tanh"), "gelu", "tanh"),
    "gelu_pytorch_tanh": (lambda x: F.gelu(x, approximate="tanh"), "gelu", "tanh"),
    "relu": (F.relu, "relu", ""),
    "silu": (F.silu, "swish", ""),
    "swish": (F.silu, "swish", ""),
}


class Weights(NamedTuple):
    """A linear layer as `x @ weight.T + bias`: weight `(out, in)`, bias `(out,)` or None."""

    weight: Tensor
    bias: Tensor | None

    @staticmethod
    def join(*parts: "Weights") -> "Weights":
        """Puts the outputs of several layers with the same input side by side."""
        biases = [torch.zeros_like(part.weight[:, 0]) if part.bias is None else part.bias for part in parts]
        none = all(part.bias is None for part in parts)
        return Weights(torch.cat([part.weight for part in parts]), None if none else torch.cat(biases))


class Linear(Protocol):
    """A linear layer on `(rows, in)`; `add` is `(rows, out)`, and is added after the activation."""

    def __call__(self, x: Tensor, *, activation: str | None = None, add: Tensor | None = None) -> Tensor:
        """Returns `(rows, out)`."""
        ...


class PlainLinear:
    """torch's own product, for types and processors that oneDNN has no layout for."""

    def __init__(self, weights: Weights) -> None:
        self._weight, self._bias = weights

    def __call__(self, x: Tensor, *, activation: str | None = None, add: Tensor | None = None) -> Tensor:
        """Returns `(rows, out)`."""
        return _after(F.linear(x, self._weight, self._bias), activation, add)


class PackedLinear:
    """A product with weights in oneDNN's blocked layout, what follows it fused where it can be."""

    def __init__(self, weights: Weights) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weights.weight.detach().contiguous(), LANES)
        self._bias = None if weights.bias is None else weights.bias.detach()

    def __call__(self, x: Tensor, *, activation: str | None = None, add: Tensor | None = None) -> Tensor:
        """Returns `(rows, out)`."""
        run, weight, bias = torch.ops.mkldnn._linear_pointwise, self._weight, self._bias
        y: Tensor
        if activation is not None:
            _, name, algorithm = ACTIVATIONS[activation]
            y = run(x, weight, bias, name, [], algorithm)
            return _after(y, None, add)
        y = run(x, weight, bias, "none", [], "") if add is None else run.binary(x, add, weight, bias, "add")
        return y


class Int8Linear:
    r"""A product of eight-bit integers, the weights scaled per output and the inputs per row, as they come.

    $y = s_x s_w \sum_i q_x q_w$ with $s = \max |\cdot| / 127$, the vector-wise scheme of LLM.int8 (Dettmers et al. 2022)
    without its outliers. The sum is of integers and exact, so a row's bits owe nothing to the number of rows; on processors
    that sum in 16 bits it would saturate, so `EIGHT_BITS` says where this runs.
    """

    def __init__(self, weights: Weights) -> None:
        weight = weights.weight.detach().float().contiguous()
        scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
        rounded = (weight / scale).round_().clamp_(-127, 127).to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._scale = scale.squeeze(1).contiguous()
        self._zero = torch.zeros(len(weight), dtype=torch.int64)
        self._bias = None if weights.bias is None else weights.bias.detach().float()

    def __call__(self, x: Tensor, *, activation: str | None = None, add: Tensor | None = None) -> Tensor:
        """Returns `(rows, out)`."""
        exact = x.float()
        step = exact.abs().amax(-1, keepdim=True).clamp_(min=1e-12).div_(127)
        # Truncation after 128.5 rounds to the nearest. Operations on float32 alone: mixed types are several times slower.
        rounded = (exact * step.reciprocal()).add_(128.5).to(torch.uint8)
        y = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, 128, self._weight, self._scale, self._zero, None, 1.0, 0, torch.float32, "none", [], ""
        )
        y = y.mul_(step) if self._bias is None else torch.addcmul(self._bias, y, step)
        return _after(_after(y, activation, None).to(x.dtype), None, add)


def pack(weights: Weights, *, int8: bool = False) -> Linear:
    """Lays weights out for the fastest product that this machine has for them."""
    if int8:
        return Int8Linear(weights)
    kind = weights.weight.dtype
    packs = ONEDNN and (kind == torch.float32 or (kind == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()))
    return PackedLinear(weights) if packs else PlainLinear(weights)


def _after(y: Tensor, activation: str | None, add: Tensor | None) -> Tensor:
    if activation is not None:
        y = ACTIVATIONS[activation][0](y)
    return y if add is None else y + add
