"""The laws of the training engine: one step is what a hand-written loop does, and a cut run ends as an uncut one."""

import math
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aigc.errors import ModelFileError, ParameterError, TrainingError, TypeParameterError
from aigc.training import (
    EMA,
    Constant,
    Cosine,
    CSVLogger,
    Cyclical,
    Every,
    Exponential,
    Linear,
    Loss,
    Noise,
    Order,
    Phase,
    Progress,
    batches,
    decay_groups,
    fit,
    train,
)

DATA = torch.randn(23, 3, generator=torch.Generator().manual_seed(1))


def made(kind: str) -> nn.Module:
    """A net with the same weights at each call."""
    nets = {
        "plain": lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)),
        "dropout": lambda: nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1)),
        "norm": lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nets[kind]()


def noisy(net: nn.Module) -> Any:
    def loss(x: Tensor, noise: Noise) -> Loss:
        error = (net(x + 0.1 * noise.normal(3)) - x.sum(-1, keepdim=True)).square().mean()
        return Loss(error, {"root": error.detach().sqrt()})

    return loss


def phase(net: nn.Module, *, optimizer: str = "adam", **options: Any) -> Phase:
    make = {"adam": torch.optim.AdamW, "sgd": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)}[optimizer]
    return Phase("error", noisy(net), optimizer=make(net.parameters(), lr=0.01), **options)


def weights(net: nn.Module) -> list[Tensor]:
    return [value.clone() for value in net.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


def test_a_step_is_that_of_a_loop_written_by_hand() -> None:
    ours, theirs = made("plain"), made("plain")
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.01)
    for step in train([phase(ours)], DATA.split(8), seed=3):
        x = DATA.split(8)[step.index]
        noise = Noise(3, step.index, 0, rows=slice(0, len(x)), batch=len(x)).normal(3)
        optimizer.zero_grad()
        loss = (theirs(x + 0.1 * noise) - x.sum(-1, keepdim=True)).square().mean()
        loss.backward()
        optimizer.step()
        assert torch.equal(step.losses["error"], loss.detach())
        assert torch.equal(step.report["error/root"], loss.detach().sqrt())
    assert same(weights(ours), weights(theirs))


def test_a_phase_moves_its_own_parameters_and_leaves_no_gradient() -> None:
    mover, other = made("plain"), made("plain")
    before = weights(other)

    def both(x: Tensor, noise: Noise) -> Tensor:
        return (mover(x) - other(x + 1)).square().mean()

    one = Phase("both", both, optimizer=torch.optim.SGD(mover.parameters(), lr=0.1))
    list(train([one], DATA.split(8), seed=0))
    assert same(weights(other), before)
    assert not same(weights(mover), before)
    assert all(p.grad is None and p.requires_grad for net in (mover, other) for p in net.parameters())


@given(parts=st.integers(1, 8), kind=st.sampled_from(["plain"]), clip=st.sampled_from([None, 0.05]))
@settings(max_examples=20)
def test_micro_batches_add_up_to_the_batch(parts: int, kind: str, clip: float | None) -> None:
    whole, cut = made(kind), made(kind)
    a = list(train([phase(whole, optimizer="sgd", clip=clip)], DATA.split(8), seed=1))
    b = list(train([phase(cut, optimizer="sgd", clip=clip, accumulate=min(parts, 7))], DATA.split(8), seed=1))
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one.losses["error"], other.losses["error"], rtol=1e-6, atol=1e-6)
    for one, other in zip(weights(whole), weights(cut), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_clipping_shortens_the_gradient_to_the_norm() -> None:
    weight = nn.Parameter(torch.zeros(2))
    pull = Phase("pull", lambda x, noise: (x @ weight).mean(), optimizer=torch.optim.SGD([weight], lr=1.0), clip=0.5)
    list(train([pull], [torch.tensor([[3.0, 4.0]])], seed=0))
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.3, -0.4]))


