"""Constraints at the doors of `Generator`: what they take, what they refuse, and how rows end."""

import asyncio
import dataclasses
import enum
import json
import math
import re
import sys
from dataclasses import dataclass, field
from typing import Any, Literal, Optional

import jsonschema
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

import aigc
import constraining
import tiny
from aigc.errors import ParameterError, TypeParameterError
from aigc.kernels import Status
from aigc.sampling import (
    Choices,
    Constrained,
    Grammar,
    Json,
    Regex,
    Temperature,
    TopK,
    as_sampler,
    bind,
    chain,
    explain,
    is_constrained,
    is_greedy,
    within,
)
from aigc.sampling.constraints._automaton import Automaton
from aigc.sampling.constraints._lexicon import Lexicon
from aigc.sampling.constraints._patterns import parsed
from aigc.sampling.constraints._schemas import schema_text

GEN = aigc.Generator(tiny.model("llama"), tiny.tokenizer())
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


@dataclass
class Point:
    x: float
    y: float = 0.0


@dataclass
class Shape:
    name: str
    sides: int
    closed: bool
    colour: Colour
    kind: Literal["flat", "solid"] | None
    corners: list[Point]
    notes: dict[str, str]
    anything: Any
    nothing: None
    inner: Optional["Shape"] = None
    tags: list = field(default_factory=list)
    area: float = field(init=False, default=0.0)


def test_a_dataclass_becomes_a_schema() -> None:
    schema = json.loads(schema_text(Shape))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$ref"] == "#/$defs/Shape"
    shape = schema["$defs"]["Shape"]
    assert list(shape["properties"]) == [f.name for f in dataclasses.fields(Shape) if f.init]
    assert shape["required"] == [
        "name", "sides", "closed", "colour", "kind", "corners", "notes", "anything", "nothing",
    ]  # fmt: skip
    assert shape["properties"]["colour"] == {"enum": ["red", 2]}
    assert shape["properties"]["kind"] == {"anyOf": [{"enum": ["flat", "solid"]}, {"type": "null"}]}
    assert shape["properties"]["corners"] == {"type": "array", "items": {"$ref": "#/$defs/Point"}}
    assert shape["properties"]["notes"] == {"type": "object", "additionalProperties": {"type": "string"}}
    assert shape["properties"]["anything"] == {}
    assert schema["$defs"]["Point"]["required"] == ["x"]


def test_what_is_written_for_a_dataclass_can_be_made_into_one() -> None:
    for c in GEN.generate("a", n=4, max_new_tokens=100, seed=0, sampler=Temperature(1.0), json=Point):
        assert isinstance(Point(**json.loads(c.text)).x, int | float)


def test_a_model_that_says_its_schema_and_a_schema_as_text_are_taken() -> None:
    class Model:
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return PERSON

    same = [
        GEN.generate("a", max_new_tokens=60, seed=1, json=schema).texts for schema in (PERSON, json.dumps(PERSON), Model)
    ]
    assert same[0] == same[1] == same[2]
    pydantic = pytest.importorskip("pydantic")
    made = pydantic.create_model("Made", name=(str, ...), age=(int, ...))
    made.model_validate_json(GEN.generate("a", max_new_tokens=60, seed=1, json=made)[0].text)


def test_any_json_is_json_and_holds_no_spaces_between() -> None:
    for schema in (True, {}):
        for c in GEN.generate("a", n=8, max_new_tokens=30, seed=2, sampler=Temperature(1.0), json=schema):
            assert json.dumps(json.loads(c.text)) is not None
            assert c.text == c.text.strip()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"json": 3}, "json must be a JSON schema"),
        ({"json": "{"}, "json must be a JSON schema.*no JSON"),
        ({"json": {"enum": [math.nan]}}, "json must be a schema of JSON values"),
        ({"json": {"enum": [{1, 2}]}}, "json must be a schema of JSON values"),
        ({"json": {"type": "array", "uniqueItems": True}}, "json must be one that the engine.*uniqueItems.*Leave that out"),
        ({"json": {"type": "integer", "minimum": 3, "maximum": 2}}, "json must be one.*minimum"),
        ({"regex": "("}, "regex must be a pattern that Python knows"),
        ({"regex": "a(?=b)b"}, "regex must be without look-around"),
        ({"regex": r"(a)\1"}, "regex must be without references"),
        ({"regex": r"a\bb"}, "regex must be without anchors"),
        ({"regex": "a^b"}, "regex must be without anchors"),
        ({"regex": "(?i)a"}, "regex must be without flags"),
        ({"regex": "(?i:a)"}, "regex must be without flags within groups"),
        ({"regex": "a++"}, "regex must be without possessive"),
        ({"regex": "(?>a)"}, "regex must be without atomic"),
        ({"regex": b"a"}, "regex must be a pattern, as a string"),
        ({"regex": "(a{500}){500}"}, "regex must be of at most"),
        ({"choices": "ab"}, "choices must be a sequence"),
        ({"choices": []}, "choices must be at least one"),
        ({"choices": ["a", 3]}, r"choices\[1\] must be a string"),
        ({"grammar": "nonsense"}, "grammar must be a grammar"),
        ({"grammar": "start: x"}, "grammar must be one that the engine.*unknown name"),
        ({"grammar": 3}, "grammar must be a grammar, as a string"),
        ({"json": True, "regex": "a"}, "json and regex must be given one at a time"),
        ({"regex": "a", "stop": "a"}, "stop must be left out with a constraint"),
        ({"regex": "a", "sampler": Constrained(TopK(3), Choices(["a"]))}, "sampler must be without a constraint"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_at_once_and_by_name(kind: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        GEN.stream("a", **kind)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (tuple, "Bad.x is another"),
        (dict[int, str], "Bad.x is another"),
        (list[bytes], r"Bad.x\[\] is another"),
        ("No", "Bad"),
    ],
)
def test_a_field_that_json_has_no_type_for_is_named(annotation: Any, message: str) -> None:
    bad = dataclasses.make_dataclass("Bad", [("x", annotation)])
    with pytest.raises(ParameterError, match=message):
        Json(bad)


