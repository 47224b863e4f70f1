"""What a compiler says of a kernel that Triton compiled: registers, spills, and products that it could not overlap."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triton.backends.compiler import GPUTarget


@dataclass(frozen=True, slots=True)
class CompiledKernel:
    """One kernel: its text or bytes by stage ("ttir", "ptx", "cubin", "amdgcn", ...), and what it takes."""

    name: str
    stages: dict[str, str | bytes]
    registers: int  # of one thread
    spills: int  # NVIDIA: bytes stored and loaded; AMD: registers
    shared: int  # bytes
    serialized: bool  # ptxas found no way to overlap the products with other work (its C7510 to C7519)


def report_of(kernel: Any, target: GPUTarget) -> CompiledKernel:
    """Registers and spills from ptxas, or from the notes at the end of AMD's assembly."""
    stages = dict(kernel.asm)
    if target.backend == "cuda":
        said = _ptxas(stages["ptx"], target.arch)
        registers, spills = _numbers(r"Used (\d+) registers", said), _numbers(r"(\d+) bytes spill", said)
    else:
        said = stages["amdgcn"]
        registers = _numbers(r"\.vgpr_count:\s+(\d+)", said)
        spills = _numbers(r"\.[sv]gpr_spill_count:\s+(\d+)", said)
    return CompiledKernel(
        kernel.name, stages, max(registers), sum(spills), kernel.metadata.shared, "serialized" in said
    )


def _numbers(form: str, text: str) -> list[int]:
    found = [int(number) for number in re.findall(form, text)]
    assert found, f"the compiler's report has changed: no {form!r} in it"
    return found


def _ptxas(ptx: str, arch: int) -> str:
    """What ptxas reports of one kernel; it comes inside triton."""
    from triton.backends.nvidia.compiler import get_ptxas, sm_arch_from_capability

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        name = sm_arch_from_capability(arch)
        command = [get_ptxas(arch).path, "-v", f"--gpu-name={name}", path, "-o", f"{path}.o"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr
