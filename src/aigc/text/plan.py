"""Which way a model's batches run here, found by trying, and said in a sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aigc.errors import ModelError
from aigc.text._transformers import MISFIT, TransformersNetwork
from aigc.text.forwards import AloneForward, Network, PaddedForward, SlotForward, Way
from aigc.text.packed.forward import PackedForward
from aigc.text.packed.reading import Unreadable

__all__ = ["Plan", "Plans", "choose"]

_LENGTHS = (6, 3, 5)  # of the prompts tried: unequal, so that padding and positions matter
_STEPS = 2
_TOLERANCE = {torch.float64: 1e-3, torch.float32: 1e-3}  # of the logits' spread; half precision below
_TOLERANCE_HALF = 0.1
_TOLERANCE_INT8 = 0.5


def _packed(network: Network, prompts: Sequence[Sequence[int]]) -> PackedForward:
    return PackedForward(network.packed.decoder(), prompts)


_MEANS: dict[Way, str] = {
    _packed: "packed weights",
    SlotForward: "a cache of slots",
    PaddedForward: "left padding",
    AloneForward: "a cache of its own kind",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How batches run.

    Attributes:
        forward: `"packed"`: see `aigc.text.packed`; or `"slots"`, `"padded"` or `"alone"`: see `aigc.text.forwards`.
        reason: A sentence that says why, and what it means for reproducibility.
    """

    forward: str
    reason: str
    way: Way

    def __str__(self) -> str:
        return f"{self.forward}: {self.reason}"


class Plans:
    """A network's plan, found when it is first asked for, and again when the network moved."""

    def __init__(self, network: TransformersNetwork) -> None:
        self._network = network
        self._state: object = None
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        """The plan for the network as it is."""
        state = (self._network.device, self._network.dtype, self._network.packed.altered())
        if self._plan is None or state != self._state:
            self._plan, self._state = choose(self._network), state
        return self._plan


def choose(network: TransformersNetwork) -> Plan:
    """Tries the ways on a few short prompts, best first, against a forward without padding or cache.

    Raises:
        ModelError: If the model is not causal, and so cannot write.
    """
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
            return Plan("slots", f"every row starts at slot 0; {bits}", SlotForward)
    misfit, bits = _try(network, PaddedForward)
    if misfit is None:
        return Plan("padded", f"{problem}; rows are padded on the left, and {bits}", PaddedForward)
    return Plan(
        "alone", f"{problem}, and its past cannot be padded; each row runs by itself, with the same bits", AloneForward
    )


def _try(network: TransformersNetwork, way: Way) -> tuple[str | None, str]:
    """What is wrong with a way, or None; and a clause that says whether a row's bits depend on its batch."""
    texts = _texts(network)
    name = type(network.model).__name__
    try:
        batch = _logits(network, way, texts, _LENGTHS)
    except MISFIT as error:
        return f"{name} does not take {_MEANS[way]} ({type(error).__name__})", ""
    off = max(_distance(torch.stack([step[row] for step in batch]), _plain(network, texts, row)) for row in (0, 1))
    int8 = way is _packed and network.packed.int8
    if off > (_TOLERANCE_INT8 if int8 else _TOLERANCE.get(network.dtype, _TOLERANCE_HALF)):
        return f"with {_MEANS[way]} the logits of {name} are off by {off:.2g} of their spread", ""
    alone = _logits(network, way, texts[1:2], _LENGTHS[1:2])
    same = all(torch.equal(step[1], by_itself[0]) for step, by_itself in zip(batch, alone, strict=True))
    verdict = "had the same bits" if same else "were rounded differently"
    dtype = str(network.dtype).removeprefix("torch.")
    return None, f"in {dtype} on {network.device.type} its logits {verdict} alone and among {len(_LENGTHS)} rows"


@torch.inference_mode()
def _check_causal(network: TransformersNetwork) -> None:
    text = _texts(network)[0]
    whole, beginning = (network.logits(torch.tensor([ids], device=network.device))[0, 2:3] for ids in (text, text[:4]))
    if _distance(beginning, whole) > _TOLERANCE.get(network.dtype, _TOLERANCE_HALF):
        raise ModelError(
            f"{type(network.model).__name__} is not causal: what it says of a token changes with the tokens after it, as "
            "in BERT and other encoders. They read text and cannot write it; use a causal model such as GPT-2 or Qwen."
        )


def _texts(network: TransformersNetwork) -> list[list[int]]:
    total = max(_LENGTHS) + _STEPS
    if network.context is not None and network.context < total:
        raise ModelError(
            f"{type(network.model).__name__} has a context of {network.context} tokens, and aigc needs {total}."
        )
    return [[(7 * i + 11 * row + 3) % network.vocabulary for i in range(total)] for row in range(len(_LENGTHS))]


@torch.inference_mode()
def _logits(network: TransformersNetwork, way: Way, texts: list[list[int]], lengths: tuple[int, ...]) -> list[Tensor]:
    """Logits after the prompts and after each of a few more tokens, `(rows, vocabulary)` each."""
    forward = way(network, [text[:length] for text, length in zip(texts, lengths, strict=True)])
    seen = [forward.prefill()]
    for step in range(_STEPS):
        tokens = [text[length + step] for text, length in zip(texts, lengths, strict=True)]
        seen.append(forward.step(torch.tensor(tokens, device=network.device)))
    forward.select(torch.tensor([0], device=network.device))
    return seen


@torch.inference_mode()
def _plain(network: TransformersNetwork, texts: list[list[int]], row: int) -> Tensor:
    logits = network.logits(torch.tensor([texts[row]], device=network.device))[0]
    return logits[_LENGTHS[row] - 1 : _LENGTHS[row] + _STEPS]


def _distance(ours: Tensor, theirs: Tensor) -> float:
    """Root mean square difference, in units of the true logits' spread over the vocabulary."""
    difference = (ours.double() - theirs.double()).square().mean().sqrt()
    result = float(difference / theirs.double().std().clamp(min=1e-12))
    # A model that says NaN says it both ways; that is for the sampler's status to tell, not for the plan.
    return 0.0 if math.isnan(result) else result
