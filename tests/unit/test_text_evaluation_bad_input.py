"""What evaluation and the metrics of text refuse, and that they say how to cure it."""

import math

import pytest
import torch

import aigc
import tiny
from aigc import errors, metrics
from aigc.metrics.text import OverlapIndex, ScoredText
from aigc.text import evaluate

GEN = aigc.Generator(tiny.model("llama"), tiny.tokenizer(begin=True))
TEXTS = [f"the {i}th sea was calm and {word} and the wind had gone to sleep" for i, word in enumerate("abcdefghij")]
HOW = {"samples": 10, "max_new_tokens": 16, "opening": 4, "seed": 3, "resamples": 200}


@pytest.mark.parametrize(
    ("texts", "options", "words"),
    [
        ([], {}, "at least one string"),
        ("a text", {}, "Put one text into a list"),
        (["a b c", ""], {}, r"texts\[1\]"),
        (["a b c", 7], {}, r"texts\[1\]"),
        (["\ud800 b c", "a b"], {}, "surrogates"),
        (["a", "b"], {}, "at least 2 words"),
        (["a b c d e"], {}, "2 passages"),
        ([" ".join(TEXTS)], {"against": GEN}, "at least 2 to compare"),
        (TEXTS, {"against": "gpt2"}, "against must be a Generator"),
        (TEXTS, {"samples": 1}, "samples must be"),
        (TEXTS, {"max_new_tokens": 1}, "max_new_tokens must be"),
        (TEXTS, {"opening": 0}, "opening must be"),
        (TEXTS, {"seed": 0.5}, "seed must be"),
        (TEXTS, {"features": 3}, "features must be"),
        (TEXTS, {"features": lambda texts: torch.full((len(texts), 2), torch.nan)}, "finite"),
        (TEXTS, {"training": []}, "at least one document"),
        (TEXTS, {"training": TEXTS, "overlap": 0}, "at least 1"),
        (TEXTS, {"overlap": 5}, "overlap must be left out"),
        (TEXTS, {"confidence": 1.0}, "strictly between"),
        (TEXTS, {"resamples": 5}, "resamples must be"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_words(texts: object, options: dict, words: str) -> None:
    with pytest.raises(errors.ParameterError, match=words):
        evaluate(GEN, texts, **{**HOW, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: t.likelihood([]), "at least one byte"),
        (lambda t: t.likelihood([ScoredText(1.0, 1, 1, 1)]), "at least 2 for an interval"),
        (lambda t: t.likelihood([1.0]), "ScoredText"),
        (lambda t: ScoredText.of([-math.inf], "a"), "finite"),
        (lambda t: ScoredText.of([-1.0], "\ud800"), "surrogates"),
        (lambda t: t.compare([ScoredText(1, 1, 1, 1)] * 2, [ScoredText(1, 1, 1, 2)] * 2), "of 1 bytes"),
        (lambda t: t.compare([ScoredText(1, 1, 1, 1)] * 2, [ScoredText(1, 1, 1, 1)] * 3), "same 2 documents"),
        (lambda t: t.compare([ScoredText(1, 1, 1, 1)], [ScoredText(1, 1, 1, 1)]), "at least 2 documents"),
        (lambda t: t.distinct_n([]), "at least 1"),
        (lambda t: t.distinct_n(["a"], n=2), "at least 2 units"),
        (lambda t: t.distinct_n(["a b"], n=0), "n must be"),
        (lambda t: t.distinct_n(["a b"], n=1, units=3), "at most 2"),
        (lambda t: t.distinct_n("a b"), "list"),
        (lambda t: t.distinct_n([torch.tensor([1])]), "tolist"),
        (lambda t: t.self_bleu(["a"]), "at least 2"),
        (lambda t: t.self_bleu(["", " "]), "at least one unit"),
        (lambda t: t.repetition(["a b"]), "at least 4 units"),
        (lambda t: t.lengths([]), "at least 1"),
        (lambda t: t.mauve(torch.zeros(3, 2), torch.zeros(3, 2)), "at least 4"),
        (lambda t: t.mauve(torch.zeros(9, 2), torch.full((9, 2), torch.nan)), "finite"),
        (lambda t: t.mauve(torch.zeros(9, 2), torch.zeros(9, 2), clusters=10), "in .2, 9."),
        (lambda t: t.divergence_frontier(torch.zeros(2), torch.ones(2)), "sum above 0"),
        (lambda t: t.divergence_frontier(torch.ones(2), torch.ones(3)), "2 outcomes"),
        (lambda t: t.divergence_frontier(torch.ones(2), torch.ones(2), scaling=0.0), "above 0"),
        (lambda t: t.distinct_n(["a b"], n=1, tokenize=3), "tokenize must be a function"),
        (lambda t: t.repetition(["a b"], n=1, tokenize=None), "tokenize must be a function"),
        (lambda t: t.lengths(["a b"], tokenize=3), "tokenize must be a function"),
        (lambda t: t.ngram_entropy(["a b"], tokenize=len), "got 3 of type int. That is what it returned"),
        (lambda t: t.lengths(["a b"], tokenize=len), "got 3 of type int. That is what it returned"),
        (lambda t: t.self_bleu([[1, [2]], [1]]), r"texts\[0\] must be of units that have a hash"),
        (lambda t: t.distinct_n([[1], [[2]]], n=1), r"texts\[1\] must be of units that have a hash"),
        (lambda t: t.distinct_n(["a"], n=1, tokenize=lambda text: [{}]), r"texts\[0\] must be of units that have a hash"),
        (lambda t: t.lengths([3]), r"texts\[0\] must be a string or a sequence of units"),
        (lambda t: t.lengths(["a"], quantiles=0.5), "quantiles must be a sequence .* Put one into a list"),
        (lambda t: t.lengths(["a"], quantiles="0.5"), "quantiles must be a sequence"),
        (lambda t: t.mauve(torch.zeros(9, 2), torch.zeros(9, 2), standardise="x"), "standardise must be True or False"),
        (lambda t: OverlapIndex("text"), "list"),
        (lambda t: OverlapIndex([b"text"]), "a string"),
        (lambda t: OverlapIndex(["text"], n=0), "at least 1"),
        (lambda t: OverlapIndex(["text"]).search([]), "at least one string"),
        (lambda t: OverlapIndex(["text"]).longest(3), "a string"),
    ],
)  # fmt: skip
def test_metrics_refuse_in_words(call, words: str) -> None:
    with pytest.raises(errors.ParameterError, match=words):
        call(metrics.text)


def test_errors_of_a_function_of_the_user_are_the_users() -> None:
    def broken(text: str) -> list[str]:
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine") as found:
        metrics.text.distinct_n(["a"], tokenize=broken)
    assert not isinstance(found.value, errors.AigcError)


@pytest.mark.parametrize(
    ("texts", "rule", "shown"),
    [
        (["a b", "b a"], "words", "by words"),
        ([[1, 2], [2, 1]], "given", "as given"),
        (["a b", [1, 2]], "words or given", "by words or"),
    ],
)
def test_results_say_how_texts_were_cut(texts: list, rule: str, shown: str) -> None:
    t = metrics.text
    found = (
        t.distinct_n(texts, n=1),
        t.ngram_entropy(texts),
        t.self_bleu(texts),
        t.repetition(texts, n=1),
        t.lengths(texts),
    )
    for one in found:
        assert one.rule == rule
        assert f"4 units {shown}" in str(one)


@pytest.mark.parametrize("options", [{"resamples": 5}, {"confidence": 2.0}, {"seed": "a"}])
@pytest.mark.parametrize("held", [TEXTS, [" ".join(TEXTS)]])
def test_how_intervals_are_found_is_checked_before_anything_is_written(
    held: list[str], options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(*_: object, **__: object) -> None:
        raise AssertionError("scored before the arguments were checked")

    monkeypatch.setattr(aigc.Generator, "score", score)
    monkeypatch.setattr(aigc.Generator, "generate", score)
    with pytest.raises(errors.ParameterError, match=next(iter(options))):
        evaluate(GEN, held, **{**HOW, **options})
