"""Contrastive search, against a loop that keeps no cache and reads everything each time, in float64."""

import math
from typing import Any

import pytest
import torch

import aigc
import tiny
from aigc.errors import ModelError, ParameterError
from aigc.kernels import Status
from aigc.sampling import Greedy, Temperature, TopK, chain
from aigc.text import ContrastiveSearch, Guidance, PromptLookup
from aigc.text.forwards import PaddedForward, SlotForward
from aigc.text.packed.forward import PackedForward
from aigc.text.packed.reading import Unreadable
from aigc.text.packed.source import Source

GEN = aigc.Generator(tiny.model("llama"), tiny.tokenizer())
PROMPTS = ["abc", "The quick brown fox jumps", "zz", "春夜", "abc"]


@torch.no_grad()
def plainly(model: torch.nn.Module, prompt: str, k: int, alpha: float, steps: int, temperature: float = 1.0) -> list[int]:
    """The search as Su et al. write it; `model` in float64."""
    ids = list(tiny.tokenizer()(prompt)["input_ids"])
    start = len(ids)
    for _ in range(steps):
        chances = (model(input_ids=torch.tensor([ids])).logits[0, -1] / temperature).softmax(-1)
        ranked = []
        for token in chances.argsort(descending=True)[:k].tolist():
            out = model(input_ids=torch.tensor([[*ids, token]]), output_hidden_states=True, use_cache=False)
            states = out.hidden_states[-1][0]
            alike = [float(states[-1] @ h / (states[-1].norm() * h.norm())) for h in states[:-1]]
            ranked.append(((1 - alpha) * float(chances[token]) - alpha * max(alike), token))
        ids.append(max(ranked)[1])
        if ids[-1] == 257:
            break
    return ids[start:]


@pytest.mark.parametrize("name", ["llama", "gpt2", "slots", "bloom", "mamba"])
def test_texts_are_those_of_the_plain_loop(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_: Source) -> None:
        raise Unreadable("it is not to be packed")

    if name in ("slots", "bloom"):
        monkeypatch.setattr(Source, "decoder", unreadable)
    kind = "llama" if name == "slots" else name
    gen = aigc.Generator(tiny.model(kind), tiny.tokenizer())
    exact = tiny.model(kind, dtype=torch.float64)
    expected_way = {"slots": "slots", "bloom": "padded", "mamba": "alone"}.get(name, "packed")
    assert gen.plan.forward == expected_way
    out = gen.generate(["abcd", "zz"], max_new_tokens=10, search=ContrastiveSearch(4, alpha=0.6))
    assert [list(c.tokens) for c in out] == [plainly(exact, prompt, 4, 0.6, 10) for prompt in ("abcd", "zz")]


def test_it_is_another_text_than_greedy_one_and_filters_shape_it() -> None:
    exact = tiny.model("llama", dtype=torch.float64)
    how: dict[str, Any] = {"max_new_tokens": 10}
    out = GEN.generate("abcd", search=ContrastiveSearch(5, alpha=0.4), sampler=Temperature(2.0), **how)
    assert list(out[0].tokens) == plainly(exact, "abcd", 5, 0.4, 10, temperature=2.0)
    greedy = GEN.generate("abcd", sampler=Greedy(), **how)
    assert out[0].tokens != greedy[0].tokens
    for search in (ContrastiveSearch(1), ContrastiveSearch(4, alpha=0)):
        assert GEN.generate("abcd", search=search, **how).texts == greedy.texts
    only = GEN.generate("abcd", search=ContrastiveSearch(4), sampler=Greedy(), **how)
    assert only.texts == greedy.texts, "one token is left, and one is read"


def test_a_row_alone_is_the_row_among_others_to_the_bit() -> None:
    search = ContrastiveSearch(4)
    samplers = [chain(), TopK(3), Temperature(0.5), chain(), Temperature(1.5)]
    how: dict[str, Any] = {"search": search, "max_new_tokens": 12, "logprobs": True}
    together = GEN.generate(PROMPTS, sampler=samplers, **how)
    small = GEN.generate(PROMPTS, sampler=samplers, batch_size=8, **how)
    for a, b, sampler in zip(together, small, samplers, strict=True):
        alone = GEN.generate(a.prompt, sampler=sampler, **how)[0]
        assert (a.tokens, a.logprobs) == (b.tokens, b.logprobs) == (alone.tokens, alone.logprobs)


