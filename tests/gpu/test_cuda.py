"""CUDA: the same noise, the same specification, the same text in any batch. Run with `pytest -m gpu`.

Without a GPU, `tests/properties/test_triton.py` has the kernels interpreted, and `tests/unit/test_kernels_calls.py`
compiled; with one, the former runs on it.
"""

import pytest
import torch

import aigc
from aigc import kernels, random
from aigc.device import preserved_environment
from aigc.kernels import Draw, Status
from aigc.sampling import Greedy
from aigc.testing import chi_square, z_score
from specification import law_equality

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

SETTINGS = (
    {},
    {"temperature": 0.0},
    {"temperature": 0.7},
    {"top_k": 50},
    {"top_k": 5000},
    {"top_p": 0.9},
    {"min_p": 0.05},
    {"top_k": 50, "top_p": 0.9, "min_p": 0.05},
)


def test_noise_is_that_of_the_cpu() -> None:
    tokens = torch.arange(100_000)
    there = random.gumbel(7, 3, tokens.cuda()).cpu()
    torch.testing.assert_close(there, random.gumbel(7, 3, tokens), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("vocabulary", [1000, 32_000, 128_256, 262_144])
def test_draws_are_those_of_the_cpu(vocabulary: int, scale: float) -> None:
    assert kernels.backend("cuda") == "triton", kernels.unavailable("cuda")
    x = torch.randn(32, vocabulary, generator=torch.Generator().manual_seed(0)) * scale
    seeds = torch.arange(32)
    for given in SETTINGS:
        here = kernels.sample(x, seed=seeds, step=5, **given)
        there = kernels.sample(x.cuda(), seed=seeds.cuda(), step=5, **given)
        law_equality(here, Draw(*(field.cpu() for field in there)), torch.full((32,), "top_p" not in given))


def test_a_row_owes_nothing_to_its_batch() -> None:
    x = torch.randn(64, 50_257, device="cuda", generator=torch.Generator("cuda").manual_seed(0)) * 3
    x[5], x[9], x[17] = torch.nan, torch.inf, -torch.inf
    k, p = torch.randint(1, 200, (64,), device="cuda"), torch.rand(64, device="cuda") * 0.9 + 0.1
    seeds = torch.arange(64, device="cuda")
    whole = kernels.sample(x, seed=seeds, top_k=k, top_p=p)
    assert whole.status[[5, 9, 17]].tolist() == [Status.NAN, Status.INF, Status.EMPTY]
    for i in (0, 5, 6, 63):
        alone = kernels.sample(x[i], seed=seeds[i], top_k=k[i], top_p=p[i])
        assert all(torch.equal(a[i].nan_to_num(7), b.nan_to_num(7)) for a, b in zip(whole, alone, strict=True))


def test_a_graph_replays_with_new_steps_seeds_and_parameters() -> None:
    """And nothing waits for the device: `set_sync_debug_mode` makes that an error."""
    x = torch.randn(16, 128_256, device="cuda") * 3
    seeds, step = torch.arange(16, device="cuda"), torch.zeros(16, dtype=torch.int64, device="cuda")
    temperature, k = torch.ones(16, device="cuda"), torch.full((16,), 50, device="cuda")

    def draw() -> Draw:
        return kernels.sample(x, seed=seeds, step=step, temperature=temperature, top_k=k, top_p=0.9)

    draw()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = draw()
        for n in range(3):
            step.fill_(n)
            temperature.fill_(0.5 + n)
            k.fill_(5 + n)
            graph.replay()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(a, b) for a, b in zip(captured, draw(), strict=True))


def test_a_compiled_graph_draws_the_same() -> None:
    x, seeds = torch.randn(8, 32_000, device="cuda"), torch.arange(8, device="cuda")
    with preserved_environment():  # inductor names the folders of its own and Triton's cache there
        compiled = torch.compile(
            lambda x, step: kernels.sample(x * 2, seed=seeds, step=step, top_p=0.9).token,
            fullgraph=True,
            mode="reduce-overhead",
        )
        for n in range(4):
            step = torch.full((8,), n, device="cuda")
            found, expected = compiled(x, step), kernels.sample(x * 2, seed=seeds, step=step, top_p=0.9).token
            assert torch.equal(found, expected), (n, found, expected)


def test_no_kernel_is_compiled_anew_for_another_step_seed_or_batch() -> None:
    from aigc.kernels import _triton

    made = []
    for n in (1, 2, 15, 16, 17):
        x = torch.zeros(n, 32_000, device="cuda")
        kernels.sample(x, seed=n, step=n, temperature=n / 16, top_k=n)
        kernels.sample(x, seed=n, step=n, temperature=n / 16, top_p=n / 20)
        kernels_made = [getattr(_triton, name) for name in ("read_rows", "draw_rows", "search_rows")]
        kernels_made += [_triton.narrow_slices, _triton.cut_slices]
        made.append([sum(len(cache[0]) for cache in kernel.device_caches.values()) for kernel in kernels_made])
    assert all(counts == made[0] for counts in made)


def test_more_logits_than_32_bits_count() -> None:
    x = torch.zeros(16_500, 131_072, dtype=torch.bfloat16, device="cuda")
    x[-1, 7] = 30
    assert kernels.sample(x, seed=0, top_k=1).token[-1] == 7


def test_draws_follow_the_law_into_the_tail() -> None:
    logits = torch.cat([torch.zeros(1), -torch.linspace(18, 20.5, 2**18)]).cuda()
    probability = float(logits.double().softmax(-1)[1:].sum())
    parts = torch.arange(200_000, device="cuda").split(1000)
    tokens = torch.cat([kernels.sample(logits.expand(len(part), -1), seed=part).token for part in parts])
    assert abs(z_score(float((tokens > 0).sum()), len(tokens), probability)) < 4.89
    few = torch.randn(1000, generator=torch.Generator().manual_seed(2)) * 1.5
    parts = torch.arange(1_000_000, device="cuda").split(20_000)
    for given in ({}, {"top_p": 0.9}, {"top_k": 100, "min_p": 0.01}):
        kept = few.masked_fill(few < kernels.threshold(few, **given), -torch.inf)
        tokens = torch.cat([kernels.sample(few.cuda().expand(len(part), -1), seed=part, **given).token for part in parts])
        assert chi_square(torch.bincount(tokens, minlength=1000).cpu(), kept.double().softmax(-1)) > 1e-6 / 3


def test_the_default_model_writes_and_repeats() -> None:
    gen = aigc.Generator.default(device="cuda", dtype="float32")
    out = gen.generate(["The sea", "《春夜》\n"], n=4, max_new_tokens=40, seed=0)
    for c in out:
        assert gen.generate(c.prompt, max_new_tokens=40, seed=[c.seed])[0].text == c.text
    greedy = gen.generate("The sea", max_new_tokens=20, sampler=Greedy())[0]
    here = aigc.Generator.default(device="cpu", dtype="float32").generate("The sea", max_new_tokens=20, sampler=Greedy())[0]
    assert greedy.tokens == here.tokens
