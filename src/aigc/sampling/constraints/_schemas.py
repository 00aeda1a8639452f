"""JSON schemas, from what Python programs describe data with."""

import dataclasses
import enum
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

from aigc._checks import fail, fail_type

__all__ = ["schema_text"]

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    Any: {},
    list: {"type": "array"},
    dict: {"type": "object"},
}
_TYPES = "str, int, float, bool, None, Any, list[...], dict[str, ...], Literal, Enum, a union or a dataclass"


def schema_text(schema: object) -> str:
    """A schema as JSON text.

    Raises:
        ParameterError: If it is none, or holds what JSON cannot.
    """
    if schema is True:
        schema = {}
    elif isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except ValueError as error:
            raise fail("json", "a JSON schema", schema, f"The text is no JSON: {error}.") from error
    elif hasattr(schema, "model_json_schema"):  # pydantic's models say it themselves
        schema = schema.model_json_schema()
    elif isinstance(schema, type) and dataclasses.is_dataclass(schema):
        schema = _of_dataclass(schema)
    if not isinstance(schema, Mapping):
        wanted = "a JSON schema as a dict or a string, a dataclass, a pydantic model, or True for any JSON"
        raise fail_type("json", wanted, schema)
    try:
        return json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise fail("json", "a schema of JSON values", schema, f"json.dumps says: {error}.") from error


def _of_dataclass(kind: type) -> dict[str, Any]:
    known: dict[str, Any] = {}
    _describe(kind, kind.__name__, known)
    return {"$ref": f"#/$defs/{kind.__qualname__}", "$defs": known}


def _describe(kind: Any, where: str, known: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type; those of dataclasses go into `known`, so that they may hold themselves."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _fields(kind, where, known)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [_constant(member.value, where) for member in kind]}
    try:
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
    except TypeError:  # not hashable, and so no type
        pass
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return {"enum": [_constant(value, where) for value in arguments]}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_describe(each, where, known) for each in arguments]}
    if origin is list:
        return {"type": "array", "items": _describe(arguments[0], f"{where}[]", known)}
    if origin is dict and arguments[0] is str:
        return {"type": "object", "additionalProperties": _describe(arguments[1], f"{where}{{}}", known)}
    raise fail_type("json", f"a dataclass whose fields are {_TYPES}", kind, f"{where} is another; give a schema instead.")


def _fields(kind: Any, where: str, known: dict[str, Any]) -> dict[str, Any]:
    name = kind.__qualname__
    if name not in known:
        known[name] = made = {"type": "object", "additionalProperties": False}
        try:
            hints = typing.get_type_hints(kind)
        except NameError as error:
            raise fail("json", "a dataclass whose annotations can be resolved", kind, f"{where}: {error}.") from error
        fields = [field for field in dataclasses.fields(kind) if field.init]
        made["properties"] = {f.name: _describe(hints[f.name], f"{where}.{f.name}", known) for f in fields}
        missing = dataclasses.MISSING
        made["required"] = [f.name for f in fields if f.default is missing and f.default_factory is missing]
    return {"$ref": f"#/$defs/{name}"}


def _constant(value: Any, where: str) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    raise fail_type("json", "an Enum or Literal of strings, numbers, booleans or None", value, f"It stands in {where}.")