def test_too_little_room_is_an_error_that_says_how_much_is_needed() -> None:
    with pytest.raises(ParameterError, match="max_new_tokens must be 19 at least.*got 18"):
        GEN.generate("a", max_new_tokens=18, json=PERSON)
    text = GEN.generate("a", max_new_tokens=19, seed=0, json=PERSON)[0].text
    assert len(text) == 19
    assert json.loads(text).keys() == {"name", "age"}
    with pytest.raises(ParameterError, match="max_new_tokens must be 3 at least"):
        GEN.generate("a" * 126, max_new_tokens=50, regex="abc")  # the context leaves two
    with pytest.raises(ParameterError, match="to which an end can be found"):
        bind(Constrained(TopK(3), Regex("[^\\x00-\\U0010ffff]a")), constraining.BYTES).within([9])


def test_a_constraint_that_is_not_one_and_a_sampler_without_words_are_refused() -> None:
    with pytest.raises(TypeParameterError, match="constraint must be Json"):
        Constrained(TopK(3), {"type": "string"})
    with pytest.raises(TypeParameterError, match="constraint must be Json"):
        Constrained(TopK(3), Json)
    with pytest.raises(ParameterError, match="bound to a tokenizer"):
        Constrained(TopK(3), Regex("a")).init([[0]])


def test_a_masked_model_takes_no_constraint() -> None:
    gen = aigc.Generator(tiny.masked("bert"), tiny.closed_tokenizer())
    with pytest.raises(ParameterError, match="masked model fills gaps"):
        gen.generate("a<mask>", regex="a")


def test_a_missing_engine_is_named_with_the_extra_and_choices_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(ImportError, match=r"pip install 'aigc\[constraints\]'"):
        GEN.generate("a", regex="a+")
    assert GEN.generate("a", choices=["yes", "no"], seed=0)[0].text in ("yes", "no")


def test_chats_and_asynchronous_streams_are_held_as_well() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    gen = aigc.Generator(tiny.model("llama"), tokenizer)
    answer = gen.chat([{"role": "user", "content": "a"}], max_new_tokens=40, seed=0, json=PERSON)
    jsonschema.validate(json.loads(answer.text), PERSON)

    async def text() -> str:
        return "".join([c.text async for c in gen.astream("a", max_new_tokens=40, seed=[answer.seed], json=PERSON)])

    assert asyncio.run(text()) == answer.text


def test_an_encoder_decoder_writes_what_it_is_held_to() -> None:
    gen = aigc.Generator(tiny.seq2seq("t5"), tiny.closed_tokenizer(begin=False))
    for c in gen.generate(["abc", "d"], max_new_tokens=40, seed=0, json=PERSON):
        jsonschema.validate(json.loads(c.text), PERSON)
        assert c.finish_reason in ("eos", "length")


def without_end(kind: str = "llama") -> aigc.Generator:
    """A model that has no token to end a text with."""
    inner = tiny.tokenizer().backend_tokenizer
    model = tiny.model(kind, vocabulary=258 + 1)
    return aigc.Generator(model, PreTrainedTokenizerFast(tokenizer_object=inner))


