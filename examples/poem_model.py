"""A model that writes poems: `python examples/poem_model.py [poems.tsv] [--author NAME] [--scratch] [--save FOLDER]`.

Poems come from a table without a head whose columns are title, author and body (`.tsv`, `.tsv.gz`, `.csv`), from JSON Lines
with fields of these names, or from a folder of one poem a file under its title. Without a path it learns the quatrains
below, which are far too few, and which the default model knows: that is a rehearsal of some seconds. A tenth of the poems
is held out; the model then writes on their titles.
"""

import argparse
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import aigc
from aigc.data import Corpus, Document, texts
from aigc.metrics.text import OverlapIndex

RUN = 12  # characters in common that count as copied: more than a line, with the mark behind it
QUATRAINS = """
静夜思|床前明月光，疑是地上霜。举头望明月，低头思故乡。
春晓|春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。
登鹳雀楼|白日依山尽，黄河入海流。欲穷千里目，更上一层楼。
江雪|千山鸟飞绝，万径人踪灭。孤舟蓑笠翁，独钓寒江雪。
鹿柴|空山不见人，但闻人语响。返景入深林，复照青苔上。
竹里馆|独坐幽篁里，弹琴复长啸。深林人不知，明月来相照。
鸟鸣涧|人闲桂花落，夜静春山空。月出惊山鸟，时鸣春涧中。
相思|红豆生南国，春来发几枝。愿君多采撷，此物最相思。
杂诗|君自故乡来，应知故乡事。来日绮窗前，寒梅著花未。
山中送别|山中相送罢，日暮掩柴扉。春草明年绿，王孙归不归。
独坐敬亭山|众鸟高飞尽，孤云独去闲。相看两不厌，只有敬亭山。
秋浦歌|白发三千丈，缘愁似个长。不知明镜里，何处得秋霜。
乐游原|向晚意不适，驱车登古原。夕阳无限好，只是近黄昏。
寻隐者不遇|松下问童子，言师采药去。只在此山中，云深不知处。
问刘十九|绿蚁新醅酒，红泥小火炉。晚来天欲雪，能饮一杯无。
宿建德江|移舟泊烟渚，日暮客愁新。野旷天低树，江清月近人。
八阵图|功盖三分国，名成八阵图。江流石不转，遗恨失吞吴。
逢雪宿芙蓉山主人|日暮苍山远，天寒白屋贫。柴门闻犬吠，风雪夜归人。
送灵澈|苍苍竹林寺，杳杳钟声晚。荷笠带斜阳，青山独归远。
行宫|寥落古行宫，宫花寂寞红。白头宫女在，闲坐说玄宗。
悯农|锄禾日当午，汗滴禾下土。谁知盘中餐，粒粒皆辛苦。
渡汉江|岭外音书断，经冬复历春。近乡情更怯，不敢问来人。
"""


def read(path: Path | None) -> Corpus:
    """Poems whose name is their title and whose text is their body."""
    if path is None:
        lines = [line.split("|") for line in QUATRAINS.split()]
        return Corpus.of([Document(body, name=title, licence="public domain") for title, body in lines])
    if path.is_dir():
        halves = [(file, file.text.strip().partition("\n")) for file in texts(path)]
        return Corpus.of(
            [replace(file, text=body.strip(), name=title.strip()) for file, (title, _, body) in halves if body.strip()]
        )
    table = any(suffix in (".tsv", ".csv") for suffix in path.suffixes)
    return texts(path, field="body", title="title", columns=("title", "author", "body") if table else None)


def under_titles(poems: Iterable[Document]) -> list[Document]:
    """Poems as they are learned, and asked for."""
    return [replace(poem, text=f"《{poem.name}》\n{poem.text}") for poem in poems]


def form_of(body: str) -> tuple[int, int] | None:
    """Lines, and characters of each, where all have as many."""
    lines = [line for line in re.split(r"[，。？！；、,.?!;\s]+", body.strip()) if line]
    lengths = {len(line) for line in lines}
    return (len(lines), lengths.pop()) if len(lengths) == 1 else None


def bits(gen: aigc.Generator, poems: list[Document]) -> float:
    """Bits a character, of titles and bodies."""
    nats = sum(score.nats for score in gen.score([poem.text for poem in poems]))
    return nats / math.log(2) / sum(len(poem.text) for poem in poems)


def report(gen: aigc.Generator, train: list[Document], held_out: list[Document], count: int) -> None:
    """Writes on titles that are held out, and says what came of it."""
    bodies, real = ([poem.text.partition("\n")[2] for poem in poems] for poems in (train, held_out))
    forms = Counter(map(form_of, bodies))
    usual = {form for form, number in forms.items() if form and number >= 0.02 * len(bodies)}
    titles = [poem.name for poem in held_out]
    out = gen.generate([f"《{titles[i % len(titles)]}》\n" for i in range(count)], max_new_tokens=120, seed=0)
    written = [completion.text.strip() for completion in out]
    regular = sum(c.finish_reason == "eos" and form_of(poem) in usual for c, poem in zip(out, written, strict=True))
    index = OverlapIndex(bodies, n=RUN)
    for completion, poem in list(zip(out, written, strict=True))[:3]:
        print(f"  {completion.prompt.strip()} {poem}")
    print(f"  {regular} of {count} have a form of the training poems, and end by themselves")
    print(f"  written: {index.search(written)}")
    print(f"  real ones, held out: {index.search(real)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("poems", type=Path, nargs="?")
    parser.add_argument("--author", help="only the poems of one, of a table or JSON Lines")
    parser.add_argument("--limit", type=int, help="only so many")
    parser.add_argument("--steps", type=int, help="by default three epochs; of the quatrains 4 steps")
    parser.add_argument("--scratch", action="store_true", help="a new model and tokenizer, in place of the default model")
    parser.add_argument("--save", type=Path, help="a folder for the model")
    args = parser.parse_args()

    if args.author and (args.poems is None or args.poems.is_dir()):
        parser.error(
            "--author needs a table or JSON Lines, whose records say who wrote them: poem_model.py poems.tsv --author NAME"
        )
    poems = read(args.poems)
    if args.author:
        poems = poems.where(lambda poem: poem.fields.get("author") == args.author)
        if next(iter(poems), None) is None:
            parser.error(f"no poem in {args.poems} is by {args.author}")
    found = Corpus.of(list(poems)[: args.limit]).without_duplicates()
    parts = found.split(held_out=0.1)
    train, held_out = under_titles(parts.train), under_titles(parts.held_out)
    print(f"{len(train):,} poems to learn, {len(held_out):,} held out")
    gen = aigc.Generator.from_scratch(Corpus.of(train), context=256) if args.scratch else aigc.Generator.default()
    print(f"before: {bits(gen, held_out):.2f} bits a character of what is held out")
    steps = args.steps or (None if args.poems else 4)
    how = {"steps": steps} if steps else {"epochs": 3.0, "patience": 3}
    history = gen.fit(train, held_out=held_out, batch_size=8 if args.poems else 2, length=256, seed=0, **how)
    print(history)
    print(f"after: {bits(gen, held_out):.2f}")
    report(gen, train, held_out, count=200 if args.poems else 8)
    if args.save:
        gen.save_pretrained(args.save)


if __name__ == "__main__":
    main()
