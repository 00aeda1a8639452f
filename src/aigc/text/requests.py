"""The arguments of a call, checked before any work, and turned into rows."""

import secrets
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence, Set, Sized
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from aigc import random
from aigc._checks import fail, fail_type, integer, string
from aigc.errors import ModelError, ParameterError
from aigc.sampling import (
    Constrained,
    Filter,
    MinP,
    Part,
    PerRow,
    Sampler,
    Temperature,
    TopK,
    TopP,
    Words,
    as_sampler,
    bind,
    chain,
    check_rows,
    has_memory,
    is_constrained,
    is_greedy,
    take,
    within,
)
from aigc.sampling.constraints import Constraint
from aigc.text import masked, seq2seq
from aigc.text._transformers import Recommended, Vocabulary
from aigc.text._transformers_kinds import MaskedNetwork, Network, Seq2SeqNetwork
from aigc.text.results import Completion, Completions, Filled, Score
from aigc.text.rows import Framed, Request
from aigc.text.scoring import token_logprobs

__all__ = [
    "Chosen",
    "Message",
    "Seeds",
    "Stops",
    "Writers",
    "base_seed",
    "build",
    "check_counts",
    "check_ids",
    "check_stops",
    "conversations",
    "default_sampler",
    "fill",
    "finished",
    "one_by_one",
    "score",
    "skipped",
    "still_to_write",
    "stops",
    "strings",
    "writers",
]

Message = Mapping[str, str]
Seeds = int | Sequence[int] | Tensor | None
Stops = str | Sequence[str] | None
Writer = Part | Sampler[Any]
Writers = Writer | Sequence[Writer]

_SOME = 64  # rows that are looked at together, where each may have a sampler of its own


@dataclass(frozen=True, slots=True)
class Chosen:
    """The sampler of each row of a call: one for all, or one each."""

    samplers: tuple[Sampler[Any], ...]

    def bind(self, words: Words) -> "Chosen":
        """The samplers on the words of a tokenizer; rows that share one go on to."""
        bound = {id(each): bind(each, words) for each in self.samplers}
        return Chosen(tuple(bound[id(each)] for each in self.samplers))

    def under(self, constraint: Constraint | None) -> "Chosen":
        """The samplers, each held to a constraint."""
        if constraint is None:
            return self
        held = {id(each): Constrained(each, constraint) for each in self.samplers}
        return Chosen(tuple(held[id(each)] for each in self.samplers))

    def check_room(self, rows: Sequence[Request]) -> None:
        """Refuses limits at once that are too short for what a constraint asks for."""
        if any(map(is_constrained, self.samplers)):
            for first in range(0, len(rows), _SOME):
                self.of(rows[first : first + _SOME])

    def of(self, part: Sequence[Request]) -> Sampler[Any]:
        """The sampler of a batch that holds some rows of the call."""
        rows, limits = [request.index for request in part], [request.limit for request in part]
        if len(self.samplers) == 1:
            return within(take(self.samplers[0], torch.tensor(rows)), limits)
        own = tuple(self.samplers[row] for row in rows)
        return within(own[0] if len(own) == 1 else PerRow(own), limits)


def strings(name: str, values: object) -> list[str]:
    """Checks a sequence of at least one string."""
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise fail_type(name, "a string or a sequence of strings", values)
    for i, value in enumerate(values):
        string(f"{name}[{i}]", value)
    if not values:
        raise fail(name, "a string or at least one string", values)
    return list(values)


def one_by_one(prompts: object, skip: Container[int], *, n: int) -> Iterator[tuple[int, str]]:
    """Places and texts of prompts that may come from an iterator: a sequence is checked at once, others each as it comes.

    Prompts of which no row is to be written are not looked at.
    """
    if isinstance(prompts, str):
        prompts = [prompts]
    if not isinstance(prompts, Iterable):
        raise fail_type("prompts", "a string, or an iterable of strings", prompts)
    if isinstance(prompts, bytes) or (isinstance(prompts, Sequence) and not prompts):
        strings("prompts", prompts)
    found = (
        (i, string(f"prompts[{i}]", value))
        for i, value in enumerate(prompts)
        if any(n * i + j not in skip for j in range(n))
    )
    return iter(list(found)) if isinstance(prompts, Sequence) else found


def skipped(skip: object) -> Container[int]:
    """Checks rows that are not to be written; of other containers than sets, lists and mappings one cannot know."""
    if not isinstance(skip, Container) or isinstance(skip, str | bytes):
        raise fail_type("skip", "a set of rows, or another container of ints", skip)
    if not isinstance(skip, Set | list | tuple | Mapping):
        return skip
    return frozenset(integer("skip", row, low=0, cure="It holds the places of rows, from 0 on.") for row in skip)


def still_to_write(prompts: object, skip: Container[int], *, n: int) -> int | None:
    """How many rows are not skipped; None if nobody knows how many prompts will come."""
    prompts = [prompts] if isinstance(prompts, str) else prompts
    return sum(row not in skip for row in range(len(prompts) * n)) if isinstance(prompts, Sized) else None


