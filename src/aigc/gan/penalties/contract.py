"""What a penalty is: a scalar made of what a discriminator says of a batch."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from aigc import random
from aigc._checks import fail, fail_type
from aigc.training import Noise, Schedule

__all__ = ["Discriminator", "Penalty", "Scores", "called", "check_weight", "drawn", "look", "packing", "value_at"]

Discriminator = Callable[[Tensor], Tensor]


class Scores(NamedTuple):
    """A batch, and what a discriminator says of it: `look` makes it.

    Attributes:
        discriminator: From `(b, *data)` to logits.
        real: Real examples `(b, *data)`, without a graph behind them; they require a gradient where a penalty needs one.
        fake: The generator's, likewise.
        real_logits: `discriminator(real)`, computed from this very tensor. Empty where nothing reads them.
        fake_logits: `discriminator(fake)`, likewise.

    Example:
        >>> scores = look(nn.Linear(2, 1), torch.ones(4, 2), torch.zeros(4, 2))
        >>> scores.real_logits.shape, scores.real.requires_grad
        (torch.Size([4, 1]), False)
    """

    discriminator: Discriminator
    real: Tensor
    fake: Tensor
    real_logits: Tensor
    fake_logits: Tensor


class Penalty(Protocol):
    """What is added to the discriminator's loss: a frozen dataclass, or a module where it has a memory.

    `penalty(discriminator, real, fake)` looks at the batch itself. A training step has D(real) and D(fake) already, for the
    loss, and gives them to `measure`, so that R1 and R2 cost no forward of their own:

        scores = look(discriminator, real, fake, penalties=penalties)
        loss = objective.discriminator(scores.real_logits, scores.fake_logits)
        loss = loss + sum(penalty.measure(scores, noise=noise, step=noise.step) for penalty in penalties)

    Attributes:
        needs: Which of `"real"` and `"fake"` must require a gradient when the discriminator looks at them.
        reads: Whose logits it reads.

    Example:
        >>> from aigc.gan.penalties import R1
        >>> penalty: Penalty = R1(1.0)
        >>> penalty.needs
        frozenset({'real'})
    """

    @property
    def needs(self) -> frozenset[str]:
        """Which players' examples must require a gradient."""
        ...

    @property
    def reads(self) -> frozenset[str]:
        """Which players' logits it reads."""
        ...

    def measure(self, scores: Scores, *, noise: Noise | None = None, step: int = 0) -> Tensor:
        """The penalty, a scalar, of what a discriminator said.

        Args:
            scores: Of a batch.
            noise: What is random in it; None takes fresh entropy.
            step: The step's number, for schedules.
        """
        ...

    def __call__(
        self, discriminator: Discriminator, real: Tensor, fake: Tensor, *, noise: Noise | None = None, step: int = 0
    ) -> Tensor:
        """The penalty, a scalar: `measure` of what it looks at itself. Gradients reach the discriminator only."""
        ...


def look(
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,
    *,
    penalties: Iterable[Any] = (),
    reads: Iterable[str] = ("real", "fake"),
) -> Scores:
    """Has a discriminator look at real and fake examples, in a way that suits some penalties.

    Real and fake are cut from the graphs behind them. Where a penalty needs gradients, the discriminator works without
    autocast and on examples of float32 at least, unless its own parameters are narrower: squares of small gradients
    underflow in half precision.

    A discriminator compiled by `torch.compile` has no second derivative, and so no penalty on its gradient: torch raises a
    RuntimeError. What can be compiled is a whole step, its gradients included, under
    `torch._dynamo.config.patch(trace_autograd_ops=True)` (torch 2.13).

    Args:
        discriminator: From `(b, *data)` to logits `(b,)` or `(b, 1)`.
        real: `(b, *data)`.
        fake: `(b, *data)`.
        penalties: Those that will measure the result.
        reads: Whose logits are wanted.

    Example:
        >>> from aigc.gan.penalties import R1, R2
        >>> scores = look(nn.Linear(2, 1), torch.ones(4, 2), torch.zeros(4, 2), penalties=[R1(1.0), R2(1.0)])
        >>> scores.real.requires_grad, scores.fake.requires_grad
        (True, True)
    """
    needs, wanted = {name for penalty in penalties for name in penalty.needs}, set(reads)
    for name, x in (("real", real), ("fake", fake)):
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise fail_type(name, "a tensor of floats (b, *data)", getattr(x, "dtype", x))
    if not needs:
        real, fake = real.detach(), fake.detach()
        logits = [discriminator(x) if name in wanted else x.new_zeros(0) for name, x in (("real", real), ("fake", fake))]
        return Scores(discriminator, real, fake, *logits)
    with torch.autocast(real.device.type, enabled=False):
        examples = [_raised(x, discriminator).requires_grad_(name in needs) for name, x in (("real", real), ("fake", fake))]
        logits = [
            _tied(discriminator(x), x) if name in wanted else x.new_zeros(0)
            for name, x in zip(("real", "fake"), examples, strict=True)
        ]
    return Scores(discriminator, *examples, *logits)


def called(
    penalty: Penalty, discriminator: Discriminator, real: Tensor, fake: Tensor, *, noise: Noise | None = None, step: int = 0
) -> Tensor:
    """The penalty; see `Penalty`. It looks at what it reads and no more; under `torch.no_grad` it is a mere number."""
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        scores = look(discriminator, real, fake, penalties=[penalty], reads=penalty.reads)
        found = penalty.measure(scores, noise=noise, step=step)
    return found if graph else found.detach()


def drawn(noise: Noise | None, x: Tensor) -> Noise:
    """Noise for the rows of a batch: what was given, or fresh."""
    if noise is None:
        return Noise(random.fresh_seed(), 0, 0, rows=slice(0, len(x)), batch=len(x), device=x.device)
    return noise


def packing(discriminator: Discriminator) -> int:
    """How many examples a discriminator reads at once: what its `packing` says, else 1."""
    return int(getattr(discriminator, "packing", 1))


def value_at(weight: float | Schedule, step: int) -> float:
    """A weight, or what a schedule says at a step."""
    return weight(step) if callable(weight) else weight


def check_weight(name: str, weight: object) -> None:
    """Checks a number of at least 0, or a schedule."""
    if callable(weight):
        return
    wanted = "a number of at least 0, or a schedule"
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise fail_type(name, wanted, weight)
    if not 0 <= weight < float("inf"):
        raise fail(name, wanted, weight)


def _raised(x: Tensor, discriminator: Discriminator) -> Tensor:
    """Examples cut from their graph, in float32 at least, unless the discriminator's parameters are narrower."""
    own = next(discriminator.parameters(), None) if isinstance(discriminator, nn.Module) else None
    narrow = own is not None and own.dtype in (torch.float16, torch.bfloat16)
    return x.detach().to(x.dtype if narrow else torch.promote_types(x.dtype, torch.float32))


def _tied(logits: Tensor, x: Tensor) -> Tensor:
    """Logits of a function that is constant and has nothing to learn, made to depend on x: its slope is 0, not unknown."""
    if logits.requires_grad or not x.requires_grad:
        return logits
    return logits + 0 * x.reshape(len(logits), -1)[:, 0].view_as(logits)
