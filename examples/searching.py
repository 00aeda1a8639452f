"""Four ways to a better text than the first draw: likely ones, the best of several, a varied one, a guided one."""

import aigc
from aigc.sampling import Greedy
from aigc.text import BeamSearch, BestOf, ContrastiveSearch, Guidance

gen = aigc.Generator.default(device="cpu")
prompt = "The old man looked at the sea, and"
length = 24

greedy = gen.generate(prompt, max_new_tokens=length, sampler=Greedy())[0]
print(f"greedy            {'':7}  {greedy.text.strip()!r}")
for c in gen.generate(prompt, n=2, max_new_tokens=length, search=BeamSearch(4)):
    print(f"beam search       {c.score:7.3f}  {c.text.strip()!r}")
for c in gen.generate(prompt, n=3, max_new_tokens=length, search=BeamSearch(6, groups=3, diversity=1.5)):
    print(f"diverse beams     {c.score:7.3f}  {c.text.strip()!r}")


def variety(completion):
    """How many of the tokens are different ones."""
    return len(set(completion.tokens)) / len(completion.tokens)


best = gen.generate(prompt, max_new_tokens=length, seed=0, search=BestOf(8, variety))[0]
print(f"the best of eight {best.score:7.3f}  {best.text.strip()!r}")
print(f"again, by seed    {'':7}  {gen.generate(prompt, max_new_tokens=length, seed=[best.seed])[0].text.strip()!r}")
varied = gen.generate(prompt, max_new_tokens=length, search=ContrastiveSearch(4, alpha=0.6))[0]
print(f"contrastive       {'':7}  {varied.text.strip()!r}")
for scale in (1.0, 1.5, 2.5):
    out = gen.generate(prompt, max_new_tokens=length, seed=1, guidance=Guidance(scale))[0]
    print(f"guided by {scale:<7} {'':7}  {out.text.strip()!r}")
