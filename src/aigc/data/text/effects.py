"""What steps of cleaning do to documents, one step after the other, and what they did, in numbers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aigc._checks import fail, fail_type
from aigc.data.text.cleaning import Step
from aigc.data.text.documents import Document

__all__ = ["Effect", "Effects", "Example", "check_steps", "cleaned", "effects", "name_of"]

_CONTEXT = 30  # characters around the first change of an example


@dataclass(frozen=True, slots=True)
class Example:
    """The first change that a step made.

    Attributes:
        document: Its name.
        before: What stood around it.
        after: What stands there now; None if the document was dropped.
    """

    document: str
    before: str
    after: str | None


@dataclass(frozen=True, slots=True)
class Effect:
    """What a step did.

    Attributes:
        step: Which.
        changed: Documents that it changed.
        dropped: Documents that it dropped, those included of which nothing was left.
        removed: Characters of which there are fewer in a document now, of those changed.
        added: Characters of which there are more.
        example: The first change; None if there was none.
    """

    step: str
    changed: int = 0
    dropped: int = 0
    removed: int = 0
    added: int = 0
    example: Example | None = None

    def __str__(self) -> str:
        counts = f"{self.changed:,} changed, {self.dropped:,} dropped, -{self.removed:,} +{self.added:,} characters"
        if self.example is None:
            return f"{self.step}: {counts}"
        after = "dropped" if self.example.after is None else repr(self.example.after)
        return f"{self.step}: {counts}; in {self.example.document}: {self.example.before!r} -> {after}"


@dataclass(frozen=True, slots=True)
class Effects:
    r"""What all steps did.

    Attributes:
        documents: How many there were before.
        kept: How many there are now.
        steps: Each step's, in order.

    Example:
        >>> from aigc.data.text import Corpus, STANDARD
        >>> print(Corpus.of(["a  \n", "b\n"]).effects(STANDARD[-2:]))
        2 documents, 2 kept
        TrailingSpace(): 1 changed, 0 dropped, -2 +0 characters; in 0: 'a  \n' -> 'a\n'
        BlankLines(most=1): 0 changed, 0 dropped, -0 +0 characters
    """

    documents: int
    kept: int
    steps: tuple[Effect, ...]

    def __str__(self) -> str:
        return "\n".join([f"{self.documents:,} documents, {self.kept:,} kept", *map(str, self.steps)])


def check_steps(steps: object) -> tuple[Step, ...]:
    """Checks that steps are callables."""
    if isinstance(steps, str) or not isinstance(steps, Sequence) or not all(callable(step) for step in steps):
        raise fail_type("steps", "a sequence of steps, each a callable from a text to a text or None", steps)
    wrong = next((step for step in steps if isinstance(step, type)), None)
    if wrong is not None:
        raise fail("steps", "steps, not classes of them", wrong, f"Write {wrong.__name__}().")
    return tuple(steps)


def name_of(step: Step) -> str:
    """What reports and manifests call a step."""
    return str(getattr(step, "__name__", None) or repr(step))


def cleaned(document: Document, steps: Iterable[Step]) -> Document | None:
    """A document after all steps; None if one dropped it, or nothing is left.

    Each turn of a conversation is cleaned by itself; whether the conversation is dropped is decided by its whole text.
    """
    for step in steps:
        made = _step(document, step)
        if made is None:
            return None
        document = made
    return document


def effects(documents: Iterable[Document], steps: Sequence[Step]) -> Effects:
    """Cleans all documents, keeps none, and says what each step did."""
    tallies = [_Tally() for _ in steps]
    count = kept = 0
    for document in documents:
        count += 1
        now: Document | None = document
        for step, tally in zip(steps, tallies, strict=True):
            assert now is not None
            made = _step(now, step)
            tally.add(now, made)
            now = made
            if now is None:
                break
        kept += now is not None
    return Effects(count, kept, tuple(tally.effect(name_of(step)) for step, tally in zip(steps, tallies, strict=True)))


def _step(document: Document, step: Step) -> Document | None:
    contents = document.contents
    made = [step(content) for content in contents]
    if any(content is None for content in made) and (not document.turns or step(document.text) is None):
        return None
    said = [old if new is None else new for old, new in zip(contents, made, strict=True)]
    for content in said:
        if not isinstance(content, str):
            raise fail_type(name_of(step), "a callable that returns a string or None", content)
    if not any(content.strip() for content in said):
        return None
    return document if tuple(said) == contents else document.saying(said)


class _Tally:
    """What a step did so far."""

    def __init__(self) -> None:
        self.changed = self.dropped = self.removed = self.added = 0
        self.example: Example | None = None

    def add(self, before: Document, after: Document | None) -> None:
        if after is before:
            return
        if after is None:
            self.dropped += 1
        else:
            self.changed += 1
            have, had = Counter(after.text), Counter(before.text)
            self.removed += (had - have).total()
            self.added += (have - had).total()
        if self.example is None:
            self.example = _example(before, after)

    def effect(self, name: str) -> Effect:
        return Effect(name, self.changed, self.dropped, self.removed, self.added, self.example)


def _example(before: Document, after: Document | None) -> Example:
    a = before.text
    if after is None:
        return Example(before.name, a[: 2 * _CONTEXT], None)
    b = after.text
    start = _common(a, b)
    end = _common(a[start:][::-1], b[start:][::-1])
    low, end = max(0, start - _CONTEXT), max(0, end - _CONTEXT)
    return Example(before.name, *(_short(text[low : len(text) - end]) for text in (a, b)))


def _common(a: str, b: str) -> int:
    """How many characters two texts have in common at their beginning."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _short(text: str) -> str:
    return text if len(text) <= 4 * _CONTEXT else text[: 3 * _CONTEXT] + "…" + text[-_CONTEXT:]
