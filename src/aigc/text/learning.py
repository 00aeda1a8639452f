"""How a language model learns from texts: its one phase on the engine of `aigc.training`."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from aigc import device as devices
from aigc._checks import fail, integer, number, sequence
from aigc._writing import path_of
from aigc.data.text import Manifest, Packing, Window
from aigc.errors import ModelError
from aigc.text._transformers import TransformersNetwork
from aigc.text.adapter_notes import Notes
from aigc.text.held_out import MOST, HeldOut, bits_per_byte
from aigc.text.material import Material, Texts, material
from aigc.text.network_loss import WindowLoss
from aigc.text.scratch import is_new, no_longer_new
from aigc.text.sharding import Shards, gather, gathered_at_end, gathered_before
from aigc.training import EMA, Every, History, Linear, Logger, Loss, MuonAdamW, Noise, Phase, RunOptions, Schedule
from aigc.training import fit as run
from aigc.training.options import check_moves, check_options
from aigc.training.pieces import processes
from aigc.training.progress import Watcher
from aigc.training.resting import at_rest

if TYPE_CHECKING:
    from aigc.text.generator import Generator

__all__ = ["FitOptions", "Optimizer", "fit"]

Optimizer = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]

_LOOKS = 10  # at held-out texts in a run, unless told otherwise
_FORGOTTEN = 1.05  # times the bits per byte of before


class FitOptions(RunOptions, total=False):
    """What `Generator.fit` takes besides data: see `fit`."""

    length: int | None
    packing: Packing | None
    held_out: Texts | None
    general: Texts | None
    look_every: int | None
    patience: int | None
    lr: float | None
    optimizer: Optimizer | None
    weight_decay: float
    sharded: bool


def fit(
    gen: "Generator",
    data: Texts,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    batch_size: int = 16,
    length: int | None = None,
    packing: Packing | None = None,
    held_out: Texts | None = None,
    general: Texts | None = None,
    look_every: int | None = None,
    patience: int | None = None,
    seed: int | None = None,
    lr: float | None = None,
    schedule: Schedule | None = None,
    optimizer: Optimizer | None = None,
    weight_decay: float = 0.1,
    average: float | None = None,
    accumulate: int = 1,
    clip: float | None = 1.0,
    precision: str = "auto",
    sharded: bool = False,
    checkpoint_dir: str | Path | None = None,
    checkpoint_every: int = 200,
    log_every: int = 10,
    loggers: Sequence[Logger] = (),
    every: Sequence[Every] = (),
    progress: Watcher = None,
    workers: int = 0,
) -> History:
    r"""Trains a causal language model: `gen.fit(texts, ...)`.

    What is minimised is the mean of $-\log p(t_i \mid t_{<i})$ over the tokens of the texts, in nats, ends included. Texts
    are packed into windows; a text in a window sees nothing of the others there, where the model allows it.

    Args:
        gen: What is trained; its model is changed in place, and at the end in the type that it had.
        data: A path of files of text, or of a folder of token files; documents, strings or `Document`s; a `Corpus`; or
            `Tokens` or `Packed` windows of one. Documents with turns are conversations, written by the tokenizer's chat
            template, of which the answers alone are learned; beside them, plain texts are learned whole. Every token that
            is predicted counts the same.
        epochs: Of the whole run; 3, if neither this nor `steps` is given.
        steps: Of the whole run, in place of `epochs`.
        batch_size: Windows of a batch.
        length: Tokens of a window; by default the model's context, at most 512.
        packing: `"best-fit"` cuts no text that fits a window; `"concatenate"` fills every window. None is the first, or
            how windows are packed that are given as such.
        held_out: Texts that are not trained on. They are looked at at intervals; the weights that predicted them best are
            those the model has at the end. `History.values["held_out"]` are bits per byte.
        general: Other texts, looked at before and after: where they are predicted much worse then, a warning says so.
        look_every: Steps between two looks at `held_out`; by default a tenth of the run.
        patience: After how many looks in a row that are no better than the best the run stops; None never stops.
        seed: An int, or None for fresh entropy.
        lr: By default $0.02 / \sqrt{\text{width}}$, 0.00125 for 256 features and 0.0003 for 4,096; three times as much
            for adapters, and for a model that `from_scratch` has just made (benchmarks/learning_rates.py).
        schedule: What the learning rate is multiplied by; by default a rise over a twentieth of the run, and a straight
            line to 0.
        optimizer: From parameters to an optimizer of torch, in place of `MuonAdamW` with `lr`: Muon for matrices, AdamW for
            embeddings and the rest.
        weight_decay: Of matrices.
        average: The half-life, in windows, of an average of the weights, which the model has at the end; None is off.
        accumulate: Micro-batches of a batch.
        clip: The largest norm of a gradient.
        precision: `"float32"`, `"bfloat16"` or `"float16"` for products, weights are in float32 meanwhile; by default
            bfloat16 where the hardware is faster so.
        sharded: Whether each process of `torch.distributed` holds a shard of parameters, gradients and optimizer alone
            (FSDP2), for models that do not fit one device; the result is the same. The model itself stays where it is,
            such as in the memory of the CPU, and has the weights whenever something is done at intervals, and at the end.
        checkpoint_dir: As for `aigc.training.fit`; a run that was cut goes on, and ends as the uncut one.
        checkpoint_every: As for `aigc.training.fit`.
        log_every: As for `aigc.training.fit`.
        loggers: As for `aigc.training.fit`.
        every: As for `aigc.training.fit`, such as `Every(100, lambda step: print(gen.generate("", seed=0)[0].text))`.
        progress: As for `aigc.training.fit`.
        workers: As for `aigc.training.fit`.

    Returns:
        The losses: `loss` in nats a token, and `loss/bits_per_byte`.

    Raises:
        ModelError: If the model is not causal, or is to be sharded and does not name its layers.
        DataError: If there is too little text, or the corpus changed since the checkpoint.
        ParameterError: If an argument is out of range.
        TrainingError: If the loss or a gradient is not finite.
    """
    check_options(average=average, optimizer=optimizer, schedule=schedule)
    model, folder = _causal(gen), None if checkpoint_dir is None else path_of("checkpoint_dir", checkpoint_dir)
    with ExitStack() as stack:
        some = _materials(stack, gen, (data, held_out, general), length=length, packing=packing, folder=folder)
        texts, aside, other = cast("Material", some[0]), some[1], some[2]
        stack.enter_context(_in_training(model))
        weights, loss = Weights(model), _window_loss(gen)
        shards = Shards(loss) if _shall_shard(sharded, average, precision) else None
        moved, learns = (model, weights) if shards is None else (shards.model, Weights(shards.model))
        collect = None if shards is None else partial(gather, learns, weights)
        total, rows = _steps(steps, epochs, texts, batch_size), max(1, min(16, batch_size // max(1, accumulate)))
        averages = {} if average is None else {"weights": EMA(weights, half_life=average, ramp=0.1)}
        look = _interval(look_every, total, aside, patience)
        seen: dict[str, Any] = {"average": averages.get("weights"), "rows": rows}
        watched = None if aside is None else HeldOut(aside, loss, weights, patience=patience, **seen)
        looks = [] if watched is None else [Every(look, watched.look, last=True)]
        before = None if other is None else bits_per_byte(loss, other, rows=rows)
        if watched is not None and not (folder is not None and any(folder.glob("step-*"))):
            watched.look(0)
        rate = _rate(model) if lr is None else number("lr", lr, low=0)
        chosen = optimizer or partial(_optimizer, moved, lr=rate, weight_decay=number("weight_decay", weight_decay, low=0))
        change = Linear(1.0, 0.0, total, warmup=total // 20) if schedule is None else schedule
        how: dict[str, Any] = {"accumulate": accumulate, "clip": clip, "precision": _precision(precision, moved)}
        begun: set[bool] = set()
        goal, made = _loss(loss if shards is None else shards, texts, begun), chosen(list(learns.parameters()))
        check_moves(made, learns.parameters())
        if lr is None and optimizer is None:
            change = _as_begun(change, made, rate)
        phase = Phase("loss", goal, optimizer=made, schedule=change, **how)
        moved.train()
        # Whatever happens after the first batch, the weights may have moved.
        stack.callback(lambda: _note(gen, texts.manifest) if begun else None)
        resting = [
            one._replace(do=partial(_resting, model, one.do)) if isinstance(one, Every) else one
            for one in sequence("every", every, "Every(steps, do)")
        ]
        dues = [*(one._replace(do=partial(_resting, model, one.do)) for one in looks), *resting]
        with gathered_at_end(collect):
            history = run(
                [phase],
                texts.windows,
                modules={"weights": learns},
                batch_size=batch_size,
                steps=total,
                seed=seed,
                averages=averages,
                checkpoint_dir=folder,
                checkpoint_every=checkpoint_every,
                log_every=log_every,
                loggers=loggers,
                every=gathered_before(dues, collect),
                progress=progress,
                workers=workers,
                identity={**texts.identity, "held_out": None if aside is None else aside.manifest.corpus},
                kept={} if watched is None else {"held_out": watched},
            )
        model.eval()
        begun.add(True)
        if not history.interrupted and _own(model):
            no_longer_new(model)
        for ema in averages.values():
            weights.load_state_dict(ema.average.state_dict())
        if watched is not None:
            _take_best(watched, weights)
        if other is not None and before is not None:
            _warn_of_forgetting(before, bits_per_byte(loss, other, rows=rows))
    return history


class Weights(nn.Module):
    """What is trained of a model, each parameter once, whatever its places: what checkpoints and averages hold."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, parameter in model.named_parameters():  # each once, though it be tied
            if parameter.requires_grad:
                self.register_parameter(name.replace(".", "/"), parameter)
        if not any(True for _ in self.parameters()):
            raise fail("model", "one with parameters that require a gradient", "none", "Call model.requires_grad_(True).")


