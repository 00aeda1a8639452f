"""Masked models: what they say of a gap, and texts by filling gaps one after the other."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

import aigc
import tiny
from aigc import kernels
from aigc.errors import ModelError, ModelFileError, ParameterError
from aigc.kernels import Status
from aigc.sampling import Greedy, MinP, Temperature, TopK, TopP, chain
from aigc.text import Infilling
from aigc.text.gaps import pieces

TOKENIZER = tiny.closed_tokenizer()
ORDERS: list[Any] = ["confident", "left to right"]
SPECIAL = set(TOKENIZER.all_special_ids)
TEXTS = ["Paris is <mask> of France.", "a<mask>", "春<mask>喜<mask><mask> ok", "<mask>"]


def generator(name: str = "bert", *, dtype: torch.dtype = torch.float32, **infilling: Any) -> aigc.Generator:
    return aigc.Generator(tiny.masked(name, dtype=dtype), TOKENIZER, infilling=Infilling(**infilling))


def predict(model: hf.PreTrainedModel, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0].double()
    return logits


@pytest.mark.parametrize("name", tiny.MASKED)
def test_fill_reads_off_the_marginal_of_each_mask(name: str) -> None:
    gen = generator(name)
    for text, filled in zip(TEXTS, gen.fill(TEXTS, top=4), strict=True):
        ids = TOKENIZER(text)["input_ids"]
        gaps = [i for i, id in enumerate(ids) if id == 258]
        assert filled == gen.fill(text, top=4)
        assert len(filled.gaps) == text.count("<mask>") == len(gaps)
        logprobs = predict(gen.model, ids).log_softmax(-1)
        for position, gap in zip(gaps, filled.gaps, strict=True):
            order = [id for id in logprobs[position].argsort(descending=True).tolist() if id not in SPECIAL]
            assert [candidate.token for candidate in gap.candidates] == order[:4]
            assert gap.best is gap.candidates[0]
            for candidate in gap.candidates:
                assert math.isclose(candidate.logprob, float(logprobs[position, candidate.token]), abs_tol=1e-4)
                assert candidate.filled.count("<mask>") == len(gaps) - 1
        assert "<mask>" not in filled.text


class Certain:
    """A model's forward that expects given tokens, whatever the text; it likes the mask itself best."""

    def __init__(self, *tokens: int, vocabulary: int, mask: int) -> None:
        self.tokens, self.vocabulary, self.mask = tokens, vocabulary, mask

    def __call__(self, *, input_ids: torch.Tensor, **_: Any) -> Any:
        logits = torch.zeros(*input_ids.shape, self.vocabulary)
        for row, ids in enumerate(input_ids.tolist()):
            gaps = [i for i, id in enumerate(ids) if id == self.mask]
            for position, token in zip(gaps, self.tokens[-len(gaps) :], strict=False):
                logits[row, position, token] = 50.0
                logits[row, position, self.mask] = 60.0
        return hf.modeling_outputs.MaskedLMOutput(logits=logits)


WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "paris", "is", "the", "of", "france", "capital", "quick", "##ly", ".",
    "春", "天", "节", "(", ")",
]  # fmt: skip


def word_pieces() -> hf.PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece(cleanup=False)
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "pad": "[PAD]"}
    return hf.PreTrainedTokenizerFast(tokenizer_object=inner, **{f"{key}_token": word for key, word in special.items()})


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("Paris is the [MASK] of France.", ["capital"], "Paris is the capital of France."),
        ("QUICK [MASK] is  Paris", ["##ly"], "QUICKly is  Paris"),
        ("[MASK] is", ["paris"], "paris is"),
        ("\U0001f600 [MASK].", ["quick"], "\U0001f600 quick."),
        ("([MASK])", ["quick"], "(quick)"),
        ("the[MASK]", ["quick"], "the quick"),
        ("the [MASK] [MASK] of", ["quick", "##ly"], "the quickly of"),
        ("the [MASK][MASK].", ["quick", "capital"], "the quick capital."),
        ("春[MASK]", ["天"], "春天"),
        ("春[MASK][MASK]。", ["天", "节"], "春天节。"),
    ],
)
def test_what_the_user_wrote_stays_as_it_was_written(text: str, tokens: list[str], expected: str, monkeypatch: Any) -> None:
    config = hf.BertConfig(vocab_size=len(WORDS), **tiny.SIZES)
    with torch.random.fork_rng():
        model = hf.BertForMaskedLM(config).eval()
    ids = [WORDS.index(token) for token in tokens]
    monkeypatch.setattr(model, "forward", Certain(*ids, vocabulary=len(WORDS), mask=4))
    gen = aigc.Generator(model, word_pieces())
    assert gen.fill(text).text == expected
    out = gen.generate(text, seed=0, logprobs=True)[0]
    assert (out.text, out.tokens, out.finish_reason) == (expected, tuple(ids), "length")
    assert expected.startswith("".join(out.pieces))
    assert out._repr_html_().count("title=") == len(tokens)


