"""Texts that are not trained on, looked at meanwhile: how well they are predicted, and whether it is time to stop."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aigc import checkpoint
from aigc.data._files import write_whole
from aigc.text.material import Material
from aigc.text.network_loss import WindowLoss
from aigc.training import EMA, Stop
from aigc.training.pieces import to_device

__all__ = ["HeldOut", "Look", "bits_per_byte"]

_ROWS = 16  # windows at once
_BEST, _LOOKS = "best", "looks.json"


class Look(NamedTuple):
    """What was seen of held-out texts after some steps.

    Attributes:
        step: Steps done; 0 is before training.
        bits_per_byte: Of UTF-8.
    """

    step: int
    bits_per_byte: float


@torch.no_grad()
def bits_per_byte(loss: WindowLoss, texts: Material) -> float:
    """How many bits a byte of some texts takes, as windows: each token sees its own document in its own window alone.

    Documents longer than a window lose some of what is before them there; `Generator.score` slides and finds a little less.
    """
    device = next(loss.model.parameters()).device
    nats = torch.zeros((), dtype=torch.float64)
    for first in range(0, len(texts.windows), _ROWS):
        some = [texts.windows[i] for i in range(first, min(first + _ROWS, len(texts.windows)))]
        batch = type(some[0])(*(torch.stack(part) for part in zip(*some, strict=True)))
        nats += loss(to_device(batch, device)).double().cpu()
    return float(nats) / texts.bytes / math.log(2)


@dataclass(slots=True)
class HeldOut:
    """Looks at held-out texts at intervals, keeps the best weights, and stops where it gets no better.

    A run that is resumed repeats the looks after its checkpoint, and finds the same.

    Args:
        texts: The texts.
        loss: Of the model.
        weights: What is trained.
        patience: After how many looks in a row that are no better than the best the run stops; None never stops.
        folder: Where looks and the best weights are kept for a run that is resumed.
        average: Whose weights are looked at in place of those of the model.
    """

    texts: Material
    loss: WindowLoss
    weights: nn.Module
    patience: int | None = None
    folder: Path | None = None
    average: EMA[Any] | None = None
    looks: list[Look] = field(default_factory=list)
    kept: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.folder is not None and (self.folder / _BEST).is_dir():
            self.kept = checkpoint.load(self.folder / _BEST).tensors
            found = checkpoint.read_json(self.folder / _LOOKS)["looks"]
            self.looks = [Look(int(step), float(bits)) for step, bits in found]

    @property
    def best(self) -> Look | None:
        """The best look so far, and the first of equal ones."""
        return min(self.looks, key=lambda look: look.bits_per_byte, default=None)

    def __call__(self, step: int) -> dict[str, float]:
        """Looks, after a step.

        Raises:
            Stop: If it was no better for too long.
        """
        self.looks = [look for look in self.looks if look.step < step]
        before = self.best
        with self._averaged():
            look = Look(step, bits_per_byte(self.loss, self.texts))
            self.looks.append(look)
            if before is None or look.bits_per_byte < before.bits_per_byte:
                self.kept = {name: value.detach().clone() for name, value in self.weights.state_dict().items()}
                if self.folder is not None:
                    checkpoint.save(self.folder / _BEST, config={"step": step}, tensors=self.kept)
        if self.folder is not None:
            write_whole(self.folder / _LOOKS, json.dumps({"looks": self.looks}).encode())
        best = self.best
        assert best is not None, "there was a look"
        if self.patience is not None and sum(one.step > best.step for one in self.looks) >= self.patience:
            raise Stop(f"held-out texts were best after {best.step:,} steps, at {best.bits_per_byte:.3f} bits a byte")
        return {"held_out": look.bits_per_byte}

    def restore(self) -> None:
        """Puts the best weights back."""
        if self.kept:
            self.weights.load_state_dict(self.kept)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The model with the average of its weights, if there is one."""
        if self.average is None:
            yield
            return
        own = {name: value.detach().clone() for name, value in self.weights.state_dict().items()}
        self.weights.load_state_dict(self.average.average.state_dict())
        try:
            yield
        finally:
            self.weights.load_state_dict(own)
