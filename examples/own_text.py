"""A model that writes like you: `python examples/own_text.py [folder or file of texts] [folder for the model]`.

Without arguments it learns a few lines of its own, in some seconds, and leaves no files.
"""

import sys
import tempfile
from pathlib import Path

import aigc
from aigc.data import Corpus, texts
from aigc.text import evaluate

LINES = [
    f"{who} {what} by the {where}, and the {where} {answer}."
    for who in ("The old king", "My sister", "A stranger", "The sailor", "Nobody")
    for what, answer in (("sings", "listens"), ("waits", "is patient"), ("weeps", "says nothing"), ("laughs", "laughs too"))
    for where in ("river", "sea", "window", "garden", "road")
]

with tempfile.TemporaryDirectory() as temporary:
    if len(sys.argv) > 1:
        corpus = texts(sys.argv[1]).clean().without_duplicates()
        train, held_out = corpus.split(held_out=0.1) if (corpus.count or 2) > 20 else corpus.split_tail(held_out=0.1)
        how = {"epochs": 3, "patience": 3}
    else:
        train, held_out = Corpus.of(LINES).split(held_out=0.1)
        how = {"steps": 20, "length": 64, "batch_size": 4, "progress": False}

    gen = aigc.Generator.default()
    before = [score.bits_per_byte for score in gen.score([document.text for document in held_out])]
    print(gen.fit(train, held_out=held_out, seed=0, **how))
    report = evaluate(gen, held_out, training=train, samples=8, max_new_tokens=32, seed=0)
    print(f"before: {sum(before) / len(before):.2f} bits a byte of what was held out")
    print(report)
    for completion in gen.generate("", n=3, max_new_tokens=40, seed=0):
        print("---", completion.text.strip(), sep="\n")
    place = Path(sys.argv[2] if len(sys.argv) > 2 else temporary) / "model"
    gen.save_pretrained(place)
    known = aigc.Generator.from_pretrained(place).trained_on
    print(f"trained on {sum(len(manifest.documents) for manifest in known)} texts, as the model's folder says")
