"""Two processes, each with a shard of a model, train as one does on the whole batch, and go on from what one left."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import transformers

import aigc
import tiny
from aigc.errors import ModelError, ParameterError, TrainingError
from aigc.training import Every

TEXTS = ["To be, or not to be, that is the question", "whether 'tis nobler", "in the mind to suffer"] * 4
HOW: dict[str, Any] = {"batch_size": 6, "length": 16, "seed": 0, "progress": False, "precision": "float32", "log_every": 1}
STEPS, CUT = 4, 3

PROGRAM = """
import signal
import sys
import torch
import torch.distributed as dist
from test_text_sharded import both
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background of a shell begin with it ignored

torch.set_num_threads(1)
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
torch.save(both(folder, rank), f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""


def generator(name: str = "tied", dtype: torch.dtype = torch.float32) -> aigc.Generator:
    """Of a model whose head is its embedding, and whose hidden layer of 33 does not halve; or of another."""
    if name != "tied":
        return aigc.Generator(tiny.model(name, dtype=dtype), tiny.tokenizer())
    sizes = {**tiny.ROPE, "intermediate_size": 33, "num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": True}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return aigc.Generator(transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**sizes)).to(dtype), tiny.tokenizer())


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.1)


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)  # which knows how long gradients are


class Log(list[int]):
    def log(self, step: int, values: Any) -> None:
        self.append(step)


def trained(folder: Path | str | None, name: str = "tied", *, dtype: Any = torch.float32, **how: Any) -> dict[str, Any]:
    """What comes of a run: weights, losses, what was written meanwhile, and who was told."""
    gen, texts, log, told = generator(name, dtype), [], Log(), []

    def look(step: int) -> None:
        texts.append(gen.generate("To", max_new_tokens=6, seed=step)[0].text)

    cut, every, lora = how.pop("cut", STEPS), how.pop("every", []), how.pop("lora", False)

    def fail(step: int) -> None:
        if step == cut:
            raise KeyError("cut")

    if lora:
        gen.adapters.add("mine")
    more = {"checkpoint_dir": folder, "checkpoint_every": CUT - 1, "clip": 0.3, "accumulate": 2, "steps": STEPS} | how
    every = [Every(2, look), *every, *([Every(1, fail, together=True)] if cut < STEPS else [])]
    more |= {"every": every, "loggers": [log], "progress": lambda progress: told.append(progress.step)}
    try:
        losses, end = dict(gen.fit(TEXTS, **HOW | more).values), ""
    except (KeyError, TrainingError) as error:
        losses, end = {}, str(error)
    weights = [parameter.detach().clone() for parameter in gen.model.parameters()]
    return {"weights": weights, "loss": losses.get("loss"), "texts": texts, "end": end, "told": [list(log), told]}


def blown(step: int) -> float:
    return 1e30 if step == 0 else 1.0


RUNS: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": adamw, "held_out": ["to die, to sleep"], "look_every": 2},
    "muon": {"dtype": torch.float64},  # whose products in bfloat16 make more of float32's rounding
    "gemma2": {"name": "gemma2", "dtype": torch.float64, "steps": 2},  # needs all logits
    "one left": {"optimizer": sgd, "batch_size": 11, "clip": None},  # of 12: batches of 11 and of 1
    "not sharded": {"optimizer": sgd, "batch_size": 11, "clip": None, "sharded": False},
    "mamba": {"name": "mamba", "dtype": torch.float64, "steps": 1},  # names layers within layers
    "lora": {"lora": True, "optimizer": adamw, "steps": 2},
    "blown": {"optimizer": adamw, "schedule": blown, "steps": 4},
}


