"""From logits to tokens, without a model: what survives, what is drawn, and that a row owes nothing to its batch."""

import torch

from aigc import kernels
from aigc.sampling import MinP, Temperature, TopK, TopP, chain

logits = torch.tensor([2.0, 1.5, 1.5, 0.0, -1.0, -3.0])
print("probabilities  ", [f"{p:.3f}" for p in logits.softmax(-1)])
for filters in (chain(TopK(2)), chain(TopP(0.8)), chain(MinP(0.1)), chain(Temperature(0.5), TopP(0.8))):
    print(f"{filters!r:40}", [f"{p:.3f}" for p in filters(logits).softmax(-1)])

seeds = torch.arange(10_000)
draw = kernels.sample(logits.expand(10_000, -1), seed=seeds, top_p=0.8)
shares = torch.bincount(draw.token, minlength=6) / 10_000
print(f"\n10,000 draws with top-p 0.8: {[f'{share:.3f}' for share in shares]}")
print(f"kept {int(draw.kept[0])} tokens, {float(draw.mass[0]):.1%} of the probability")

batch = torch.randn(64, 50_257, generator=torch.Generator().manual_seed(0)) * 3
batch[7] = torch.nan
seeds = torch.arange(64)
together = kernels.sample(batch, seed=seeds, step=5, top_k=50, top_p=0.95)
alone = kernels.sample(batch[3], seed=3, step=5, top_k=50, top_p=0.95)
print(f"\nrow 3 in a batch of 64: token {int(together.token[3])}; alone: token {int(alone.token)}")
print(f"row 7 is {kernels.Status(int(together.status[7])).name}, and {int((together.status == 0).sum())} rows are fine")
