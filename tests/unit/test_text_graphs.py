"""Steps that are recorded and replayed, and loops that read late, write what a plain loop writes. On a CPU: see `tape.py`.

In float64, so that the number of rows and of slots, which rounding may depend on, cannot be seen in a float32.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aigc
import tape
import tiny
from aigc import kernels
from aigc.errors import GenerationError
from aigc.kernels import Draw, Status
from aigc.sampling import Categorical, Greedy, MinP, Noise, PerRow, Sampler, Temperature, TopK, TopP, as_sampler, chain
from aigc.text import BeamSearch, Guidance, graphs
from aigc.text._transformers import TransformersNetwork
from aigc.text._transformers_kinds import Seq2SeqNetwork
from aigc.text.forwards import AloneForward, PaddedForward, SlotForward
from aigc.text.graphs import GraphForward, GraphSteps
from aigc.text.loop import Drawn, Loop, PlainSteps
from aigc.text.packed.parts import Decoder
from aigc.text.packed.reading import Unreadable
from aigc.text.packed.source import Source
from aigc.text.seq2seq import TogetherForward

NAMES = ("llama", "mistral", "gemma2", "gpt2")  # full attention, a sliding window, both, learned positions
NETS = {name: TransformersNetwork(tiny.model(name, dtype=torch.float64)) for name in NAMES}
FUSED = as_sampler(chain(Temperature(0.9), TopK(50), TopP(0.9)))
UNFUSED = as_sampler(chain(TopK(50), Temperature(1.5)))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> tape.TapeRecorder:
    made = tape.TapeRecorder()
    monkeypatch.setattr(graphs, "recorder", lambda _: made)
    monkeypatch.setattr(kernels, "run", tape.draw)
    return made


def written(loop: Loop, limits: Sequence[int], ends: frozenset[int] = frozenset()) -> list[list[Drawn]]:
    """What each row writes, which ends at its limit or with a token that ends a text."""
    texts: list[list[Drawn]] = [[] for _ in limits]
    for step in loop:
        for drawn in step:
            texts[drawn.row].append(drawn._replace(logprob=float("-inf") if drawn.status else drawn.logprob))
            if len(texts[drawn.row]) == limits[drawn.row] or drawn.token in ends:
                loop.drop(drawn.row)
    return texts


class Start:
    """A batch, and the loops that can write it."""

    def __init__(self, network: Any, prompts: Sequence[Sequence[int]], limits: Sequence[int], sampler: Any) -> None:
        self.network, self.prompts, self.limits, self.sampler = network, prompts, limits, sampler
        self.seeds = [7 * row for row in range(len(prompts))]

    def steps(self, forward: Any, sampler: Any = None) -> PlainSteps:
        return PlainSteps(forward, sampler or self.sampler, prompts=self.prompts, seeds=self.seeds)

    def plain(self, sampler: Any = None) -> Loop:
        return Loop(self.steps(SlotForward(self.network, self.prompts), sampler), self.limits)

    def late(self, way: Any = SlotForward, sampler: Any = None) -> Loop:
        return Loop(self.steps(way(self.network, self.prompts), sampler), self.limits, late=True)

    def recorded(self, forward: GraphForward | None = None, sampler: Any = None) -> Loop:
        forward = forward or GraphForward(self.network, self.prompts, strict=True)
        given = {"prompts": self.prompts, "seeds": self.seeds, "limits": self.limits}
        return graphs.begin(forward, sampler or self.sampler, **given, device=self.network.device)


def samplers(rows: int) -> list[Sampler[Any]]:
    by_row = Temperature(torch.linspace(0.5, 2.0, rows)), TopK(torch.arange(1, 2 * rows, 2) * 20)
    return [
        FUSED,
        UNFUSED,
        as_sampler(Greedy()),
        as_sampler(chain(*by_row)),
        as_sampler(chain(*reversed(by_row))),
        PerRow(tuple((FUSED, UNFUSED)[row % 2] for row in range(rows))),
        as_sampler(chain(TopP(0.95), MinP(0.02))),
    ]


rows = st.lists(
    st.tuples(st.lists(st.integers(0, 40), min_size=1, max_size=70), st.integers(1, 24)), min_size=1, max_size=5
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, suppress_health_check=[*HealthCheck])
@given(rows=rows, which=st.integers(0, 6), draws=st.booleans(), ends=st.frozensets(st.integers(0, 257), max_size=40))
def test_the_same_tokens_and_logprobs_however_steps_run(
    name: str, rows: list, which: int, draws: bool, ends: frozenset[int], recorder: tape.TapeRecorder
) -> None:
    prompts, limits = zip(*rows, strict=True)
    recorder.draws = draws
    start = Start(NETS[name], prompts, limits, samplers(len(rows))[which])
    plain = written(start.plain(), limits, ends)
    assert written(start.late(), limits, ends) == plain
    assert written(start.recorded(), limits, ends) == plain


@pytest.mark.parametrize("sampler", [FUSED, UNFUSED], ids=["fused", "not fused"])
def test_steps_are_replayed_and_few_are_recorded(sampler: Categorical, recorder: tape.TapeRecorder) -> None:
    """Each window and each number of rows is run once as it is, and recorded once; 100 slots lie in two windows."""
    start = Start(NETS["llama"], [[1], [2], [3], [4]], [100, 100, 70, 20], sampler)
    forward = GraphForward(start.network, start.prompts)
    assert list(map(len, written(start.recorded(forward), start.limits))) == start.limits
    assert forward.problem is None
    assert (recorder.runs, recorder.tapes) == (3, 3), "64 slots, 128 slots, and two rows that are left of four"
    assert recorder.replays == 99 - 3
    assert isinstance(start.recorded(forward)._steps, GraphSteps if sampler is FUSED else PlainSteps)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sampler", [FUSED, UNFUSED], ids=["fused", "not fused"])
def test_a_context_is_filled_to_its_last_position(name: str, sampler: Any, recorder: tape.TapeRecorder) -> None:
    """And rows that ended there, and keep their places, write no further."""
    prompts, limits = [[1] * 127, [2] * 119, [3], [4] * 100, [5]], [1, 9, 60, 28, 127]
    start = Start(NETS[name], prompts, limits, sampler)
    plain = written(start.plain(), limits)
    assert list(map(len, plain)) == limits
    forward = GraphForward(start.network, prompts, strict=True)
    assert written(start.recorded(forward), limits) == plain
    assert forward._slots._cache.slots[0].keys.shape[2] == 128, "rows that ended took more room"
    assert written(start.late(), limits) == plain


@pytest.mark.parametrize("way", [PaddedForward, AloneForward])
def test_other_ways_may_read_late(way: Any) -> None:
    prompts, limits = [[1] * 127, [2] * 30, [3]], [1, 9, 40]
    start = Start(NETS["gpt2"], prompts, limits, FUSED)
    assert written(start.late(way), limits) == written(Loop(start.steps(way(start.network, prompts)), limits), limits)


class Poisoned(TransformersNetwork):
    """Says NaN after some tokens."""

    def run_slots(self, ids: torch.Tensor, cache: Any, *, reveal: bool = False) -> Any:
        logits, hidden = super().run_slots(ids, cache, reveal=reveal)
        return logits.masked_fill((ids[:, -1:] % 43 == 0), torch.nan), hidden


@pytest.mark.parametrize("sampler", [FUSED, UNFUSED], ids=["fused", "not fused"])
def test_rows_of_bad_logits_end_and_disturb_nobody(sampler: Any, recorder: tape.TapeRecorder) -> None:
    network = Poisoned(tiny.model("llama", dtype=torch.float64))
    prompts, limits = [[1], [43], [3], [4, 5], [6], [7], [8]], [40] * 7
    start = Start(network, prompts, limits, sampler)
    plain = written(start.plain(), limits)
    lengths = [len(text) for text in plain if text[-1].status is Status.NAN]
    assert len(set(lengths)) > 3, "they end at different times"
    assert len(lengths) < 7
    assert written(start.recorded(), limits) == plain
    assert written(start.late(), limits) == plain


class Remembering:
    """Draws from the mean of the last two logits, which it keeps; and counts the rows that it sees."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def init(self, prompts: Sequence[Sequence[int]]) -> Any:
        return None

    def step(self, logits: torch.Tensor, state: Any, noise: Noise) -> tuple[Draw, Any]:
        self.seen.append(len(logits))
        mean = logits if state is None else (logits + state[0]) / 2
        return kernels.run(mean, kernels.Parameters(), noise.start), (logits,)


