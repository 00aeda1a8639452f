"""Random schemas and patterns, a tokenizer of a few words, and a loop that writes with a sampler and random logits."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from aigc.kernels import Status
from aigc.sampling import Noise, Sampler, bind, select, within


@dataclass(frozen=True, eq=False)
class Toy:
    """A tokenizer that is a list of spellings; the token after the last one ends a text, if there is one."""

    spelling: tuple[bytes, ...]
    ending: bool = True
    ends: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        ends = [len(self.spelling)] if self.ending else []
        object.__setattr__(self, "ends", frozenset(ends))
        object.__setattr__(self, "spelling", (*self.spelling, *(b"" for _ in ends)))

    @property
    def size(self) -> int:
        return len(self.spelling) + 3  # padding, as models have it

    def encode(self, text: str) -> list[int]:
        return [self.spelling.index(bytes([byte])) for byte in text.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self.spelling[id] for id in ids).decode(errors="replace")


LETTERS = Toy((b"a", b"b", b"c", b"ab", b"bca", b"b"))
BYTES = Toy((*(bytes([b]) for b in range(256)), b'"}', b'{"', b'":', b", ", b"ab", b"the", b"\xe6\x98", b" and", b"12"))


@dataclass
class Text:
    tokens: list[int]
    logprobs: list[float]
    text: str
    reason: str


def write(
    sampler: Sampler[Any], words: Any, *, limits: Sequence[int], seeds: Sequence[int], scale: float = 3.0, peak: int = -1
) -> list[Text]:
    """What `Generator` does, with logits that are a random function of seed and step in the place of a model's."""
    sampler = within(bind(sampler, words), limits)
    state = sampler.init([[0]] * len(limits))
    texts = [Text([], [], "", "") for _ in limits]
    alive = list(range(len(limits)))
    for step in range(max(limits)):
        noise = Noise.of(torch.tensor([seeds[i] for i in alive]), step)
        draw, state = sampler.step(logits_of(noise, words.size, scale, peak), state, noise)
        stay = []
        for place, i in enumerate(alive):
            token, status = int(draw.token[place]), Status(int(draw.status[place]))
            if status is not Status.OK:
                texts[i].reason = "stop" if status is Status.DONE else "error"
                continue
            texts[i].tokens.append(token)
            texts[i].logprobs.append(float(draw.logprob[place]))
            if token in words.ends:
                texts[i].reason = "eos"
            elif len(texts[i].tokens) == limits[i]:
                texts[i].reason = "length"
            else:
                stay.append(place)
        if not stay:
            break
        alive, state = [alive[place] for place in stay], select(state, torch.tensor(stay))
    for each in texts:
        each.text = words.decode([token for token in each.tokens if token not in words.ends])
    return texts


def logits_of(noise: Noise, size: int, scale: float, peak: int) -> Tensor:
    """Logits that depend on nothing but the row's own noise, and not as its draw does."""
    x = scale * noise.gumbel(-2 - torch.arange(size)).float()
    return x if peak < 0 else x.index_add(1, torch.tensor([peak]), torch.full((len(x), 1), 30.0))


def schema(r: random.Random, depth: int = 2) -> dict[str, Any]:
    """A random schema that something satisfies, of what the engine covers."""
    leaf = [_string, _integer, _number, _constant, _constant]
    make = r.choice(leaf if depth == 0 else [*leaf, _array, _object, _object, _either, _tree])
    return make(r, depth)


def _string(r: random.Random, depth: int) -> dict[str, Any]:
    kind = r.randrange(4)
    if kind == 0:
        return {"type": "string"}
    if kind == 1:
        low = r.randrange(4)
        return {"type": "string", "minLength": low, "maxLength": low + r.randrange(6)}
    if kind == 2:
        return {
            "type": "string",
            "pattern": r.choice(["^[a-z]+$", "^[0-9]{3}-[0-9]{2}$", "^(x|yy|春天)*$", "^[^b]?b$", "^a.c$"]),
        }
    return {"type": "string", "format": r.choice(["date", "time", "uuid", "ipv4", "email"])}


def _integer(r: random.Random, depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "integer"}
    low = r.randrange(-300, 300)
    if r.random() < 0.6:
        made[r.choice(["minimum", "exclusiveMinimum"])] = low
    if r.random() < 0.6:
        made[r.choice(["maximum", "exclusiveMaximum"])] = low + r.randrange(2, 400)
    if len(made) < 3 and r.random() < 0.3:
        made["multipleOf"] = r.choice([2, 3, 7, 10])
    return made


