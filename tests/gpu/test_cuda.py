"""CUDA: the same noise, the same specification, the same text in any batch. Run with `pytest -m gpu`."""

import pytest
import torch

import aigc
from aigc import kernels, random
from aigc.sampling import Greedy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


def test_noise_is_that_of_the_cpu() -> None:
    tokens = torch.arange(100_000)
    there = random.gumbel(7, 3, tokens.cuda()).cpu()
    torch.testing.assert_close(there, random.gumbel(7, 3, tokens), rtol=1e-14, atol=1e-14)


def test_draws_are_those_of_the_cpu() -> None:
    x = torch.randn(32, 32_000, generator=torch.Generator().manual_seed(0)) * 3
    for given in ({}, {"top_k": 50}, {"top_p": 0.9}, {"min_p": 0.05}, {"temperature": 0.0}):
        here, there = (kernels.sample(y, seed=torch.arange(32), step=5, **given) for y in (x, x.cuda()))
        assert torch.equal(here.token, there.token.cpu()), given


def test_the_default_model_writes_and_repeats() -> None:
    gen = aigc.Generator.default(device="cuda", dtype="float32")
    out = gen.generate(["The sea", "《春夜》\n"], n=4, max_new_tokens=40, seed=0)
    for c in out:
        assert gen.generate(c.prompt, max_new_tokens=40, seed=[c.seed])[0].text == c.text
    greedy = gen.generate("The sea", max_new_tokens=20, sampler=Greedy())[0]
    here = aigc.Generator.default(device="cpu", dtype="float32").generate("The sea", max_new_tokens=20, sampler=Greedy())[0]
    assert greedy.tokens == here.tokens