def test_phases_play_in_order_and_as_often_as_they_say() -> None:
    played = []
    weight = nn.Parameter(torch.zeros(()))

    def named(name: str) -> Phase:
        def loss(x: Tensor, noise: Noise) -> Tensor:
            played.append(name)
            return weight * 0

        return Phase(name, loss, optimizer=torch.optim.SGD([weight], lr=0.1), every=2 if name == "b" else 1)

    steps = list(train([named("a"), named("b")], [DATA] * 3, seed=0))
    assert played == ["a", "b", "a", "a", "b"]
    assert [sorted(step.losses) for step in steps] == [["a", "b"], ["a"], ["a", "b"]]


def test_a_schedule_multiplies_the_rate_that_was_given() -> None:
    weight = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    fall = Phase("fall", lambda x, noise: -weight, optimizer=optimizer, schedule=Linear(1.0, 0.0, steps=4))
    at = [float(weight.detach()) for _ in train([fall], [DATA] * 5, seed=0)]
    assert at == pytest.approx([0.5, 0.875, 1.125, 1.25, 1.25])


@given(steps=st.integers(2, 1000), first=st.floats(1e-3, 1e3), last=st.floats(1e-3, 1e3))
def test_an_exponential_schedule_has_a_constant_factor(steps: int, first: float, last: float) -> None:
    found = Exponential(steps, first=first, last=last)
    assert found(0) == first
    assert found(steps) == found(2 * steps) == pytest.approx(last)
    factors = [found(step + 1) / found(step) for step in (0, steps // 2, steps - 1)]
    assert factors == pytest.approx([(last / first) ** (1 / steps)] * 3)
    with pytest.raises(ParameterError, match="last must be a number above 0"):
        Exponential(steps, last=0.0)


@given(step=st.integers(0, 10_000), steps=st.integers(2, 5_000), warmup=st.integers(0, 100))
def test_schedules_go_from_their_first_number_to_their_last(step: int, steps: int, warmup: int) -> None:
    steps += warmup
    for made_one in (Cosine(steps, 0.8, 0.1, warmup=warmup), Linear(0.8, 0.1, steps=steps, warmup=warmup)):
        assert 0 <= made_one(step) <= 0.8 + 1e-12
        assert made_one(steps + step) == pytest.approx(0.1)
        assert made_one(warmup) == pytest.approx(0.8)
        if step >= warmup:
            assert made_one(step + 1) <= made_one(step) + 1e-12
    assert Constant(0.3, warmup=warmup)(warmup + step) == pytest.approx(0.3)
    cycle = Cyclical(0.7, period=steps, rise=1.0)
    assert cycle(step) == pytest.approx(0.7 * (step % steps) / steps)


@pytest.mark.parametrize("kind", ["plain", "norm"])
def test_what_is_not_finite_is_named_and_changes_nothing(kind: str) -> None:
    net = made(kind)
    one = phase(net)
    ema = EMA(net, half_life=10)
    good, bad = DATA[:8], DATA[8:16].clone()
    bad[3, 1] = math.nan
    steps = train([one], [good, bad], seed=0, ema=ema, modules=[net])
    next(steps)
    before, average, moments = weights(net), weights(ema.average), [*map(str, one.optimizer.state_dict()["state"].values())]
    with pytest.raises(TrainingError, match="phase 'error' is not finite at step 1"):
        next(steps)
    assert same(weights(net), before)
    assert same(weights(ema.average), average)
    assert [*map(str, one.optimizer.state_dict()["state"].values())] == moments


def test_an_infinite_gradient_of_a_finite_loss_is_named() -> None:
    weight = nn.Parameter(torch.zeros(()))
    root = Phase("root", lambda x, noise: weight.abs().sqrt(), optimizer=torch.optim.SGD([weight], lr=0.1))
    with pytest.raises(TrainingError, match="gradient of phase 'root'"):
        next(train([root], [DATA], seed=0))
    assert float(weight.detach()) == 0


@given(half_life=st.floats(1, 1000), sizes=st.lists(st.integers(1, 64), min_size=1, max_size=6))
@settings(max_examples=25)
def test_an_average_forgets_half_in_a_half_life(half_life: float, sizes: list[int]) -> None:
    net = nn.Linear(1, 1, bias=False, device="meta").to_empty(device="cpu").double()
    net.weight.data.fill_(0.0)
    ema = EMA(net, half_life=half_life)
    net.weight.data.fill_(1.0)
    for size in sizes:
        ema.update(size)
    assert float(ema.average.weight) == pytest.approx(1 - 0.5 ** (sum(sizes) / half_life), abs=1e-9)


def test_averages_copy_buffers_and_ramp_up() -> None:
    net = made("norm")
    ema = EMA(net, half_life=1e6, ramp=0.05)
    list(train([phase(net)], DATA.split(8), seed=0, ema=ema))
    assert torch.equal(ema.average[1].running_mean, net[1].running_mean)
    assert not torch.equal(ema.average[0].weight, made("norm")[0].weight)
    assert not ema.average.training


@given(examples=st.integers(1, 40), size=st.integers(1, 40), drop=st.booleans(), start=st.integers(0, 60))
def test_each_epoch_has_each_example_once_and_any_batch_can_be_had(
    examples: int, size: int, drop: bool, start: int
) -> None:
    size = min(size, examples)
    order = Order(examples, batch_size=size, seed=5, drop_last=drop)
    first = torch.cat([order.batch(step) for step in range(order.steps)])
    assert len(set(first.tolist())) == len(first) == (examples // size * size if drop else examples)
    for step, places in zip(range(start, start + 3), order.after(start), strict=False):
        assert torch.equal(places, order.batch(step))
    if examples > 8:
        assert not torch.equal(order.epoch(0), order.epoch(1))


class Numbers:
    """A dataset that reads one by one."""

    def __len__(self) -> int:
        return len(DATA)

    def __getitem__(self, index: int) -> Tensor:
        return DATA[index]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_gives_the_batches_of_its_tensor(workers: int) -> None:
    a = batches(DATA, batch_size=5, seed=2)
    b = batches(Numbers(), batch_size=5, seed=2, workers=workers)
    assert a.steps == b.steps == 5
    for one, other, _ in zip(a.after(3), b.after(3), range(7), strict=False):
        assert torch.equal(one, other)


@given(
    cut=st.integers(1, 11),
    kind=st.sampled_from(["plain", "dropout", "norm"]),
    optimizer=st.sampled_from(["adam", "sgd"]),
    averaged=st.booleans(),
    accumulate=st.integers(1, 3),
    workers=st.sampled_from([0, 0, 0, 1]),
)
@settings(max_examples=25, deadline=None)
def test_a_run_cut_anywhere_and_resumed_ends_as_the_uncut_one(
    cut: int,
    kind: str,
    optimizer: str,
    averaged: bool,
    accumulate: int,
    workers: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def run(folder: Path | None, stop: int | None = None) -> tuple[Any, ...]:
        net = made(kind)
        struck = [] if stop is None else [Every(stop, lambda step: signal.raise_signal(signal.SIGINT))]
        ema = {"net": EMA(net, half_life=20, ramp=0.5)} if averaged else {}
        one = phase(net, optimizer=optimizer, accumulate=accumulate, schedule=Cosine(12))
        history = fit(
            [one], Numbers(), modules={"net": net}, batch_size=6, steps=12, seed=4, averages=ema, log_every=5, every=struck,
            checkpoint_dir=folder, checkpoint_every=100, progress=False, workers=workers, drop_last=True,
        )  # fmt: skip
        state = [
            v for values in one.optimizer.state_dict()["state"].values() for v in values.values() if isinstance(v, Tensor)
        ]
        return weights(net), [*(w for e in ema.values() for w in weights(e.average))], state, history

    folder, whole = tmp_path_factory.mktemp("run"), run(None)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores Ctrl-C
    try:
        stopped = run(folder, cut)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert (stopped[3].interrupted, stopped[3].done) == (True, cut)
    resumed = run(folder)
    for a, b in zip(whole[:3], resumed[:3], strict=True):
        assert same(a, b)
    assert whole[3] == resumed[3]


def _short(folder: Path, steps: int = 4, **options: Any) -> nn.Module:
    net = made("plain")
    given_to = {"modules": {"net": net}, "batch_size": 6, "steps": steps, "seed": 0, "progress": False} | options
    fit([phase(net)], DATA, checkpoint_dir=folder, checkpoint_every=2, **given_to)
    return net


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path: Path) -> None:
    _short(tmp_path)
    newest = tmp_path / "step-000000004" / "model.safetensors"
    damaged = bytearray(newest.read_bytes())
    damaged[-1] ^= 1
    newest.write_bytes(damaged)
    with pytest.warns(UserWarning, match="is passed over"):
        net = _short(tmp_path)
    assert same(weights(net), weights(_short(tmp_path / "other")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _short(tmp_path)


@pytest.mark.parametrize("call", ["fsync", "rename", "chmod"])
def test_a_run_that_dies_at_any_write_leaves_a_checkpoint_that_is_whole(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, original, fatal = weights(_short(tmp_path / "whole", steps=6)), getattr(os, call), 0
    while True:
        folder, seen, fatal = tmp_path / f"{fatal}", [0], fatal + 1

        def dying(*given: Any, seen: list[int] = seen, fatal: int = fatal, **more: Any) -> Any:
            seen[0] += 1
            if seen[0] >= fatal:  # and whatever would be written after that is not written either
                raise OSError("the machine stops")
            return original(*given, **more)

        monkeypatch.setattr(os, call, dying)
        try:
            _short(folder, steps=6)
            break
        except OSError:
            monkeypatch.setattr(os, call, original)
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # nothing that is half written is found
                assert same(weights(_short(folder, steps=6)), expected)
        finally:
            monkeypatch.setattr(os, call, original)
    assert fatal > 3, "it died at several places"


def test_a_checkpoint_of_another_run_is_refused_before_training(tmp_path: Path) -> None:
    _short(tmp_path)
    with pytest.raises(ParameterError, match="checkpoint_dir must be of a run with seed=0"):
        _short(tmp_path, seed=1)
    with pytest.raises(ModelFileError, match="does not fit the model"):
        net = made("norm")
        fit(
            [phase(net)], DATA, modules={"net": net}, batch_size=6, steps=4, seed=0, checkpoint_dir=tmp_path, progress=False
        )
    assert sorted(place.name for place in tmp_path.iterdir()) == ["step-000000002", "step-000000004"]


@pytest.mark.parametrize("place", ["taken", "taken/below", "locked/run"])
def test_a_place_where_no_checkpoint_can_be_is_named_before_the_first_step(place: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "locked").mkdir(mode=0o500)
    if place.startswith("locked") and os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("nothing is locked for this user")
    net, begun = made("plain"), []

    def loss(x: Tensor, noise: Noise) -> Tensor:
        begun.append(noise.step)
        return net(x).square().mean()

    one = Phase("loss", loss, optimizer=torch.optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(ParameterError, match="checkpoint_dir must be a folder, or a place where one can be made"):
        fit([one], DATA, modules={"net": net}, batch_size=6, steps=4, seed=0, checkpoint_dir=tmp_path / place)
    assert begun == []
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_run_reports_logs_and_draws_at_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, drawn, told = made("plain"), [], []
    log = tmp_path / "log.csv"
    history = fit(
        [phase(net)], DATA, modules={"net": net}, batch_size=6, epochs=2, seed=0, log_every=3,
        loggers=[CSVLogger(log)], every=[Every(4, drawn.append)], progress=told.append,
    )  # fmt: skip
    assert history.steps == (3, 6, 8)
    assert drawn == [4, 8]
    assert [type(one) for one in told] == [Progress] * 3
    assert "step 8/8" in str(told[-1])
    lines = log.read_text().splitlines()
    assert lines[0] == "step,error,error/root"
    assert [float(line.split(",")[1]) for line in lines[1:]] == list(history.values["error"])
    assert capsys.readouterr().err == ""


def test_nothing_global_is_moved() -> None:
    before = torch.get_rng_state(), torch.get_default_dtype(), torch.is_grad_enabled()
    list(train([phase(made("dropout"))], DATA.split(8), seed=0))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == before[1:]


def test_half_precision_trains_and_stays_near() -> None:
    net = made("plain")
    steps = list(train([phase(net, precision="bfloat16")], DATA.split(8) * 20, seed=0))
    assert float(steps[-1].losses["error"]) < float(steps[0].losses["error"])


def test_decay_falls_on_matrices_only() -> None:
    first, second = decay_groups(made("norm"), weight_decay=0.1)
    assert {p.ndim for p in first["params"]} == {2}
    assert {p.ndim for p in second["params"]} == {1}
    assert (first["weight_decay"], second["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: phase(made("plain"), every=0), "every must be"),
        (lambda: phase(made("plain"), clip=0.0), "clip must be"),
        (lambda: phase(made("plain"), clip="a"), "clip must be a number above 0, got 'a' of type str"),
        (lambda: phase(made("plain"), clip=True), "clip must be a number above 0, got True of type bool"),
        (lambda: phase(made("plain"), schedule=3), "schedule must be a function of the step's number"),
        (lambda: phase(made("plain"), precision="float8"), "precision must be one of"),
        (lambda: next(train([], [DATA], seed=0)), "phases must be"),
        (lambda: next(train([phase(made("plain"))] * 2, [DATA], seed=0)), "of different names"),
        (lambda: fit([phase(made("plain"), accumulate=9)], DATA, modules={}, batch_size=8, steps=1, seed=0), "batch_size"),
        (lambda: batches(DATA, batch_size=24, seed=0), "batch_size must be"),
        (lambda: batches("text", batch_size=2, seed=0), "data must be"),
        (lambda: batches(DATA[:0], batch_size=1, seed=0), "data must be at least one example"),
        (lambda: batches(DATA[:0], batch_size=8, seed=0), "data must be at least one example"),
        (lambda: EMA(made("plain"), half_life=0), "half_life must be"),
        (lambda: EMA(made("plain"), half_life="a"), "half_life must be"),
        (lambda: EMA(made("plain"), half_life=1, ramp="a"), "ramp must be"),
        (lambda: _short(Path("x"), every=3), "every must be a sequence of Every"),
        (lambda: _short(Path("x"), loggers=3), "loggers must be a sequence of Loggers"),
        (lambda: _short(3), "checkpoint_dir must be a path"),
        (lambda: Cosine(3, warmup=3), "steps must be"),
        (lambda: _short(Path("x"), steps=None), "steps must be given"),
        (lambda: _short(Path("x"), seed=None), "seed must be an int where a run"),
        (lambda: fit([phase(made("plain"))], [DATA[:4]].__iter__(), modules={}, steps=3, seed=0), "enough batches for 3"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_training(call: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        call()


def test_a_loss_that_is_no_mean_is_refused() -> None:
    net = made("plain")
    bad = Phase("bad", lambda x, noise: net(x).square(), optimizer=torch.optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(TypeParameterError, match=r"Call \.mean\(\)"):
        next(train([bad], [DATA], seed=0))


def test_a_list_of_labels_beside_a_tensor_is_told_what_it_should_be() -> None:
    with pytest.raises(TypeParameterError, match=r"data\[1\] must be a tensor or an array, .* Call torch.tensor on a list"):
        batches((torch.zeros(4, 2), [0, 1, 2, 3]), batch_size=2, seed=0)
