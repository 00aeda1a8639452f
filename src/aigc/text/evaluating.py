"""`evaluate`: how well a generator predicts held-out text, and what its own texts are like beside real ones."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from aigc._checks import fail, fail_type, integer
from aigc.data.text import Document
from aigc.metrics import Features
from aigc.metrics import text as measures
from aigc.metrics.text._bootstrap import check_resampling
from aigc.text.cautions import cautions
from aigc.text.evaluation import Evaluation, Example, Judged, Sketch
from aigc.text.generator import Generator
from aigc.text.passages import Passage, cut, passages
from aigc.text.progress import Watcher
from aigc.text.representing import mean_states
from aigc.text.requests import Writer, strings
from aigc.text.results import Completion, Score

__all__ = ["evaluate"]

_BLEU_TEXTS = 200  # self-BLEU grows with their number, so it is of as many everywhere
_SHOWN = 3
_GRAM = 4

Embed = Callable[[Sequence[str]], Tensor | Features]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is the same for both models."""

    passages: list[Passage]
    samples: int
    max_new_tokens: int
    sampler: Writer | None
    seed: int
    batch_size: int | None
    progress: Watcher
    embed: Embed
    index: measures.OverlapIndex | None
    how: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Written:
    """What one model did."""

    name: str
    scored: list[measures.ScoredText]
    completions: list[Completion]


def evaluate(
    gen: Generator,
    texts: Iterable[str | Document],
    *,
    against: Generator | None = None,
    training: Iterable[str | Document] | measures.OverlapIndex | None = None,
    samples: int = 200,
    max_new_tokens: int = 128,
    opening: int = 16,
    sampler: Writer | None = None,
    seed: int = 0,
    features: Generator | Embed | None = None,
    overlap: int | None = None,
    confidence: float = 0.95,
    resamples: int = 5000,
    batch_size: int | None = None,
    progress: Watcher = None,
) -> Evaluation:
    """Evaluates a generator on held-out texts: print what it returns, or `save` it as a report.

    It scores every text; then cuts the texts into passages, lets the model go on from the opening of some of them that lie
    evenly over all, and compares what it wrote with how they really go on, cut to as many tokens. Texts must be held out:
    none of the model's training data. Long texts are best given as parts that stand for themselves, such as chapters, since
    intervals are over texts.

    Args:
        gen: Of a causal model.
        texts: Held-out texts, none of them empty.
        against: Another one to compare with, on the same texts and openings.
        training: The texts that the model was trained on, or an `OverlapIndex` of them, to find what it copied.
        samples: Texts that are written, at least 2; openings are used several times if there are fewer.
        max_new_tokens: Tokens of each, at least 8.
        opening: Units (words, characters of Chinese, marks) that a text goes on from, at least 1; half of a short text.
        sampler: As for `Generator.generate`, one for all.
        seed: Of all draws: the same seed, the same report.
        features: What `mauve` compares texts by: a Generator, whose `mean_states` are taken; or a function from texts to
            features `(n, d)`. By default the model's own, which may judge it kindly; take one for several models.
        overlap: Characters of a run that counts as copied; by default 50, or 14 where texts are mostly Chinese.
        confidence: Of intervals.
        resamples: Of intervals.
        batch_size: As for `Generator.generate`.
        progress: As for `Generator.generate`.

    Raises:
        ParameterError: If there are no texts, one is empty, or samples turn out too short to be measured; if one text alone
            shall compare two models.
        ModelError: If a model is not causal.

    Example:
        >>> gen = Generator.default(device="cpu")
        >>> tales = ["Once upon a time there was an old man who lived alone by the sea, and he was content.",
        ...     "The king had three daughters, and the youngest was so fair that the sun stood still to see her."]
        >>> found = evaluate(gen, tales, samples=4, max_new_tokens=16)
        >>> found.model.likelihood.amount.documents, found.model.sketch.texts
        (2, 4)
    """
    held = _texts(texts)
    models = [_generator("gen", gen), *([] if against is None else [_generator("against", against)])]
    integer("samples", samples, low=2), integer("max_new_tokens", max_new_tokens, low=8)
    integer("opening", opening, low=1)
    check_resampling(confidence, resamples, seed)  # before hours of writing
    if len(held) == 1 and against is not None:
        raise fail("texts", "at least 2 to compare two models", 1, "Cut it into parts that may count as documents.")
    chosen = passages(held, count=samples, opening=opening, reach=max_new_tokens)
    if len(chosen) < 2:
        raise fail("texts", "enough for 2 passages", f"{sum(map(len, held))} characters", "Give more or longer texts.")
    how = {"confidence": confidence if len(held) > 1 else None, "resamples": resamples, "seed": seed}
    index = _index(training, overlap, held)
    embed = _embed(gen if features is None else features)
    plan = _Plan(chosen, samples, max_new_tokens, sampler, seed, batch_size, progress, embed, index, how)
    written = [_write(model, held, plan) for model in models]
    settings: dict[str, Any] = {"samples": samples, "max_new_tokens": max_new_tokens, "opening": opening, "seed": seed}
    settings |= {"sampler": "the model's own" if sampler is None else repr(sampler), "resamples": resamples}
    return _found(plan, written, _real(gen, plan), {**settings, "confidence": confidence})


