"""Two processes train as one does on the whole batch; and a run of one goes on from a checkpoint of two."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = """
import sys
import torch
import torch.distributed as dist
from torch import nn
from aigc.errors import ParameterError
from aigc.training import EMA, Loss, Phase, fit

rank, world, folder, steps = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet-{steps}", rank=rank, world_size=world)
if world > 1:
    torch.manual_seed(rank)
    other = nn.Linear(3, 1)
    apart = Phase("loss", lambda batch, noise: other(batch).mean(), optimizer=torch.optim.SGD(other.parameters(), lr=0.1))
    try:
        fit([apart], torch.ones(8, 3), modules={"other": other}, batch_size=4, steps=1, seed=0, progress=False)
        raise SystemExit("gradients of two models would have been added up")
    except ParameterError as error:
        assert "modules must be the same in all processes" in str(error)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
x = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))


def loss(batch, noise):
    seen = (batch + 0.1 * noise.normal(3)).requires_grad_()
    out = net(seen)
    (slope,) = torch.autograd.grad(out.sum(), seen, create_graph=True)  # a penalty: derivatives of derivatives
    error = (out - batch.sum(-1, keepdim=True)).square().mean()
    return Loss(error + 0.01 * slope.square().sum(-1).mean(), {"error": error.detach()})


phase = Phase("loss", loss, optimizer=torch.optim.Adam(net.parameters(), lr=0.01), clip=0.5, accumulate=2)
how = {"checkpoint_dir": f"{folder}/run", "checkpoint_every": 4, "log_every": 2, "progress": False}
averages = {"net": EMA(net, half_life=50)}
history = fit([phase], x, modules={"net": net}, averages=averages, batch_size=10, steps=steps, seed=3, **how)
if rank == 0:
    result = {"weights": list(net.state_dict().values()), "losses": list(history.values["loss"])}
    torch.save(result, f"{folder}/{world}-{steps}.pt")
if world > 1:
    dist.destroy_process_group()
"""


PLAYERS = """
import sys
import torch
import torch.distributed as dist
from aigc import GAN
from aigc.errors import ParameterError
from aigc.gan import Adaptive, DiffAugment, penalties

rank, world, folder, steps = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
cost = [penalties.R1(0.5), penalties.R2(0.5), penalties.WGANGP(0.1), penalties.LeCam(0.1)]
more = {"augment": DiffAugment(), "adaptive": Adaptive(target=-0.9, speed=200, every=2), "penalties": cost}
gan = GAN.for_images((1, 8, 8), latent=4, kind="style", width=8, **more).double()
x = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
if world > 1:
    try:
        gan.fit(x, steps=1, batch_size=8, progress=False)
        raise SystemExit("each process would have drawn a seed of its own")
    except ParameterError as error:
        assert "seed must be an int" in str(error)
history = gan.fit(x, steps=steps, batch_size=8, critics=2, lr=1e-3, seed=3, progress=False, log_every=2)
result = {"weights": list(gan.state_dict().values()), "losses": list(history.values["discriminator"])}
torch.save(result, f"{folder}/{world}-{steps}{'' if rank == 0 else '-other'}.pt")
if world > 1:
    dist.destroy_process_group()
"""


FAILING = """
import sys
import torch
import torch.distributed as dist
from datetime import timedelta
from pathlib import Path
from torch import nn
from aigc.errors import ParameterError, TrainingError
from aigc.training import Every, Phase, Stop, fit

rank, world, folder, _ = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
torch.set_num_threads(1)
meet = f"file://{folder}/meet"
dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=world, timeout=timedelta(seconds=20))


class Examples:
    def __init__(self, bad):
        self.bad, self.read = bad, 0

    def __len__(self):
        return 40

    def __getitem__(self, index):
        self.read += 1
        if self.read > self.bad:
            raise OSError("the disk is gone")
        return torch.full((3,), float(index))


class Full:
    def log(self, step, values):
        if step == 4:
            raise OSError("no space is left")


def enough(step):
    raise Stop("enough")


def bad(step):
    raise RuntimeError("of what is done")


