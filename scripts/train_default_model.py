"""Train the small bilingual model that ships with aigc, on a CPU, in under two hours.

    python scripts/train_default_model.py --data DATA --run runs/default      # resumes where it was cut
    python scripts/train_default_model.py --data DATA --run runs/default --export src/aigc/text/default_model

DATA holds `english_books.txt.gz` (one paragraph a line, books headed by `=== name`) and `chinese_poems.tsv.gz`
(title, author, body). The recipe, in the order of the functions below:

- byte-level BPE of 10,000 tokens; a Chinese character is never merged with its neighbour;
- a Qwen3 (pre-norm, rotary, normalised queries and keys, SwiGLU, tied embedding): 6 layers of 256, 7.4 M parameters;
- windows of 512 tokens, 69% English and 31% Chinese, the first part of the run cut into halves of 256;
- Muon (Jordan et al., 2024) for the hidden matrices, AdamW for the embedding and the gains, float32 master weights
  under a bfloat16 model, learning rate falling linearly to zero;
- held out: two whole novels, every 50th poem.

Everything random in step i comes from (seed, i) or (seed, epoch), so a resumed run goes on as if never cut.
"""

import argparse
import gzip
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

import aigc

VOCABULARY = 10_000
END = "<|endoftext|>"
HELD_OUT_BOOKS = ("enchanted_april", "room_with_view")
HELD_OUT_POEM = 50  # every 50th
WINDOW, ENGLISH, CHINESE = 512, 11, 5  # tokens; windows of each language in a step
WORDS = r"\p{Han}|(?i:'s|'t|'re|'ve|'m|'ll|'d)| ?[^\W\d_\p{Han}]+| ?\d| ?[^\s\w]+|\s+(?!\S)|\s+"

Poem = tuple[str, str]  # title, body


def read_books(data: Path) -> dict[str, str]:
    books: dict[str, list[str]] = {}
    name = ""
    with gzip.open(data / "english_books.txt.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("=== "):
                name = line[4:].strip()
                books[name] = []
            else:
                books[name].append(line)
    return {name: "".join(lines) for name, lines in books.items()}


def read_poems(data: Path) -> tuple[list[Poem], list[Poem]]:
    """The poems to train on, and those held out."""
    with gzip.open(data / "chinese_poems.tsv.gz", "rt", encoding="utf-8") as lines:
        fields = [line.rstrip("\n").split("\t") for line in lines]
    poems = [(title, body) for title, _, body in fields]
    kept = [poem for i, poem in enumerate(poems) if i % HELD_OUT_POEM]
    return kept, poems[::HELD_OUT_POEM]


def train_tokenizer(books: dict[str, str], poems: list[Poem]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )

    def corpus() -> Iterator[str]:
        for name, text in books.items():
            if name not in HELD_OUT_BOOKS:
                yield from text.splitlines(keepends=True)
        for title, body in poems:
            yield f"{title}\n{body}"

    tokenizer.train_from_iterator(corpus(), trainer)
    # A text starts after the token that ended the last one, so that its first token is predicted from something.
    end = tokenizer.token_to_id(END)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, end)])
    return tokenizer


