r"""A prior that is an autoregressive flow; the layers are zuko's."""

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from aigc import random
from aigc._checks import fail, integer
from aigc.device import preserved_rng
from aigc.training import Cosine, Noise, Phase, batches, train
from aigc.vae.priors._drawing import check_codes, normals

__all__ = ["Flow", "fit_flow"]

_KINDS = ("maf", "nsf")


class Flow(nn.Module):
    r"""A density that transforms a standard normal by autoregressive steps, learned with the model or fitted after it.

    $$ \log p(z) = \log \mathcal{N}(f(z); 0, I) + \log \left| \det \frac{\partial f}{\partial z} \right| $$

    Needs the extra `aigc[flows]`. A sample takes one pass of each step per dimension, a density one pass.

    Args:
        latent: Dimensions of a code.
        transforms: Steps; each reads the dimensions in the reverse order of the one before.
        hidden: Widths of the nets of a step.
        kind: `"maf"`: affine (Papamakarios et al., arXiv:1705.07057), or `"nsf"`: rational-quadratic splines in [-5, 5]
            (Durkan et al., arXiv:1906.04032).
        seed: Of the weights that it begins with.

    Attributes:
        shift: What is subtracted from codes before the first step, `(latent,)`: 0, or what `fit_flow` found.
        scale: What they are then divided by: 1, or likewise.

    Raises:
        ImportError: If zuko is not installed; it names the extra.

    Example:
        >>> prior = Flow(2, transforms=2, hidden=(8,))
        >>> prior.log_prob(torch.zeros(3, 2)).shape, prior.sample(torch.arange(4)).shape
        (torch.Size([3]), torch.Size([4, 2]))
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, latent: int, *, transforms: int = 3, hidden: Sequence[int] = (64, 64), kind: str = "maf", seed: int = 0
    ) -> None:
        super().__init__()
        try:
            from zuko import flows
        except ImportError:
            raise ImportError("Flow needs zuko: pip install 'aigc[flows]'") from None
        if kind not in _KINDS:
            raise fail("kind", f"one of {', '.join(map(repr, _KINDS))}", kind)
        self.latent, self.kind = integer("latent", latent, low=1), kind
        self.transforms, self.hidden = integer("transforms", transforms, low=1), tuple(hidden)
        make: Any = flows.MAF if kind == "maf" else flows.NSF
        with preserved_rng():
            self.flow: Any = make(latent, transforms=transforms, hidden_features=self.hidden)
        _begin(self.flow, seed)
        self.register_buffer("shift", torch.zeros(latent))
        self.register_buffer("scale", torch.ones(latent))

    def log_prob(self, z: Tensor, /) -> Tensor:
        """The log-density in nats, `(*,)`, of codes `(*, latent)`."""
        check_codes(z, self.latent)
        found, logdet = self.flow().transform.call_and_ladj((z - self.shift) / self.scale)
        logp: Tensor = (
            logdet - self.scale.log().sum() - found.square().sum(-1) / 2 - self.latent * math.log(2 * math.pi) / 2
        )
        return logp

    @torch.no_grad()
    def sample(self, seeds: Tensor, /) -> Tensor:
        """Draws a code for each seed, `(n, latent)`: the same in any batch, to the rounding of the nets."""
        like = next(self.parameters())
        drawn: Tensor = self.flow().transform.inv(normals(seeds, self.latent).to(like))
        return self.shift + self.scale * drawn

    def kl(self, posterior: Any, /) -> Tensor | None:
        """None: there is no closed form."""
        return None


def fit_flow(
    z: Tensor, *, seed: int, steps: int = 2000, batch_size: int = 256, learning_rate: float = 2e-3, **options: Any
) -> Flow:
    r"""Fits a flow after training to the codes of the data, by maximum likelihood, after they were standardised.

    Args:
        z: Codes drawn from the posteriors of the data, `(n, latent)`.
        seed: Of the weights and of the order of codes.
        steps: Of Adam, with a learning rate that falls to 0 as a cosine.
        batch_size: Codes for each step; all of them where there are fewer.
        learning_rate: At the start.
        options: As for `Flow`.

    Returns:
        A prior, in the precision and on the device of the codes.

    Raises:
        ParameterError: If the codes are not finite `(n, latent)`.

    Example:
        >>> z = torch.randn(256, 2, generator=torch.Generator().manual_seed(0)) + 3
        >>> fit_flow(z, seed=0, steps=100, hidden=(8,)).log_prob(z).mean() > -5  # before, and as a standard normal: -12
        tensor(True)
    """
    if z.ndim != 2 or not z.numel() or not bool(z.isfinite().all()):
        raise fail("z", "finite codes, (n, latent)", tuple(z.shape))
    z = z.detach()
    flow = Flow(z.shape[1], seed=seed, **options).to(z)
    flow.shift.copy_(z.mean(0))
    flow.scale.copy_(z.std(0, correction=0).clamp(min=1e-6))

    def loss(some: Tensor, noise: Noise) -> Tensor:
        return -flow.log_prob(some).mean()

    phase = Phase(
        "nll", loss, optimizer=torch.optim.Adam(flow.parameters(), learning_rate), clip=10.0, schedule=Cosine(steps)
    )
    data = batches(z, batch_size=min(batch_size, len(z)), seed=seed)
    for _ in train([phase], islice(data.after(0), steps), seed=seed):
        pass
    return flow


@torch.no_grad()
def _begin(flow: nn.Module, seed: int) -> None:
    """Draws the weights anew, by seed: of linear layers as torch does, but from no global generator."""
    rng = torch.Generator().manual_seed(random.stream(random.check_seed("seed", seed), 0))
    for layer in flow.modules():
        scale = layer.in_features**-0.5 if isinstance(layer, nn.Linear) else 1.0
        for values in layer.parameters(recurse=False):
            values.uniform_(-1, 1, generator=rng).mul_(scale)
