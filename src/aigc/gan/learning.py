"""How a GAN is trained: two phases on the engine of `aigc.training`."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aigc._checks import fail, integer, number
from aigc._models.data import Transform, check, check_taken, check_told, check_type, first, parts, source
from aigc.gan.files import loss_config, penalty_config
from aigc.gan.penalties import R1, R2, Penalty, annealed, balance, default_gamma
from aigc.gan.playing import discriminator_loss, generator_loss
from aigc.training import EMA, Cosine, Every, History, Logger, Phase, RunOptions, Schedule, Stream, batches
from aigc.training import fit as run
from aigc.training.options import check_moves, check_options, trainable
from aigc.training.pieces import length
from aigc.training.progress import Watcher

if TYPE_CHECKING:
    from aigc.gan.model import GAN

__all__ = ["FitOptions", "default_penalties", "fit"]

Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

_NONE = 1e-9  # the half-life, in examples, of an average that is the weights themselves
_TINY = 1e-4  # of a loss and its penalty, in logits: the ratio of two numbers below it says nothing of gamma


class FitOptions(RunOptions, total=False):
    """What `GAN.fit` takes besides data: see `fit`."""

    lr: float | tuple[float, float]
    optimizer: Optimizer | None
    transform: Transform | None
    critics: int


def fit(
    gan: "GAN",
    data: Any,
    *,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int = 64,
    seed: int | None = None,
    lr: float | tuple[float, float] = 2e-4,
    schedule: Schedule | None = None,
    optimizer: Optimizer | None = None,
    transform: Transform | None = None,
    critics: int = 1,
    average: float | None = 20_000,
    accumulate: int = 1,
    clip: float | None = None,
    precision: str = "float32",
    checkpoint_dir: str | Path | None = None,
    checkpoint_every: int = 1000,
    log_every: int = 50,
    loggers: Sequence[Logger] = (),
    every: Sequence[Every] = (),
    progress: Watcher = None,
    workers: int = 0,
) -> History:
    r"""Trains a GAN: `gan.fit(data, ...)`.

    In each step the discriminator moves, and then the generator, each on fresh noise. The learning rate falls to a quarter
    along half a cosine, and the weight of the default penalties to a tenth, as in R3GAN (Huang et al., arXiv:2501.05441).

    Args:
        gan: The model.
        data: A tensor or array `(n, *data)`; a tuple `(data, condition)` of such; a `Dataset` of examples or of such pairs;
            a DataLoader or another iterable of batches; or the path of a folder of images, which have the model's shape.
        steps: Of the whole run; 10,000, if neither this nor `epochs` is given. A run that goes on is given the same.
        epochs: Of the whole run, in place of `steps`.
        batch_size: Examples of a batch; of an epoch, the last few that fill none are left out. Those of a DataLoader have
            its own size.
        seed: An int, or None for fresh entropy.
        lr: Of Adam with beta (0, 0.99); two numbers are those of generator and discriminator.
        schedule: What the learning rates are multiplied by, in place of `Cosine(steps, last=0.25)`.
        optimizer: From the parameters of one player to an optimizer of torch, in place of Adam with `lr`.
        transform: Changes each batch before it is looked at, such as one that mirrors half of the images: `lambda x, noise:
            x.where(noise.uniform(1, 1, 1) < 0.5, x.flip(-1))`.
        critics: Steps of the discriminator to one of the generator, such as 5 for `losses.Wasserstein()`.
        average: The half-life, in examples, of the average of the generator's weights, which samples are drawn with; None
            draws them with the weights themselves. It begins anew with each call.
        accumulate: Micro-batches of a batch.
        clip: The largest norm of a gradient, of each player.
        precision: As for `aigc.training.Phase`; gradient penalties are computed in float32.
        checkpoint_dir: As for `aigc.training.fit`; a run that was cut goes on, and ends as the uncut one.
        checkpoint_every: As for `aigc.training.fit`.
        log_every: As for `aigc.training.fit`.
        loggers: As for `aigc.training.fit`.
        every: As for `aigc.training.fit`; samples drawn there are those of the average.
        progress: As for `aigc.training.fit`.
        workers: As for `aigc.training.fit`.

    Raises:
        ParameterError: If the data is not what the model is about, before training.
        TrainingError: If a loss or a gradient is not finite, or the generator has collapsed; the last checkpoint stays.
    """
    check_options(average=average, optimizer=optimizer, transform=transform)
    data = source(gan, data)
    examples = _check(gan, data, batch_size, transform)
    total = _steps(data, steps, epochs, batch_size)
    chosen = default_penalties(gan, examples, total) if gan.penalties is None else gan.penalties
    phases = _phases(
        gan, chosen, lr, optimizer, transform, critics,
        saved_every=checkpoint_every, accumulate=accumulate, clip=clip, precision=precision,
        schedule=Cosine(total, last=0.25) if schedule is None else schedule,
    )  # fmt: skip
    ema = EMA(gan.generator, half_life=_NONE if average is None else average, ramp=0.05, average=gan.average)
    gan.train()
    try:
        history = run(
            phases, data, modules=gan.trained(), batch_size=batch_size, steps=total, seed=seed,
            averages={"generator": ema}, checkpoint_dir=checkpoint_dir, checkpoint_every=checkpoint_every,
            log_every=log_every, loggers=loggers, every=every, progress=progress, workers=workers, drop_last=True,
            identity={
                "latent": gan.latent, "loss": loss_config(gan.loss), "penalties": [penalty_config(p) for p in chosen],
                "critics": critics,
            },
        )  # fmt: skip
    finally:
        gan.eval()
    _warn(gan, history)
    return history


def default_penalties(gan: "GAN", batch_size: int, steps: int) -> tuple[Penalty, ...]:
    """R1 and R2 with the default gamma for data of the model's shape, which falls to a tenth."""
    assert gan.shape is not None, "data were looked at"
    gamma = default_gamma(gan.shape, batch_size) * (4 if gan.images else 1)  # the nets see images in [-1, 1]
    schedule = annealed(gamma, steps=steps)
    return R1(schedule), R2(schedule)


