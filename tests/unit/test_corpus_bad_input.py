"""What corpora refuse, and that they say how to cure it: nothing is answered from what was run through already."""

import gc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aigc._writing import path_of
from aigc.data.text import (
    Corpus,
    Document,
    Entry,
    Manifest,
    Tokens,
    Turn,
    find_duplicates,
    leakage,
    texts,
    tokenizer_hash,
    train_tokenizer,
    write_tokens,
)
from aigc.errors import AigcError, DataError, ParameterError, TypeParameterError

TWICE = ["白日依山尽，黄河入海流。", "白日依山尽，黄河入海流。"]


class Once:
    """Something whose second run is over before it begins, though it is no iterator itself."""

    def __init__(self, *documents: str) -> None:
        self._left = iter(documents)

    def __iter__(self) -> Iterator[str]:
        return self._left


def codes(text: str) -> list[int]:
    return [ord(character) - 96 for character in text]


@pytest.mark.parametrize("made", [iter, lambda values: map(Document, values), lambda values: (Document(x) for x in values)])
def test_iterators_are_refused_by_what_reads_twice(made: Callable) -> None:
    assert len(find_duplicates(TWICE).found) == leakage(TWICE[:1], TWICE[1:], run=3).near == 1
    for call in (
        lambda: find_duplicates(made(TWICE)),
        lambda: find_duplicates(made(TWICE), near=None),
        lambda: leakage(made(TWICE[:1]), TWICE[1:]),
        lambda: leakage(TWICE[:1], made(TWICE[1:]), near=None),
        lambda: Corpus(made(TWICE)),
    ):
        with pytest.raises(TypeParameterError, match=r"run through .*(make a list of it|Corpus\.of)"):
            call()


def test_what_changes_between_two_runs_is_found() -> None:
    with pytest.raises(DataError, match=r"got 2 and then 0\. Make a list"):
        find_duplicates(Once(*TWICE))
    with pytest.raises(DataError, match="2 documents and then 1"):
        leakage(Once(*TWICE[:1]), TWICE[1:])

    class Growing:
        def __init__(self) -> None:
            self.runs = 0

        def __iter__(self) -> Iterator[str]:
            self.runs += 1
            return iter(TWICE * self.runs)

    with pytest.raises(DataError, match="got 2 and then more"):
        find_duplicates(Growing())


