"""The model in the package: the same text whoever shares the batch, verse that is verse, figures that hold."""

import re

import pytest
import torch

import aigc
from aigc.sampling import MinP, Temperature, TopK, TopP, chain

PROMPTS = ["It was", "《春夜》\n", "Hello, how are you?", "The old man looked at the sea, and", "《江上》\n", "“Indeed,”"]
SAMPLERS = [chain(Temperature(0.8), TopP(0.95)), chain(Temperature(1.1), TopK(40)), chain(Temperature(1.0), MinP(0.05))]


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def gen(request: pytest.FixtureRequest) -> aigc.Generator:
    return aigc.Generator.default(device="cpu", dtype=request.param)


def test_48_rows_of_40_tokens_are_the_same_alone_and_in_batches_of_every_size(gen: aigc.Generator) -> None:
    """Alone, and in batches of 2 to 16 in another order, with other lengths, samplers and seeds around them.

    In bfloat16, where the processor has it, even the bits of the log-probabilities are the same.
    """
    lengths = [1, 3, 2, 40, 5]  # repeats of the prompt: 3 to 370 tokens, so that rows read different numbers of slots
    rows = [(PROMPTS[i % len(PROMPTS)] * lengths[i % 5], 1000 + i, SAMPLERS[i % 3]) for i in range(48)]
    alone = [gen.generate(p, max_new_tokens=40, sampler=s, seed=[seed], logprobs=True)[0] for p, seed, s in rows]
    order = torch.randperm(48, generator=torch.Generator().manual_seed(3)).tolist()
    together: dict[int, aigc.text.Completion] = {}
    start = 0
    for size in (2, 3, 5, 7, 15, 16):
        part, start = order[start : start + size], start + size
        prompts, seeds, samplers = zip(*(rows[i] for i in part), strict=True)
        out = gen.generate(prompts, max_new_tokens=40, sampler=samplers, seed=seeds, logprobs=True)
        together |= dict(zip(part, out, strict=True))
    assert len(together) == 48
    different = [i for i in range(48) if together[i].tokens != alone[i].tokens or together[i].text != alone[i].text]
    assert different == []
    if gen.model.dtype == torch.bfloat16 == aigc.device.place("cpu").dtype:
        assert [i for i in range(48) if together[i].logprobs != alone[i].logprobs] == []


def test_it_writes_verse(gen: aigc.Generator) -> None:
    """At least 24 of 40 poems are regular; the figure of 200 is measured by scripts/evaluate_default_model.py."""
    titles = ["春夜", "江上", "送友人", "秋日", "山居", "月夜", "寒食", "登楼"]
    out = gen.generate([f"《{title}》\n" for title in titles], n=5, max_new_tokens=120, seed=0)
    regular = 0
    for completion in out:
        lines = [line for line in re.split("[，。？！]", completion.text.strip()) if line]
        regular += (
            completion.finish_reason == "eos" and len(lines) in (4, 8) and {len(line) for line in lines} in ({5}, {7})
        )
    assert regular >= 24


def test_it_knows_english_from_noise(gen: aigc.Generator) -> None:
    prose = gen.score("She walked slowly down the garden path, and sat upon the bench beneath the old tree.")
    noise = gen.score("Ehs dewalk wolyls nwod eht drange thap, dna tas nopu eht nebch thaenebe eht dlo reet.")
    assert prose.bits_per_byte < 2.5 < noise.bits_per_byte


def test_scores_slide_over_long_texts(gen: aigc.Generator) -> None:
    text = "The wind rose, and the rain came down upon the little house by the sea. " * 60
    score = gen.score(text)
    assert len(score.tokens) == len(score.logprobs) > 512
    assert score.bytes == len(text.encode())
    assert score.bits_per_byte < gen.score(text[:72]).bits_per_byte, "a sentence seen before is easier"
    beginning = gen.score(text[:1500])  # within the context: the same forward, up to where its last token may differ
    same = len(beginning.logprobs) - 2
    assert max(abs(a - b) for a, b in zip(beginning.logprobs[:same], score.logprobs[:same], strict=True)) < 0.2
    assert gen.score([text])[0].logprobs == score.logprobs


def test_sampling_follows_the_recommendation_of_the_model(gen: aigc.Generator) -> None:
    explicit = gen.generate("It was", max_new_tokens=12, seed=9, sampler=chain(Temperature(0.8), TopP(0.95)))
    assert gen.generate("It was", max_new_tokens=12, seed=9).texts == explicit.texts


def test_results_print_short_and_show_themselves(gen: aigc.Generator) -> None:
    out = gen.generate(["A <b>", "《春夜》\n"], n=6, max_new_tokens=30, seed=1, logprobs=True)
    assert len(repr(out)) < 1200
    assert "... 4 more" in repr(out)
    page = out._repr_html_()
    assert "A &lt;b&gt;" in page
    assert "<b>" not in page
    assert page.count("title=") == sum(bool(piece) for c in out for piece in c.pieces)
    for c in out:
        assert "".join(c.pieces) == c.text
        assert c.logprobs is not None
        assert len(c.pieces) == len(c.tokens) == len(c.logprobs)
    assert out[:2].texts == out.texts[:2]
    assert gen.generate("A", max_new_tokens=2, seed=1)[0].logprobs is None


def test_streams_are_the_texts(gen: aigc.Generator) -> None:
    stop, prompts = ["。", ", and"], ["《春夜》\n", "It was a fine day"]
    out = gen.generate(prompts, n=3, max_new_tokens=30, seed=5, stop=stop)
    texts, reasons = dict.fromkeys(range(6), ""), {}
    for chunk in gen.stream(prompts, n=3, max_new_tokens=30, seed=5, stop=stop):
        texts[chunk.index] += chunk.text
        assert "\ufffd" not in chunk.text
        if chunk.finish_reason:
            reasons[chunk.index] = chunk.finish_reason
    assert list(texts.values()) == out.texts
    assert [reasons[i] for i in range(6)] == [c.finish_reason for c in out]
    assert not any(s in text for text in texts.values() for s in stop)
    assert "stop" in reasons.values()


def test_a_text_ends_where_the_context_does(gen: aigc.Generator) -> None:
    prompt = "a " * 500
    out = gen.generate(prompt, max_new_tokens=100, seed=1)[0]
    assert len(gen.tokenizer(prompt)["input_ids"]) + len(out.tokens) <= 512
    assert out.finish_reason in ("length", "eos")
