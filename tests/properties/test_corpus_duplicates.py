"""The laws of duplicates, splits and leakage, against brute force over all pairs and all runs."""

import random
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigc.data.text import Corpus, Document, find_duplicates, leakage
from aigc.errors import DataError, ParameterError, TypeParameterError

HAN = "床前明月光疑是地上霜举头望低思故乡"
texts = st.lists(st.text("abé ，\n" + HAN[:4], min_size=1, max_size=14), min_size=1, max_size=12)


def normal(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip()


def runs(text: str, n: int) -> set[str]:
    text = normal(text)
    return {text[i : i + n] for i in range(len(text) - n + 1)} if len(text) >= n else {text}


def similarity(a: str, b: str, n: int) -> float:
    return len(runs(a, n) & runs(b, n)) / len(runs(a, n) | runs(b, n))


@given(texts)
def test_equal_texts_are_those_of_one_normal_form(given_: list[str]) -> None:
    found = find_duplicates(Corpus.of(given_), near=None)
    first: dict[str, int] = {}
    want = []
    for i, text in enumerate(given_):
        if first.setdefault(normal(text), i) != i:
            want.append((i, first[normal(text)], 1.0))
    assert [(each.place, each.of, each.similarity) for each in found.found] == want
    kept = [document.text for document in Corpus.of(given_).without_duplicates(near=None)]
    assert kept == [text for i, text in enumerate(given_) if first[normal(text)] == i]
    assert sum(map(len, found.groups)) == len({of for _, of, _ in want}) + len(want)


@given(texts, st.integers(1, 4), st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_no_listed_pair_is_less_similar_and_each_is_kept(given_: list[str], n: int, near: float) -> None:
    found = find_duplicates(Corpus.of(given_), near=near, run=n, seed=3)
    kept = found.kept
    for each in found.found:
        assert each.of < each.place
        assert kept[each.of]
        assert not kept[each.place]
        exact = similarity(given_[each.place], given_[each.of], n)
        assert normal(given_[each.place]) == normal(given_[each.of]) or each.similarity == exact >= near
    assert found == find_duplicates(Corpus.of(given_), near=near, run=n, seed=3)


def poems(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    made = ["".join(rng.choice(HAN) for _ in range(60)) for _ in range(count)]
    for i in range(0, count, 3):  # one character changed, and a space put in
        text = made[i]
        at = rng.randrange(60)
        made.append(text[:at] + "新" + text[at + 1 :] + " ")
    english = [
        "the " + " ".join(rng.choice(["tree", "river", "stone", "cloud", "wind"]) for _ in range(20)) for _ in range(count)
    ]
    return made + english + [text.replace("the", "a", 1) for text in english[::2]]


def test_near_duplicates_of_both_languages_are_all_found() -> None:
    given_ = poems(45, seed=1)
    found = find_duplicates(Corpus.of(given_), near=0.8)
    assert found.recall > 0.99
    # Brute force with the same rule: the most similar kept one, of those that are similar enough.
    kept: list[int] = []
    want = []
    for i, text in enumerate(given_):
        best = max(((similarity(text, given_[k], 5), -k) for k in kept), default=(0.0, 0))
        if best[0] >= 0.8:
            want.append((i, -best[1], best[0]))
        else:
            kept.append(i)
    assert len(want) > 30
    assert [tuple(each)[0::2] for each in found.found] == [(i, of, s) for i, of, s in want]


def test_long_texts_are_compared_whole() -> None:
    rng = random.Random(2)
    words = ["".join(rng.choice("abcdefghij") for _ in range(6)) for _ in range(40_000)]
    a = " ".join(words)  # longer than a piece
    b = " ".join([*words[:-100], "entirely", "different", "end"])
    c = "\n".join(words)
    (second, third) = find_duplicates(Corpus.of([a, b, c]), near=0.9).found
    assert (second.place, second.of, third.place, third.of, third.similarity) == (1, 0, 2, 0, 1.0)
    assert second.similarity == similarity(a, b, 5) < 1


@given(
    st.lists(
        st.text(min_size=1, max_size=5).filter(lambda t: t.isprintable() and t.strip()),
        min_size=4,
        max_size=40,
        unique=True,
    )
)
def test_adding_documents_moves_none(given_: list[str]) -> None:
    def sides(names: list[str]) -> dict[str, int]:
        try:
            split = Corpus.of(names).split(held_out=0.5, seed=5)
        except DataError:
            return {}
        found = [{document.text for document in part} for part in split]
        assert [part.count for part in split] == [len(side) for side in found]
        assert found[0] | found[1] == set(names)
        assert not found[0] & found[1]
        return {text: int(text in found[1]) for text in names}

    whole, half = sides(given_), sides(given_[::2])
    assert not whole or all(whole[text] == side for text, side in half.items())


def test_splits_by_group_and_by_place() -> None:
    made = [Document(f"poem {i}", fields={"author": f"author {i % 30}"}) for i in range(300)]
    for by in ("author", lambda document: document.fields["author"]):
        split = Corpus.of(made).split(held_out=0.3, by=by, seed=1)
        authors = [{document.fields["author"] for document in part} for part in split]
        assert not authors[0] & authors[1]
        assert len(authors[1]) > 2
    text = "0123456789" * 111_539 + "0123"
    train, held_out = Corpus.of([text, "ab"]).split_tail(held_out=0.1)
    first = [document.text for document in train]
    assert first[0] == text[: int(len(text) * 0.9)]
    assert [a + b.text for a, b in zip(first, held_out, strict=True)] == [text, "ab"]
    with pytest.raises(DataError, match="too few for both parts"):
        list(Corpus.of(["a"]).split_tail().train)
    with pytest.raises(DataError, match=r"no document of 1 is .* Give another seed"):
        Corpus.of(["a"]).split()
    with pytest.raises(DataError, match=r"has no field 'writer'; it has 'author'"):
        Corpus.of(made).split(by="writer")
    with pytest.raises(TypeParameterError, match="by must be the name of a field that holds strings"):
        Corpus.of(made).split(by=lambda document: 1.5)
    for share in (0.0, 1.0):
        with pytest.raises(ParameterError, match="between 0 and 1"):
            Corpus.of(["a", "b"]).split(held_out=share)


@given(texts, texts, st.integers(1, 4))
def test_leakage_by_brute_force(train: list[str], held_out: list[str], n: int) -> None:
    found = leakage(Corpus.of(train), Corpus.of(held_out), run=n, near=None)
    known = {normal(text)[i : i + n] for text in train for i in range(len(normal(text)) - n + 1)}
    places = [[normal(text)[i : i + n] in known for i in range(len(normal(text)) - n + 1)] for text in held_out]
    total = sum(map(len, places))
    assert found.runs == total
    assert found.short == sum(not each for each in places)
    assert found.share == (sum(map(sum, places)) / total if total else 0.0)
    shares = sorted((sum(each) / len(each) for each in places if any(each)), reverse=True)
    assert [each.share for each in found.worst] == shares
    assert found.documents == len(held_out)


@given(texts, texts, st.sampled_from([0.4, 0.8]))
def test_near_leakage_by_brute_force(train: list[str], held_out: list[str], near: float) -> None:
    found = leakage(Corpus.of(train), Corpus.of(held_out), near=near)
    close = [max(1.0 if normal(a) == normal(b) else similarity(a, b, 5) for b in train) for a in held_out]
    assert found.near is not None
    assert found.near <= sum(each >= near for each in close)
    assert found.near >= sum(each == 1.0 for each in close)


def test_a_sample_of_runs_stands_for_all() -> None:
    rng = np.random.default_rng(0)
    train = ["".join(rng.choice(list("abcdefgh"), 20_000)) for _ in range(2)]
    held_out = [train[0][5_000:10_000] + "".join(rng.choice(list("stuvwxyz"), 15_000))]
    all_of_it = leakage(Corpus.of(train), Corpus.of(held_out), run=20, near=None)
    some = leakage(Corpus.of(train), Corpus.of(held_out), run=20, near=None, most=2_000)
    assert all_of_it.share == (5_000 - 19) / (20_000 - 19)
    assert some.runs == 2_000
    error = (all_of_it.share * (1 - all_of_it.share) / some.runs) ** 0.5
    assert abs(some.share - all_of_it.share) < 4 * error  # runs are distinct, so this is a sample without replacement


def test_leakage_that_is_too_much() -> None:
    corpus = Corpus.of([f"{text} {i}" for i, text in enumerate(poems(20, seed=3)[:20])])
    leaky = leakage(
        corpus, Corpus.of([next(iter(corpus)).text + "。", "quite another text of which nothing is there"]), run=20
    )
    assert leaky.near == 1
    with pytest.raises(DataError, match=r"Worst is '0' with 9\d.\d%. Drop duplicates before splitting"):
        leaky.check(at_most=0.3)
    assert leaky.check(at_most=0.7) is leaky
    with pytest.raises(DataError, match="both parts must have documents, got 20 for training and 0 held out"):
        leakage(corpus, corpus.where(lambda document: False))


def test_arguments() -> None:
    corpus = Corpus.of(["a", "b"])
    with pytest.raises(ParameterError, match="near must be a number in"):
        find_duplicates(corpus, near=0.0)
    with pytest.raises(ParameterError, match="run must be an integer in"):
        corpus.duplicates(run=0)
    with pytest.raises(ParameterError, match="found must be the duplicates of this corpus of 2 documents"):
        corpus.without_duplicates(find_duplicates(Corpus.of(["a"])))
