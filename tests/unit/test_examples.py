"""Every example runs from its file, as a newcomer runs it, without a network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SHORTER = {"instructions.py": ["--poems", "8", "--steps", "2", "--asked", "6"]}  # of itself it takes two minutes


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example(example: Path, tmp_path: Path) -> None:
    unreachable = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, str(example), *SHORTER.get(example.name, [])],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | unreachable,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "an example prints no warnings"
    assert len(done.stdout) > 100
    assert "\ufffd" not in done.stdout or example.name == "own_model.py"
    assert list(tmp_path.iterdir()) == [], "an example leaves no files behind"


def test_there_is_an_example_of_each_kind() -> None:
    assert {
        "quickstart.py",
        "streaming.py",
        "own_model.py",
        "reproduce.py",
        "sampling_kernel.py",
        "searching.py",
        "sessions.py",
        "instructions.py",
        "poem_model.py",
    } <= {example.name for example in EXAMPLES}
