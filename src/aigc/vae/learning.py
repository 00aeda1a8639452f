"""How a VAE is trained: its one phase on the engine of `aigc.training`; those of discrete codes are trained by the same."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from aigc._checks import number
from aigc._models.data import (
    LOOKED_AT,
    Transform,
    check,
    check_taken,
    check_told,
    check_type,
    first,
    parts,
    source,
    transformed,
)
from aigc._models.data import Model as Seen
from aigc.training import EMA, Every, History, Logger, Loss, Noise, Phase, RunOptions, Schedule
from aigc.training import fit as run
from aigc.training.options import check_moves, check_options, trainable
from aigc.training.progress import Watcher
from aigc.vae.bounds import elbo
from aigc.vae.files import bound_config, likelihood_config, prior_config

if TYPE_CHECKING:
    from aigc.vae.model import VAE

__all__ = ["FitOptions", "Model", "Task", "Transform", "fit", "parts", "task"]

Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class Model(Seen, Protocol):
    """What data have to suit.

    Attributes:
        images: Whether they are images in [0, 1].
        shape: Of one example; None until the first data say it.
        encoder: Reads them.
        likelihood: Checks what values they have.
    """

    encoder: nn.Module
    likelihood: Any

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained, and what is minimised: all in which models differ.

    Attributes:
        model: What data have to suit.
        module: What is trained, is in training mode meanwhile, and is held by checkpoints and averages.
        loss: Of data, condition and noise.
        identity: What a run must have in common with the one it resumes, as JSON.
        prepare: From data that were checked, and the transform, to the data that are trained on.
        warning: Looks at data and condition after training: a sentence if something is wrong.
    """

    model: Model
    module: nn.Module
    loss: Callable[[Tensor, Tensor | None, Noise], Loss]
    identity: Mapping[str, Any]
    prepare: Callable[[Any, Transform | None], Any] | None = None
    warning: Callable[[Tensor, Tensor | None], str | None] | None = None


class FitOptions(RunOptions, total=False):
    """What `VAE.fit` takes besides data: see `fit`."""

    lr: float
    optimizer: Optimizer | None
    transform: Transform | None