def test_a_sampler_may_keep_logits_and_sees_no_row_that_ended(recorder: tape.TapeRecorder) -> None:
    start = Start(NETS["llama"], [[1], [2], [3], [4]], [12, 9, 12, 3], None)
    plain, late, recorded = Remembering(), Remembering(), Remembering()
    expected = written(start.plain(plain), start.limits)
    assert written(start.late(sampler=late), start.limits) == expected
    assert written(start.recorded(sampler=recorded), start.limits) == expected
    assert plain.seen == late.seen == recorded.seen
    assert recorder.replays > 5


class Reading(TransformersNetwork):
    """Looks at its positions on the host, as dynamic rotary embeddings do."""

    def run_slots(self, ids: torch.Tensor, cache: Any, *, reveal: bool = False) -> Any:
        assert int(cache.at.write.max()) < 128
        self.seen = [*getattr(self, "seen", []), len(ids)]
        return super().run_slots(ids, cache, reveal=reveal)


@pytest.mark.parametrize("sampler", [FUSED, UNFUSED], ids=["fused", "not fused"])
def test_what_cannot_be_recorded_runs_as_it_is(sampler: Any, recorder: tape.TapeRecorder) -> None:
    start = Start(Reading(tiny.model("llama", dtype=torch.float64)), [[1], [2], [3]], [20, 70, 4], sampler)
    forward = GraphForward(start.network, start.prompts)
    recorded = written(start.recorded(forward), start.limits)
    assert start.network.seen.count(3) == 4, "rows leave at once where nothing is recorded"
    assert recorded == written(start.plain(), start.limits)
    assert (recorder.tapes, recorder.replays) == (1, 0), "it is not tried again"
    assert forward.problem is not None
    assert forward.problem.startswith("RuntimeError: aten.item")
    with pytest.raises(RuntimeError, match="not permitted"):
        written(start.recorded(GraphForward(start.network, start.prompts, strict=True)), start.limits)


