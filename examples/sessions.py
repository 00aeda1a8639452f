"""A story that grows with its reader: a session reads only what is new, and speculation changes no word."""

import time

import aigc
from aigc.sampling import Greedy, Temperature, TopP, chain
from aigc.text import PromptLookup

gen = aigc.Generator.default(device="cpu")
print(gen.plan, "\n")

story = "It was a dark and stormy night, and the rain fell upon the roof of the old house by the sea. "
story += "Nobody had lived there for many years, and nobody in the village could say why it was so. But on that night a "
story += "light was seen in the window of the tower, and an old man, who had come home late, stood still in the road."
with gen.session() as session:
    for turn in range(3):
        out = session.generate(story, max_new_tokens=40, sampler=chain(Temperature(0.8), TopP(0.9)), seed=turn + 3)
        story += out[0].text
        print(f"[{session.reused} of {session.read + session.reused} prompt tokens were read before]{out[0].text}")

copy = "The rain fell upon the roof. The rain fell upon the roof. The rain fell"
taken, texts = [], []
for speculate in (None, PromptLookup()):
    start = time.perf_counter()
    texts.append(gen.generate(copy, max_new_tokens=60, sampler=Greedy(), speculate=speculate).texts)
    taken.append(time.perf_counter() - start)
print("\nguessing what repeats:", texts[0][0][:60].strip(), "...")
print(f"the same text: {texts[0] == texts[1]}; in {taken[1] / taken[0]:.0%} of the time")