class Corpus:
    """The token streams, and the window order of each epoch."""

    def __init__(self, data: Path, run: Path, seed: int) -> None:
        books = read_books(data)
        self.poems, self.unseen_poems = read_poems(data)
        file = run / "tokenizer.json"
        if not file.exists():
            train_tokenizer(books, self.poems).save(str(file))
        self.tokenizer = Tokenizer.from_file(str(file))
        self.end = self.tokenizer.token_to_id(END)
        self.seed = seed
        self.unseen_books = {name: books.pop(name) for name in HELD_OUT_BOOKS}
        self.english = np.concatenate([[self.end, *self.ids(text)] for text in books.values()]).astype(np.int32)
        self.titles = [self.ids(title) for title, _ in self.poems]
        self.quoted = [self.ids(f"《{title}》") for title, _ in self.poems]
        self.bodies = [self.ids(body) for _, body in self.poems]
        self.newline = self.ids("\n")
        self._epochs: dict[tuple[str, int], np.ndarray] = {}

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def chinese_stream(self, epoch: int) -> np.ndarray:
        """All poems in a new order, each after its title, its 《title》, or nothing."""
        rng = np.random.default_rng([self.seed, epoch, 1])
        form = rng.random(len(self.poems))
        tokens: list[int] = []
        for i in rng.permutation(len(self.poems)):
            tokens.append(self.end)
            if form[i] < 0.6:
                tokens += (self.titles if form[i] < 0.3 else self.quoted)[i] + self.newline
            tokens += self.bodies[i]
        return np.array(tokens, dtype=np.int32)

    def windows(self, language: str, epoch: int) -> np.ndarray:
        """Shape (windows, WINDOW + 1), shuffled; each epoch is cut at another offset."""
        key = (language, epoch)
        if key not in self._epochs:
            rng = np.random.default_rng([self.seed, epoch, 2])
            stream = self.english if language == "english" else self.chinese_stream(epoch)
            start = int(rng.integers(WINDOW))
            count = (len(stream) - start - 1) // WINDOW
            index = start + WINDOW * np.arange(count)[:, None] + np.arange(WINDOW + 1)
            self._epochs = {k: v for k, v in self._epochs.items() if k[0] != language}
            self._epochs[key] = stream[index][rng.permutation(count)]
            if language == "english":  # half of the windows start like a text of their own
                self._epochs[key][::2, 0] = self.end
        return self._epochs[key]

    def take(self, language: str, start: int, count: int) -> np.ndarray:
        """Windows `start` to `start + count` of the endless sequence of epochs."""
        epoch, rows = 0, []
        while count:
            windows = self.windows(language, epoch)
            rows.append(windows[start : start + count])
            count -= len(rows[-1])
            start = max(0, start - len(windows))
            epoch += 1
        return np.concatenate(rows)

    def batch(self, step: int, length: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step, each (WINDOW / length * 16, length)."""
        rows = np.concatenate(
            [self.take("english", step * ENGLISH, ENGLISH), self.take("chinese", step * CHINESE, CHINESE)]
        )
        window = torch.from_numpy(rows).long()
        return window[:, :-1].reshape(-1, length), window[:, 1:].reshape(-1, length)


def build_model() -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=WINDOW,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = Qwen3ForCausalLM(config)
    for layer in model.model.layers:  # each block starts as the identity
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    return model


@torch.compile(dynamic=False)
def _softmax_gradient(logits: Tensor, target: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    x = logits.float()
    top = x.amax(-1, keepdim=True)
    weight = (x - top).exp()
    total = weight.sum(-1, keepdim=True)
    loss = (total.log() + top).squeeze(-1) - x.gather(-1, target[:, None]).squeeze(-1)
    hit = torch.arange(x.shape[-1])[None] == target[:, None]
    return loss.sum(), ((weight / total - hit.float()) * scale).to(logits.dtype)


class LinearCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of `hidden @ weight.T`, 1,024 rows at a time: the logits never exist as a whole."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
        loss = hidden.new_zeros((), dtype=torch.float32)
        d_hidden, d_weight = torch.empty_like(hidden), torch.zeros_like(weight, dtype=torch.float32)
        for part in torch.arange(len(hidden)).split(1024):
            rows = slice(int(part[0]), int(part[-1]) + 1)
            total, gradient = _softmax_gradient(hidden[rows] @ weight.t(), target[rows], 1 / len(hidden))
            loss += total
            d_hidden[rows] = gradient @ weight
            d_weight += gradient.t() @ hidden[rows]
        ctx.save_for_backward(d_hidden, d_weight.to(weight.dtype))
        return loss / len(hidden)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * grad.to(d_hidden.dtype), d_weight * grad.to(d_weight.dtype), None


@torch.compile(dynamic=False)
def orthogonalise(g: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, by Muon's quintic Newton-Schulz iteration, of shape (n, rows, columns)."""
    x = g / (g.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = x.bfloat16()
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.float()


class Optimizer:
    """Muon for matrices inside the layers, Adam for the rest, over float32 copies of a bfloat16 model."""

    def __init__(self, model: torch.nn.Module, *, muon: float, adam: float, decay: float) -> None:
        self.rates, self.decay = (muon, adam), decay
        self.live = dict(model.named_parameters())
        self.state = {f"master.{name}": p.detach().float().clone() for name, p in self.live.items()}
        for name, p in self.live.items():
            self.state[f"first.{name}"] = torch.zeros_like(p, dtype=torch.float32)
            if not self._is_matrix(name):
                self.state[f"second.{name}"] = torch.zeros_like(p, dtype=torch.float32)
        self.groups: dict[tuple[int, int], list[str]] = {}
        for name, p in self.live.items():
            if self._is_matrix(name):
                self.groups.setdefault((min(p.shape), max(p.shape)), []).append(name)

    def _is_matrix(self, name: str) -> bool:
        return "layers" in name and self.live[name].ndim == 2

    @torch.no_grad()
    def step(self, index: int, scale: float) -> None:
        norm = torch.stack([p.grad.float().norm() for p in self.live.values() if p.grad is not None]).norm()
        clip = float((1.0 / norm).clamp(max=1.0))
        for names in self.groups.values():
            self._muon(names, self.rates[0] * scale, min(0.95, 0.85 + 0.1 * index / 300))
        for name in self.live:
            if not self._is_matrix(name):
                self._adam(name, self.rates[1] * scale, index, clip)
        for name, p in self.live.items():
            p.copy_(self.state[f"master.{name}"])
            p.grad = None

    def _muon(self, names: list[str], rate: float, momentum: float) -> None:
        updates = []
        for name in names:
            gradient, first = _gradient(self.live[name]), self.state[f"first.{name}"]
            first.lerp_(gradient, 1 - momentum)
            update = gradient.lerp(first, momentum)
            updates.append(update if update.shape[0] <= update.shape[1] else update.mT)
        for name, update in zip(names, orthogonalise(torch.stack(updates)), strict=True):
            master = self.state[f"master.{name}"]
            rows, columns = master.shape
            master.mul_(1 - rate * self.decay)
            step = update if rows <= columns else update.mT
            master.add_(step, alpha=-rate * max(1.0, rows / columns) ** 0.5)

    def _adam(self, name: str, rate: float, index: int, clip: float) -> None:
        gradient = _gradient(self.live[name]) * clip
        first, second = self.state[f"first.{name}"], self.state[f"second.{name}"]
        first.lerp_(gradient, 0.1)
        second.lerp_(gradient.square(), 0.02)
        mean = first / (1 - 0.9 ** (index + 1))
        deviation = (second / (1 - 0.98 ** (index + 1))).sqrt()
        self.state[f"master.{name}"].sub_(rate * mean / (deviation + 1e-10))


def _gradient(p: Tensor) -> Tensor:
    assert p.grad is not None
    return p.grad.float()


@torch.no_grad()
def held_out(model: Qwen3ForCausalLM, corpus: Corpus, *, windows: int, poems: int) -> tuple[float, float]:
    """Bits per byte on the unseen novels and bits per character on bare unseen poems, quickly (no sliding)."""

    def nats(tokens: list[int]) -> float:
        x = torch.tensor(tokens)
        logits = model(input_ids=x[None, :-1]).logits[0].float()
        return float(torch.nn.functional.cross_entropy(logits, x[1:], reduction="sum"))

    novel = "".join(corpus.unseen_books.values())
    size = len(novel) // windows
    pieces = [novel[i * size : i * size + 1500] for i in range(windows)]
    english = sum(nats([corpus.end, *corpus.ids(piece)][: WINDOW + 1]) for piece in pieces)
    length = sum(len(piece.encode()) for piece in pieces)
    bodies = [body for _, body in corpus.unseen_poems[:poems]]
    chinese = sum(nats([corpus.end, *corpus.ids(body)]) for body in bodies)
    return english / length / math.log(2), chinese / sum(map(len, bodies)) / math.log(2)


def save_state(run: Path, optimizer: Optimizer, step: int) -> None:
    beside = run / "state.new"
    save_file(optimizer.state, beside, metadata={"step": str(step)})
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    beside.rename(run / "state.safetensors")
    (run / "step.json").write_text(json.dumps({"step": step}))


def load_state(run: Path, optimizer: Optimizer) -> int:
    """Restores a run, and returns the step to go on with: 0 for a new one."""
    if not (run / "step.json").exists():
        return 0
    for name, tensor in load_file(run / "state.safetensors").items():
        optimizer.state[name].copy_(tensor)
    with torch.no_grad():
        for name, p in optimizer.live.items():
            p.copy_(optimizer.state[f"master.{name}"])
    return int(json.loads((run / "step.json").read_text())["step"])


def schedule(step: int, steps: int) -> float:
    """Warm-up over 60 steps, then a straight line to zero."""
    return min(1.0, (step + 1) / 60) * max(0.0, 1 - step / steps)


def train(model: Qwen3ForCausalLM, corpus: Corpus, optimizer: Optimizer, args: argparse.Namespace) -> None:
    body = torch.compile(lambda ids: model.model(ids, use_cache=False).last_hidden_state, dynamic=False)
    start, mean, clock = load_state(args.run, optimizer), math.nan, time.time()
    for step in range(start, args.steps):
        length = WINDOW // 2 if step < args.short * args.steps else WINDOW
        inputs, targets = corpus.batch(step, length)
        hidden = body(inputs).flatten(0, 1)
        loss = LinearCrossEntropy.apply(hidden, model.lm_head.weight, targets.flatten())
        loss.backward()
        optimizer.step(step, schedule(step, args.steps))
        mean = loss.item() if math.isnan(mean) else 0.98 * mean + 0.02 * loss.item()
        if not math.isfinite(mean):
            raise SystemExit(f"step {step}: the loss is not finite; lower --muon or --adam and resume")
        if (step + 1) % 25 == 0:
            rate = targets.numel() * (step + 1 - start) / (time.time() - clock)
            left = (args.steps - step - 1) * targets.numel() / rate / 60
            print(f"step {step + 1}/{args.steps} loss {mean:.3f} {rate:.0f} tokens/s, {left:.0f} min left", flush=True)
        if (step + 1) % 200 == 0 or step + 1 == args.steps:
            save_state(args.run, optimizer, step + 1)
        if (step + 1) % 400 == 0 or step + 1 == args.steps:
            english, chinese = held_out(model, corpus, windows=40, poems=150)
            print(f"held out: {english:.3f} bits/byte, {chinese:.2f} bits/character", flush=True)


def export(model: Qwen3ForCausalLM, corpus: Corpus, folder: Path) -> None:
    """Writes what aigc and transformers read: bfloat16 weights, tokenizer, configuration, checksums."""
    model.generation_config = GenerationConfig(
        bos_token_id=0, eos_token_id=0, pad_token_id=0, do_sample=True, temperature=0.8, top_p=0.95
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=corpus.tokenizer, bos_token=END, eos_token=END, pad_token=END, model_max_length=WINDOW
    )
    aigc.Generator(model.eval(), tokenizer).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder of the tokenizer, the state and the log")
    parser.add_argument("--export", type=Path, help="write the trained model here and stop")
    parser.add_argument("--steps", type=int, default=3600, help="of 8,192 tokens")
    parser.add_argument("--short", type=float, default=0.7, help="share of the run on windows of 256")
    parser.add_argument("--muon", type=float, default=0.02)
    parser.add_argument("--adam", type=float, default=0.003)
    parser.add_argument("--decay", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    corpus = Corpus(args.data, args.run, args.seed)
    model = build_model().bfloat16()
    optimizer = Optimizer(model, muon=args.muon, adam=args.adam, decay=args.decay)
    if args.export:
        print(f"exporting step {load_state(args.run, optimizer)}")
        export(model, corpus, args.export)
        return
    size = sum(p.numel() for p in model.parameters())
    print(f"{size:,} parameters; {len(corpus.english):,} English tokens, {len(corpus.poems):,} poems", flush=True)
    train(model, corpus, optimizer, args)


if __name__ == "__main__":
    main()
