"""How a VAE is trained: its one phase on the engine of `aigc.training`; those of discrete codes are trained by the same."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import torch
from torch import Tensor, nn

from aigc import data as sources
from aigc._checks import fail, fail_type
from aigc.training import EMA, Every, History, Logger, Loss, Noise, Phase, Schedule, batches
from aigc.training import fit as run
from aigc.training.progress import Watcher
from aigc.vae.bounds import elbo
from aigc.vae.files import bound_config

if TYPE_CHECKING:
    from aigc.vae.model import VAE

__all__ = ["FitOptions", "Model", "Task", "Transform", "fit", "parts", "task"]

Transform = Callable[[Tensor, Noise], Tensor]
Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

_LOOKED_AT = 512  # examples that are checked before training, and looked at for collapse after it


class Model(Protocol):
    """What data have to suit.

    Attributes:
        images: Whether they are images in [0, 1].
        shape: Of one example; None until the first data say it.
        likelihood: Checks what values they have.
    """

    images: bool
    shape: tuple[int, ...] | None
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


class FitOptions(TypedDict, total=False):
    """What `VAE.fit` takes besides data: see `fit`."""

    epochs: float | None
    steps: int | None
    batch_size: int
    seed: int | None
    lr: float
    schedule: Schedule | None
    optimizer: Optimizer | None
    transform: Transform | None
    average: float | None
    accumulate: int
    clip: float | None
    precision: str
    checkpoint_dir: str | Path | None
    checkpoint_every: int
    log_every: int
    loggers: Sequence[Logger]
    every: Sequence[Every]
    progress: Watcher
    workers: int


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
    data = _source(task.model, data)
    first = _first(data, batch_size)
    _check(task.model, first, data, transform)
    if task.prepare is not None:
        data = task.prepare(data, transform)
    parameters = [parameter for parameter in task.module.parameters() if parameter.requires_grad]
    chosen = torch.optim.Adam(parameters, lr=lr, fused=True) if optimizer is None else optimizer(parameters)
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
    _warn(task, first, transform)
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
        return vae.diagnose(x, condition=condition).warning

    return Task(vae, vae, loss, {"latent": vae.latent, "bound": bound_config(vae.bound)}, warning=warning)


def _loss(task: Task, transform: Transform | None) -> Callable[[Any, Noise], Loss]:
    def loss(batch: Any, noise: Noise) -> Loss:
        x, condition = parts(batch)
        return task.loss(x if transform is None else transform(x, noise), condition, noise)

    return loss


def _source(vae: Model, data: Any) -> Any:
    """Data; of a path, the images there, as they are."""
    if not isinstance(data, str | Path):
        return data
    if not vae.images:
        raise fail_type("data", "tensors, where the model is not of for_images", data, "Read the files first.")
    return sources.images(data)


def _first(data: Any, batch_size: int) -> Any:
    """The first examples, to be looked at; of an iterator, which would lose them, none."""
    if isinstance(data, Iterator):
        return None
    source = batches(data, batch_size=batch_size, seed=0)
    if hasattr(source, "order"):
        source = batches(data, batch_size=min(_LOOKED_AT, source.order.examples), seed=0)
    return next(source.after(0), None)


def _check(vae: Model, first: Any, data: Any, transform: Transform | None) -> None:
    """Checks data that are at hand whole, and of others the first."""
    if first is None:
        return
    x = parts(data if isinstance(data, Tensor | tuple) else first)[0]
    x = x if isinstance(x, Tensor) else parts(first)[0]  # an array, which became a tensor there
    shape = tuple(x.shape[1:])
    if vae.shape is not None and shape != vae.shape:
        cure = f"Read them with aigc.data.images(path, size={vae.shape[1:]})." if vae.images else ""
        raise fail("data", f"examples of shape {vae.shape}", shape, cure)
    if vae.images:
        sources.check_images(x)
    vae.likelihood.check(x if transform is None else _transformed(parts(first)[0], transform))
    vae.shape = shape


def _transformed(x: Tensor, transform: Transform | None) -> Tensor:
    """Examples as a step would see them."""
    if transform is None:
        return x
    return transform(x, Noise(0, 0, 0, rows=slice(0, len(x)), batch=len(x), device=x.device))


def parts(batch: Any) -> tuple[Any, Tensor | None]:
    """Data and condition."""
    if isinstance(batch, Mapping):
        raise fail_type("data", "a tensor, or a tuple (data, condition)", batch, 'Give (batch["x"], batch["y"]).')
    if isinstance(batch, tuple | list):
        if len(batch) > 2:
            raise fail("data", "a tensor, or a tuple (data, condition)", f"{len(batch)} parts")
        return batch[0], batch[1] if len(batch) == 2 else None
    return batch, None


@torch.no_grad()
def _warn(task: Task, first: Any, transform: Transform | None) -> None:
    """Warns if the codes have collapsed."""
    if task.warning is None or first is None or len(parts(first)[0]) < 2:
        return
    x, condition = (None if part is None else part[:_LOOKED_AT].to(task.model.device) for part in parts(first))
    assert x is not None, "a batch has data"
    warning = task.warning(_transformed(x, transform), condition)
    if warning is not None:
        warnings.warn(warning, stacklevel=4)
