"""How a text can be brought to an end: a short continuation after which the grammar is satisfied.

The engine says which tokens may follow, and not how far the end is. So ends are looked for: first by going straight for
closing marks, then the shortest texts first. What is found is proved by the engine, which followed it. That nothing shorter
was overlooked is not: of states that look alike only some are followed.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from aigc.sampling.constraints._lexicon import Lexicon

__all__ = ["follows", "search", "straight"]

_CLOSERS = b']}123456789"0'  # an open list or object first; then a number, which ends wherever it is; then a string
_CLASSES = (range(0x20), range(0x30, 0x3A), range(0x41, 0x5B), range(0x61, 0x7B), range(0x80, 0xC0), range(0xC0, 0x100))
_MANY = 8
_LONGER = 8  # bytes by which a closing of fewer tokens may be longer than the shortest


def follows(matcher: Any, text: bytes, lexicon: Lexicon) -> bool:
    """Whether a text may follow, and satisfies the grammar then."""
    parts = lexicon.split(text)
    after = matcher.deep_copy()
    return parts is not None and bool(after.consume_tokens(parts)) and bool(after.is_accepting())


def straight(matcher: Any, lexicon: Lexicon, *, shorter: int, turns: int) -> bytes | None:
    """The continuation that takes a closing mark at each of some turns: short for JSON, maybe none for other grammars."""
    matcher = matcher.deep_copy()
    text = _forced(matcher, lexicon)
    for _ in range(turns):
        if matcher.is_accepting() or len(text) >= shorter:
            return text if len(text) < shorter else None
        part = _closer(_allowed(matcher, lexicon), lexicon)
        if part is None:
            return None
        matcher.consume_token(part)
        text += lexicon.atoms[part] + _forced(matcher, lexicon)
    return None


def search(
    matcher: Any, lexicon: Lexicon, fits: Callable[[bytes], bool], *, shorter: int, tries: int, every: bool = False
) -> bytes | None:
    """Looks for a continuation that closes and fits, the shortest in bytes first; else returns the shortest that closes.

    Args:
        matcher: Where the text stands, in the engine's tokenizer of atoms.
        lexicon: The tokens.
        fits: Whether a continuation is short enough.
        shorter: How long one is known that does not fit, in bytes.
        tries: The most states to look at.
        every: Whether to try every byte, and not only a few of those that stand for many, as letters do in a string.
    """
    order, seen = count(), Counter[tuple[int, bytes]]()
    waiting = [(0, next(order), b"", matcher)]
    nearest: bytes | None = None
    while waiting:
        _, _, text, at = heapq.heappop(waiting)
        if at.is_accepting():
            if fits(text):
                return text
            if nearest is None:
                nearest, shorter = text, min(shorter, len(text) + _LONGER)
            continue
        for part in _children(_allowed(at, lexicon), lexicon, every=every):
            tries -= 1
            if tries < 0:
                return nearest
            after = at.deep_copy()
            after.consume_token(part)
            grown = text + lexicon.atoms[part] + _forced(after, lexicon)
            # States of like length that allow the same are most often one state: a few of them are enough.
            key = len(grown), after.compute_bitmask() + bytes([after.is_accepting()])
            seen[key] += 1
            if len(grown) < shorter and seen[key] <= (_MANY if every else 2):
                heapq.heappush(waiting, (len(grown), next(order), grown, after))
    return nearest


def _allowed(matcher: Any, lexicon: Lexicon) -> bytes:
    """For each atom a byte, 1 if it may follow."""
    bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
    return bits[: len(lexicon.atoms)].tobytes()


def _forced(matcher: Any, lexicon: Lexicon) -> bytes:
    """Goes on as far as there is one way only, and returns what was written."""
    text: bytes = matcher.compute_ff_bytes()
    parts = lexicon.split(text) if text else None
    if not parts:
        return b""
    matcher.consume_tokens(parts)
    return text


def _closer(allowed: bytes, lexicon: Lexicon) -> int | None:
    """The atom that most likely closes something."""
    within = _first(b"z", allowed, lexicon) is not None  # most likely a string
    found = _first(b'"a' if within else _CLOSERS, allowed, lexicon)
    first = allowed.find(1)
    return found if found is not None else first if first >= 0 else None


def _first(wanted: bytes, allowed: bytes, lexicon: Lexicon) -> int | None:
    places = (lexicon.places.get(bytes([byte]), -1) for byte in wanted)
    return next((place for place in places if place >= 0 and allowed[place]), None)


def _children(allowed: bytes, lexicon: Lexicon, *, every: bool) -> list[int]:
    """The atoms to try: of a class of which many may follow, such as letters, the first two and the last."""
    parts = [place for place, may in enumerate(allowed) if may]
    if every or len(parts) <= _MANY:
        return parts
    chosen: list[int] = []
    classes: dict[int, list[int]] = {}
    for part in parts:
        byte = lexicon.atoms[part][0]
        group = next((i for i, members in enumerate(_CLASSES) if byte in members), -1)
        if group < 0:
            chosen.append(part)
        else:
            classes.setdefault(group, []).append(part)
    for members in classes.values():
        chosen += members if len(members) <= _MANY else [*members[:2], members[-1]]
    return chosen
