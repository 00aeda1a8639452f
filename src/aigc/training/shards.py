"""Parameters of which each process holds a shard (FSDP2, Zhao et al., arXiv:2304.11277): made, gathered, and cut again."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn

from aigc._checks import fail

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

__all__ = ["is_sharded", "shard", "shard_like", "whole"]


def shard(module: nn.Module, layers: Iterable[nn.Module]) -> None:
    """Leaves each process its shard of a module's parameters, in place; they are gathered layer by layer as it runs.

    Backward adds the gradients of all processes up, and leaves each its shard of the sum: losses are weighted by the share
    of the batch, as `train` does.

    Args:
        module: What runs as a whole: parameters of no layer are gathered while it runs.
        layers: Parts of it that are gathered one at a time, each after what it is in.

    Raises:
        ParameterError: If `torch.distributed` was not started.
    """
    if not (dist.is_available() and dist.is_initialized()):
        cure = "Run torchrun --nproc-per-node 2 script.py, and call torch.distributed.init_process_group() there."
        raise fail("sharded", "False where torch.distributed was not started", True, cure)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    here = next(module.parameters()).device.type
    kind = "cuda" if torch.cuda.is_available() and dist.get_backend() != "gloo" else here
    mesh = init_device_mesh(kind, (dist.get_world_size(),))
    for part in (*reversed(list(layers)), module):  # what is in another first
        fully_shard(part, mesh=mesh)
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)  # a sum, for losses add up
            part.set_force_sum_reduction_for_comms(True)  # and no product with 1, which gloo does not know


def is_sharded(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Whether each process holds a shard of it.

    Example:
        >>> is_sharded(torch.ones(2))
        False
    """
    if not (dist.is_available() and dist.is_initialized()):
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, in each process; all of them call it where it is sharded.

    Example:
        >>> whole(torch.ones(2))
        tensor([1., 1.])
    """
    return tensor.full_tensor().detach() if is_sharded(tensor) else tensor


def shard_like(value: Any, like: Tensor) -> Any:
    """The own shard of a tensor that all processes have, cut as another one of its shape is; without a message.

    Example:
        >>> shard_like(torch.ones(2), torch.zeros(2))
        tensor([1., 1.])
    """
    if not is_sharded(like) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
