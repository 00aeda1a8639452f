"""`MuonAdamW`: one optimizer for matrices and the rest."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import nn

from aigc._checks import fail, number
from aigc.training.shards import is_sharded, shard_like, whole

__all__ = ["MuonAdamW"]


class MuonAdamW(torch.optim.Optimizer):
    r"""Muon for matrices, AdamW for the other parameters, as one optimizer.

    Muon (Jordan et al., 2024) moves a matrix by its momentum with all singular values made alike. Perceptrons whose loss is
    steep in some directions and flat in most learn in several times fewer steps so than with Adam. A step costs some
    products of matrices more. Steps have the size that AdamW's have (Liu et al., arXiv:2502.16982), so that learning rates
    mean the same for both.

    Args:
        parameters: All of them.
        lr: Of both; for matrices several times what Adam takes is often best.
        adam_lr: Of AdamW, if another.
        weight_decay: Of matrices.
        momentum: Of Muon.
        betas: Of AdamW.
        plain: Matrices that AdamW shall move as well: those that are looked up rather than multiplied, as embeddings are.

    Raises:
        ParameterError: If there is no matrix among the parameters.

    Example:
        >>> net = nn.Linear(3, 2)
        >>> optimizer = MuonAdamW(net.parameters(), lr=0.01)
        >>> net(torch.ones(1, 3)).sum().backward()
        >>> optimizer.step()
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.01, 0.01]
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        adam_lr: float | None = None,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        plain: Iterable[nn.Parameter] = (),
    ) -> None:
        number("lr", lr, low=0)
        found = list(parameters)
        looked_up = {id(parameter) for parameter in plain}
        matrices = [parameter for parameter in found if parameter.ndim == 2 and id(parameter) not in looked_up]
        chosen = {id(parameter) for parameter in matrices}
        others = [parameter for parameter in found if id(parameter) not in chosen]
        if not matrices:
            raise fail("parameters", "with a matrix among them", "none of two axes", "Take torch.optim.AdamW.")
        rest = lr if adam_lr is None else adam_lr
        how: Any = {"weight_decay": weight_decay, "momentum": momentum, "adjust_lr_fn": "match_rms_adamw"}
        muon = _ShardedMuon if any(is_sharded(matrix) for matrix in matrices) else torch.optim.Muon
        inner: list[torch.optim.Optimizer] = [muon(matrices, lr=lr, **how)]
        if others:
            inner.append(torch.optim.AdamW(others, lr=rest, betas=betas, weight_decay=0.0, fused=True))
        super().__init__([group for one in inner for group in one.param_groups], {})
        self.inner = inner
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # of two kinds
        """Moves all parameters."""
        loss = None if closure is None else closure()
        for optimizer in self.inner:
            optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"inner": [optimizer.state_dict() for optimizer in self.inner]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the states of both up again."""
        for optimizer, state in zip(self.inner, state_dict["inner"], strict=True):
            optimizer.load_state_dict(state)
        self._share()

    def _share(self) -> None:
        """One list of groups, which are those of the two: what a schedule writes there reaches them."""
        self.param_groups = [group for one in self.inner for group in cast("Any", one).param_groups]


class _ShardedMuon(torch.optim.Muon):
    """Muon for matrices of which each process holds a shard, as its momentum; each is whole while it is orthogonalised."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # which no closure comes to, see above
        """Moves all parameters: torch's Muon, of no momentum and on a matrix of zeros, says where each would go."""
        for group in self.param_groups:
            momentum = group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if "momentum_buffer" not in self.state[parameter]:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter.grad)
                kept = self.state[parameter]["momentum_buffer"]
                kept.lerp_(parameter.grad, 1 - momentum)
                move = whole(parameter.grad.lerp(kept, momentum) if group["nesterov"] else kept)
                change = nn.Parameter(torch.zeros_like(move))
                change.grad = move
                how = {**group, "weight_decay": 0.0, "momentum": 0.0, "nesterov": False, "params": [change]}
                cast("Any", torch.optim.Muon([how])).step()
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(shard_like(change.detach(), parameter))
