"""`evaluate`, its report, and what both refuse. Tiny random models write; figures are checked by other ways to them."""

import html
import json
import math
import re
import xml.etree.ElementTree as Xml
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import aigc
import tiny
from aigc import checkpoint, errors, metrics
from aigc.metrics.text import OverlapIndex, ScoredText
from aigc.text import Evaluation, evaluate, mean_states, reporting
from aigc.text.charts import Spread, curves, dumbbells, spreads, standalone
from aigc.text.evaluating import _scored
from aigc.text.passages import cut, passages
from aigc.text.reporting import Quotation, Report, Section, Table

GEN = aigc.Generator(tiny.model("llama"), tiny.tokenizer(begin=True))
OTHER = aigc.Generator(tiny.model("qwen3"), tiny.tokenizer(begin=True))
NASTY = "<script>alert(1)</script> | `x` *b* [a](http://h.org) &amp; $m$ \x1b[31m"
TEXTS = [f"the {i}th sea was calm and {word} and the wind had gone to sleep" for i, word in enumerate("abcdefghij")]
HOW = {"samples": 10, "max_new_tokens": 16, "opening": 4, "seed": 3, "resamples": 200}


@pytest.fixture(scope="module")
def found() -> Evaluation:
    training = [TEXTS[0], "another text altogether that shares next to nothing"]
    return evaluate(GEN, [*TEXTS, NASTY * 3], against=OTHER, training=training, overlap=12, **HOW)


def test_the_scores_are_those_of_the_generator(found: Evaluation) -> None:
    scores = GEN.score([*TEXTS, NASTY * 3])
    nats, size = math.fsum(s.nats for s in scores), sum(s.bytes for s in scores)
    figures = found.model.likelihood
    assert figures.bits_per_byte.value == pytest.approx(nats / math.log(2) / size)
    assert figures.perplexity.value == pytest.approx(math.exp(nats / sum(len(s.tokens) for s in scores)))
    assert figures.amount.documents == 11
    assert figures.amount.characters == sum(map(len, [*TEXTS, NASTY * 3]))
    assert found.comparison is not None
    assert found.comparison.first == pytest.approx(figures.bits_per_byte.value)
    assert found.against is not None
    assert found.comparison.second == pytest.approx(found.against.likelihood.bits_per_byte.value)


def test_the_samples_are_those_of_the_generator_and_can_be_written_again(found: Evaluation) -> None:
    for example in found.examples:
        again = GEN.generate(example.opening, max_new_tokens=16, seed=[example.seed])[0]
        assert again.text == example.written
    assert found.model.sketch.texts == 10
    assert found.real.texts == 10
    units = {d.units for sketch in (found.real, found.model.sketch) for d in sketch.distinct}
    assert len(units) == 1, "all sets are measured on as many units"


def test_real_text_is_cut_as_samples_are(found: Evaluation) -> None:
    for example in found.examples:
        assert (example.opening + example.real) in "".join([*TEXTS, NASTY * 3])
        assert len(tiny.tokenizer()(example.real)["input_ids"]) <= 16


def test_a_model_against_itself_is_undecided() -> None:
    same = evaluate(GEN, TEXTS, against=GEN, **HOW)
    assert same.comparison is not None
    assert same.comparison.verdict == "undecided"
    assert same.comparison.difference == 0
    assert "undecided" in str(same)
    assert same.against is not None
    assert same.against.sketch == same.model.sketch


def test_the_same_seed_gives_the_same_report() -> None:
    one, other = (evaluate(GEN, TEXTS, **HOW) for _ in range(2))
    assert one.to_json() == other.to_json()
    assert one.to_html() == other.to_html()
    assert evaluate(GEN, TEXTS, **{**HOW, "seed": 4}).examples != one.examples


def test_what_is_copied_is_found_and_said(found: Evaluation) -> None:
    assert found.real_overlap is not None
    assert found.real_overlap.count >= 1, "a held-out text was trained on"
    assert any("may not be held out" in warning for warning in found.warnings)
    index = OverlapIndex(TEXTS, n=5)
    other = evaluate(GEN, TEXTS, training=index, **HOW)
    assert other.model.overlap is not None
    assert other.model.overlap.n == 5


