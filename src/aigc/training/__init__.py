"""Training: an iterator of steps that the caller may own, and `fit`, which exhausts it.

phases.py       what is minimised, over which parameters, by which optimizer, how often
noise.py        what is random in a step
loop.py         the iterator
pieces.py       micro-batches, and processes
shards.py       parameters of which each process holds a shard
batches.py      the order of examples
schedules.py    numbers by step
ema.py          averages of weights
optimizers.py   Muon for matrices, AdamW for the rest
state.py        checkpoints
fit.py          a whole run; logs.py and progress.py, where its numbers go; curves.py, their picture; options.py, what
                every model's fit takes
resting.py      modules that are looked at meanwhile
"""

from importlib import import_module

from aigc.device import preserved_environment

with preserved_environment():  # optimizers bring in torch's compiler, which sets a variable for its cache
    import_module("torch._dynamo")

from aigc.training.batches import Batches, Dataset, Order, Stream, batches
from aigc.training.ema import EMA
from aigc.training.fit import Every, History, Stop, fit
from aigc.training.logs import CSVLogger, Logger, TensorBoardLogger
from aigc.training.loop import train
from aigc.training.noise import Noise
from aigc.training.optimizers import MuonAdamW
from aigc.training.options import RunOptions
from aigc.training.phases import Loss, Phase, Step, decay_groups
from aigc.training.pieces import Processes, processes
from aigc.training.progress import Progress
from aigc.training.schedules import Constant, Cosine, Cyclical, Exponential, Linear, Schedule
from aigc.training.state import Run

__all__ = [
    "EMA",
    "Batches",
    "CSVLogger",
    "Constant",
    "Cosine",
    "Cyclical",
    "Dataset",
    "Every",
    "Exponential",
    "History",
    "Linear",
    "Logger",
    "Loss",
    "MuonAdamW",
    "Noise",
    "Order",
    "Phase",
    "Processes",
    "Progress",
    "Run",
    "RunOptions",
    "Schedule",
    "Step",
    "Stop",
    "Stream",
    "TensorBoardLogger",
    "batches",
    "decay_groups",
    "fit",
    "processes",
    "train",
]
