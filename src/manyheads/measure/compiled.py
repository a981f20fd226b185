"""What becomes of our Triton kernels on a GPU that is not here: each kernel and configuration, compiled offline.

NVIDIA's assembler and disassembler come with Triton.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from manyheads.errors import UserError

SHARED_LIMIT = 227 * 1024
"""Bytes of shared memory that one program may have on sm_90."""

STRIDE = re.compile(r"^s[a-z]{2}$|_[bhn]$")


@dataclass(frozen=True)
class Compiled:
    """One kernel in one configuration.

    stack: bytes of registers spilled; spills: instructions that move them; wgmma and mma: matrix instructions of warp
    groups (Hopper's own) and of single warps (about half as fast there); shared: bytes.
    """

    name: str
    warps: int
    registers: int
    stack: int
    spills: int
    shared: int
    wgmma: int
    mma: int

    @property
    def fits(self) -> bool:
        return not self.stack and not self.spills and self.shared <= SHARED_LIMIT


def compiled(only: str | None = None) -> Iterator[Compiled]:
    """Compiles every kernel × configuration for sm_90a whose name holds all words of `only`.

    Raises UserError where Triton would interpret, or no name fits.
    """
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise UserError("TRITON_INTERPRET=1 is set, and interpreted kernels are not compiled: unset it.")
    chosen = [variant for variant in _variants() if all(word in variant[0].split() for word in (only or "").split())]
    if not chosen:
        raise UserError(f"only={only} fits no kernel; words of names are those of: {next(iter(_variants()))[0]}.")
    yield from (_compile(*variant) for variant in chosen)


def _variants() -> Iterator[tuple]:
    from manyheads.attention.kernels.ops import flash_variants, linear

    yield from flash_variants.variants()
    yield from linear.variants()


def _compile(name: str, kernel, signature: dict, constants: dict, options: dict) -> Compiled:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    aligned = {(at,): [["tt.divisibility", 16]] for at, key in enumerate(signature) if _sixteen(key, signature[key])}
    source = ASTSource(kernel, signature, constants, aligned)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    usage, code = _inspected(made.asm["cubin"])
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", usage).groups()
    count = {what: len(re.findall(rf"\b{what}\b", code)) for what in ("HGMMA", "HMMA", "LDL", "STL")}
    return Compiled(
        name=name,
        warps=made.metadata.num_warps,
        registers=int(registers),
        stack=int(stack),
        spills=count["LDL"] + count["STL"],
        shared=made.metadata.shared,
        wgmma=count["HGMMA"],
        mma=count["HMMA"],
    )


def _sixteen(name: str, kind: str) -> bool:
    return kind.startswith("*") or (kind == "i32" and bool(STRIDE.search(name)))


def _inspected(cubin: bytes) -> tuple[str, str]:
    """What the tools of the wheel say of the machine code: its resources, and its instructions."""
    import triton

    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        commands = (("cuobjdump", "-res-usage"), ("nvdisasm", "-c"))
        return tuple(
            subprocess.run([tools / tool, flag, file.name], capture_output=True, text=True, check=True).stdout
            for tool, flag in commands
        )


HEAD = "| kernel | warps | registers | stack | spills | shared KiB | wgmma | mma | fits |\n" + "|---|" + "--:|" * 8


def row(c: Compiled) -> str:
    """One line of a table in markdown."""
    figures = (c.warps, c.registers, c.stack, c.spills, f"{c.shared / 1024:.0f}", c.wgmma, c.mma)
    return f"| {c.name} | {' | '.join(map(str, figures))} | {'yes' if c.fits else 'NO'} |"


def figures(only: str | None) -> dict:
    """For the command: prints the table as it grows, and gives the same as data."""
    import triton

    print(HEAD, flush=True)
    found = []
    for each in compiled(only):
        print(row(each), flush=True)
        found.append(each)
    return {"target": "sm_90a", "triton": triton.__version__, "kernels": [asdict(c) for c in found]}