def draw(logits: torch.Tensor, sampler: Any, *, seed: int, step: int) -> int:
    """One draw by the kernel, of logits `(vocabulary,)`."""
    banned = logits.index_fill(-1, torch.tensor(sorted(SPECIAL)), -torch.inf)
    return int(kernels.sample(sampler(banned[None]), seed=torch.tensor([seed]), step=step).token)


def by_hand(model: hf.PreTrainedModel, text: str, sampler: Any, *, seed: int, order: str, sweeps: int) -> list[int]:
    """The rule of the documentation, written down once more: one text, one gap at a time."""
    ids = TOKENIZER(text)["input_ids"]
    gaps = [i for i, id in enumerate(ids) if id == 258]
    ordinary = [id for id in range(tiny.WIDE) if id not in SPECIAL]
    step = 0
    for _ in gaps:
        left = [i for i in gaps if ids[i] == 258]
        logits = predict(model, ids).float()
        sure = {i: float(logits[i, ordinary].softmax(-1).max()) for i in left}
        at = left[0] if order == "left to right" else max(left, key=lambda i: sure[i])
        ids[at] = draw(logits[at], sampler, seed=seed, step=step)
        step += 1
    for _ in range(sweeps):
        for at in gaps:
            ids[at] = 258
            ids[at] = draw(predict(model, ids).float()[at], sampler, seed=seed, step=step)
            step += 1
    return [ids[i] for i in gaps]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sweeps", [0, 2])
@settings(max_examples=6)
@given(seed=st.integers(0, 2**40), masks=st.integers(1, 4))
def test_gaps_are_filled_by_the_rule(order: Any, sweeps: int, seed: int, masks: int) -> None:
    gen = RULES[order, sweeps]
    text = "ab<mask>c" + "<mask>" * (masks - 1) + "d"
    sampler = chain(Temperature(1.5), TopK(30))
    out = gen.generate(text, sampler=sampler, seed=[seed])[0]
    assert list(out.tokens) == by_hand(gen.model, text, sampler, seed=seed, order=order, sweeps=sweeps)


RULES = {(order, sweeps): generator(order=order, sweeps=sweeps) for order in ORDERS for sweeps in (0, 2)}


def test_the_rules_differ() -> None:
    """Twin of the test above: it can fail, for the order and the sweeps change a text. Sweeps may forget the order."""
    sampler = chain(Temperature(1.5), TopK(30))
    made = {
        key: gen.generate("ab<mask>c<mask><mask><mask>d", sampler=sampler, seed=[5])[0].tokens for key, gen in RULES.items()
    }
    assert made["confident", 0] != made["left to right", 0]
    assert all(made[order, 0] != made[order, 2] for order in ORDERS)


GENERATORS = {(name, dtype): generator(name, dtype=dtype, sweeps=1) for name, dtype in [
    ("bert", torch.float32), ("roberta", torch.float32), ("distilbert", torch.bfloat16),
]}  # fmt: skip
SAMPLERS = [chain(Temperature(0.9), TopP(0.9)), TopK(20), chain(Temperature(1.2), MinP(0.05)), Temperature(0.0)]
prompts = st.lists(st.sampled_from(["<mask>", "a", "春", " "]), max_size=12).map("".join)
rows = st.lists(st.tuples(prompts, st.integers(-(2**63), 2**63 - 1), st.sampled_from(SAMPLERS)), min_size=2, max_size=5)


@pytest.mark.parametrize("which", GENERATORS, ids=str)
@settings(max_examples=8)
@given(rows=rows)
def test_a_row_writes_the_same_alone_and_in_any_batch(which: Any, rows: list) -> None:
    gen = GENERATORS[which]
    texts, seeds, samplers = zip(*rows, strict=True)
    batch = gen.generate(texts, max_new_tokens=12, sampler=samplers, seed=seeds)
    for text, seed, sampler, together in zip(texts, seeds, samplers, batch, strict=True):
        alone = gen.generate(text, max_new_tokens=12, sampler=sampler, seed=[seed])[0]
        assert (alone.text, alone.tokens) == (together.text, together.tokens)
        assert len(alone.tokens) == (text.count("<mask>") or 12)
        assert not SPECIAL & set(alone.tokens)


