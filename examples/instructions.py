"""Instruction tuning from start to finish, in two minutes of one core: `python examples/instructions.py [--lora]`.

The default model goes on with what it reads and answers nothing. Here it learns four questions about a poem. The poems are
its own; the answers are read off them by rules, so that each is right or wrong. What is asked at the end is about poems
that it has not seen, under titles that it has not seen. Of each question the share of right answers is printed before and
after, beside that of always giving the commonest answer.
"""

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import aigc
from aigc.data import texts
from aigc.sampling import Greedy
from aigc.text import PLAIN_TEMPLATE, LoRA

NUMBERS = {4: "four", 5: "five", 7: "seven", 8: "eight"}
TITLES = [
    f"{when}{what}"
    for when, what in product(
        ("春日", "秋夜", "暮江", "山中", "雨后", "雪中"), ("有怀", "寄友", "独坐", "闻笛", "送别", "看花")
    )
]
HELD_OUT = TITLES[::6]


class Pair(NamedTuple):
    """A poem with a question, and the answer."""

    question: str
    prompt: str
    completion: str


def pairs(gen: aigc.Generator, titles: Sequence[str], *, poems: int, seed: int) -> list[Pair]:
    """All four questions about each of some poems that the model writes."""
    out = gen.generate([f"《{titles[i % len(titles)]}》\n" for i in range(poems)], seed=seed)
    return [pair for poem in dict.fromkeys(completion.text.strip() for completion in out) for pair in about(poem)]


def about(poem: str) -> list[Pair]:
    """Questions and answers, where the poem is regular."""
    lines = [line for line in re.split("[，。？！；]", poem) if line]
    lengths = {len(line) for line in lines}
    if len(lines) not in (4, 8) or lengths not in ({5}, {7}):
        return []
    answers = {
        "How many lines?": NUMBERS[len(lines)],
        "How many characters in a line?": NUMBERS[len(lines[0])],
        "Are there flowers in it?": "yes" if "花" in poem else "no",
        "Repeat the first line.": lines[0],
    }
    return [Pair(question, f"{poem} {question}", answer) for question, answer in answers.items()]


def examine(gen: aigc.Generator, asked: Sequence[Pair]) -> None:
    """Prints the share of right answers to each question, and the answers about one poem."""
    conversations = [[{"role": "user", "content": pair.prompt}] for pair in asked]
    out = gen.chat(conversations, max_new_tokens=16, sampler=Greedy())
    answers = [completion.text.strip() for completion in out]
    for question in dict.fromkeys(pair.question for pair in asked):
        these = [(pair, answer) for pair, answer in zip(asked, answers, strict=True) if pair.question == question]
        right = sum(answer == pair.completion for pair, answer in these)
        guess = Counter(pair.completion for pair, _ in these).most_common(1)[0][1]
        print(f"  {question:31}{right:4} of {len(these)} right; the commonest answer: {guess}. {these[0][1][:30]!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poems", type=int, default=400, help="to learn from, four questions each")
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--asked", type=int, default=50, help="poems that are asked about before and after")
    parser.add_argument("--lora", action="store_true", help="train an adapter alone; needs aigc[lora]")
    args = parser.parse_args()

    gen = aigc.Generator.default()
    known = pairs(gen, [title for title in TITLES if title not in HELD_OUT], poems=args.poems, seed=0)
    seen = {pair.prompt for pair in known}
    asked = [pair for pair in pairs(gen, HELD_OUT, poems=args.asked, seed=1) if pair.prompt not in seen]
    gen.tokenizer.chat_template = PLAIN_TEMPLATE  # the default model has none; it is kept with what is saved
    print(f"{len(known)} pairs to learn from, such as {known[0].prompt!r}: {known[0].completion!r}")
    print("Before:")
    examine(gen, asked)

    with tempfile.TemporaryDirectory() as folder:  # pairs of your own come from such a file
        file = Path(folder, "pairs.jsonl")
        file.write_text("".join(json.dumps(pair._asdict(), ensure_ascii=False) + "\n" for pair in known), encoding="utf-8")
        corpus = texts(file, field=("prompt", "completion"), licence="the model's own")
        if args.lora:
            gen.adapters.add("questions", LoRA(rank=16))
        lr = 0.016 if args.lora else 0.004  # more than for prose: answers are short, and so are the runs
        print(gen.fit(corpus, steps=args.steps, batch_size=4, length=256, lr=lr, seed=0))
    print("After:")
    examine(gen, asked)


if __name__ == "__main__":
    main()
