"""What an evaluation found: figures, how much text they rest on, and a report of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from aigc import checkpoint
from aigc.metrics import text as measures
from aigc.text import reporting
from aigc.text.charts import standalone
from aigc.text.summary import report_of

__all__ = ["Evaluation", "Example", "Judged", "Sketch"]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Sketch:
    """What some texts are like; those of an evaluation are measured on as many units each.

    Attributes:
        name: Whose texts.
        texts: How many.
        distinct: distinct-1, -2 and -3.
        entropy: Of single units.
        self_bleu: Of at most 200 texts.
        repetition: Within texts.
        lengths: In characters.
        ended: Share of texts that the model ended by itself; None of real ones.
    """

    name: str
    texts: int
    distinct: tuple[measures.Distinct, ...]
    entropy: measures.NgramEntropy
    self_bleu: measures.SelfBleu
    repetition: measures.Repetition
    lengths: measures.Lengths
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """An opening, what really came next, and what the model wrote.

    Attributes:
        opening: From a held-out text.
        real: How it goes on.
        written: What the model wrote.
        seed: That writes it again.
    """

    opening: str
    real: str
    written: str
    seed: int


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found of one model.

    Attributes:
        name: The model, as it prints itself.
        likelihood: Of the held-out texts.
        sketch: Of its samples.
        divergence: Of its samples from real passages; None where there are fewer than 8 of either.
        overlap: Of its samples with the training corpus; None if none was given.
        copied: The longest run that it shares with the corpus, if any.
    """

    name: str
    likelihood: measures.Likelihood
    sketch: Sketch
    divergence: measures.DivergenceFrontier | None
    overlap: measures.Overlap | None
    copied: str | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well a model predicts and writes, and by how much text that is known: print it, or save a report.

    Attributes:
        model: What was found of the model.
        against: The same of the other one; None if there was none.
        comparison: Of the two on the held-out texts, the model first.
        real: What real passages are like, cut as the samples are.
        real_overlap: Of real passages with the training corpus: what even an honest model cannot avoid.
        examples: A few samples beside the real text.
        warnings: What to beware of, in plain words.
        settings: The arguments that decide the figures; with them it can be done again.
    """

    model: Judged
    against: Judged | None
    comparison: measures.Comparison | None
    real: Sketch
    real_overlap: measures.Overlap | None
    examples: tuple[Example, ...]
    warnings: tuple[str, ...]
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        return reporting.as_plain(report_of(self))

    def _repr_html_(self) -> str:
        """The report within a notebook, in a frame of its own."""
        return reporting.framed(self.to_html())

    def to_markdown(self) -> str:
        """The report as Markdown, without pictures; text from outside is escaped."""
        return reporting.as_markdown(report_of(self))

    def to_html(self) -> str:
        """The report as one page with pictures that fetches nothing; light or dark as its reader likes."""
        return reporting.as_html(report_of(self))

    def to_json(self) -> str:
        """All figures as JSON."""
        found = _plain(self)
        if self.comparison is not None:
            found["comparison"]["verdict"] = self.comparison.verdict
        return json.dumps({"format": FORMAT, **found}, ensure_ascii=False, indent=2, allow_nan=False)

    def save(self, folder: str | Path) -> None:
        """Writes `report.md` with its `pictures`, `report.html` and `report.json` to a folder, all or nothing.

        Args:
            folder: A new or empty folder, or one written by aigc, which is replaced.

        Raises:
            ParameterError: If the folder holds something else.
        """
        report = report_of(self)
        with checkpoint.atomic_folder(folder) as beside:
            (beside / "pictures").mkdir()
            for section in report.sections:
                for picture in section.pictures:
                    _write(beside / "pictures" / f"{picture.name}.svg", standalone(picture))
            _write(beside / "report.md", reporting.as_markdown(report, pictures="pictures"))
            _write(beside / "report.html", reporting.as_html(report))
            _write(beside / "report.json", self.to_json() + "\n")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _plain(value: Any) -> Any:
    """What JSON can hold of a result."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(each) for name, each in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value
