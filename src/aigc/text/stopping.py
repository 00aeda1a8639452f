"""Stop strings: where a text ends, and which of its characters can no longer be part of one.

A stop string may begin in one token and end in another, so the tail of a text that could still grow into one is held
back until it is certain: a stop string is never part of a text, and never leaks half of itself into a stream.
"""

from dataclasses import dataclass, field

__all__ = ["StopStrings"]


@dataclass(slots=True)
class StopStrings:
    """The stop state of one row.

    Args:
        stops: The strings that end the text. The one that is complete first wins, and of several that are complete at
            the same character the longest; so the result does not depend on how the text was cut into tokens.

    >>> state = StopStrings(("END",))
    >>> state.push("the E"), state.push("agle and the EN"), state.push("D of it")
    ('the ', 'Eagle and the ', '')
    >>> state.hit
    True
    """

    stops: tuple[str, ...]
    hit: bool = False
    _held: str = field(default="", repr=False)

    def push(self, text: str) -> str:
        """Takes the text of the next token, and returns what can be shown."""
        if not self.stops:
            return text
        if self.hit:
            return ""
        text = self._held + text
        found = [(at + len(stop), at) for stop in self.stops if (at := text.find(stop)) >= 0]
        if found:
            self.hit, self._held = True, ""
            _, start = min(found)
            return text[:start]
        keep = max(_overlap(text, stop) for stop in self.stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """Returns what was held back, when no more text will come."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """The length of the longest proper beginning of `stop` that ends `text`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
