"""Several threads, or an event loop, with one model: each gets what it would get alone; no step outlives its reader."""

import asyncio
import contextlib
import gc
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import aigc
import tiny
from aigc.errors import GenerationError, ParameterError
from aigc.text import Completions, plan, turns
from aigc.text._transformers import Vocabulary
from aigc.text.asynchronous import _Pull, iterate
from aigc.text.packed.forward import PackedForward

GEN = aigc.Generator(tiny.model("llama"), tiny.tokenizer())
PROMPTS = ["a", "bbbb", "cc", "g" * 20]
WRITE: dict[str, Any] = {"max_new_tokens": 6, "seed": 5}


@pytest.fixture(scope="module")
def whole() -> Completions:
    return GEN.generate(PROMPTS, **WRITE)


def test_threads_write_what_they_would_alone() -> None:
    """The model is in training: a step that ended the evaluation of another would drop units. Its tokenizer truncates."""
    model, tokenizer = tiny.model("gpt2"), tiny.tokenizer()
    model.train()
    tokenizer.backend_tokenizer.enable_truncation(100)
    gens = [aigc.Generator(model, tokenizer), aigc.Generator(model, tokenizer)]
    calls = [([f"{i} thread", "春" * (i + 1)], i) for i in range(4)]

    def run(prompts: list[str], seed: int) -> tuple[list[str], list[float]]:
        gen = gens[seed % 2]
        texts = gen.generate(prompts, max_new_tokens=12, seed=seed).texts
        scores = [gen.score(prompt).nats for prompt in prompts * 4]
        stream = gen.stream(prompts, max_new_tokens=12, seed=seed)
        assert "".join(chunk.text for chunk in stream if chunk.index == 1) == texts[1]
        return texts, scores

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda call: run(*call), calls))
    assert together == [run(*call) for call in calls]
    assert all(module.training for module in model.modules())


def test_steps_of_a_model_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = 0, 0
    step = PackedForward.step

    def counted(self: PackedForward, tokens: torch.Tensor) -> torch.Tensor:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.001)
        inside -= 1
        return step(self, tokens)

    monkeypatch.setattr(PackedForward, "step", counted)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: GEN.generate("abc", max_new_tokens=5, seed=seed), range(4)))
    assert most == 1


def test_texts_of_a_tokenizer_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = 0, 0

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            time.sleep(0.0005)
            inside -= 1
            return method(*arguments)

        return run

    for name in ("encode", "decode"):
        monkeypatch.setattr(Vocabulary, name, counted(getattr(Vocabulary, name)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: GEN.generate(PROMPTS, max_new_tokens=3, seed=seed), range(4)))
        list(pool.map(GEN.score, PROMPTS))
    assert most == 1


def test_a_plan_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gen, found, choose = aigc.Generator(tiny.model("llama"), tiny.tokenizer()), [], plan.choose

    def slow(network: Any) -> plan.Plan:
        found.append(threading.get_ident())
        time.sleep(0.02)
        return choose(network)

    monkeypatch.setattr(plan, "choose", slow)
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda _: gen.plan, range(4)))
    assert len(found) == 1
    assert all(each is plans[0] for each in plans)


def test_an_interrupt_of_one_thread_leaves_the_others(monkeypatch: pytest.MonkeyPatch, whole: Completions) -> None:
    first, step = threading.get_ident(), PackedForward.step

    def strike(self: PackedForward, tokens: torch.Tensor) -> torch.Tensor:
        if threading.get_ident() == first:
            raise KeyboardInterrupt
        return step(self, tokens)

    monkeypatch.setattr(PackedForward, "step", strike)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(GEN.generate, PROMPTS, **WRITE)
        with pytest.raises(KeyboardInterrupt):
            GEN.generate(["a", "b"], **WRITE)
        assert other.result() == whole


# --- the event loop -------------------------------------------------------------------------------------------------------


class Steps:
    """Counts the steps of all models, and makes each take a while without holding Python's lock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0) -> None:
        self.begun = self.ended = 0
        self.threads: set[int] = set()
        self.running = threading.Event()
        step = PackedForward.step

        def slow(forward: PackedForward, tokens: torch.Tensor) -> torch.Tensor:
            self.begun += 1
            self.threads.add(threading.get_ident())
            self.running.set()
            time.sleep(seconds)
            self.ended += 1
            return step(forward, tokens)

        monkeypatch.setattr(PackedForward, "step", slow)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_streams_at_once_are_the_streams_alone(whole: Completions) -> None:
    async def text(index: int) -> str:
        stream = GEN.astream(PROMPTS[index], max_new_tokens=6, seed=[whole[index].seed])
        return "".join([chunk.text async for chunk in stream])

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*map(text, range(len(PROMPTS))))

    assert asyncio.run(all_of_them()) == whole.texts

    async def one() -> list[aigc.text.Chunk]:
        return [chunk async for chunk in GEN.astream(PROMPTS, **WRITE)]

    assert asyncio.run(one()) == list(GEN.stream(PROMPTS, **WRITE))


def test_the_loop_goes_on_while_a_model_is_tried_and_while_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: a step or a trial on the loop's thread would let no tick pass while it lasts."""
    gen = aigc.Generator(tiny.model("llama"), tiny.tokenizer())
    steps, choose, chosen_on = Steps(monkeypatch, 0.02), plan.choose, []

    def slow_choice(network: Any) -> plan.Plan:
        chosen_on.append(threading.get_ident())
        time.sleep(0.3)
        return choose(network)

    monkeypatch.setattr(plan, "choose", slow_choice)

    async def run() -> tuple[int, float]:
        ticks, longest, over = 0, 0.0, False

        async def tick() -> None:
            nonlocal ticks, longest
            while not over:
                start = time.monotonic()
                await asyncio.sleep(0.001)
                ticks, longest = ticks + 1, max(longest, time.monotonic() - start)

        ticker = asyncio.create_task(tick())
        async for _ in gen.astream("abc", max_new_tokens=5, seed=0):
            pass
        over = True
        await ticker
        return ticks, longest

    ticks, longest = asyncio.run(run())
    assert ticks > 20
    assert longest < 0.25
    assert {*steps.threads, *chosen_on} == {*chosen_on}
    assert threading.get_ident() not in chosen_on


