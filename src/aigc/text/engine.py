"""A model and its tokenizer at work: prompts in, steps and completions out. Several threads may use one at once."""

import copy
from collections.abc import Container, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor

from aigc._checks import fail, fail_type, flag, integer
from aigc.errors import ModelError
from aigc.sampling import Categorical, Sampler, as_sampler, chain
from aigc.text import batches, beams, plan, requests, searching
from aigc.text._transformers import TransformersNetwork, Vocabulary
from aigc.text._transformers_kinds import Network, Seq2SeqNetwork
from aigc.text.beams import BeamLoop, BeamSearch
from aigc.text.choosing import BestOf, choose
from aigc.text.collecting import collect, each
from aigc.text.constraining import constraint
from aigc.text.contrastive import ContrastiveLoop, ContrastiveSearch
from aigc.text.decoding import TextDecoder
from aigc.text.graphs import begin
from aigc.text.guidance import Guidance, GuidedForward
from aigc.text.loop import Forward, Loop, Revealing
from aigc.text.masked import MaskedForward
from aigc.text.packed.forward import PackedForward
from aigc.text.packed.past import Past
from aigc.text.progress import Reporter, Watcher
from aigc.text.requests import Seeds, Stops, Writers
from aigc.text.results import Chunk, Completion, Completions, Filled, Score
from aigc.text.rows import Request, Row, Step
from aigc.text.searching import Search
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
    n: int = 1
    search: Search | None = None
    guidance: Guidance | None = None

    def texts(self, rows: list[Request]) -> list[Request]:
        """What a call returns for its rows: a text of each, or of each prompt the n best."""
        if self.search is None:
            return rows
        prompts = rows[:: searching.samples(self.search, self.n)]
        return [replace(row, index=self.n * i + j) for i, row in enumerate(prompts) for j in range(self.n)]


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

    def __str__(self) -> str:
        network = self._network
        size = sum(parameter.numel() for parameter in network.model.parameters())
        dtype = "int8" if self.int8 else str(network.dtype).removeprefix("torch.")
        context = f"context {network.context}" if network.context else "any context"
        return f"{type(network.model).__name__}, {size / 1e6:.1f}M parameters, {network.device}, {dtype}, {context}"

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
        search: Any = None,
        guidance: Any = None,
        json: Any = None,
        regex: str | None = None,
        choices: Sequence[str] | None = None,
        grammar: str | None = None,
    ) -> Call:
        """Checks how the rows of a call shall be written."""
        flag("logprobs", logprobs)
        if batch_size is not None:
            batch_size = integer("batch_size", batch_size, low=1)
        asked = constraint(json=json, regex=regex, choices=choices, grammar=grammar)
        search = searching.check_search(search, self._network, n=n, speculate=speculate, guidance=guidance)
        searching.check_room(search, self._network, slot_bytes=self._slot_bytes())
        guidance = searching.check_guidance(guidance, self._network, speculate=speculate)
        default = _no_filter if isinstance(search, BeamSearch | ContrastiveSearch) else self._default_sampler
        chosen = requests.writers(sampler, rows, n=n if search is None else 1, default=default).under(asked)
        stops = requests.stops(stop)
        requests.check_stops(self._network, stops, chosen)
        chosen = chosen.bind(self.words)
        searching.check_samplers(search, chosen)
        guesses = _guesser(speculate)
        if guesses is not None:
            self._check_speculation(guesses)
        return Call(chosen, stops, batch_size, logprobs, guesses, n, search, guidance)

    def prepare(
        self, prompts: str | Sequence[str], *, n: int = 1, max_new_tokens: int = 128, seed: Seeds = None, **how: Any
    ) -> tuple[list[Request], Call]:
        """Checks the arguments of a call: its rows, and how they shall be written."""
        each = searching.samples(how.get("search"), requests.check_counts(n=n, max_new_tokens=max_new_tokens)[0])
        rows = self.rows(prompts, n=each, max_new_tokens=max_new_tokens, seed=seed)
        call = self.call(len(rows), n=n, **how)
        return self._guided(rows, call.guidance, n=each, max_new_tokens=max_new_tokens), call

    def rows(
        self, prompts: str | Sequence[str], *, n: int, max_new_tokens: int, seed: Seeds, first: int = 0
    ) -> list[Request]:
        """Encodes prompts, and turns them into rows; `first` prompts came before."""
        texts = requests.strings("prompts", [prompts] if isinstance(prompts, str) else prompts)
        encoded = [(text, self._encode(text)) for text in texts]
        return self.build(encoded, n=n, max_new_tokens=max_new_tokens, seed=seed, first=first)

    def build(self, encoded: list[tuple[str, list[int]]], **how: Any) -> list[Request]:
        """Turns encoded prompts into rows: see `requests.build`."""
        return requests.build(encoded, **how, network=self._network)

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
        rows = self.build(prompts, n=1, max_new_tokens=max_new_tokens, seed=seed, name="messages")
        call = self.call(len(rows), n=1, **how)
        return self.complete(self._guided(rows, call.guidance, n=1, max_new_tokens=max_new_tokens), call, seed=seed)

    def complete(
        self, rows: list[Request], call: Call, *, seed: Seeds, progress: Watcher = False, resume: Completions | None = None
    ) -> Completions:
        """Writes rows, longest first, except those that are finished in `resume`."""
        if resume is not None and isinstance(call.search, BestOf):
            raise fail("resume", "left out with BestOf, whose samples are not kept", resume)
        done = requests.finished(resume, call.texts(rows), seed=seed, logprobs=call.logprobs)
        each = max(1, len(call.texts(rows)) // len(rows))  # texts of a row: more than one of a search
        if resume is not None and seed is None:
            rows = [replace(row, seed=resume[each * row.index].seed) for row in rows]
        left = _longest_first(row for row in rows if not {*range(each * row.index, each * (row.index + 1))} <= done.keys())
        texts = call.texts(rows)
        reporter = Reporter(progress, total=len(texts) - len(done))
        return collect(texts, self.steps(left, call), done=done, logprobs=call.logprobs, reporter=reporter)

    def each(
        self,
        prompts: Iterator[tuple[int, str]],
        call: Call,
        *,
        n: int,
        max_new_tokens: int,
        seed: int,
        skip: Container[int],
        reporter: Reporter,
    ) -> Generator[tuple[int, Completion], None, None]:
        """Writes rows of prompts, given with their places and read a window at a time; yields each when it is finished."""
        window = max(1, _AHEAD * self._budget(call).rows // n)

        def run() -> Iterator[Step]:
            how: dict[str, Any] = {"n": n, "max_new_tokens": max_new_tokens, "seed": seed}
            while texts := list(islice(prompts, window)):
                rows = (row for place, text in texts for row in self.rows([text], **how, first=place))
                yield from self.steps(_longest_first(row for row in rows if row.index not in skip), call)

        return each(run(), logprobs=call.logprobs, reporter=reporter)

    def chunks(self, prompts: str | Sequence[str], **options: Any) -> Iterator[list[Chunk]]:
        """Checks the arguments of a stream, and writes it, in the order of the prompts."""
        rows, call = self.prepare(prompts, **options)
        return batches.once(self.steps(rows, call))

    def steps(self, rows: Sequence[Request], call: Call) -> Iterator[Step]:
        """Writes rows in batches, in the order given."""
        call.chosen.check_room(rows)
        written = batches.steps(rows, lambda part: self._write(part, call), self._budget(call))
        return choose(written, call.search, n=call.n) if isinstance(call.search, BestOf) else written

    def score(self, text: str) -> Score:
        """Scores one text."""
        with lock_of(self._network.model), lock_of(self._vocabulary.tokenizer):
            return requests.score(self._network, self._vocabulary, text)

    def size(self, text: str) -> int:
        """How many tokens a text has."""
        return len(self._encode(text))

    @torch.inference_mode()
    def states(self, texts: Sequence[str]) -> Tensor:
        """The mean hidden state of each text, float64 `(texts, width)` on the CPU, in one forward of all."""
        if not isinstance(self._network, TransformersNetwork):
            name = type(self._network.model).__name__
            raise ModelError(f"{name} is not causal, and has no states to compare texts by. Give features=... of another.")
        rows = [self._encode(text)[: self._network.context] for text in texts]
        if not all(rows):
            cure = "This model has no token that begins a text."
            raise fail(f"texts[{rows.index([])}]", "at least one token", texts[rows.index([])], cure)
        with lock_of(self._network.model):
            model = cast("Revealing", self.plan.begin(self._network, rows, forks=True))  # no graphs, which reveal nothing
            model.reveal = True
            model.prefill()
            return torch.stack([hidden.double().mean(0).cpu() for hidden in model.hidden])

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

        ends = self._vocabulary.ends
        with turn:
            model = self._begin(part, call)
            if isinstance(model, MaskedForward):
                return write(model.rows(part), self._loop(model, part, call), ends=ends, turn=turn)
            rows = [Row(request, TextDecoder(decode, prompt=request.ids), StopStrings(call.stops)) for request in part]
            if isinstance(call.search, BeamSearch):
                search = BeamLoop(model, rows, self._filters(part, call), call.search, ends=ends)
                return beams.write(search, n=call.n, turn=turn, rows=rows)
            return write(rows, self._loop(model, part, call), ends=ends, turn=turn)

    def _filters(self, part: Sequence[Request], call: Call) -> list[Categorical]:
        """Those of each row, for a search: checked with the arguments."""
        return [cast("Categorical", call.chosen.of([request])) for request in part]

    def _begin(self, part: Sequence[Request], call: Call) -> Forward:
        """The forward of a batch."""
        past = None if isinstance(call.search, ContrastiveSearch) else self._past  # it looks at the whole prompt
        forks = isinstance(call.search, BeamSearch | ContrastiveSearch)
        model = self.plan.begin(self._network, [request.read for request in part], past=past, forks=forks)
        if call.guidance is None:
            return model
        against = self.plan.begin(self._network, [request.negative for request in part], past=self._past, forks=forks)
        return GuidedForward(model, against, call.guidance.scale)

    def _guided(self, rows: list[Request], guidance: Guidance | None, *, n: int, max_new_tokens: int) -> list[Request]:
        """Rows with their negative prompts; a text ends where either context does."""
        if guidance is None:
            return rows
        ends = [row.ids[-1:] for row in rows[::n]]
        texts = guidance.negatives(len(ends))
        own = isinstance(self._network, Seq2SeqNetwork)  # it reads an empty source, where others need a token
        encoded = [(text, self._encode(text) if text or own else list(end)) for text, end in zip(texts, ends, strict=True)]
        others = self.build(encoded, n=n, max_new_tokens=max_new_tokens, seed=0, name="negative")
        both = zip(rows, others, strict=True)
        return [replace(row, negative=other.read, limit=min(row.limit, other.limit)) for row, other in both]

    def _loop(self, model: Forward, part: Sequence[Request], call: Call) -> Loop | SpeculativeLoop | ContrastiveLoop:
        if isinstance(call.search, ContrastiveSearch):
            return ContrastiveLoop(cast("Revealing", model), self._filters(part, call), call.search, requests=part)
        prompts, seeds = [request.ids for request in part], [request.seed for request in part]
        if call.speculate is None or not isinstance(model, PackedForward):
            limits = [request.limit for request in part]
            how: dict[str, Any] = {"limits": limits, "device": self._network.device}
            return begin(model, call.chosen.of(part), prompts=prompts, seeds=seeds, **how)
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
        how: dict[str, Any] = {"batch_size": call.batch_size, "slot_bytes": self._slot_bytes()}
        return batches.working_set(self._network.device, **how).parted(searching.width(call.search))

    def _slot_bytes(self) -> int | None:
        config = self._network.model.config.get_text_config(decoder=True)
        return batches.slot_bytes(config, self._network.dtype)

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


def _no_filter() -> Sampler[Any]:
    """What a search goes by unless it is told otherwise: the model's own distribution."""
    return as_sampler(chain())


def _longest_first(rows: Iterator[Request]) -> list[Request]:
    """Batches of like lengths, the largest first so that lack of memory shows early; equal prompts are read together."""
    return sorted(rows, key=lambda row: (-len(row.read), row.read))
