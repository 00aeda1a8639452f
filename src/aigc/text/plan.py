"""Which way a model's batches run here, found by trying, and said in a sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from aigc.device import is_out_of_memory
from aigc.errors import ModelError
from aigc.text import graphs
from aigc.text._transformers import MISFIT, TransformersNetwork
from aigc.text._transformers_kinds import MaskedNetwork, Network, Seq2SeqNetwork
from aigc.text.forwards import AloneForward, PaddedForward, SlotForward, Way
from aigc.text.loop import Forward
from aigc.text.masked import MaskedForward
from aigc.text.packed.forward import PackedForward
from aigc.text.packed.past import Past
from aigc.text.packed.reading import Unreadable
from aigc.text.seq2seq import ApartForward, TogetherForward

__all__ = ["Plan", "Plans", "choose"]

_LENGTHS = (6, 3, 5)  # of the prompts tried: unequal, so that padding and positions matter
_STEPS = 2
_TOLERANCE = {torch.float64: 1e-3, torch.float32: 1e-3}  # of the logits' spread; half precision below
_TOLERANCE_HALF = 0.05
_TOLERANCE_INT8 = 0.2  # eight-bit rounding: 0.02 to 0.05 for the default model and small ones of eleven architectures


def _packed(network: TransformersNetwork, prompts: Sequence[Sequence[int]]) -> PackedForward:
    return PackedForward(network.packed.decoder(), prompts)


_STRICT = partial(graphs.GraphForward, strict=True)
_MEANS: dict[Way, str] = {
    _packed: "packed weights",
    SlotForward: "a cache of slots",
    _STRICT: "CUDA graphs",
    PaddedForward: "left padding",
    AloneForward: "a cache of its own kind",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How batches run.

    Attributes:
        forward: `"packed"`: see `aigc.text.packed`; or `"slots"`, `"padded"` or `"alone"`: see `aigc.text.forwards`. Of an
            encoder-decoder `"together"` or `"apart"`: see `aigc.text.seq2seq`. Of a masked model `"lengths"`: see
            `aigc.text.masked`.
        reason: A sentence that says why, and what it means for reproducibility.
    """

    forward: str
    reason: str
    way: Way

    def __str__(self) -> str:
        return f"{self.forward}: {self.reason}"

    def begin(
        self, network: Network, prompts: Sequence[Sequence[int]], *, past: Past | None = None, forks: bool = False
    ) -> Forward:
        """Makes the forward of a batch; what it read before helps where weights are packed, and is not needed elsewhere.

        Steps are not recorded where rows fork, as those of a search do.
        """
        if isinstance(network, TransformersNetwork) and self.way is _packed:
            return PackedForward(network.packed.decoder(), prompts, past=past)
        way: Way = SlotForward if forks and self.way is graphs.GraphForward else self.way
        return way(network, prompts)


class Plans:
    """A network's plan, found when it is first asked for, and again when the network moved."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._state: object = None
        self._plan: Plan | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy finds its plan itself."""
        return {**vars(self), "_state": None, "_plan": None}

    @property
    def int8(self) -> bool:
        """Whether products are of eight-bit integers."""
        return isinstance(self._network, TransformersNetwork) and self._network.packed.int8

    def ready(self, *, int8: bool) -> None:
        """Finds the plan now, and with it packs the weights, rather than at the first call.

        Raises:
            ModelError: If the model cannot run on eight-bit integers.
        """
        if isinstance(self._network, TransformersNetwork):
            self._network.packed.int8 = int8
        elif int8:
            raise ModelError('dtype="int8" needs a causal model. Use another dtype for this one.')
        _ = self.plan

    @property
    def plan(self) -> Plan:
        """The plan for the network as it is."""
        packed = self._network.packed.altered() if isinstance(self._network, TransformersNetwork) else None
        state = (self._network.device, self._network.dtype, packed)
        if self._plan is None or state != self._state:
            self._plan, self._state = choose(self._network), state
        return self._plan


def choose(network: Network) -> Plan:
    """Tries the ways on a few short prompts, best first, against a forward without padding or cache.

    Raises:
        ModelError: If the model is of no kind that writes.
    """
    if isinstance(network, Seq2SeqNetwork):
        return _choose_seq2seq(network)
    if isinstance(network, MaskedNetwork):
        return _choose_masked(network)
    return _choose_causal(network)


