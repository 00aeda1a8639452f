"""Compiles the Triton kernels for a GPU that need not be there, and says what each takes of it.

    python scripts/compile_kernels.py 90      # compute capability 9.0

Each kernel is compiled for a vocabulary of 128,256, with parameters as numbers and as tensors, and for strided logits of
half a million tokens.
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from aigc.kernels import _triton as kernels

COLUMNS = {
    "seeds": "*i64",
    "steps": "*i64",
    "temperatures": "*fp32",
    "top_ks": "*i64",
    "top_ps": "*fp32",
    "min_ps": "*fp32",
}
TYPES = {
    **dict.fromkeys(("seed", "step", "temperature", "top_k", "top_p", "min_p"), "i64"),
    **dict.fromkeys(("peaks", "tops", "masses", "reals", "partials", "weights", "kept", "leasts"), "*fp32"),
    **dict.fromkeys(("counts", "lists", "waits", "tokens"), "*i32"),
    "integers": "*i64",
}
CONSTANTS: dict[str, Any] = {
    "stride": 1,
    "HASHED": False,
    "TAU": False,
    "GROUP": 32,
    "GROUPS": 4096,
    "BLOCKS": 512,
    "CHUNKS": 64,
    "PASS": 1,
    "NARROWED": True,
}
KERNELS = (
    (kernels.read_rows, 4),
    (kernels.draw_rows, 8),
    (kernels.narrow_slices, 4),
    (kernels.cut_slices, 4),
    (kernels.search_rows, 8),
)


class Variant(NamedTuple):
    """What a call may differ in."""

    name: str
    logits: str = "*fp32"
    columns: bool = False
    constants: dict[str, Any] = {}  # noqa: RUF012  # read only
    strided: bool = False


VARIANTS = (
    Variant("numbers"),
    Variant("tensors", logits="*bf16", columns=True, constants={"HASHED": True, "TAU": True}),
    Variant(
        "strided", logits="*fp16", strided=True, constants={"GROUP": 64, "GROUPS": 8192, "BLOCKS": 2048, "CHUNKS": 256}
    ),
)


def compiled(kernel: Any, warps: int, variant: Variant, capability: int) -> Any:
    names = kernel.arg_names
    constants: dict[str, Any] = {name: value for name, value in (CONSTANTS | variant.constants).items() if name in names}
    constants |= {} if variant.columns else {name: None for name in COLUMNS if name in names}
    if variant.strided:
        del constants["stride"]
    types = {**dict.fromkeys(names, "i32"), **TYPES, "logits": variant.logits, **COLUMNS}
    types |= dict.fromkeys(constants, "constexpr")
    # As the launcher finds them: pointers, and the lengths of most vocabularies, are multiples of 16.
    lengths = () if variant.strided else ("row_stride", "vocabulary")
    even = [i for i, name in enumerate(names) if types[name][0] == "*" or name in lengths]
    source = ASTSource(
        fn=kernel,
        signature={name: types[name] for name in names},
        constexprs=constants,
        attrs={(i,): [["tt.divisibility", 16]] for i in even},
    )
    options = {"num_warps": warps, "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def usage(cubin: bytes) -> tuple[int, int]:
    """Registers a thread, and bytes of stack, which is where registers are spilt to."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    assert found, text
    return int(found[1]), int(found[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("capability", type=int, help="80 for A100, 90 for H100 and H200")
    capability = parser.parse_args().capability
    for kernel, warps in KERNELS:
        for variant in VARIANTS:
            made = compiled(kernel, warps, variant, capability)
            registers, stack = usage(made.asm["cubin"])
            print(
                f"{kernel.__name__:13} {variant.name}: {32 * warps} threads, {registers} registers each, "
                f"{made.metadata.shared} bytes of shared memory, {stack} bytes of stack"
            )


if __name__ == "__main__":
    main()
