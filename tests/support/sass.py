"""Machine code of kernels for NVIDIA GPUs, read with the disassembler that comes with Triton."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import triton


def instructions(cubin: bytes) -> tuple[list[str], dict[str, int]]:
    """Of a kernel, in order, and where its labels stand."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "-c", file.name], capture_output=True, text=True, check=True).stdout
    found, labels = [], {}
    for line in text.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(found)
        elif instruction := re.match(r"\s+/\*[0-9a-f]{4,5}\*/\s+(.*?);", line):
            found.append(instruction[1])
    assert found, "the disassembler's text has changed"
    return found, labels


def inner_loops(cubin: bytes, holding: str, least: int) -> Iterator[list[str]]:
    """The instructions of each innermost loop that has `least` instructions or more of a kind."""
    found, labels = instructions(cubin)
    jumps = ((at, re.search(r"BRA.*`\((\.L_x_\d+)\)", each)) for at, each in enumerate(found))
    loops = sorted((at - labels[jump[1]], labels[jump[1]], at) for at, jump in jumps if jump and labels[jump[1]] <= at)
    taken: list[tuple[int, int]] = []
    for _, begin, end in loops:
        body = found[begin : end + 1]
        inside = any(begin <= first and last <= end for first, last in taken)
        if not inside and sum(holding in each for each in body) >= least:
            taken.append((begin, end))
            yield body
