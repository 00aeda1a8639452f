"""The decoder of a model that may change: packed anew when its weights have."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from aigc.text.packed.families import build
from aigc.text.packed.linear import EIGHT_BITS
from aigc.text.packed.parts import Decoder
from aigc.text.packed.reading import Unreadable

__all__ = ["Source"]


class Source:
    """A transformers model, read when it is needed, and again after it was trained or moved.

    A change is known by a parameter's version or its memory. One through `parameter.data` changes neither, and is not seen.

    Args:
        model: The model; it is never changed.
        windows: The window of each layer; None if a layer keeps more than keys and values.
    """

    def __init__(self, model: nn.Module, windows: Sequence[int | None] | None) -> None:
        self._model, self._windows = model, windows
        self.int8 = False
        self._state: list[Any] = []
        self._decoder: Decoder | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy packs the weights itself: those that are packed cannot be copied."""
        return {**vars(self), "_state": [], "_decoder": None}

    def decoder(self) -> Decoder:
        """The decoder of the weights as they are.

        Raises:
            Unreadable: If the model cannot be read; says why.
        """
        altered = self.altered()
        state: list[Any] = [self.int8, altered, *(_state(parameter) for parameter in self._model.parameters())]
        if self._decoder is None or state != self._state:
            self._decoder = None  # its memory can be used for the next
            with torch.inference_mode():
                self._decoder, self._state = self._build(altered=altered), state
        return self._decoder

    def altered(self) -> bool:
        """Whether a module's forward is not that of its library alone, but has a hook or a replacement."""
        return any(_altered(module) for module in self._model.modules())

    def _build(self, *, altered: bool) -> Decoder:
        name = type(self._model).__name__
        if any(parameter.device.type != "cpu" for parameter in self._model.parameters()):
            raise Unreadable("weights are packed on the CPU alone")
        if self.int8 and not EIGHT_BITS:
            raise Unreadable("eight-bit products need a processor with VNNI, and a build of torch with oneDNN")
        if self._windows is None:
            raise Unreadable(f"{name} keeps a past that is not keys and values alone")
        if altered:
            raise Unreadable(f"a module of {name} has a forward of its own, or a hook on it")
        try:
            return build(self._model, self._windows, int8=self.int8)
        except Unreadable as error:
            raise Unreadable(f"{name} cannot be packed: {error}") from error


def _altered(module: nn.Module) -> bool:
    library = type(module).forward.__module__.partition(".")[0]
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or "forward" in vars(module)
        or library not in ("torch", "transformers")
    )


def _state(parameter: nn.Parameter) -> tuple[int, int, torch.dtype, torch.device]:
    """Changes when a parameter does: by its version, or by another tensor in its place."""
    version = 0 if parameter.is_inference() else parameter._version
    return parameter.data_ptr(), version, parameter.dtype, parameter.device