def test_what_is_read_once_may_be_an_iterator(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(iter(TWICE), kind="bytes")
    assert tokenizer.to_str() == train_tokenizer(Corpus.of(TWICE), kind="bytes").to_str()
    tokens = write_tokens(iter(TWICE), tmp_path / "tokens", tokenizer=tokenizer)
    tokens.manifest().check(TWICE)
    assert [entry.name for entry in tokens.entries()] == ["0", "1"]
    assert tokens.history == ()


def test_strings_are_documents_named_by_their_numbers() -> None:
    poem = "空山不见人，但闻人语响。返景入深林，复照青苔上。"
    given = [poem, "Another text", poem.replace("复", "又")]
    assert find_duplicates(given, near=0.6) == find_duplicates(Corpus.of(given), near=0.6)
    assert leakage(given[:2], given[2:], run=5) == leakage(Corpus.of(given[:2]), Corpus.of(given[2:]), run=5)
    assert [each.name for each in find_duplicates(given, near=0.6).found] == ["2"]


@pytest.mark.parametrize("near", [0.8, None])
def test_a_corpus_without_documents_is_an_error_of_data(near: float | None) -> None:
    for call in (
        lambda: find_duplicates([], near=near),
        lambda: Corpus.of(["a"]).where(lambda document: False).without_duplicates(near=near),
    ):
        with pytest.raises(DataError, match="at least one document"):
            call()


@pytest.mark.parametrize("given", [3, None, "abc", b"abc", {"a": 1}, ["a", 3], [None], Path("a")])
def test_what_is_no_corpus(given: object, tmp_path: Path) -> None:
    entry = Entry("0", "", "CC0", Document("abc").sha256, 3, 3, 3)
    manifest = Manifest("0" * 64, "0" * 64, 256, (), (entry,))
    how = {"tokenizer": lambda text: [1], "end": 0, "vocabulary": 2}
    for call in (
        lambda: find_duplicates(given),
        lambda: leakage(given, ["a"]),
        lambda: leakage(["a"], given),
        lambda: train_tokenizer(given),
        lambda: write_tokens(given, tmp_path / "tokens", **how),
        lambda: manifest.check(given),
    ):
        with pytest.raises(TypeParameterError, match=r"(documents|train|held_out|corpus)(\[[01]\])? must be a"):
            call()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Corpus.of(["a"]).without_duplicates(0.8), r"found must be .* got 0\.8 .*near=0\.8"),
        (lambda: Corpus("abc"), r"documents must be .*texts\(path\)"),
        (lambda: Corpus(3), "documents must be"),
        (lambda: leakage(["a"], ["a"], near=2), "near must be"),
        (lambda: tokenizer_hash("a"), "tokenizer must be a tokenizers.Tokenizer"),
        (lambda: tokenizer_hash(type(train_tokenizer(["a"]))), "tokenizer must be a tokenizers.Tokenizer"),
        (lambda: texts(".", skip_unreadable="no"), "skip_unreadable must be True or False"),
        (lambda: Tokens.open(".", verify="no"), "verify must be True or False"),
        (lambda: Turn("user", None), "content must be a string"),
        (lambda: Turn(3, "a"), "role must be a string"),
        (lambda: Document(b"a"), "text must be a string"),
        (lambda: Document("a", name=3), "name must be a string"),
        (lambda: Document("a", source=Path("a")), "source must be a string"),
        (lambda: Document("a", licence=3), "licence must be a string or None"),
        (lambda: Document("a", fields=3), "fields must be a mapping"),
        (lambda: Document("a", turns=3), "turns must be a tuple"),
        (lambda: Document("a", turns=(Turn("user", "a"), 3)), r"turns\[1\] must be a Turn"),
        (lambda: Document("a", turns=(Turn("user", "\ud800"),)), r"turns\[0\] must be without halves"),
        (lambda: Document("\udc00"), "text must be without halves"),
    ],
)
def test_bad_input_is_refused_in_words(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        call()


@pytest.mark.parametrize("index", [2, 99, -1])
def test_documents_that_are_not_among_the_tokens(index: int, tmp_path: Path) -> None:
    tokens = write_tokens(["ab", "c"], tmp_path / "tokens", tokenizer=codes, end=0, vocabulary=27)
    assert [tokens.bounds(place) for place in range(2)] == [(0, 2), (2, 3)]
    with pytest.raises(ParameterError, match=r"index must be an integer in \[0, 1\]"):
        tokens.bounds(index)


def test_tokens_of_a_tokenizer_are_compared_with_a_tokenizer(tmp_path: Path) -> None:
    tokens = write_tokens(["ab"], tmp_path / "tokens", tokenizer=train_tokenizer(["ab"], kind="bytes"))
    with pytest.raises(TypeParameterError, match="tokenizer must be"):
        tokens.check_tokenizer(3)


@pytest.mark.parametrize(("end", "name"), [(1, "first"), (2, "first"), (3, "second"), (4, "long"), (0, None)])
def test_the_end_is_in_no_document(end: int, name: str | None, tmp_path: Path) -> None:
    given = [Document("ab", name="first"), Document("bca", name="second"), Document("d" + "b" * 2**17, name="long")]
    how = {"tokenizer": codes, "end": end, "vocabulary": 27}
    if name is not None:
        with pytest.raises(
            DataError, match=rf"'{name}' must not have the token that ends documents, {end}, .* give a token"
        ):
            write_tokens(given, tmp_path / "tokens", **how)
        assert not [*tmp_path.iterdir()]
    else:
        tokens = write_tokens(given, tmp_path / "tokens", **how)
        assert [tokens[i].tolist() for i in range(2)] == [[1, 2], [2, 3, 1]]


def test_what_looks_like_the_end_in_a_text_is_text(tmp_path: Path) -> None:
    text = "one<|endoftext|>two"
    tokenizer = train_tokenizer(["one two"], kind="bytes")
    tokens = write_tokens([text], tmp_path / "tokens", tokenizer=tokenizer)
    assert tokens.end not in tokens[0]
    assert tokenizer.decode(tokens[0].tolist()) == text
    with pytest.raises(DataError, match="'0' must not have the token that ends documents"):
        write_tokens([text], tmp_path / "other", tokenizer=tokenizer, end="o")


@pytest.mark.parametrize("ids", [[1.5], ["a"], [None], [True], [[1], [1, 2]], 2**70])
def test_a_function_that_gives_no_ids(ids: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must give ids, which are integers, .* in document '0'"):
        write_tokens(["a"], tmp_path / "tokens", tokenizer=lambda text: ids, end=0, vocabulary=10)


@pytest.mark.parametrize(
    ("data", "encoding", "words"),
    [
        ("月光".encode("utf-16-le"), "utf-16", "BOM"),
        (b"+2AA-", "utf-7", "surrogates"),
        (b"xn--\x2d.", "idna", "idna"),
    ],
)
def test_files_that_a_codec_refuses_as_a_whole_are_left_out(data: bytes, encoding: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.txt cannot be decoded as .*{words}"):
        texts(tmp_path, encoding=encoding)
    (tmp_path / "b.txt").write_bytes("fine".encode(encoding))
    corpus = texts(tmp_path, encoding=encoding, skip_unreadable=True)
    assert [document.text for document in corpus] == ["fine"]
    assert [skipped.file.rpartition("/")[2] for skipped in corpus.skipped] == ["a.txt"]


def test_an_encoding_that_decodes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a")
    with pytest.raises(ParameterError, match="encoding must be"):
        texts(tmp_path, encoding="undefined", skip_unreadable=True)


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
def test_files_are_closed(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("月光\n".encode(encoding))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a.txt", "月光\n".encode(encoding))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for source in (tmp_path / "a.txt", tmp_path / "b.zip"):
            assert [document.text for document in texts(source, encoding=encoding)] == ["月光\n"]
            next(iter(texts(source, encoding=encoding)))  # left in the midst
        gc.collect()
    assert [str(warning.message) for warning in caught if issubclass(warning.category, ResourceWarning)] == []


def test_an_empty_path_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("a")
    monkeypatch.chdir(tmp_path)
    assert texts(".").count == 1
    for call in (
        lambda: texts(""),
        lambda: Tokens.open(""),
        lambda: write_tokens(["a"], "", tokenizer=train_tokenizer(["a"])),
    ):
        with pytest.raises(
            ParameterError, match=r"must be a path, and not empty, got ''\. Say '\.' for the current folder"
        ):
            call()


class Somewhere:
    """A path of a kind of its own."""

    def __init__(self, place: str | bytes) -> None:
        self._place = place

    def __fspath__(self) -> str | bytes:
        return self._place


@pytest.mark.parametrize("value", [b"a", None, 3, Somewhere(b"a"), Somewhere("")])
def test_what_is_no_path(value: object) -> None:
    assert path_of("path", Somewhere("a")) == Path("a")
    with pytest.raises(AigcError, match="path must be a path"):
        path_of("path", value)