def test_features_may_be_anyones() -> None:
    asked: list[list[str]] = []

    def embed(texts: list[str]) -> torch.Tensor:
        asked.append(list(texts))
        return torch.tensor([[len(text), text.count("e")] for text in texts], dtype=torch.float32)

    found = evaluate(GEN, TEXTS, features=embed, **HOW)
    assert found.model.divergence is not None
    assert (found.model.divergence.dim, found.model.divergence.extractor) == (2, "unnamed")
    assert [len(texts) for texts in asked] == [10, 10]
    assert evaluate(GEN, TEXTS, features=OTHER, **HOW).model.divergence.version.startswith("Qwen3")  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "mamba"])
def test_mean_states_are_those_of_a_plain_forward(name: str) -> None:
    model = tiny.model(name)
    texts = ["the sea", "春", "a longer text that goes on for a while", "x" * 200]
    found = mean_states(aigc.Generator(model, tiny.tokenizer(begin=True)), texts)
    for text, row in zip(texts, found.values, strict=True):
        ids = tiny.tokenizer(begin=True)(text)["input_ids"]
        if ids[:1] != [256] and not ids:
            ids = [256]
        if name != "bloom" and name != "mamba":
            ids = ids[:128]
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
        wanted = hidden.double().mean(0)
        assert float((row - wanted).norm()) < 1e-3 * float(wanted.norm())


def test_mean_states_need_a_causal_model() -> None:
    with pytest.raises(errors.ModelError, match="not causal"):
        mean_states(aigc.Generator(tiny.masked("bert"), tiny.closed_tokenizer()), ["a"])


# --- the report ---------------------------------------------------------------------------------------------------------


def test_a_report_is_saved_whole(found: Evaluation, tmp_path: Path) -> None:
    place = tmp_path / "report"
    found.save(place)
    assert checkpoint.verify(place)
    files = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    pictures = {f"pictures/{name}.svg" for name in ("prediction", "variety", "lengths", "frontier")}
    assert files == {"report.md", "report.html", "report.json", "manifest.json", *pictures}
    for name in pictures:
        assert Xml.fromstring((place / name).read_text(encoding="utf-8")).tag.endswith("svg")
        assert f"]({name})" in (place / "report.md").read_text(encoding="utf-8")
    found.save(place)  # our own folder is replaced
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("kept")
    with pytest.raises(errors.ParameterError, match="folder"):
        found.save(tmp_path / "taken")
    assert (tmp_path / "taken" / "mine.txt").read_text() == "kept"


def test_json_has_every_figure(found: Evaluation) -> None:
    says = json.loads(found.to_json())
    assert says["model"]["likelihood"]["bits_per_byte"]["value"] == found.model.likelihood.bits_per_byte.value
    assert says["comparison"]["verdict"] == found.comparison.verdict  # type: ignore[union-attr]
    assert says["real"]["distinct"][1]["value"] == found.real.distinct[1].value
    assert says["model"]["divergence"]["area"] == found.model.divergence.area  # type: ignore[union-attr]
    assert says["warnings"] == list(found.warnings)


def test_the_three_reports_show_the_same_figures(found: Evaluation) -> None:
    shown = f"{found.model.likelihood.bits_per_byte.value:.3f}"
    plain, page = str(found), found.to_html()
    text = MarkdownIt("commonmark").enable("table").render(found.to_markdown())
    for form in (plain, page, text):
        assert shown in form
        assert f"{found.real.distinct[2].value:.3f}" in form
        assert "11 documents" in form
    assert page.count("<svg") == 4
    assert not re.search(r"<script|<link|<img|\bsrc=|\bhref=|url\(|@import", page), "a page that fetches nothing"


