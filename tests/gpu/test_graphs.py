"""CUDA graphs write what steps without them write. Run with `pytest -m gpu`.

Without a GPU, `tests/unit/test_text_graphs.py` has the same steps recorded and replayed on the host.
"""

import gc
from collections import Counter
from typing import Any

import pytest
import torch

import aigc
import tiny
from aigc import kernels
from aigc.sampling import Greedy, Temperature, TopK, TopP, as_sampler, chain
from aigc.text import graphs
from aigc.text._transformers import TransformersNetwork
from aigc.text.graphs import GraphForward
from aigc.text.loop import Loop

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

PROMPTS = ["a", "bb bb", "春", "d" * 60, "eeee"]
SAMPLERS = {
    "fused": chain(Temperature(0.9), TopK(50), TopP(0.9)),
    "greedy": Greedy(),
    "by row": TopK(torch.tensor([1, 3, 9, 27, 81])),
    "not fused": chain(TopK(50), Temperature(1.5)),
}


def both(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[aigc.Generator, aigc.Generator]:
    """A generator with graphs, and one without."""
    graphed = aigc.Generator(tiny.model(name).cuda(), tiny.tokenizer())
    assert "steps are CUDA graphs" in graphed.plan.reason, graphed.plan.reason
    with monkeypatch.context() as patch:
        patch.setattr(graphs, "recorder", lambda _: None)
        eager = aigc.Generator(tiny.model(name).cuda(), tiny.tokenizer())
        assert "CUDA graphs" not in eager.plan.reason
    return graphed, eager


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gpt2"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_captured_steps_write_what_eager_ones_write(name: str, sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graphed, eager = both(name, monkeypatch)
    given = {"max_new_tokens": 60, "seed": 3, "sampler": SAMPLERS[sampler]}
    assert [c.tokens for c in graphed.generate(PROMPTS, **given)] == [c.tokens for c in eager.generate(PROMPTS, **given)]
    before = eager.generate(PROMPTS, **given)
    given["stop"] = [before[0].text[5:7], before[2].text[9:11]]
    expected = eager.generate(PROMPTS, **given)
    for out in (graphed.generate(PROMPTS, **given), graphed.generate(PROMPTS, **given)):
        assert [(c.tokens, c.finish_reason) for c in out] == [(c.tokens, c.finish_reason) for c in expected]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_context_is_filled_to_its_last_position(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graphed, eager = both(name, monkeypatch)
    prompts = ["x" * 127, "y" * 119, "z", "w" * 100, "v"]
    out = [gen.generate(prompts, max_new_tokens=127, seed=1, sampler=TopK(200)) for gen in (graphed, eager)]
    assert [c.tokens for c in out[0]] == [c.tokens for c in out[1]]
    torch.cuda.synchronize()


def test_graphs_do_not_leak_memory() -> None:
    """Of calls that are all the same, each gives back what it took, without the collector of cycles, which is off."""
    gen = aigc.Generator(tiny.model("llama").cuda(), tiny.tokenizer())
    given: dict[str, Any] = {"max_new_tokens": 100, "seed": 1, "sampler": SAMPLERS["fused"]}
    sizes: list[tuple[int, int]] = []
    gc.collect()  # what other tests left, so that it is not given back in the middle of this one
    gc.disable()
    try:
        for _ in range(35):
            gen.generate(PROMPTS, n=4, **given)
            stream = gen.stream(PROMPTS, **given)
            for _ in range(50):
                next(stream)
            stream.close()
            torch.cuda.synchronize()
            sizes.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
        left = Counter(f"{type(one).__name__} {getattr(one, 'shape', '')}" for one in gc.get_objects() if _on_device(one))
    finally:
        gc.enable()
    told = f"Allocated and reserved after each call: {sizes}; tensors at the end: {left.most_common(20)}"
    (allocated, reserved), first = zip(*sizes[5:], strict=True), 15
    assert allocated[-1] == allocated[0], f"{(allocated[-1] - allocated[0]) / 29:,.0f} bytes more for each call. {told}"
    assert max(reserved[first:]) <= max(reserved[:first]), told


def test_memory_that_a_call_took_is_seen_while_it_is_held() -> None:
    """Twin: a stream that is not closed holds its caches."""
    gen = aigc.Generator(tiny.model("llama").cuda(), tiny.tokenizer())
    sizes = []
    for streams in ([gen.stream(PROMPTS, max_new_tokens=100, seed=1) for _ in range(count)] for count in (1, 4)):
        for stream in streams:
            next(stream)
        sizes.append(torch.cuda.memory_allocated())
        for stream in streams:
            stream.close()
    assert sizes[1] > sizes[0], sizes


def _on_device(one: object) -> bool:
    return type(one) in (torch.Tensor, torch.nn.Parameter) and one.is_cuda


def test_nothing_waits_for_the_device_but_the_event_of_the_step_before() -> None:
    network = TransformersNetwork(tiny.model("llama").cuda())
    given: dict[str, Any] = {"prompts": [[1], [2, 3]], "seeds": [1, 2], "limits": [60, 60], "device": network.device}
    loop: Loop = graphs.begin(GraphForward(network, given["prompts"], strict=True), as_sampler(SAMPLERS["fused"]), **given)
    for _ in range(4):  # the prompts, a step as it is, a capture, a replay
        next(loop)
    torch.cuda.set_sync_debug_mode("error")
    try:
        tokens = [drawn.token for _ in range(20) for drawn in next(loop)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(tokens) == 40


def test_a_capture_that_fails_leaves_a_model_that_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels.backend("cuda") == "triton", kernels.unavailable("cuda")
    _, eager = both("llama", monkeypatch)
    run, stream, state = TransformersNetwork.run_slots, torch.cuda.current_stream(), torch.cuda.get_rng_state()
    with monkeypatch.context() as patch:
        patch.setattr(
            TransformersNetwork,
            "run_slots",
            lambda net, ids, cache, **how: run(net, ids + int(ids.max()) * 0, cache, **how),
        )
        refused(eager, stream)
    # The process is as it was: memory is given back, numbers are drawn as they would have been, and steps are captured.
    torch.cuda.empty_cache()
    assert torch.equal(torch.cuda.get_rng_state(), state)
    with torch.random.fork_rng():
        expected = torch.rand(5, device="cuda", generator=torch.Generator("cuda").manual_seed(torch.cuda.initial_seed()))
        torch.cuda.manual_seed(torch.cuda.initial_seed())
        assert torch.equal(torch.rand(5, device="cuda"), expected)
    graphed, _ = both("llama", monkeypatch)
    given = {"max_new_tokens": 20, "seed": 3, "sampler": SAMPLERS["fused"]}
    assert [c.tokens for c in graphed.generate(PROMPTS, **given)] == [c.tokens for c in eager.generate(PROMPTS, **given)]


def refused(eager: aigc.Generator, stream: torch.cuda.Stream) -> None:
    """A generator whose steps cannot be captured writes what one writes that does not try."""
    gen = aigc.Generator(tiny.model("llama").cuda(), tiny.tokenizer())
    assert "no CUDA graphs: LlamaForCausalLM does not take CUDA graphs" in gen.plan.reason, gen.plan.reason
    assert torch.cuda.current_stream() == stream
    given = {"max_new_tokens": 20, "seed": 3, "sampler": SAMPLERS["fused"]}
    assert [c.tokens for c in gen.generate(PROMPTS, **given)] == [c.tokens for c in eager.generate(PROMPTS, **given)]
