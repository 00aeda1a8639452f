"""Where a model runs, in which floating type, with how much memory; and leaving the process as it was.

Accelerators are found through `torch.accelerator`, so CUDA, ROCm, XPU and MPS need no code of their own here.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from aigc._checks import fail, fail_type, integer
from aigc._safetensors import read_header, weight_files
from aigc.errors import ResourceError

__all__ = [
    "Placement",
    "available_memory",
    "backoff",
    "check_fits",
    "is_out_of_memory",
    "place",
    "preserved_environment",
    "preserved_rng",
    "release_memory",
    "seeded_rng",
    "threads",
    "weights_size",
]

T = TypeVar("T")
R = TypeVar("R")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
_OUT_OF_MEMORY = ("not enough memory", "DefaultCPUAllocator", "out of memory", "std::bad_alloc")


@dataclass(frozen=True, slots=True)
class Placement:
    """A device, a floating type, and why these.

    Attributes:
        device: With an index where the kind has several.
        dtype: A floating type.
        reason: A sentence.
    """

    device: torch.device
    dtype: torch.dtype
    reason: str

    def __str__(self) -> str:
        return f"{self.device}, {str(self.dtype).removeprefix('torch.')}: {self.reason}"


def place(device: str | torch.device = "auto", *, dtype: str | torch.dtype = "auto") -> Placement:
    """Chooses a device and a floating type, or checks those asked for.

    Args:
        device: `"auto"` takes the accelerator where there is one, else the CPU. Of several of a kind it is the current one,
            as it is for a kind without an index: the first, unless the caller changed it.
        dtype: `"auto"` takes bfloat16 where the device computes in it, else float32.

    Raises:
        ParameterError: If there is no such device or type, or the device is not on this machine.

    Example:
        >>> place("cpu", dtype="float32")
        Placement(device=device(type='cpu'), dtype=torch.float32, reason='both as asked')
    """
    chosen, why_device = _device(device)
    if dtype != "auto":
        return Placement(chosen, _dtype(dtype), why_device if why_device else "both as asked")
    number, why_dtype = _fastest(chosen)
    return Placement(chosen, number, f"{why_device}; {why_dtype}" if why_device else why_dtype)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Runs a block with so many of torch's CPU threads, and puts the number back after it.

    Args:
        count: At least 1.

    Example:
        >>> before = torch.get_num_threads()
        >>> with threads(1):
        ...     torch.get_num_threads()
        1
        >>> torch.get_num_threads() == before
        True
    """
    count = integer("count", count, low=1)
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def preserved_rng() -> Iterator[None]:
    """Runs a block that may use torch's global generators, and puts their states back after it.

    Example:
        >>> before = torch.get_rng_state()
        >>> with preserved_rng():
        ...     _ = torch.rand(3)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    kind = accelerator.type if accelerator is not None else "cpu"
    devices = range(torch.accelerator.device_count()) if accelerator is not None else []
    with torch.random.fork_rng(devices=devices, device_type=kind if kind != "cpu" else "cuda"):
        yield


@contextlib.contextmanager
def seeded_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Runs a block with torch's global generators at a seed, those of the CPU and of a device, and puts them back after it.

    Example:
        >>> with seeded_rng(7, torch.device("cpu")):
        ...     first = torch.rand(2)
        >>> with seeded_rng(7, torch.device("cpu")):
        ...     torch.equal(torch.rand(2), first)
        True
    """
    beside = None if device.type == "cpu" else torch.get_device_module(device)
    which = () if device.type == "mps" else (device,)  # there is one of those; of others the current one need not be meant
    before, there = torch.get_rng_state(), None if beside is None else beside.get_rng_state(*which)
    # Not torch.manual_seed, which keeps a note of each call for a GPU that is not in use.
    torch.default_generator.manual_seed(seed)
    if beside is not None:
        beside.set_rng_state(torch.Generator(device).manual_seed(seed).get_state(), *which)
    try:
        yield
    finally:
        torch.set_rng_state(before)
        if beside is not None:
            beside.set_rng_state(there, *which)