def _number(r: random.Random, depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "number"}
    low = round(r.uniform(-20, 20), r.randrange(4))
    if r.random() < 0.6:
        made[r.choice(["minimum", "exclusiveMinimum"])] = low
    if r.random() < 0.6:
        made[r.choice(["maximum", "exclusiveMaximum"])] = round(low + r.uniform(0.5, 50), 3)
    return made


def _constant(r: random.Random, depth: int) -> dict[str, Any]:
    values = ["red", "dark blue", "", 'a "quote"', "春", "\n", 0, -7, 2.5, True, False, None, [1, "x"], {"k": None}]
    kind = r.randrange(4)
    if kind == 0:
        return {"const": r.choice(values)}
    if kind == 1:
        return {"type": r.choice(["boolean", "null"])}
    return {"enum": r.sample(values, r.randrange(1, 6))}


def _array(r: random.Random, depth: int) -> dict[str, Any]:
    low = r.randrange(3)
    made: dict[str, Any] = {"type": "array", "items": schema(r, depth - 1)}
    if r.random() < 0.7:
        made |= {"minItems": low, "maxItems": low + r.randrange(4)}
    if r.random() < 0.2:
        made["prefixItems"] = [schema(r, 0)]
    return made


def _object(r: random.Random, depth: int) -> dict[str, Any]:
    names = r.sample(["a", "name", "x y", 'q"', "年", "long_name_of_a_field", "b1"], r.randrange(5))
    made: dict[str, Any] = {"type": "object", "properties": {name: schema(r, depth - 1) for name in names}}
    made["required"] = [name for name in names if r.random() < 0.6]
    if r.random() < 0.8:
        made["additionalProperties"] = False
    elif r.random() < 0.5:
        made["additionalProperties"] = schema(r, 0)
    return made


def _either(r: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [schema(r, depth - 1) for _ in range(r.randrange(1, 4))]}


def _tree(r: random.Random, depth: int) -> dict[str, Any]:
    node = {
        "type": "object",
        "properties": {"value": schema(r, 0), "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        "required": ["value", "next"],
        "additionalProperties": False,
    }
    return {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2, "minItems": r.randrange(2)} | {"node": node}


def whole(made: dict[str, Any]) -> dict[str, Any]:
    """Puts what trees refer to where references look for it: in the one schema there is at the top."""
    nodes: list[Any] = []

    def lift(part: Any) -> Any:
        if isinstance(part, dict) and "node" in part:
            name, node = f"node{len(nodes)}", part["node"]
            nodes.append(None)
            nodes[int(name[4:])] = _renamed(lift(node), name)
            return _renamed({key: value for key, value in part.items() if key != "node"}, name)
        if isinstance(part, dict):
            return {key: lift(value) if key not in ("enum", "const") else value for key, value in part.items()}
        return [lift(each) for each in part] if isinstance(part, list) else part

    top = lift(made)
    return top | {"$defs": {f"node{i}": node for i, node in enumerate(nodes)}} if nodes else top


def _renamed(part: Any, name: str) -> Any:
    if isinstance(part, dict):
        if part.get("$ref") == "#/$defs/node":
            return {"$ref": f"#/$defs/{name}"}
        return {key: _renamed(value, name) if key not in ("enum", "const") else value for key, value in part.items()}
    return [_renamed(each, name) for each in part] if isinstance(part, list) else part


_ATOMS = [
    "a", "b", "Q", "7", " ", "春", "é", r"\.", r"\n", r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", ".", "[a-f]", "[^xyz]",
    r"[\w-]", r"[^\d\s]", "[春夏秋冬]", r"\x41", "[0-9]",
]  # fmt: skip


def pattern(r: random.Random, depth: int = 3) -> str:
    """A random pattern."""
    kind = r.randrange(5) if depth else 0
    if kind == 0:
        return r.choice(_ATOMS)
    if kind in (1, 2):
        return "".join(pattern(r, depth - 1) for _ in range(r.randrange(1, 4)))
    if kind == 3:
        return f"({r.choice(['', '?:'])}{'|'.join(pattern(r, depth - 1) for _ in range(r.randrange(1, 4)))})"
    times = r.choice(["*", "+", "?", "*?", "+?", "{2}", "{1,3}", "{2,}", "{0,2}?"])
    return f"(?:{pattern(r, depth - 1)}){times}"


def needed(error: Exception) -> int:
    """How many tokens an error says are needed."""
    found = re.search(r"must be (\d+) at least", str(error))
    assert found is not None, error
    return int(found[1])
