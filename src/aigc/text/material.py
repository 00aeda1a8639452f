"""What a language model is trained on: texts of any kind, as windows of tokens of one length."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from aigc._checks import fail, fail_type, integer
from aigc.data.text import (
    Corpus,
    Document,
    Entry,
    Manifest,
    Packed,
    Packing,
    Tokens,
    pack,
    texts,
    tokenizer_hash,
    write_tokens,
)
from aigc.text.conversations import Conversations, conversations
from aigc.text.mixtures import Mixture, Plain, talks

if TYPE_CHECKING:
    from aigc.text.generator import Generator

__all__ = ["Material", "Texts", "material", "window_length"]

Texts = str | Path | Sequence[str | Document] | Corpus | Tokens | Packed

_LENGTH = 512  # targets of a window, where the model could read more
_FILE = "tokens"


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Windows to train on.

    Attributes:
        windows: A `Dataset` of them.
        targets: Tokens that are predicted, of all windows.
        manifest: What documents they are of.
        bytes: Of the text that is predicted, in UTF-8.
        identity: What a run must have in common with the one it resumes.
    """

    windows: Packed | Conversations | Mixture
    targets: int
    manifest: Manifest
    bytes: int
    identity: Mapping[str, Any]


@contextmanager
def material(
    gen: "Generator",
    data: Texts,
    *,
    length: int | None,
    packing: Packing | None,
    folder: Path | None,
    aside: bool = False,
    name: str = "data",
) -> Iterator[Material]:
    """Makes windows of data; token files that had to be written for it are removed afterwards, unless there is a folder.

    Args:
        gen: Whose tokenizer is taken.
        data: A path of texts, or of a folder of token files; documents; a `Corpus`; or what is made of one.
        length: Targets of a window; None takes the model's context, at most 512.
        packing: As for `aigc.data.pack`; None is `"best-fit"`, or what windows that are given have.
        folder: Where token files are kept for a run that is resumed. Those that are there must be of the same corpus.
        aside: Whether the texts are only looked at: they may be few.
        name: What errors call the data.

    Raises:
        DataError: If there is too little text, a file cannot be read, or the corpus is another than that of the folder.
        ParameterError: If the length exceeds the context, or what is given as windows has another length or packing.
    """
    if packing not in (None, *get_args(Packing)):
        raise fail("packing", "'best-fit' or 'concatenate'", packing)
    if isinstance(data, Packed):
        if not aside and length not in (None, data.length):  # texts that are only looked at may be packed otherwise
            raise fail("length", f"left out with windows of {data.length}", length)
        if not aside and packing not in (None, data.how):
            cure = f"Make them by pack(..., how={packing!r}), or leave packing out."
            raise fail("packing", f"left out with windows that are packed {data.how!r}", packing, cure)
        window_length(gen, data.length)
        _check(gen, data.tokens, name)
        yield _material(data)
        return
    size = window_length(gen, length)
    tokens = data if isinstance(data, Tokens) else _tokens(data)
    if tokens is not None:
        _check(gen, tokens, name)
        yield _material(_packed(tokens, size, packing, aside))
        return
    corpus = _corpus(name, data)
    first, texts = next(iter(corpus), None), Plain(corpus)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary if folder is None else folder) / _FILE
        tokens = None if first is not None and first.turns else _written(gen, texts, place)
        if tokens is None or texts.met:
            how: dict[str, Any] = {"size": size, "packing": packing, "aside": aside}
            yield _of_conversations(gen, texts, tokens, place, **how)
        else:
            yield _material(_packed(tokens, size, packing, aside))


def _written(gen: "Generator", texts: Plain, place: Path) -> Tokens:
    """Token files of the plain texts of a corpus."""
    end = gen.tokenizer.eos_token_id
    if end is None:
        cure = "Set gen.tokenizer.eos_token to the token that ends texts."
        raise fail("tokenizer", "one with a token that ends texts", "none", cure)
    if not place.is_dir():
        how: dict[str, Any] = {"end": end, "vocabulary": _vocabulary(gen), "progress": False}
        return write_tokens(replace(texts.corpus, documents=texts), place, tokenizer=gen.tokenizer, **how)
    tokens = Tokens.open(place)
    tokens.check_tokenizer(gen.tokenizer)
    tokens.manifest().check(texts)
    return tokens


