"""One row of a batch, written again alone: the same text, whoever shared the batch."""

import aigc

gen = aigc.Generator.default()
prompts = ["The old house", "《江上》\n", "She opened the letter, and"]
out = gen.generate(prompts, n=4, max_new_tokens=40, seed=2024)

chosen = out[6]  # the third poem
again = gen.generate(chosen.prompt, max_new_tokens=40, seed=[chosen.seed])[0]

print("in a batch of", len(out), ":", chosen.text.replace("\n", " "))
print("alone           :", again.text.replace("\n", " "))
print("the same text?  :", again.text == chosen.text)
assert again.text == chosen.text