def fit(
    task: Task,
    data: Any,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    batch_size: int = 128,
    seed: int | None = None,
    lr: float = 1e-3,
    schedule: Schedule | None = None,
    optimizer: Optimizer | None = None,
    transform: Transform | None = None,
    average: float | None = None,
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
    """Trains a VAE: `vae.fit(data, ...)`.

    Args:
        task: What is trained, and what is minimised: the model knows it.
        data: A tensor or array `(n, *data)`; a tuple `(data, condition)` of such; a `Dataset` of examples or of such pairs;
            a DataLoader or another iterable of batches; or the path of a folder of images, which have the model's shape.
        epochs: Of the whole run; 20, if neither this nor `steps` is given.
        steps: Of the whole run, in place of `epochs`.
        batch_size: Examples of a batch.
        seed: An int, or None for fresh entropy.
        lr: Of Adam.
        schedule: What the learning rate is multiplied by, as `aigc.training.Cosine(steps)`.
        optimizer: From parameters to an optimizer of torch, in place of Adam with `lr`.
        transform: Changes each batch before it is looked at, such as `lambda x, noise: noise.bernoulli(x)`, which draws
            binary images anew each time.
        average: The half-life, in examples, of an average of the weights, which the model has at the end; None is off.
        accumulate: Micro-batches of a batch.
        clip: The largest norm of a gradient.
        precision: As for `aigc.training.Phase`.
        checkpoint_dir: As for `aigc.training.fit`; a run that was cut goes on, and ends as the uncut one.
        checkpoint_every: As for `aigc.training.fit`.
        log_every: As for `aigc.training.fit`.
        loggers: As for `aigc.training.fit`.
        every: As for `aigc.training.fit`.
        progress: As for `aigc.training.fit`.
        workers: As for `aigc.training.fit`.

    Raises:
        ParameterError: If the data is not what model and likelihood are about, before training.
        TrainingError: If the loss or a gradient is not finite.
    """
    check_options(average=average, optimizer=optimizer, transform=transform)
    data = source(task.model, data)
    seen = first(data, batch_size)
    _check(task, seen, data, transform, batch_size)
    if task.prepare is not None:
        data = task.prepare(data, transform)
    parameters, lr = trainable("model", task.module), number("lr", lr, low=0)
    chosen = torch.optim.Adam(parameters, lr=lr, fused=True) if optimizer is None else optimizer(parameters)
    check_moves(chosen, parameters)
    how: dict[str, Any] = {"accumulate": accumulate, "clip": clip, "schedule": schedule, "precision": precision}
    phase = Phase("loss", _loss(task, transform), optimizer=chosen, **how)
    averages = {} if average is None else {"vae": EMA(task.module, half_life=average, ramp=0.1)}
    task.module.train()
    try:
        history = run(
            [phase],
            data,
            modules={"vae": task.module},
            batch_size=batch_size,
            steps=steps,
            epochs=20 if steps is None and epochs is None else epochs,
            seed=seed,
            averages=averages,
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=checkpoint_every,
            log_every=log_every,
            loggers=loggers,
            every=every,
            progress=progress,
            workers=workers,
            identity=task.identity,
        )
    finally:
        task.module.eval()
    for ema in averages.values():
        task.module.load_state_dict(ema.average.state_dict())
    _warn(task, seen, transform)
    return history


def task(vae: "VAE") -> Task:
    """What a VAE minimises: its bound."""

    def loss(x: Tensor, condition: Tensor | None, noise: Noise) -> Loss:
        codes = noise.normal(vae.bound.samples, vae.latent, dtype=torch.float64 if x.dtype == torch.float64 else None)
        terms = vae.terms(x, codes.transpose(0, 1), condition)
        with torch.no_grad():
            found = elbo(terms)
            report = {"rate": found.divergence.mean(), "distortion": -found.reconstruction.mean()}
        return Loss(vae.bound.loss(terms, noise.step).mean(), report)

    def warning(x: Tensor, condition: Tensor | None) -> str | None:
        return vae._diagnosed(x, 0, condition).warning  # of what a transform made, such as noise beyond [0, 1], too

    identity = {
        "latent": vae.latent,
        "bound": bound_config(vae.bound),
        "likelihood": likelihood_config(vae.likelihood),
        "prior": prior_config(vae.prior),
    }
    return Task(vae, vae, loss, identity, warning=warning)


def _loss(task: Task, transform: Transform | None) -> Callable[[Any, Noise], Loss]:
    def loss(batch: Any, noise: Noise) -> Loss:
        x, condition = parts(batch)
        return task.loss(x if transform is None else transform(x, noise), condition, noise)

    return loss


def _check(task: Task, seen: Any, data: Any, transform: Transform | None, examples: int) -> None:
    """Checks data and conditions, all that are at hand, and tells the model their shape."""
    x = check(task.model, seen, data)
    if x is None:
        return
    check_told(task.module.children(), seen, data)
    looked = x if transform is None else transformed(parts(seen)[0], transform)
    check_type(looked, task.module)
    task.model.likelihood.check(looked)
    if task.model.shape is None and transform is None:
        some, told = parts(seen)
        check_taken("encoder", task.model.encoder, some[:examples], None if told is None else told[:examples])
    task.model.shape = tuple(x.shape[1:])


@torch.no_grad()
def _warn(task: Task, seen: Any, transform: Transform | None) -> None:
    """Warns if the codes have collapsed."""
    if task.warning is None or seen is None or len(parts(seen)[0]) < 2:
        return
    x, condition = (None if part is None else part[:LOOKED_AT].to(task.model.device) for part in parts(seen))
    assert x is not None, "a batch has data"
    warning = task.warning(transformed(x, transform), condition)
    if warning is not None:
        warnings.warn(warning, stacklevel=4)
