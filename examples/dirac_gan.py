"""Why GANs need a penalty, in four pictures: `python examples/dirac_gan.py [dirac_gan.svg]`.

The smallest GAN there is (Mescheder et al., arXiv:1801.04406): all data are 0, the generator writes one number theta, and
the discriminator is the line D(x) = psi x. At the equilibrium both are 0. Each picture is the way of (theta, psi) under
gradient descent of both players, by the training loop, the losses and the penalties of the library. Without an argument it
leaves no file, and prints where the ways end.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from aigc.gan import losses, penalties
from aigc.training import Noise, Phase, train

STEPS, RATE, START = 400, 0.1, (1.0, 1.0)
WIDTH, GAP, TOP, LEFT = 300, 64, 58, 56  # pixels
STYLE = """
.page{fill:#fff}text{font-family:system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#1f2328}
.title{font-size:15px;font-weight:600}.small{font-size:12px;fill:#59636e}.axis{font-size:13px;font-style:italic}
.frame{fill:none;stroke:#8c959f}.line{stroke:#e4e8ec}.way{fill:none;stroke:#00897b;stroke-width:1.4}
.step{fill:#00897b}.start{fill:#fff;stroke:#00897b;stroke-width:2}.end{fill:#00695c}.goal{stroke:#d1242f;stroke-width:2}
@media(prefers-color-scheme:dark){.page{fill:#1e2129}text{fill:#e6e9ec}.small{fill:#9aa4ae}.frame{stroke:#6e7681}
.line{stroke:#2f363f}.way{stroke:#2dd4bf}.step{fill:#2dd4bf}.start{fill:#1e2129;stroke:#2dd4bf}.end{fill:#99f6e4}
.goal{stroke:#ff7b72}}
"""

Point = tuple[float, float]


@dataclass(frozen=True)
class Game:
    """A loss, and what the discriminator pays besides."""

    title: str
    loss: losses.Objective
    penalty: penalties.Penalty | None = None


GAMES = (
    Game("No penalty: it circles, ever wider", losses.Minimax()),
    Game("Wasserstein: wider still", losses.Wasserstein()),
    Game("WGAN-GP: it ends in a circle", losses.Wasserstein(), penalties.WGANGP(0.25)),
    Game("R1: it arrives", losses.Minimax(), penalties.R1(0.5)),
)


class Line(nn.Module):
    """x times one number."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([slope], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.slope


def way(game: Game, *, start: Point = START, steps: int = STEPS, rate: float = RATE) -> list[Point]:
    """The points (theta, psi) after each step of simultaneous gradient descent."""
    generator, discriminator = Line(start[0]), Line(start[1])
    before = Line(start[1])  # what the discriminator was before the step, for the loop moves it first
    one = torch.ones(1, 1, dtype=torch.float64)

    def discriminate(real: Tensor, noise: Noise) -> Tensor:
        before.load_state_dict(discriminator.state_dict())
        asked = [] if game.penalty is None else [game.penalty]
        scores = penalties.look(discriminator, real, generator(one), penalties=asked)
        value = game.loss.discriminator(scores.real_logits, scores.fake_logits)
        return sum((penalty.measure(scores, noise=noise) for penalty in asked), start=value)

    def generate(real: Tensor, noise: Noise) -> Tensor:
        return game.loss.generator(before(generator(one)), before(real))

    phases = [
        Phase("discriminator", discriminate, optimizer=torch.optim.SGD(discriminator.parameters(), lr=rate)),
        Phase("generator", generate, optimizer=torch.optim.SGD(generator.parameters(), lr=rate)),
    ]
    points = [start]
    for _ in train(phases, [torch.zeros(1, 1, dtype=torch.float64)] * steps, seed=0):
        points.append((float(generator.slope.detach()), float(discriminator.slope.detach())))
    return points


def panel(title: str, points: list[Point], x0: float, y0: float) -> list[str]:
    """One way as SVG, in a square whose upper left corner is given."""
    reach = 1.08 * max(abs(value) for point in points for value in point)
    unit = next(each for each in (0.5, 1, 2, 5, 10, 20) if reach / each < 4)
    ticks = [unit * i for i in range(-int(reach / unit), int(reach / unit) + 1)]

    def at(theta: float, psi: float) -> Point:
        return x0 + (theta / reach + 1) * WIDTH / 2, y0 + (1 - psi / reach) * WIDTH / 2

    out = [f'<text class="title" x="{x0}" y="{y0 - 12}">{title}</text>']
    for tick in ticks:
        x, y = at(tick, tick)
        out += [
            f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{y0}" y2="{y0 + WIDTH}"/>',
            f'<line class="line" x1="{x0}" x2="{x0 + WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text class="small" x="{x:.1f}" y="{y0 + WIDTH + 16}" text-anchor="middle">{tick:g}</text>',
            f'<text class="small" x="{x0 - 7}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>',
        ]
    places = [at(*point) for point in points]
    (cx, cy), (sx, sy), (ex, ey) = at(0, 0), places[0], places[-1]
    return [
        *out,
        f'<rect class="frame" x="{x0}" y="{y0}" width="{WIDTH}" height="{WIDTH}"/>',
        f'<path class="way" d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>',
        *(f'<circle class="step" cx="{x:.1f}" cy="{y:.1f}" r="1.6"/>' for x, y in places[::5]),
        f'<circle class="start" cx="{sx:.1f}" cy="{sy:.1f}" r="4.5"/>',
        f'<circle class="end" cx="{ex:.1f}" cy="{ey:.1f}" r="4.5"/>',
        f'<path class="goal" d="M{cx - 5:.1f} {cy:.1f}h10M{cx:.1f} {cy - 5:.1f}v10"/>',
        f'<text class="axis" x="{x0 + WIDTH / 2}" y="{y0 + WIDTH + 34}" text-anchor="middle">'
        "θ, what the generator writes</text>",
        f'<text class="axis" transform="translate({x0 - 38} {y0 + WIDTH / 2}) rotate(-90)" text-anchor="middle">'
        "ψ, the discriminator's slope</text>",
    ]


def picture(ways: dict[str, list[Point]]) -> str:
    """All ways, two in a row, as one SVG."""
    parts, across = [], WIDTH + GAP + 26
    for place, (title, points) in enumerate(ways.items()):
        parts += panel(title, points, LEFT + place % 2 * across, TOP + 20 + place // 2 * (WIDTH + GAP + 32))
    width, height = LEFT + 2 * across - 44, TOP + 2 * (WIDTH + GAP + 32) + 4
    head = f"{STEPS} steps of gradient descent, rate {RATE:g}. Open circle: start; full: end; cross: the equilibrium."
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{head}">',
            f'<style>{STYLE}</style><rect class="page" width="{width}" height="{height}"/>',
            f'<text class="small" x="{LEFT}" y="28">{head}</text>',
            *parts,
            "</svg>\n",
        ]
    )


ways = {game.title: way(game) for game in GAMES}
for title, points in ways.items():
    first, last = (math.hypot(*point) for point in (points[0], points[-1]))
    print(f"{title}: {last:.2g} from the equilibrium after {STEPS} steps; it began at {first:.2g}")
if len(sys.argv) > 1:
    Path(sys.argv[1]).write_text(picture(ways), encoding="utf-8")
    print(f"the picture is in {sys.argv[1]}")
else:
    print(f"python {Path(__file__).name} dirac_gan.svg draws this; the picture has {len(picture(ways)):,} characters")