def test_a_model_without_an_end_stops_when_nothing_may_follow() -> None:
    gen = without_end()
    assert not gen._engine.words.ends
    for c in gen.generate(["a", "bb", "c"], max_new_tokens=60, seed=0, choices=["yes", "no, never"]):
        assert (c.text, c.finish_reason, c.status) in [(t, "stop", Status.OK) for t in ("yes", "no, never")]
        assert len(c.tokens) == len(c.text)
        assert len(c.pieces) == len(c.tokens)
    chunks = list(gen.stream("a", max_new_tokens=60, seed=0, regex="a{3}"))
    assert [chunk.text for chunk in chunks] == ["a", "a", "a", ""]
    assert chunks[-1].finish_reason == "stop"
    assert gen.generate("a", max_new_tokens=9, seed=0, regex="a+")[0].finish_reason == "length"
    nothing = gen.generate("a", max_new_tokens=9, seed=0, choices=[""])[0]
    assert (nothing.text, nothing.tokens, nothing.finish_reason) == ("", (), "stop")


@dataclass(frozen=True)
class Ban:
    """A filter that leaves no row empty that it need not."""

    ids: tuple[int, ...]

    def __call__(self, logits: Tensor) -> Tensor:
        return logits.index_fill(-1, torch.tensor(self.ids), -torch.inf)


def test_filters_that_ban_what_is_allowed_end_their_row_with_a_status_and_no_other() -> None:
    quote = GEN.tokenizer.convert_tokens_to_ids('"')
    schema = {"type": "string", "maxLength": 5}
    fine = Constrained(Temperature(1.0), Json(schema))
    bad = Constrained(chain(Ban((quote,)), Temperature(1.0)), Json(schema))
    out = GEN.generate(["a"] * 3, max_new_tokens=30, sampler=[fine, bad, fine], seed=0)
    assert (out[1].finish_reason, out[1].status, out[1].text) == ("error", Status.BANNED, "")
    assert out[1].status.sentence == "The filters ban every token that the constraint allows."
    alone = GEN.generate("a", max_new_tokens=30, sampler=fine, seed=[out[0].seed])[0]
    assert alone.text == out[0].text
    for i in (0, 2):
        jsonschema.validate(json.loads(out[i].text), schema)


def test_a_text_that_is_complete_is_whole_even_if_its_end_is_banned() -> None:
    ends = tuple(GEN._engine.words.ends)
    c = GEN.generate("a", max_new_tokens=30, sampler=chain(Ban(ends), Temperature(1.0)), seed=0, choices=["yes"])[0]
    assert (c.text, c.finish_reason, c.status) == ("yes", "stop", Status.OK)


def test_a_space_that_the_tokenizer_would_swallow_is_not_written_first() -> None:
    class Swallowing(constraining.Toy):
        def decode(self, ids: Any) -> str:
            return super().decode(ids).removeprefix(" ")

    words = Swallowing((b"a", b" a", b" ", b"b"))
    sampler = within(bind(Constrained(Temperature(1.0), Regex(" ?a( a)*")), words), [4])
    x, noise = torch.zeros(1, words.size), aigc.sampling.Noise.of(torch.arange(1), 0)
    first, state = sampler.step(x.index_fill(1, torch.tensor([1, 2]), 9.0), sampler.init([[4]]), noise)
    assert first.token.tolist() == [0]
    then, _ = sampler.step(x.index_fill(1, torch.tensor([1]), 99.0), state, noise)
    assert then.token.tolist() == [1]
    with_prompt, _ = sampler.step(x.index_fill(1, torch.tensor([1]), 99.0), sampler.init([[3]]), noise)
    assert with_prompt.token.tolist() == [1]


def test_tokens_that_end_a_text_stand_nowhere_else_nor_do_special_ones_or_padding() -> None:
    words = constraining.BYTES
    for step in range(200):
        noise = aigc.sampling.Noise.of(torch.arange(1), step)
        sampler = within(bind(Constrained(Temperature(100.0), Regex("(?s).{2,}")), words), [50])
        draw, _ = sampler.step(torch.zeros(1, words.size), sampler.init([[0]]), noise)
        assert words.spelling[int(draw.token)] != b""


def test_tokens_of_one_spelling_are_all_allowed() -> None:
    words = constraining.LETTERS  # which spells b twice
    sampler = within(bind(Constrained(Temperature(1.0), Regex("b")), words), [3])
    noise = aigc.sampling.Noise.of(torch.arange(64), 0)
    sampler = within(sampler, [3] * 64)
    draw, _ = sampler.step(torch.zeros(64, words.size), sampler.init([[0]] * 64), noise)
    assert set(draw.token.tolist()) == {1, 5}
    assert torch.allclose(draw.logprob, torch.tensor(0.5).log())


