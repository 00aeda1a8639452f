"""The memory of a call comes back when the call ends, and not when the collector of cycles next runs.

That one counts objects, and knows nothing of the memory of a GPU: caches that wait for it fill a device.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import torch

import aigc
import tape
import tiny
from aigc import kernels
from aigc.errors import AigcError
from aigc.sampling import RepetitionPenalty, Temperature, TopK, TopP, chain
from aigc.text import BeamSearch, BestOf, ContrastiveSearch, Guidance, graphs
from aigc.text.loop import Loop
from aigc.text.packed.parts import Decoder
from aigc.text.packed.reading import Unreadable
from aigc.text.packed.source import Source

PROMPTS = ["a", "To be, or not to be", "春夜", "d" * 40, "eeee"]
FUSED = chain(Temperature(0.9), TopK(50), TopP(0.9))
HOW: dict[str, dict[str, Any]] = {
    "fused": {"sampler": FUSED},
    "not fused": {"sampler": chain(RepetitionPenalty(1.3), TopK(50), Temperature(1.5)), "stop": ["e"]},
    "beams": {"search": BeamSearch(3)},
    "guided beams": {"search": BeamSearch(3), "guidance": Guidance(1.5)},
    "contrastive": {"search": ContrastiveSearch(3)},
    "best of": {"search": BestOf(3)},
}
NAMES = {"packed": "llama", "slots": "llama", "graphs": "llama", "padded": "bloom", "alone": "mamba", "together": "bart"}


class Broken:
    """A sampler that fails at its third step."""

    def __init__(self, error: type[Exception]) -> None:
        self.error, self.steps = error, 0

    def init(self, prompts: Any) -> None:
        return None

    def step(self, logits: torch.Tensor, state: Any, noise: Any) -> tuple[Any, None]:
        self.steps += 1
        if self.steps == 3:
            raise self.error("it does not work")
        return kernels.run(logits, kernels.Parameters(), noise.start), None


@pytest.fixture(autouse=True)
def only_what_is_new() -> Iterator[None]:
    """The collector looks at nothing that was there before, which would take most of the time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def left(work: Callable[[], object]) -> list[str]:
    """The kinds of tensors and of our own objects that work leaves to the collector of cycles."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        work()
        gc.collect()
        kinds = {type(one) for one in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    return sorted(kind.__name__ for kind in kinds if issubclass(kind, torch.Tensor) or kind.__module__.startswith("aigc."))


@pytest.fixture
def gen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> aigc.Generator:
    """Of a model that is read in the way asked for."""

    def unreadable(_: Source) -> Decoder:
        raise Unreadable("it is not to be packed")

    way, name = request.param, NAMES[request.param]
    if way != "packed":
        monkeypatch.setattr(Source, "decoder", unreadable)
    if way == "graphs":
        made = tape.TapeRecorder()
        monkeypatch.setattr(graphs, "recorder", lambda _: made)
        monkeypatch.setattr(kernels, "run", tape.draw)
    if name in tiny.SEQ2SEQ:
        return aigc.Generator(tiny.seq2seq(name), tiny.closed_tokenizer())
    gen = aigc.Generator(tiny.model(name), tiny.tokenizer())
    assert gen.plan.forward == ("slots" if way == "graphs" else way)
    assert ("CUDA graphs" in gen.plan.reason) == (way == "graphs")
    return gen


def test_a_cycle_is_seen() -> None:
    """Twin of the laws below."""

    def work() -> None:
        cycle: list[Any] = [torch.zeros(1)]
        cycle.append(cycle)

    assert left(work) == ["Tensor"]
    assert left(lambda: torch.zeros(1)) == []


@pytest.mark.parametrize("gen", NAMES, indirect=True)
def test_nothing_of_a_call_is_left(gen: aigc.Generator) -> None:
    for name, how in HOW.items():
        if name == "contrastive" and gen.plan.forward == "together":
            continue  # it needs a causal model
        given = how | {"max_new_tokens": 8, "seed": 1}
        gen.generate(PROMPTS, **given)  # what is made once and kept
        assert left(lambda given=given: gen.generate(PROMPTS, **given)) == [], name
        if "search" in how:
            continue  # which streams do not
        assert left(lambda given=given: (stream := gen.stream(PROMPTS, **given), next(stream), stream.close())) == [], name


@pytest.mark.parametrize("gen", NAMES, indirect=True)
@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError])
def test_nothing_of_a_call_that_fails_is_left(gen: aigc.Generator, error: type[Exception]) -> None:
    def work() -> None:
        with suppress(AigcError):
            gen.generate(PROMPTS, max_new_tokens=6, seed=1, sampler=Broken(error))

    work()
    assert left(work) == []


@pytest.mark.parametrize("gen", ["slots", "graphs"], indirect=True)
def test_nothing_is_left_of_a_plan(gen: aigc.Generator) -> None:
    assert left(lambda: aigc.Generator(gen.model, tiny.tokenizer()).plan) == []


@pytest.mark.parametrize("gen", ["graphs"], indirect=True)
@pytest.mark.parametrize("sampler", [FUSED, TopK(3)])
def test_nothing_is_left_of_a_step_that_cannot_be_recorded(
    gen: aigc.Generator, sampler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        tried.append(1)
        raise RuntimeError("no")

    tried: list[int] = []
    monkeypatch.setattr(tape.TapeRecorder, "record", refuse)
    assert left(lambda: gen.generate(PROMPTS, max_new_tokens=12, seed=1, sampler=sampler)) == []
    assert tried


class Steps:
    """Steps whose second fails before it is asked for."""

    def __init__(self) -> None:
        self.made, self.held = 0, torch.zeros(3)

    def draw(self) -> kernels.Draw:
        self.ahead()
        n = torch.zeros(1, dtype=torch.int64)
        return kernels.Draw(n, n.float(), n, n.float(), n)

    def ahead(self) -> None:
        self.made += 1
        if self.made == 2:
            raise RuntimeError("no")

    def select(self, alive: torch.Tensor) -> None:
        raise AssertionError("no row leaves")


@pytest.mark.parametrize("asked", ["ended", "again"])
def test_nothing_is_left_of_a_step_that_failed_ahead(asked: str) -> None:
    def work() -> None:
        loop = Loop(Steps(), [9], late=True)
        next(loop)
        if asked == "ended":
            loop.drop(0)
            assert next(loop, None) is None
        else:
            with pytest.raises(RuntimeError, match="no"):
                next(loop)

    assert [kind for kind in left(work) if kind in ("Tensor", "Loop")] == []
