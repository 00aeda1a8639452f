"""Constraints: text that is JSON of a schema, that a regular expression matches, that is one of a few, or of a grammar.

kinds.py          what a text may be held to
constrained.py    the sampler that holds it to that
_reading.py       where a text stands
_closing.py       how the text of a grammar comes to an end in time: by search
_automaton.py     how that of a pattern does: exactly
_lexicon.py       the tokens
_schemas.py, _patterns.py, _engine.py    into the language of the engine
"""

from aigc.sampling.constraints.constrained import Constrained, is_constrained
from aigc.sampling.constraints.kinds import Choices, Constraint, Grammar, Json, Regex

__all__ = ["Choices", "Constrained", "Constraint", "Grammar", "Json", "Regex", "is_constrained"]