@given(
    text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
    | st.just(NASTY)
    | st.just("# 1\n    code\n---\n- x\n==")
)
def test_text_from_outside_stays_text(text: str) -> None:
    table = Table(("", text), ((text, "1"),))
    section = Section("t", (text,), table, (), (Quotation(text, ((text, True), (text, False))),))
    report = Report("t", (text,), (text,), (section,))
    page, source = reporting.as_html(report), reporting.as_markdown(report)
    bare = reporting.as_html(
        Report(
            "t",
            ("",),
            ("",),
            (Section("t", ("",), Table(("", ""), (("", "1"),)), (), (Quotation("", (("", True), ("", False))),)),),
        )
    )
    tags = re.compile(r"<[^>]*>")
    assert tags.findall(page) == tags.findall(bare), "no element came with the text"
    rendered = MarkdownIt("commonmark").enable("table").render(source)
    kinds = {tag.strip("</> ") for tag in tags.findall(rendered)}
    cells = {f'{cell} style="text-align:right"' for cell in ("th", "td")}
    plain = {"h1", "h2", "p", "blockquote", "strong", "table", "thead", "tbody", "tr", "th", "td", "b", "br"}
    assert kinds <= cells | plain
    assert sum(row.count("<th") for row in rendered.splitlines() if "<th" in row and "<thead" not in row) == 2
    said = reporting.as_plain(report)
    assert not any(ord(c) < 32 and c != "\n" for c in said), "nothing that a terminal obeys"


def test_escapes_are_read_back_as_what_they_were() -> None:
    for text in (
        NASTY.replace("\x1b", ""),
        "1. a",
        "# a",
        "- a",
        "+ a",
        "=",
        "a_b_c",
        "\\",
        "2) b",
        "www.x.org",
        "**",
        "~~s~~",
    ):
        report = Report("t", (text,), (), ())
        rendered = MarkdownIt("gfm-like", {"linkify": False}).render(reporting.as_markdown(report))
        assert html.unescape(re.search(r"<p>(.*)</p>", rendered)[1]) == text.strip()  # type: ignore[index]


def test_columns_of_a_terminal_count_chinese_twice() -> None:
    table = Table(("", "a"), (("月光", "1"), ("x", "22")))
    lines = reporting.as_plain(Report("t", (), (), (Section("s", (), table),))).splitlines()
    assert lines[3:] == ["         a", "  月光   1", "  x     22"]


VALUES = st.floats(-1e6, 1e6).filter(lambda v: abs(v) > 1e-6 or v == 0)


@given(values=st.lists(VALUES, min_size=3, max_size=3), share=st.floats(0, 1), label=st.text(max_size=9))
def test_pictures_are_sound_and_nothing_lies_outside(values: list[float], share: float, label: str) -> None:
    low, middle, high = sorted(values)
    label = reporting._clean(label)
    made = [
        spreads(
            "s", label, [(label, Spread(0, middle, low, high, (low, middle))), ("b", Spread(1, high, high, high))], unit="u"
        ),
        dumbbells("d", label, [(label, [share, 1 - share, share])], legend=["real", "one", label]),
        curves("c", label, [(1, [(0, 1), (share, share), (1, 0)])], legend=["one"], axes=("x", "y")),
    ]
    for picture in made:
        root = Xml.fromstring(standalone(picture).encode())
        width, height = (float(value) for value in root.attrib["viewBox"].split()[2:])
        for element in root.iter():
            if element.tag.endswith("title"):
                assert element.text == (label or None)
            for name, most in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height), ("y1", height)):
                if name in element.attrib and element.attrib[name] != "100%":
                    assert -1 <= float(element.attrib[name]) <= most


def test_spreads_stand_where_their_figures_are() -> None:
    picture = spreads("s", "c", [("a", Spread(0, 2.0, 0.0, 10.0)), ("b", Spread(1, 7.0, 6.0, 8.0))], unit="u")
    root = Xml.fromstring(picture.svg)
    lines = [(float(e.attrib["x1"]), float(e.attrib["x2"])) for e in root.iter() if e.tag.endswith("line")]
    ticks = {e.text: float(e.attrib["x"]) for e in root.iter() if e.tag.endswith("text")}
    assert lines[0] == pytest.approx((ticks["0"], ticks["10"]), abs=0.11)
    scale = (ticks["10"] - ticks["0"]) / 10
    assert lines[1] == pytest.approx((ticks["0"] + 6 * scale, ticks["0"] + 8 * scale), abs=0.11)


# --- passages -----------------------------------------------------------------------------------------------------------


