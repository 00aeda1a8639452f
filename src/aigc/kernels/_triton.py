"""Sampling on CUDA, in Triton: three launches, or six, whatever the rows look like, and nothing is read back.

    _triton_read.py    all slices of all rows: the largest logit of each group and block of tokens, the mass of each block
    _triton_draw.py    a program a row: draws those that are not cut, and those that a list of their largest logits settles
    _triton_narrow.py  if filters are on that may keep more than a list: all slices of rows that are left, three times, to
                       find out what survives, but for some few tokens
    _triton_search.py  a program a row: draws those that are left; for the others it ends at once
    _triton_split.py   how it does so where few tokens are in doubt
    _triton_parts.py   what these are made of

The list and its certificate are those of `_row.py`, but for where it comes from: n groups have a maximum of at least the
n-th largest one, so a row has n tokens that large, and all of them lie in such groups. Sums are taken in an order that
depends on the vocabulary alone, and nothing is added atomically, so a row's bits do not depend on the rows beside it.
What is decided about survivors is decided in float64, some of them at a time.

A call may be captured in a CUDA graph: parameters, seeds and steps that are tensors are read on the device at each replay.
"""

import struct
from contextlib import nullcontext
from typing import Any

import torch
import triton
from torch import Tensor

from aigc.kernels._parameters import Parameters
from aigc.kernels._triton_draw import draw_rows
from aigc.kernels._triton_narrow import PIVOTS, cut_slices, narrow_slices
from aigc.kernels._triton_parts import BLOCK, CHUNK, FLAT, MOST_GROUPS
from aigc.kernels._triton_read import read_rows
from aigc.kernels._triton_search import search_rows
from aigc.kernels._types import Noise

__all__ = ["sample", "threshold"]

_GROUP = 32  # tokens of which the largest is looked at first
_MOST_GROUPS = 8192  # that a program looks at; groups are larger where the vocabulary is
_MOST_CHUNKS = 256  # of a row that all multiprocessors look at: each program adds them up
_PROGRAMS = 1056  # that look at them at once: eight for each multiprocessor of a large GPU
_EXACT = {"enable_fp_fusion": False}  # a product and a sum are rounded each, as on the host
_OFF = Parameters(temperature=1.0, top_k=2**62, top_p=1.0, min_p=0.0)


def sample(logits: Tensor, given: Parameters, noise: Noise) -> tuple[Tensor, Tensor]:
    """Draws one token per row of `logits` `(rows, vocab)`: int64 token, kept and status, float32 logprob and mass.

    float32, bfloat16 or float16; any strides.
    """
    integers, reals = _launch(logits, given, noise, False)
    return integers, reals[:2]


def threshold(logits: Tensor, given: Parameters) -> Tensor:
    """Returns the smallest logit that the filters keep, `(rows,)`, in the dtype of `logits` `(rows, vocab)`."""
    return _launch(logits, given, Noise(0, 0, True), True)[1][2].to(logits.dtype)


def _launch(logits: Tensor, given: Parameters, noise: Noise, tau: bool) -> tuple[Tensor, Tensor]:
    rows = len(logits)
    integers = logits.new_empty((3, rows), dtype=torch.int64)
    reals = logits.new_empty((3, rows), dtype=torch.float32)
    if rows:
        _launch_all(logits, given, noise, integers, reals, tau)
    return integers, reals