# --- the loop by itself -------------------------------------------------------------------------------------------------


class Scripted:
    """Steps that draw 10 times the step, and say what they are asked."""

    def __init__(self, rows: int, fail: int = 99) -> None:
        self.rows, self.fail, self.asked, self.steps = rows, fail, [], 0

    def draw(self) -> Draw:
        if not self.asked or self.asked[-1] != "ahead":
            self.ahead()
        self.asked.append("draw")
        n = torch.full((self.rows,), 10 * self.steps)
        return Draw(n, n.float(), n, n.float(), torch.zeros_like(n))

    def ahead(self) -> None:
        self.steps += 1
        self.asked.append("ahead")
        if self.steps == self.fail:
            raise torch.OutOfMemoryError("out of memory")

    def select(self, alive: torch.Tensor) -> None:
        self.rows = len(alive)
        if self.asked[-1] != "ahead":
            self.asked.append("select")


def test_the_next_step_begins_before_the_tokens_are_handed_out() -> None:
    steps = Scripted(2)
    loop = Loop(steps, [3, 2], late=True)
    assert [drawn.token for drawn in next(loop)] == [10, 10]
    assert steps.asked == ["ahead", "draw", "ahead"]
    assert [drawn.token for drawn in next(loop)] == [20, 20]
    loop.drop(1)
    assert [(drawn.row, drawn.token) for drawn in next(loop)] == [(0, 30)]
    assert steps.asked.count("ahead") == 3, "a step that no row has a use for"
    loop.drop(0)
    assert list(loop) == []
    plain = Scripted(1)
    next(Loop(plain, [3]))
    assert plain.asked == ["ahead", "draw"]


def test_only_what_has_a_position_left_reads_late(recorder: tape.TapeRecorder) -> None:
    start = Start(NETS["llama"], [[1], [2]], [5, 5], FUSED)
    given = {"prompts": start.prompts, "seeds": start.seeds, "limits": start.limits}

    def late(forward: Any, device: str) -> bool:
        return graphs.begin(forward, FUSED, **given, device=torch.device(device))._late

    assert late(GraphForward(start.network, start.prompts), "cpu")
    assert late(SlotForward(start.network, start.prompts), "cuda")
    assert not late(SlotForward(start.network, start.prompts), "cpu")
    network = Seq2SeqNetwork(tiny.seq2seq("bart"))
    assert not late(TogetherForward(network, [[5, 6], [7]]), "cuda")


def test_an_error_ahead_costs_no_token_that_was_drawn() -> None:
    """Twin: raised at once, it would take the last tokens of all rows with it."""
    loop = Loop(Scripted(2, fail=3), [9, 9], late=True)
    assert [len(next(loop)), len(next(loop))] == [2, 2]
    with pytest.raises(torch.OutOfMemoryError):
        next(loop)
    loop = Loop(Scripted(2, fail=3), [9, 9], late=True)
    next(loop), next(loop)
    loop.drop(0), loop.drop(1)
    assert list(loop) == [], "nobody needs the step that failed"


# --- through Generator --------------------------------------------------------------------------------------------------

PROMPTS = ["a", "bb bb", "春", "d" * 60, "eeee"]


def unreadable(_: Source) -> Decoder:
    raise Unreadable("it is not to be packed")


@pytest.fixture
def gen(recorder: tape.TapeRecorder, monkeypatch: pytest.MonkeyPatch) -> aigc.Generator:
    monkeypatch.setattr(Source, "decoder", unreadable)
    return aigc.Generator(tiny.model("llama", dtype=torch.float64), tiny.tokenizer())


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> aigc.Generator:
    """The same without graphs, its plan found before they are there."""
    with monkeypatch.context() as patch:
        patch.setattr(Source, "decoder", unreadable)
        made = aigc.Generator(tiny.model("llama", dtype=torch.float64), tiny.tokenizer())
        assert "graph" not in made.plan.reason
    return made


