"""The package itself: what an import costs and leaves, and what is in the wheel."""

import importlib
import inspect
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import aigc

ROOT = Path(__file__).parents[2]

PROBE = """
import json, logging, os, sys, tempfile

here = tempfile.mkdtemp()
os.chdir(here)

def process():
    root = logging.getLogger()
    return [dict(os.environ), root.level, len(root.handlers), os.getcwd(), os.listdir(here)]

before = process()
import aigc
names = dir(aigc)
light = [name for name in ("torch", "transformers", "triton", "numpy") if name in sys.modules]
import torch
torch.manual_seed(5)
state, threads = torch.get_rng_state(), torch.get_num_threads()
for name in names:
    getattr(aigc, name)
same_torch = torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
same_torch = same_torch and torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
after = process()
changed = [i for i, (a, b) in enumerate(zip(before, after)) if a != b]
triton = "aigc.kernels._triton" in sys.modules
print(json.dumps({"light": light, "same_torch": same_torch, "changed": changed, "triton": triton}))
"""


def test_import_is_light_and_leaves_the_process_alone() -> None:
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, env=clean)
    assert json.loads(done.stdout) == {"light": [], "same_torch": True, "changed": [], "triton": False}
    assert done.stderr == ""


def test_every_public_name_resolves_and_no_other_does() -> None:
    for name in aigc.__all__:
        assert getattr(aigc, name) is not None
    assert set(dir(aigc)) == set(aigc.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = aigc.Nonsense


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == aigc.__version__


def test_run_time_dependencies_are_the_five() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [requirement.split(">")[0] for requirement in project["dependencies"]]
    assert names == ["torch", "transformers", "safetensors", "numpy", "typing-extensions"]


@pytest.mark.parametrize(
    "name",
    [
        "aigc",
        "aigc.kernels",
        "aigc.sampling",
        "aigc.text",
        "aigc.device",
        "aigc.checkpoint",
        "aigc.data",
        "aigc.nets",
        "aigc.metrics",
    ],
)
def test_all_lists_what_is_there(name: str) -> None:
    module = importlib.import_module(name)
    assert [entry for entry in module.__all__ if not hasattr(module, entry)] == []


def test_the_model_in_the_package_is_small_and_whole() -> None:
    folder = ROOT / "src" / "aigc" / "text" / "default_model"
    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "generation_config.json", "manifest.json", "model.safetensors", "tokenizer.json"} <= names
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 20_000_000
    assert aigc.checkpoint.verify(folder)


def test_the_options_of_each_fit_are_its_arguments_and_share_those_of_a_run() -> None:
    from aigc.gan import learning as gan
    from aigc.text import learning as text
    from aigc.training import RunOptions
    from aigc.vae import learning as vae

    for module in (gan, text, vae):
        arguments = inspect.signature(module.fit).parameters.values()
        named = {one.name: one.annotation for one in arguments if one.kind is one.KEYWORD_ONLY}
        options = module.FitOptions.__annotations__
        assert options.keys() == named.keys()
        assert {name: named[name] for name in options} == dict(options)
        assert dict(RunOptions.__annotations__).items() <= dict(options).items()
        assert not module.FitOptions.__required_keys__
