"""Samplers and parameters per row, through `Generator`: each row gets its own, however the call is cut into batches."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import aigc
import tiny
from aigc.errors import ModelError, ParameterError
from aigc.sampling import Categorical, Greedy, PerRow, Temperature, TopK, TopP, chain
from aigc.text import requests
from aigc.text.rows import Request

GEN = aigc.Generator(tiny.model("llama"), tiny.tokenizer())
PROMPTS = ["a", "bb", "ccc", "dddd", "eeeee"]
K = torch.tensor([1, 2, 30, 100, 200])


@pytest.mark.parametrize("f", [chain(TopK(K), Temperature(1.5)), chain(Temperature(1.5), TopK(K)), TopK(K)], ids=str)
@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_parameters_per_row_follow_their_rows(f: aigc.sampling.Filter, batch_size: int | None) -> None:
    out = GEN.generate(PROMPTS, max_new_tokens=8, sampler=f, seed=3, batch_size=batch_size)
    for i, c in enumerate(out):
        alone = aigc.sampling.take(f, torch.tensor([i]))
        assert GEN.generate(c.prompt, max_new_tokens=8, sampler=alone, seed=[c.seed])[0].text == c.text


@pytest.mark.parametrize("size", [4, 6])
@pytest.mark.parametrize("fused", [True, False])
def test_parameters_of_another_number_are_refused_at_once(size: int, fused: bool) -> None:
    parts = [Temperature(1.5), TopK(torch.ones(size).long())]
    f = chain(*(parts if fused else reversed(parts)))
    with pytest.raises(ParameterError, match="with 5 numbers"):
        GEN.stream(PROMPTS, sampler=f)
    with pytest.raises(ParameterError, match="plain numbers"):
        GEN.stream(PROMPTS, sampler=[f] * 5)


@dataclass(frozen=True)
class Ban:
    """A user's filter, whose tensor does not lead with rows."""

    ids: Tensor

    def __call__(self, logits: Tensor) -> Tensor:
        return logits.index_fill(-1, self.ids, -torch.inf)


def test_a_tensor_of_a_users_filter_is_the_users() -> None:
    out = GEN.generate(PROMPTS, max_new_tokens=10, sampler=chain(Temperature(2.0), Ban(torch.arange(250))), seed=1)
    assert all(token >= 250 for c in out for token in c.tokens)


def test_rows_with_the_same_filter_are_drawn_together() -> None:
    f = TopP(0.9)
    chosen = requests.writers([f, f, Greedy()], 3, n=1, default=lambda: Categorical(f))
    sampler = chosen.of([Request(i, "a", (1,), seed=0, limit=5) for i in range(3)])
    assert isinstance(sampler, PerRow)
    assert len({id(one) for one in sampler.samplers}) == 2


def test_greedy_in_any_dress_refuses_several_texts() -> None:
    for sampler in (Greedy(), chain(TopK(3), Greedy()), Categorical(Greedy()), [Greedy()] * 2):
        with pytest.raises(ParameterError, match="n must be 1"):
            GEN.generate("a", n=2, sampler=sampler)


def test_a_recommendation_that_cannot_be_is_said_and_can_be_overridden() -> None:
    model = tiny.model("llama")
    model.generation_config.do_sample, model.generation_config.top_k = True, -1
    gen = aigc.Generator(model, tiny.tokenizer())
    with pytest.raises(ModelError, match=r"generation_config\.json recommends"):
        gen.generate("a", max_new_tokens=2)
    assert len(gen.generate("a", max_new_tokens=2, sampler=TopK(3), seed=0)) == 1
    model.generation_config.top_k, model.generation_config.temperature = 5, 0.7
    recommended = aigc.Generator(model, tiny.tokenizer()).generate("a", max_new_tokens=8, seed=0)
    assert recommended.texts == gen.generate("a", max_new_tokens=8, seed=0, sampler=chain(Temperature(0.7), TopK(5))).texts
