"""What the documentation says exists, and its code is code."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere_and_python_compiles(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"@[A-Z]+@|TODO|TBD", text)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), target
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        compile(block, str(page), "exec", flags=0x2000)  # PyCF_ALLOW_TOP_LEVEL_AWAIT


def test_the_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert block is not None
    exec(compile(block[1], "README.md", "exec"), {})
    assert len(capsys.readouterr().out) > 200


def test_the_sampler_of_the_guide_runs() -> None:
    from aigc.sampling import Noise

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "sampling.md").read_text(), flags=re.DOTALL)
    names: dict = {"newline_ids": torch.tensor([1])}
    for block in blocks:
        exec(compile(block, "sampling.md", "exec"), names)
    sampler = names["sampler"]
    state = sampler.init([[0, 2], [1, 3]])
    logits = torch.tensor([[0.0, 0.0, 50.0, 1.0], [0.0, 0.0, 1.0, 50.0]])
    draw, state = sampler.step(logits, state, Noise.of(torch.tensor([1, 2]), 0))
    assert draw.token[0] != 2
    assert draw.token[1] != 3
    assert torch.equal(state[0], draw.token)


def test_the_examples_of_the_other_models_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import aigc
    import tiny

    held = {
        "Helsinki-NLP/opus-mt-en-zh": aigc.Generator(tiny.seq2seq("marian"), tiny.closed_tokenizer(begin=False)),
        "google-bert/bert-base-cased": aigc.Generator(tiny.masked("bert"), tiny.closed_tokenizer(mask="[MASK]")),
    }
    monkeypatch.setattr(aigc.Generator, "from_pretrained", held.__getitem__)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "seq2seq.md").read_text(), flags=re.DOTALL):
        exec(compile(block, "seq2seq.md", "exec"), names)
    assert "together: each source is read by itself" in capsys.readouterr().out
    assert len(names["several"]) == len(names["out"]) == len({c.tokens for c in names["out"]}) == 3


@pytest.mark.parametrize(
    ("page", "printed"),
    [
        ("kernels.md", "tensor("),
        ("constraints.md", "max_new_tokens must be 24 at least"),
        ("speed.md", "packed: weights are packed"),
        ("testing.md", "centred breaks the law that a filter does to a row what it does to the row alone."),
    ],
)
def test_the_examples_of_the_sampling_pages_run(page: str, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with torch.random.fork_rng(devices=[]):  # the page draws its logits as a reader would
        names: dict = {}
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL):
            exec(compile(block, page, "exec"), names)
    assert printed in capsys.readouterr().out
