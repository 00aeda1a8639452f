"""The laws of tokens: every text comes back, nothing is half-written, and each token is a target exactly once."""

import errno
import json
import os
import pickle
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aigc.data.text import (
    END,
    Corpus,
    Document,
    Entry,
    Manifest,
    Packed,
    Tokens,
    Window,
    pack,
    texts,
    tokenizer_hash,
    train_tokenizer,
    write_tokens,
    writing,
)
from aigc.data.text import _mapped as mapped
from aigc.data.text._fitting import best_fit
from aigc.errors import DataError, DataNotFoundError, ParameterError, TypeParameterError
from aigc.training.batches import batches

SOME = [
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。\n" * 3,
    "It was the best of times, it was the worst of times, in 1859.\n\n  It's well-known_ that they'll come.\n" * 3,
    "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。\n" * 2,
]
CORPUS = Corpus.of([Document(text, name=f"doc {i}", licence="CC0") for i, text in enumerate(SOME)])
TOKENIZERS = {
    "characters": train_tokenizer(CORPUS, size=400),
    "words": train_tokenizer(CORPUS, size=400, han="words"),
    "bytes": train_tokenizer(CORPUS, kind="bytes"),
    "none": train_tokenizer(CORPUS, size=300, special_tokens=()),
}
unicode = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.lists(st.sampled_from([*SOME, END, "\n", " ", "  ", "\r\n", "1", "_", "😀", "\x00", "\u0301"]), max_size=6).map(
        "".join
    ),
)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=unicode)
def test_every_text_comes_back(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    if END not in text:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_what_is_joined() -> None:
    whole, parts = TOKENIZERS["words"], TOKENIZERS["characters"]
    names = [
        bytes(parts.decode([i]), "utf-8").decode() for i in range(parts.get_vocab_size()) if "�" not in parts.decode([i])
    ]
    assert not [name for name in names if sum("\u4e00" <= c <= "\u9fff" for c in name) > 1]
    assert any(len(whole.decode([i])) > 1 and whole.decode([i])[0] >= "\u4e00" for i in range(whole.get_vocab_size()))
    assert not [name for name in names if any(c.isdigit() for c in name) and len(name) > 1]
    assert parts.token_to_id(END) == 0
    assert parts.encode("x").ids[0] == 0
    assert TOKENIZERS["bytes"].get_vocab_size() == 257
    assert TOKENIZERS["none"].token_to_id(END) is None


def test_a_corpus_makes_one_tokenizer() -> None:
    again = train_tokenizer(Corpus.of(list(CORPUS)[::-1]), size=400)
    assert tokenizer_hash(again) == tokenizer_hash(TOKENIZERS["characters"]) != tokenizer_hash(TOKENIZERS["words"])
    again.enable_truncation(4)
    assert tokenizer_hash(again) == tokenizer_hash(TOKENIZERS["characters"])
    with pytest.raises(ParameterError, match=r"size must be an integer in \[257, .* 257 are needed for every byte"):
        train_tokenizer(CORPUS, size=256)
    with pytest.raises(DataError, match="corpus must have at least one document, and has none"):
        train_tokenizer(CORPUS.where(lambda document: False))
    with pytest.raises(ParameterError, match="without space around them"):
        train_tokenizer(CORPUS, special_tokens=[" x"])
    with pytest.raises(ParameterError, match="kind must be one of"):
        train_tokenizer(CORPUS, kind="unigram")


def write(corpus: Corpus, folder: str | Path, **given_: object) -> Tokens:
    return write_tokens(corpus, Path(folder) / "tokens", **{"tokenizer": TOKENIZERS["characters"], **given_})


@given(st.lists(unicode, min_size=1, max_size=6).filter(any))
@settings(max_examples=25)
def test_tokens_come_back_as_texts(given_: list[str]) -> None:
    tokenizer = TOKENIZERS["characters"]
    with tempfile.TemporaryDirectory() as folder:
        tokens = write(Corpus.of(given_), folder)
        found = Tokens.open(folder + "/tokens", verify=True)
        assert [tokenizer.decode(found[i].tolist(), skip_special_tokens=False) for i in range(len(found))] == given_
        assert all(0 not in found[i] for i in range(len(found)))  # an end that is written in a text is text
        assert found.count == tokens.count == sum(len(found[i]) for i in range(len(found)))
        assert found.bytes == sum(len(text.encode()) for text in given_)
        manifest = found.manifest()
        assert Manifest.from_json(manifest.to_json()) == manifest
        assert [entry.sha256 for entry in manifest.documents] == [Document(text).sha256 for text in given_]
        manifest.check(Corpus.of(given_))
        assert manifest.corpus == Corpus.of(given_).summary().sha256
        again = pickle.loads(pickle.dumps(found))
        assert again[0].tolist() == found[0].tolist()


def test_long_documents_are_encoded_in_pieces_to_the_same_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(f"Line {i} of 床前明月光 {'x' * (i % 7)}" + "\n" * (i % 11 == 0) for i in range(300))
    monkeypatch.setattr(writing, "_PIECE", 100)
    monkeypatch.setattr(writing, "_BATCH", 350)
    tokens = write(Corpus.of(["before", text, "after"]), tmp_path)
    tokenizer = TOKENIZERS["characters"]
    assert [tokens[i].tolist() for i in range(3)] == [
        tokenizer.encode(each, add_special_tokens=False).ids for each in ("before", text, "after")
    ]


@pytest.mark.parametrize("vocabulary, width", [(65_536, 2), (65_537, 4)])
def test_ids_take_the_bits_they_need(vocabulary: int, width: int, tmp_path: Path) -> None:
    tokens = write(
        Corpus.of(["a", "bc"]), tmp_path, tokenizer=lambda text: [vocabulary - 1] * len(text), end=0, vocabulary=vocabulary
    )
    assert tokens[1].tolist() == [vocabulary - 1] * 2
    data = (tmp_path / "tokens" / "tokens.bin").read_bytes()
    assert data == (vocabulary - 1).to_bytes(width, "little") * 3


def test_tokenizers_that_do_not_fit(tmp_path: Path) -> None:
    for bad in (27, -1):
        with pytest.raises(DataError, match=rf"must give ids in \[0, 27\), got {bad} in document 'doc 0'. It does not fit"):
            write(CORPUS, tmp_path, tokenizer=lambda text, bad=bad: [1, bad], end=0, vocabulary=27)
    with pytest.raises(ParameterError, match=r"end must be a token of the tokenizer, got '<\|endoftext\|>'"):
        write(CORPUS, tmp_path, tokenizer=TOKENIZERS["none"])
    with pytest.raises(ParameterError, match="vocabulary must be given, and end= an id"):
        write(CORPUS, tmp_path, tokenizer=lambda text: [1])
    with pytest.raises(TypeParameterError, match=r"tokenizer must be a tokenizers.Tokenizer"):
        write(CORPUS, tmp_path, tokenizer="gpt2")
    with pytest.raises(DataError, match="at least one token, got none of 0 documents"):
        write(CORPUS.where(lambda document: False), tmp_path)
    assert list(tmp_path.iterdir()) == []
    tokens = write(CORPUS, tmp_path)
    tokens.check_tokenizer(TOKENIZERS["characters"])
    with pytest.raises(DataError, match="was written with another tokenizer"):
        tokens.check_tokenizer(TOKENIZERS["words"])


def test_a_tokenizer_of_transformers_with_truncation(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    inner = TOKENIZERS["characters"].from_str(TOKENIZERS["characters"].to_str())
    inner.enable_truncation(4)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=END)
    assert [each.tolist() for each in write(CORPUS, tmp_path, tokenizer=wrapped)] == [
        TOKENIZERS["characters"].encode(text, add_special_tokens=False).ids for text in SOME
    ]


class Full:
    """A file that takes some bytes, and then says that the disk is full."""

    def __init__(self, file, room: list[int]) -> None:
        self._file, self._room = file, room

    def write(self, data: bytes) -> int:
        self._room[0] -= len(data)
        if self._room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@pytest.mark.parametrize("room", [0, 100, 700])
def test_a_full_disk_leaves_nothing(room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = write(Corpus.of(["old"]), tmp_path)
    real, left = Path.open, [room]
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, mode="r", **k: Full(real(self, mode, **k), left) if mode == "wb" else real(self, mode, **k),
    )
    with pytest.raises(DataError, match=r"tokens cannot be written: No space left on device. Nothing was left behind"):
        write(CORPUS, tmp_path)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["tokens"]
    assert Tokens.open(tmp_path / "tokens", verify=True).corpus == old.corpus


def test_a_cut_leaves_nothing(tmp_path: Path) -> None:
    def cut():
        yield Document("a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tokens(cut(), tmp_path / "tokens", tokenizer=TOKENIZERS["bytes"])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    with pytest.raises(ParameterError, match="new, empty, or a folder written by aigc"):
        write_tokens(CORPUS, tmp_path / "mine", tokenizer=TOKENIZERS["bytes"])
    source = tmp_path / "a.txt"
    source.write_text("text")
    corpus = texts(source)
    source.unlink()
    with pytest.raises(DataNotFoundError, match=r"a.txt is gone"):  # not a disk that is full
        write_tokens(corpus, tmp_path / "tokens", tokenizer=TOKENIZERS["bytes"])


def test_damage_is_found(tmp_path: Path) -> None:
    write(CORPUS, tmp_path)
    folder = tmp_path / "tokens"
    for file in ("tokens.bin", "boundaries.bin", "documents.jsonl", "corpus.json", "tokenizer.json", "manifest.json"):
        data = (folder / file).read_bytes()
        for bad, verify in (
            (data[:-4], False),
            (data + b"xx", False),
            (bytes([data[0] ^ 1]) + data[1:], True),
            (None, False),
        ):
            (folder / file).unlink() if bad is None else (folder / file).write_bytes(bad)
            with pytest.raises(DataError, match=rf"{file}|no folder of tokens"):
                Tokens.open(folder, verify=verify)
            (folder / file).write_bytes(data)
    Tokens.open(folder, verify=True)
    with pytest.raises(DataNotFoundError, match="which does not exist"):
        Tokens.open(tmp_path / "none")


def test_a_corpus_that_changed_is_named(tmp_path: Path) -> None:
    manifest = write(CORPUS, tmp_path).manifest()
    first, second, third = CORPUS
    assert manifest.licences == {"CC0": 3}
    cases = [
        ([Document(first.text + ".", name="doc 0"), second, third], r"1 changed \('doc 0'\)"),
        ([first, third], r"1 removed \('doc 1'\)"),
        ([first, second, third, Document("new", name="more")], r"1 added \('more'\)"),
        ([second, first, third], "the same documents stand in another order"),
        ([first, Document("x", name="doc 1")], r"1 changed \('doc 1'\); 1 removed \('doc 2'\)"),
    ]
    for documents, message in cases:
        with pytest.raises(DataError, match="the corpus changed since: " + message):
            manifest.check(Corpus.of(documents))
    value = json.loads(manifest.to_json())
    for bad in (
        {**value, "format": 9},
        {**value, "extra": 1},
        {**value, "vocabulary": "x"},
        {**value, "documents": [{}]},
        [],
    ):
        with pytest.raises(DataError, match="manifest must"):
            Manifest.from_json(json.dumps(bad))
    with pytest.raises(DataError, match="must be JSON"):
        Manifest.from_json("{")


@given(found=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["CC0", None]), unicode), max_size=8))
@settings(max_examples=50)
def test_a_manifest_by_source_sums_up(found: list[tuple[str, str | None, str]]) -> None:
    corpus = [Document(text, name=str(i), source=where, licence=by) for i, (where, by, text) in enumerate(found)]
    entries = [
        Entry(d.name, d.source, d.licence, d.sha256, len(d.text), len(d.text.encode()), i) for i, d in enumerate(corpus)
    ]
    whole = Manifest("0" * 64, "0" * 64, 300, (), tuple(entries))
    by_source = whole.by_source()
    assert by_source.corpus == whole.corpus
    assert [(entry.source, entry.licence) for entry in by_source.documents] == list(dict.fromkeys(f[:2] for f in found))
    for entry in by_source.documents:
        group = [i for i, f in enumerate(found) if f[:2] == (entry.source, entry.licence)]
        assert entry.tokens == sum(group)
        assert entry.characters == sum(len(found[i][2]) for i in group)
        assert entry.bytes == sum(len(found[i][2].encode()) for i in group)
        if len(group) > 1:
            assert entry.sha256 == Corpus.of([corpus[i] for i in group]).summary().sha256
            assert entry.name == f"{len(group)} documents"
        else:
            assert entry == entries[group[0]]


