"""A session: calls on one model that pay for new tokens only."""

import copy
from collections.abc import AsyncGenerator, Callable
from collections.abc import Generator as Closable
from typing import TYPE_CHECKING, Any, Self

from aigc.errors import ClosedError
from aigc.text.packed.past import Past
from aigc.text.results import Chunk, Completions
from aigc.text.turns import lock_of

if TYPE_CHECKING:
    from aigc.text.generator import Generator

__all__ = ["Session"]


class Session:
    """What a `Generator` read stays read: a prompt that begins like an earlier one is read from where they part.

    A chat, a text that grows, a prompt edited in the middle: each call reads what is new, from a whole block of 64 tokens
    on. Texts are those that the `Generator` writes. Keys and values of the prompts are kept, the last used longest, and
    freed when the session ends. A model whose weights are not packed (see `Generator.plan`) reads everything each time.

    Args:
        generator: Whose methods a session has.
        tokens: How many prompt tokens to keep at most, at least 64.

    Example:
        >>> from aigc import Generator
        >>> gen = Generator.default(device="cpu")
        >>> with gen.session() as session:
        ...     text = "The sea was calm, and the wind had gone to sleep. " * 10
        ...     first = session.generate(text, max_new_tokens=4, seed=0)
        ...     again = session.generate(text + first[0].text, max_new_tokens=4, seed=0)
        ...     session.reused > 64
        True
        >>> again.texts == gen.generate(again[0].prompt, max_new_tokens=4, seed=0).texts
        True
    """

    def __init__(self, generator: "Generator", *, tokens: int) -> None:
        self._past = Past(tokens)
        self._inner: Generator | None = copy.copy(generator)
        self._inner._engine = generator._engine.remembering(self._past)

    @property
    def generator(self) -> "Generator":
        """The generator with its memory: whatever it can be asked, it can be asked here.

        Raises:
            ClosedError: If the session has ended.
        """
        if self._inner is None:
            raise ClosedError("session must be open, and it was closed. Open another with generator.session().")
        return self._inner

    @property
    def generate(self) -> "Callable[..., Completions]":
        """`Generator.generate`."""
        return self.generator.generate

    @property
    def stream(self) -> "Callable[..., Closable[Chunk, None, None]]":
        """`Generator.stream`."""
        return self.generator.stream

    @property
    def astream(self) -> "Callable[..., AsyncGenerator[Chunk, None]]":
        """`Generator.astream`."""
        return self.generator.astream

    @property
    def chat(self) -> Any:
        """`Generator.chat`."""
        return self.generator.chat

    @property
    def read(self) -> int:
        """How many prompt tokens were read."""
        return self._past.read

    @property
    def reused(self) -> int:
        """How many prompt tokens were not read again."""
        return self._past.reused

    @property
    def tokens(self) -> int:
        """How many prompt tokens are kept."""
        return self._past.tokens

    def close(self) -> None:
        """Ends the session, and frees what it kept; twice does no harm."""
        if self._inner is not None:
            with lock_of(self._inner.model):
                self._past.close()
        self._inner = None

    def __enter__(self) -> Self:
        _ = self.generator  # of a closed one an error
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
