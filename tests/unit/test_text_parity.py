"""Greedy texts are those of `transformers.generate`, for many architectures, alone and in unequal batches."""

import pytest
import torch

import aigc
import tiny
from aigc.sampling import Greedy
from aigc.text.packed.parts import Decoder
from aigc.text.packed.reading import Unreadable
from aigc.text.packed.source import Source

PROMPTS = ["a", "The quick brown fox", "春夜喜雨", "xyz xyz xyz xyz xyz xyz xyz xyz xyz"]
NEW = 24


def theirs(model: torch.nn.Module, prompts: list[list[int]], end: int | None) -> list[list[int]]:
    """What transformers writes for prompts in one left-padded batch."""
    width = max(map(len, prompts))
    ids = torch.tensor([[257] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    out = model.generate(ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False, eos_token_id=end, pad_token_id=257)
    rows = []
    for row in out[:, width:].tolist():
        cut = row.index(end) + 1 if end in row else len(row)
        rows.append(row[:cut])
    return rows


def unreadable(_: Source) -> Decoder:
    raise Unreadable("it is not to be packed")


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "as it is"])
@pytest.mark.parametrize("name", sorted(tiny.CONFIGS))
def test_greedy_tokens_equal_those_of_transformers(name: str, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not packed:
        monkeypatch.setattr(Source, "decoder", unreadable)
    model, tokenizer = tiny.model(name), tiny.tokenizer()
    gen = aigc.Generator(model, tokenizer)
    ids = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    alone = [theirs(model, [row], 257)[0] for row in ids]
    for prompt, expected in zip(PROMPTS, alone, strict=True):
        out = gen.generate(prompt, max_new_tokens=NEW, sampler=Greedy())
        assert list(out[0].tokens) == expected, f"{name} alone"
    batch = gen.generate(PROMPTS, max_new_tokens=NEW, sampler=Greedy())
    # In a batch we write what a row alone writes. transformers does too, but for recurrent models, which it pads.
    assert [list(c.tokens) for c in batch] == alone, f"{name} in a batch"
    if gen.plan.forward != "alone":
        assert theirs(model, ids, 257) == alone


def test_plans_are_the_best_that_each_architecture_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    def plans() -> dict[str, str]:
        return {name: aigc.Generator(tiny.model(name), tiny.tokenizer()).plan.forward for name in tiny.CONFIGS}

    assert plans() == dict.fromkeys(tiny.CONFIGS, "packed") | {"mamba": "alone"}
    monkeypatch.setattr(Source, "decoder", unreadable)
    assert plans() == dict.fromkeys(tiny.CONFIGS, "slots") | {"bloom": "padded", "mamba": "alone"}


def test_the_sliding_window_matters() -> None:
    """Twin of the parity test: without the sliding mask the model says something else, so the test above can fail."""
    model, wide = tiny.model("mistral"), tiny.model("mistral")
    wide.config.sliding_window = None
    logprobs = [
        aigc.Generator(m, tiny.tokenizer()).generate(PROMPTS[1], max_new_tokens=4, seed=0, logprobs=True)[0].logprobs
        for m in (model, wide)
    ]
    assert logprobs[0] != logprobs[1]
