"""A pattern as an automaton that knows how far its end is: from each state the fewest bytes that complete a match.

Nondeterministic, over characters: a text is at a set of states, and is as near to the end as the nearest of them.
"""

import codecs
import heapq
import math
from bisect import bisect_right
from collections.abc import Iterable

from aigc._checks import fail
from aigc.sampling.constraints._patterns import Class, Either, Node, Ranges, Row

__all__ = ["Automaton", "Place"]

_MOST = 200_000  # states
_NICE = "a0A -._"  # what a text is completed with, where it may


class Automaton:
    """The states of a pattern.

    Args:
        node: The pattern.

    Raises:
        ParameterError: If it has too many.
    """

    def __init__(self, node: Node) -> None:
        self._moves: list[tuple[Class, list[int], int] | None] = []  # a class, where its ranges begin, and the state behind
        self._free: list[list[int]] = []
        self._end = self._state()
        self._start = self._build(node, self._end)
        self._far, self._way = self._distances()

    def start(self) -> "Place":
        """A text before its first character."""
        return Place(self, self.closure([self._start]), b"")

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        """The states with those that are reached for nothing."""
        found: set[int] = set()
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if state not in found:
                found.add(state)
                waiting += self._free[state]
        return frozenset(found)

    def step(self, states: frozenset[int], character: str) -> frozenset[int]:
        """The states behind a character."""
        code, reached = ord(character), []
        for move in filter(None, map(self._moves.__getitem__, states)):
            place = bisect_right(move[1], code) - 1
            if place >= 0 and code <= move[0].ranges[place][1]:
                reached.append(move[2])
        return self.closure(reached)

    def closing(self, states: frozenset[int], half: bytes) -> bytes | None:
        """The shortest continuation that completes a match, in bytes, behind `half` a character; None if there is none."""
        if not half:
            nearest = min(states, key=self._far.__getitem__, default=None)
            return None if nearest is None or math.isinf(self._far[nearest]) else self._path(nearest)
        low, high = _codes(half)
        best: tuple[float, bytes, int] | None = None
        for move in filter(None, map(self._moves.__getitem__, states)):
            code = next((max(low, a) for a, b in move[0].ranges if b >= low and a <= high), None)
            if code is not None:
                rest = chr(code).encode()[len(half) :]
                found = len(rest) + self._far[move[2]], rest, move[2]
                best = found if best is None else min(best, found)
        return None if best is None or math.isinf(best[0]) else best[1] + self._path(best[2])

    def _path(self, state: int) -> bytes:
        text = b""
        while state != self._end:
            part, state = self._way[state]
            text += part
        return text

    def _state(self) -> int:
        if len(self._free) >= _MOST:
            raise fail("regex", f"of at most {_MOST} states", "a pattern of more", "Write it with fewer repetitions.")
        self._moves.append(None)
        self._free.append([])
        return len(self._free) - 1

    def _build(self, node: Node, then: int) -> int:
        """The state before a part, given the one behind."""
        if isinstance(node, Row):
            for part in reversed(node.parts):
                then = self._build(part, then)
            return then
        if isinstance(node, Class):
            state = self._state()
            self._moves[state] = node, [low for low, _ in node.ranges], then
            return state
        if isinstance(node, Either):
            return self._fork([self._build(way, then) for way in node.ways])
        if node.high is None:
            loop = self._fork([then])
            self._free[loop].append(self._build(node.part, loop))
            then = loop
        else:
            behind = then
            for _ in range(node.high - node.low):
                then = self._fork([self._build(node.part, then), behind])
        for _ in range(node.low):
            then = self._build(node.part, then)
        return then

    def _fork(self, ways: list[int]) -> int:
        state = self._state()
        self._free[state] = ways
        return state

    def _distances(self) -> tuple[list[float], list[tuple[bytes, int]]]:
        """The fewest bytes from each state to the end, and the first step of that way."""
        before: list[list[tuple[int, bytes]]] = [[] for _ in self._free]
        for state, (move, free) in enumerate(zip(self._moves, self._free, strict=True)):
            for behind in free:
                before[behind].append((state, b""))
            if move is not None and move[0].ranges:
                before[move[2]].append((state, _nicest(move[0].ranges)))
        far, way = [math.inf] * len(before), [(b"", self._end)] * len(before)
        far[self._end] = 0.0
        waiting = [(0.0, self._end)]
        while waiting:
            length, state = heapq.heappop(waiting)
            for earlier, text in before[state] if length == far[state] else ():
                if length + len(text) < far[earlier]:
                    far[earlier], way[earlier] = length + len(text), (text, state)
                    heapq.heappush(waiting, (far[earlier], earlier))
        return far, way


class Place:
    """A text within an automaton; a value.

    Args:
        automaton: The pattern.
        states: Where its whole characters lead to.
        half: The bytes of a character that is not yet whole.
    """

    def __init__(self, automaton: Automaton, states: frozenset[int], half: bytes) -> None:
        self._automaton, self._states, self._half = automaton, states, half
        self.closing = automaton.closing(states, half)

    def after(self, text: bytes) -> "Place":
        """The text with more bytes."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        states = self._states
        for character in decoder.decode(self._half + text):
            states = self._automaton.step(states, character)
        return Place(self._automaton, states, decoder.getstate()[0])

    def within(self, most: int) -> "Place":
        """Its closing is the shortest."""
        del most
        return self

    def shortened(self) -> "Place":
        """Its closing is the shortest."""
        return self


def _codes(half: bytes) -> tuple[int, int]:
    """The first and the last character whose UTF-8 begins so."""
    size = 2 if half[0] < 0xE0 else 3 if half[0] < 0xF0 else 4
    value = half[0] & (0x7F >> size)
    for byte in half[1:]:
        value = value << 6 | byte & 0x3F
    bits = 6 * (size - len(half))
    return max(value << bits, {2: 0x80, 3: 0x800, 4: 0x10000}[size]), (value + 1 << bits) - 1


def _nicest(ranges: Ranges) -> bytes:
    """A character of the fewest bytes."""
    nice = (c for c in _NICE if any(low <= ord(c) <= high for low, high in ranges))
    return next(nice, chr(ranges[0][0])).encode()