@pytest.mark.parametrize("how", ["cancel", "close", "break", "timeout"])
def test_a_stream_that_is_given_up_ends_with_its_step(
    how: str, monkeypatch: pytest.MonkeyPatch, whole: Completions
) -> None:
    """Given up while a step runs on the other thread: nobody waits for it, nothing follows, and the rows are let go."""
    caches: list[weakref.ref[Any]] = []
    init = PackedForward.__init__

    def spy(self: PackedForward, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        caches.append(weakref.ref(self))

    GEN.plan  # noqa: B018  # its trials make forwards too
    monkeypatch.setattr(PackedForward, "__init__", spy)
    steps = Steps(monkeypatch, 0.4)

    async def read(stream: Any) -> None:
        async for _ in stream:
            pass

    async def run() -> float:
        stream = GEN.astream(PROMPTS, max_new_tokens=100, seed=5)
        if how == "break":
            async for _ in stream:
                break
            start = time.monotonic()
            await stream.aclose()
            return time.monotonic() - start
        reader = asyncio.create_task(read(stream))
        await asyncio.to_thread(steps.running.wait)
        start = time.monotonic()
        if how == "timeout":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader, 0.001)
        else:
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
        if how == "close":
            await stream.aclose()
        return time.monotonic() - start

    assert asyncio.run(run()) < 0.3
    until(lambda: steps.begun == steps.ended)
    begun = steps.begun
    assert begun == (how != "break")
    until(lambda: gc.collect() >= 0 and caches[0]() is None)
    assert steps.begun == begun
    monkeypatch.undo()
    assert GEN.generate(PROMPTS, **WRITE) == whole


class Lists:
    """An iterator of lists that waits, and tells when it is closed."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self.closed = 0

    def __iter__(self) -> "Lists":
        return self

    def __next__(self) -> list[int]:
        self.entered.set()
        assert self.leave.wait(5)
        return [1]

    def close(self) -> None:
        assert self.leave.is_set(), "closed while it ran"
        self.closed += 1


def test_an_iterator_is_closed_once_and_not_while_it_runs() -> None:
    lists = Lists()

    async def read() -> None:
        async for _ in iterate(lambda: lists, pool):
            pass

    async def run() -> None:
        task = asyncio.create_task(read())
        await asyncio.to_thread(lists.entered.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(run())
        assert lists.closed == 0
        lists.leave.set()
    assert lists.closed == 1


def test_nothing_is_made_after_a_stop() -> None:
    made: list[Lists] = []
    pull = _Pull(lambda: made.append(Lists()) or made[0])
    pull.stop()
    assert pull.next() is None
    assert made == []


def test_errors_come_through(monkeypatch: pytest.MonkeyPatch, whole: Completions) -> None:
    async def read(**arguments: Any) -> None:
        async for _ in GEN.astream(**{"prompts": "abc", "max_new_tokens": 4} | arguments):
            pass

    with pytest.raises(ParameterError, match="n must be"):
        asyncio.run(read(n=0))
    with monkeypatch.context() as patch:
        patch.setattr(PackedForward, "step", lambda *_: 1 / 0)
        with pytest.raises(GenerationError, match="ZeroDivisionError"):
            asyncio.run(read())
    assert GEN.generate(PROMPTS, **WRITE) == whole


def test_a_stream_never_begun_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)

    async def run() -> None:
        async with contextlib.aclosing(GEN.astream("abc")):
            pass

    asyncio.run(run())
    assert steps.begun == 0


def test_the_loops_own_threads_stay_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: steps on the default executor, of one thread here, would keep the other task waiting."""
    Steps(monkeypatch, 0.1)

    async def run() -> float:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        streams = [GEN.astream("abc", max_new_tokens=20, seed=i) for i in range(3)]

        async def read(stream: Any) -> None:
            async for _ in stream:
                pass

        readers = [asyncio.create_task(read(stream)) for stream in streams]
        await asyncio.sleep(0.05)
        start = time.monotonic()
        await asyncio.to_thread(int)
        waited = time.monotonic() - start
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        return waited

    assert asyncio.run(run()) < 0.09


def test_locks_and_threads_go_with_their_model() -> None:
    model = tiny.model("llama")

    async def one(gen: aigc.Generator) -> None:
        async for _ in gen.astream("abc", max_new_tokens=1):
            pass

    asyncio.run(one(aigc.Generator(model, tiny.tokenizer())))
    assert model in turns._locks
    gone = weakref.ref(model)
    before = threading.active_count()
    del model
    until(lambda: gc.collect() >= 0 and gone() is None)
    until(lambda: threading.active_count() < before)