def _materials(
    stack: ExitStack,
    gen: "Generator",
    data: Sequence[Texts | None],
    *,
    length: int | None,
    packing: Packing | None,
    folder: Path | None,
) -> list[Material | None]:
    """Windows of the texts to train on, of those held out, and of general ones; the first are kept for a resumed run."""
    own = None if folder is None else folder / f"process-{processes().rank}"
    how: dict[str, Any] = {"length": length, "packing": packing}
    made: list[Material | None] = [stack.enter_context(material(gen, cast("Texts", data[0]), folder=own, **how))]
    for name, some in zip(("held_out", "general"), data[1:], strict=True):
        aside = None if some is None else material(gen, some, folder=None, aside=True, name=name, **how)
        made.append(None if aside is None else stack.enter_context(aside))
    return made


@contextmanager
def _in_training(model: Any) -> Iterator[None]:
    """What is trained in float32, for half precision would lose its small steps; afterwards again as it was.

    Where some of a model's own weights are trained, the others follow, for its layers take one type. Adapters cast their
    inputs, so that a model that stays as it is keeps its type, and its size.
    """
    dtypes = {name: parameter.dtype for name, parameter in model.named_parameters()}
    own = _own(model)
    trained = [module for module in model.modules() if module.training]
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if (own or parameter.requires_grad) and parameter.dtype in (torch.bfloat16, torch.float16):
                parameter.data = parameter.data.float()
    try:
        yield
    finally:
        model.eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.grad = None
                parameter.data = parameter.data.to(dtypes[name])
        for module in trained:
            module.training = True


