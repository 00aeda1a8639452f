"""`Generator`: the face of text generation. It says what can be asked; `engine.py` does it."""

from collections.abc import AsyncGenerator, Container, Iterable, Sequence
from collections.abc import Generator as Closable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

import torch

from aigc import checkpoint
from aigc.data.text import Document
from aigc.text import learning, plan, provenance, requests, scratch
from aigc.text._transformers_files import save
from aigc.text._transformers_kinds import adapt
from aigc.text.adapters import Adapters
from aigc.text.asynchronous import iterate
from aigc.text.constraining import ConstraintOptions
from aigc.text.engine import Engine
from aigc.text.gaps import Infilling
from aigc.text.guidance import Guidance
from aigc.text.loading import load
from aigc.text.material import Texts
from aigc.text.options import ChatOptions, StreamOptions, accepted
from aigc.text.progress import Reporter, Watcher
from aigc.text.requests import Message, Seeds, Stops, Writer, Writers
from aigc.text.results import Chunk, Completion, Completions, Filled, Score
from aigc.text.searching import Search
from aigc.text.session import Session
from aigc.text.speculation import PromptLookup
from aigc.text.turns import worker_of
from aigc.training import History

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Generator"]

DEFAULT_MODEL = Path(__file__).parent / "default_model"


class Generator:
    """Writes text with a language model of transformers: causal, encoder-decoder or masked.

    A row's text depends on its own prompt, seed, sampler and model alone: never on the rows beside it. Several threads may
    use one Generator: the steps of their calls take turns.

    Args:
        model: A transformers language model that you hold. It is used where it is; `fit` and adapters alone change it.
        tokenizer: Its tokenizer.
        infilling: How a masked model's `generate` fills gaps; None is `Infilling()`.

    Raises:
        TypeParameterError: If one is something else, or `infilling` is given for a model that is not masked.

    Example:
        >>> gen = Generator.default()
        >>> out = gen.generate("Once upon a time", n=2, max_new_tokens=8, seed=0)
        >>> len(out), out[1].finish_reason
        (2, 'length')
        >>> again = gen.generate(out[1].prompt, max_new_tokens=8, seed=[out[1].seed])
        >>> again.texts == out.texts[1:]
        True
    """

    trained_on = provenance.Known()  # what documents the model was, as far as we know, with those of the adapter in use

    def __init__(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", *, infilling: Infilling | None = None
    ) -> None:
        self._network, self._vocabulary = adapt(model, tokenizer, infilling=infilling)
        self._engine = Engine(self._network, self._vocabulary)

    @classmethod
    def default(cls, *, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto") -> Self:
        """Loads the small bilingual model that ships with aigc; needs no network.

        It writes English prose and regular Chinese verse; its page says from what it was trained, and what it cannot do.

        Args:
            device: As for `from_pretrained`.
            dtype: As for `from_pretrained`.

        Example:
            >>> Generator.default(dtype="float32")
            Generator(Qwen3ForCausalLM, 7.4M parameters, cpu, float32, context 512)
        """
        return cls.from_pretrained(DEFAULT_MODEL, device=device, dtype=dtype)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        revision: str | None = None,
    ) -> Self:
        """Loads a model and its tokenizer from a folder, or from the Hugging Face hub.

        Weights are read from safetensors alone, checked against the folder's manifest where it has one, and against the
        memory at hand before any is read. Code that a model brings along is never run.

        Args:
            model: A folder, or a name on the hub such as `"gpt2"`.
            device: `"auto"`, or where the model shall run.
            dtype: `"auto"` (bfloat16 where the hardware has it, else float32), or the floating type of the weights;
                `"int8"` multiplies eight-bit integers, on the CPU: faster, a little less exact.
            revision: A branch, tag or commit of a hub model.

        Raises:
            ModelNotFoundError: If there is no such folder, and no such model in the cache or on the hub.
            ModelFileError: If a file is damaged, missing, unsafe, or contradicts another.
            ResourceError: If the weights do not fit into the memory that is free.
        """
        loaded = load(model, device=device, dtype=dtype, revision=revision)
        generator = cls(loaded.model, loaded.tokenizer)
        generator.trained_on = loaded.trained_on
        generator._engine.ready(int8=loaded.int8)
        return generator

    @classmethod
    def from_scratch(cls, corpus: Iterable[Document], **how: Unpack[scratch.ScratchOptions]) -> Self:
        """Makes an untrained model and a tokenizer for a corpus; `fit` trains it: see `aigc.text.scratch.from_scratch`."""
        return cls(*scratch.from_scratch(corpus, **how))

    def fit(self, data: Texts, **options: Unpack[learning.FitOptions]) -> History:
        """Trains the model on texts: see `aigc.text.learning.fit`, whose arguments these are."""
        return learning.fit(self, data, **options)

    @property
    def adapters(self) -> Adapters:
        """LoRA adapters of the model: `gen.adapters.add("mine")`, and `fit` trains that alone."""
        return Adapters(self)

    @property
    def model(self) -> "PreTrainedModel":
        """The transformers model."""
        return self._network.model

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The transformers tokenizer."""
        return self._vocabulary.tokenizer

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self._network.device

    @property
    def context(self) -> int | None:
        """The longest prompt and text together, in tokens, or text alone if an encoder reads the prompt; None: no limit."""
        return self._network.context

    @property
    def plan(self) -> plan.Plan:
        """How batches run on this model here, and why: print it. Found by trying."""
        return self._engine.plan

    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        n: int = 1,
        max_new_tokens: int = 128,
        sampler: Writers | None = None,
        seed: Seeds = None,
        stop: Stops = None,
        logprobs: bool = False,
        batch_size: int | None = None,
        progress: Watcher = None,
        resume: Completions | None = None,
        speculate: "PromptLookup | Generator | None" = None,
        search: Search | None = None,
        guidance: Guidance | None = None,
        **constraint: Unpack[ConstraintOptions],
    ) -> Completions:
        """Writes `n` continuations of each prompt.

        Prompts run in batches, longest first. Ctrl-C returns what is finished, with the others in `unfinished`.

        Args:
            prompts: One prompt, or several: a source where an encoder reads it, gaps to fill for a masked model.
            n: Continuations per prompt, at least 1; more than one need a sampler that draws.
            max_new_tokens: Tokens per continuation, at least 1. A text also ends where the model's context does.
            sampler: A filter, a chain of filters, a sampler, or one of these per row. By default what the model's
                `generation_config.json` recommends, else `chain(Temperature(0.8), TopP(0.95))`.
            seed: One int, from which row i takes the stream (seed, i); or one int per row, used as it is; or None for
                fresh entropy. The result says which seed each row used.
            stop: A string, or several, that end a text; none becomes part of it.
            logprobs: Whether to keep each token's log-probability.
            batch_size: The most rows that run at once, at least 1; by default 64 on the CPU and 256 elsewhere, or what fits
                into free memory. Fewer where memory runs out. Changes no text.
            progress: A callable that takes a `Progress`; True for a line on standard error, False for none. By default a
                line if the texts are 200 or more and standard error is a terminal.
            resume: What an interrupted call with the same arguments returned, or left in the `completions` of an error:
                what is finished there is kept, and the rest is written as that call would have written it.
            speculate: Guesses tokens and reads several at once: `PromptLookup()` where texts copy from their prompts, or a
                smaller Generator with the same tokenizer. It changes no text.
            search: Keeps the n best texts of each prompt, best first: `BeamSearch(4)`, `BestOf(8)`; or writes by another
                rule than a draw, with `ContrastiveSearch(4)`. See the page on search.
            guidance: Follows the prompt more closely: `Guidance(1.5)`.
            **constraint: What each text is held to, always: `json=` a schema, a dataclass, a pydantic model or True;
                `regex=` a pattern; `choices=` some strings; or `grammar=`. See `aigc.sampling.Constrained`.

        Returns:
            `len(prompts) * n` completions, prompt by prompt.

        Raises:
            ParameterError: If an argument is out of range, or a prompt longer than the context.
            ResourceError: If memory does not suffice for one row; its `completions` hold what is finished.
            GenerationError: If the model or the sampler raises; its `completions` hold what is finished.

        Example:
            >>> gen = Generator.default()
            >>> out = gen.generate(["The sea", "春风"], max_new_tokens=4, seed=1)
            >>> [gen.generate(c.prompt, max_new_tokens=4, seed=[c.seed]).texts == [c.text] for c in out]
            [True, True]
        """
        how: dict[str, Any] = {"max_new_tokens": max_new_tokens, "sampler": sampler, "stop": stop, "batch_size": batch_size}
        how |= {"speculate": speculate, "search": search, "guidance": guidance, **accepted("generate", constraint)}
        rows, call = self._engine.prepare(prompts, n=n, seed=seed, logprobs=logprobs, **how)
        return self._engine.complete(rows, call, seed=seed, progress=progress, resume=resume)

    def generate_each(
        self,
        prompts: str | Iterable[str],
        *,
        n: int = 1,
        max_new_tokens: int = 128,
        sampler: Writer | None = None,
        seed: int | None = None,
        stop: Stops = None,
        logprobs: bool = False,
        batch_size: int | None = None,
        progress: Watcher = None,
        skip: Container[int] = (),
        **constraint: Unpack[ConstraintOptions],
    ) -> Closable[tuple[int, Completion], None, None]:
        """Writes like `generate`, and yields each row's place and completion when it is finished: it keeps none.

        Prompts may come from an iterator, which is read some batches ahead; memory does not grow with their number. The
        texts are those of `generate` with the same seed.

        Args:
            prompts: Any number of prompts.
            n: As for `generate`; row `n * i + j` is the j-th continuation of prompt i.
            max_new_tokens: As for `generate`.
            sampler: One for all rows.
            seed: One int. Give it if you may want to go on later with `skip`.
            stop: As for `generate`.
            logprobs: As for `generate`.
            batch_size: As for `generate`.
            progress: As for `generate`; a line is also shown if nobody knows how many prompts will come.
            skip: Rows that are not written, because they were before; a prompt all of whose rows are skipped is not read.
            **constraint: As for `generate`.

        Example:
            >>> gen = Generator.default()
            >>> rows = gen.generate_each((f"Chapter {i}" for i in range(3)), max_new_tokens=4, seed=0, skip={1})
            >>> sorted(place for place, completion in rows)
            [0, 2]
        """
        base, writer = requests.base_seed(seed), None if sampler is None else [sampler]
        requests.check_counts(n=n, max_new_tokens=max_new_tokens)
        given: dict[str, Any] = {"sampler": writer, "stop": stop, "batch_size": batch_size, "logprobs": logprobs}
        call = self._engine.call(1, n=n, **given, **accepted("generate_each", constraint))
        skip = requests.skipped(skip)
        report = Reporter(progress, total=requests.still_to_write(prompts, skip, n=n))
        how: dict[str, Any] = {"n": n, "max_new_tokens": max_new_tokens, "seed": base, "skip": skip, "reporter": report}
        return self._engine.each(requests.one_by_one(prompts, skip, n=n), call, **how)

    def stream(
        self,
        prompts: str | Sequence[str],
        *,
        n: int = 1,
        max_new_tokens: int = 128,
        sampler: Writers | None = None,
        seed: Seeds = None,
        stop: Stops = None,
        batch_size: int | None = None,
        speculate: "PromptLookup | Generator | None" = None,
        guidance: Guidance | None = None,
        **constraint: Unpack[ConstraintOptions],
    ) -> Closable[Chunk, None, None]:
        """Writes like `generate`, and hands out each token as it is drawn.

        The arguments are those of `generate`, and so are the texts: a row's chunks join to its text. A chunk holds whole
        characters only, and no part of a stop string. Arguments are checked at once. Rows beyond the batch size wait for
        the first to finish. Close the iterator to stop early.

        Example:
            >>> gen = Generator.default()
            >>> text = "".join(chunk.text for chunk in gen.stream("Once upon a time", max_new_tokens=8, seed=0))
            >>> text == gen.generate("Once upon a time", max_new_tokens=8, seed=0)[0].text
            True
        """
        how: dict[str, Any] = {"max_new_tokens": max_new_tokens, "sampler": sampler, "stop": stop, "batch_size": batch_size}
        how |= {"speculate": speculate, "guidance": guidance, **accepted("stream", constraint)}
        steps = self._engine.chunks(prompts, n=n, seed=seed, **how)
        return (chunk for step in steps for chunk in step)

    def astream(self, prompts: str | Sequence[str], **options: Unpack[StreamOptions]) -> AsyncGenerator[Chunk, None]:
        """Streams like `stream`, with the same arguments, and never blocks the event loop.

        All work is done on a thread of the model's own, and begins with the first chunk: arguments are checked then. When
        the task is cancelled, or the iterator closed, no step follows the one that is running.

        Example:
            >>> import asyncio
            >>> async def first() -> str:
            ...     async for chunk in Generator.default().astream("The sea", max_new_tokens=2, seed=0):
            ...         return chunk.finish_reason or "goes on"
            >>> asyncio.run(first())
            'goes on'
        """
        return iterate(partial(self._engine.chunks, prompts, **accepted("astream", options)), worker_of(self.model))

    @overload
    def chat(self, messages: Sequence[Message], **options: Unpack[ChatOptions]) -> Completion: ...
    @overload
    def chat(self, messages: Sequence[Sequence[Message]], **options: Unpack[ChatOptions]) -> Completions: ...
    def chat(
        self, messages: Sequence[Message] | Sequence[Sequence[Message]], **options: Unpack[ChatOptions]
    ) -> Completion | Completions:
        """Answers a conversation, or each of several, in the format that the model was trained on.

        The model's own chat template is run in jinja2's sandbox.

        Args:
            messages: A list of `{"role": ..., "content": ...}`, or a list of such lists.
            **options: Those of `generate` that `ChatOptions` lists: `max_new_tokens`, `sampler`, `seed`, `stop`, ...

        Returns:
            A completion whose `prompt` is the text of the conversation as the model saw it; or several.

        Raises:
            ModelError: If the tokenizer has no chat template, as the default model's has none.
        """
        one, conversations = requests.conversations(messages)
        out = self._engine.answer(conversations, **accepted("chat", options))
        return out[0] if one else out

    @overload
    def score(self, texts: str) -> Score: ...  # type: ignore[overload-overlap]  # a str is a Sequence[str] too; it comes first
    @overload
    def score(self, texts: Sequence[str]) -> list[Score]: ...
    def score(self, texts: str | Sequence[str]) -> Score | list[Score]:
        """Says how well the model predicts texts of any length.

        Past the context a window slides, so that each token keeps at least half a context before it. Where the model
        knows a begin token the first token of a text is predicted from it; otherwise it is not scored.

        Args:
            texts: One text, or several; each is scored by itself.

        Example:
            >>> score = Generator.default().score("It is a truth universally acknowledged.")
            >>> score.bits_per_byte < Generator.default().score("xq zvk jjw qpf").bits_per_byte
            True
        """
        if isinstance(texts, str):
            return self._engine.score(requests.strings("texts", [texts])[0])
        return [self._engine.score(text) for text in requests.strings("texts", texts)]

    @overload
    def fill(self, texts: str, *, top: int = 5) -> Filled: ...  # type: ignore[overload-overlap]
    @overload
    def fill(self, texts: Sequence[str], *, top: int = 5) -> list[Filled]: ...
    def fill(self, texts: str | Sequence[str], *, top: int = 5) -> Filled | list[Filled]:
        """Says which tokens a masked model expects in the gaps of texts: `fill("Paris is the [MASK] of France.").text`.

        Args:
            texts: One text, or several, with the tokenizer's mask token in each gap; each is read by itself.
            top: Candidates per gap, at least 1.

        Raises:
            ParameterError: If a text has no mask, or is longer than the model reads.
            ModelError: If the model is not masked.
        """
        found = self._engine.fill(texts, top=top)
        return found[0] if isinstance(texts, str) else found

    def session(self, *, tokens: int = 16_384) -> Session:
        """Opens a session, which reads a prompt that begins like an earlier one from where they part; it keeps `tokens`."""
        return Session(self, tokens=tokens)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes model, tokenizer and a manifest of checksums to a folder, all or nothing.

        `Generator.from_pretrained` and transformers read it. `folder` is new, empty, or one of aigc, which is replaced.
        """
        with checkpoint.atomic_folder(folder) as beside:
            save(self.model, self.tokenizer, beside)
            provenance.write(beside, self.trained_on)

    def __repr__(self) -> str:
        return f"Generator({self._engine})"
