"""Masked models: what they say of a gap, and texts written by filling gaps one after the other.

A masked model such as BERT predicts a hidden token from those on both sides of it. `fill` reads that off. To write, it is
asked again and again: `MaskedForward` puts each token that was drawn into its gap before the next is looked at. It is a
`Forward` like those of causal models, so the loop, the samplers and the seeds are the same.
"""

from collections.abc import Sequence
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from aigc._checks import fail, integer
from aigc.errors import ModelError
from aigc.text._transformers_kinds import MaskedNetwork
from aigc.text.gaps import GapRow, pieces
from aigc.text.results import Candidate, Filled, Gap
from aigc.text.rows import Framed, Request

__all__ = ["MaskedForward", "fill", "frame"]


class MaskedForward:
    """Rows of equal length run together, without padding; each step fills one gap of each row.

    Tokens that stand for no text (the mask, the padding, the ends) are never drawn.
    """

    def __init__(self, network: MaskedNetwork, prompts: Sequence[Sequence[int]]) -> None:
        self._network = network
        self._texts = [list(prompt) for prompt in prompts]
        self._gaps = [[i for i, id in enumerate(prompt) if id == network.mask] for prompt in prompts]
        self._open = [list(gaps) for gaps in self._gaps]
        self._drawn = [0] * len(prompts)
        self._rows = list(range(len(prompts)))
        self._banned = torch.tensor(network.banned, dtype=torch.int64, device=network.device)
        self._at = [0] * len(prompts)

    def place(self, row: int) -> int:
        """The position of the gap that a row's next token is drawn for."""
        return self._at[row]

    def rows(self, requests: Sequence[Request]) -> list[GapRow]:
        """The texts of the rows, which learn from here where their tokens go."""
        net = self._network
        return [
            GapRow(request, net.words.decode, partial(self.place, row), net.mask_token)
            for row, request in enumerate(requests)
        ]

    def prefill(self) -> Tensor:
        """Looks at the texts with all their gaps."""
        return self._look()

    def step(self, tokens: Tensor) -> Tensor:
        """Puts one token per row into the gap it was drawn for, and looks again."""
        for row, token in zip(self._rows, tokens.tolist(), strict=True):
            self._texts[row][self._at[row]] = token
            self._drawn[row] += 1
            if self._open[row]:
                self._open[row].remove(self._at[row])
        return self._look()

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        self._rows = [self._rows[row] for row in alive.tolist()]

    def _look(self) -> Tensor:
        """Logits `(rows, vocabulary)`, each at the gap that its row fills next."""
        for row in self._rows:
            if not self._open[row]:  # a sweep: the gap is emptied, and drawn anew
                gaps = self._gaps[row]
                self._at[row] = gaps[self._drawn[row] % len(gaps)]
                self._texts[row][self._at[row]] = self._network.mask
        found: dict[int, Tensor] = {}
        for _, group in groupby(sorted(self._rows, key=self._length), key=self._length):
            rows = list(group)
            ids = torch.tensor([self._texts[row] for row in rows], device=self._network.device)
            found |= dict(zip(rows, map(self._choose, rows, self._network.predict(ids)), strict=True))
        return torch.stack([found[row] for row in self._rows])

    def _choose(self, row: int, logits: Tensor) -> Tensor:
        """Settles which gap of a row is next, given its logits `(length, vocabulary)`; returns those of that gap."""
        gaps = self._open[row] or [self._at[row]]
        seen = logits[torch.tensor(gaps, device=logits.device)].index_fill(-1, self._banned, -torch.inf)
        if len(gaps) == 1 or self._network.infilling.order == "left to right":
            best = 0
        else:
            best = int(seen.float().log_softmax(-1).amax(-1).argmax())
        self._at[row] = gaps[best]
        return seen[best]

    def _length(self, row: int) -> int:
        return len(self._texts[row])


def frame(network: MaskedNetwork, name: str, text: str, ids: list[int], wanted: int) -> Framed:
    """Says how a prompt becomes a row: its own masks are filled, or, where it has none, as many as wanted behind it.

    Raises:
        ParameterError: If the text is too long, or has more masks than tokens are wanted.
        ModelError: If the tokenizer does not read its own mask token.
    """
    masks, context = text.count(network.mask_token), network.context
    if masks > wanted:
        cure = f"Set max_new_tokens to {masks} at least: each mask is filled by one token."
        raise fail(name, f"a text of at most max_new_tokens={wanted} masks", f"{masks} masks", cure)
    if not masks:
        masks = wanted if context is None else min(wanted, context - len(ids))
        text += network.mask_token * max(masks, 1)
        ids = network.words.encode(text)
    _check(network, name, text, ids)
    return Framed(tuple(ids), (), ids.count(network.mask) * (1 + network.infilling.sweeps))


@torch.inference_mode()
def fill(network: MaskedNetwork, name: str, text: str, *, top: int) -> Filled:
    """Returns the most likely tokens of each mask of a text.

    Raises:
        ParameterError: If the text has no mask, or is too long, or `top` is more than there are tokens.
        ModelError: If the logits are no numbers.
    """
    top = integer("top", top, low=1, high=network.vocabulary - len(network.banned))
    token = network.mask_token
    if token not in text:
        raise fail(name, f"a text with a mask, which this model's tokenizer writes {token}", text, f"Put {token} in a gap.")
    ids = network.words.encode(text)
    _check(network, name, text, ids)
    gaps = [i for i, id in enumerate(ids) if id == network.mask]
    logits = network.predict(torch.tensor([ids], device=network.device))[0, gaps]
    logprobs = logits.double().log_softmax(-1)
    if logprobs.isnan().any():
        raise ModelError(
            f"{type(network.model).__name__} returned NaN or infinite logits for {name}, which name no token. "
            "Load it in float32, or look for a damaged weight."
        )
    banned = torch.tensor(network.banned, dtype=torch.int64, device=logits.device)
    best = logprobs.index_fill(-1, banned, -torch.inf).topk(top)
    written = text.split(token)
    made = []
    for i, position in enumerate(gaps):
        around = [token.join(written[: i + 1]), token.join(written[i + 1 :])]
        candidates = [
            Candidate(id, network.words.decode([id]).strip(), logprob, _filled(network, ids, {position: id}, around))
            for id, logprob in zip(best.indices[i].tolist(), best.values[i].tolist(), strict=True)
        ]
        made.append(Gap(tuple(candidates)))
    first = {position: int(best.indices[i, 0]) for i, position in enumerate(gaps)}
    return Filled(text, _filled(network, ids, first, written), tuple(made))


def _filled(network: MaskedNetwork, ids: list[int], tokens: dict[int, int], written: list[str]) -> str:
    return "".join(pieces(ids, tokens, written, decode=network.words.decode))


def _check(network: MaskedNetwork, name: str, text: str, ids: list[int]) -> None:
    context = network.context
    if context is not None and len(ids) > context:
        raise fail(
            name, f"at most {context} tokens long, which is what the model reads", f"{len(ids)} tokens", "Shorten it."
        )
    if text.count(network.mask_token) != ids.count(network.mask):
        raise ModelError(
            f"the tokenizer does not read {network.mask_token} as its mask token. "
            "Load the tokenizer anew, without split_special_tokens."
        )
