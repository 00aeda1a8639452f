"""Classifier-free guidance: what a prompt says, less what another one says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from aigc._checks import fail, fail_type, number, string
from aigc.text.loop import Forward

__all__ = ["Guidance", "GuidedForward", "guided"]


@dataclass(frozen=True, slots=True)
class Guidance:
    r"""Follows the prompt more closely than the model would (Sanchez et al., 2023, arXiv:2306.17806).

    $$ \ell = u + s\,(c - u), \qquad c = \log p(\cdot \mid \text{prompt}, \text{text}), \quad
       u = \log p(\cdot \mid \text{negative}, \text{text}) $$

    The text is read after both, so a step runs two rows. A token that is impossible after either has the logit $c$. At
    s = 1 the negative prompt is not read.

    Args:
        scale: s, finite. Above 1 the prompt weighs more; at 0 the text is that of the negative prompt.
        negative: What to lead away from: one text for all prompts, or one per prompt. An empty one is the last token of the
            prompt, as in transformers; of an encoder-decoder, the empty source.

    Raises:
        ParameterError: If one is out of range.

    Example:
        >>> Guidance(1.5, negative="It rained.")
        Guidance(scale=1.5, negative='It rained.')
    """

    scale: float = 1.5
    negative: str | Sequence[str] = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        number("scale", self.scale)
        texts = [self.negative] if isinstance(self.negative, str) else self.negative
        if not isinstance(texts, Sequence) or isinstance(texts, bytes):
            raise fail_type("negative", "a string, or one for each prompt", self.negative)
        if not texts:
            raise fail(
                "negative", "one string, or one for each prompt", self.negative, "An empty string leads away from none."
            )
        for text in texts:
            string("negative", text, of="a string, or one for each prompt")

    def negatives(self, prompts: int) -> list[str]:
        """The negative text of each prompt.

        Raises:
            ParameterError: If they are not as many.
        """
        if isinstance(self.negative, str):
            return [self.negative] * prompts
        if len(self.negative) != prompts:
            condition = f"one text, or one for each of the {prompts} prompts"
            raise fail("negative", condition, f"{len(self.negative)} texts")
        return list(self.negative)


class GuidedForward:
    """A forward around two: after each row's prompt, and after its negative prompt.

    Args:
        model: After the prompts.
        against: After the negative prompts.
        scale: How much the difference weighs.
    """

    def __init__(self, model: Forward, against: Forward, scale: float) -> None:
        self._model, self._against, self._scale = model, against, scale

    def prefill(self) -> Tensor:
        """Reads both prompts of each row."""
        return guided(self._model.prefill(), self._against.prefill(), self._scale)

    def step(self, tokens: Tensor) -> Tensor:
        """Reads one more token after both."""
        return guided(self._model.step(tokens), self._against.step(tokens), self._scale)

    def select(self, alive: Tensor) -> None:
        """Forgets all rows but some."""
        self._model.select(alive)
        self._against.select(alive)


def guided(logits: Tensor, against: Tensor, scale: float) -> Tensor:
    """Logits `(rows, vocabulary)` of the prompt, led away from those of the negative prompt; float32 at least."""
    c, u = ((x if x.dtype == torch.float64 else x.float()).log_softmax(-1) for x in (logits, against))
    return torch.where((c == -torch.inf) | (u == -torch.inf), c, u + scale * (c - u))