def stops(stop: Stops) -> tuple[str, ...]:
    """Checks stop strings."""
    if stop is None:
        return ()
    values = strings("stop", [stop] if isinstance(stop, str) else stop)
    for value in values:
        if not value:
            raise fail("stop", "made of non-empty strings", values, "Leave it out to stop at the end of text only.")
    return tuple(dict.fromkeys(values))


def build(
    prompts: Sequence[tuple[str, list[int]]],
    *,
    n: int,
    max_new_tokens: int,
    seed: Seeds,
    network: Network,
    first: int = 0,
    name: str = "prompts",
) -> list[Request]:
    """Turns encoded prompts into rows, prompt by prompt, each with its seed and its limit; `first` prompts came before."""
    n, max_new_tokens = check_counts(n=n, max_new_tokens=max_new_tokens)
    seeds = _seeds(seed, len(prompts) * n, first=first * n)
    framed = []
    for i, (text, ids) in enumerate(prompts):
        row = _frame(network, f"{name}[{first + i}]", text, ids, max_new_tokens)
        check_ids(row.source or row.ids, network.vocabulary)
        framed.append((text, row))
    return [
        Request(first * n + row, prompt=text, ids=made.ids, seed=seeds[row], limit=made.limit, source=made.source)
        for row, (text, made) in enumerate(one for one in framed for _ in range(n))
    ]


def check_counts(*, n: int, max_new_tokens: int) -> tuple[int, int]:
    """Checks how many texts are asked for, and how long."""
    return integer("n", n, low=1), integer("max_new_tokens", max_new_tokens, low=1)


def finished(resume: object, rows: Sequence[Request], *, seed: Seeds, logprobs: bool) -> dict[int, Completion]:
    """Checks what an interrupted call returned against the call that shall go on with it, and picks what is finished."""
    if resume is None:
        return {}
    if not isinstance(resume, Completions):
        raise fail_type("resume", "the Completions of an interrupted call", resume)
    if len(resume) != len(rows):
        raise fail("resume", f"of the {len(rows)} rows of this call", f"{len(resume)} rows")
    for row, before in zip(rows, resume, strict=True):
        where = f"resume[{row.index}]"
        if before.prompt != row.prompt:
            raise fail(where, f"written for the prompt {row.prompt!r}", before.prompt)
        if seed is not None and before.seed != row.seed:
            raise fail(
                where, f"of the seed {row.seed}", before.seed, "Leave seed out to go on with those of the first call."
            )
        if before.finish_reason == "interrupted":
            continue
        if (before.logprobs is not None) != logprobs:
            raise fail(where, f"written with logprobs={logprobs}", before)
        if len(before.tokens) > row.limit or (before.finish_reason == "length" and len(before.tokens) < row.limit):
            raise fail(
                where, f"written with up to {row.limit} tokens", before, "Give the max_new_tokens of the first call."
            )
    return {row.index: before for row, before in zip(rows, resume, strict=True) if before.finish_reason != "interrupted"}


def check_ids(ids: Sequence[int], vocabulary: int) -> None:
    """Checks that a tokenizer belongs to its model."""
    if ids and max(ids) >= vocabulary:
        raise fail("tokenizer", f"of ids below the model's {vocabulary}", max(ids), "Is it another model's tokenizer?")


def check_stops(network: Network, stops: tuple[str, ...], chosen: Chosen) -> None:
    """Refuses stop strings and constraints where they cannot be kept."""
    if stops and isinstance(network, MaskedNetwork):
        raise fail("stop", "left out: a masked model fills gaps in any order, and a text is as long as its gaps", stops)
    held = next(filter(is_constrained, chosen.samplers), None)
    if held is not None and isinstance(network, MaskedNetwork):
        raise fail("sampler", "without a constraint: a masked model fills gaps in any order", held)
    if held is not None and stops:
        raise fail("stop", "left out with a constraint, which says where the text ends", stops)


def fill(network: Network, texts: str | Sequence[str], *, top: int) -> list[Filled]:
    """Reads what a masked model says of the masks of each text.

    Raises:
        ModelError: If the model is of another kind.
    """
    if not isinstance(network, MaskedNetwork):
        raise ModelError(
            f"{type(network.model).__name__} writes from left to right and fills no gaps. "
            "Use generate, or a masked model such as BERT, loaded with AutoModelForMaskedLM."
        )
    values = strings("texts", [texts] if isinstance(texts, str) else texts)
    return [masked.fill(network, f"texts[{i}]", text, top=top) for i, text in enumerate(values)]


@torch.inference_mode()
def score(network: Network, words: Vocabulary, text: str) -> Score:
    """How well a causal model predicts a text."""
    ids = words.encode(text)
    if words.begin is not None and ids[:1] != [words.begin]:
        ids = [words.begin, *ids]
    check_ids(ids, network.vocabulary)
    tensor = torch.tensor(ids, dtype=torch.int64, device=network.device)
    logprobs = token_logprobs(network.logits, tensor, context=network.context)
    first = words.decode(ids[:1]) if words.begin is None else ""
    # Where the first token is half a character, its bytes cannot be told, and the whole text counts.
    unscored = len(first.encode()) if text.startswith(first) else 0
    return Score(tuple(ids[1:]), tuple(logprobs), len(text.encode()) - unscored)


