"""`Generator`: the face of text generation. It checks arguments, resolves defaults, and runs the loop."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from collections.abc import Generator as Closable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import torch

from aigc import checkpoint
from aigc import device as devices
from aigc.sampling import Sampler
from aigc.text import files, plan, requests
from aigc.text._transformers_files import download, load_tokenizer, save
from aigc.text._transformers_kinds import adapt, load_model
from aigc.text.gaps import GapRow, Infilling
from aigc.text.requests import Message, Seeds, Stops, Writers
from aigc.text.results import Chunk, Completion, Completions, Filled, Score
from aigc.text.rows import Request, Row
from aigc.text.writing import write

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Generator"]

DEFAULT_MODEL = Path(__file__).parent / "default_model"


class Generator:
    """Writes text with a language model of transformers: causal, encoder-decoder or masked.

    A row's text depends on its own prompt, seed, sampler and model alone: never on the rows beside it.

    Args:
        model: A transformers language model that you hold. It is used where it is and never changed.
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

    def __init__(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", *, infilling: Infilling | None = None
    ) -> None:
        self._network, self._vocabulary = adapt(model, tokenizer, infilling=infilling)
        self._plans = plan.Plans(self._network)

    @classmethod
    def default(cls, *, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto") -> Self:
        """Loads the small bilingual model that ships with aigc; needs no network.

        It writes English prose and regular Chinese verse. Its page in the documentation says from what it was trained,
        and what it cannot do.

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
        int8 = dtype == "int8"
        placement = devices.place("cpu" if int8 and device == "auto" else device, dtype="auto" if int8 else dtype)
        local = files.find(model)
        folder = local or download(str(model), revision=revision)
        files.inspect(folder, placement=placement, manifest=local is not None)
        tokenizer = load_tokenizer(folder)
        generator = cls(load_model(folder, dtype=placement.dtype).to(placement.device), tokenizer)
        generator._plans.ready(int8=int8)
        return generator

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
        """How batches run on this model here, and why: print it. Found by trying.

        >>> Generator.default(device="cpu").plan.forward
        'packed'
        """
        return self._plans.plan

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
    ) -> Completions:
        """Writes `n` continuations of each prompt.

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
            batch_size: Rows that run at once; by default all, and fewer where memory runs out. Changes no text.

        Returns:
            `len(prompts) * n` completions, prompt by prompt.

        Raises:
            ParameterError: If an argument is out of range, or a prompt longer than the context.
            ResourceError: If memory does not suffice for one row.

        Example:
            >>> gen = Generator.default()
            >>> out = gen.generate(["The sea", "春风"], max_new_tokens=4, seed=1)
            >>> [gen.generate(c.prompt, max_new_tokens=4, seed=[c.seed]).texts == [c.text] for c in out]
            [True, True]
        """
        rows = self._requests(prompts, n=n, max_new_tokens=max_new_tokens, seed=seed)
        chosen = requests.writers(sampler, len(rows), n=n, default=self._default_sampler)
        return self._complete(rows, chosen, stops=requests.stops(stop), logprobs=logprobs, batch_size=batch_size)

    def stream(
        self,
        prompts: str | Sequence[str],
        *,
        n: int = 1,
        max_new_tokens: int = 128,
        sampler: Writers | None = None,
        seed: Seeds = None,
        stop: Stops = None,
    ) -> Closable[Chunk, None, None]:
        """Writes like `generate`, and hands out each token as it is drawn.

        The arguments are those of `generate`, and so are the texts: a row's chunks join to its text. A chunk holds whole
        characters only, and never a part of a stop string. Arguments are checked at once, not at the first chunk. Close
        the iterator to stop early.

        Example:
            >>> gen = Generator.default()
            >>> text = "".join(chunk.text for chunk in gen.stream("Once upon a time", max_new_tokens=8, seed=0))
            >>> text == gen.generate("Once upon a time", max_new_tokens=8, seed=0)[0].text
            True
        """
        rows = self._requests(prompts, n=n, max_new_tokens=max_new_tokens, seed=seed)
        chosen = requests.writers(sampler, len(rows), n=n, default=self._default_sampler)
        run = self._write(rows, chosen, requests.stops(stop))
        return (chunk for _, chunk in run)

    def astream(
        self,
        prompts: str | Sequence[str],
        *,
        n: int = 1,
        max_new_tokens: int = 128,
        sampler: Writers | None = None,
        seed: Seeds = None,
        stop: Stops = None,
    ) -> AsyncIterator[Chunk]:
        """Streams like `stream`, with the same arguments, without blocking the event loop: steps run on worker threads.

        Example:
            >>> async def first() -> str:
            ...     async for chunk in Generator.default().astream("The sea", max_new_tokens=2, seed=0):
            ...         return chunk.finish_reason or "goes on"
            >>> asyncio.run(first())
            'goes on'
        """
        chunks = self.stream(prompts, n=n, max_new_tokens=max_new_tokens, sampler=sampler, seed=seed, stop=stop)

        async def run() -> AsyncIterator[Chunk]:
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                yield chunk

        return run()

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int = 128,
        sampler: Writers | None = None,
        seed: Seeds = None,
        stop: Stops = None,
        logprobs: bool = False,
    ) -> Completion: ...
    @overload
    def chat(
        self,
        messages: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int = 128,
        sampler: Writers | None = None,
        seed: Seeds = None,
        stop: Stops = None,
        logprobs: bool = False,
    ) -> Completions: ...
    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        *,
        max_new_tokens: int = 128,
        sampler: Writers | None = None,
        seed: Seeds = None,
        stop: Stops = None,
        logprobs: bool = False,
    ) -> Completion | Completions:
        """Answers a conversation, or each of several, in the format that the model was trained on.

        The model's own chat template is run in jinja2's sandbox.

        Args:
            messages: A list of `{"role": ..., "content": ...}`, or a list of such lists.
            max_new_tokens: As for `generate`.
            sampler: As for `generate`.
            seed: As for `generate`.
            stop: As for `generate`.
            logprobs: As for `generate`.

        Returns:
            A completion whose `prompt` is the text of the conversation as the model saw it; or several.

        Raises:
            ModelError: If the tokenizer has no chat template, as the default model's has none.
        """
        one, conversations = requests.conversations(messages)
        prompts = [self._vocabulary.conversation(conversation) for conversation in conversations]
        rows = self._build(prompts, n=1, max_new_tokens=max_new_tokens, seed=seed)
        chosen = requests.writers(sampler, len(rows), n=1, default=self._default_sampler)
        out = self._complete(rows, chosen, stops=requests.stops(stop), logprobs=logprobs, batch_size=None)
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
        one = isinstance(texts, str)
        values = requests.strings("texts", [texts] if one else texts)
        scores = [requests.score(self._network, self._vocabulary, text) for text in values]
        return scores[0] if one else scores

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
        found = requests.fill(self._network, texts, top=top)
        return found[0] if isinstance(texts, str) else found

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes model, tokenizer and a manifest of checksums to a folder, all or nothing.

        The folder can be read by `Generator.from_pretrained` and by transformers.

        Args:
            folder: A new or empty folder, or one written by aigc, which is replaced.
        """
        with checkpoint.atomic_folder(folder) as beside:
            save(self.model, self.tokenizer, beside)

    def __repr__(self) -> str:
        size = sum(parameter.numel() for parameter in self.model.parameters())
        dtype = "int8" if self._plans.int8 else str(self._network.dtype).removeprefix("torch.")
        context = f"context {self.context}" if self.context else "any context"
        return f"Generator({type(self.model).__name__}, {size / 1e6:.1f}M parameters, {self.device}, {dtype}, {context})"

    def _requests(self, prompts: str | Sequence[str], *, n: int, max_new_tokens: int, seed: Seeds) -> list[Request]:
        texts = requests.strings("prompts", [prompts] if isinstance(prompts, str) else prompts)
        encoded = [(text, self._encode(text)) for text in texts]
        return self._build(encoded, n=n, max_new_tokens=max_new_tokens, seed=seed)

    def _build(self, encoded: list[tuple[str, list[int]]], *, n: int, max_new_tokens: int, seed: Seeds) -> list[Request]:
        return requests.build(encoded, n=n, max_new_tokens=max_new_tokens, seed=seed, network=self._network)

    def _encode(self, text: str) -> list[int]:
        begin = self._vocabulary.begin
        return self._vocabulary.encode(text) or ([] if begin is None else [begin])

    def _default_sampler(self) -> Sampler[Any]:
        return requests.default_sampler(self._vocabulary.recommended(self.model))

    def _complete(
        self,
        rows: list[Request],
        chosen: requests.Chosen,
        *,
        stops: tuple[str, ...],
        logprobs: bool,
        batch_size: int | None,
    ) -> Completions:
        done: dict[int, Completion] = {}  # outlives a batch that runs out of memory, so that what it finished stays

        def run(part: Sequence[Request]) -> list[Completion]:
            left = [request for request in part if request.index not in done]
            for row, chunk in self._write(left, chosen, stops):
                if chunk.finish_reason is not None:
                    done[chunk.index] = row.completion(logprobs=logprobs)
            return [done[request.index] for request in part]

        return Completions(tuple(devices.backoff(run, rows, batch_size=batch_size)))

    def _write(
        self, part: Sequence[Request], chosen: requests.Chosen, stops: tuple[str, ...]
    ) -> Iterator[tuple[Row | GapRow, Chunk]]:
        requests.check_stops(self._network, stops)
        return write(
            part,
            self.plan.way(self._network, [request.read for request in part]),
            chosen.of([request.index for request in part]),
            decode=self._vocabulary.decode,
            ends=self._vocabulary.ends,
            stops=stops,
        )
