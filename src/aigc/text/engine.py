"""A model and its tokenizer at work: prompts in, steps and completions out. Several threads may use one at once."""

from collections.abc import Container, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch

from aigc._checks import integer
from aigc.sampling import Sampler
from aigc.text import batches, plan, requests
from aigc.text._transformers import TransformersNetwork, Vocabulary
from aigc.text.collecting import collect, each
from aigc.text.progress import Reporter, Watcher
from aigc.text.requests import Seeds, Stops, Writers
from aigc.text.results import Chunk, Completion, Completions, Score
from aigc.text.rows import Request, Step
from aigc.text.scoring import token_logprobs
from aigc.text.turns import lock_of
from aigc.text.writing import write

__all__ = ["Call", "Engine"]

_AHEAD = 16  # batches that are read ahead from an iterator of prompts, so that prompts of like lengths meet


@dataclass(frozen=True, slots=True)
class Call:
    """How the rows of one call are written."""

    chosen: requests.Chosen
    stops: tuple[str, ...]
    batch_size: int | None = None
    logprobs: bool = False


class Engine:
    """Runs a model.

    Args:
        network: The model.
        vocabulary: Its tokenizer.
    """

    def __init__(self, network: TransformersNetwork, vocabulary: Vocabulary) -> None:
        self._network = network
        self._vocabulary = vocabulary
        self._plans = plan.Plans(network)

    @property
    def plan(self) -> plan.Plan:
        """How batches run; found by trying, by one thread."""
        with lock_of(self._network.model):
            return self._plans.plan

    def call(
        self,
        rows: int,
        *,
        n: int,
        sampler: Writers | None,
        stop: Stops,
        batch_size: int | None = None,
        logprobs: bool = False,
    ) -> Call:
        """Checks how the rows of a call shall be written."""
        if batch_size is not None:
            batch_size = integer("batch_size", batch_size, low=1)
        chosen = requests.writers(sampler, rows, n=n, default=self._default_sampler)
        return Call(chosen, requests.stops(stop), batch_size, logprobs)

    def rows(
        self, prompts: str | Sequence[str], *, n: int, max_new_tokens: int, seed: Seeds, first: int = 0
    ) -> list[Request]:
        """Encodes prompts, and turns them into rows; `first` prompts came before."""
        texts = requests.strings("prompts", [prompts] if isinstance(prompts, str) else prompts)
        encoded = [(text, self._encode(text)) for text in texts]
        return self.build(encoded, n=n, max_new_tokens=max_new_tokens, seed=seed, first=first)

    def build(
        self, encoded: list[tuple[str, list[int]]], *, n: int, max_new_tokens: int, seed: Seeds, first: int = 0
    ) -> list[Request]:
        """Turns encoded prompts into rows."""
        return requests.build(
            encoded,
            n=n,
            max_new_tokens=max_new_tokens,
            seed=seed,
            context=self._network.context,
            vocabulary=self._network.vocabulary,
            first=first,
        )

    def conversation(self, messages: Sequence[dict[str, str]]) -> tuple[str, list[int]]:
        """The text and the ids of a conversation."""
        with lock_of(self._vocabulary.tokenizer):
            return self._vocabulary.conversation(messages)

    def complete(
        self, rows: list[Request], call: Call, *, seed: Seeds, progress: Watcher = False, resume: Completions | None = None
    ) -> Completions:
        """Writes rows, longest first, except those that are finished in `resume`."""
        done = requests.finished(resume, rows, seed=seed, logprobs=call.logprobs)
        if resume is not None and seed is None:
            rows = [replace(row, seed=before.seed) for row, before in zip(rows, resume, strict=True)]
        left = _longest_first(row for row in rows if row.index not in done)
        reporter = Reporter(progress, total=len(left))
        return collect(rows, self.steps(left, call), done=done, logprobs=call.logprobs, reporter=reporter)

    def each(
        self,
        prompts: Iterator[str],
        call: Call,
        *,
        n: int,
        max_new_tokens: int,
        seed: int,
        skip: Container[int],
        reporter: Reporter,
    ) -> Generator[tuple[int, Completion], None, None]:
        """Writes rows of prompts that are read a window at a time, and yields each when it is finished."""
        window = max(1, _AHEAD * self._budget(call).rows // n)

        def run() -> Iterator[Step]:
            first = 0
            while texts := list(islice(prompts, window)):
                rows = self.rows(texts, n=n, max_new_tokens=max_new_tokens, seed=seed, first=first)
                yield from self.steps(_longest_first(row for row in rows if row.index not in skip), call)
                first += len(texts)

        return each(run(), logprobs=call.logprobs, reporter=reporter)

    def chunks(
        self,
        prompts: str | Sequence[str],
        *,
        n: int,
        max_new_tokens: int,
        sampler: Writers | None,
        seed: Seeds,
        stop: Stops,
        batch_size: int | None,
    ) -> Iterator[list[Chunk]]:
        """Checks the arguments of a stream, and writes it, in the order of the prompts."""
        rows = self.rows(prompts, n=n, max_new_tokens=max_new_tokens, seed=seed)
        call = self.call(len(rows), n=n, sampler=sampler, stop=stop, batch_size=batch_size)
        return batches.once(self.steps(rows, call))

    def steps(self, rows: Sequence[Request], call: Call) -> Iterator[Step]:
        """Writes rows in batches, in the order given."""
        return batches.steps(rows, lambda part: self._write(part, call), self._budget(call))

    @torch.inference_mode()
    def score(self, text: str) -> Score:
        """Scores one text."""
        with lock_of(self._vocabulary.tokenizer):
            ids = self._vocabulary.encode(text)
            begin = self._vocabulary.begin
            if begin is not None and ids[:1] != [begin]:
                ids = [begin, *ids]
            first = self._vocabulary.decode(ids[:1]) if begin is None else ""
        requests.check_ids(ids, self._network.vocabulary)
        tensor = torch.tensor(ids, dtype=torch.int64, device=self._network.device)
        logprobs = token_logprobs(self._logits, tensor, context=self._network.context)
        # Where the first token is half a character, its bytes cannot be told, and the whole text counts.
        unscored = len(first.encode()) if text.startswith(first) else 0
        return Score(tuple(ids[1:]), tuple(logprobs), len(text.encode()) - unscored)

    def _write(self, part: Sequence[Request], call: Call) -> Iterator[Step]:
        turn, reading = lock_of(self._network.model), lock_of(self._vocabulary.tokenizer)

        def decode(ids: Sequence[int]) -> str:
            with reading:
                return self._vocabulary.decode(ids)

        with turn:
            model = self.plan.way(self._network, [request.ids for request in part])
        return write(
            part,
            model,
            call.chosen.of([request.index for request in part]),
            decode=decode,
            ends=self._vocabulary.ends,
            stops=call.stops,
            turn=turn,
        )

    def _budget(self, call: Call) -> batches.Budget:
        network = self._network
        config = network.model.config.get_text_config(decoder=True)
        size = batches.slot_bytes(config, network.dtype)
        return batches.working_set(network.device, batch_size=call.batch_size, slot_bytes=size)

    def _logits(self, ids: torch.Tensor) -> torch.Tensor:
        with lock_of(self._network.model):
            return self._network.logits(ids)

    def _encode(self, text: str) -> list[int]:
        with lock_of(self._vocabulary.tokenizer):
            ids = self._vocabulary.encode(text)
        begin = self._vocabulary.begin
        return ids or ([] if begin is None else [begin])

    def _default_sampler(self) -> Sampler[Any]:
        return requests.default_sampler(self._vocabulary.recommended(self._network.model))


def _longest_first(rows: Iterator[Request]) -> list[Request]:
    """Batches of like lengths, the largest first so that lack of memory shows early; equal prompts are read together."""
    return sorted(rows, key=lambda row: (-len(row.ids), row.ids))
