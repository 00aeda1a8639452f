"""A whole run: `train`, exhausted, with progress, logs, pictures at intervals and checkpoints."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aigc import random
from aigc._checks import fail, fail_type, integer, sequence
from aigc._svg import standalone
from aigc._writing import write_whole
from aigc.training.batches import Batches, Stream, batches
from aigc.training.curves import MOST, drawn
from aigc.training.ema import EMA
from aigc.training.interrupts import deferred
from aigc.training.logs import Logger
from aigc.training.loop import train
from aigc.training.meeting import Ahead, Meeting
from aigc.training.phases import Phase, Step
from aigc.training.pieces import Processes, processes
from aigc.training.progress import Reporter, Watcher
from aigc.training.resting import at_rest
from aigc.training.shards import is_sharded
from aigc.training.state import Run

__all__ = ["Every", "History", "Stop", "fit"]


class Stop(Exception):  # it is no error
    """Raised by what is done at intervals, with a reason: the run ends after this step, as if it had been as long as that.

    Args:
        reason: A sentence.
        numbers: By name, logged beside the losses as if they had been returned.

    Example:
        >>> weight = nn.Linear(1, 1)
        >>> def enough(step):
        ...     raise Stop("good enough")
        >>> sgd = torch.optim.SGD(weight.parameters(), lr=0.1)
        >>> phase = Phase("mse", lambda x, noise: weight(x).square().mean(), optimizer=sgd)
        >>> how = {"modules": {"weight": weight}, "batch_size": 4, "every": [Every(2, enough)]}
        >>> fit([phase], torch.ones(8, 1), steps=9, seed=0, **how).stopped
        'good enough'
    """

    def __init__(self, reason: str = "stopped", numbers: Mapping[str, float] | None = None) -> None:
        super().__init__(reason)
        self.numbers = dict(numbers or {})


class Every(NamedTuple):
    """Something to do at intervals: `do(step)` after each `steps` steps, with the number of steps done.

    The modules are in evaluation mode meanwhile, so that whoever looks at them does not change the run. Numbers by name
    that `do` returns are logged beside the losses, as they are. Where it raises `Stop`, the run ends. Of several processes
    the first does it, unless they do it together.

    Attributes:
        steps: Between two.
        do: What.
        last: Whether it is also done after the last step of the run, whatever its number.
        together: Whether all processes do it, for it sends messages.

    Example:
        >>> Every(100, print).steps
        100
    """

    steps: int
    do: Callable[[int], object]
    last: bool = False
    together: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """What a run's losses were.

    Attributes:
        steps: After how many steps each mean was taken.
        values: By name, the means of each loss, and of what is reported beside, since the one before; as many as steps, NaN
            where there was none since, as of a phase that did not play.
        done: Steps done.
        seed: What repeats the run.
        interrupted: Whether Ctrl-C ended it; what was done stays done, and `checkpoint_dir` holds it.
        stopped: Why it ended early, where a `Stop` said so.

    Example:
        >>> History((50, 100), {"loss": (2.0, 1.5)}, done=100, seed=0)
        History(100 steps, loss 1.5)
    """

    steps: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    done: int
    seed: int
    interrupted: bool = False
    stopped: str | None = None

    def __repr__(self) -> str:
        newest = ((name, [value for value in values if not math.isnan(value)]) for name, values in self.values.items())
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in newest if values)
        end = f", stopped: {self.stopped}" if self.stopped else ", interrupted" if self.interrupted else ""
        return f"History({self.done:,} steps, {last}{end})"

    def picture(self, path: str | Path, *, names: Sequence[str] | None = None) -> None:
        """Draws the losses over the steps, as SVG, on one scale.

        Args:
            path: The file, in a folder that exists; it is written whole or not at all.
            names: Of `values`, at most 6; None draws the first 6. Draw together what has one unit: of a `Generator`,
                `("loss/bits_per_byte", "held_out")`, whose ways part where it over-fits.

        Raises:
            ParameterError: If a name is none of `values`, or nothing was measured.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as place:
            ...     History((50, 100), {"loss": (2.0, 1.5)}, done=100, seed=0).picture(f"{place}/loss.svg")
            ...     "loss: 1.5" in Path(f"{place}/loss.svg").read_text()
            True
        """
        if isinstance(names, str):
            raise fail_type("names", "a sequence of names", names, f"Give ({names!r},).")
        chosen = tuple(self.values)[:MOST] if names is None else tuple(names)
        for name in chosen:
            if name not in self.values:
                raise fail("names", f"among {', '.join(self.values)}", name)
        caption = f"{', '.join(chosen)} over {self.done:,} steps"
        svg = drawn(self.steps, {name: self.values[name] for name in chosen}, caption=caption)
        write_whole(path, standalone(svg).encode())


def fit(
    phases: Sequence[Phase],
    data: Any,
    *,
    modules: Mapping[str, nn.Module],
    batch_size: int = 128,
    steps: int | None = None,
    epochs: float | None = None,
    seed: int | None = None,
    averages: Mapping[str, EMA[Any]] | None = None,
    checkpoint_dir: str | Path | None = None,
    checkpoint_every: int = 1000,
    log_every: int = 50,
    loggers: Sequence[Logger] = (),
    every: Sequence[Every] = (),
    progress: Watcher = None,
    workers: int = 0,
    drop_last: bool = False,
    identity: Mapping[str, Any] | None = None,
    kept: Mapping[str, nn.Module] | None = None,
) -> History:
    """Trains for some steps, or goes on with a run that was cut.

    A run that was cut anywhere and is called again with the same arguments ends as the uninterrupted one does, bit for bit:
    weights, optimizers, averages and losses.

    Where one of several processes fails alone at reading data, at what is done at intervals, at logging or at writing a
    checkpoint, it raises its own error and the others a TrainingError, all after the same step: that one or the next. Where
    it fails alone within a loss, in what is done `together`, or before any data is read, nothing can tell the others, which
    expect its gradients: they wait until it ends, or until the time-out of `torch.distributed`.

    Args:
        phases: As for `train`.
        data: As for `batches`.
        modules: What is trained, by name: what a checkpoint holds.
        batch_size: Examples per batch, over all processes: at least one for each micro-batch of each.
        steps: Of the whole run. Give this or `epochs`.
        epochs: Of the whole run; may be a fraction.
        seed: An int, or None for fresh entropy; the `History` says which. With None a run cannot be resumed, and has one
            process.
        averages: That follow, by name.
        checkpoint_dir: Where checkpoints go, and where the run goes on if they are there. It may go on with other learning
            rates, which count from there on; what else is not the same is refused, as far as it is known.
        checkpoint_every: Steps between two.
        log_every: Steps over which losses are averaged.
        loggers: That take the averages; of several processes, those of the first.
        every: What else is done at intervals, such as pictures of samples, or a look at data that were held out.
        progress: A callable that takes a `Progress`; True for a line on standard error, False for none; by default a line
            if that is a terminal. Of several processes the first tells.
        workers: Processes that read a `Dataset`.
        drop_last: Whether an epoch's last batch is left out where it is smaller.
        identity: What else a run must have in common with the one it resumes, as JSON.
        kept: Modules that are not trained, by name, which checkpoints hold as well, such as the best weights so far.

    Raises:
        ParameterError: If an argument is out of range, or the checkpoints are of another run.
        TrainingError: If a loss or a gradient is not finite, or another process failed.

    Example:
        >>> weight = nn.Linear(1, 1)
        >>> phase = Phase("mse", lambda x, noise: weight(x).square().mean(),
        ...               optimizer=torch.optim.SGD(weight.parameters(), lr=0.1))
        >>> fit([phase], torch.ones(8, 1), modules={"weight": weight}, batch_size=4, steps=3, seed=0).done
        3
    """
    if seed is None and (checkpoint_dir is not None or processes().world > 1):
        raise fail("seed", "an int where a run shall be resumed, or has several processes", None, "Give seed=0.")
    seed = random.fresh_seed() if seed is None else random.check_seed("seed", seed)
    _check(checkpoint_every, log_every, loggers, every)
    source = batches(data, batch_size=batch_size, seed=seed, drop_last=drop_last, workers=workers)
    if not isinstance(source, Stream):  # whose batches have their own size
        least = max((phase.accumulate for phase in phases), default=1) * processes().world
        integer("batch_size", batch_size, low=least, cure="Accumulate less, or take fewer processes.")
    total = _total(source, steps, epochs)
    same = {"seed": seed, "batch_size": batch_size, "drop_last": drop_last, "phases": [p.name for p in phases]}
    run = Run({**modules, **(kept or {})}, phases, averages or {}, same | dict(identity or {}))
    among = processes()
    meeting = Meeting(among)
    start, past = 0, None
    with meeting.kept():
        start, past = (0, None) if checkpoint_dir is None else run.resume(checkpoint_dir)
    meeting.meet(0)
    _agree(modules, start, among)
    first = among.rank == 0  # who logs, tells and writes
    book = _Book(log_every, loggers if first else (), past)
    reporter = Reporter(progress if first else False, total=total, start=start)
    done, struck, read = start, False, Ahead(_enough(source, start, total))
    steps_of_it = train(
        phases, read, seed=seed, start=start, ema=list(run.averages.values()), modules=list(modules.values())
    )
    with deferred() as interrupt, contextlib.closing(reporter):
        if among.world > 1 and done < total and book.stopped is None:
            read.ahead()
        meeting.meet(done, unread=read.error)
        while done < total and not struck and book.stopped is None:
            step = next(steps_of_it)
            done = step.index + 1
            reporter.count(step.examples)
            beside = _done(every, done, done == total, modules, book, meeting)
            if among.world > 1 and done < total and book.stopped is None:
                read.ahead()  # for nothing could tell within a step that its batch cannot be read
            ends = book.stopped is not None, interrupt.struck
            stopped, struck = meeting.meet(done, *ends, unread=read.error)  # all end after the same step
            if stopped and book.stopped is None:
                book.stopped = "stopped by another process"
            with meeting.kept():
                if book.take(step, beside, last=done == total or book.stopped is not None):
                    reporter(done, book.newest)
            due = done % checkpoint_every == 0 or done == total or struck or book.stopped is not None
            if checkpoint_dir is not None and due:
                with meeting.kept():  # shards are handed out by all, also by one that failed
                    run.save(checkpoint_dir, step=done, history=book.state, write=first and meeting.error is None)
        meeting.meet(done)
    return book.history(done, seed, interrupted=done < total and book.stopped is None)


def _agree(modules: Mapping[str, nn.Module], start: int, among: Processes) -> None:
    """Processes that begin with other weights would add up gradients of different models, and nothing would tell."""
    if among.world > 1:
        whole = [p.detach() for module in modules.values() for p in module.parameters() if not is_sharded(p)]
        sums = [torch.tensor(float(start)).double(), *(value.double().sum().cpu() for value in whole)]
        if not among.agree(torch.stack(sums)):
            cure = "Make them with one seed, or load them from one folder; and let all processes read one checkpoint_dir."
            raise fail("modules", "the same in all processes, at the same step", f"others, or not step {start}", cure)


def _enough(source: Batches, start: int, total: int) -> Iterator[Any]:
    """Batches from a step on; an error where there are no more."""
    done = start
    for batch in source.after(start):
        done += 1
        yield batch
    cure = "Give an iterable that can begin anew, such as a DataLoader."
    raise fail("data", f"enough batches for {total} steps", f"{done} batches", cure)


def _done(
    every: Sequence[Every], done: int, last: bool, modules: Mapping[str, nn.Module], book: "_Book", meeting: Meeting
) -> dict[str, float]:
    """Does what is due after a step; returns the numbers that it found."""
    found: dict[str, float] = {}
    for what in every:
        if done % what.steps and not (last and what.last):
            continue
        if what.together:  # raises at once, for it may have left the others in the midst of a message
            found |= _told(what, done, modules, book)
        elif meeting.among.rank == 0 and meeting.error is None:
            with meeting.kept():
                found |= _told(what, done, modules, book)
    return found


def _told(what: Every, done: int, modules: Mapping[str, nn.Module], book: "_Book") -> dict[str, float]:
    try:
        with at_rest(modules.values()):
            told = what.do(done)
    except Stop as stop:
        book.stopped, told = str(stop), stop.numbers
    return _numbers(told)


def _numbers(told: object) -> dict[str, float]:
    """What was returned, if that are numbers by name."""
    if not isinstance(told, Mapping):
        return {}
    try:
        return {str(name): float(value) for name, value in told.items()}
    except (TypeError, ValueError):
        raise fail_type("what Every's do returns", "numbers by name, or something else than a Mapping", told) from None


@dataclass(slots=True)
class _Book:
    """Means of losses."""

    every: int
    loggers: Sequence[Logger]
    past: Any
    steps: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    newest: dict[str, float] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    stopped: str | None = None

    def __post_init__(self) -> None:
        if self.past is not None:
            self.steps, past = self.past["steps"], self.past["values"]
            self.values = {name: [math.nan if mean is None else mean for mean in means] for name, means in past.items()}
            self.counts, self.stopped = self.past["counts"], self.past.get("stopped")
            self.sums = {name: torch.tensor(value, dtype=torch.float64) for name, value in self.past["sums"].items()}

    def take(self, step: Step, beside: Mapping[str, float], *, last: bool) -> bool:
        """Adds a step, and what was found beside; says whether a mean was taken."""
        more = {name: torch.tensor(value, dtype=torch.float64) for name, value in beside.items()}
        taken = sorted(more.keys() & {*step.losses, *step.report})
        if taken:
            raise fail("what Every's do returns", f"named otherwise than {', '.join(taken)}, which is a loss", taken)
        for name, value in (*step.losses.items(), *step.report.items(), *more.items()):
            before = self.sums.get(name)
            self.sums[name] = value.detach().double() if before is None else before + value.detach()
            self.counts[name] = self.counts.get(name, 0) + 1
        if (step.index + 1) % self.every and not last and not beside:
            return False
        self.newest = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        for name in self.newest:
            self.values.setdefault(name, [math.nan] * len(self.steps))
        for name, means in self.values.items():
            means.append(self.newest.get(name, math.nan))
        self.steps.append(step.index + 1)
        self.sums, self.counts = {}, {}
        for logger in self.loggers:
            logger.log(step.index + 1, self.newest)
        return True

    @property
    def state(self) -> Any:
        """All of it, as JSON."""
        sums = {name: float(value) for name, value in self.sums.items()}
        values = {name: [mean if math.isfinite(mean) else None for mean in means] for name, means in self.values.items()}
        found = {"steps": self.steps, "values": values, "sums": sums, "counts": self.counts}
        return found if self.stopped is None else found | {"stopped": self.stopped}

    def history(self, done: int, seed: int, *, interrupted: bool) -> History:
        """All of it, as a value."""
        values = {name: tuple(means) for name, means in self.values.items()}
        return History(tuple(self.steps), values, done, seed, interrupted, self.stopped)


def _total(source: Batches, steps: int | None, epochs: float | None) -> int:
    if (steps is None) == (epochs is None):
        raise fail("steps", "given, or else epochs", (steps, epochs), "Give one of the two.")
    if steps is not None:
        return integer("steps", steps, low=1)
    if isinstance(epochs, bool) or not isinstance(epochs, int | float) or not 0 < epochs < float("inf"):
        raise fail("epochs", "a number above 0", epochs)
    if source.steps is None:
        raise fail("epochs", "left out where nobody knows how long the data is", epochs, "Give steps.")
    return max(1, round(epochs * source.steps))


def _check(checkpoint_every: int, log_every: int, loggers: Sequence[Logger], every: Sequence[Every]) -> None:
    integer("checkpoint_every", checkpoint_every, low=1)
    integer("log_every", log_every, low=1)
    for i, logger in enumerate(sequence("loggers", loggers, "Loggers", cure="Give (CSVLogger('run.csv'),).")):
        if not isinstance(logger, Logger):
            raise fail_type(f"loggers[{i}]", "a Logger, such as CSVLogger('run.csv')", logger)
    for i, what in enumerate(sequence("every", every, "Every(steps, do)", cure="Give (Every(100, do),).")):
        if not isinstance(what, Every) or not callable(what.do):
            raise fail_type(f"every[{i}]", "an Every(steps, do)", what)
        integer(f"every[{i}].steps", what.steps, low=1)
