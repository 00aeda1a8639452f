"""Data before a run: what a model cannot learn from is named, with a cure, before anything is changed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from aigc import data as sources
from aigc._checks import fail, fail_type
from aigc.data.checks import check_levels
from aigc.device import preserved_rng
from aigc.nets.conditions import check_condition
from aigc.training import Noise, batches
from aigc.training.resting import at_rest

__all__ = [
    "LOOKED_AT",
    "Model",
    "Transform",
    "check",
    "check_alike",
    "check_given",
    "check_taken",
    "check_told",
    "check_type",
    "first",
    "parts",
    "source",
    "transformed",
]

Transform = Callable[[Tensor, Noise], Tensor]

LOOKED_AT = 512  # examples that are checked before training, and looked at after it


class Model(Protocol):
    """What data have to suit.

    Attributes:
        images: Whether they are images in [0, 1].
        shape: Of one example; None until the first data say it.
    """

    images: bool
    shape: tuple[int, ...] | None


def source(model: Model, data: Any) -> Any:
    """Data; of a path, the images there, as they are."""
    if not isinstance(data, str | Path):
        return data
    if not model.images:
        raise fail_type("data", "tensors, where the model is not of for_images", data, "Read the files first.")
    return sources.images(data)


def first(data: Any, batch_size: int) -> Any:
    """The first examples, to be looked at; of an iterator, which would lose them, none."""
    if isinstance(data, Iterator):
        return None
    found = batches(data, batch_size=batch_size, seed=0)
    if hasattr(found, "order"):
        found = batches(data, batch_size=min(LOOKED_AT, found.order.examples), seed=0)
    return next(found.after(0), None)


def check(model: Model, seen: Any, data: Any) -> Tensor | None:
    """Checks data that are at hand whole, and of others the first, and tells the model their shape.

    Args:
        model: What they have to suit.
        seen: The first examples, or None.
        data: All of them.

    Returns:
        What was checked, without conditions; None if nothing was seen.
    """
    if seen is None:
        return None
    x = _whole(data, seen)[0]
    assert x is not None, "a batch has data"
    shape = tuple(x.shape[1:])
    if model.shape is not None and shape != model.shape:
        raise fail("data", f"examples of shape {model.shape}", shape, _cure(model.shape, shape, model.images))
    if model.images:
        sources.check_images(x)
    return x


def check_given(model: Model, name: str, x: Any, *, least: int = 1) -> Tensor:
    """Checks examples that a model is to look at: a tensor of finite floats, of its shape, of images in [0, 1].

    Images of one colour are taken: nobody learns from these.
    """
    if not isinstance(x, Tensor):
        raise fail_type(name, "a tensor of floats", x, "Call torch.as_tensor(x).")
    if not x.is_floating_point():
        cure = "Call x.float() / 255." if model.images else "Call x.float()."
        raise fail_type(name, "a tensor of floats", x.dtype, cure)
    wanted = "(n, *data)" if model.shape is None else f"(n, {', '.join(map(str, model.shape))})"
    shape = tuple(x.shape)
    if not shape or shape[0] < least or not x.numel() or (model.shape is not None and shape[1:] != model.shape):
        other = model.shape if model.shape is not None and len(shape) == len(model.shape) + 1 else shape[1:]
        cure = _cure(other, shape[1:], model.images)
        cure = "Call x[None] on one." if shape and shape == model.shape and least == 1 else cure
        raise fail(name, f"of shape {wanted}, with n at least {least}", shape, cure)
    if model.images:
        check_levels(name, x)
    elif not bool(x.isfinite().all()):
        raise fail(name, "finite", f"{int((~x.isfinite()).sum())} values that are NaN or infinite", "Leave these out.")
    return x


def check_alike(name: str, x: Tensor, samples: Tensor) -> None:
    """Raises a `ParameterError` if data are not of the shape of samples, which is all that is known of some models."""
    wanted, shape = tuple(samples.shape[1:]), tuple(x.shape[1:])
    if shape != wanted:
        raise fail(name, f"examples of shape {wanted}, as samples are", shape)


@torch.no_grad()
def check_taken(name: str, net: nn.Module, x: Tensor, told: Tensor | None) -> Tensor:
    """What a net of the caller's own makes of examples, whose shape nobody has said: before the model is told it.

    Raises:
        ParameterError: If the net does not take them.
    """
    own = next((p for p in net.parameters() if p.is_floating_point()), x)
    given = [part.to(own) if part.is_floating_point() else part.to(own.device) for part in (x, told) if part is not None]
    with at_rest([net]), preserved_rng():
        try:
            found: Tensor = net(*given)
        except Exception as error:  # whatever it is of which a net is built
            cure = f"It says: {error} Give it data of its shape, or build another."
            raise fail("data", f"what the {name} takes", f"examples of shape {tuple(x.shape[1:])}", cure) from error
    return found


def _cure(wanted: tuple[int, ...], shape: tuple[int, ...], images: bool) -> str:
    """What to do about data of another shape."""
    if wanted == shape:
        return ""
    built = f"or build the model for shape {shape}."
    if images and len(shape) == len(wanted) == 3:
        channels = f", channels={wanted[0]}" if shape[0] != wanted[0] else ""
        return f"Read them with aigc.data.images(path, size={wanted[1:]}{channels}), {built}"
    if not images and len(shape) == len(wanted) == 2 and shape[0] == wanted[0]:
        return f"Cut or pad them, as aigc.data.sounds(path, length={wanted[1]}) does, {built}"
    return f"Reshape them, {built}"


def check_told(nets: Iterable[nn.Module], seen: Any, data: Any) -> None:
    """Checks conditions, all that are at hand, for nets that say what they want in an attribute `condition`."""
    if seen is None:
        return
    told = _whole(data, seen)[1]
    for net in nets:
        if hasattr(net, "condition"):
            check_condition(net.condition, told, len(told) if isinstance(told, Tensor) else 0)  # type: ignore[arg-type]


def check_type(x: Tensor, net: nn.Module) -> None:
    """Raises a `TypeParameterError` if data are of another float type than the weights that read them."""
    own = next((p.dtype for p in net.parameters() if p.is_floating_point()), x.dtype)
    if x.is_floating_point() and x.dtype != own:
        cure = f"Convert them: torch.as_tensor(x).to({own}); or the model: model.to({x.dtype})."
        raise fail_type("data", f"of {own}, as the weights are", x.dtype, cure)


def _whole(data: Any, seen: Any) -> tuple[Tensor | None, Tensor | None]:
    """Data and condition as tensors: all of those that are at hand, of others what was seen."""
    some = parts(seen)
    every = parts(data) if isinstance(data, Tensor | np.ndarray | tuple) else some
    return _tensor(every[0], some[0]), _tensor(every[1], some[1])


def _tensor(x: Any, otherwise: Tensor | None) -> Tensor | None:
    if isinstance(x, np.ndarray):
        return torch.from_numpy(x if x.flags.writeable else x.copy())
    return x if isinstance(x, Tensor) else otherwise


def parts(batch: Any) -> tuple[Any, Tensor | None]:
    """Data and condition."""
    if isinstance(batch, Mapping):
        raise fail_type("data", "a tensor, or a tuple (data, condition)", batch, 'Give (batch["x"], batch["y"]).')
    if isinstance(batch, tuple | list):
        if len(batch) > 2:
            raise fail("data", "a tensor, or a tuple (data, condition)", f"{len(batch)} parts")
        return batch[0], batch[1] if len(batch) == 2 else None
    return batch, None


def transformed(x: Tensor, transform: Transform | None) -> Tensor:
    """Examples as a step would see them."""
    if transform is None:
        return x
    return transform(x, Noise(0, 0, 0, rows=slice(0, len(x)), batch=len(x), device=x.device))
