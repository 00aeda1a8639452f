"""The laws of texts that are read: what was written is found, to the letter, and what is bad is named."""

import csv
import gzip
import io
import json
import re
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigc.data.text import Blank, Corpus, Document, Heading, Lines, Pieces, Turn, Whole, _streams, texts
from aigc.errors import DataError, DataNotFoundError, ParameterError, TypeParameterError

POEM = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n"
unicode = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
some = unicode.filter(lambda text: text.strip() and not text.startswith("\ufeff"))
line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\ufeff"), max_size=12)


def put(folder: str | Path, name: str, text: str, encoding: str = "utf-8", packed: bool = False) -> Path:
    path = Path(folder) / (name + ".gz" if packed else name)
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def said(corpus: Corpus) -> list[str]:
    return [document.text for document in corpus]


@given(some, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gb18030"]), st.booleans())
def test_a_whole_file_comes_back_in_any_encoding(text: str, encoding: str, packed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = put(folder, "a.txt", text, encoding, packed)
        corpus = texts(path, encoding="utf-8" if encoding == "utf-8-sig" else encoding)
        assert said(corpus) == said(corpus) == [text]


@given(st.lists(line, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_divisions_against_the_standard_library(lines: list[str], end: str, last: bool) -> None:
    text = end.join(["first", *lines, "end"]) + (end if last else "")
    content = [each.removesuffix("\r") for each in text.split("\n")]
    # What is blank may hold white space of any script; a form feed and the like are no line ends here.
    runs, run = [], []
    for each in [*content, ""]:
        if each.strip():
            run.append(each)
        elif run:
            runs.append(run)
            run = []
    with tempfile.TemporaryDirectory() as folder:
        path = put(folder, "a.txt", text)
        by_line = texts(path, divide=Lines(), skip_unreadable=True)
        assert said(by_line) == [each for each in content if each.strip()]
        assert [document.name for document in by_line] == [
            f"a.txt:{i}" for i, each in enumerate(content, 1) if each.strip()
        ]
        found = [each.replace("\r\n", "\n") for each in said(texts(path, divide=Blank()))]
        assert found == ["\n".join(run) for run in runs]
        for size in (1, 7, 1000):
            parts = list(Pieces(size).parts(text.encode().splitlines(keepends=True), "file"))
            assert b"".join(part.data for part in parts) == text.encode()
            assert [part.offset for part in parts] == [sum(len(p.data) for p in parts[:i]) for i in range(len(parts))]
            assert all(len(part.data) >= size and part.data[-1:] in b"\n\r" for part in parts[:-1])


@given(
    st.lists(st.tuples(st.from_regex(r"[a-z]{1,5}", fullmatch=True), some.filter(lambda t: "=== " not in t)), min_size=1)
)
def test_headings_name_what_follows(books: list[tuple[str, str]]) -> None:
    whole = "".join(f"=== {name}\n{text}\n" for name, text in books)
    with tempfile.TemporaryDirectory() as folder:
        found = list(texts(put(folder, "books.txt", "before\n" + whole, packed=True), divide=Heading()))
    assert [(each.name, each.text) for each in found] == [
        ("books.txt.gz:1", "before\n"),
        *((n, t + "\n") for n, t in books),
    ]
    assert {each.source for each in found} == {"books.txt.gz"}


cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)


@given(st.lists(st.tuples(some.filter(lambda t: "\x00" not in t), cell), min_size=1, max_size=6), st.booleans())
def test_csv_as_the_csv_module_writes_it(rows: list[tuple[str, str]], named: bool) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "author"), *rows] if named else rows)
    with tempfile.TemporaryDirectory() as folder:
        path = put(folder, "a.csv", buffer.getvalue())
        found = list(texts(path, columns=None if named else ("text", "author")))
    assert [(each.text, each.fields["author"]) for each in found] == rows