def _choose_causal(network: TransformersNetwork) -> Plan:
    _check_causal(network)
    try:
        network.packed.decoder()
        unpacked, bits = _try(network, _packed)
    except Unreadable as error:
        unpacked, bits = str(error), ""
    if unpacked is None:
        numbers = " as eight-bit integers" if network.packed.int8 else ""
        return Plan("packed", f"weights are packed{numbers}, and every row starts at slot 0; {bits}", _packed)
    if network.packed.int8:
        raise ModelError(f'dtype="int8" needs weights that can be packed: {unpacked}. Use another dtype.')
    plan = _without_packing(network)
    return Plan(plan.forward, f"{unpacked}; {plan.reason}", plan.way)


def _without_packing(network: TransformersNetwork) -> Plan:
    problem = network.why_no_slots
    if problem is None:
        problem, bits = _try(network, SlotForward)
        if problem is None:
            return _recorded(network, bits)
    misfit, bits = _try(network, PaddedForward)
    if misfit is None:
        return Plan("padded", f"{problem}; rows are padded on the left, and {bits}", PaddedForward)
    return Plan(
        "alone", f"{problem}, and its past cannot be padded; each row runs by itself, with the same bits", AloneForward
    )


def _recorded(network: TransformersNetwork, bits: str) -> Plan:
    """Slots, by CUDA graphs where steps can be recorded; `bits` is what was found without."""
    reason = "every row starts at slot 0"
    if graphs.recorder(network.device) is None:
        return Plan("slots", f"{reason}; {bits}", SlotForward)
    problem, same = _why_not_recorded(network), ""
    if problem is None:
        problem, same = _try(network, _STRICT, steps=_STEPS + 1)
    if problem is None:
        return Plan("slots", f"{reason}, and steps are CUDA graphs; {same}", graphs.GraphForward)
    return Plan("slots", f"{reason}; {bits}; no CUDA graphs: {problem}", SlotForward)


def _why_not_recorded(network: TransformersNetwork) -> str | None:
    """A sentence if a graph would leave something out, else None."""
    name = type(network.model).__name__
    if network.packed.altered():
        return f"a module of {name} has a forward of its own, or a hook on it"
    if any(weight.device != network.device for weight in network.weights()):
        return f"not all of {name} is on one device"
    return None


def _choose_seq2seq(network: Seq2SeqNetwork) -> Plan:
    name, texts = type(network.model).__name__, _texts(network)
    try:
        batch = _logits(network, TogetherForward, texts, _LENGTHS)
    except MISFIT as error:
        problem = f"{name} does not take a mask over its sources ({type(error).__name__})"
    else:
        off = max(_distance(torch.stack([s[row] for s in batch]), _targets(network, texts, row)) for row in (0, 1))
        if off <= _TOLERANCE.get(network.dtype, _TOLERANCE_HALF):
            alone = _logits(network, TogetherForward, texts[1:2], _LENGTHS[1:2])
            reason = "each source is read by itself, and its text written beside others, behind a mask over their sources"
            return Plan("together", f"{reason}; {_bits(network, batch, alone)}", TogetherForward)
        problem = f"with a mask over its sources the logits of {name} are off by {off:.2g} of their spread"
    return Plan("apart", f"{problem}; each row runs by itself, with the same bits", ApartForward)


def _choose_masked(network: MaskedNetwork) -> Plan:
    length = _LENGTHS[0] if network.context is None else min(_LENGTHS[0], network.context)
    text = [network.mask, *((7 * i + 3) % network.vocabulary for i in range(1, length))]
    with torch.inference_mode():
        batch, alone = ([MaskedForward(network, [text] * rows).prefill()] for rows in (len(_LENGTHS), 1))
    # The row looked at is the second, and all are the same.
    bits = _bits(network, batch, alone)
    return Plan("lengths", f"texts of equal length run together, without padding; {bits}", MaskedForward)


def _try(network: TransformersNetwork, way: Way, *, steps: int = _STEPS) -> tuple[str | None, str]:
    """What is wrong with a way, or None; and a clause that says whether a row's bits depend on its batch."""
    texts = _texts(network)
    name = type(network.model).__name__
    lengths = tuple(length - (steps - _STEPS) for length in _LENGTHS)  # the shorter, the more steps
    try:
        batch = _logits(network, way, texts, lengths, steps)
    except MISFIT as error:
        if is_out_of_memory(error):  # which says nothing of the way
            raise
        told = str(error) if way is _STRICT else type(error).__name__
        return f"{name} does not take {_MEANS[way]} ({told})", ""
    off = max(
        _distance(torch.stack([step[row] for step in batch]), _plain(network, texts[row], lengths[row], steps))
        for row in (0, 1)
    )
    int8 = way is _packed and network.packed.int8
    if off > (_TOLERANCE_INT8 if int8 else _TOLERANCE.get(network.dtype, _TOLERANCE_HALF)):
        return f"with {_MEANS[way]} the logits of {name} are off by {off:.2g} of their spread", ""
    alone = _logits(network, way, texts[1:2], lengths[1:2], steps)
    return None, _bits(network, batch, alone)


