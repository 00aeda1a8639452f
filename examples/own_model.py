"""aigc over a transformers model that you hold: here a tiny, untrained GPT-2 with a tokenizer made on the spot."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import aigc
from aigc.sampling import Greedy

letters = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[]))
letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
letters.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters)

with torch.random.fork_rng():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=256, n_embd=64, n_layer=2, n_head=2, n_positions=128, bos_token_id=None, eos_token_id=None)
    ).eval()

gen = aigc.Generator(model, tokenizer)
print(gen)
print(gen.plan)

# Untrained, so the letters are noise; the machinery is all there: greedy text, log-probabilities, scores.
out = gen.generate(["abc", "a longer prompt"], max_new_tokens=12, sampler=Greedy(), logprobs=True)
for completion in out:
    print(repr(completion.prompt), "->", repr(completion.text), completion.finish_reason)
print(gen.score("the same model, judging a text"))