def test_a_prompt_without_a_mask_is_continued() -> None:
    gen = generator()
    out = gen.generate("abc", n=3, max_new_tokens=7, seed=1, logprobs=True)
    assert len({c.text for c in out}) == 3
    for c in out:
        assert len(c.tokens) == 7
        assert c.text == TOKENIZER.decode(list(c.tokens)).rstrip("\ufffd")
        masked = gen.generate("abc" + "<mask>" * 7, max_new_tokens=7, seed=[c.seed])[0]
        assert (masked.text, masked.tokens) == ("abc" + c.text, c.tokens)
        assert (
            gen.generate(c.prompt, max_new_tokens=7, seed=[c.seed])[0]
            == gen.generate("abc", max_new_tokens=7, seed=[c.seed])[0]
        )
    full = gen.generate("x" * 90, max_new_tokens=50, sampler=Greedy())[0]
    assert len(full.tokens) == 4  # 96 positions, of which 92 are taken


@pytest.mark.parametrize(("name", "longest"), [("bert", 96), ("roberta", 100), ("distilbert", 96)])
def test_a_text_may_be_as_long_as_the_positions(name: str, longest: int) -> None:
    gen = generator(name)
    assert gen.context == longest
    assert gen.generate("x" * (longest - 3) + "<mask>", sampler=Greedy())[0].finish_reason == "length"
    with pytest.raises(ParameterError, match=f"at most {longest} tokens"):
        gen.fill("x" * (longest - 2) + "<mask>")


def test_streams_hand_out_each_draw_and_the_text_with_the_last() -> None:
    gen = generator(sweeps=1)
    out = gen.generate(TEXTS, seed=4)
    texts, drawn = [""] * len(TEXTS), [0] * len(TEXTS)
    for chunk in gen.stream(TEXTS, seed=4):
        texts[chunk.index] += chunk.text
        drawn[chunk.index] += chunk.token is not None
        assert (chunk.text == "") or chunk.finish_reason == "length"
    assert texts == out.texts
    assert drawn == [2 * text.count("<mask>") for text in TEXTS]


def test_a_row_of_bad_logits_ends_and_its_neighbours_do_not_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    gen = generator()
    texts = ["ab<mask><mask>", "a!<mask><mask>", "c<mask>"]
    healthy = gen.generate(texts, seed=1)
    forward, bang = gen.model.forward, TOKENIZER("!")["input_ids"][1]

    def broken(*, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        out = forward(input_ids=input_ids, **kwargs)
        out.logits[(input_ids == bang).any(-1)] = math.nan
        return out

    monkeypatch.setattr(gen.model, "forward", broken)
    out = gen.generate(texts, seed=1, logprobs=True)
    assert (out[1].finish_reason, out[1].status, out[1].text, out[1].tokens) == ("error", Status.NAN, "", ())
    assert [out[i].text for i in (0, 2)] == [healthy[i].text for i in (0, 2)]
    assert out._repr_html_()
    with pytest.raises(ModelError, match="NaN or infinite logits"):
        gen.fill(texts)


@pytest.mark.parametrize(
    ("door", "arguments", "named"),
    [
        ("fill", {"texts": "no gap"}, "writes <mask>"),
        ("fill", {"texts": ["a<mask>", "b"]}, r"texts\[1\]"),
        ("fill", {"texts": []}, "texts"),
        ("fill", {"texts": 3}, "texts"),
        ("fill", {"texts": "<mask>", "top": 0}, "top must be"),
        ("fill", {"texts": "<mask>", "top": 257}, "top must be"),
        ("fill", {"texts": "<mask>" * 95}, "at most 96 tokens"),
        ("generate", {"prompts": "<mask>" * 95}, "at most 96 tokens"),
        ("generate", {"prompts": "x" * 94}, "at most 96 tokens"),
        ("generate", {"prompts": "<mask>" * 5, "max_new_tokens": 4}, "Set max_new_tokens to 5"),
        ("generate", {"prompts": "<mask>", "stop": "a"}, "stop must be left out"),
        ("stream", {"prompts": "<mask>", "stop": "a"}, "stop must be left out"),
    ],
    ids=str,
)
def test_arguments(door: str, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        getattr(generator(), door)(**arguments)


def test_what_a_masked_model_cannot_do_is_said() -> None:
    gen = generator()
    with pytest.raises(ModelError, match="not causal"):
        gen.score("abc")
    with pytest.raises(ModelError, match="fills no gaps"):
        aigc.Generator(tiny.model("gpt2"), TOKENIZER).fill("a<mask>")
    with pytest.raises(ParameterError, match="infilling must be left out"):
        aigc.Generator(tiny.model("gpt2"), TOKENIZER, infilling=Infilling())
    with pytest.raises(ModelError, match="no mask token"):
        aigc.Generator(tiny.masked("bert"), tiny.tokenizer())
    with torch.random.fork_rng():
        headless = hf.BertModel(tiny.MASKED["bert"])
    with pytest.raises(ParameterError, match="AutoModelForMaskedLM"):
        aigc.Generator(headless, TOKENIZER)
    with pytest.raises(ParameterError, match="must be an Infilling"):
        aigc.Generator(tiny.masked("bert"), TOKENIZER, infilling="confident")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="order must be"):
        Infilling(order="right to left")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="sweeps must be"):
        Infilling(sweeps=-1)
    deaf = tiny.closed_tokenizer()
    deaf.split_special_tokens = True
    with pytest.raises(ModelError, match="does not read <mask>"):
        aigc.Generator(tiny.masked("bert"), deaf).fill("a<mask>")