def test_history_and_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told: list = []
    tokens = write(CORPUS.clean().split(seed=1, held_out=0.5).train, tmp_path, progress=told.append)
    assert tokens.history[1] == "split(held_out=0.5, seed=1, by=None).train"
    assert told[-1].documents == told[-1].total == len(tokens)
    assert told[-1].tokens == tokens.count
    write(CORPUS, tmp_path, progress=True)
    assert capsys.readouterr().err.startswith("document 3/3, ")
    write(CORPUS, tmp_path, progress=False)
    assert capsys.readouterr().err == ""
    with pytest.raises(TypeParameterError, match="progress must be"):
        write(CORPUS, tmp_path, progress=3)


# Packing. Every token has an id of its own, so that a target is known wherever it turns up.

lengths = st.lists(st.integers(0, 23), min_size=1, max_size=14).filter(lambda x: sum(x) + len(x) >= 5)


def numbered(folder: str | Path, sizes: list[int]) -> tuple[Tokens, list[list[int]]]:
    starts = np.cumsum([1, *sizes])
    documents = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=False)]
    names = iter([*documents])
    corpus = Corpus.of([f"{i}" for i in range(len(sizes))])
    if not any(sizes):
        raise ValueError("no token")
    return write(corpus, folder, tokenizer=lambda text: next(names), end=0, vocabulary=1000), documents