@given(st.lists(st.tuples(some, st.one_of(st.integers(), unicode, st.none(), st.lists(st.booleans())))), st.booleans())
def test_json_lines(rows: list[tuple[str, object]], ascii_only: bool) -> None:
    rows.append(("last", 1))
    text = "\n\n".join(json.dumps({"body": text, "extra": extra}, ensure_ascii=ascii_only) for text, extra in rows)
    with tempfile.TemporaryDirectory() as folder:
        found = list(texts(put(folder, "a.jsonl", text), field="body", licence="CC0"))
    assert [(each.text, each.fields, each.licence) for each in found] == [(t, {"extra": e}, "CC0") for t, e in rows]


def test_tables_without_quotes_names_and_licences(tmp_path: Path) -> None:
    put(tmp_path, "poems.tsv", f'静夜思\t李白\t"{POEM[:12]}"\n春晓\t孟浩然\t春眠不觉晓\n', packed=True)
    found = list(texts(tmp_path, columns=("title", "author", "body"), field="body", title="title", licence="public domain"))
    assert [(each.name, each.fields["author"], each.text) for each in found] == [
        ("静夜思", "李白", f'"{POEM[:12]}"'),
        ("春晓", "孟浩然", "春眠不觉晓"),
    ]
    put(tmp_path, "b.jsonl", '{"text": "x", "license": "MIT"}\n{"text": "y"}')
    assert [each.licence for each in texts(tmp_path / "b.jsonl", licence="CC0")] == ["MIT", "CC0"]


def test_conversations_and_instructions(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "Hello"}]
    put(tmp_path, "chat.jsonl", json.dumps({"messages": chat, "label": 1}))
    (document,) = texts(tmp_path, field="messages")
    assert document.turns == (Turn("user", "你好"), Turn("assistant", "Hello"))
    assert (document.text, document.fields) == ("你好\nHello", {"label": 1})
    put(tmp_path, "chat.jsonl", json.dumps({"prompt": "2 + 2?", "completion": "4"}))
    (document,) = texts(tmp_path, field=("prompt", "completion"))
    assert document.turns == (Turn("prompt", "2 + 2?"), Turn("completion", "4"))
    (cleaned,) = Corpus.of([document]).clean([lambda text: text.replace(" ", "")])
    assert cleaned.turns[0].content == "2+2?"
    assert cleaned.text == "2+2?\n4"
    with pytest.raises(DataError, match=r"chat.jsonl:1 has no field 'text'; it has 'prompt', 'completion'. Give field="):
        texts(tmp_path)
    put(tmp_path, "chat.jsonl", json.dumps({"messages": [{"role": "user"}]}))
    with pytest.raises(DataError, match=r"chat.jsonl:1: messages\[0\] must have the strings 'role' and 'content'"):
        texts(tmp_path, field="messages")


def test_folders_and_archives_alike(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    (folder / "deep" / "er").mkdir(parents=True)
    put(folder, "z.txt", "last")
    put(folder / "deep", "a.md", POEM)
    put(folder / "deep" / "er", "b.jsonl", '{"text": "json"}', packed=True)
    put(folder, ".hidden.txt", "no")
    put(folder, "picture.png", "no")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, path.relative_to(folder).as_posix())
    for source in (folder, tmp_path / "all.zip"):
        corpus = texts(source)
        assert [(each.name, each.text) for each in corpus] == [
            ("deep/a.md", POEM),
            ("deep/er/b.jsonl.gz:1", "json"),
            ("z.txt", "last"),
        ]
        assert corpus.count == 3


@given(
    st.text(max_size=30).filter(lambda t: max(t, default="a") < "\ud800"), st.integers(0, 29), st.sampled_from([0xFF, 0xC0])
)
def test_bytes_that_cannot_be_decoded_are_named(text: str, place: int, bad: int) -> None:
    data = text.encode()[: max(0, place)].decode(errors="ignore").encode()
    whole = data + bytes([bad]) + b" rest"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bad.txt").write_bytes(whole)
        put(folder, "good.txt", "good")
        with pytest.raises(
            DataError, match=rf"bad.txt cannot be decoded as utf-8: byte 0x{bad:02x} at offset {len(data)}\."
        ):
            texts(folder)
        corpus = texts(folder, skip_unreadable=True)
        assert said(corpus) == ["good"]
        assert len(corpus.skipped) == 1
        assert corpus.skipped[0].file.endswith("bad.txt")
        assert f"offset {len(data)}" in corpus.skipped[0].reason


