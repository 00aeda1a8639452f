"""Texts that are not trained on, looked at meanwhile: how well they are predicted, and whether it is time to stop."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aigc.text.material import Material
from aigc.text.network_loss import WindowLoss
from aigc.training import EMA, Stop
from aigc.training.pieces import to_device

__all__ = ["MOST", "HeldOut", "Look", "bits_per_byte"]

MOST = 4096  # looks of a run: as many, whatever its length, for a checkpoint has the same shape then


class Look(NamedTuple):
    """What was seen of held-out texts after some steps.

    Attributes:
        step: Steps done; 0 is before training.
        bits_per_byte: Of UTF-8.
    """

    step: int
    bits_per_byte: float


@torch.no_grad()
def bits_per_byte(loss: WindowLoss, texts: Material, *, rows: int = 16) -> float:
    """How many bits a byte of some texts takes, as windows: each token sees its own document in its own window alone.

    Documents longer than a window lose some of what is before them there; `Generator.score` slides and finds a little less.

    Args:
        loss: Of a model in evaluation mode.
        texts: The texts.
        rows: Windows at once.
    """
    device = next(loss.model.parameters()).device
    nats = torch.zeros((), dtype=torch.float64)
    for first in range(0, len(texts.windows), rows):
        some = [texts.windows[i] for i in range(first, min(first + rows, len(texts.windows)))]
        batch = type(some[0])(*(torch.stack(part) for part in zip(*some, strict=True)))
        nats += loss(to_device(batch, device)).double().cpu()
    return float(nats) / texts.bytes / math.log(2)


class HeldOut(nn.Module):
    """Looks at held-out texts at intervals, keeps the best weights, and stops where it gets no better.

    Looks and best weights are buffers, which the checkpoints of a run hold: what is resumed knows what was seen until then.

    Args:
        texts: The texts.
        loss: Of the model.
        weights: What is trained.
        patience: After how many looks in a row that are no better than the best the run stops; None never stops.
        average: Whose weights are looked at in place of those of the model.
        rows: Windows at once.
    """

    seen: Tensor

    def __init__(
        self,
        texts: Material,
        loss: WindowLoss,
        weights: nn.Module,
        *,
        patience: int | None = None,
        average: EMA[Any] | None = None,
        rows: int = 16,
    ) -> None:
        super().__init__()
        self.texts, self.loss, self.patience, self.average, self.rows = texts, loss, patience, average, rows
        self._weights = [weights]  # in a list, for it is no part of what is kept
        self.register_buffer("seen", torch.full((MOST, 2), math.nan, dtype=torch.float64))
        for name, value in weights.state_dict().items():
            self.register_buffer(f"best {name}", value.detach().cpu().clone())

    @property
    def looks(self) -> list[Look]:
        """All looks so far."""
        return [Look(int(step), bits) for step, bits in self.seen.tolist() if not math.isnan(bits)]

    @property
    def best(self) -> Look | None:
        """The best look so far, and the first of equal ones."""
        return min(self.looks, key=lambda look: look.bits_per_byte, default=None)

    def look(self, step: int) -> dict[str, float]:
        """Looks, after a step.

        Raises:
            Stop: If it was no better for too long.
        """
        before, place = self.best, len(self.looks)
        with self._averaged():
            found = bits_per_byte(self.loss, self.texts, rows=self.rows)
            self.seen[place] = torch.tensor([step, found], dtype=torch.float64)
            if before is None or found < before.bits_per_byte:
                for name, value in self._weights[0].state_dict().items():
                    self.get_buffer(f"best {name}").copy_(value)
        best = self.best
        if (
            best is not None
            and self.patience is not None
            and sum(one.step > best.step for one in self.looks) >= self.patience
        ):
            shown = f"best after {best.step:,} steps, at {best.bits_per_byte:.3f} bits a byte"
            raise Stop(f"held-out texts were {shown}", {"held_out": found})
        return {"held_out": found}

    def restore(self) -> None:
        """Puts the best weights back."""
        if self.looks:
            own = self._weights[0].state_dict()
            self._weights[0].load_state_dict({name: self.get_buffer(f"best {name}") for name in own})

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The model with the average of its weights, if there is one."""
        if self.average is None:
            yield
            return
        own = {name: value.detach().clone() for name, value in self._weights[0].state_dict().items()}
        self._weights[0].load_state_dict(self.average.average.state_dict())
        try:
            yield
        finally:
            self._weights[0].load_state_dict(own)
