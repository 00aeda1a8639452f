"""A model for a corpus, untrained: how large, of what shape, with what tokenizer, and why."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypedDict
from weakref import WeakSet

import torch
from torch import nn

from aigc import device as devices
from aigc import random
from aigc._checks import fail_type, integer
from aigc.data.text import Corpus, Document, train_tokenizer
from aigc.errors import DataError
from aigc.text._transformers_files import untrained

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Architecture", "Scratch", "ScratchOptions", "architecture", "from_scratch"]

_LEAST, _MOST = 1_000_000, 20_000_000  # parameters, unless told otherwise
_ASPECT = 43  # features a layer, as in GPT-2 and most small models since; between 30 and 80 the loss hardly changes
_HEAD = 64
_NEW: WeakSet[nn.Module] = WeakSet()


class ScratchOptions(TypedDict, total=False):
    """What `Generator.from_scratch` takes besides a corpus: see `from_scratch`."""

    parameters: int | None
    vocabulary: int | None
    context: int
    tokenizer: "Tokenizer | None"
    seed: int
    device: str | torch.device


class Scratch(NamedTuple):
    """What a `Generator` is made of."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a model: Qwen3's, which is Llama's with normalised queries and keys.

    Attributes:
        vocabulary: Tokens.
        width: Features.
        layers: How many.
        hidden: Features inside a layer's perceptron.
        head: Features of a head of attention.
        parameters: In all; the embedding is tied to the output.
        reason: Sentences that say why.

    Example:
        >>> print(Architecture.of(7_500_000, vocabulary=8192))
        7 layers of 256 features, 8,192 tokens, 7.7M parameters. 37 features a layer, 103% of the parameters asked for.
    """

    vocabulary: int
    width: int
    layers: int
    hidden: int
    head: int
    parameters: int
    reason: str = ""

    @classmethod
    def of(cls, parameters: int, *, vocabulary: int, reason: str = "") -> "Architecture":
        """The shape nearest to some parameters, with about 43 features a layer.

        Args:
            parameters: In all, the embedding included.
            vocabulary: Tokens.
            reason: What else shall be said.
        """
        budget = integer("parameters", parameters, low=10_000)
        shapes = [_shape(vocabulary, width, layers) for width in _widths() for layers in range(1, 65)]
        fitting = [one for one in shapes if one.parameters <= 1.05 * budget] or [
            min(shapes, key=lambda one: one.parameters)
        ]

        def far(one: Architecture) -> float:
            return 3 * abs(math.log(one.parameters / budget)) + abs(math.log(one.width / one.layers / _ASPECT))

        best = min(fitting, key=far)
        why = (
            f"{best.width / best.layers:.0f} features a layer, {best.parameters / budget:.0%} of the parameters asked for."
        )
        return _shape(vocabulary, best.width, best.layers, f"{why} {reason}".strip())

    def __str__(self) -> str:
        size = f"{self.parameters / 1e6:.1f}M parameters"
        return f"{self.layers} layers of {self.width} features, {self.vocabulary:,} tokens, {size}. {self.reason}"


def architecture(
    corpus: Iterable[Document], *, parameters: int | None = None, vocabulary: int | None = None
) -> Architecture:
    """Chooses the shape of a model for a corpus, and says why.

    Args:
        corpus: Read once.
        parameters: In all; by default two for each character, at least a million and at most 20 million, which a laptop
            trains in hours.
        vocabulary: Tokens; by default one for each thousand characters, a power of 2 between 512 and 32,768, so that each
            is seen often; and at most as many as a third of the parameters can embed.

    Raises:
        DataError: If the corpus has no document.

    Example:
        >>> from aigc.data import Corpus
        >>> print(architecture(Corpus.of(["To be, or not to be"] * 1000)))
        4 layers of 128 features, 512 tokens, 0.9M parameters. 32 features a layer, ...
    """
    characters = sum(len(document.text) for document in corpus)
    if not characters:
        raise DataError("corpus must have at least one document, and has none. Look at what was filtered out.")
    size = min(max(2 * characters, _LEAST), _MOST) if parameters is None else integer("parameters", parameters, low=10_000)
    why = f"The corpus has {characters:,} characters"
    if vocabulary is None:
        most = size / 3 / max(32, (size / 12 * _ASPECT) ** (1 / 3))  # the width of so many parameters, roughly
        wanted = min(max(characters / 1000, 512), 32_768, most)
        vocabulary = max(2 ** round(math.log2(wanted)), 257)
        why += ", one token for each thousand of them and an embedding of at most a third of the model"
    return Architecture.of(size, vocabulary=integer("vocabulary", vocabulary, low=257), reason=f"{why}.")


def from_scratch(
    corpus: Iterable[Document],
    *,
    parameters: int | None = None,
    vocabulary: int | None = None,
    context: int = 512,
    tokenizer: "Tokenizer | None" = None,
    seed: int = 0,
    device: str | torch.device = "auto",
) -> Scratch:
    """Makes an untrained model and its tokenizer: `Generator.from_scratch(corpus)`.

    `print(aigc.text.scratch.architecture(corpus))` says what is chosen, and why.

    Args:
        corpus: Documents; read twice.
        parameters: As for `architecture`.
        vocabulary: As for `architecture`.
        context: Tokens that the model can read, at least 8.
        tokenizer: One that is there already, in place of one that is trained on the corpus.
        seed: Of the first weights.
        device: Where the model shall be.

    Raises:
        DataError: If the corpus has no document.
        ParameterError: If an argument is out of range.

    Example:
        >>> from aigc import Generator
        >>> from aigc.data import Corpus
        >>> Generator.from_scratch(Corpus.of(["To be, or not to be"] * 9), parameters=100_000, device="cpu")
        Generator(Qwen3ForCausalLM, 0.1M parameters, cpu, float32, context 512)
    """
    if isinstance(corpus, str) or not isinstance(corpus, Iterable) or iter(corpus) is corpus:
        raise fail_type("corpus", "a Corpus, such as aigc.data.texts(path), or a list of texts", corpus)
    corpus = corpus if isinstance(corpus, Corpus) else Corpus.of(list(corpus))
    if tokenizer is not None and not hasattr(tokenizer, "get_vocab_size"):
        raise fail_type("tokenizer", "one of tokenizers", tokenizer, "Give tokenizer.backend_tokenizer.")
    integer("context", context, low=8, high=2**20)
    known = None if tokenizer is None else tokenizer.get_vocab_size()
    shape = architecture(corpus, parameters=parameters, vocabulary=vocabulary if known is None else known)
    made = train_tokenizer(corpus, size=shape.vocabulary) if tokenizer is None else tokenizer
    if made.get_vocab_size() < shape.vocabulary:  # too few pairs in the corpus
        shape = _shape(made.get_vocab_size(), shape.width, shape.layers, shape.reason)
    place = devices.place(device, dtype="float32").device
    model, own = untrained(shape, made, context=context, seed=random.check_seed("seed", seed), device=place)
    _NEW.add(model)
    return Scratch(model, own)


def is_new(model: nn.Module) -> bool:
    """Whether a model is from `from_scratch` and was not trained to the end of a run since: it takes larger steps."""
    return model in _NEW


def no_longer_new(model: nn.Module) -> None:
    """Notes that a run of a model has ended."""
    _NEW.discard(model)


def _widths() -> list[int]:
    return [32, 64, 96, *range(128, 513, 64), *range(640, 2049, 128)]


def _shape(vocabulary: int, width: int, layers: int, reason: str = "") -> Architecture:
    head = _HEAD if width % _HEAD == 0 else 32
    hidden = math.ceil(8 * width / 3 / 32) * 32
    block = 4 * width**2 + 3 * width * hidden + 2 * width + 2 * head
    return Architecture(vocabulary, width, layers, hidden, head, vocabulary * width + layers * block + width, reason)
