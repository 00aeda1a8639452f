"""What the documentation says exists, and its code is code."""

import re
import warnings
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


def test_the_samplers_of_the_guide_run(capsys: pytest.CaptureFixture[str]) -> None:
    from aigc.sampling import Noise, as_sampler, chain

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "sampling.md").read_text(), flags=re.DOTALL)
    names: dict = {"newline_ids": torch.tensor([1])}
    for block in blocks:
        exec(compile(block, "sampling.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == [
        "on whole rows: RepetitionPenalty(1.1)",
        "in the kernel: TopK(50)",
        "on what is left: Typical(0.95), Temperature(0.8), and the draw",
    ]
    assert printed[3] == "chain(RepetitionPenalty(1.1, window=64), TopK(40), MinP(0.05), Temperature(0.7))"
    assert float(printed[4]) < 1e-6
    logits = torch.tensor([[0.0, 0.0, 50.0, 1.0], [0.0, 0.0, 1.0, 50.0]])
    for sampler in (names["sampler"], as_sampler(chain(names["NotTwice"](), names["Squeeze"](1.5)))):
        draw, _ = sampler.step(logits, sampler.init([[0, 2], [1, 3]]), Noise.of(torch.tensor([1, 2]), 0))
        assert draw.token.tolist() == [2, 3]
    near = torch.tensor([[0.0, 0.0, 4.0, 3.0]])
    sampler = as_sampler(chain(names["NotTwice"](), names["Greedy"]()))
    assert sampler.step(near, sampler.init([[0, 2]]), Noise.of(torch.tensor([1]), 0))[0].token.tolist() == [3]


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
        ("search.md", "3 beginnings"),
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


SHORTER = {
    "path/to/mnist": "mnist",
    "path/to/fsdd.zip": "sounds",
    "path/to/faces": "faces",
    "(64, 64)": "(16, 16)",
    "(3, 64, 64)": "(3, 16, 16)",
    '(1, 128, 64), kind="dcgan"': '(1, 128, 4), kind="dcgan", width=8',
    "4096": "256",
    "(1, 128, 64), steps=4": "(1, 128, 4), steps=2, width=8",
    "epochs=1, batch_size=32": "steps=1, batch_size=8",
    "epochs=20": "epochs=1",
    "samples=1000": "samples=10",
    "[:5000]": "[:100]",
    "steps=10_000": "steps=2",
    "steps=500": "steps=2",
    "steps=300)  #": "steps=2, starts=8)  #",
}


def test_the_pages_on_training_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from aigc.data import write_idx, write_png, write_wav

    rng = torch.Generator().manual_seed(0)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "sounds").mkdir()
    (tmp_path / "faces").mkdir()
    blobs = torch.nn.functional.avg_pool2d(torch.rand(300, 28, 28, generator=rng), 5, stride=1, padding=2)
    write_idx(tmp_path / "mnist" / "train-images-idx3-ubyte", (blobs > 0.5).byte() * 255)
    write_idx(tmp_path / "mnist" / "train-labels-idx1-ubyte", (torch.arange(300) % 10).byte())
    for i in range(70):
        write_png(tmp_path / "faces" / f"{i}.png", torch.rand(1, 3, 20, 24, generator=rng), columns=1)
    for i in range(130):
        write_wav(tmp_path / "sounds" / f"{i}.wav", torch.rand(1, 256, generator=rng) - 0.5, rate=8000)
    monkeypatch.chdir(tmp_path)
    for page in ("training.md", "vae.md", "gan.md", "metrics.md"):
        names: dict = {}
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL):
            for long, short in SHORTER.items():
                block = block.replace(long, short)
            with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # so short a run wakes few codes
                exec(compile(block, page, "exec"), names)
    assert {"digits.png", "better.png", "sevens.png", "coded.png", "seven.wav", "run", "own"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert {"gan.png", "walk.gif", "faces.gif", "gan-seven.wav", "gan-sevens.png", "gan", "own-gan"} <= {
        path.name for path in tmp_path.iterdir()
    }
    printed = capsys.readouterr().out
    assert "after 200 steps" in printed
    assert "step 299" in printed
    radius = float(re.findall(r"radius (\S+)", printed)[0])
    assert 0.7 < radius < 1.3, "the loop that the page keeps learns the ring"
    assert len(re.findall(r"real C2ST accuracy 0\.[45]|fake C2ST accuracy 0\.7", printed)) == 2


def test_the_page_on_own_texts_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts").mkdir()
    for i in range(30):
        words = " ".join(f"the {what} {i + j}" for j, what in enumerate(("sea", "king", "road", "window", "rain") * 4))
        (tmp_path / "texts" / f"{i}.txt").write_text(words)
    monkeypatch.chdir(tmp_path)
    shorter = {
        "path/to/texts": "texts",
        "epochs=3, patience=3": "steps=2, length=64, patience=3",
        "steps=100": "steps=2, length=64",
        "epochs=10": "steps=2, length=64",
        "steps=10": "steps=2, length=64",
        "held_out=0.1": "held_out=0.3",
        "samples=20, max_new_tokens=64": "samples=4, max_new_tokens=16",
        "tokenizer=gen.tokenizer, end": "tokenizer=gen.tokenizer, progress=False, end",
    }
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own-text.md").read_text(), flags=re.DOTALL):
        for long, short in shorter.items():
            block = block.replace(long, short)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            exec(compile(block, "own-text.md", "exec"), names)
    assert {"mine", "verse", "report", "tokens"} <= {path.name for path in tmp_path.iterdir()}
    printed = capsys.readouterr().out
    assert "features a layer" in printed
    assert "Prediction of held-out text" in printed
    assert "{'mine': " in printed


@pytest.mark.parametrize("page", ["choosing.md", "evaluation.md"])
def test_the_pages_on_choosing_and_evaluation_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import aigc

    monkeypatch.chdir(tmp_path)
    lines = [
        " ".join(f"the {what} {i + j}" for j, what in enumerate(("sea", "king", "road", "rain") * 9)) for i in range(24)
    ]
    names: dict = {"gen": aigc.Generator.default(), "train": lines[:20], "held_out": lines[20:]}
    shorter = {"steps=60": "steps=2", "log_every=5": "batch_size=2, length=64, log_every=1", "batch_size=8": "batch_size=2"}
    shorter |= {"length=256": "length=64", "samples=200, max_new_tokens=64": "samples=4, max_new_tokens=8"}
    text = (ROOT / "docs" / page).read_text()
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        for long, short in shorter.items():
            block = block.replace(long, short)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            exec(compile(block, page, "exec"), names)
    printed = capsys.readouterr().out
    if page == "choosing.md":
        assert printed, "an empty string would stand on every page"
        assert printed in text, "what the page says that it prints"
        assert (tmp_path / "loss.svg").read_text().startswith("<?xml")
    else:
        assert "Evaluation of two models" in printed
        assert (tmp_path / "report" / "report.html").exists()
