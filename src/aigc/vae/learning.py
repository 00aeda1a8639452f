"""How a VAE is trained: its one phase on the engine of `aigc.training`."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aigc import data as sources
from aigc._checks import fail, fail_type
from aigc.training import EMA, Every, History, Logger, Loss, Noise, Phase, Schedule, batches
from aigc.training import fit as run
from aigc.vae.bounds import elbo
from aigc.vae.diagnostics import Diagnosis

if TYPE_CHECKING:
    from aigc.vae.model import VAE

__all__ = ["fit"]

_LOOKED_AT = 512  # examples that are checked before training, and looked at for collapse after it


def fit(
    vae: "VAE",
    data: Any,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    batch_size: int = 128,
    seed: int | None = None,
    lr: float = 1e-3,
    schedule: Schedule | None = None,
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None,
    transform: Callable[[Tensor, Noise], Tensor] | None = None,
    average: float | None = None,
    accumulate: int = 1,
    clip: float | None = None,
    precision: str = "float32",
    checkpoint_dir: str | Path | None = None,
    checkpoint_every: int = 1000,
    log_every: int = 50,
    loggers: Sequence[Logger] = (),
    every: Sequence[Every] = (),
    progress: Any = None,
    workers: int = 0,
) -> History:
    """Trains a VAE: `vae.fit(data, ...)`.

    Args:
        vae: The model.
        data: A tensor or array `(n, *data)`; a tuple `(data, condition)` of such; a `Dataset` of examples or of such pairs;
            a DataLoader or another iterable of batches; or the path of a folder of images.
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
    found = _source(vae, data)
    first = _first(found, batch_size)
    _check(vae, first, found, transform)
    parameters = [parameter for parameter in vae.parameters() if parameter.requires_grad]
    chosen = torch.optim.Adam(parameters, lr=lr, fused=True) if optimizer is None else optimizer(parameters)
    how: dict[str, Any] = {"accumulate": accumulate, "clip": clip, "schedule": schedule, "precision": precision}
    phase = Phase("loss", _loss(vae, transform), optimizer=chosen, **how)
    vae.train()
    averages = {} if average is None else {"vae": EMA(vae, half_life=average, ramp=0.1)}
    history = run(
        [phase],
        found,
        modules={"vae": vae},
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
        identity={"latent": vae.latent, "bound": repr(vae.bound)},
    )
    for ema in averages.values():
        vae.load_state_dict(ema.average.state_dict())
    vae.eval()
    _warn(vae, first, transform)
    return history


def _loss(vae: "VAE", transform: Callable[[Tensor, Noise], Tensor] | None) -> Callable[[Any, Noise], Loss]:
    def loss(batch: Any, noise: Noise) -> Loss:
        x, condition = _parts(batch)
        x = x if transform is None else transform(x, noise)
        codes = noise.normal(vae.bound.samples, vae.latent, dtype=torch.float64 if x.dtype == torch.float64 else None)
        terms = vae.terms(x, codes.transpose(0, 1), condition)
        with torch.no_grad():
            parts = elbo(terms)
            report = {"rate": parts.divergence.mean(), "distortion": -parts.reconstruction.mean()}
        return Loss(vae.bound.loss(terms, noise.step).mean(), report)

    return loss


def _source(vae: "VAE", data: Any) -> Any:
    if isinstance(data, str | Path):
        if not vae.images or vae.shape is None:
            raise fail_type("data", "tensors, where the model is not of for_images", data, "Read the files first.")
        channels, height, width = vae.shape
        return sources.images(data, size=(height, width), channels=channels)  # type: ignore[arg-type]  # it checks them
    return data


def _first(data: Any, batch_size: int) -> Any:
    """A look at the data; of an iterator, which would lose it, none."""
    if iter(data) is data if hasattr(data, "__next__") else False:
        return None
    source = batches(data, batch_size=1, seed=0)
    if hasattr(source, "order"):
        count = min(_LOOKED_AT, source.order.examples)
        batches(data, batch_size=batch_size, seed=0)  # raises here if there are too few
        source = batches(data, batch_size=count, seed=0)
    return next(islice(source.after(0), 1), None)


def _check(vae: "VAE", first: Any, data: Any, transform: Callable[[Tensor, Noise], Tensor] | None) -> None:
    if first is None:
        return
    x, _ = _parts(first)
    whole, _ = _parts(data) if isinstance(data, Tensor | tuple) and isinstance(_parts(data)[0], Tensor) else (x, None)
    if vae.images:
        sources.check_images(whole, shape=vae.shape)  # type: ignore[arg-type]  # (channels, height, width)
    if transform is None:
        vae.likelihood.check(whole)
    else:
        x = transform(x, Noise(0, 0, 0, rows=slice(0, len(x)), batch=len(x), device=x.device))
        vae.likelihood.check(x)
    if vae.shape is None:
        vae.shape = tuple(x.shape[1:])
    elif tuple(x.shape[1:]) != vae.shape:
        raise fail("data", f"examples of shape {vae.shape}", tuple(x.shape[1:]))


def _parts(batch: Any) -> tuple[Any, Tensor | None]:
    """Data and condition."""
    if isinstance(batch, Mapping):
        raise fail_type("data", "a tensor, or a tuple (data, condition)", batch, 'Give (batch["x"], batch["y"]).')
    if isinstance(batch, tuple | list):
        if len(batch) > 2:
            raise fail("data", "a tensor, or a tuple (data, condition)", f"{len(batch)} parts")
        return batch[0], batch[1] if len(batch) == 2 else None
    return batch, None


@torch.no_grad()
def _warn(vae: "VAE", first: Any, transform: Callable[[Tensor, Noise], Tensor] | None) -> Diagnosis | None:
    if first is None or len(_parts(first)[0]) < 2:
        return None
    x, condition = (None if part is None else part[:_LOOKED_AT].to(vae.device) for part in _parts(first))
    assert x is not None
    if transform is not None:
        x = transform(x, Noise(0, 0, 0, rows=slice(0, len(x)), batch=len(x), device=x.device))
    found = vae.diagnose(x, condition=condition)
    if found.warning is not None:
        warnings.warn(found.warning, stacklevel=4)
    return found
