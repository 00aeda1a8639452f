"""An evaluation becomes a report: which figures stand where, and how they are said."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aigc.metrics.text import Estimate, Overlap, Run
from aigc.text.charts import Spread, curves, dumbbells, spreads
from aigc.text.reporting import Quotation, Report, Section, Table

if TYPE_CHECKING:
    from aigc.text.evaluation import Evaluation, Judged, Sketch

__all__ = ["report_of"]


def report_of(found: "Evaluation") -> Report:
    """The report of an evaluation."""
    judged = [found.model, *([found.against] if found.against else [])]
    names = _names(judged)
    lead = [f"{name}: {each.name}." for name, each in zip(names, judged, strict=True)] if len(judged) > 1 else []
    lead.append(f"Held-out text: {found.model.likelihood.amount}.")
    written = f"Written: {found.model.sketch.texts:,} samples of up to {found.settings['max_new_tokens']:,} tokens"
    lead.append(f"{written}, seed {found.settings['seed']}, beside {found.real.texts:,} real passages.")
    title = f"Evaluation of {found.model.name}" if len(judged) == 1 else "Evaluation of two models"
    sections = [_prediction(found, judged, names), _writing(found, judged, names)]
    if any(each.divergence for each in judged):
        sections.append(_nearness(judged, names))
    if found.model.overlap is not None:
        sections.append(_copying(found, judged, names))
    sections.append(_samples(found))
    return Report(title, tuple(lead), found.warnings, tuple(sections))


def _names(judged: Sequence["Judged"]) -> list[str]:
    return ["model"] if len(judged) == 1 else ["model", "against"]


def _estimate(estimate: Estimate, digits: int) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def _prediction(found: "Evaluation", judged: Sequence["Judged"], names: Sequence[str]) -> Section:
    rows = []
    for name, each in zip(names, judged, strict=True):
        figures = each.likelihood
        cells = (_estimate(figures.bits_per_byte, 3), _estimate(figures.bits_per_character, 3))
        rows.append((name, *cells, _estimate(figures.perplexity, 2), f"{figures.amount.tokens:,}"))
    head = ("", "bits per byte", "bits per character", "perplexity", "tokens")
    says = [
        "Lower is better. Bits compare models of any tokenizers on the same text; perplexity, of the same tokenizer alone."
    ]
    if found.model.likelihood.confidence is not None:
        says.append(f"In brackets {100 * found.model.likelihood.confidence:g}% intervals, for other documents of the kind.")
    if found.comparison is not None:
        says.append(_verdict(found))
    pictures = []
    if found.model.likelihood.confidence is not None and len(judged) > 1:
        caption = "Bits per byte of held-out text, with intervals; lower is better."
        marks = [(name, _spread(i, each)) for i, (name, each) in enumerate(zip(names, judged, strict=True), 1)]
        pictures.append(spreads("prediction", caption, marks, unit="bits per byte"))
    return Section("Prediction of held-out text", tuple(says), Table(head, tuple(rows)), tuple(pictures))


def _spread(series: int, each: "Judged") -> Spread:
    value, low, high = each.likelihood.bits_per_byte
    return Spread(series, value, value if low is None else low, value if high is None else high)


def _verdict(found: "Evaluation") -> str:
    assert found.comparison is not None, "asked only where there is one"
    it = found.comparison
    says = {
        "first": "The model predicts better than the one against it",
        "second": "The model predicts worse than the one against it",
        "undecided": "Which of the two predicts better is undecided",
    }[it.verdict]
    spread = f"{it.difference:+.4f} bits per byte [{it.low:+.4f}, {it.high:+.4f}], p = {it.p_value:.2g}"
    return f"{says}: {spread}, over {it.amount.documents:,} pairs of documents."


def _writing(found: "Evaluation", judged: Sequence["Judged"], names: Sequence[str]) -> Section:
    sketches, columns = [found.real, *(each.sketch for each in judged)], ["real", *names]
    rows = [
        *((f"distinct-{n}", *(f"{s.distinct[n - 1].value:.3f}" for s in sketches)) for n in (1, 2, 3)),
        ("entropy of units, bits", *(f"{s.entropy.value:.2f}" for s in sketches)),
        ("self-BLEU-4", *(f"{s.self_bleu.value:.3f}" for s in sketches)),
        ("repeated 4-grams", *(f"{s.repetition.repeated:.1%}" for s in sketches)),
        ("units seen among the last 32", *(f"{s.repetition.near:.1%}" for s in sketches)),
        ("longest repeated run, units", *(f"{s.repetition.longest:,}" for s in sketches)),
        ("characters, median", *(f"{_quantile(s, 0.5):,.0f}" for s in sketches)),
        ("characters, 5% to 95%", *(f"{_quantile(s, 0.05):,.0f} to {_quantile(s, 0.95):,.0f}" for s in sketches)),
        ("ended by itself", *("" if s.ended is None else f"{s.ended:.0%}" for s in sketches)),
    ]
    first = found.real.distinct[0]
    says = (
        f"Distinct n-grams and entropy are of the first {first.units:,} units of each set, self-BLEU of "
        f"{found.real.self_bleu.texts:,} texts each: they depend on the amount. A unit is a word, a character of Chinese, "
        "or a mark. Nearest to the real column is best; more variety than real text is no merit.",
    )
    shares = [
        *((f"distinct-{n}", [s.distinct[n - 1].value for s in sketches]) for n in (1, 2, 3)),
        ("self-BLEU-4", [s.self_bleu.value for s in sketches]),
        ("repeated 4-grams", [s.repetition.repeated for s in sketches]),
        ("seen among the last 32", [s.repetition.near for s in sketches]),
    ]
    pictures = (
        dumbbells("variety", "Variety and repetition: the nearer to the real text, the better.", shares, legend=columns),
        spreads("lengths", _LENGTHS, [_length(i, *pair) for i, pair in enumerate(zip(columns, sketches, strict=True))],
                unit="characters"),
    )  # fmt: skip
    return Section("How it writes, beside real text", says, Table(("", *columns), tuple(rows)), pictures)


_LENGTHS = "Lengths of continuations: the median, the middle half, and all but a tenth."


def _length(series: int, name: str, sketch: "Sketch") -> tuple[str, Spread]:
    low, first, middle, third, high = (_quantile(sketch, q) for q in (0.05, 0.25, 0.5, 0.75, 0.95))
    return name, Spread(series, middle, low, high, (first, third))


def _quantile(sketch: "Sketch", q: float) -> float:
    return dict(sketch.lengths.quantiles)[q]


def _nearness(judged: Sequence["Judged"], names: Sequence[str]) -> Section:
    pairs = [(name, each.divergence) for name, each in zip(names, judged, strict=True) if each.divergence is not None]
    rows = tuple(
        (name, f"{d.area:.3f}", f"{d.smoothed:.3f}", f"{d.integral:.3f}", f"{d.at_part:.3f}", f"{d.baseline:.3f}")
        for name, d in pairs
    )
    first = pairs[0][1]
    features = f"{first.extractor} {first.version}".strip()
    says = (
        f"Area under the divergence frontier (MAUVE's idea), 1 if the sets are alike; {first.clusters:,} clusters of "
        f"{first.dim:,} features ({features}), {first.n_real:,} real passages and {first.n_fake:,} written ones.",
        f"Few examples make the area too small. So read it at {first.part:,} against {first.part:,}: a generator beyond "
        "reproach would have about the last column, which is of real text against real text.",
    )
    of = f"{first.part:,}"
    head = ("", "area", "smoothed", "integral", f"smoothed, {of} each", "real against real")
    lines = [
        (i, [(float(x), float(y)) for x, y in d.curve.tolist()])
        for i, name in enumerate(names, 1)
        for found, d in pairs
        if found == name
    ]
    caption = "Divergence frontier: a curve into the upper right corner says the sets are alike."
    picture = curves("frontier", caption, lines, legend=names, axes=("written text is real", "real text is written"))
    return Section("Nearness to real text", says, Table(head, rows), (picture,))


def _copying(found: "Evaluation", judged: Sequence["Judged"], names: Sequence[str]) -> Section:
    overlap = found.model.overlap
    assert overlap is not None, "asked only where there is one"
    rows = [(name, *_shared(each.overlap)) for name, each in zip(names, judged, strict=True) if each.overlap]
    if found.real_overlap is not None:
        rows.insert(0, ("real, held out", *_shared(found.real_overlap)))
    head = ("", f"share {overlap.n} characters or more", "95% interval", "longest run", "texts")
    corpus = f"{overlap.documents:,} documents, {overlap.corpus_characters:,} characters"
    says = (f"Runs of characters that continuations have in common with the training corpus ({corpus}), found exactly.",)
    quotations = []
    for name, each in zip(names, judged, strict=True):
        run = _longest(each.overlap)
        if run is not None and each.copied:
            where = (
                f"Longest run of the {name}: {run.length:,} characters, document {run.document:,}, offset {run.offset:,}"
            )
            quotations.append(Quotation(where, ((each.copied, False),)))
    return Section("Copied from the training corpus", says, Table(head, tuple(rows)), (), tuple(quotations))


def _shared(overlap: Overlap) -> tuple[str, str, str, str]:
    low, high = overlap.interval()
    return f"{overlap.share:.1%}", f"{low:.1%} to {high:.1%}", f"{overlap.longest:,}", f"{len(overlap.runs):,}"


def _longest(overlap: Overlap | None) -> Run | None:
    runs = [run for run in overlap.runs if run is not None] if overlap else []
    return max(runs, key=lambda run: run.length, default=None)


def _samples(found: "Evaluation") -> Section:
    quotations = []
    for each in found.examples:
        quotations.append(Quotation(f"Written, seed {each.seed}", ((each.opening, True), (each.written, False))))
        quotations.append(Quotation("Real", ((each.opening, True), (each.real, False))))
    return Section("Samples", (), None, (), tuple(quotations))