def _launch_all(logits: Tensor, given: Parameters, noise: Noise, integers: Tensor, reals: Tensor, tau: bool) -> None:
    rows, vocabulary = logits.shape
    group = max(_GROUP, triton.next_power_of_2(triton.cdiv(vocabulary, _MOST_GROUPS)))
    groups, blocks = triton.cdiv(vocabulary, group), triton.cdiv(vocabulary, BLOCK.value)
    new = logits.new_empty
    peaks, tops, masses = (new((rows, n), dtype=torch.float32) for n in (groups, blocks, blocks))
    counts, waits = new((rows, blocks), dtype=torch.int32), new((rows,), dtype=torch.int32)
    lists = new((rows, MOST_GROUPS.value + FLAT.value), dtype=torch.int32)
    parameters = [argument for pair in zip(given, _OFF, strict=True) for argument in _parameter(*pair)]
    row = logits, *logits.stride(), vocabulary
    seeds = *_number(noise.seed, logits), *_number(noise.step, logits)
    options = {"BLOCKS": triton.next_power_of_2(blocks)} | _EXACT
    with torch.cuda.device(logits.device) if logits.is_cuda else nullcontext():  # the interpreter has tensors on the host
        read_rows[rows, triton.cdiv(vocabulary, CHUNK.value)](
            *row, *parameters[:2], peaks, tops, masses, counts, groups, blocks, GROUP=group, num_warps=4, **_EXACT
        )
        draw_rows[(rows,)](
            *(*row, *seeds, *parameters, peaks, tops, masses, counts, lists, waits, integers, reals, rows, groups, blocks),
            **({"TAU": tau, "GROUP": group, "GROUPS": triton.next_power_of_2(groups), "HASHED": noise.hashed} | options),
            num_warps=8,
        )
        found, sizes, narrowed = _narrow(logits, given, (*row, *parameters, tops, masses, waits), blocks, options)
        search_rows[(rows,)](
            *(*row, *seeds, *parameters, tops, masses, lists, waits, *found, integers, reals, rows, blocks, *sizes),
            CHUNKS=triton.next_power_of_2(sizes[0]), NARROWED=narrowed, HASHED=noise.hashed, num_warps=8, **options,
        )  # fmt: skip


def _narrow(
    logits: Tensor, given: Parameters, arguments: tuple[Any, ...], blocks: int, options: dict[str, Any]
) -> tuple[tuple[Tensor, ...], tuple[int, int], bool]:
    """Has all multiprocessors look for the thresholds of rows that wait, if a filter is on that may leave more than a list.

    Returns what was found, the numbers of chunks and of slices of a row, and whether it was done.
    """
    rows, vocabulary = logits.shape
    chunks, new = triton.cdiv(vocabulary, CHUNK.value), logits.new_empty
    if not _may_keep_many(given, vocabulary) or not 1 < chunks <= _MOST_CHUNKS:
        reals, integers = new((0,), dtype=torch.float32), new((0,), dtype=torch.int32)
        return (reals, reals, reals, integers, reals, integers), (chunks, 1), False  # of the types below; nobody reads them
    per = triton.cdiv(chunks, max(1, _PROGRAMS // rows))
    slices = triton.cdiv(chunks, per)
    partials = new((2, rows, chunks, PIVOTS.value), dtype=torch.float32)
    weights, kept = new((rows, chunks), dtype=torch.float32), new((2, rows, blocks), dtype=torch.float32)
    counts, leasts = new((3, rows, slices), dtype=torch.int32), new((rows, slices), dtype=torch.float32)
    tokens = new((2, rows, slices, FLAT.value), dtype=torch.int32)
    sizes, options = (rows, blocks, chunks, per), options | {"CHUNKS": triton.next_power_of_2(chunks)}
    for n in range(2):
        narrow_slices[rows, slices](*arguments, partials, *sizes, PASS=n, num_warps=4, **options)
    found = partials, weights, kept, counts, leasts, tokens
    cut_slices[rows, slices](*arguments, *found, *sizes, num_warps=4, **options)
    return found, (chunks, slices), True


def _may_keep_many(given: Parameters, vocabulary: int) -> bool:
    """Whether there may be rows for which `is_narrowed` holds."""
    k, p, m = given.top_k, given.top_p, given.min_p
    if isinstance(k, Tensor) or isinstance(p, Tensor) or isinstance(m, Tensor):
        return isinstance(k, Tensor) or k is None or k > MOST_GROUPS.value
    if k is not None and k < vocabulary:
        return k > MOST_GROUPS.value and (p is None or p == 1)
    return (p is not None and p < 1) or bool(m)


def _number(value: int | Tensor, logits: Tensor) -> tuple[Tensor | None, int]:
    """A kernel's two arguments for a seed or step: a column, or a number."""
    if not isinstance(value, Tensor):
        return None, value
    if value.device != logits.device:  # of one number, on the host
        return None, int(value)
    return value.flatten().expand(len(logits)).contiguous(), 0


def _parameter(value: Any, off: Any) -> tuple[Tensor | None, int]:
    """A kernel's two arguments for a parameter: a column, or the bits of a float64."""
    if isinstance(value, Tensor):
        return value.contiguous(), 0
    return None, struct.unpack("q", struct.pack("d", off if value is None else value))[0]