def _loss(loss: Callable[[Window], Tensor], texts: Material, begun: set[bool]) -> Callable[[Any, Noise], Loss]:
    each, share = texts.targets / len(texts.windows), texts.targets / texts.bytes / math.log(2)

    def nats(batch: Window, noise: Noise) -> Loss:
        begun.add(True)
        # By the targets of a window on average: the same for each, so that micro-batches and processes add up.
        value = loss(batch) / (len(batch.ids) * each)
        return Loss(value, {"bits_per_byte": value.detach() * share})

    return nats


def _optimizer(model: Any, parameters: Sequence[nn.Parameter], *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Muon for matrices, AdamW for embeddings and the rest."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    ends = [end.weight for end in (*tables, model.get_output_embeddings()) if end is not None]
    looked_up = {id(end) for end in ends}
    if not any(parameter.ndim == 2 and id(parameter) not in looked_up for parameter in parameters):
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    return MuonAdamW(parameters, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.95), plain=ends)


def _window_loss(gen: "Generator") -> WindowLoss:
    """Documents begin in windows as prompts do."""
    begin, end = gen._vocabulary.begin, gen.tokenizer.eos_token_id
    return WindowLoss(gen.model) if begin in (None, end) else WindowLoss(gen.model, begin=begin, end=end)


def _resting(model: nn.Module, do: Callable[[int], object], step: int) -> object:
    with at_rest([model]):
        return do(step)


