"""The same model on the CPU and on a CUDA device, for tests that compare what both write.

Tokens are compared where logits are float32 on both sides. Those of the two differ in their last digits, so a draw could
fall otherwise where two numbers are nearly equal; of models as random as these that is rare.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

import aigc
import tiny

DEVICE = torch.device("cuda")
CALM = {"mamba": 0.25, "t5": 0.5}
PROMPTS = ["a", "To be, or not to be", "春夜", "d" * 40, "eeee"]


def generator(
    name: str = "llama", device: torch.device | str = DEVICE, dtype: torch.dtype = torch.float32
) -> aigc.Generator:
    """Of a model of its own, for `fit` changes it."""
    return aigc.Generator(calmer(name, tiny.model(name, dtype=dtype)).to(device), tiny.tokenizer())


def calmer(name: str, model: Any) -> Any:
    """Smaller weights where a change in the last digit of those of `tiny` changes a token: states are multiplied up."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(CALM.get(name, 1.0))
    return model


@cache
def both(name: str = "llama") -> tuple[aigc.Generator, aigc.Generator]:
    """The same model on the CPU and on the device, for those who only read it."""
    if name in tiny.SEQ2SEQ or name in tiny.MASKED:
        make: Callable[[str], Any] = tiny.seq2seq if name in tiny.SEQ2SEQ else tiny.masked
        here, there = (
            aigc.Generator(calmer(name, make(name)).to(where), tiny.closed_tokenizer()) for where in ("cpu", DEVICE)
        )
    else:
        here, there = generator(name, "cpu"), generator(name)
    assert there.device.type == DEVICE.type
    return here, there


def same(name: str, prompts: Any = PROMPTS, **how: Any) -> list[aigc.text.Completion]:
    """Writes on both, compares, and returns what was written on the device."""
    how = {"max_new_tokens": 16, "seed": 3, "logprobs": "search" not in how, "progress": False} | how
    here, there = (list(gen.generate(prompts, **how)) for gen in both(name))
    for place, (one, other) in enumerate(zip(there, here, strict=True)):
        told = f"text {place} of {prompts!r}, {name}, {how}, read as {both(name)[1].plan}"
        assert (one.tokens, one.finish_reason) == (other.tokens, other.finish_reason), f"{told}: {one} != {other}"
    assert all(c.tokens for c in there)
    if how["logprobs"]:
        ours, theirs = (torch.tensor([x for c in out for x in c.logprobs or ()]) for out in (there, here))
        # Products are rounded otherwise, and some of these models multiply that up: by 1e-2 for weights that are 1e-6 off.
        torch.testing.assert_close(ours, theirs, rtol=5e-3, atol=5e-3)
    return there
