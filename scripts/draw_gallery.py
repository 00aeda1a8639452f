"""Draws what each sampler does to one distribution, and fills in the samplers of `docs/gallery.md`.

    python scripts/draw_gallery.py

The distribution is that of the next token after one prompt, by the default model in float32. Each picture is an SVG that is
written here, with colours for light and for dark. A sampler is added to the gallery by a line in `samplers`.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import aigc
from aigc import sampling as s
from aigc.sampling import Categorical, Noise, as_sampler, bind, chain, parts_of

DOCS = Path(__file__).parents[1] / "docs"
PROMPT = "The king looked at the queen, and the queen looked at the"
KEY = b"a key that is no secret, for it is printed here"
BARS = 25
WIDTH, LEFT, RIGHT, TOP, PLOT, LABELS = 760, 44, 14, 44, 160, 66
STYLE = """
.page{fill:#fff;stroke:#d8dee4}text{font-family:system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#1f2328}
.small{font-size:11.5px;fill:#59636e}.token{font-size:12px}.title{font-size:14px;font-weight:600}.line{stroke:#e4e8ec}
.before{fill:#c3cad2}.after{fill:#00897b}.token.cut{fill:#8c959f}
@media(prefers-color-scheme:dark){.page{fill:#1e2129;stroke:#3d444d}text{fill:#e6e9ec}.small{fill:#9aa4ae}.line{stroke:#2f363f}
.before{fill:#4f5964}.after{fill:#2dd4bf}.token.cut{fill:#78828d}}
"""


@dataclass(frozen=True)
class Shown:
    """A sampler of the gallery.

    Attributes:
        sampler: The filter, chain or sampler.
        formula: What it does, in TeX, where its documentation does not begin with that.
        says: What is to be seen, or not to be seen, in its picture.
        text: What writes its text, if that is another chain.
    """

    sampler: Any
    formula: str = ""
    says: str = ""
    text: Any = None

    @property
    def kind(self) -> type:
        """Its class."""
        return type((parts_of(self.sampler) or (self.sampler,))[0])


def samplers(ids: Callable[[str], list[int]]) -> dict[str, list[Shown]]:
    """What is shown, under its headings; `ids` encodes."""
    queen, king, door = (ids(word)[0] for word in (" queen", " king", " door"))
    return {
        "Sharper and flatter": [
            Shown(s.Temperature(0.6)),
            Shown(s.DynamicTemperature(0.4, 1.4), r"t = low + (high - low)\,(H / \log n)^{exponent}"),
            Shown(s.Greedy(), r"v = \arg\max_u x_u"),
        ],
        "What to keep": [
            Shown(s.TopK(8), r"x_v \ge x_{(k)}"),
            Shown(s.TopP(0.4), r"\textstyle\sum_{u:\, x_u > x_v} p_u < p"),
            Shown(s.MinP(0.1), r"p_v \ge m \max_u p_u"),
            Shown(s.TopNSigma(1.0)),
            Shown(
                s.Typical(0.3),
                r"\textstyle\sum_{u:\, d_u < d_v} p_u < p, \qquad d_v = |{-\log p_v} - H|",
                "The model is unsure here, so a token of the typical surprise is an unlikely one, and the likely ones go.",
            ),
            Shown(s.Epsilon(0.0009), r"p_v \ge \epsilon", "All tokens shown are kept, and gain what the others lose."),
            Shown(
                s.Eta(0.004),
                r"p_v \ge \min(\epsilon, \sqrt{\epsilon}\, e^{-H})",
                "The less sure the model, the more is kept.",
            ),
            Shown(s.TopH(0.4), r"H(q) \le \alpha H(p), \qquad q \text{ what is kept of } p"),
            Shown(
                s.TailFree(0.9),
                r"\textstyle\sum_{i \le v} c_i \le z \sum_i c_i, \qquad c_i = |p_{(i)} - 2 p_{(i+1)} + p_{(i+2)}|",
            ),
            Shown(
                s.XTC(0.04, 1.0),
                r"\text{if two or more } p_v \ge \theta\text{: cut all of these but the least}",
                "At a probability of 1 it always cuts; 0.5 is usual.",
                chain(s.MinP(0.05), s.XTC(0.1, 0.5)),
            ),
            Shown(
                s.Mirostat(2.5), r"-\log_2 p_v \le \mu, \qquad \mu \leftarrow \mu - \eta\,(s - \tau), \qquad \mu_0 = 2\tau"
            ),
        ],
        "What was written before": [
            Shown(s.RepetitionPenalty(1.3), r"x_v \mapsto x_v / \theta \text{ where } x_v > 0, \text{ else } x_v\, \theta"),
            Shown(s.PresencePenalty(1.0, prompt=True)),
            Shown(s.FrequencyPenalty(0.8, prompt=True), says="The queen was named twice, the king once."),
            Shown(
                s.NoRepeatNGram(4),
                r"x_v \mapsto -\infty \text{ where } v \text{ would write } n \text{ tokens a second time}",
                "*looked at the queen* is there already.",
            ),
            Shown(
                s.DRY(0.8),
                r"x_v \mapsto x_v - m\, b^{\,n_v - a} \text{ where } n_v \ge a",
                "*queen* followed *looked at the* before.",
            ),
        ],
        "Which words": [
            Shown(s.LogitBias({" door": 2.0, " king": -1.5}), r"x_v \mapsto x_v + b_v"),
            Shown(s.Allowed([queen, king, door]), r"v \in A", "The ids are those of *queen*, *king* and *door*."),
            Shown(
                s.Banned([queen, king]),
                r"v \notin B",
                "The ids are those of *queen* and *king*; *king's* begins with another.",
            ),
            Shown(
                s.BannedStrings(["qu", "ess"]),
                r"x_v \mapsto -\infty \text{ where } v \text{ would complete one}",
                "*queen*, *princess* and *duchess* are out, whatever their ids.",
            ),
            Shown(s.ForcedPrefix(" young prince"), r"v_t = f_t \text{ while } t < |f|"),
            Shown(
                s.MinTokens(40),
                r"x_v \mapsto -\infty \text{ where } v \text{ ends a text, while } t < n",
                "It cuts one token of 10,000, which was not likely here.",
            ),
        ],
        "What can be found again": [
            Shown(
                s.Watermark(key=KEY),
                r"v = \arg\max_u\, x_u + \mathrm{gumbel}(\mathrm{hash}_{key}(v_{t-h}, \ldots, v_{t-1}), u)",
                "A key picks one token here. The bars are how often each is picked over keys: as often as without.",
            ),
        ],
    }


def drawn(sampler: Any, logits: Tensor, prompt: list[int]) -> Tensor:
    """The distribution `(vocab,)` that a sampler draws from after a prompt; of a watermark, over keys."""
    if isinstance(sampler, s.Watermark):
        counts = torch.zeros(len(logits), dtype=torch.float64)
        for i in range(8000):
            keyed = s.Watermark(key=i.to_bytes(16, "little"), window=1)
            state = keyed.init([prompt])._replace(last=torch.tensor([prompt[-1:]]))
            counts[keyed.step(logits[None], state, Noise.of(torch.tensor([0]), 1))[0].token] += 1
        return counts / counts.sum()
    whole = as_sampler(sampler)
    assert isinstance(whole, Categorical), "of other samplers it is not known what they draw from"
    return whole.filtered(logits[None], whole.init([prompt]), Noise.of(torch.tensor([0]), 0))[0].double().softmax(-1)


def picture(title: str, before: Tensor, after: Tensor, words: list[str], *, summed: str) -> str:
    """Bars of the most likely tokens before and after, as an SVG."""
    ids = before.topk(BARS).indices.tolist()
    extra = [i for i in after.topk(3).indices.tolist() if i not in ids and after[i] > before[ids].max()]
    ids = ids[: BARS - len(extra)] + extra  # what was unlikely and became likely is seen too
    highest = float(torch.maximum(before[ids].max(), after[ids].max()))
    step = next(each for each in (0.02, 0.05, 0.1, 0.25) if highest / each <= 5)
    slot, bottom = (WIDTH - LEFT - RIGHT) / BARS, TOP + PLOT
    height = bottom + LABELS
    legend = ((WIDTH - 320, "before"), (WIDTH - 254, "after"))
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
        f'<text class="title" x="14" y="25">{escape(title)}</text>',
        *(f'<rect class="{kind}" x="{x}" y="15" width="11" height="11"/>' for x, kind in legend),
        f'<text class="small" x="{legend[0][0] + 16}" y="25">before</text>',
        f'<text class="small" x="{legend[1][0] + 16}" y="25">after{summed}</text>',
    ]
    for tick in range(int(highest / step + 1e-9) + 1):
        y = bottom - tick * step / highest * PLOT
        out.append(f'<line class="line" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="small" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick * step:.0%}</text>')
    for place, i in enumerate(ids):
        x = LEFT + place * slot
        for kind, share, left, width in (("before", before[i], 0.1, 0.8), ("after", after[i], 0.28, 0.44)):
            tall = float(share) / highest * PLOT
            if tall > 0:
                box = f'x="{x + left * slot:.1f}" y="{bottom - tall:.1f}" width="{width * slot:.1f}" height="{tall:.2f}"'
                out.append(f'<rect class="{kind}" {box}/>')
        at = f"translate({x + 0.68 * slot:.1f} {bottom + 14}) rotate(-45)"
        kind = "token" if after[i] > 0 else "token cut"
        out.append(f'<text class="{kind}" text-anchor="end" transform="{at}">{escape(words[i])}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def summary(after: Tensor) -> str:
    """How many tokens are left, and how uncertain it is which of them comes."""
    kept = int((after > 0).sum())
    return f": {kept:,} token{'s' * (kept > 1)}, entropy {float(torch.special.entr(after).sum()) / 0.693147:.1f} bits"


def section(
    gen: aigc.Generator, shown: Shown, base: tuple[Any, ...], logits: Tensor, prompt: list[int], words: list[str]
) -> str:
    """The page's lines on one sampler, whose text `base` goes on to filter; draws its picture."""
    marks, name = shown.kind is s.Watermark, shown.kind.__name__
    after = drawn(bind(shown.sampler, gen._engine.words), logits, prompt)
    title = "Watermark, over 8,000 keys" if marks else repr(shown.sampler)
    image = picture(title, logits.double().softmax(-1), after, words, summed="" if marks else summary(after))
    (DOCS / "gallery" / f"{name.lower()}.svg").write_text(image)
    sentence = " ".join((inspect.getdoc(shown.kind) or "").split("\n\n")[0].split())
    lines = [f"### {name}", "", sentence, ""]
    lines += [f"$$ {shown.formula} $$", ""] if shown.formula else []
    lines += [f"![{title}: before and after](gallery/{name.lower()}.svg)", ""]
    lines += [shown.says, ""] if shown.says else []
    writer = (
        s.Watermark(chain(*base), key=KEY)
        if marks
        else shown.text or (chain(shown.sampler, *base) if base else shown.sampler)
    )
    return "\n".join([*lines, quoted(gen, writer)])


def quoted(gen: aigc.Generator, writer: Any) -> str:
    """What writes a text, and the text, always of the same seed."""
    code = f"Watermark({writer.sampler.filter!r}, key=...)" if isinstance(writer, s.Watermark) else repr(writer)
    made = gen.generate(PROMPT, sampler=writer, seed=2, max_new_tokens=60)[0]
    marked = re.sub(r"([\\`*_{}\[\]#$~])", r"\\\1", escape(made.text, quote=False)) + " ..." * (
        made.finish_reason == "length"
    )
    text = "\n".join(f"> {line}".rstrip() for line in f"**{PROMPT}**{marked}".split("\n"))
    return f"`{code}` writes:\n\n{text}\n"


def main() -> None:
    """Writes the page and its pictures."""
    gen = aigc.Generator.default(dtype="float32")
    prompt = gen._engine.words.encode(PROMPT)
    with torch.inference_mode():
        logits = gen.model(torch.tensor([prompt])).logits[0, -1].float()
    words = [gen.tokenizer.decode([i]).strip() or "␣" for i in range(len(logits))]
    (DOCS / "gallery").mkdir(exist_ok=True)
    usual = (s.Temperature(0.7), s.TopP(0.9))
    lines = ["## The model itself", "", quoted(gen, chain()), quoted(gen, chain(*usual))]
    for heading, several in samplers(gen._engine.words.encode).items():
        lines += [f"## {heading}", ""]
        base = () if heading in ("Sharper and flatter", "What to keep") else usual
        lines += [section(gen, shown, base, logits, prompt, words) for shown in several]
    page = DOCS / "gallery.md"
    begin, end = "<!-- samplers -->\n", "<!-- end of samplers -->\n"
    head, rest = page.read_text().split(begin)
    page.write_text(head + begin + "\n" + "\n".join(lines) + end + rest.split(end)[1])


if __name__ == "__main__":
    main()