def _note(gen: "Generator", manifest: Manifest) -> None:
    notes = Notes.of(gen)
    if notes.note(gen, notes.used).trained_on[-1:] != (manifest,):  # of the adapter, where one is trained
        gen.trained_on += (manifest,)


def _take_best(watched: HeldOut, weights: Weights) -> None:
    """Takes the weights that predicted held-out texts best, in all processes, and says so where they are not the last."""
    watched.restore()
    among = processes()
    if among.world > 1:  # the first one alone has looked
        for parameter in weights.parameters():
            among.from_first(parameter.data)
    best, last = watched.best, watched.looks[-1] if watched.looks else None
    if best is not None and last is not None and last.bits_per_byte > best.bits_per_byte * 1.01:
        shown = f"{best.bits_per_byte:.3f} bits a byte after {best.step:,} steps, and {last.bits_per_byte:.3f} at the end"
        warnings.warn(f"The model over-fitted: held-out texts took {shown}. Its weights are those of then.", stacklevel=4)


def _warn_of_forgetting(before: float, after: float) -> None:
    if after > before * _FORGOTTEN:
        shown = f"general texts took {before:.3f} bits a byte before and take {after:.3f} now"
        cure = "Train for fewer steps or with a smaller lr, by LoRA, or mix general texts in."
        warnings.warn(f"The model forgot: {shown}. {cure}", stacklevel=4)


def _causal(gen: "Generator") -> Any:
    if not isinstance(gen._network, TransformersNetwork):
        raise ModelError(f"{type(gen.model).__name__} is not causal; fit trains models that predict the next token.")
    return gen.model


def _steps(steps: int | None, epochs: float | None, texts: Material, batch_size: int) -> int:
    size = integer(
        "batch_size", batch_size, low=1, high=len(texts.windows), cure="Give more text, or a smaller batch_size."
    )
    if steps is not None:
        if epochs is not None:
            raise fail("steps", "left out where epochs is given", steps, "Give one of the two.")
        return integer("steps", steps, low=1)
    share = 3 if epochs is None else number("epochs", epochs)
    if not share > 0:
        raise fail("epochs", "above 0", epochs)
    return max(1, round(share * -(-len(texts.windows) // size)))


def _interval(look_every: int | None, total: int, texts: Material | None, patience: int | None) -> int:
    """Steps between two looks."""
    for name, value in (("patience", patience), ("look_every", look_every)):
        if value is not None:
            integer(name, value, low=1)
            if texts is None:
                raise fail(name, "left out where there is no held_out", value, "Give texts as held_out.")
    least = -(-total // (MOST - 2))
    if look_every is not None and look_every < least:
        raise fail("look_every", f"at least {least} in a run of {total:,} steps", look_every)
    return max(1, total // _LOOKS) if look_every is None else look_every


def _shall_shard(sharded: bool, average: float | None, precision: str) -> bool:
    if sharded and average is not None:
        raise fail("average", "None where sharded", average, "Take the last weights, or those best on held_out texts.")
    if sharded and precision == "float16":
        raise fail("precision", "float32 or bfloat16 where sharded", precision, "Its scale is each process's own.")
    return sharded


def _as_begun(schedule: Schedule, optimizer: torch.optim.Optimizer, rate: float) -> Schedule:
    """A run that is resumed keeps the rate that it chose when it began: its optimizer's, which is restored."""

    def change(step: int) -> float:
        factor, kept = schedule(step), optimizer.param_groups[0]["initial_lr"] / rate
        try:
            return float(factor) * float(kept)
        except (TypeError, ValueError):
            return factor  # no number, which the loop refuses

    return change


def _rate(model: Any) -> float:
    width = int(model.get_input_embeddings().weight.shape[1])
    return (0.02 if _own(model) and not is_new(model) else 0.06) / math.sqrt(width)


def _own(model: nn.Module) -> bool:
    """Whether some of a model's own weights are trained, and not adapters alone."""
    return any(parameter.requires_grad and ".lora_" not in name for name, parameter in model.named_parameters())


def _precision(precision: str, model: Any) -> str:
    if precision != "auto":
        return precision
    found = devices.place(next(model.parameters()).device, dtype="auto").dtype
    return "bfloat16" if found == torch.bfloat16 else "float32"
