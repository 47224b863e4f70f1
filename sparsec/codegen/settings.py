"""Tile shapes per kernel, head size and type, rendered into every generated module.

A setting is (BLOCK_M, BLOCK_N, warps, stages, most registers a thread or None).  Tiers: "tma" loads through the tensor
memory accelerator (H100, H200, B200); "large" asks for at most 160 KiB of shared memory a program (A100); "small" for
64 KiB (MI300, consumer cards); "scattered" gathers rows one by one, on the GPUs of the first two.  Head sizes are
rounded up to a power of two.  What was tuned for a GPU and a kernel comes before the table (sparsec.codegen.tuned).
"""

from __future__ import annotations

LARGE = 160 * 1024  # bytes of shared memory
TMA_LENGTH = 2048  # below, making the descriptors takes longer than they save
TMA_STILL = 8192  # likewise, for what a program loads once

KERNELS = ("forward", "dq", "dkdv")

Setting = tuple[int, int, int, int, int | None]

# (tier, bytes per element, head size) -> forward, dq, dkdv
SETTINGS: dict[tuple[str, int, int], tuple[Setting, Setting, Setting]] = {
    ("tma", 2, 16): ((128, 64, 4, 3, None), (64, 64, 4, 3, None), (64, 64, 4, 3, None)),
    ("tma", 2, 32): ((128, 64, 4, 3, None), (64, 64, 4, 3, None), (64, 64, 4, 3, None)),
    ("tma", 2, 64): ((64, 64, 4, 2, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("tma", 2, 128): ((64, 64, 4, 3, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("tma", 2, 256): ((64, 32, 4, 2, None), (64, 32, 4, 2, None), (32, 64, 8, 1, None)),
    ("scattered", 2, 16): ((32, 64, 4, 3, None), (64, 32, 4, 2, None), (64, 32, 4, 2, None)),
    ("scattered", 2, 32): ((32, 64, 4, 3, None), (64, 32, 4, 2, None), (64, 32, 4, 2, None)),
    ("scattered", 2, 64): ((32, 64, 4, 3, None), (64, 32, 4, 2, None), (64, 32, 4, 2, None)),
    ("scattered", 2, 128): ((32, 64, 4, 3, None), (64, 32, 4, 2, None), (32, 64, 4, 2, None)),
    ("scattered", 2, 256): ((32, 32, 4, 2, None), (32, 32, 4, 2, None), (32, 32, 4, 1, None)),
    ("large", 2, 16): ((128, 64, 4, 3, None), (64, 64, 4, 3, None), (64, 64, 4, 3, None)),
    ("large", 2, 32): ((128, 64, 4, 3, None), (64, 64, 4, 3, None), (64, 64, 4, 3, None)),
    ("large", 2, 64): ((64, 64, 4, 3, None), (64, 64, 4, 3, None), (64, 64, 4, 3, None)),
    ("large", 2, 128): ((128, 64, 8, 2, None), (128, 64, 8, 2, None), (32, 128, 8, 2, None)),
    ("large", 2, 256): ((64, 32, 4, 2, None), (64, 32, 4, 2, None), (32, 64, 8, 1, None)),
    ("large", 4, 16): ((64, 32, 4, 2, None), (64, 32, 4, 2, None), (32, 64, 4, 2, None)),
    ("large", 4, 32): ((64, 32, 4, 2, None), (64, 32, 4, 2, None), (32, 64, 4, 2, None)),
    ("large", 4, 64): ((64, 32, 4, 2, None), (64, 32, 4, 2, None), (32, 32, 4, 2, None)),
    ("large", 4, 128): ((32, 32, 4, 2, None), (32, 32, 4, 2, None), (32, 32, 4, 1, None)),
    ("large", 4, 256): ((16, 32, 4, 1, None), (16, 32, 4, 1, None), (16, 16, 4, 1, None)),
    ("small", 2, 16): ((64, 64, 4, 2, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("small", 2, 32): ((64, 64, 4, 2, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("small", 2, 64): ((64, 64, 4, 2, None), (64, 32, 4, 2, None), (32, 64, 4, 2, None)),
    ("small", 2, 128): ((64, 32, 4, 1, None), (64, 32, 4, 1, None), (32, 32, 4, 1, None)),
    ("small", 2, 256): ((32, 32, 4, 1, None), (32, 16, 4, 1, None), (16, 32, 4, 1, None)),
    ("small", 4, 16): ((64, 32, 4, 2, None), (32, 32, 4, 2, None), (32, 32, 4, 2, None)),
    ("small", 4, 32): ((64, 32, 4, 2, None), (32, 32, 4, 2, None), (32, 32, 4, 2, None)),
    ("small", 4, 64): ((32, 32, 4, 1, None), (32, 32, 4, 1, None), (32, 32, 4, 1, None)),
    ("small", 4, 128): ((32, 16, 4, 1, None), (16, 16, 4, 1, None), (16, 16, 4, 1, None)),
    ("small", 4, 256): ((16, 16, 4, 1, None), (16, 16, 4, 1, None), (16, 16, 4, 1, None)),
}


def table() -> str:
    """The table as Python text."""
    lines = [
        f"_LARGE = {LARGE // 1024} * 1024  # bytes of shared memory that the larger settings may ask for",
        f"_TMA_LENGTH = {TMA_LENGTH}  # shorter sequences end before descriptors pay",
        f"_TMA_STILL = {TMA_STILL}  # likewise, for what a program loads once",
        "",
        "# (tier, bytes per element, head size) -> kernel -> (BLOCK_M, BLOCK_N, warps, stages, most registers)",
        "_SETTINGS = {",
    ]
    for (tier, width, size), (forward, dq, dkdv) in SETTINGS.items():
        lines.append(f'    ("{tier}", {width}, {size}): {{"forward": {forward}, "dq": {dq}, "dkdv": {dkdv}}},')
    return "\n".join([*lines, "}"])
