"""Conversations: what is learned of them is what `chat` will have to write, after what `chat` will have read."""

from pathlib import Path
from typing import Any

import pytest
import torch

import aigc
import aigc.text.material as windows
import tiny
from aigc.data.text import Corpus, Document, Packed, Turn
from aigc.errors import DataError, ModelError, ParameterError
from aigc.text import PLAIN_TEMPLATE
from aigc.text.conversations import conversations
from aigc.text.material import material
from aigc.text.mixtures import Mixture

FORGETFUL = (  # as templates that drop the thoughts of earlier answers do
    "{% for m in messages %}{% if m.role == 'user' %}Q: {{ m.content }}\n{% elif loop.last %}A: {{ m.content }}</s>"
    "{% else %}A: ...</s>{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
)
TALKS = [
    [("user", "2 + 2?"), ("assistant", "4"), ("user", "春眠?"), ("assistant", "不觉晓")],
    [("system", "Be brief."), ("instruction", "Say a"), ("response", "a")],
    [("prompt", "who"), ("completion", "me")],
]


def document(turns: list[tuple[str, str]], name: str = "talk") -> Document:
    made = tuple(Turn(role, said) for role, said in turns)
    return Document("\n".join(said for _, said in turns), name=name, turns=made)


def generator(template: str | None = PLAIN_TEMPLATE) -> aigc.Generator:
    gen = aigc.Generator(tiny.model("qwen3"), tiny.tokenizer())
    gen.tokenizer.chat_template = template
    return gen


def pieces(gen: aigc.Generator, talks: list[list[tuple[str, str]]], length: int = 120) -> list[tuple[str, str]]:
    """Of each document in a window: what it says, and what of that is learned."""
    found = conversations(gen.tokenizer, gen._vocabulary, Corpus.of([document(talk) for talk in talks]), length=length)
    made = []
    for window in found:
        assert len(window.ids) == length + 1
        for segment in range(int(window.segments.max()) + 1):
            at = window.segments == segment
            learned = window.ids[at & (window.labels >= 0)]
            assert torch.equal(window.labels[at & (window.labels >= 0)], learned)
            made.append((gen.tokenizer.decode(window.ids[at]), gen.tokenizer.decode(learned)))
        assert (window.labels[window.segments < 0] == -100).all()
    return made


def test_answers_alone_are_learned_with_their_ends() -> None:
    assert sorted(pieces(generator(), TALKS)) == sorted(
        [
            ("Question: 2 + 2?\nAnswer: 4</s>Question: 春眠?\nAnswer: 不觉晓</s>", " 4</s> 不觉晓</s>"),
            ("Be brief.\nQuestion: Say a\nAnswer: a</s>", " a</s>"),
            ("Question: who\nAnswer: me</s>", " me</s>"),
        ]
    )


def test_what_is_before_an_answer_is_what_chat_reads() -> None:
    gen = generator()
    found = conversations(gen.tokenizer, gen._vocabulary, Corpus.of([document(TALKS[2])]), length=60)
    window = found[0]
    first = int((window.labels >= 0).nonzero()[0])
    _, read = gen._vocabulary.conversation([{"role": "user", "content": "who"}])
    assert window.ids[:first].tolist() == read
    assert found.bytes == len("me")
    assert found.targets == int((window.labels >= 0).sum())


def test_a_template_that_rewrites_the_past_gives_a_part_for_each_answer() -> None:
    assert sorted(pieces(generator(FORGETFUL), TALKS[:1])) == sorted(
        [("Q: 2 + 2?\nA: 4</s>", " 4</s>"), ("Q: 2 + 2?\nA: ...</s>Q: 春眠?\nA: 不觉晓</s>", " 不觉晓</s>")]
    )


def test_it_learns_to_answer_and_keeps_its_template(tmp_path: Any) -> None:
    gen = generator()
    talks = Corpus.of([document([("user", "ab?"), ("assistant", "cd")]), document([("user", "ef?"), ("assistant", "gh")])])
    how = {"batch_size": 1, "length": 30, "seed": 0, "progress": False, "precision": "float32", "lr": 0.003}
    history = gen.fit(talks, steps=80, **how)
    assert history.values["loss"][-1] < 0.1
    gen.save_pretrained(tmp_path / "chatty")
    again = aigc.Generator.from_pretrained(tmp_path / "chatty", dtype="float32")
    greedy = aigc.sampling.Greedy()
    for question, answer in (("ab?", " cd"), ("ef?", " gh")):
        said = again.chat([{"role": "user", "content": question}], sampler=greedy, max_new_tokens=8)
        assert (said.text, said.finish_reason) == (answer, "eos")
    assert [entry.name for entry in again.trained_on[0].documents] == ["talk", "talk"]


@pytest.mark.parametrize(
    ("talk", "cure"),
    [
        ([("user", "a"), ("narrator", "b")], "Rename it"),
        ([("user", "a")], "no answer"),
        ([("user", "a" * 99), ("assistant", "b")], "a larger length"),
    ],
)
def test_conversations_that_cannot_be_learned_are_named(talk: list[tuple[str, str]], cure: str) -> None:
    with pytest.raises(DataError, match=cure) as caught:
        pieces(generator(), [*TALKS[2:], talk], length=60)
    assert "'talk'" in str(caught.value)


