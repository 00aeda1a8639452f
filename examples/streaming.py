"""Two texts written side by side, shown as they grow: one line a row, a token at a time."""

import aigc
from aigc.sampling import Temperature, TopP, chain

gen = aigc.Generator.default()
prompts = ["It was a dark and stormy night;", "《春夜》\n"]
texts = dict.fromkeys(range(len(prompts)), "")

stream = gen.stream(prompts, max_new_tokens=60, sampler=chain(Temperature(0.8), TopP(0.95)), stop="\n", seed=[1, 2])
for chunk in stream:
    texts[chunk.index] += chunk.text  # whole characters only: a Chinese character of three tokens comes at once
    if chunk.index == 0:
        print(chunk.text, end="", flush=True)
    if chunk.finish_reason:
        print(f"\n[row {chunk.index} ended: {chunk.finish_reason}]")

print("\nand meanwhile, in the other row:\n")
print(texts[1])
