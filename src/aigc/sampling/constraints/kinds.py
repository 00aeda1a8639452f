"""What a text may be held to: a JSON schema, a regular expression, a few choices, a grammar."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aigc._checks import fail, fail_type
from aigc.sampling.constraints._automaton import Automaton
from aigc.sampling.constraints._closing import Searching
from aigc.sampling.constraints._engine import compiled, lark
from aigc.sampling.constraints._lexicon import Lexicon
from aigc.sampling.constraints._patterns import parsed, written
from aigc.sampling.constraints._reading import Following, Reading, Selecting
from aigc.sampling.constraints._schemas import schema_text

__all__ = ["Choices", "Constraint", "Grammar", "Json", "Regex"]


class Constraint(Protocol):
    """Says what may be written: `Json`, `Regex`, `Choices` or `Grammar`.

    Example:
        >>> isinstance(Choices(["yes", "no"]).start, object)
        True
    """

    def start(self, lexicon: Lexicon) -> Reading:
        """A text before its first token.

        Raises:
            ParameterError: If nothing can follow this constraint.
            ImportError: If the engine is not installed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Json:
    """Text that is JSON, and valid under a schema; without spaces between its parts, and its properties in their order.

    Args:
        schema: A JSON schema as a dict or as a string; a dataclass, whose fields with a default may be left out; a pydantic
            model; or True for any JSON. The engine, llguidance, covers types, `enum`, `const`, `anyOf`, `allOf`, `$ref`,
            `oneOf` of parts that exclude each other, bounds of numbers, lengths, `pattern`, the common `format`s, arrays
            and objects, and refuses what it cannot hold a text to, such as `uniqueItems`, `not` or `if`.

    Raises:
        ParameterError: If the schema is none.

    Example:
        >>> Json({"type": "integer", "minimum": 0})
        Json(schema={'type': 'integer', 'minimum': 0})
    """

    schema: Any = field(default=True, compare=False)
    text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", schema_text(self.schema))

    def start(self, lexicon: Lexicon) -> Reading:
        """A text before its first token."""
        cure = "Leave that out of the schema, and check it when the text is there."
        return _following(lexicon, lark("json", self.text), "json", cure)


@dataclass(frozen=True, slots=True)
class Regex:
    r"""Text that a regular expression of Python matches from its beginning to its end: `re.fullmatch`.

    Classes mean what they mean in Python: `\d` is a digit of any script, and `[0-9]` one of ten.

    Args:
        pattern: Without look-around, references, possessive repetitions, `\b`, and flags but a, s and x.

    Raises:
        ParameterError: If it is no pattern, or has one of these.

    Example:
        >>> Regex(r"[0-9]{4}-[0-9]{2}")
        Regex(pattern='[0-9]{4}-[0-9]{2}')
    """

    pattern: str

    def __post_init__(self) -> None:
        parsed(self.pattern)

    def start(self, lexicon: Lexicon) -> Reading:
        """A text before its first token."""
        node = parsed(self.pattern)
        automaton, grammar, cure = Automaton(node), lark("regex", written(node)), "Write it with fewer repetitions."
        if not lexicon.bytewise:  # then only the engine knows which characters can be spelt
            return _following(lexicon, grammar, "regex", cure)
        return Following(lexicon, compiled(lexicon.whole, grammar, what="regex", cure=cure), automaton.start())


@dataclass(frozen=True, slots=True)
class Choices:
    """Text that is one of several, drawn token by token as the model would write them; needs no engine.

    Args:
        options: At least one string.

    Raises:
        ParameterError: If there is none.

    Example:
        >>> Choices(["yes", "no"])
        Choices(options=('yes', 'no'))
    """

    options: Sequence[str]

    def __post_init__(self) -> None:
        if not isinstance(self.options, Sequence) or isinstance(self.options, str | bytes):
            raise fail_type("choices", "a sequence of strings", self.options)
        for i, option in enumerate(self.options):
            if not isinstance(option, str):
                raise fail_type(f"choices[{i}]", "a string", option)
            if option.endswith("\ufffd") or any("\ud800" <= character <= "\udfff" for character in option):
                raise fail(f"choices[{i}]", "text of whole characters", option)
        if not self.options:
            raise fail("choices", "at least one string", self.options)
        object.__setattr__(self, "options", tuple(dict.fromkeys(self.options)))

    def start(self, lexicon: Lexicon) -> Reading:
        """A text before its first token."""
        return Selecting(lexicon, [option.encode() for option in self.options])


@dataclass(frozen=True, slots=True)
class Grammar:
    """Text of a context-free grammar.

    Args:
        text: In the engine's variant of Lark, which begins at `start`, or in the GBNF of llama.cpp, which begins at `root`.

    Raises:
        TypeParameterError: If it is no string; whether it is a grammar is seen when it meets a tokenizer.

    Example:
        >>> Grammar('start: "(" start ")" | "x"')
        Grammar(text='start: "(" start ")" | "x"')
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise fail_type("grammar", "a grammar, as a string", self.text)

    def start(self, lexicon: Lexicon) -> Reading:
        """A text before its first token."""
        try:
            grammar = lark("grammar", self.text)
        except ValueError as error:
            raise fail("grammar", "a grammar in Lark or GBNF", self.text, f"The engine says: {error}.") from error
        return _following(lexicon, grammar, "grammar", "")


def _following(lexicon: Lexicon, grammar: str, what: str, cure: str) -> Reading:
    whole, small = (compiled(tokens, grammar, what=what, cure=cure) for tokens in (lexicon.whole, lexicon.small))
    return Following(lexicon, whole, Searching(lexicon, small))