def _found(plan: _Plan, written: list[_Written], real: list[Passage], settings: dict[str, Any]) -> Evaluation:
    groups = [[passage.rest for passage in real], *([c.text for c in each.completions] for each in written)]
    units = min(sum(len(measures.words(text)) for text in group) for group in groups)
    enough = all(any(len(measures.words(text)) >= _GRAM for text in group) for group in groups)
    if not enough:
        raise fail("samples", f"one of at least {_GRAM} units in each set", "shorter ones", "Raise max_new_tokens.")
    few = min(_BLEU_TEXTS, *map(len, groups))
    beside = _features(plan, real, groups[0])
    judged = []
    for each, texts in zip(written, groups[1:], strict=True):
        sketch = _sketch(each.name, texts, units, few)
        sketch = replace(sketch, ended=sum(c.finish_reason == "eos" for c in each.completions) / len(texts))
        judged.append(_judge(plan, each, sketch, beside, real))
    scored = [each.scored for each in written]
    comparison = measures.compare(*scored, **plan.how) if len(scored) == 2 else None
    examples = tuple(
        Example(passage.opening, passage.rest, one.text, one.seed)
        for passage, one in zip(real[:_SHOWN], written[0].completions, strict=False)
    )
    overlap = plan.index.search(groups[0]) if plan.index else None
    against = judged[1] if len(judged) > 1 else None
    found = Evaluation(
        judged[0], against, comparison, _sketch("real", groups[0], units, few), overlap, examples, (), settings
    )
    return replace(found, warnings=cautions(found))


def _write(gen: Generator, held: list[str], plan: _Plan) -> _Written:
    scored = [_scored(score, text) for score, text in zip(gen.score(held), held, strict=True)]
    prompts = [plan.passages[i % len(plan.passages)].opening for i in range(plan.samples)]
    how: dict[str, Any] = {"sampler": plan.sampler, "batch_size": plan.batch_size, "progress": plan.progress}
    out = gen.generate(prompts, max_new_tokens=plan.max_new_tokens, seed=plan.seed, **how)
    if out.unfinished:
        raise KeyboardInterrupt  # generate returns what is finished, which is no evaluation
    return _Written(repr(gen), scored, list(out))


def _scored(score: Score, text: str) -> measures.ScoredText:
    unscored = len(text.encode()) - score.bytes
    characters = len(text) - len(text.encode()[:unscored].decode())
    return measures.ScoredText(score.nats, len(score.tokens), characters, score.bytes)


def _real(gen: Generator, plan: _Plan) -> list[Passage]:
    """Passages, of which so much is left as the model may write."""
    return [p._replace(rest=cut(p.rest, plan.max_new_tokens, gen._engine.size)) for p in plan.passages]


def _judge(plan: _Plan, each: _Written, sketch: Sketch, beside: Features | Tensor | None, real: list[Passage]) -> Judged:
    texts = [completion.text for completion in each.completions]
    own = _features(plan, [real[i % len(real)] for i in range(len(texts))], texts)
    divergence = None if beside is None or own is None else measures.mauve(beside, own, seed=plan.seed)
    overlap = plan.index.search(texts) if plan.index else None
    place = max(range(len(texts)), key=lambda i: overlap.lengths[i]) if overlap else 0
    run = overlap.runs[place] if overlap else None
    copied = None if run is None else texts[place][run.start : run.start + run.length]
    figures = measures.likelihood(each.scored, **plan.how)
    return Judged(each.name, figures, sketch, divergence, overlap, copied)


def _features(plan: _Plan, openings: Sequence[Passage], texts: Sequence[str]) -> Features | Tensor | None:
    """Of passages with what follows; None if there are too few to be compared."""
    if min(len(texts), len(plan.passages)) < 8:
        return None
    return plan.embed([passage.opening + text for passage, text in zip(openings, texts, strict=True)])


def _sketch(name: str, texts: Sequence[str], units: int, few: int) -> Sketch:
    distinct = tuple(measures.distinct_n(texts, n=n, units=units) for n in (1, 2, 3))
    entropy = measures.ngram_entropy(texts, units=units)
    spread = [texts[i * len(texts) // few] for i in range(few)]
    bleu = measures.self_bleu(spread)
    return Sketch(name, len(texts), distinct, entropy, bleu, measures.repetition(texts, n=_GRAM), _lengths(texts))


def _lengths(texts: Sequence[str]) -> measures.Lengths:
    return replace(measures.lengths(texts, tokenize=list), rule="characters")


def _texts(texts: Iterable[str | Document]) -> list[str]:
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise fail_type("texts", "held-out texts, as strings", texts, "Put one text into a list.")
    held = strings("texts", list(_said(texts)))
    empty = next((i for i, text in enumerate(held) if not text.strip()), None)
    if empty is not None:
        raise fail(f"texts[{empty}]", "a text with something in it", held[empty], "Leave empty texts out.")
    return held


def _said(texts: Iterable[str | Document]) -> Iterable[str]:
    """Documents as what they say; what is nothing of the kind is for others to refuse."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        return texts
    return (text.text if isinstance(text, Document) else text for text in texts)


def _generator(name: str, given: object) -> Generator:
    if not isinstance(given, Generator):
        raise fail_type(name, "a Generator", given)
    return given


def _index(
    training: Iterable[str | Document] | measures.OverlapIndex | None, overlap: int | None, held: list[str]
) -> measures.OverlapIndex | None:
    if training is None or isinstance(training, measures.OverlapIndex):
        if overlap is not None:
            cure = "Give the texts themselves, or leave it out."
            raise fail("overlap", "left out without training texts, or with an index, which has its own", overlap, cure)
        return training
    if overlap is None:
        wide = sum("\u3400" <= character <= "\u9fff" for text in held for character in text)
        overlap = 14 if 2 * wide > sum(map(len, held)) else 50
    return measures.OverlapIndex(_said(training), n=overlap)


def _embed(features: object) -> Embed:
    if isinstance(features, Generator):
        return lambda texts: mean_states(features, texts)
    if not callable(features):
        raise fail_type("features", "a Generator, or a function from texts to features (n, d)", features)
    return features
