"""What every model's `fit` takes besides data: how long, in what steps, and what is kept of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from aigc.training.fit import Every
from aigc.training.logs import Logger
from aigc.training.progress import Watcher
from aigc.training.schedules import Schedule

__all__ = ["RunOptions"]


class RunOptions(TypedDict, total=False):
    """What the `fit` of `Generator`, `VAE` and `GAN` have in common; what each of them means by it, its own page says.

    Example:
        >>> options: RunOptions = {"steps": 100, "seed": 0, "checkpoint_dir": "run"}
    """

    epochs: float | None
    steps: int | None
    batch_size: int
    seed: int | None
    schedule: Schedule | None
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