def test_a_tokenizer_without_bytes_spells_with_what_it_has() -> None:
    words = constraining.Toy((b"yes", b"no", b", ", b"yes, no", b"\xe6\x98\xa5", b"x"))
    lexicon = Lexicon(words)
    assert set(lexicon.atoms) == {b"yes", b"no", b", ", b"\xe6\x98\xa5", b"x"}
    assert lexicon.counts(b"yes, noyes")[0] == 2
    assert lexicon.openings(b"yes, noyes", 2) == [3]
    assert lexicon.openings(b"yes, noyes", 4) == [0, 3]
    assert lexicon.counts(b"maybe")[0] is None
    assert Lexicon(constraining.LETTERS).openings(b"bb", 2) == [1, 5]
    for text in (r"(yes|no|maybe)(, (yes|no|maybe))*", "[春夏]+x"):
        for each in constraining.write(Constrained(Temperature(1.0), Regex(text)), words, limits=[9] * 8, seeds=range(8)):
            assert re.fullmatch(text, each.text)
            assert "maybe" not in each.text
    grammar = Grammar('start: word ("," " " word)*\nword: "yes" | "no" | "maybe"')
    for each in constraining.write(Constrained(Temperature(1.0), grammar), words, limits=[6] * 8, seeds=range(8)):
        assert re.fullmatch("(yes|no)(, (yes|no))*", each.text), each


@pytest.mark.parametrize(
    ("pattern", "closing"),
    [
        ("abc", b"abc"), ("a*b?", b""), ("(ab|c)d+", b"cd"), ("[0-9]{3,}", b"000"), ("[^ab]", b"0"), ("春|ab", b"ab"),
        ("^x$|^yy$", b"x"), (r"\.{2}", b".."), ("(a|b*)c", b"c"), ("(a{2}){3}", b"a" * 6),
    ],
)  # fmt: skip
def test_an_automaton_knows_the_shortest_way_to_its_end(pattern: str, closing: bytes) -> None:
    place = Automaton(parsed(pattern)).start()
    assert place.closing == closing
    for byte in closing:
        place = place.after(bytes([byte]))
    assert place.closing == b""


def test_an_automaton_finishes_half_a_character() -> None:
    place = Automaton(parsed("[春夏]x|é{2}")).start()
    assert place.after("春".encode()[:1]).closing in ("春".encode()[1:] + b"x", "夏".encode()[1:] + b"x")
    assert place.after("夏".encode()[:2]).closing == "夏".encode()[2:] + b"x"
    assert place.after("é".encode()[:1]).closing == "é".encode()[1:] + "é".encode()
    assert place.after("é".encode() * 2).closing == b""
    assert place.after(b"z").closing is None


@pytest.mark.parametrize("pattern", [".", r"\D", "[^a]", "(?s)."])
def test_no_class_holds_what_decoders_take_for_half_a_character(pattern: str) -> None:
    assert Automaton(parsed(pattern)).start().after("\ufffd".encode()).closing is None
    assert Automaton(parsed(pattern)).start().after("春".encode()).closing == b""
    assert Automaton(parsed("a\ufffd")).start().after("a\ufffd".encode()).closing == b""


def test_constraints_show_themselves() -> None:
    held = Constrained(chain(Temperature(0.8), TopK(3)), Regex("a+"))
    assert repr(held) == (
        "Constrained(sampler=Categorical(filter=chain(Temperature(0.8), TopK(3))), constraint=Regex(pattern='a+'))"
    )
    assert explain(held).startswith("Constrained, around")
    assert is_constrained(held)
    assert not is_constrained(as_sampler(TopK(3)))
    assert is_greedy(Constrained(aigc.sampling.Greedy(), Regex("a")))
    assert held.bind(constraining.BYTES) == held
    assert Json({"type": "string"}) == Json('{"type": "string"}')


def test_parameters_per_row_follow_their_rows() -> None:
    k = torch.tensor([1, 200, 3])
    out = GEN.generate(["a", "bb", "ccc"], max_new_tokens=20, sampler=TopK(k), seed=3, regex="[a-z ]+", batch_size=2)
    for i, c in enumerate(out):
        alone = GEN.generate(c.prompt, max_new_tokens=20, sampler=TopK(int(k[i])), seed=[c.seed], regex="[a-z ]+")
        assert alone.texts == [c.text]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_logits_of_any_floating_type_are_masked_in_it(dtype: torch.dtype) -> None:
    words = constraining.LETTERS
    sampler = within(bind(Constrained(TopK(3), Choices(["cab"])), words), [3])
    noise = aigc.sampling.Noise.of(torch.arange(1), 0)
    draw, _ = sampler.step(torch.zeros(1, words.size, dtype=dtype), sampler.init([[0]]), noise)
    assert draw.token.tolist() == [2]
