"""What goes with an adapter beside its weights: the chat template it was trained with, and what it was trained on.

The adapter in use has both where the model's own would be: `gen.tokenizer.chat_template`, and the end of `gen.trained_on`.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aigc.data.text import Manifest

if TYPE_CHECKING:
    from aigc.text.generator import Generator

__all__ = ["Note", "Notes"]

_KEPT = "_notes_of_adapters"  # of the model, beside its adapters


@dataclass(frozen=True, slots=True)
class Note:
    """Of an adapter, or of the model itself.

    Attributes:
        template: Of chats, as the tokenizer has it.
        trained_on: Of an adapter, without what the model itself was trained on.
    """

    template: Any
    trained_on: tuple[Manifest, ...] = ()


@dataclass(slots=True)
class Notes:
    """Of all adapters of a model by name, and of the model itself under None; of what is in use, as it was before.

    Attributes:
        used: Whose the template and the manifests are that `gen` has.
        kept: Of the others.
    """

    used: str | None = None
    kept: dict[str | None, Note] = field(default_factory=dict)

    @classmethod
    def of(cls, gen: "Generator") -> "Notes":
        """Those of a model."""
        found: Notes = vars(gen.model).setdefault(_KEPT, cls())
        return found

    def note(self, gen: "Generator", name: str | None) -> Note:
        """Of an adapter. A new one begins with the template of the model itself."""
        if name == self.used:
            own = 0 if name is None else len(self.kept[None].trained_on)
            return Note(gen.tokenizer.chat_template, gen.trained_on[own:])
        return self.kept[name] if name in self.kept else Note(self.note(gen, None).template)

    def switch(self, gen: "Generator", name: str | None) -> None:
        """Gives `gen` what goes with an adapter, or with the model itself."""
        note = self.note(gen, name)
        self.kept[self.used] = self.note(gen, self.used)
        self.used = name
        gen.tokenizer.chat_template = note.template
        gen.trained_on = note.trained_on if name is None else self.kept[None].trained_on + note.trained_on

    def forget(self, gen: "Generator") -> None:
        """All of them; what is in use becomes the model's own."""
        vars(gen.model).pop(_KEPT, None)