@pytest.mark.parametrize("sampler", [FUSED, UNFUSED], ids=["fused", "not fused"])
def test_texts_streams_and_reasons_are_the_same(
    plain: aigc.Generator, gen: aigc.Generator, sampler: Any, recorder: tape.TapeRecorder
) -> None:
    assert gen.plan.forward == "slots"
    assert "steps are CUDA graphs" in gen.plan.reason
    before = plain.generate(PROMPTS, max_new_tokens=24, seed=3, sampler=sampler)
    stops = [before[0].text[5:7], before[1].text[9:11], before[4].text[2:3]]
    arguments = {"max_new_tokens": 70, "seed": 3, "sampler": sampler, "stop": stops}
    expected = plain.generate(PROMPTS, **arguments, logprobs=True)
    assert {c.finish_reason for c in expected} >= {"stop", "length"}
    recorder.replays = 0
    assert gen.generate(PROMPTS, **arguments, logprobs=True) == expected
    assert recorder.replays > 50
    assert list(gen.stream(PROMPTS, **arguments)) == list(plain.stream(PROMPTS, **arguments))


def test_rows_of_a_guided_search_fork_after_both_prompts(plain: aigc.Generator, gen: aigc.Generator) -> None:
    """Rows of steps that are recorded cannot fork, whichever prompt they read."""
    for negative in ("", "to lead away from"):
        how = {"max_new_tokens": 12, "guidance": Guidance(1.5, negative=negative), "search": BeamSearch(3)}
        expected = [(c.tokens, c.score) for c in plain.generate(PROMPTS, n=3, **how)]
        assert [(c.tokens, c.score) for c in gen.generate(PROMPTS, n=3, **how)] == expected


def test_a_stream_closed_early_harms_no_other(plain: aigc.Generator, gen: aigc.Generator) -> None:
    arguments = {"max_new_tokens": 12, "seed": 1, "sampler": FUSED}
    expected = plain.generate(PROMPTS, **arguments)
    streams = [gen.stream(PROMPTS, **arguments) for _ in range(3)]
    texts = ["", ""]
    for _ in range(20):
        for i, stream in enumerate(streams[:2]):
            chunk = next(stream)
            texts[i] += chunk.text * (chunk.index == 0)
        next(streams[2])
    streams[2].close()
    for i, stream in enumerate(streams[:2]):
        texts[i] += "".join(chunk.text for chunk in stream if chunk.index == 0)
    assert texts == [expected[0].text] * 2
    assert gen.generate(PROMPTS, **arguments) == expected


def test_a_plan_says_why_there_are_no_graphs(gen: aigc.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    model = gen.model
    hook = model.lm_head.register_forward_hook(lambda *_: None)
    assert gen.plan.reason.endswith(
        "no CUDA graphs: a module of LlamaForCausalLM has a forward of its own, or a hook on it"
    )
    hook.remove()
    assert "steps are CUDA graphs" in gen.plan.reason
    run = TransformersNetwork.run_slots
    monkeypatch.setattr(
        TransformersNetwork, "run_slots", lambda net, ids, cache, **how: run(net, ids + int(ids.max()) * 0, cache, **how)
    )
    again = aigc.Generator(model, tiny.tokenizer())
    assert again.plan.reason.endswith(
        "no CUDA graphs: LlamaForCausalLM does not take CUDA graphs "
        "(RuntimeError: aten.item.default is not permitted when a stream is capturing)"
    )
    assert again.generate("a", max_new_tokens=9, seed=1).texts == gen.generate("a", max_new_tokens=9, seed=1).texts


def test_memory_that_runs_out_ahead_begins_rows_again(gen: aigc.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = gen.generate(PROMPTS, max_new_tokens=12, seed=2, sampler=FUSED)
    turn = GraphForward.turn

    def narrow(self: GraphForward, work: Any) -> None:
        if len(self.tokens) > 2:
            raise torch.OutOfMemoryError("out of memory")
        turn(self, work)

    monkeypatch.setattr(GraphForward, "turn", narrow)
    assert gen.generate(PROMPTS, max_new_tokens=12, seed=2, sampler=FUSED) == expected
    monkeypatch.setattr(GraphForward, "turn", lambda *_: 1 / 0)
    with pytest.raises(GenerationError, match="ZeroDivisionError"):
        gen.generate(PROMPTS, max_new_tokens=12, seed=2, sampler=FUSED)
