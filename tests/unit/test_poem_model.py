"""The example that learns poems: what it reads keeps its source and licence, and `--author` says where it cannot be."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "poem_model.py"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


def test_poems_keep_where_they_are_from_and_their_licence(example: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("春晓\n春眠不觉晓，处处闻啼鸟。\n", encoding="utf-8")
    record = '{"title": "春晓", "author": "孟浩然", "body": "春眠不觉晓，处处闻啼鸟。", "licence": "CC0"}\n'
    (tmp_path / "folder" / "b.jsonl").write_text(
        record.replace("body", "text").replace("处", "春晓\\n处"), encoding="utf-8"
    )
    (tmp_path / "c.jsonl").write_text(record, encoding="utf-8")
    (tmp_path / "d.tsv").write_text("春晓\t孟浩然\t春眠不觉晓，处处闻啼鸟。\n", encoding="utf-8")
    found = [
        poem
        for name in ("folder", "c.jsonl", "d.tsv")
        for poem in example["under_titles"](example["read"](tmp_path / name))
    ]
    assert [(poem.source, poem.licence) for poem in found] == [
        ("a.txt", None),
        ("b.jsonl", "CC0"),
        ("c.jsonl", "CC0"),
        ("d.tsv", None),
    ]
    assert {poem.text for poem in found if poem.source != "b.jsonl"} == {"《春晓》\n春眠不觉晓，处处闻啼鸟。"}
    assert [poem.fields.get("author") for poem in found] == [None, "孟浩然", "孟浩然", "孟浩然"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "--author needs a table"),
        (["."], "--author needs a table"),
        (["poems.tsv"], "no poem in poems.tsv is by 李白"),
    ],
)
def test_an_author_that_cannot_be_looked_for_is_said(
    given: list[str],
    message: str,
    example: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "poems.tsv").write_text("春晓\t孟浩然\t春眠不觉晓，处处闻啼鸟。\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["poem_model.py", *given, "--author", "李白"])
    with pytest.raises(SystemExit) as end:
        example["main"]()
    assert end.value.code == 2
    assert message in capsys.readouterr().err