def both(folder: str, rank: int) -> dict[str, Any]:
    """What each of two processes does."""
    held: list[tuple[int, int]] = []

    def watched(parameters: Any) -> torch.optim.Optimizer:
        made = adamw(parameters)

        def count(*_: Any) -> None:
            for p in parameters:
                parts = (p, p.grad, made.state[p]["exp_avg"], made.state[p]["exp_avg_sq"])
                held.extend((part.to_local().numel(), part.numel()) for part in parts)

        made.register_step_post_hook(count)
        return made

    found: dict[str, Any] = {}
    for kind, how in RUNS.items():
        place = f"{folder}/two-{kind}" if kind in ("adamw", "muon") else None
        found[kind] = trained(place, **{"sharded": True, **how, **({"optimizer": watched} if kind == "adamw" else {})})
    for kind in ("adamw", "muon"):
        trained(f"{folder}/cut-{kind}", sharded=True, cut=CUT, **RUNS[kind])
        if rank == 0:
            shutil.copytree(f"{folder}/cut-{kind}", f"{folder}/left-{kind}")
        dist.barrier()
        found[f"{kind} resumed"] = trained(f"{folder}/cut-{kind}", sharded=True, **RUNS[kind])
        found[f"{kind} of one"] = trained(f"{folder}/of-one-{kind}", sharded=True, **RUNS[kind])

    def alone(step: int) -> None:
        raise KeyError("alone")  # at which it gathers no weights, so that the other must not wait for them

    found["alone"] = trained(None, sharded=True, optimizer=adamw, every=[Every(2, alone)])

    def strike(step: int) -> None:
        if (step, rank) == (2, 1):
            signal.raise_signal(signal.SIGINT)

    struck = trained(None, sharded=True, optimizer=adamw, every=[Every(1, strike, together=True)])
    return found | {"struck": len(struck["loss"]), "held": held}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("sharded")
    for kind in ("adamw", "muon"):
        assert trained(folder / f"of-one-{kind}", cut=CUT, **RUNS[kind])["end"] == "'cut'"
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    running = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(rank), str(folder)], env=env) for rank in (0, 1)]
    one = {kind: trained(folder / f"one-{kind}" if "steps" not in how else None, **how) for kind, how in RUNS.items()}
    assert [process.wait(240) for process in running] == [0, 0]
    two, other = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    goes_on = {kind: trained(folder / f"left-{kind}", **RUNS[kind]) for kind in ("adamw", "muon")}
    return {"one": one, "two": two, "other": other, "goes on": goes_on}


def close(a: dict[str, Any], b: dict[str, Any]) -> None:
    for left, right in zip(a["weights"], b["weights"], strict=True):
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-6, equal_nan=True)
    if a["loss"]:
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-6)


@pytest.mark.parametrize("kind", RUNS)
def test_two_processes_with_shards_are_one_on_the_whole_batch(made: dict[str, Any], kind: str) -> None:
    one, two, other = made["one"][kind], made["two"][kind], made["other"][kind]
    if kind != "blown":  # by 1e27 along the signs of gradients, some of which are rounding alone
        close(one, two)
    assert one["texts"] == two["texts"]
    assert one["end"] == two["end"] == other["end"]
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(two["weights"], other["weights"], strict=True))


def test_a_loss_that_is_not_finite_leaves_the_weights_of_before(made: dict[str, Any]) -> None:
    assert "not finite at step 1" in made["two"]["blown"]["end"]
    assert any(bool((one.abs() > 1e20).any()) for one in made["two"]["blown"]["weights"])  # of step 0


def test_what_one_process_fails_at_is_told_to_the_other(made: dict[str, Any]) -> None:
    assert made["two"]["alone"]["end"] == "'alone'"
    assert "process 0 failed, so that this one ends after 2 steps" in made["other"]["alone"]["end"]


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_run_that_was_cut_goes_on(made: dict[str, Any], kind: str) -> None:
    whole, resumed = made["two"][kind], made["two"][f"{kind} resumed"]
    assert all(torch.equal(a, b) for a, b in zip(whole["weights"], resumed["weights"], strict=True))
    assert whole["loss"] == resumed["loss"]
    close(whole, made["goes on"][kind])  # of two, on one
    close(whole, made["two"][f"{kind} of one"])  # of one, on two


def test_each_process_holds_a_half(made: dict[str, Any]) -> None:
    for rank in ("two", "other"):
        held = made[rank]["held"]
        assert len(held) >= STEPS * 4 * 20
        assert all(abs(own - of / 2) <= of / 64 for own, of in held)
    halves = [sum(own for own, _ in made[rank]["held"]) for rank in ("two", "other")]
    assert sum(halves) == sum(of for _, of in made["two"]["held"])


def test_the_first_process_alone_writes_and_tells(made: dict[str, Any]) -> None:
    steps = list(range(1, STEPS + 1))
    assert made["two"]["adamw"]["told"] == [steps, steps]
    assert made["other"]["adamw"]["told"] == [[], []]
    assert len(made["two"]["adamw"]["texts"]) == STEPS // 2
    assert made["other"]["adamw"]["texts"] == []


def test_ctrl_c_in_one_process_ends_both_after_the_same_step(made: dict[str, Any]) -> None:
    assert made["two"]["struck"] == made["other"]["struck"] == 2


def test_what_cannot_be_sharded_says_so() -> None:
    with pytest.raises(ParameterError, match="sharded must be False where torch.distributed was not started.* torchrun"):
        generator().fit(TEXTS, steps=1, sharded=True, **HOW)
    with pytest.raises(ParameterError, match="average must be None where sharded, got 10"):
        generator().fit(TEXTS, steps=1, sharded=True, average=10, **HOW)
    with pytest.raises(ParameterError, match="precision must be float32 or bfloat16 where sharded"):
        generator().fit(TEXTS, steps=1, sharded=True, **HOW | {"precision": "float16"})
    gen = generator()
    gen.model._no_split_modules = None
    with pytest.raises(ModelError, match="Qwen3ForCausalLM does not name its layers"):
        gen.fit(TEXTS, steps=1, sharded=True, **HOW)