@pytest.mark.parametrize("name", tiny.MASKED)
def test_a_saved_model_writes_the_same(name: str, tmp_path: Path) -> None:
    gen = generator(name)
    gen.save_pretrained(tmp_path / "model")
    again = aigc.Generator.from_pretrained(tmp_path / "model", device="cpu", dtype="float32")
    assert type(again.model) is type(gen.model)
    assert again.generate(TEXTS, seed=3).texts == gen.generate(TEXTS, seed=3).texts


def test_heads_that_fill_nothing_may_be_left_over_and_nothing_else(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        whole = hf.BertForPreTraining(tiny.MASKED["bert"]).eval()
    whole.save_pretrained(tmp_path / "whole")
    TOKENIZER.save_pretrained(tmp_path / "whole")
    gen = aigc.Generator.from_pretrained(tmp_path / "whole", device="cpu", dtype="float32")
    assert type(gen.model) is hf.BertForMaskedLM
    ids = TOKENIZER("a<mask>")["input_ids"]
    with torch.no_grad():
        expected = whole(input_ids=torch.tensor([ids])).prediction_logits[0, 2]
    expected[sorted(SPECIAL)] = -torch.inf
    assert gen.fill("a<mask>").gaps[0].best.token == int(expected.argmax())
    whole.bert.save_pretrained(tmp_path / "headless")
    TOKENIZER.save_pretrained(tmp_path / "headless")
    with pytest.raises(ModelFileError, match="missing"):
        aigc.Generator.from_pretrained(tmp_path / "headless", device="cpu", dtype="float32")


def test_characters_of_several_tokens_come_whole() -> None:
    ids = TOKENIZER("春<mask><mask><mask>喜")["input_ids"]
    summer = TOKENIZER("夏", add_special_tokens=False)["input_ids"]
    decode = RULES["confident", 0]._vocabulary.decode
    halves = {7: "a", 8: "b\ufffd"}  # tokens that end within a character
    assert pieces([7, 0], {1: 8}, ["a", "!"], decode=lambda ids: "".join(halves[id] for id in ids)) == ["ab", "!"]
    assert pieces(ids, dict(zip([4, 5, 6], summer, strict=True)), ["春", "", "", "喜"], decode=decode) == [
        "春",
        "",
        "夏",
        "喜",
    ]


@given(
    parts=st.lists(st.text("ab 春(", max_size=4), min_size=2, max_size=5), letters=st.text("xyz", min_size=4, max_size=4)
)
def test_tokens_without_spaces_change_nothing_around_them(parts: list[str], letters: str) -> None:
    """A law of all tokenizers whose spaces are tokens: the text is what the user wrote, with the tokens in the gaps."""
    ids = TOKENIZER("<mask>".join(parts))["input_ids"]
    gaps = [i for i, id in enumerate(ids) if id == 258]
    tokens = {gap: TOKENIZER(letter)["input_ids"][1] for gap, letter in zip(gaps, letters, strict=False)}
    made = pieces(ids, tokens, parts, decode=RULES["confident", 0]._vocabulary.decode)
    assert made == [*(part + letter for part, letter in zip(parts[:-1], letters, strict=False)), parts[-1]]


def test_texts_of_equal_length_share_a_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    gen = generator()
    assert gen.plan.forward == "lengths"
    forward, seen = gen.model.forward, []

    def counted(*, input_ids: torch.Tensor) -> Any:
        seen.append(tuple(input_ids.shape))
        return forward(input_ids=input_ids)

    monkeypatch.setattr(gen.model, "forward", counted)
    gen.generate(["ab<mask>", "abcd<mask>", "cd<mask>"], seed=0)
    assert seen == [(2, 5), (1, 7)]
