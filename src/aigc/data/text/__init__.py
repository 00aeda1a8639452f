"""Text: from files of any size to windows of tokens, each step lazy, each by itself.

sources.py      texts from files; _streams.py, _records.py and _reader.py read them, dividing.py tells documents apart
documents.py    a document; corpus.py, many of them
cleaning.py     steps of cleaning; layout.py and markup.py have more; effects.py says what they did
duplicates.py   exact and near duplicates, by _minhash.py
splitting.py    which documents are held out; leakage.py, how much of them was not
tokenizer.py    a tokenizer of one's own
writing.py      token files of a corpus; tokens.py reads them, manifest.py says what is in them
packing.py      windows for training
"""

from aigc.data.text._progress import Preparation
from aigc.data.text.cleaning import (
    STANDARD,
    BlankLines,
    DropShort,
    LineEndings,
    Normalise,
    RemoveControls,
    RemoveInvisible,
    Step,
    TrailingSpace,
)
from aigc.data.text.corpus import Corpus, Split, Summary
from aigc.data.text.dividing import Blank, Division, Heading, Lines, Part, Pieces, Whole
from aigc.data.text.documents import Document, Turn
from aigc.data.text.duplicates import Duplicate, Duplicates, find_duplicates
from aigc.data.text.effects import Effect, Effects, Example
from aigc.data.text.layout import JoinHyphens, JoinLines, RemoveBoilerplate
from aigc.data.text.leakage import Leakage, Leaked, leakage
from aigc.data.text.manifest import Entry, Manifest
from aigc.data.text.markup import RemoveHtml
from aigc.data.text.packing import IGNORED, Packed, Packing, Window, pack
from aigc.data.text.sources import texts
from aigc.data.text.tokenizer import END, tokenizer_hash, train_tokenizer
from aigc.data.text.tokens import Tokens
from aigc.data.text.writing import write_tokens

__all__ = [
    "END",
    "IGNORED",
    "STANDARD",
    "Blank",
    "BlankLines",
    "Corpus",
    "Division",
    "Document",
    "DropShort",
    "Duplicate",
    "Duplicates",
    "Effect",
    "Effects",
    "Entry",
    "Example",
    "Heading",
    "JoinHyphens",
    "JoinLines",
    "Leakage",
    "Leaked",
    "LineEndings",
    "Lines",
    "Manifest",
    "Normalise",
    "Packed",
    "Packing",
    "Part",
    "Pieces",
    "Preparation",
    "RemoveBoilerplate",
    "RemoveControls",
    "RemoveHtml",
    "RemoveInvisible",
    "Split",
    "Step",
    "Summary",
    "Tokens",
    "TrailingSpace",
    "Turn",
    "Whole",
    "Window",
    "find_duplicates",
    "leakage",
    "pack",
    "texts",
    "tokenizer_hash",
    "train_tokenizer",
    "write_tokens",
]
