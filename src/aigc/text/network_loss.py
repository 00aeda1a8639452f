"""A causal model as a loss of windows: what it takes to keep documents apart, and to spare the logits."""

from typing import Any

import torch
from torch import Tensor, nn

from aigc.data.text import Window
from aigc.text._transformers import MISFIT
from aigc.text.losses import linear_cross_entropy, token_losses

__all__ = ["WindowLoss", "positions"]


class WindowLoss:
    """The nats of all targets of windows, by a causal model of transformers.

    What a model can do is found by trying it once: whether documents of a window are kept apart by positions that begin
    anew, and whether its logits are its last hidden states times the weight of its head.

    Args:
        model: The model.
        begin: The token that its prompts begin with, where that is another than the one that ends texts in windows.
        end: That one.

    Attributes:
        apart: Whether attention stays within each document.
        spares: Whether the logits of all positions are never there at once.
    """

    def __init__(self, model: Any, *, begin: int | None = None, end: int | None = None) -> None:
        self.model, self.begin, self.end = model, begin, end
        self.apart = self._tried(self._keeps_apart)
        self.spares = self._tried(self._is_linear)

    def __call__(self, windows: Window) -> Tensor:
        """The sum over all targets, in nats."""
        ids, targets = windows.ids[:, :-1], windows.labels[:, 1:].flatten()
        places = positions(windows.segments[:, :-1])
        if self.begin is not None:
            ids = ids.masked_fill((places == 0) & (ids == self.end), self.begin)
        alone = bool((places[:, -1] == places.shape[1] - 1).all())  # a document each: plainly causal is faster
        how = {"position_ids": places} if self.apart and not alone else {}
        if not self.spares:
            logits = self.model(input_ids=ids, use_cache=False, **how).logits
            return token_losses(logits.flatten(0, 1), targets)
        hidden = self._hidden(ids, **how)
        return linear_cross_entropy(hidden.flatten(0, 1), self._head().weight, targets)

    def _hidden(self, ids: Tensor, **how: Any) -> Tensor:
        hidden: Tensor = self.model.base_model(input_ids=ids, use_cache=False, **how)[0]
        return hidden

    def _head(self) -> Any:
        return self.model.get_output_embeddings()

    def _tried(self, what: Any) -> bool:
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            with torch.no_grad():
                return bool(what())
        except MISFIT:
            return False
        finally:
            for module in training:
                module.training = True

    def _keeps_apart(self) -> bool:
        ids = self._some(12)  # two rows, for some kernels look for documents in one alone
        segments = torch.tensor([[0] * 5 + [1] * 7] * 2, device=ids.device)
        together = self.model(input_ids=ids, position_ids=positions(segments), use_cache=False).logits[:, 5:]
        return _near(together, self.model(input_ids=ids[:, 5:], use_cache=False).logits)

    def _is_linear(self) -> bool:
        head = self._head()
        if type(head) is not nn.Linear or head.bias is not None:
            return False
        ids = self._some(8)
        found = head(self._hidden(ids))
        large = torch.linspace(-200, 200, found.shape[-1], device=found.device, dtype=found.dtype).expand_as(found)
        hook = head.register_forward_hook(lambda *_: large)  # a cap shows where logits are large
        try:
            given = self.model(input_ids=ids, use_cache=False).logits
        finally:
            hook.remove()
        return torch.equal(given, large) and _near(found, self.model(input_ids=ids, use_cache=False).logits)

    def _some(self, count: int) -> Tensor:
        embedding = self.model.get_input_embeddings().weight
        return (torch.arange(2 * count, device=embedding.device) * 7 % len(embedding)).view(2, count)


def positions(segments: Tensor) -> Tensor:
    """The place of each token in its document, from the segments of windows `(batch, length)`.

    Example:
        >>> positions(torch.tensor([[0, 0, 1, 1, 1, -1]]))
        tensor([[0, 1, 0, 1, 2, 0]])
    """
    place = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return place - place.where(begins, torch.zeros_like(place)).cummax(1).values


def _near(a: Tensor, b: Tensor) -> bool:
    spread = float(b.float().std())
    tolerance = 1e-3 if a.dtype in (torch.float32, torch.float64) else 0.05
    return bool(((a.float() - b.float()).abs().max() <= tolerance * max(spread, 1e-6)).item())
