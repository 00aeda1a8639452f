"""Moments of two processes are those of one that saw everything."""

import subprocess
import sys
from pathlib import Path

import torch

from aigc.metrics import Moments

PROGRAM = """
import sys
import torch
import torch.distributed as dist
from aigc.metrics import Features, Moments

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
x = torch.randn(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 100
ours = [x[:13], x[13:]][rank]
found = Moments.of(Features(ours, "wanted", "7")).over_processes()
empty = Moments.of([x, x[:0]][rank]).over_processes()
torch.save([found.n, found.mean, found.scatter, found.extractor, empty.n, empty.scatter], f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""


def test_two_processes_have_the_moments_of_one(tmp_path: Path) -> None:
    arguments = [[sys.executable, "-c", PROGRAM, str(rank), str(tmp_path)] for rank in range(2)]
    running = [subprocess.Popen(each, stderr=subprocess.PIPE, text=True) for each in arguments]
    for process in running:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 100
    centred = x - x.mean(0)
    for rank in range(2):
        n, mean, scatter, extractor, all_of_one, whole = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert (n, all_of_one, extractor) == (50, 50, "wanted")
        torch.testing.assert_close(mean, x.mean(0), rtol=1e-12, atol=0)
        torch.testing.assert_close(scatter, centred.T @ centred, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(whole, centred.T @ centred, rtol=1e-10, atol=1e-10)


def test_one_process_has_its_own() -> None:
    found = Moments.of(torch.eye(3))
    assert found.over_processes() is found
