"""Many rows, short memory, interrupts, failures, threads: each ends in a right result or a typed error. Nothing is lost."""

import dataclasses
import io
import itertools
import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import aigc
import tiny
from aigc.errors import GenerationError, ModelError, ParameterError, ResourceError, TypeParameterError
from aigc.sampling import Greedy, Temperature, TopK, as_sampler
from aigc.text import Completions, Progress, batches, progress
from aigc.text.packed.forward import PackedForward
from aigc.text.rows import Request, Row, Step
from aigc.text.stopping import StopStrings

GEN = aigc.Generator(tiny.model("llama"), tiny.tokenizer())
PROMPTS = ["a", "bbbb", "cc", "dddddd", "e", "ff 春", "g" * 20, "h"]
WRITE = {"max_new_tokens": 6, "seed": 5}


@pytest.fixture(scope="module")
def whole() -> Completions:
    """What a call writes that nothing disturbs."""
    return GEN.generate(PROMPTS, **WRITE)


class Hook:
    """A `PackedForward.step` that can fail: what a device does to us, and the user's keyboard."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, strike: Callable[[int, int], object]) -> None:
        self.sizes: list[int] = []
        assert GEN.plan.forward == "packed"  # and found before: its trials would count as steps
        step = PackedForward.step

        def struck(forward: PackedForward, tokens: torch.Tensor) -> torch.Tensor:
            self.sizes.append(len(tokens))
            strike(len(self.sizes), len(tokens))
            return step(forward, tokens)

        monkeypatch.setattr(PackedForward, "step", struck)


def at(call: int, error: BaseException) -> Callable[[int, int], None]:
    def strike(calls: int, _: int) -> None:
        if calls == call:
            raise error

    return strike


def above(rows: int) -> Callable[[int, int], None]:
    def strike(_: int, size: int) -> None:
        if size > rows:
            raise torch.OutOfMemoryError("out of memory")

    return strike


# --- batches ----------------------------------------------------------------------------------------------------------


@settings(max_examples=5)
@given(
    prompts=st.lists(st.text("abc 春", min_size=1, max_size=24), min_size=1, max_size=8),
    n=st.integers(1, 3),
    size=st.none() | st.integers(1, 7),
)
def test_rows_come_in_the_callers_order_with_the_texts_they_have_alone(
    prompts: list[str], n: int, size: int | None
) -> None:
    out = GEN.generate(prompts, n=n, max_new_tokens=4, seed=3, batch_size=size)
    assert [c.prompt for c in out] == [prompt for prompt in prompts for _ in range(n)]
    each = dict(GEN.generate_each(iter(prompts), n=n, max_new_tokens=4, seed=3, batch_size=size))
    assert [each[row] for row in range(len(out))] == list(out)
    for c in out[:2]:
        assert GEN.generate(c.prompt, max_new_tokens=4, seed=[c.seed])[0] == c


def row(index: int, length: int, limit: int) -> Request:
    return Request(index, "", tuple(range(length)), 0, limit)


class Machine:
    """Writes rows of one chunk or more, and has memory for so many slots."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.parts: list[list[Request]] = []
        self.written: list[int] = []

    def __call__(self, part: Sequence[Request]) -> Iterator[Step]:
        self.parts.append(list(part))
        for count in range(1, max(request.limit for request in part) + 1):
            left = [request for request in part if request.limit >= count]
            if len(part) * max(len(request.ids) + count for request in left) > self.slots:
                raise torch.OutOfMemoryError("out of memory")
            ended = [request for request in left if request.limit == count]
            self.written += [request.index for request in ended]
            yield [
                (
                    Row(request, None, None),
                    aigc.text.Chunk(request.index, "", 0, 0.0, "length" if request in ended else None),
                )
                for request in left
            ]


@example(lengths=[(10, 1), (10, 6), (10, 6), (5, 1), (5, 5), (3, 1), (3, 6)], rows=50, budget=None, memory=100)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 6)), min_size=1, max_size=40),
    rows=st.integers(1, 50),
    budget=st.none() | st.integers(0, 500),
    memory=st.integers(36, 500),
)
def test_batches_fit_and_every_row_is_written_once(
    lengths: list[tuple[int, int]], rows: int, budget: int | None, memory: int
) -> None:
    requests = [row(i, *length) for i, length in enumerate(lengths)]
    machine = Machine(memory)
    steps = list(batches.steps(requests, machine, batches.Budget(rows, budget)))
    ended = [chunk.index for step in steps for _, chunk in step if chunk.finish_reason]
    assert sorted(ended) == sorted(machine.written) == list(range(len(requests)))
    for part in machine.parts:
        assert len(part) <= rows
        assert [request.index for request in part] == sorted(request.index for request in part)
        needed = len(part) * max(len(request.ids) + request.limit for request in part)
        assert budget is None or needed <= budget or len(part) == 1
    assert len(machine.parts) <= 6 * (1 + len(requests)), "it did not learn"