def test_without_a_template_the_cure_is_said() -> None:
    with pytest.raises(ModelError, match="PLAIN_TEMPLATE"):
        generator(None).fit(Corpus.of([document(TALKS[2])]), steps=1, batch_size=1, length=60)
    with pytest.raises(DataError, match="generation prompt"):
        pieces(
            generator("{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}X{% endif %}"), TALKS
        )


@pytest.mark.parametrize("first", ["talk", "text"])
def test_conversations_and_plain_texts_are_learned_in_one_run(first: str) -> None:
    gen = generator()
    texts = [Document("abcdefghi" * 30, name="long"), Document("jk", name="short")]  # the first is longer than a window
    documents = [document(TALKS[0], "one"), texts[0], document(TALKS[2], "two"), texts[1]]
    corpus = Corpus.of(documents if first == "talk" else documents[::-1])
    with material(gen, corpus, length=100, packing=None, folder=None) as made:
        windows = [made.windows[i] for i in range(len(made.windows))]
        assert {len(part) for window in windows for part in window} == {101}
        learned = {True: "", False: ""}
        for window in windows:
            at = window.labels >= 0
            assert torch.equal(window.labels[at], window.ids[at])
            assert not at[window.segments < 0].any()
            learned["Question" in gen.tokenizer.decode(window.ids)] += gen.tokenizer.decode(window.ids[at])
        assert sorted(learned[True].split("</s>")) == sorted([" 4", " 不觉晓", " me", ""])
        assert sorted(learned[False]) == sorted("abcdefghi" * 30 + "</s>" + "jk" + "</s>")
        assert sum(int((window.labels >= 0).sum()) for window in windows) == made.targets
        counts = {entry.name: entry.tokens for entry in made.manifest.documents}
        assert list(counts) == [one.name for one in corpus]
        assert (counts["long"], counts["short"]) == (270, 2)
        assert counts["two"] == len("Question: who\nAnswer: me") + 1
        assert made.bytes == 270 + 2 + len("4不觉晓me".encode())
        assert made.manifest.corpus == corpus.summary().sha256


@pytest.mark.parametrize("at", [0, 2, 4, None])
def test_each_text_is_tokenized_once_wherever_a_conversation_is(
    at: int | None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the conversation comes last, and none again where a run goes on."""
    read: list[str] = []
    write = windows.write_tokens

    def written(corpus: Corpus, *given: Any, **how: Any) -> Any:
        def documents() -> Any:
            for one in corpus:
                read.append(one.name)
                yield one

        return write(documents(), *given, **how)

    monkeypatch.setattr(windows, "write_tokens", written)
    documents = [Document(f"{letter} plain", name=letter) for letter in "abcd"]
    if at is not None:
        documents.insert(at, document(TALKS[2], "talk"))
    for _ in range(2):  # the second time as a run that goes on
        with material(generator(), Corpus.of(documents), length=60, packing=None, folder=tmp_path / "run") as made:
            assert [entry.name for entry in made.manifest.documents] == [one.name for one in documents]
            assert made.bytes == 4 * len("a plain") + (0 if at is None else len("me"))
            assert isinstance(made.windows, Packed if at is None else Mixture)
    assert read == ["a", "b", "c", "d"]


def test_a_few_plain_texts_fill_their_windows_up() -> None:
    corpus = Corpus.of([Document("jk"), document(TALKS[2]), Document("l")])
    with material(generator(), corpus, length=60, packing=None, folder=None) as made:
        talk, texts = made.windows[0], made.windows[-1]
        assert len(made.windows) == 2
    ids = generator().tokenizer("jkl")["input_ids"]
    assert texts.ids.tolist() == [257, *ids[:2], 257, ids[2], 257] + [257] * 55
    assert texts.labels.tolist() == [-100, *ids[:2], 257, ids[2], 257] + [-100] * 55
    assert texts.segments.tolist() == [0, 0, 0, 1, 1, 1] + [-1] * 55
    assert [part.shape for part in talk] == [(61,)] * 3


def test_a_mixed_run_goes_on_and_knows_both_afterwards(tmp_path: Path) -> None:
    talk, text = document([("user", "ab?"), ("assistant", "cd")]), Document("zyxw vuts", name="plain")
    how = {"batch_size": 2, "length": 30, "seed": 0, "progress": False, "precision": "float32", "lr": 0.006}
    how |= {"schedule": lambda step: 1.0, "checkpoint_dir": tmp_path / "run"}
    before = generator().score(text.text).bits_per_byte
    for steps in (30, 100):
        gen = generator()
        history = gen.fit(Corpus.of([text, talk]), steps=steps, held_out=[talk, text], **how)
    assert history.steps[:2] == (3, 6)  # a tenth of the first part
    said = gen.chat([{"role": "user", "content": "ab?"}], sampler=aigc.sampling.Greedy(), max_new_tokens=8)
    assert (said.text, said.finish_reason) == (" cd", "eos")
    assert gen.score(text.text).bits_per_byte < before / 4
    with pytest.raises(DataError, match="changed since"):
        generator().fit(Corpus.of([Document("another", name="plain"), talk]), steps=110, **how)
    with pytest.raises(ParameterError, match="packing"):
        generator().fit(Corpus.of([text, talk]), steps=110, packing="concatenate", **how)


def test_conversations_are_never_cut() -> None:
    talks = Corpus.of([document(TALKS[2])])
    with pytest.raises(ParameterError, match="packing must be left out with conversations"):
        generator().fit(talks, steps=1, batch_size=1, length=60, packing="concatenate")
