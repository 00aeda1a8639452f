r"""LoRA adapters: small changes of a model's matrices, trained in its place, saved by themselves, switched and merged.

A matrix W becomes $W + \tfrac{\alpha}{r} B A$ with A of r rows and B of r columns (Hu et al., arXiv:2106.09685); W stays.
The layers are peft's (extra `lora`), and so is the form of the files.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file
from torch import nn

from aigc import checkpoint, random
from aigc._checks import fail, fail_type, integer, number
from aigc._writing import path_of
from aigc.device import seeded_rng
from aigc.errors import ModelFileError, ModelNotFoundError
from aigc.text import provenance
from aigc.text.adapter_files import CONFIG, PREFIX, READ, WEIGHTS, checked, lora_config, read_template, write_template
from aigc.text.adapter_notes import Notes

if TYPE_CHECKING:
    from aigc.text.generator import Generator

__all__ = ["Adapters", "LoRA"]

_TRAINED = "_trained_without_adapters"  # of the model: what required gradients before there were adapters


@dataclass(frozen=True, slots=True)
class LoRA:
    r"""What an adapter is.

    Args:
        rank: r, at least 1.
        alpha: As above; None is twice the rank.
        dropout: The share of inputs that training leaves out.
        targets: Names of the modules that are changed, such as `("q_proj", "v_proj")`; None takes every linear map but the
            one to the vocabulary.

    Raises:
        ParameterError: If a number is out of range.

    Example:
        >>> LoRA(rank=8)
        LoRA(rank=8, alpha=None, dropout=0.0, targets=None)
    """

    rank: int = 16
    alpha: float | None = None
    dropout: float = 0.0
    targets: Sequence[str] | None = None

    def __post_init__(self) -> None:
        integer("rank", self.rank, low=1)
        if self.alpha is not None and not number("alpha", self.alpha) > 0:
            raise fail("alpha", "above 0", self.alpha)
        if not 0 <= number("dropout", self.dropout) < 1:
            raise fail("dropout", "in [0, 1)", self.dropout)
        if isinstance(self.targets, str):
            raise fail_type("targets", "a sequence of names", self.targets, f"Give ({self.targets!r},).")


class Adapters:
    """The adapters of a model: `gen.adapters`.

    Each has a chat template and remembers what it was trained on: while it is in use, `gen.tokenizer.chat_template` is its
    own, and `gen.trained_on` goes on with its manifests behind those of the model. What is set meanwhile is the adapter's;
    without it both are the model's own again.

    Args:
        gen: Whose model it is. `fit` trains the adapter in use alone; while none is in use, the model itself.

    Example:
        >>> from aigc import Generator
        >>> gen = Generator.default(device="cpu", dtype="float32")
        >>> gen.adapters.add("verse", LoRA(rank=4))
        >>> gen.adapters
        Adapters(verse; in use: verse, 0.1M parameters)
        >>> gen.adapters.use(None)  # the model as it was
    """

    def __init__(self, gen: "Generator") -> None:
        self._gen = gen

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that there are."""
        return tuple(self._configs())

    @property
    def active(self) -> str | None:
        """The one in use."""
        for layer in self._layers():
            used = layer.active_adapters
            return None if layer.disable_adapters or not used else str(used[0])
        return None

    def add(self, name: str, lora: LoRA | None = None, *, seed: int = 0) -> None:
        """Adds an adapter, which changes nothing until `fit` trains it, and takes it into use.

        Args:
            name: Letters, digits, `-` and `_`.
            lora: What it is; None is `LoRA()`.
            seed: Of its first weights.

        Raises:
            ImportError: If peft is not installed.
            ParameterError: If there is one of that name, or no module of those that it shall change.
        """
        lora = LoRA() if lora is None else lora
        if not isinstance(lora, LoRA):
            raise fail_type("lora", "a LoRA, or None", lora, "For instance LoRA(rank=8).")
        targets = "all-linear" if lora.targets is None else list(lora.targets)
        rank = {"r": lora.rank, "lora_alpha": 2 * lora.rank if lora.alpha is None else lora.alpha}
        new, start = self._new(name), random.check_seed("seed", seed)
        try:
            self._inject(new, {**rank, "lora_dropout": lora.dropout, "target_modules": targets}, start)
        except ValueError as error:
            raise fail("targets", "names of linear maps of the model", targets, str(error)) from error
        self.use(name)

    def use(self, name: str | None) -> None:
        """Takes an adapter into use, or none; `fit` then trains it alone, or the model, as before there were adapters.

        Raises:
            ParameterError: If there is none of that name.
        """
        if name is not None:
            self._check(name)
        for layer in self._layers():
            layer.enable_adapters(name is not None)
            if name is not None:
                layer.set_adapter(name)  # also where it changes nothing: another one would be left in use there
        Notes.of(self._gen).switch(self._gen, name)
        trained = vars(self._gen.model).get(_TRAINED, ())
        for place, parameter in self._gen.model.named_parameters():
            whose = _adapter_of(place)
            own = name is None and _plain(place) in trained
            parameter.requires_grad_(own if whose is None else whose == name)

    def merge(self) -> None:
        """Adds the adapter in use into the model's matrices, and removes all adapters.

        Its chat template is the model's then, and the model was trained on what the adapter was trained on.

        Raises:
            ParameterError: If none is in use.
        """
        name = self.active
        if name is None:
            raise fail("adapters", "one in use, to be merged", None, "Call use(name) first.")
        model = self._gen.model
        found = [(place, module) for place, module in model.named_modules() if _is_layer(module)]
        ends = [end.weight for end in (model.get_input_embeddings(), model.get_output_embeddings()) if end is not None]
        tied = len({id(end) for end in ends}) < len(ends)
        if tied and any(layer.get_base_layer().weight is ends[0] for _, layer in found):
            cure = "Save the adapter, or leave embeddings out of its targets."
            raise fail("adapters", "of no matrix that the model uses twice, to be merged", name, cure)
        for _, layer in found:
            layer.merge(adapter_names=[name])
        self._unwrap(found)

    def remove(self, *, name: str | None = None) -> None:
        """Removes an adapter, or all; without any the model is as it was.

        Args:
            name: Which; None takes all. Where it is in use, none is in use afterwards.

        Raises:
            ParameterError: If there is none of that name.
        """
        if name is not None:
            self._check(name)
            self._take_out(name, None if self.active == name else self.active)
            return
        Notes.of(self._gen).switch(self._gen, None)
        self._unwrap([(place, module) for place, module in self._gen.model.named_modules() if _is_layer(module)])

    def save(self, folder: str | Path, *, name: str | None = None) -> None:
        """Writes an adapter, in peft's form, with its chat template and what it was trained on, all or nothing.

        Args:
            folder: A new or empty folder, or one written by aigc, which is replaced.
            name: Which; None takes the one in use.

        Raises:
            ParameterError: If there is none, or its chat template has a name that no file can have.
        """
        from peft import get_peft_model_state_dict

        chosen = self.active if name is None else name
        if chosen is None:
            raise fail("name", "given, where no adapter is in use", None)
        self._check(chosen)
        note = Notes.of(self._gen).note(self._gen, chosen)
        state = get_peft_model_state_dict(self._gen.model, adapter_name=chosen)
        config = {key: sorted(value) if isinstance(value, set) else value for key, value in self._configs()[chosen].items()}
        with checkpoint.atomic_folder(folder) as beside:
            save_file({PREFIX + key: value.detach().cpu().contiguous() for key, value in state.items()}, beside / WEIGHTS)
            (beside / CONFIG).write_text(json.dumps({"peft_type": "LORA", **config}, indent=1) + "\n")
            write_template(beside, note.template)
            provenance.write(beside, note.trained_on)

    def load(self, folder: str | Path, *, name: str | None = None) -> None:
        """Reads an adapter that `save` or peft wrote, and takes it into use.

        A chat template that is with it is in use with it, and so is what it was trained on, behind `gen.trained_on`.

        Args:
            folder: Where it is.
            name: What it shall be called; None takes the folder's name.

        Raises:
            ModelNotFoundError: If there is no such folder.
            ModelFileError: If a file is missing or damaged, or the adapter is of another kind or another model. Nothing is
                changed then.
            ParameterError: If there is one of that name, or it is none that an adapter can have.
            ImportError: If peft is not installed.
        """
        place = path_of("folder", folder)
        if not place.is_dir():
            raise ModelNotFoundError(f"folder must be one that adapters.save wrote, got {str(place)!r}. No such folder.")
        checkpoint.verify(place)
        config, manifests = checked(checkpoint.read_json(place / CONFIG), place), provenance.read(place)
        template = read_template(place)
        try:
            found = {name: tensor.clone() for name, tensor in load_file(place / WEIGHTS).items()}  # no views of the file
        except Exception as error:
            raise ModelFileError(f"{place / WEIGHTS} cannot be read: {error} Save the adapter again.") from error
        chosen, before = self._new(place.name if name is None else name), self.active
        try:
            self._inject(chosen, config, 0)
        except (TypeError, AttributeError) as error:
            raise ModelFileError(f"{place / CONFIG} is damaged: {error}. Save the adapter again.") from error
        except ValueError as error:  # of peft, which finds no such modules, or none that it can change
            raise ModelFileError(f"{place} is an adapter of another model, or is damaged: {error}") from error
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        try:
            own = get_peft_model_state_dict(self._gen.model, adapter_name=chosen)
            expected = {PREFIX + key: tuple(value.shape) for key, value in own.items()}
            checkpoint.check_state(expected, found, source=str(place / WEIGHTS))
            state = {key.removeprefix(PREFIX): value for key, value in found.items()}
            set_peft_model_state_dict(self._gen.model, state, adapter_name=chosen)
        except BaseException:
            self._take_out(chosen, before)
            raise
        self.use(chosen)
        self._gen.trained_on += manifests
        if template is not None:
            self._gen.tokenizer.chat_template = template

    def _new(self, name: str) -> str:
        if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum() or name in self.names:
            raise fail("name", "a new one, of letters, digits, - and _", name)
        return name

    def _inject(self, name: str, config: Mapping[str, Any], seed: int) -> None:
        config_of = lora_config()
        from peft import inject_adapter_in_model

        transposed = any(type(module).__name__ == "Conv1D" for module in self._gen.model.modules())
        made = config_of(**{"fan_in_fan_out": transposed, **config})
        device = next(self._gen.model.parameters()).device
        model: Any = self._gen.model
        active, names = self.active, self.names
        if not names:
            vars(model)[_TRAINED] = {place for place, parameter in model.named_parameters() if parameter.requires_grad}
        others = vars(model).pop("peft_config", {})  # peft warns where there is one
        try:
            with seeded_rng(seed, device):
                inject_adapter_in_model(made, model, adapter_name=name)
            model.peft_config = others | model.peft_config
        except BaseException:
            model.peft_config = others
            self._take_out(name, active)
            raise
        for layer in self._layers():
            layer.train(model.training)

    def _configs(self) -> dict[str, dict[str, Any]]:
        """What is known of each adapter, as its files have it."""
        found = {}
        for name, config in vars(self._gen.model).get("peft_config", {}).items():
            known = config.to_dict()
            found[name] = {key: known[key] for key in READ if known.get(key) is not None}
        return found

    def _placed(self) -> list[tuple[str, Any]]:
        return [(place, module) for place, module in self._gen.model.named_modules() if _is_layer(module)]

    def _layers(self) -> list[Any]:
        return [layer for _, layer in self._placed()]

    def _check(self, name: str) -> None:
        if name not in self.names:
            raise fail("name", f"one of {', '.join(self.names) or 'none, for there is no adapter'}", name)

    def _take_out(self, name: str, after: str | None) -> None:
        """Removes an adapter, even one that is half made, and takes another one into use."""
        vars(self._gen.model).get("peft_config", {}).pop(name, None)
        if not self.names:
            self.remove()
            return
        for place, layer in self._placed():
            if name in layer.r:
                layer.set_adapter([used for used in layer.active_adapters if used != name])  # else peft warns
                layer.delete_adapter(name)
            if not layer.r:
                self._put(place, layer.get_base_layer())
        self.use(after)
        Notes.of(self._gen).kept.pop(name, None)

    def _put(self, place: str, module: nn.Module) -> None:
        parent, _, last = place.rpartition(".")
        setattr(self._gen.model.get_submodule(parent), last, module)

    def _unwrap(self, found: list[tuple[str, Any]]) -> None:
        model = self._gen.model
        for place, layer in found:
            self._put(place, layer.get_base_layer())
        vars(model).pop("peft_config", None)
        Notes.of(self._gen).forget(self._gen)
        trained = vars(model).pop(_TRAINED, None)
        for place, parameter in model.named_parameters():
            parameter.requires_grad_(trained is None or place in trained)

    def __repr__(self) -> str:
        if not self.names:
            return "Adapters(none)"
        active = self.active
        size = sum(p.numel() for place, p in self._gen.model.named_parameters() if _adapter_of(place) == active)
        used = "none in use" if active is None else f"in use: {active}, {size / 1e6:.1f}M parameters"
        return f"Adapters({', '.join(self.names)}; {used})"


def _is_layer(module: nn.Module) -> bool:
    return type(module).__module__.startswith("peft.tuners.lora") and hasattr(module, "base_layer")


def _plain(place: str) -> str:
    """What a parameter is called where there are no adapters."""
    return place.replace(".base_layer.", ".")


def _adapter_of(place: str) -> str | None:
    """Whose a parameter is: `...lora_A.NAME.weight`, `...lora_embedding_A.NAME`; None of the model's own."""
    parts = place.split(".")
    return next((parts[i + 1] for i, part in enumerate(parts[:-1]) if part.startswith("lora_")), None)
