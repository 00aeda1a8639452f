"""How a model with discrete codes is trained, and then its prior."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aigc import random
from aigc._checks import fail
from aigc.nets import CausalTransformer, Condition, Vector
from aigc.nets.conditions import condition_json
from aigc.training import History, Loss, Noise
from aigc.training.resting import at_rest
from aigc.vae import learning
from aigc.vae.files import likelihood_config
from aigc.vae.learning import FitOptions, Task, Transform, parts
from aigc.vae.priors import Autoregressive
from aigc.vae.vqfiles import quantiser_config

if TYPE_CHECKING:
    from aigc.vae.vqvae import VQVAE

__all__ = ["fit_prior", "task"]

_CHUNK = 512  # examples that are encoded at once


def task(vae: "VQVAE") -> Task:
    r"""What a model with discrete codes minimises, $-\log p(x \mid q) + \beta D\, \|z - q\|^2 / n$, for each example.

    D is how many numbers an example has, and n how many its vectors z have, so that $\beta$ weighs the mean squared
    distance against the mean of $-\log p$ over the example's numbers.
    """
    trained = nn.ModuleDict({name: getattr(vae, name) for name in ("encoder", "decoder", "quantiser", "likelihood")})

    def loss(x: Tensor, condition: Tensor | None, noise: Noise) -> Loss:
        vae.prior = None  # of the codes that were
        found = vae.quantise(x, condition)
        distortion = -vae.log_prob(x, found.codes, condition)
        penalty = vae.commitment * x[0].numel() * found.commitment
        report = {
            "distortion": distortion.mean(),
            "commitment": found.commitment.mean(),
            "perplexity": found.perplexity.float().mean(),
        }
        return Loss((distortion + penalty).mean(), {name: value.detach() for name, value in report.items()})

    def warning(x: Tensor, condition: Tensor | None) -> str | None:
        return vae._diagnosed(x, condition).warning  # of what a transform made, such as noise beyond [0, 1], too

    identity = {
        "commitment": vae.commitment,
        "quantiser": quantiser_config(vae.quantiser),
        "likelihood": likelihood_config(vae.likelihood),
    }
    return Task(vae, trained, loss, identity, warning=warning)


def fit_prior(vae: "VQVAE", data: Any, sizes: dict[str, Any], condition: Condition | None, options: FitOptions) -> History:
    """Trains a new prior, and gives it to the model.

    Args:
        vae: Whose codes it is of.
        data: As for `learning.fit`.
        sizes: Of `CausalTransformer`: width, layers, heads, dropout.
        condition: What the prior is told.
        options: As for `learning.fit`.
    """
    if vae.shape is None:
        raise fail("shape", "known before a prior is fitted", None, "Train the model first.")
    seed = options.get("seed")
    if seed is None and options.get("checkpoint_dir") is None:
        seed = options["seed"] = random.fresh_seed()
    blank = torch.zeros(1, *vae.shape, dtype=next(vae.parameters()).dtype)
    shape = tuple(_encoded(vae, blank, _nothing(vae.condition)).shape[1:])
    depth, first = vae.quantiser.depth or 1, 0 if seed is None else random.stream(random.check_seed("seed", seed), 0)
    net = CausalTransformer(vae.quantiser.count, math.prod(shape), depth=depth, condition=condition, seed=first, **sizes)
    prior = Autoregressive(net, shape).to(next(vae.parameters()))
    identity = {"prior": prior.config, "condition": condition_json(vae.condition)}
    history = learning.fit(Task(vae, prior, _loss(vae, prior), identity, prepare=_codes(vae)), data, **options)
    vae.prior = prior
    return history


def _loss(vae: "VQVAE", prior: Autoregressive) -> Any:
    def loss(x: Tensor, condition: Tensor | None, noise: Noise) -> Loss:
        indices = x if x.dtype == torch.int64 else _encoded(vae, x, condition)
        nats = -prior.log_prob(indices, condition).mean()
        return Loss(nats, {"bits": nats.detach() / math.log(2) / indices[0].numel()})

    return loss


def _codes(vae: "VQVAE") -> Any:
    """Data that are at hand are encoded once, unless each batch is changed; others when their turn comes."""

    def prepare(data: Any, transform: Transform | None) -> Any:
        x, condition = parts(data) if isinstance(data, tuple) else (data, None)
        if transform is not None or not hasattr(x, "__array__"):
            return data
        x = torch.as_tensor(x)
        told = None if condition is None else torch.as_tensor(condition)
        found = []
        for first in range(0, len(x), _CHUNK):
            some = None if told is None else told[first : first + _CHUNK]
            found.append(_encoded(vae, x[first : first + _CHUNK], some).cpu())
        indices = torch.cat(found)
        return indices if told is None else (indices, told)

    return prepare


@torch.no_grad()
def _encoded(vae: "VQVAE", x: Tensor, condition: Tensor | None) -> Tensor:
    """The indices of data; the nets are told the condition if they want one."""
    told = condition if vae.condition is not None else None
    like = next(vae.parameters())
    with at_rest([vae]):
        return vae.quantise(x.to(like.device), None if told is None else told.to(like.device)).indices


def _nothing(condition: Condition | None) -> Tensor | None:
    """A condition to try nets with."""
    if condition is None:
        return None
    return torch.zeros(1, condition.size) if isinstance(condition, Vector) else torch.zeros(1, dtype=torch.int64)