def test_one_bad_line_harms_no_other(tmp_path: Path) -> None:
    rows = [b'{"text": "one"}', b'{"text": "\xff"}', b"[1]", b'{"text": 3}', b'{"text": " "}', b'{"text": "\\ud800"}', b"{"]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*rows, b'{"text": "last"}']))
    with pytest.raises(DataError, match=r"a.jsonl cannot be decoded as utf-8: byte 0xff at offset 26"):
        texts(tmp_path)
    corpus = texts(tmp_path, skip_unreadable=True)
    assert said(corpus) == ["one", "last"]
    reasons = [each.reason for each in corpus.skipped]
    assert [each.file.rsplit(":", 1)[1] for each in corpus.skipped] == ["2", "3", "4", "5", "6", "7"]
    for part, reason in zip(
        ["0xff", "an array", "of type int", "no text", "surrogate", "no JSON object"], reasons, strict=True
    ):
        assert part in reason
    (tmp_path / "a.jsonl").unlink()
    put(tmp_path, "a.csv", 'text,b\none,1\ntwo\n"three",3\n"fo"ur,4\nfi"ve,5\n')
    corpus = texts(tmp_path, skip_unreadable=True)
    assert said(corpus) == ["one", "three", 'fi"ve']
    assert "a.csv:3 has 1 cells, and there are 2 columns (text, b)" in corpus.skipped[0].reason
    assert "a.csv:5 has text behind the quotation mark" in corpus.skipped[1].reason
    (tmp_path / "a.csv").write_bytes(b'text,b\n"open,1\nmore\n')
    with pytest.raises(DataError, match=r"a.csv:2 opens a quotation mark that is never closed"):
        texts(tmp_path)
    (tmp_path / "a.csv").write_bytes(b"text,text\na,b\n")
    with pytest.raises(DataError, match="names a column twice"):
        texts(tmp_path)


@pytest.mark.parametrize("divide", [Whole(), Lines(), Blank(), Heading(), Pieces(4), Pieces(1000)], ids=repr)
def test_offsets_are_those_of_the_file_however_it_is_divided(divide, tmp_path: Path) -> None:
    for before in ("", "中\n", "a\r\n\nb\n\n\nc\n", "=== x\ny\n=== z\n", "\n\n"):
        (tmp_path / "a.txt").write_bytes(before.encode() + b"ok \xff\n\nmore\n")
        with pytest.raises(DataError, match=rf"byte 0xff at offset {len(before.encode()) + 3}\."):
            texts(tmp_path, divide=divide)


def test_offsets_across_the_pieces_that_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for piece in range(1, 7):
        monkeypatch.setattr(_streams, "_PIECE", piece)
        (tmp_path / "a.txt").write_bytes("中文x".encode("gb18030") * 3 + b"\xd6\xff")
        with pytest.raises(DataError, match=r"as gb18030: byte 0xd6 at offset 15\."):
            texts(tmp_path, encoding="gb18030")


def test_other_encodings_name_the_offset_too(tmp_path: Path) -> None:
    for many in (0, 100_000):  # beyond what a reader takes at once
        data = ("中文\n" * many).encode("gb18030") + b"\x80" + b"abc"
        (tmp_path / "a.txt").write_bytes(data)
        with pytest.raises(DataError, match=rf"as gb18030: byte 0x80 at offset {len(data) - 4}\."):
            texts(tmp_path, encoding="gb18030")