@contextlib.contextmanager
def preserved_environment() -> Iterator[None]:
    """Runs a block that may set environment variables, and puts them back after it.

    Example:
        >>> with preserved_environment():
        ...     os.environ.update(AIGC_EXAMPLE="1")
        >>> "AIGC_EXAMPLE" in os.environ
        False
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            os.environ.pop(name)
        os.environ.update(before)


def weights_size(folder: str | Path, *, dtype: torch.dtype | None = None) -> int:
    """Returns how many bytes the weights of a folder will take, from the headers of its files alone.

    Args:
        folder: With one safetensors file, or shards and their index.
        dtype: The type they will be converted to; None keeps each tensor's own.

    Raises:
        ModelFileError: If a file is damaged, or an index points outside the folder.
    """
    headers = [read_header(file) for file in weight_files(Path(folder))]
    tensors = [tensor for header in headers for tensor in header.values()]
    return sum(
        tensor.numel * (dtype.itemsize if dtype is not None and tensor.dtype.is_floating_point else tensor.dtype.itemsize)
        for tensor in tensors
    )


def available_memory(device: torch.device) -> int | None:
    """Returns the bytes that are free on a device; None where the system does not tell.

    On the CPU this is what the system can give without swapping, or what is left of the control group's limit.

    Example:
        >>> (available_memory(torch.device("cpu")) or 1) > 0
        True
    """
    if device.type == "cpu":
        known = [value for value in (_system_memory(), _group_memory()) if value is not None]
        return min(known, default=None)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    free, _ = torch.accelerator.get_memory_info(device)
    return int(free)


def check_fits(needed: int, device: torch.device) -> None:
    """Raises before a job begins that the device has no memory for.

    Args:
        needed: Bytes.
        device: Where.

    Raises:
        ResourceError: With both figures and what to do.

    Example:
        >>> check_fits(1, torch.device("cpu"))
    """
    free = available_memory(device)
    if free is not None and needed > free:
        raise ResourceError(
            f"the weights take {needed / 2**30:.1f} GiB, and {device} has {free / 2**30:.1f} GiB free. "
            'Use a smaller model, dtype="bfloat16", or another device.'
        )


def backoff(run: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T], *, batch_size: int | None = None) -> list[R]:
    """Runs a function over items in batches, and halves the batch where memory runs out.

    What is finished is kept. Only when a single item does not fit is it an error.

    Args:
        run: From some items to as many results.
        items: All of them, in order.
        batch_size: The largest batch, at least 1; None is all at once.

    Returns:
        The results, in order.

    Raises:
        ResourceError: If one item alone does not fit; caused by the first error.

    Example:
        >>> def doubled(numbers: Sequence[int]) -> list[int]:
        ...     if len(numbers) > 2:
        ...         raise MemoryError
        ...     return [2 * number for number in numbers]
        >>> backoff(doubled, [1, 2, 3, 4, 5])
        [2, 4, 6, 8, 10]
    """
    size = integer("batch_size", batch_size, low=1) if batch_size is not None else max(1, len(items))
    results: list[R] = []
    first: BaseException | None = None
    while len(results) < len(items):
        try:
            results.extend(run(items[len(results) : len(results) + size]))
            continue
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            first = first or error
        # Outside of the handler: the error's traceback holds the tensors of the run that failed.
        if size == 1:
            raise ResourceError(
                f"one item alone does not fit in memory; {len(results)} of {len(items)} were finished. "
                "Use a smaller model, a shorter text, or another device."
            ) from first
        size = max(1, size // 2)
        first = first.with_traceback(None)
        release_memory()
    return results


def is_out_of_memory(error: BaseException) -> bool:
    """Says whether an error means that memory ran out, on the CPU or on an accelerator.

    Example:
        >>> is_out_of_memory(torch.OutOfMemoryError("out of memory")), is_out_of_memory(RuntimeError("a shape is wrong"))
        (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OUT_OF_MEMORY)


def release_memory() -> None:
    """Gives memory that an accelerator's allocator keeps, and nothing uses, back to it; does nothing on the CPU.

    Example:
        >>> release_memory()
    """
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


def _device(device: str | torch.device) -> tuple[torch.device, str]:
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if device == "auto":
        if accelerator is None:
            return torch.device("cpu"), "no accelerator found"
        return torch.device(accelerator.type, torch.accelerator.current_device_index()), f"{accelerator.type} found"
    if not isinstance(device, str | torch.device):
        raise fail_type("device", 'a string such as "cpu", or a torch.device', device)
    here = ["cpu"]
    if accelerator is not None:
        here += [f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count())]
    cure = f"This machine has {', '.join(here)}."
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise fail("device", '"auto" or a device of torch', device, cure) from None
    if accelerator is not None and chosen.type == accelerator.type and chosen.index is None:
        chosen = torch.device(chosen.type, torch.accelerator.current_device_index())
    if str(chosen) not in here and chosen.type != "cpu":
        raise fail("device", "on this machine", str(device), cure)
    return chosen, ""


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    if isinstance(dtype, str) and dtype.removeprefix("torch.") in DTYPES:
        return DTYPES[dtype.removeprefix("torch.")]
    raise fail("dtype", f'"auto" or one of {", ".join(DTYPES)}', dtype)


def _fastest(device: torch.device) -> tuple[torch.dtype, str]:
    """bfloat16 where it is computed in hardware: elsewhere it is slower than float32, and less exact."""
    if device.type == "cpu":
        has: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # newer than the oldest torch we take
        found = [name for name in ("amx_bf16", "avx512_bf16") if has.get(name)]
        if found:
            return torch.bfloat16, f"the processor has {found[0].upper().replace('_', '-')}"
        return torch.float32, "the processor has no bfloat16 arithmetic"
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float32, "the GPU has no bfloat16 arithmetic"
    if device.type == "mps":
        return torch.float32, "bfloat16 is emulated on older Apple GPUs"
    return torch.bfloat16, f"{device.type} computes in bfloat16"


def _system_memory() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            fields = dict(line.split(":") for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _reclaimable(limit: Path) -> int:
    """Bytes of files that a control group has read and the system can drop: they count as used, and are not."""
    try:
        fields = dict(line.split() for line in (limit.parent / "memory.stat").read_text().splitlines())
        return int(fields.get("total_inactive_file") or fields.get("inactive_file") or 0)
    except (OSError, ValueError):
        return 0


def _group_memory() -> int | None:
    """What is left of a container's limit, version 2 or 1 of control groups; None without one."""
    root = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            left = int((root / limit).read_text()) - int((root / used).read_text())
            return max(0, left + _reclaimable(root / limit))
        except (OSError, ValueError):
            continue  # no such file, or "max"
    return None