def test_rows_leave_and_a_session_changes_nothing() -> None:
    whole = GEN.generate(PROMPTS, max_new_tokens=12, search=ContrastiveSearch(3))
    stop = whole[1].tokens[2]
    model = tiny.model("llama")
    model.generation_config.eos_token_id = stop
    cut = aigc.Generator(model, tiny.tokenizer()).generate(PROMPTS, max_new_tokens=12, search=ContrastiveSearch(3))
    for a, b in zip(whole, cut, strict=True):
        assert b.tokens == a.tokens[: a.tokens.index(stop) + 1 if stop in a.tokens else 12]
    assert len({len(c.tokens) for c in cut}) > 1
    long = "abc " * 25
    expected = GEN.generate(long, max_new_tokens=8, search=ContrastiveSearch(3)).texts
    with GEN.session() as session:
        session.generate(long, max_new_tokens=2)
        assert session.generate(long, max_new_tokens=8, search=ContrastiveSearch(3)).texts == expected


@pytest.mark.parametrize("way", [PackedForward, SlotForward, PaddedForward])
def test_a_long_prompt_shows_all_its_tokens_and_a_short_one_no_more(way: Any) -> None:
    """Longer than what is read at once, and beside one that is padded."""
    model = tiny.model("llama")
    model.config.max_position_embeddings = 1024
    network: Any = aigc.Generator(model, tiny.tokenizer())._network
    prompts = [tiny.tokenizer()("abcdefgh " * 60)["input_ids"], [1, 2]]
    forward = way(network.packed.decoder() if way is PackedForward else network, prompts)
    forward.reveal = True
    with torch.inference_mode():
        forward.prefill()
        hidden = forward.hidden
        forward.step(torch.tensor([5, 6]))
    for ids, own, after, token in zip(prompts, hidden, forward.hidden, (5, 6), strict=True):
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([[*ids, token]]), output_hidden_states=True).hidden_states[-1][0]
        assert own.shape == expected[:-1].shape
        # States are of size 1 after a norm, and rounded in another order.
        assert torch.allclose(torch.cat([own, after]), expected, atol=1e-3)


def test_a_bad_row_ends_and_its_neighbours_do_not_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    gen = aigc.Generator(model, tiny.tokenizer())
    how: dict[str, Any] = {"max_new_tokens": 8, "search": ContrastiveSearch(3)}
    healthy = gen.generate(["abc", "q!", "zz"], **how)
    bang, forward = tiny.tokenizer()("!")["input_ids"][0], model.forward

    def broken(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.logits[(kwargs["input_ids"] == bang).any(-1)] = math.nan
        return out

    monkeypatch.setattr(model, "forward", broken)
    out = gen.generate(["abc", "q!", "zz"], **how)
    assert (out[1].finish_reason, out[1].status, out[1].tokens) == ("error", Status.NAN, ())
    for i in (0, 2):
        assert bang not in healthy[i].tokens, "the test needs healthy neighbours"
        assert out[i].tokens == healthy[i].tokens
    assert [c.finish_reason for c in gen.generate("q!", **how)] == ["error"]


def test_models_that_cannot_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="needs a causal model"):
        aigc.Generator(tiny.seq2seq("t5"), tiny.closed_tokenizer(begin=False)).generate("a", search=ContrastiveSearch())
    model = tiny.model("llama")
    gen, forward = aigc.Generator(model, tiny.tokenizer()), model.forward

    def silent(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.hidden_states = None
        return out

    monkeypatch.setattr(model, "forward", silent)
    with pytest.raises(ModelError, match="does not return its hidden states.*Use another search"):
        gen.generate("abc", max_new_tokens=2, search=ContrastiveSearch())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"n": 2}, "n must be 1"),
        ({"guidance": Guidance(2.0)}, "guidance must be left out"),
        ({"speculate": PromptLookup()}, "speculate must be left out"),
    ],
    ids=str,
)
def test_arguments(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        GEN.generate("abc", max_new_tokens=2, search=ContrastiveSearch(), **arguments)
    for wrong in ({"k": 0}, {"k": 2.0}, {"alpha": -0.1}, {"alpha": 1.1}, {"alpha": math.nan}, {"alpha": None}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            ContrastiveSearch(**wrong)