def _packed(tokens: Tokens, size: int, packing: Packing | None, aside: bool) -> Packed:
    if aside:
        size = max(2, min(size, tokens.count + len(tokens)))
    return pack(tokens, length=size, how="best-fit" if packing is None else packing)


def _check(gen: "Generator", tokens: Tokens, name: str) -> None:
    tokens.check_tokenizer(gen.tokenizer)
    if tokens.vocabulary > _vocabulary(gen):
        condition = f"tokens of at most {_vocabulary(gen)} kinds, as the model has them"
        raise fail(name, condition, f"{tokens.vocabulary}", "Write them with gen.tokenizer.")


def window_length(gen: "Generator", length: int | None) -> int:
    """Targets of a window: what is asked for, or what the model can read, at most 512."""
    if length is None:
        return min(gen.context or _LENGTH, _LENGTH)
    return integer("length", length, low=2, high=gen.context, cure=f"The model reads {gen.context} tokens.")


def _vocabulary(gen: "Generator") -> int:
    return int(gen.model.get_input_embeddings().weight.shape[0])


def _corpus(name: str, data: Any) -> Corpus:
    if isinstance(data, Corpus):
        return data
    if isinstance(data, str) and ("\n" in data or len(data) > 1000):
        raise fail(name, "a path or a sequence of texts", f"{data[:30]}...", "Put one text into a list.")
    if isinstance(data, str | Path):
        return texts(data)
    if isinstance(data, Sequence):
        return Corpus.of(data)
    raise fail_type(name, "a path, documents, a Corpus, Tokens or Packed", data, "Read files by aigc.data.texts(path).")


def _tokens(data: Any) -> Tokens | None:
    """What is in a folder of token files; None if data is none."""
    short = isinstance(data, Path) or (isinstance(data, str) and len(data) <= 1000)
    found = short and (Path(data) / "corpus.json").is_file()
    return Tokens.open(data) if found else None


def _material(windows: Packed) -> Material:
    manifest = windows.tokens.manifest()
    same = {"corpus": manifest.corpus, "length": windows.length, "packing": windows.how}
    return Material(windows, windows.targets, manifest, windows.tokens.bytes, same)


def _of_conversations(
    gen: "Generator", texts: Plain, tokens: Tokens | None, place: Path, *, size: int, packing: Packing | None, aside: bool
) -> Material:
    """Conversations, and the plain texts that are among them, which may have been written before."""
    corpus = texts.corpus
    found = conversations(gen.tokenizer, gen._vocabulary, talks(corpus), length=size)
    if tokens is None and next(iter(texts), None) is not None:
        tokens = _written(gen, texts, place)
    if tokens is None and not aside and packing not in (None, "best-fit"):
        raise fail("packing", "left out with conversations, which are never cut", packing)
    windows = found if tokens is None else Mixture(found, _packed(tokens, size, packing, True))
    counts, lengths = iter(found.counts), iter(() if tokens is None else tokens.lengths().tolist())
    entries = tuple(
        Entry(
            one.name,
            one.source,
            one.licence,
            one.sha256,
            len(one.text),
            len(one.text.encode()),
            next(counts if one.turns else lengths),
        )
        for one in corpus
    )
    kinds = tokenizer_hash(gen.tokenizer.backend_tokenizer), _vocabulary(gen)
    manifest = Manifest(corpus.summary().sha256, *kinds, corpus.history, entries)
    packed = "conversations" if isinstance(windows, Conversations) else f"conversations and {windows.texts.how}"
    same = {"corpus": manifest.corpus, "length": size, "packing": packed, "template": gen.tokenizer.chat_template}
    return Material(windows, windows.targets, manifest, windows.bytes, same)
