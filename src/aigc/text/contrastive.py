"""Contrastive search: likely tokens that lead somewhere new."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from aigc._checks import integer, number
from aigc.kernels import Status
from aigc.sampling import Categorical
from aigc.text.loop import Drawn, Revealing
from aigc.text.rows import Request
from aigc.text.shaping import Shape, best, verdict

__all__ = ["ContrastiveLoop", "ContrastiveSearch"]


@dataclass(frozen=True, slots=True)
class ContrastiveSearch:
    r"""Writes the likely token whose hidden state is least like all before it (Su et al., 2022, arXiv:2202.06417).

    $$ v = \arg\max_{v \in \text{top-}k} \; (1 - \alpha)\, p(v) - \alpha \max_j \cos(h_v, h_j) $$

    $h$ are hidden states of the last layer, of the prompt and of the text. It draws nothing, and repeats itself less than
    greedy text. Each candidate is read: so many rows of the model run for each prompt.

    Args:
        k: Candidates, at least 1; 1 is greedy.
        alpha: In [0, 1]; 0 is greedy.

    Raises:
        ParameterError: If one is out of range.

    Example:
        >>> ContrastiveSearch(4, alpha=0.6)
        ContrastiveSearch(k=4, alpha=0.6)
    """

    k: int = 4
    alpha: float = field(default=0.6, kw_only=True)

    def __post_init__(self) -> None:
        integer("k", self.k, low=1)
        number("alpha", self.alpha, low=0, high=1)


class _Text(NamedTuple):
    """A row: its place in the batch, its filters, and the directions of its hidden states, float32 `(tokens, width)`."""

    place: int
    shape: Shape
    seen: Tensor


class ContrastiveLoop(Iterator[list[Drawn]]):
    """Chooses a token for every row that goes on, each time it is asked: see `aigc.text.loop.Loop`.

    Args:
        model: The rows' model, with their prompts.
        samplers: The filters of each row.
        given: How to choose.
        requests: The rows.
    """

    def __init__(
        self, model: Revealing, samplers: Sequence[Categorical], given: ContrastiveSearch, *, requests: Sequence[Request]
    ) -> None:
        self._model, self._given = model, given
        self._texts = [
            _Text(i, Shape.begin(sampler, request.ids, request.seed), torch.empty(0))
            for i, (sampler, request) in enumerate(zip(samplers, requests, strict=True))
        ]
        self._done: set[int] = set()
        self._logits: Tensor | None = None

    def drop(self, row: int) -> None:
        """Ends a row: it leaves the batch before the next step."""
        self._done.add(row)

    def __next__(self) -> list[Drawn]:
        with torch.inference_mode():
            if self._logits is None:
                self._model.reveal = True
                self._logits = self._model.prefill()
                pairs = zip(self._texts, self._model.hidden, strict=True)
                self._texts = [text._replace(seen=_directions(hidden)) for text, hidden in pairs]
            going = [i for i, text in enumerate(self._texts) if text.place not in self._done]
            if not going:
                raise StopIteration
            return self._step(self._logits, going)

    def _step(self, logits: Tensor, going: list[int]) -> list[Drawn]:
        left = torch.cat([self._texts[i].shape.filtered(logits[i : i + 1]) for i in going])
        events: list[Drawn] = []
        rows: list[int] = []
        candidates: list[list[tuple[float, int]]] = []
        for i, top, found in zip(going, left.amax(-1).tolist(), best(left.log_softmax(-1), self._given.k), strict=True):
            status = verdict(top)
            if status is Status.OK:
                rows.append(i)
                candidates.append([one for one in found if one[0] > -torch.inf])
            else:
                self._done.add(self._texts[i].place)
                events.append(Drawn(self._texts[i].place, -1, torch.nan, status))
        return sorted([*events, *self._choose(rows, candidates, logits.device)]) if rows else events

    def _choose(self, rows: list[int], candidates: list[list[tuple[float, int]]], device: torch.device) -> list[Drawn]:
        """Reads all candidates of some rows, keeps one of each, and forgets the other rows."""
        alive = [row for row, found in zip(rows, candidates, strict=True) for _ in found]
        self._model.select(torch.tensor(alive, device=device))
        logits = self._model.step(torch.tensor([token for found in candidates for _, token in found], device=device))
        hidden = [_directions(one) for one in self._model.hidden]
        events: list[Drawn] = []
        texts: list[_Text] = []
        kept: list[int] = []
        first = 0
        for row, found in zip(rows, candidates, strict=True):
            text = self._texts[row]
            chosen = self._best(text.seen, torch.cat(hidden[first : first + len(found)]), [one[0] for one in found])
            logprob, token = found[chosen]
            shape = text.shape.follow(torch.tensor([0]), torch.tensor([token]), torch.tensor([logprob]))
            texts.append(_Text(text.place, shape, torch.cat([text.seen, hidden[first + chosen]])))
            events.append(Drawn(text.place, token, logprob, Status.OK))
            kept.append(first + chosen)
            first += len(found)
        at = torch.tensor(kept, device=device)
        self._model.select(at)
        self._texts, self._logits = texts, logits[at]
        return events

    def _best(self, seen: Tensor, hidden: Tensor, logprobs: list[float]) -> int:
        """Which of some candidates is best, by their directions `(candidates, width)`; of equals the likeliest."""
        alpha = self._given.alpha
        alike = (hidden @ seen.t()).amax(-1)
        return int(((1 - alpha) * torch.tensor(logprobs).exp() - alpha * alike.cpu()).argmax())


def _directions(hidden: Tensor) -> Tensor:
    return torch.nn.functional.normalize(hidden.float(), dim=-1)
