"""Adapters on disk, in peft's form: which of its settings are read, and which are refused; and their chat templates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aigc._checks import fail, fail_type, integer, number
from aigc.device import preserved_environment
from aigc.errors import ModelFileError

__all__ = ["CONFIG", "PREFIX", "READ", "WEIGHTS", "checked", "lora_config", "read_template", "write_template"]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_TEMPLATE, _MORE = "chat_template.jinja", "additional_chat_templates"  # where transformers has the one, and those by name
PREFIX = "base_model.model."  # that peft's own wrapper puts before every name in its files

READ = (
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "fan_in_fan_out",
)

_WITHOUT_EFFECT = {  # on an adapter whose weights are read, unless another setting is refused
    "peft_type",  # looked at by itself, and so is the next one
    "init_lora_weights",
    "eva_config",  # of first weights, and so are the next three
    "corda_config",
    "lora_ga_config",
    "loftq_config",
    "task_type",
    "auto_mapping",
    "peft_version",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "runtime_config",
    "megatron_core",  # with megatron_config alone
    "qalora_group_size",  # with use_qalora alone
}
# First weights; others of peft's change the model's own matrices, or hold some still.
_BEGINNINGS = (None, True, False, "gaussian", "orthogonal", "eva")


def lora_config() -> Any:
    """The `LoraConfig` of peft.

    Raises:
        ImportError: If peft is not installed.
    """
    try:
        with preserved_environment():  # accelerate, which peft brings in, sets variables
            from peft import LoraConfig
    except ImportError:
        raise ImportError("adapters need peft: pip install 'aigc[lora]'") from None
    return LoraConfig


def checked(config: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """What is read of a configuration; a setting that would change the adapter and is not read is refused.

    A setting that the peft at hand does not know is refused as well, unless it is off.

    Raises:
        ModelFileError: That names the settings.
        ImportError: If peft is not installed.
    """
    if config.get("peft_type") != "LORA":
        raise ModelFileError(f"{place} holds an adapter of type {config.get('peft_type')!r}, not LORA.")
    usual = lora_config()().to_dict()
    others = config.keys() - _WITHOUT_EFFECT - set(READ)
    odd = {key for key in others if config[key] not in (None, False, [], {}) and config[key] != usual.get(key)}
    if config.get("init_lora_weights", True) not in _BEGINNINGS:
        odd.add("init_lora_weights")
    if odd:
        shown = ", ".join(f"{key}={str(config[key])[:40]}" for key in sorted(odd))
        raise ModelFileError(f"{place} has {shown}, which is not read here. Merge it by peft, and load the model.")
    found = {key: config[key] for key in READ if config.get(key) is not None}
    try:
        integer("r", found.get("r"), low=1, high=65_536)
        number("lora_alpha", found.get("lora_alpha", 8))
        number("lora_dropout", found.get("lora_dropout", 0.0), low=0, high=1)
    except ValueError as error:
        raise ModelFileError(f"{place / CONFIG} is damaged: {error}") from error
    return found


def write_template(folder: Path, template: Any) -> None:
    """Writes a chat template, or several by name, as transformers does: the one called `default` where one alone would be.

    Raises:
        ParameterError: If it is neither a string nor strings by names that files can have.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_template(Path(folder), {"default": "{{ a }}", "tool_use": "{{ b }}"})
        ...     read_template(Path(folder))
        {'default': '{{ a }}', 'tool_use': '{{ b }}'}
    """
    if not template:
        return
    for name, text in template.items() if isinstance(template, Mapping) else [("default", template)]:
        if not isinstance(name, str) or not isinstance(text, str):
            raise fail_type("chat_template", "a string, or a mapping of names to strings", template)
        if not name or set(name) & {"/", "\\", "\0"}:
            raise fail("chat_template", "of names that files can have", name)
        file = folder / _TEMPLATE if name == "default" else folder / _MORE / f"{name}.jinja"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text.encode())  # as it is: text files may get other ends of lines


def read_template(folder: Path) -> str | dict[str, str] | None:
    """Reads what `write_template` or transformers wrote; None where there is nothing.

    Raises:
        ModelFileError: If a file cannot be read, or is not UTF-8.
    """
    found: dict[str, str] = {}
    for file in (folder / _TEMPLATE, *sorted((folder / _MORE).glob("*.jinja"))):
        try:
            if file.exists():
                found["default" if file.parent == folder else file.stem] = file.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ModelFileError(f"{file} cannot be read: {error}. Save the adapter again, or remove it.") from error
    return found["default"] if found.keys() == {"default"} else found or None