def test_damage_and_emptiness(tmp_path: Path) -> None:
    packed = gzip.compress(POEM.encode() * 50)
    put(tmp_path, "good.txt", "good")
    for bad in (packed[:-9], packed[:20], b"not gzip", packed[:30] + bytes([packed[30] ^ 255]) + packed[31:]):
        (tmp_path / "a.txt.gz").write_bytes(bad)
        with pytest.raises(DataError, match=r"a.txt.gz cannot be (read|decoded)"):
            texts(tmp_path)
        assert said(texts(tmp_path, skip_unreadable=True)) == ["good"]
    (tmp_path / "a.txt.gz").unlink()
    put(tmp_path, "empty.txt", "")
    put(tmp_path, "space.txt", " \n\u3000\n")
    corpus = texts(tmp_path)
    assert [Path(each.file).name for each in corpus.skipped] == ["empty.txt", "space.txt"]
    assert said(corpus) == ["good"]
    with pytest.raises(DataNotFoundError, match="must hold at least one text, and holds none"):
        texts(tmp_path / "empty.txt")
    with pytest.raises(DataNotFoundError, match="must be a file or folder that exists"):
        texts(tmp_path / "none")
    with pytest.raises(ParameterError, match="Say what it is with form="):
        texts(put(tmp_path, "a.text", "x"))
    assert said(texts(tmp_path / "a.text", form="text")) == ["x"]


def test_a_file_that_changes_while_it_is_used(tmp_path: Path) -> None:
    corpus = texts(put(tmp_path, "a.txt", "before"))
    put(tmp_path, "a.txt", "after, and longer")
    with pytest.raises(DataError, match=r"a.txt was changed since the corpus was opened"):
        list(corpus)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DataNotFoundError, match="is gone"):
        list(corpus)


def test_what_is_too_large_for_one_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aigc.data.text import dividing

    monkeypatch.setattr(dividing, "LARGEST", 100)
    monkeypatch.setattr(_streams, "LARGEST", 100)
    path = put(tmp_path, "a.txt", "line\n" * 21)
    with pytest.raises(DataError, match=r"has a document of more than 100 bytes. Say how .* divide="):
        texts(path)
    assert len(said(texts(path, divide=Pieces(50)))) == 3
    put(tmp_path, "a.txt", "l" * 101)
    with pytest.raises(DataError, match=r"has a line of more than 100 bytes"):
        texts(path, divide=Lines())


def test_reading_holds_one_document_at_a_time(tmp_path: Path) -> None:
    size = 8_000_000
    put(tmp_path, "a.txt", ("x" * 9_999 + "\n") * (size // 10_000), packed=True)
    tracemalloc.start()
    assert sum(len(each.text) for each in texts(tmp_path, divide=Pieces(100_000))) == size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 5  # a reader that held everything would need all of it


@pytest.mark.parametrize(
    "given_, error",
    [
        ({"encoding": "utf-9"}, "encoding must be one that Python knows"),
        ({"encoding": "base64"}, "encoding must be an encoding of text"),
        ({"divide": Whole}, "divide must be Whole"),
        ({"field": ()}, "field must be at least one name"),
        ({"columns": "abc"}, "columns must be a sequence of names"),
        ({"form": "xml"}, "form must be one of 'text'"),
        ({"licence": 3}, "licence must be a string or None"),
    ],
)
def test_arguments(given_: dict, error: str, tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "x")
    with pytest.raises(ParameterError, match=re.escape(error)):
        texts(tmp_path, **given_)


def test_documents_of_ones_own() -> None:
    with pytest.raises(ParameterError, match="halves of surrogate pairs"):
        Document("a\ud800")
    with pytest.raises(TypeParameterError, match=r"documents\[1\] must be a string or a Document"):
        Corpus.of(["a", 3])  # type: ignore[list-item]
    with pytest.raises(TypeParameterError, match="a sequence of strings"):
        Corpus.of("abc")
    with pytest.raises(ParameterError, match="at least one"):
        Corpus.of([])
    with pytest.raises(ParameterError, match="a regular expression"):
        Heading("(")
    both = Corpus.of(["a"]) + Corpus.of(["b"])
    assert (said(both), both.count) == (["a", "b"], 2)
    assert both.summary().sha256 == Corpus.of(["a", "b"]).summary().sha256 != Corpus.of(["b", "a"]).summary().sha256