def _check(gan: "GAN", data: Any, batch_size: int, transform: Transform | None) -> int:
    """Checks data and conditions, tells the model their shape, and says how many examples a batch has."""
    seen = first(data, batch_size)
    x = check(gan, seen, data)
    if x is None:
        if gan.shape is None:
            raise fail("data", "something that can be looked at before training", data, "Say shape= when building the GAN.")
        return batch_size
    if not x.is_floating_point():
        raise fail("data", "of floating numbers", x.dtype, "Call .float().")
    if not gan.images and not bool(x.isfinite().all()):  # images were looked at
        raise fail("data", "finite", f"{int((~x.isfinite()).sum())} values that are NaN or infinite", "Clean the data.")
    if transform is None:
        check_type(x, gan.discriminator)
    check_told((gan.generator, gan.discriminator), seen, data)
    own = isinstance(batches(data, batch_size=batch_size, seed=0), Stream)  # a DataLoader's batches have their own size
    examples = length(seen) if own else batch_size
    packs = int(getattr(gan.discriminator, "packing", 1))
    if packs > 1 and parts(seen)[1] is not None:
        raise fail("data", "without conditions where examples are packed", "conditions", "Give the examples alone.")
    if examples % packs:
        raise fail("batch_size", f"a multiple of {packs}, how many examples are packed", examples)
    if gan.shape is None and transform is None:
        _check_players(gan, *parts(seen), examples)
    gan.shape = tuple(x.shape[1:])
    return examples


def _check_players(gan: "GAN", x: Tensor, told: Tensor | None, examples: int) -> None:
    """Tries players of the caller's own on as many examples as a batch has: else a step would fail in its midst."""
    some, x = None if told is None else told[:examples], x[:examples]
    check_taken("discriminator", gan.discriminator, gan.inward(x), some)
    made = check_taken("generator", gan.generator, x.new_zeros(len(x), gan.latent), some)
    if made[0].numel() != x[0].numel():
        cure = "Build it for data of that shape."
        raise fail("generator", f"a module to data of shape {tuple(x.shape[1:])}", tuple(made.shape[1:]), cure)


def _steps(data: Any, steps: int | None, epochs: float | None, batch_size: int) -> int:
    if steps is not None or epochs is None:
        if epochs is not None:
            raise fail("steps", "given, or else epochs", (steps, epochs), "Give one of the two.")
        return integer("steps", 10_000 if steps is None else steps, low=1)
    if not number("epochs", epochs, low=0) > 0:
        raise fail("epochs", "a number above 0", epochs)
    known = batches(data, batch_size=batch_size, seed=0, drop_last=True).steps
    if known is None:
        raise fail("epochs", "left out where nobody knows how long the data is", epochs, "Give steps.")
    return max(1, round(epochs * known))


def _phases(
    gan: "GAN",
    penalties: Sequence[Penalty],
    lr: float | tuple[float, float],
    optimizer: Optimizer | None,
    transform: Transform | None,
    critics: int,
    *,
    saved_every: int,
    **how: Any,
) -> list[Phase]:
    rates = [number("lr", rate, low=0) for rate in (lr if isinstance(lr, tuple) else (lr, lr))]
    if len(rates) != 2:
        raise fail("lr", "a number, or two: of generator and discriminator", lr)
    critics = integer("critics", critics, low=1)

    def chosen(name: str, net: nn.Module, rate: float) -> torch.optim.Optimizer:
        parameters = trainable(name, net)
        if optimizer is not None:
            check_moves(made := optimizer(parameters), parameters)
            return made
        return torch.optim.Adam(parameters, lr=rate, betas=(0.0, 0.99), fused=True)

    often = {"plays_every": critics, "saved_every": integer("checkpoint_every", saved_every, low=1)}
    generator = generator_loss(gan, transform, **often)
    move = chosen("discriminator", gan.discriminator, rates[1]), chosen("generator", gan.generator, rates[0])
    return [
        Phase("discriminator", discriminator_loss(gan, penalties, transform), optimizer=move[0], **how),
        Phase("generator", generator, optimizer=move[1], every=critics, **how),
    ]


def _warn(gan: "GAN", history: History) -> None:
    """Says where the penalty was far too large or too small, over the last tenth of the run.

    Where the discriminator cannot tell, its slopes are 0, and so is the penalty: that is the goal, and no reason to warn.
    So it is where both are all but 0, as at the equilibrium of Wasserstein's game.
    """
    values = history.values
    if not values.get("discriminator/penalty") or history.done < 100:
        return
    last = max(1, len(history.steps) // 10)
    means = [sum(values[name][-last:]) / last for name in ("discriminator/adversarial", "discriminator/penalty")]
    warning = balance(*means).warning if means[1] >= 0 else None  # one of the caller's own may be below 0
    blind = float(gan.loss.discriminator(torch.zeros(2), torch.zeros(2)))  # the loss of one that cannot tell
    at_goal = means[1] < means[0] and means[0] > 0.8 * blind > 0
    if warning is not None and not at_goal and max(abs(means[0]), means[1]) >= _TINY:
        warnings.warn(f"In the last steps {warning}", stacklevel=4)
