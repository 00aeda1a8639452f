"""What a reader of an evaluation should beware of, in plain words."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aigc.text.evaluation import Evaluation

__all__ = ["cautions"]

_DOCUMENTS, _BYTES, _EXAMPLES, _TEXTS = 30, 50_000, 200, 50


def cautions(found: "Evaluation") -> tuple[str, ...]:
    """The warnings that an evaluation deserves."""
    return (*_of_prediction(found), *_of_writing(found), *_of_copying(found))


def _of_prediction(found: "Evaluation") -> Iterator[str]:
    amount = found.model.likelihood.amount
    if amount.documents == 1:
        yield "All held-out text is one document: nothing says how much figures would differ on another, so no intervals."
    elif amount.documents < _DOCUMENTS:
        yield (
            f"Intervals rest on {amount.documents} documents, and {_DOCUMENTS} would be few: they are too narrow. "
            "Cut long documents into parts, or give more."
        )
    if amount.bytes < _BYTES:
        yield f"Held-out text is {amount.bytes:,} bytes; below {_BYTES:,} the subject decides more than the model does."
    if found.against is not None and found.against.likelihood.amount.tokens != amount.tokens:
        yield "The two models cut text into different tokens, so their perplexities cannot be compared; their bits can."


def _of_writing(found: "Evaluation") -> Iterator[str]:
    samples, passages = found.model.sketch.texts, found.real.texts
    if passages < samples:
        yield f"There are {passages} different openings for {samples} samples, so some share theirs: variety looks smaller."
    if samples < _TEXTS or passages < _TEXTS:
        few = min(samples, passages)
        yield f"Variety and repetition are of {few} texts on one side; of fewer than {_TEXTS} they are rough."
    divergence = found.model.divergence
    if divergence is None:
        yield "There are too few texts to say how near the written ones are to the real ones: it takes 8 of each at least."
    elif min(divergence.n_real, divergence.n_fake) < _EXAMPLES:
        few = min(divergence.n_real, divergence.n_fake)
        yield f"Nearness is measured on {few} texts; of fewer than {_EXAMPLES} only large differences mean anything."
    failed = [each.sketch for each in (found.model, found.against) if each and each.sketch.lengths.mean < 1]
    if failed:
        yield f"{failed[0].name} wrote next to nothing: look at the samples."


def _of_copying(found: "Evaluation") -> Iterator[str]:
    if found.real_overlap is not None and found.real_overlap.count:
        overlap = found.real_overlap
        yield (
            f"{overlap.count} of {len(overlap.runs)} held-out passages share {overlap.n} characters or more with the "
            f"training corpus (longest run {overlap.longest:,}): some of it may not be held out, and the scores flattered."
        )
    for each in (found.model, found.against):
        if each is None or each.overlap is None or found.real_overlap is None:
            continue
        mine, real = each.overlap, found.real_overlap
        if mine.interval()[0] > real.interval()[1]:
            yield (
                f"{each.name} copies: {mine.share:.0%} of its texts share {mine.n} characters or more with the training "
                f"corpus, and {real.share:.0%} of real passages do. Copies look near to real text. Train for fewer steps, "
                "or on more text."
            )
