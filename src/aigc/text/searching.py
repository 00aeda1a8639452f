"""What can be searched for, how, and how many rows of the model it takes."""

from typing import Any

import torch

from aigc import device as devices
from aigc._checks import fail, fail_type
from aigc.errors import ModelError, ResourceError
from aigc.sampling import is_greedy
from aigc.text._transformers_kinds import MaskedNetwork, Network, Seq2SeqNetwork
from aigc.text.beams import BeamSearch
from aigc.text.choosing import BestOf
from aigc.text.contrastive import ContrastiveSearch
from aigc.text.guidance import Guidance
from aigc.text.requests import Chosen
from aigc.text.slots import BUCKET

__all__ = ["Search", "check_guidance", "check_room", "check_samplers", "check_search", "samples", "width"]

_CANDIDATE = 360  # bytes: a number and a token in lists, in a tuple, in a `Candidate`, and in what they are ordered by

Search = BeamSearch | BestOf | ContrastiveSearch


def check_search(search: Any, network: Network, *, n: int, speculate: object, guidance: object) -> Search | None:
    """Checks the search of a call."""
    if search is None:
        return None
    if not isinstance(search, Search):
        raise fail_type("search", "a BeamSearch, a BestOf or a ContrastiveSearch", search)
    _check_kind("search", network)
    if isinstance(search, BestOf):
        if n > search.of:
            raise fail("n", f"at most the {search.of} samples of {search!r}", n)
        return search
    if isinstance(search, BeamSearch) and n > search.beams:
        raise fail("n", f"at most the {search.beams} beams of {search!r}", n)
    if speculate is not None:
        raise fail("speculate", f"left out with {type(search).__name__}, which draws nothing", speculate)
    if isinstance(search, ContrastiveSearch):
        _check_contrastive(network, n=n, guidance=guidance)
    return search


def check_guidance(guidance: Any, network: Network, *, speculate: object) -> Guidance | None:
    """Checks the guidance of a call; one of scale 1 is none."""
    if guidance is None:
        return None
    if not isinstance(guidance, Guidance):
        raise fail_type("guidance", "a Guidance", guidance, "For instance Guidance(1.5).")
    _check_kind("guidance", network)
    if speculate is not None:
        raise fail("speculate", "left out with guidance: guesses are read after one prompt, not after two", speculate)
    return None if guidance.scale == 1 else guidance


def check_samplers(search: Search | None, chosen: Chosen) -> None:
    """Checks that a search can work with the samplers of a call."""
    for sampler in chosen.samplers if search is not None else ():
        if isinstance(search, BestOf):
            if search.of > 1 and is_greedy(sampler):
                raise fail("sampler", "one that draws: of samples that are all the same none is the best", sampler)
        elif not (hasattr(sampler, "filtered") and hasattr(sampler, "updated")):
            condition = f"a filter or a chain of filters with {type(search).__name__}, which draws nothing"
            raise fail("sampler", condition, sampler)


def check_room(search: Search | None, network: Network, *, slot_bytes: int | None) -> None:
    """Refuses a search of which not even one prompt fits into memory, where the system would end the process instead.

    Args:
        search: What is asked for.
        network: The model.
        slot_bytes: What a token takes in the cache; None is not known, and not counted.

    Raises:
        ResourceError: With both figures.
    """
    rows = width(search)
    each = min(2 * rows, network.vocabulary) * _CANDIDATE
    if network.device.type == "cpu":  # elsewhere running out of memory is an error that can be caught
        each += BUCKET * (slot_bytes or 0) + 3 * 4 * network.vocabulary  # logits as they are, filtered, and normalised
    free = devices.available_memory(torch.device("cpu")) if rows > 1 else None
    if free is not None and rows * each > free:
        figures = f"{search!r} takes {rows * each / 2**30:,.1f} GiB for one prompt, and {free / 2**30:,.1f} GiB are free"
        raise ResourceError(f"{figures}. Search with fewer rows.")


def samples(search: Search | None, n: int) -> int:
    """How many rows a call writes for each prompt."""
    if isinstance(search, BestOf):
        return search.of
    return n if search is None else 1


def width(search: Search | None) -> int:
    """How many rows of the model one row of a call takes."""
    if isinstance(search, BeamSearch):
        return search.beams
    return search.k if isinstance(search, ContrastiveSearch) else 1


def _check_contrastive(network: Network, *, n: int, guidance: object) -> None:
    if n > 1:
        raise fail("n", "1 with ContrastiveSearch, which would write the same text each time", n)
    if guidance is not None:
        raise fail("guidance", "left out with ContrastiveSearch: hidden states follow one prompt, not two", guidance)
    if isinstance(network, Seq2SeqNetwork):
        name = type(network.model).__name__
        raise ModelError(f"ContrastiveSearch needs a causal model, and {name} reads with an encoder. Use BeamSearch.")


def _check_kind(name: str, network: Network) -> None:
    if isinstance(network, MaskedNetwork):
        raise ModelError(
            f"{name} needs a model that writes from left to right, and {type(network.model).__name__} fills gaps. "
            "Leave it out, or use a causal or an encoder-decoder model."
        )