def writers(sampler: Writers | None, rows: int, *, n: int, default: Callable[[], Sampler[Any]]) -> Chosen:
    """Checks the sampler of a call; rows of the same prompt need one that draws."""
    if sampler is None:
        return Chosen((default(),))
    # A sampler may be a named tuple, and so a sequence.
    one = callable(sampler) or hasattr(sampler, "step") or has_memory(sampler)
    if not one and not isinstance(sampler, Sequence):
        as_sampler(sampler)  # raises: it is neither
    given: list[Any] = [sampler] if one else list(cast("Sequence[Any]", sampler))
    if not one and len(given) != rows:
        raise fail("sampler", f"one for all, or one for each of the {rows} rows", f"{len(given)} samplers")
    for each in given:
        if n > 1 and is_greedy(each):
            cure = "Use a sampler that draws."
            raise fail("n", f"1 with sampler={each!r}, which would write the same text each time", n, cure)
        check_rows(each, rows if one else None)
    made = {id(each): as_sampler(each) for each in given}  # the same filter for two rows is one sampler, drawn together
    return Chosen(tuple(made[id(each)] for each in given))


def default_sampler(recommended: Recommended | None) -> Sampler[Any]:
    """What a model recommends, else the default of aigc; never a truncation that nobody asked for."""
    if recommended is None:
        return as_sampler(chain(Temperature(0.8), TopP(0.95)))
    try:
        return as_sampler(chain(*_filters(recommended)))
    except ParameterError as error:
        raise ModelError(
            f"generation_config.json recommends what cannot be: {error} Give a sampler of your own."
        ) from error


def _filters(recommended: Recommended) -> list[Filter]:
    filters: list[Filter] = []
    if recommended.temperature is not None:
        filters.append(Temperature(recommended.temperature))
    if recommended.top_k:
        filters.append(TopK(recommended.top_k))
    if recommended.top_p is not None and recommended.top_p < 1:
        filters.append(TopP(recommended.top_p))
    if recommended.min_p:
        filters.append(MinP(recommended.min_p))
    return filters


def conversations(messages: Any) -> tuple[bool, list[list[dict[str, str]]]]:
    """Checks one conversation or several, and says whether it was one."""
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise fail_type("messages", 'a list of {"role": ..., "content": ...}, or a list of such lists', messages)
    one = isinstance(messages[0], Mapping)
    several = {"messages": messages} if one else {f"messages[{i}]": each for i, each in enumerate(messages)}
    for name, conversation in several.items():
        if not isinstance(conversation, Sequence) or isinstance(conversation, str) or not conversation:
            raise fail_type("messages", "made of non-empty conversations", conversation)
        for i, message in enumerate(conversation):
            if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
                raise fail_type("messages", 'made of {"role": ..., "content": ...}', message)
            for part in ("role", "content"):
                string(f"{name}[{i}][{part!r}]", message[part])
    return one, [[dict(message) for message in conversation] for conversation in several.values()]


def base_seed(seed: object) -> int:
    """Checks a seed that all rows of a call derive theirs from; None draws one."""
    return secrets.randbits(62) if seed is None else random.check_seed("seed", seed)


def _seeds(seed: Seeds, rows: int, *, first: int) -> list[int]:
    if isinstance(seed, Tensor):
        if seed.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8) or seed.ndim > 1:
            raise fail_type("seed", "an int, one int per row, or an integer tensor of one dimension", seed)
        seed = seed.tolist()
    elif hasattr(seed, "tolist") and getattr(seed, "ndim", None):
        raise fail_type("seed", "one int, or one per row, as a list", seed, "Give seed.tolist().")
    if isinstance(seed, Sequence) and not isinstance(seed, str | bytes):
        values = [random.check_seed(f"seed[{i}]", value) for i, value in enumerate(seed)]
        if len(values) != rows:
            raise fail("seed", f"one int, or {rows} ints, one for each row", f"{len(values)} ints")
        return values
    base = base_seed(seed)
    return [random.stream(base, first + row) for row in range(rows)]


def _frame(network: Network, name: str, text: str, ids: list[int], wanted: int) -> Framed:
    """How a prompt becomes a row, by the kind of model."""
    if not ids:
        raise fail(name, "at least one token", text, "This model has no token that begins a text: give it a word to go on.")
    if isinstance(network, Seq2SeqNetwork):
        return seq2seq.frame(network, name, ids, wanted)
    if isinstance(network, MaskedNetwork):
        return masked.frame(network, name, text, ids, wanted)
    context = network.context
    if context is not None and len(ids) >= context:
        raise fail(
            name,
            f"shorter than the model's context of {context} tokens",
            f"{len(ids)} tokens",
            "Shorten it, or keep its end only.",
        )
    return Framed(tuple(ids), (), wanted if context is None else min(wanted, context - len(ids)))