def attempt(failing, error, after, data=None, steps=6, **how):
    torch.manual_seed(0)
    net = nn.Linear(3, 1)
    sgd = torch.optim.SGD(net.parameters(), lr=1e-5)
    phase = Phase("loss", lambda batch, noise: net(batch).square().mean(), optimizer=sgd)
    data = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)) if data is None else data
    common = {"modules": {"net": net}, "batch_size": 4, "steps": steps, "seed": 3, "progress": False, "log_every": 2}
    try:
        history = fit([phase], data, **common | how)
        if failing is not None:
            raise SystemExit(f"{error} was lost")
        assert history.done == after
    except TrainingError as found:
        assert rank != failing, found
        assert f"process {failing} failed, so that this one ends after {after} steps" in str(found), found
    except (OSError, RuntimeError, ParameterError) as found:
        assert rank == failing and error in str(found), found
    # Nobody has gone: the next message of all is understood, and all have done as many steps.
    sums = torch.tensor([float(value.double().sum()) for value in net.parameters()], dtype=torch.float64)
    both = sums.clone()
    dist.all_reduce(both)
    assert torch.allclose(both, 2 * sums, rtol=1e-12), (both, sums)


many = 10**9
attempt(0, "of what is done", 3, every=[Every(3, bad)])
attempt(0, "of what is done", 6, every=[Every(many, bad, last=True)])
attempt(0, "of what is done", 3, every=[Every(3, bad), Every(1, lambda step: dist.barrier(), together=True)])
attempt(1, "the disk is gone", 2, Examples(8 if rank == 1 else many))
attempt(0, "the disk is gone", 0, Examples(2 if rank == 0 else many))
stream = [torch.ones(4, 3)] * 6
attempt(1, "enough batches for 6 steps, got '4 batches'", 4, iter(stream[:4] if rank == 1 else stream))
attempt(None, None, 4, iter(stream[:4]), every=[Every(4, enough)])  # what cannot be read then is of no concern
attempt(1, "tuple, list or dict of tensors", 3, [*stream[:3], "no batch"] if rank == 1 else stream)
attempt(0, "no space is left", 5, loggers=[Full()])
left = {"checkpoint_dir": f"{folder}/left", "checkpoint_every": 2}
attempt(0, "no space is left", 5, loggers=[Full()], **left)
assert [place.name for place in (Path(folder) / "left").iterdir()] == ["step-000000002"]  # and none of what failed
attempt(0, "no space is left", 4, steps=4, loggers=[Full()])
(Path(folder) / "file").write_text("")
place = "file/run" if rank == 0 else "run"
attempt(0, "file", 0, checkpoint_dir=f"{folder}/{place}", checkpoint_every=2)
if rank == 0:
    torch.save({}, f"{folder}/{world}-0.pt")
dist.destroy_process_group()
"""


def _run(folder: Path, world: int, steps: int, program: str = PROGRAM) -> dict[str, list]:
    folder.mkdir(exist_ok=True)
    arguments = [[sys.executable, "-c", program, str(rank), str(world), str(folder), str(steps)] for rank in range(world)]
    running = [subprocess.Popen(each, stderr=subprocess.PIPE, text=True) for each in arguments]
    for process in running:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    return torch.load(folder / f"{world}-{steps}.pt", weights_only=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    return _run(tmp_path_factory.mktemp("one"), 1, 12)


def test_two_processes_train_as_one(whole: dict[str, list], tmp_path: Path) -> None:
    halves = _run(tmp_path, 2, 12)
    for a, b in zip(whole["weights"], halves["weights"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    assert halves["losses"] == pytest.approx(whole["losses"], rel=1e-6, abs=1e-6)


def test_one_process_goes_on_from_a_checkpoint_of_two(whole: dict[str, list], tmp_path: Path) -> None:
    _run(tmp_path, 2, 8)
    resumed = _run(tmp_path, 1, 12)
    for a, b in zip(whole["weights"], resumed["weights"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_two_processes_play_as_one(tmp_path: Path) -> None:
    """Both players, each penalty, its memory, the augmentation and the mean style, in both processes."""
    whole, halves = _run(tmp_path / "one", 1, 6, PLAYERS), _run(tmp_path / "two", 2, 6, PLAYERS)
    other = torch.load(tmp_path / "two" / "2-6-other.pt", weights_only=True)
    for a, b, c in zip(whole["weights"], halves["weights"], other["weights"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
        assert torch.equal(b, c)
    assert halves["losses"] == pytest.approx(whole["losses"], rel=1e-6, abs=1e-6)


def test_what_one_process_fails_at_is_told_to_the_other(tmp_path: Path) -> None:
    """At what is done at intervals, reading, logging, saving: each raises, none waits, the next message is understood."""
    _run(tmp_path, 2, 0, FAILING)