def test_a_long_prompt_does_not_make_the_others_small() -> None:
    """Twin: with the number of rows halved, and not the slots, all 33 batches would hold one row or two."""
    machine = Machine(520)
    rows = [row(0, 250, 2), *(row(i, 10, 2) for i in range(1, 33))]
    list(batches.steps(rows, machine, batches.Budget(32)))
    assert len(machine.parts[-1]) > 8
    assert len(machine.parts) < 16


def test_the_longest_rows_run_first_and_equal_prompts_together(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    init = PackedForward.__init__

    def spy(self: PackedForward, network: Any, prompts: Sequence[Sequence[int]], **options: Any) -> None:
        seen.append([len(prompt) for prompt in prompts])
        init(self, network, prompts, **options)

    monkeypatch.setattr(PackedForward, "__init__", spy)
    GEN.generate(["a", "cccc", "bb", "dddd", "a"], n=2, max_new_tokens=1, batch_size=4)
    assert seen == [[4, 4, 4, 4], [1, 1, 2, 2], [1, 1]]
    seen.clear()
    list(GEN.stream(["a", "cccc", "bb", "dddd"], max_new_tokens=1, batch_size=2))
    assert seen == [[1, 4], [2, 4]], "a stream begins with its first prompt"


def test_many_rows_run_in_a_bounded_working_set(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook(monkeypatch, lambda *_: None)
    assert len(GEN.generate("abc", n=150, max_new_tokens=2, seed=0)) == 150
    list(GEN.stream("abc", n=100, max_new_tokens=2, seed=0))
    assert max(hook.sizes) == 64
    assert sum(hook.sizes) <= 250


def test_free_memory_bounds_the_working_set_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook(monkeypatch, lambda *_: None)
    slot = batches.slot_bytes(GEN.model.config, torch.float32)
    assert slot == 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads of keys, features, bytes
    monkeypatch.setattr(batches.devices, "available_memory", lambda _: 2 * 10 * 5 * slot)  # half of it is ten rows of 3 + 2
    GEN.generate("abc", n=25, max_new_tokens=2, seed=0)
    assert max(hook.sizes) == 10
    hook.sizes.clear()
    GEN.generate("abc", n=25, max_new_tokens=2, seed=0, batch_size=20)
    assert max(hook.sizes) == 20, "what the caller asks for is tried"
    monkeypatch.setattr(batches.devices, "available_memory", lambda _: 0)
    assert len(GEN.generate("abc", n=3, max_new_tokens=2, seed=0)) == 3


# --- memory that runs out, models that fail ----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 3])
def test_a_stream_survives_short_memory_and_says_nothing_twice(
    rows: int, whole: Completions, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = Hook(monkeypatch, above(rows))
    texts = [""] * len(PROMPTS)
    tokens: list[list[int]] = [[] for _ in PROMPTS]
    for chunk in GEN.stream(PROMPTS, **WRITE):
        texts[chunk.index] += chunk.text
        tokens[chunk.index].append(chunk.token)
    assert texts == whole.texts
    assert [tuple(each) for each in tokens] == [c.tokens for c in whole]
    assert max(hook.sizes) > rows
    assert GEN.generate(PROMPTS, **WRITE).texts == whole.texts


def test_a_stream_that_cannot_repeat_itself_says_so() -> None:
    def chunk(row: Row, token: int) -> Step:
        row.tokens.append(token)
        return [(row, aigc.text.Chunk(0, str(token), token, 0.0))]

    def rows() -> tuple[Row, Row]:
        return Row(row(0, 1, 9), None, None), Row(row(0, 1, 9), None, None)

    first, again = rows()
    steps = [chunk(first, 1), chunk(first, 2), chunk(again, 1), chunk(again, 2), chunk(again, 3)]
    first.tokens, again.tokens = [], []
    replay = (
        chunk(which, step[0][1].token) for which, step in zip([first, first, again, again, again], steps, strict=True)
    )
    assert [c.token for chunks in batches.once(replay) for c in chunks] == [1, 2, 3]
    first, again = rows()
    differs = (chunk(which, token) for which, token in [(first, 1), (first, 2), (again, 1), (again, 7)])
    with pytest.raises(GenerationError, match="could not be repeated"):
        list(batches.once(differs))


@pytest.mark.parametrize("call", [1, 3, 7, 12])
def test_a_forward_that_raises_is_a_typed_error_that_keeps_what_is_finished(
    call: int, whole: Completions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Hook(patch, at(call, RuntimeError("a wire came loose")))
        with pytest.raises(GenerationError, match="RuntimeError: a wire came loose") as caught:
            GEN.generate(PROMPTS, **WRITE, batch_size=3)
    assert isinstance(caught.value, ModelError)
    assert isinstance(caught.value.__cause__, RuntimeError)
    partial = caught.value.completions
    assert len(partial) - len(partial.unfinished) == 3 * ((call - 1) // 5)
    assert f"{len(partial) - len(partial.unfinished)} of 8 texts" in caught.value.__notes__[0]
    law_of_partial(partial, whole)
    assert GEN.generate(PROMPTS, **WRITE, resume=partial) == whole


def law_of_partial(partial: Completions, whole: Completions) -> None:
    """Finished rows are as they would have been; the others are marked, and hold a beginning."""
    assert len(partial) == len(whole)
    for i, (now, then) in enumerate(zip(partial, whole, strict=True)):
        assert (now.prompt, now.seed) == (then.prompt, then.seed)
        if i in partial.unfinished:
            assert now.finish_reason == "interrupted"
            assert then.tokens[: len(now.tokens)] == now.tokens
            assert then.text.startswith(now.text)
        else:
            assert now == then


def test_a_stream_whose_forward_raises_is_a_typed_error(whole: Completions, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        Hook(patch, at(3, IndexError("no such slot")))
        stream = GEN.stream(PROMPTS, **WRITE)
        with pytest.raises(GenerationError, match="IndexError") as caught:
            list(stream)
    assert caught.value.completions == ()
    assert list(stream) == []
    assert GEN.generate(PROMPTS, **WRITE) == whole


def test_a_sampler_that_raises_is_a_typed_error_too() -> None:
    def broken(logits: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(GenerationError, match="ZeroDivisionError"):
        GEN.generate("abc", max_new_tokens=2, sampler=broken)


def test_one_row_that_does_not_fit_leaves_the_others(whole: Completions, monkeypatch: pytest.MonkeyPatch) -> None:
    step = PackedForward.step

    def narrow(self: PackedForward, tokens: torch.Tensor) -> torch.Tensor:
        if max(self._lengths) == 5:  # the row of the prompt "bbbb", after its first token
            raise torch.OutOfMemoryError("out of memory")
        return step(self, tokens)

    monkeypatch.setattr(PackedForward, "step", narrow)
    with pytest.raises(ResourceError, match="one item alone does not fit.* 4 tokens") as caught:
        GEN.generate(PROMPTS, **WRITE, batch_size=1)
    assert caught.value.completions.unfinished == [0, 1, 2, 4, 7]
    law_of_partial(caught.value.completions, whole)


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt"])
def test_a_context_is_filled_to_its_last_position(name: str) -> None:
    model = tiny.model(name)
    gen = aigc.Generator(model, tiny.tokenizer())
    assert gen.context == 128
    prompts = ["x" * 127, "y" * 119, "z"]
    out = gen.generate(prompts, max_new_tokens=20, seed=1, sampler=TopK(200))
    assert all(len(c.tokens) == limit for c, limit in zip(out, [1, 9, 20], strict=True) if c.finish_reason == "length")
    assert out[0].finish_reason in ("length", "eos")
    for i, c in enumerate(out):
        alone = "".join(chunk.text for chunk in gen.stream(prompts[i], max_new_tokens=20, seed=[c.seed], sampler=TopK(200)))
        assert alone == c.text


# --- interrupts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [6, 9, 12])
@pytest.mark.filterwarnings("ignore:interrupted")
def test_an_interrupt_returns_what_is_finished_and_the_rest_can_be_written(
    call: int, whole: Completions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Hook(patch, at(call, KeyboardInterrupt()))
        partial = GEN.generate(PROMPTS, **WRITE, batch_size=3)
    assert 0 < len(partial.unfinished) < len(PROMPTS)
    assert "unfinished" in repr(partial)
    assert "interrupted" in partial._repr_html_()
    law_of_partial(partial, whole)
    with monkeypatch.context() as patch:
        hook = Hook(patch, lambda *_: None)
        assert GEN.generate(PROMPTS, **WRITE, resume=partial) == whole
        assert sum(hook.sizes) == 5 * len(partial.unfinished), "finished rows were written again"
    assert GEN.generate(PROMPTS, **WRITE, resume=whole) is not whole


def test_an_interrupt_is_told_and_fresh_seeds_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        Hook(patch, at(7, KeyboardInterrupt()))
        with pytest.warns(RuntimeWarning, match="3 of 8 texts are finished") as told:
            partial = GEN.generate(PROMPTS, max_new_tokens=6, batch_size=3)
    assert told[0].filename == __file__
    rest = GEN.generate(PROMPTS, max_new_tokens=6, resume=partial)
    assert rest == GEN.generate(PROMPTS, max_new_tokens=6, seed=[c.seed for c in partial])


def test_with_nothing_finished_an_interrupt_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        Hook(patch, at(2, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            GEN.generate(PROMPTS, **WRITE)
    with monkeypatch.context() as patch:
        Hook(patch, at(2, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            list(GEN.generate_each(PROMPTS, **WRITE))


def test_an_interrupt_in_the_middle_of_a_step_keeps_the_rows_that_were_whole(
    whole: Completions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 0, 1 and 2 draw their last token in one step; the interrupt comes while row 1 takes it in."""
    finish, calls = StopStrings.finish, []

    def struck(self: StopStrings) -> str:
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return finish(self)

    with monkeypatch.context() as patch:
        patch.setattr(StopStrings, "finish", struck)
        with pytest.warns(RuntimeWarning, match="1 of 3 texts are finished"):
            partial = GEN.generate(PROMPTS[:3], **WRITE)
    assert partial.unfinished == [1, 2]
    law_of_partial(partial, whole[:3])
    assert GEN.generate(PROMPTS[:3], **WRITE, resume=partial) == whole[:3]


class Strike:
    """Raises KeyboardInterrupt at the n-th line of the text layer that runs: wherever Ctrl-C may come.

    Not at the lines of `with`: a trace comes between a block and its exit, where Python lets no signal come.
    """

    def __init__(self, line: int) -> None:
        self.left = line

    def __enter__(self) -> None:
        self.before = sys.gettrace()
        sys.settrace(self.trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.before)

    def trace(self, frame: Any, event: str, _: object) -> Any:
        if "/aigc/text/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.left -= 1
            if self.left <= 0 and not linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip().startswith(
                "with "
            ):
                sys.settrace(None)
                raise KeyboardInterrupt
        return self.trace


@settings(max_examples=25)
@given(line=st.integers(1, 7000))
@pytest.mark.filterwarnings("ignore:interrupted")
def test_an_interrupt_at_any_line_loses_no_finished_text_and_harms_nothing(line: int) -> None:
    prompts, stop = ["abc", "de", "f", "gh"], ["e"]
    arguments = {"max_new_tokens": 8, "seed": 3, "stop": stop, "logprobs": True, "batch_size": 2, "progress": print}
    expected = GEN.generate(prompts, **arguments | {"progress": False})
    try:
        with Strike(line):
            out = GEN.generate(prompts, **arguments)
    except KeyboardInterrupt:
        out = None
    if out is not None:
        law_of_partial(bare(out), bare(expected))
    assert bare(GEN.generate(prompts, **arguments | {"progress": False}, resume=out)) == bare(expected)


def bare(out: Completions) -> Completions:
    """Without log-probabilities: the last digits of a float32 logit depend on how many rows there are."""
    return Completions(tuple(dataclasses.replace(c, logprobs=None) for c in out))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"resume": ["a text"]}, "resume must be the Completions"),
        ({"prompts": PROMPTS[:3]}, "resume must be of the 3 rows"),
        ({"prompts": PROMPTS[::-1]}, r"resume\[0\] must be written for the prompt 'h'"),
        ({"seed": 6}, r"resume\[0\] must be of the seed"),
        ({"logprobs": True}, r"resume\[0\] must be written with logprobs=True"),
        ({"max_new_tokens": 7}, r"resume\[0\] must be written with up to 7 tokens"),
        ({"max_new_tokens": 5}, r"resume\[0\] must be written with up to 5 tokens"),
    ],
    ids=str,
)
def test_only_the_same_call_goes_on(change: dict[str, Any], named: str, whole: Completions) -> None:
    assert {c.finish_reason for c in whole} == {"length"}
    with pytest.raises(ParameterError, match=named):
        GEN.generate(**{"prompts": PROMPTS, "resume": whole} | WRITE | change)


# --- progress -----------------------------------------------------------------------------------------------------------


@settings(max_examples=5)
@given(n=st.integers(1, 4), size=st.integers(1, 9), each=st.booleans())
def test_progress_is_told_as_it_is(n: int, size: int, each: bool) -> None:
    told: list[Progress] = []
    method = GEN.generate_each if each else GEN.generate
    out = list(method(PROMPTS, n=n, max_new_tokens=4, seed=1, batch_size=size, progress=told.append))
    tokens = sum(len((c[1] if each else c).tokens) for c in out)
    assert (told[-1].done, told[-1].total, told[-1].tokens) == (len(PROMPTS) * n, len(PROMPTS) * n, tokens)
    for earlier, later in itertools.pairwise(told):
        assert earlier.done <= later.done
        assert earlier.tokens < later.tokens
        assert earlier.seconds <= later.seconds
    assert told[-1].seconds_left == 0


def test_progress_counts_what_is_left_and_unknown_totals_are_none() -> None:
    told: list[Progress] = []
    list(GEN.generate_each(iter(PROMPTS), **WRITE, progress=told.append))
    assert (told[-1].done, told[-1].total, told[-1].seconds_left) == (8, None, None)
    list(GEN.generate_each(PROMPTS, **WRITE, skip=range(3), progress=told.append))
    assert (told[-1].done, told[-1].total) == (5, 5)
    assert str(Progress(312, 1000, 41210, 100.0)) == "312/1,000 texts, 412 tokens/s, 1:40, 3:41 left"
    assert str(Progress(0, None, 0, 0.0)) == "0 texts, starting, 0:00"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "n", "asked", "lines"),
    [
        (Terminal, 200, None, 1),
        (Terminal, 199, None, 0),
        (Terminal, 2, True, 1),
        (Terminal, 200, False, 0),
        (io.StringIO, 200, None, 0),
        (io.StringIO, 2, True, 1),
    ],
    ids=str,
)
def test_a_line_is_shown_for_long_work_on_a_terminal_or_where_asked(
    stream: type[io.StringIO], n: int, asked: bool | None, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    GEN.generate("a", n=n, max_new_tokens=1, seed=0, progress=asked)
    shown = sys.stderr.getvalue()
    assert shown.count("\n") == lines
    assert (f"{n}/{n} texts" in shown) == bool(lines)
    assert ("\r" in shown) == (stream is Terminal and bool(lines))


def test_a_line_is_closed_when_the_work_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    rows = GEN.generate_each(PROMPTS, **WRITE, batch_size=2, progress=True)
    next(rows)
    rows.close()
    assert sys.stderr.getvalue().endswith("\n")
    with pytest.raises(TypeParameterError, match="progress must be True"):
        GEN.generate("a", progress="yes")


def test_progress_between_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    told: list[Progress] = []
    GEN.generate("a", max_new_tokens=5, seed=1, progress=told.append)
    assert [p.tokens for p in told] == [1, 2, 3, 4, 5]
    assert [p.done for p in told] == [0, 0, 0, 0, 1]


# --- one by one -----------------------------------------------------------------------------------------------------------


def test_prompts_are_read_as_they_are_needed_and_nothing_is_read_after_a_close() -> None:
    taken = 0

    def prompts() -> Iterator[str]:
        nonlocal taken
        for i in itertools.count():
            taken += 1
            yield f"prompt {i}"

    rows = GEN.generate_each(prompts(), max_new_tokens=1, seed=0, batch_size=2)
    assert taken == 0
    first = list(itertools.islice(rows, 10))
    assert taken == 32
    assert {place for place, _ in first} <= set(range(32))
    rows.close()
    assert taken == 32
    assert list(GEN.generate_each(iter([]))) == []
    assert [c.prompt for _, c in GEN.generate_each("abc", max_new_tokens=1)] == ["abc"]


def test_an_interrupted_iteration_goes_on_where_it_was(whole: Completions, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[int, Any] = {}
    with monkeypatch.context() as patch:
        Hook(patch, at(8, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            for place, completion in GEN.generate_each(iter(PROMPTS), **WRITE, batch_size=3):
                kept[place] = completion
    assert 0 < len(kept) < len(PROMPTS)
    rest = dict(GEN.generate_each(iter(PROMPTS), **WRITE, skip=kept))
    assert not rest.keys() & kept.keys()
    assert [(kept | rest)[i] for i in range(len(PROMPTS))] == list(whole)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"prompts": 3}, "prompts"),
        ({"prompts": []}, "prompts"),
        ({"prompts": ["a", 3]}, r"prompts\[1\]"),
        ({"n": 0}, "n must be"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"seed": [1]}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"sampler": [TopK(3)]}, "filter"),
        ({"sampler": TopK(torch.tensor([1, 2]))}, "sampler"),
        ({"sampler": Greedy(), "n": 2}, "n must be 1"),
        ({"stop": ""}, "stop"),
        ({"batch_size": 0}, "batch_size"),
        ({"skip": 3}, "skip"),
        ({"skip": "a"}, "skip must be a set of rows"),
        ({"skip": b"a"}, "skip must be a set of rows"),
        ({"skip": {"0"}}, "skip must be an integer of at least 0"),
        ({"skip": {-1}}, "skip must be an integer of at least 0"),
        ({"skip": [1.5]}, "skip must be an integer of at least 0"),
        ({"skip": (True,)}, "skip must be an integer of at least 0"),
        ({"prompts": ()}, "prompts must be"),
        ({"prompts": b"a"}, "prompts must be"),
        ({"progress": 3}, "progress"),
    ],
    ids=str,
)
def test_arguments_are_checked_at_the_call(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        GEN.generate_each(**{"prompts": ["a", "b"]} | arguments)


def test_a_bad_prompt_of_an_iterator_is_named_by_its_place() -> None:
    long = iter(["a"] * 40 + ["x" * 200])
    with pytest.raises(ParameterError, match=r"prompts\[40\] must be shorter"):
        list(GEN.generate_each(long, max_new_tokens=1, batch_size=1))
    rows = GEN.generate_each(iter(["a"] * 40 + [None]), max_new_tokens=1, batch_size=1)
    with pytest.raises(ParameterError, match=r"prompts\[40\] must be a string"):
        list(rows)


@pytest.mark.parametrize("bad", ["x" * 200, 3, "\ud800"], ids=["long", "int", "surrogate"])
@pytest.mark.parametrize("source", [list, iter], ids=["list", "iterator"])
def test_a_prompt_that_is_skipped_is_not_looked_at(source: Callable[[Any], Any], bad: Any, whole: Completions) -> None:
    prompts: list[Any] = list(PROMPTS)
    prompts[1] = bad
    found = dict(GEN.generate_each(source(prompts), **WRITE, skip={1}))
    assert found == {i: one for i, one in enumerate(whole) if i != 1}
    half = dict(GEN.generate_each(source(PROMPTS), **WRITE, n=2, skip=[1, 3]))
    every = GEN.generate(PROMPTS, **WRITE, n=2)
    assert half == {i: one for i, one in enumerate(every) if i not in (1, 3)}
    with pytest.raises(ParameterError, match=r"prompts\[1\] must be"):  # one of its rows is still to be written
        list(GEN.generate_each(source(prompts), **WRITE, n=2, skip={2}))


def test_whoever_watches_may_fail_and_what_is_finished_is_kept(whole: Completions) -> None:
    def watch(progress: Progress) -> None:
        if progress.done == 3:
            raise ZeroDivisionError("division by zero")

    with pytest.raises(GenerationError, match="progress failed: ZeroDivisionError") as caught:
        GEN.generate(PROMPTS, **WRITE, batch_size=1, progress=watch)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    partial = caught.value.completions
    assert len(partial) - len(partial.unfinished) == 3
    law_of_partial(partial, whole)
    assert GEN.generate(PROMPTS, **WRITE, resume=partial) == whole


def test_samplers_with_a_state_follow_their_rows_through_batches() -> None:
    samplers = [as_sampler(Temperature(0.5 + i / 4)) for i in range(len(PROMPTS))]
    out = GEN.generate(PROMPTS, **WRITE, sampler=samplers, batch_size=3)
    assert out == GEN.generate(PROMPTS, **WRITE, sampler=samplers, batch_size=8)