def _bits(network: Network, batch: list[Tensor], alone: list[Tensor]) -> str:
    """A clause that says whether the second row of a batch got the bits that it gets alone."""
    same = all(torch.equal(step[1], by_itself[0]) for step, by_itself in zip(batch, alone, strict=True))
    verdict = "had the same bits" if same else "were rounded differently"
    dtype = str(network.dtype).removeprefix("torch.")
    return f"in {dtype} on {network.device.type} its logits {verdict} alone and among {len(_LENGTHS)} rows"


@torch.inference_mode()
def _check_causal(network: TransformersNetwork) -> None:
    text = _texts(network)[0]
    whole, beginning = (network.logits(torch.tensor([ids], device=network.device))[0, 2:3] for ids in (text, text[:4]))
    if _distance(beginning, whole) > _TOLERANCE.get(network.dtype, _TOLERANCE_HALF):
        raise ModelError(
            f"{type(network.model).__name__} is not causal: what it says of a token changes with the tokens after it, as "
            "in BERT and other encoders. They read text and do not write it from left to right; load this one with "
            "AutoModelForMaskedLM to fill gaps, or use a causal model such as GPT-2 or Qwen."
        )


def _texts(network: TransformersNetwork | Seq2SeqNetwork) -> list[list[int]]:
    total = max(_LENGTHS) + _STEPS
    contexts = [network.context, network.source_context] if isinstance(network, Seq2SeqNetwork) else [network.context]
    context = min((longest for longest in contexts if longest is not None), default=total)
    if context < total:
        raise ModelError(f"{type(network.model).__name__} has a context of {context} tokens, and aigc needs {total}.")
    known = min(network.vocabulary, network.targets) if isinstance(network, Seq2SeqNetwork) else network.vocabulary
    return [[(7 * i + 11 * row + 3) % known for i in range(total)] for row in range(len(_LENGTHS))]


@torch.inference_mode()
def _logits(
    network: Network, way: Way, texts: list[list[int]], lengths: tuple[int, ...], steps: int = _STEPS
) -> list[Tensor]:
    """Logits after the prompts and after each of a few more tokens, `(rows, vocabulary)` each."""
    forward = way(network, [text[:length] for text, length in zip(texts, lengths, strict=True)])
    seen = [forward.prefill()]
    for step in range(steps):
        tokens = [text[length + step] for text, length in zip(texts, lengths, strict=True)]
        seen.append(forward.step(torch.tensor(tokens, device=network.device)))
    forward.select(torch.tensor([0], device=network.device))
    return seen


@torch.inference_mode()
def _plain(network: TransformersNetwork, text: list[int], length: int, steps: int) -> Tensor:
    logits = network.logits(torch.tensor([text], device=network.device))[0]
    return logits[length - 1 : length + steps]


@torch.inference_mode()
def _targets(network: Seq2SeqNetwork, texts: list[list[int]], row: int) -> Tensor:
    """What the encoder-decoder says after the start token and a few more, without padding or cache."""
    source, after = texts[row][: _LENGTHS[row]], texts[row][_LENGTHS[row] : _LENGTHS[row] + _STEPS]
    read = network.encode(torch.tensor([source], device=network.device))
    logits = network.plain(torch.tensor([[network.start, *after]], device=network.device), read)[0]
    return torch.cat([network.open(logits[:1]), logits[1:]])


def _distance(ours: Tensor, theirs: Tensor) -> float:
    """Root mean square difference, in units of the true logits' spread over the vocabulary."""
    ours, theirs = (logits.double().masked_fill(logits == -math.inf, 0.0) for logits in (ours, theirs))
    difference = (ours - theirs).square().mean().sqrt()
    result = float(difference / theirs.std().clamp(min=1e-12))
    # A model that says NaN says it both ways; that is for the sampler's status to tell, not for the plan.
    return 0.0 if math.isnan(result) else result
