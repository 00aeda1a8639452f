"""What the type checker infers of the public interface; read by `make check`, never run."""

from collections.abc import AsyncGenerator, Generator
from typing import assert_type

import torch
from torch import Tensor

import aigc
from aigc import kernels
from aigc.device import Placement, backoff, place
from aigc.sampling import Chain, Filter, Sampler, Temperature, TopP, as_sampler, chain
from aigc.text import BeamSearch, BestOf, Chunk, Completion, Completions, Filled, Guidance, Score


def inferred(gen: aigc.Generator, logits: Tensor) -> None:
    """Each line fails to check if an overload or a return type changes."""
    out = gen.generate("a", n=2, seed=0)
    assert_type(out, Completions)
    assert_type(out[0], Completion)
    assert_type(out[:1], Completions)
    assert_type(out.texts, list[str])
    assert_type(gen.stream(["a", "b"], seed=[1, 2]), Generator[Chunk, None, None])
    assert_type(gen.astream("a"), AsyncGenerator[Chunk, None])
    assert_type(gen.generate_each(iter(["a"])), Generator[tuple[int, Completion], None, None])
    assert_type(gen.generate("a", search=BeamSearch(4), guidance=Guidance(1.5)), Completions)
    assert_type(gen.generate("a", search=BestOf(4, lambda c: len(c.text)))[0].score, float | None)
    assert_type(gen.score("a"), Score)
    assert_type(gen.score(["a"]), list[Score])
    assert_type(gen.fill("a"), Filled)
    assert_type(gen.fill(["a"]), list[Filled])
    assert_type(gen.chat([{"role": "user", "content": "hello"}]), Completion)
    assert_type(gen.chat([[{"role": "user", "content": "hello"}]]), Completions)
    assert_type(aigc.Generator.default(), aigc.Generator)
    assert_type(chain(Temperature(0.8), TopP(torch.tensor([0.9]))), Chain)
    assert_type(kernels.sample(logits, seed=0), kernels.Draw)
    assert_type(kernels.threshold(logits, top_k=3), Tensor)
    assert_type(place(), Placement)
    assert_type(backoff(lambda rows: [str(row) for row in rows], [1, 2]), list[str])


def my_filter(logits: Tensor, /) -> Tensor:
    """A plain function is a filter."""
    return logits


_filter: Filter = my_filter
_chain: Chain = chain(my_filter, TopP(0.9))
_sampler: Sampler[object] = as_sampler(my_filter)
