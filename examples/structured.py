"""Text that parses: JSON for a dataclass, a pattern, a choice. The small model writes nonsense, in the right form."""

import json
from dataclasses import dataclass
from typing import Literal

import aigc
from aigc.sampling import Constrained, Json, Regex, Temperature, TopP, chain


@dataclass
class Traveller:
    name: str
    age: int
    mood: Literal["calm", "glad", "cross"]
    home: str = "unknown"


gen = aigc.Generator.default(device="cpu")
out = gen.generate("The traveller said: ", n=2, max_new_tokens=48, seed=1, json=Traveller)
for c in out:
    print(f"[{c.finish_reason}] {Traveller(**json.loads(c.text))}")

short = gen.generate("The traveller said: ", max_new_tokens=24, seed=1, json=Traveller)[0]
print(f"[{short.finish_reason}, {len(short.tokens)} tokens] {short.text}")

print(gen.generate("They met on ", seed=2, regex=r"[0-9]{1,2} (May|June) 18[0-9]{2}")[0].text)
print(gen.generate("It was a night of ", n=5, seed=3, choices=["rain", "snow", "stars", "明月"]).texts)

draw = chain(Temperature(1.0), TopP(0.95))
rows = [
    Constrained(draw, Json({"type": "array", "items": {"type": "integer"}, "minItems": 2})),
    Constrained(draw, Regex("春.{4}")),
]
for c in gen.generate(["The numbers were ", "《春夜》\n"], max_new_tokens=20, sampler=rows, seed=4):
    print(c.text)