@given(
    texts=st.lists(st.text("ab 月。\n", max_size=40), min_size=1, max_size=4),
    count=st.integers(1, 9),
    opening=st.integers(1, 5),
    reach=st.integers(1, 6),
)
def test_passages_are_pieces_of_the_texts(texts: list[str], count: int, opening: int, reach: int) -> None:
    words = metrics.text.words
    if all(len(words(text)) < 2 for text in texts):
        with pytest.raises(errors.ParameterError, match="at least 2 words"):
            passages(texts, count=count, opening=opening, reach=reach)
        return
    found = passages(texts, count=count, opening=opening, reach=reach)
    assert 1 <= len(found) <= count
    assert len(set(map(id, found))) == len(found)
    for passage in found:
        assert passage.opening + passage.rest in texts[passage.text]
        units, rest = words(passage.opening), words(passage.rest)
        assert 1 <= len(units) <= opening
        assert 1 <= len(rest) <= max(reach, opening)


@given(text=st.text("ab 月", max_size=30), most=st.integers(0, 30))
def test_cut_keeps_the_longest_beginning_of_whole_units(text: str, most: int) -> None:
    ends = [0, *(end for _, end in metrics.text.spans(text))]
    wanted = text if len(text) <= most else text[: max(end for end in ends if end <= most)]
    assert cut(text, most, len) == wanted


def test_a_token_that_is_not_scored_takes_its_characters_away() -> None:
    gen = aigc.Generator(tiny.model("llama"), tiny.tokenizer())
    assert _scored(gen.score("abcd"), "abcd") == ScoredText(gen.score("abcd").nats, 3, 3, 3)


# --- what it warns of ----------------------------------------------------------------------------------------------------


def test_warnings_say_when_there_is_too_little() -> None:
    one = evaluate(GEN, [" ".join(TEXTS)], **HOW)
    assert one.model.likelihood.confidence is None
    assert any("one document" in warning for warning in one.warnings)
    few = evaluate(GEN, TEXTS[:2], **{**HOW, "samples": 4})
    assert few.model.divergence is None
    said = " ".join(few.warnings)
    for words in (
        "Intervals rest on 2 documents",
        "bytes; below",
        "share theirs",
        "it takes 8 of each",
        "Variety and repetition",
    ):
        assert words in said
    assert "Nearness" not in str(few).replace("Nearness is", "")
    many = replace(few.model.likelihood, amount=metrics.text.Amount(500, 10**6, 10**6, 10**5))
    assert not any("Intervals" in w or "below" in w for w in _again(few, many))


def _again(found: Evaluation, likelihood: metrics.text.Likelihood) -> tuple[str, ...]:
    from aigc.text.cautions import cautions

    return cautions(replace(found, model=replace(found.model, likelihood=likelihood)))


@pytest.mark.parametrize(("mine", "real", "said"), [(12, 0, True), (3, 0, False), (12, 8, False), (50, 20, True)])
def test_a_copyist_is_named(found: Evaluation, mine: int, real: int, said: bool) -> None:
    """Of 50 texts each: Wilson's intervals of 12, 3, 8 and 0 begin at .143, .021, .083 and 0, and 0's ends at .071."""
    from aigc.text.cautions import cautions

    run = metrics.text.Run(9, 0, 0, 0)

    def shares(count: int) -> metrics.text.Overlap:
        return metrics.text.Overlap(5, (run,) * count + (None,) * (50 - count), 999, 1, 999)

    judged = replace(found.model, overlap=shares(mine))
    warned = cautions(replace(found, model=judged, against=None, real_overlap=shares(real)))
    assert any("copies" in warning for warning in warned) == said


def test_the_default_model_is_evaluated() -> None:
    """English it was made for, against the same words shuffled: the report tells them apart."""
    gen = aigc.Generator.default(device="cpu", dtype="float32")
    texts = [
        f"The {name} was a good man, and he had never in his life been so happy."
        for name in ("king", "old doctor", "captain")
    ]
    turned = [" ".join(text.split()[::-1]) for text in texts]
    good, bad = (evaluate(gen, each, samples=3, max_new_tokens=12) for each in (texts, turned))
    assert good.model.likelihood.bits_per_byte.value < bad.model.likelihood.bits_per_byte.value
    assert good._repr_html_().startswith('<iframe sandbox=""')
