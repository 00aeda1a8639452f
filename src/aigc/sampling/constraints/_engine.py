"""The engine of constraints, llguidance: an extra, imported where a constraint needs it."""

import json
from typing import Any

from aigc.errors import GenerationError, ParameterError

__all__ = ["check", "compiled", "engine", "lark"]

# No forcing: a text is what the constraint allows, not the one way in which the tokenizer would cut it.
_COMPACT = {"x-guidance": {"whitespace_flexible": False}}  # no text goes on for ever in spaces
_OPTIONS = '\n%llguidance {"no_forcing": true}\n'


def engine() -> Any:
    """The module.

    Raises:
        ImportError: If it is not installed; says how to.
    """
    try:
        import llguidance
    except ImportError:
        raise ImportError("json=, regex= and grammar= need llguidance: pip install 'aigc[constraints]'") from None
    return llguidance


def lark(kind: str, text: str) -> str:
    """A grammar in the engine's language, from a JSON schema, a regular expression or a grammar of the caller's."""
    if kind == "json":
        return f"start: %json {json.dumps(json.loads(text) | _COMPACT)}{_OPTIONS}"
    made = engine().grammar_from(kind, text)
    return str(json.loads(made)["grammars"][0]["lark_grammar"] if kind == "regex" else made) + _OPTIONS


def compiled(tokenizer: Any, grammar: str, *, what: str, cure: str) -> Any:
    """A matcher at the beginning of a grammar.

    Raises:
        ParameterError: If the engine cannot compile it; says why.
    """
    matcher = engine().LLMatcher(tokenizer, grammar, log_level=0)
    if matcher.is_error():
        raise ParameterError(f"{what} must be one that the engine can follow: {_reason(matcher)}. {cure}".rstrip())
    return matcher


def check(matcher: Any) -> None:
    """Sees to it that the engine goes on.

    Raises:
        GenerationError: If it gave up, on a grammar that branches too much.
    """
    if matcher.is_error():
        raise GenerationError(f"the engine of constraints gave up: {_reason(matcher)}. Simplify the schema or the grammar.")


def _reason(matcher: Any) -> str:
    """What the engine says of an error, in one line."""
    lines = [line.strip() for line in matcher.get_error().splitlines() if line.strip()]
    said = next((line.removeprefix("error: ") for line in lines if line.startswith("error:")), lines[0] if lines else "")
    return said.rstrip(".")