@given(lengths.filter(any), st.integers(2, 9), st.sampled_from(["concatenate", "best-fit"]))
def test_every_token_is_a_target_exactly_once(sizes: list[int], length: int, how) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tokens, documents = numbered(folder, sizes)
        packed = pack(tokens, length=length, how=how)
        before = {token: previous for each in documents for previous, token in zip([0, *each], each, strict=False)}
        last = {each[-1]: i for i, each in enumerate(documents) if each}
        targets: Counter[int] = Counter()
        after_last: Counter[int] = Counter()
        for window in packed:
            ids, labels, segments = (each.tolist() for each in window)
            assert len(ids) == len(labels) == len(segments) == length + 1
            assert labels[0] == -100
            for place in range(1, length + 1):
                if labels[place] == -100:
                    continue
                assert labels[place] == ids[place]
                targets[ids[place]] += 1
                if ids[place]:
                    assert ids[place - 1] == before[ids[place]]  # what it is predicted from
                    assert segments[place - 1] == segments[place] >= 0
                else:
                    after_last[ids[place - 1]] += 1
                    assert segments[place - 1] >= 0
            # Attention that does not cross segments sees one document, and padding is no segment.
            owner = {token: i for i, each in enumerate(documents) for token in each}
            for number in set(segments) - {-1}:
                assert len({owner[t] for t, s in zip(ids, segments, strict=True) if s == number and t}) <= 1
            real = [s for s in segments if s >= 0]
            assert real == sorted(real)
            assert segments == real + [-1] * (len(segments) - len(real))
            assert all(label == -100 for label, s in zip(labels, segments, strict=True) if s < 0)
    assert targets == Counter({**{t: 1 for each in documents for t in each}, 0: len(documents)})
    assert all(after_last[token] == 1 for token in last)
    assert after_last[0] == sum(not each for each in documents)
    in_windows = Counter(part.document for i in range(len(packed)) for part in packed.parts(i))
    assert packed.cut == sum(count > 1 for count in in_windows.values())
    assert packed.padding == pytest.approx(1 - sum(targets.values()) / (len(packed) * length))
    if how == "best-fit":
        assert all(in_windows[i] == 1 for i, size in enumerate(sizes) if size + 1 <= length)
    else:
        assert len(packed) == -(-sum(targets.values()) // length)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_best_fit_decreasing_by_its_definition(costs: list[int]) -> None:
    bins: list[list[int]] = []
    for item in sorted(range(len(costs)), key=lambda i: -costs[i]):
        rooms = [(20 - sum(costs[i] for i in held), n) for n, held in enumerate(bins)]
        fits = [room for room in rooms if room[0] >= costs[item]]
        if fits:
            bins[min(fits)[1]].append(item)
        else:
            bins.append([item])
    found = best_fit(np.array(costs), np.arange(len(costs)), 20)
    made = [found[i].tolist() for i in range(len(found))]
    assert sorted(item for held in made for item in held) == list(range(len(costs)))
    # Which of several bins with the same room takes an item is nobody's law; how full they get is.
    assert sorted(sum(costs[i] for i in held) for held in made) == sorted(sum(costs[i] for i in held) for held in bins)
    assert all(held for held in made)


def test_windows_make_batches_that_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "_HELD", 3 * 2**16)  # pages are given back again and again
    tokens, _ = numbered(tmp_path, [5, 40, 0, 7, 3, 100, 12])
    packed = pack(tokens, length=8)
    for workers in (0, 2):
        made = batches(packed, batch_size=3, seed=1, workers=workers)
        from_start = [batch for _, batch in zip(range(8), made.after(0), strict=False)]
        later = [batch for _, batch in zip(range(3), made.after(5), strict=False)]
        assert isinstance(from_start[0], Window)
        assert from_start[0].ids.shape == (3, 9)
        for a, b in zip(from_start[5:], later, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert torch.equal(packed[-1].ids, packed[len(packed) - 1].ids)
    with pytest.raises(IndexError):
        packed[len(packed)]


def test_packing_arguments(tmp_path: Path) -> None:
    tokens, _ = numbered(tmp_path, [5])
    assert isinstance(pack(tokens, length=12, how="concatenate"), Packed)
    with pytest.raises(DataError, match="has 5 tokens, which do not fill half a window of 13. Give more text"):
        pack(tokens, length=13)
    with pytest.raises(ParameterError, match="length must be an integer in"):
        pack(tokens, length=1)
    with pytest.raises(ParameterError, match="how must be 'best-fit' or 'concatenate'"):
        pack(tokens, length=4, how="greedy")
    with pytest.raises(TypeParameterError, match="tokens must be Tokens"):
        pack([1, 2], length=4)
