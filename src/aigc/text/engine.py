"""A model and its tokenizer at work: prompts in, steps and completions out. Several threads may use one at once."""

import copy
from collections.abc import Container, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from aigc._checks import fail, fail_type, integer
from aigc.errors import ModelError
from aigc.sampling import Sampler
from aigc.text import batches, plan, requests
from aigc.text._transformers import Vocabulary
from aigc.text._transformers_kinds import Network
from aigc.text.collecting import collect, each
from aigc.text.constraining import constraint
from aigc.text.decoding import TextDecoder
from aigc.text.loop import Forward, Loop
from aigc.text.masked import MaskedForward
from aigc.text.packed.forward import PackedForward
from aigc.text.packed.past import Past
from aigc.text.progress import Reporter, Watcher
from aigc.text.requests import Seeds, Stops, Writers
from aigc.text.results import Chunk, Completion, Completions, Filled, Score
from aigc.text.rows import Request, Row, Step, Written
from aigc.text.speculation import Drafter, DraftModel, PromptLookup, SpeculativeLoop
from aigc.text.spelling import Spelling
from aigc.text.stopping import StopStrings
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
    speculate: "PromptLookup | Engine | None" = None


class Engine:
    """Runs a model.

    Args:
        network: The model.
        vocabulary: Its tokenizer.
    """

    def __init__(self, network: Network, vocabulary: Vocabulary) -> None:
        self._network = network
        self._vocabulary = vocabulary
        self._plans = plan.Plans(network)
        self._past: Past | None = None
        self.words = Spelling(vocabulary, network.vocabulary)

    @property
    def int8(self) -> bool:
        """Whether products are of eight-bit integers."""
        return self._plans.int8

    def ready(self, *, int8: bool) -> None:
        """Finds the plan now, and with it packs the weights."""
        with lock_of(self._network.model):
            self._plans.ready(int8=int8)

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
        sampler: Writers | None = None,
        stop: Stops = None,
        batch_size: int | None = None,
        logprobs: bool = False,
        speculate: Any = None,
        json: Any = None,
        regex: str | None = None,
        choices: Sequence[str] | None = None,
        grammar: str | None = None,
    ) -> Call:
        """Checks how the rows of a call shall be written."""
        if batch_size is not None:
            batch_size = integer("batch_size", batch_size, low=1)
        asked = constraint(json=json, regex=regex, choices=choices, grammar=grammar)
        chosen = requests.writers(sampler, rows, n=n, default=self._default_sampler).under(asked)
        stops = requests.stops(stop)
        requests.check_stops(self._network, stops, chosen)
        chosen = chosen.bind(self.words)
        guesses = _guesser(speculate)
        if guesses is not None:
            self._check_speculation(guesses)
        return Call(chosen, stops, batch_size, logprobs, guesses)

    def prepare(
        self, prompts: str | Sequence[str], *, n: int = 1, max_new_tokens: int = 128, seed: Seeds = None, **how: Any
    ) -> tuple[list[Request], Call]:
        """Checks the arguments of a call: its rows, and how they shall be written."""
        rows = self.rows(prompts, n=n, max_new_tokens=max_new_tokens, seed=seed)
        return rows, self.call(len(rows), n=n, **how)

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
        return requests.build(encoded, n=n, max_new_tokens=max_new_tokens, seed=seed, network=self._network, first=first)

    def answer(
        self,
        conversations: Sequence[list[dict[str, str]]],
        *,
        max_new_tokens: int = 128,
        seed: Seeds = None,
        **how: Any,
    ) -> Completions:
        """Answers conversations."""
        with lock_of(self._vocabulary.tokenizer):
            prompts = [self._vocabulary.conversation(conversation) for conversation in conversations]
        rows = self.build(prompts, n=1, max_new_tokens=max_new_tokens, seed=seed)
        return self.complete(rows, self.call(len(rows), n=1, **how), seed=seed)

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

    def chunks(self, prompts: str | Sequence[str], **options: Any) -> Iterator[list[Chunk]]:
        """Checks the arguments of a stream, and writes it, in the order of the prompts."""
        rows, call = self.prepare(prompts, **options)
        return batches.once(self.steps(rows, call))

    def steps(self, rows: Sequence[Request], call: Call) -> Iterator[Step]:
        """Writes rows in batches, in the order given."""
        call.chosen.check_room(rows)
        return batches.steps(rows, lambda part: self._write(part, call), self._budget(call))

    def score(self, text: str) -> Score:
        """Scores one text."""
        with lock_of(self._network.model), lock_of(self._vocabulary.tokenizer):
            return requests.score(self._network, self._vocabulary, text)

    def fill(self, texts: str | Sequence[str], *, top: int) -> list[Filled]:
        """Reads what a masked model says of gaps."""
        with lock_of(self._network.model), lock_of(self._vocabulary.tokenizer):
            return requests.fill(self._network, texts, top=top)

    def remembering(self, past: Past) -> "Engine":
        """The same model, with prompts that begin as earlier ones did read from there on."""
        engine = copy.copy(self)
        engine._past = past
        return engine

    def _write(self, part: Sequence[Request], call: Call) -> Iterator[Step]:
        reading = lock_of(self._vocabulary.tokenizer)
        drafter = [call.speculate._network.model] if isinstance(call.speculate, Engine) else []
        turn = lock_of(self._network.model, *drafter)

        def decode(ids: Sequence[int]) -> str:
            with reading:
                return self._vocabulary.decode(ids)

        with turn:
            model = self.plan.begin(self._network, [request.read for request in part], past=self._past)
            rows: Sequence[Written]
            if isinstance(model, MaskedForward):
                rows = model.rows(part)
            else:
                rows = [Row(request, TextDecoder(decode, prompt=request.ids), StopStrings(call.stops)) for request in part]
            loop = self._loop(model, part, call)
        return write(rows, loop, ends=self._vocabulary.ends, turn=turn)

    def _loop(self, model: Forward, part: Sequence[Request], call: Call) -> Loop | SpeculativeLoop:
        prompts, seeds = [request.ids for request in part], [request.seed for request in part]
        if call.speculate is None or not isinstance(model, PackedForward):
            return Loop(model, call.chosen.of(part), prompts=prompts, seeds=seeds)
        drafter: Drafter
        if isinstance(call.speculate, Engine):
            network = call.speculate._network
            draft = call.speculate.plan.begin(network, prompts)
            assert isinstance(draft, PackedForward), "checked with the arguments"
            drafter = DraftModel(draft, context=network.context)
        else:
            drafter = call.speculate.start(len(part))
        samplers = [call.chosen.of([request]) for request in part]
        rooms = [request.limit for request in part]
        return SpeculativeLoop(model, drafter, samplers, prompts=prompts, seeds=seeds, rooms=rooms)

    def _check_speculation(self, speculate: "PromptLookup | Engine") -> None:
        for engine in (self, speculate):
            if isinstance(engine, Engine) and engine.plan.forward != "packed":
                raise ModelError(f"speculate needs models whose weights are packed: {engine.plan.reason}. Leave it out.")
        if isinstance(speculate, Engine) and speculate is not self:
            ours, theirs = (each._vocabulary.tokenizer.get_vocab() for each in (self, speculate))
            if ours != theirs:
                cure = "Take a smaller model of the same family."
                raise fail("speculate", "a Generator with the same tokenizer", "one with another vocabulary", cure)

    def _budget(self, call: Call) -> batches.Budget:
        network = self._network
        config = network.model.config.get_text_config(decoder=True)
        size = batches.slot_bytes(config, network.dtype)
        return batches.working_set(network.device, batch_size=call.batch_size, slot_bytes=size)

    def _encode(self, text: str) -> list[int]:
        with lock_of(self._vocabulary.tokenizer):
            ids = self._vocabulary.encode(text)
        begin = self._vocabulary.begin
        return ids or ([] if begin is None else [begin])

    def _default_sampler(self) -> Sampler[Any]:
        return requests.default_sampler(self._vocabulary.recommended(self._network.model))


def _guesser(speculate: Any) -> PromptLookup | Engine | None:
    """What makes the guesses that a caller asks for: nothing, a lookup, or the engine of a `Generator`."""
    chosen = getattr(speculate, "_engine", speculate)
    if chosen is None or isinstance(chosen, PromptLookup | Engine):
        return chosen
    raise fail_type("speculate", "PromptLookup() or a Generator", speculate)


def _longest_first(rows: Iterator[Request]) -> list[Request]:
    """Batches of like lengths, the largest first so that lack of memory shows early; equal prompts are read together."""
    return sorted(rows, key=lambda row: (-len(row.read), row.read))
