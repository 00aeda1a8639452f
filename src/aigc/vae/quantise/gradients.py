r"""How a gradient passes a quantiser, which has none of its own."""

import torch
from torch import Tensor

__all__ = ["GRADIENTS", "rotate", "straight"]


def straight(z: Tensor, codes: Tensor) -> Tensor:
    """Gives codes the gradient of the vectors that they replace (Bengio et al., arXiv:1308.3432).

    Args:
        z: Vectors.
        codes: Of the same shape.

    Returns:
        The codes; their gradient is that of z.

    Example:
        >>> z = torch.tensor([[0.9, 0.2]], requires_grad=True)
        >>> straight(z, torch.tensor([[1.0, 0.0]])).mul(torch.tensor([[3.0, 4.0]])).sum().backward()
        >>> z.grad
        tensor([[3., 4.]])
    """
    return _Exactly.apply(codes, z)  # type: ignore[no-any-return, no-untyped-call]


def rotate(z: Tensor, codes: Tensor) -> Tensor:
    r"""Turns and scales the gradient as the vector was turned and scaled to its code (Fifty et al., arXiv:2410.06424).

    With R the rotation that takes z to the direction of its code q in the plane of both,

    $$ q = \frac{\|q\|}{\|z\|} R z, \qquad \nabla_z = \frac{\|q\|}{\|z\|} R^\top \nabla_q, $$

    so angles between gradients and vectors stay what they were, and the norm is scaled by $\|q\| / \|z\|$. Where z and q
    are opposite, or one is 0, there is no such rotation, and the gradient goes straight through.

    Args:
        z: Vectors, `(rows, features)`.
        codes: Of the same shape.

    Returns:
        The codes, exactly.

    Example:
        >>> z = torch.tensor([[2.0, 0.0]], requires_grad=True)
        >>> rotate(z, torch.tensor([[0.0, 1.0]])).mul(torch.tensor([[0.0, 1.0]])).sum().backward()
        >>> z.grad.round(decimals=4)
        tensor([[0.5000, 0.0000]])
    """
    with torch.no_grad():
        lengths = [v.norm(dim=-1, keepdim=True) for v in (z, codes)]
        from_, to = (v / length.clamp(min=1e-12) for v, length in zip((z, codes), lengths, strict=True))
        half = from_ + to
        norm = half.norm(dim=-1, keepdim=True)
        half = half / norm.clamp(min=1e-12)
        turns = (norm > 1e-3) & (lengths[0] > 1e-12) & (lengths[1] > 1e-12)
        scale = lengths[1] / lengths[0].clamp(min=1e-12)
    # R = I - 2 h h' + 2 q z', of unit vectors: the reflection at z, then that at the bisector h.
    turned = z - 2 * half * (half * z).sum(-1, keepdim=True) + 2 * to * (from_ * z).sum(-1, keepdim=True)
    return straight((scale * turned).where(turns, z), codes)


class _Exactly(torch.autograd.Function):
    """The first argument, with the gradient of the second: no sum that would round it."""

    @staticmethod
    def forward(codes: Tensor, z: Tensor) -> Tensor:
        return codes.detach().clone()

    @staticmethod
    def setup_context(ctx: object, inputs: object, output: object) -> None:
        """Nothing to remember."""

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient


GRADIENTS = {"rotation": rotate, "straight": straight}
