"""Tile shapes per kernel, head size and type, rendered into every generated module.

A setting is (BLOCK_M, BLOCK_N, warps, stages).  `roomy` settings ask for at most 160 KiB of shared memory a program
(A100, H100, B200); the others fit 64 KiB (MI300, consumer cards).  Head sizes are rounded up to a power of two.
"""

from __future__ import annotations

ROOMY = 160 * 1024  # bytes of shared memory

Setting = tuple[int, int, int, int]

# (roomy, bytes per element, head size) -> forward, dq, dkdv
SETTINGS: dict[tuple[bool, int, int], tuple[Setting, Setting, Setting]] = {
    (True, 2, 16): ((128, 64, 4, 3), (64, 64, 4, 3), (64, 64, 4, 3)),
    (True, 2, 32): ((128, 64, 4, 3), (64, 64, 4, 3), (64, 64, 4, 3)),
    (True, 2, 64): ((128, 64, 4, 3), (64, 64, 4, 3), (64, 64, 4, 3)),
    (True, 2, 128): ((128, 64, 8, 2), (128, 64, 8, 2), (64, 64, 4, 2)),
    (True, 2, 256): ((64, 32, 4, 2), (64, 32, 4, 2), (32, 64, 8, 1)),
    (True, 4, 16): ((64, 32, 4, 2), (64, 32, 4, 2), (32, 64, 4, 2)),
    (True, 4, 32): ((64, 32, 4, 2), (64, 32, 4, 2), (32, 64, 4, 2)),
    (True, 4, 64): ((64, 32, 4, 2), (64, 32, 4, 2), (32, 32, 4, 2)),
    (True, 4, 128): ((32, 32, 4, 2), (32, 32, 4, 2), (32, 32, 4, 1)),
    (True, 4, 256): ((16, 32, 4, 1), (16, 32, 4, 1), (16, 16, 4, 1)),
    (False, 2, 16): ((64, 64, 4, 2), (64, 64, 4, 2), (64, 64, 4, 2)),
    (False, 2, 32): ((64, 64, 4, 2), (64, 64, 4, 2), (64, 64, 4, 2)),
    (False, 2, 64): ((64, 64, 4, 2), (64, 32, 4, 2), (32, 64, 4, 2)),
    (False, 2, 128): ((64, 32, 4, 1), (64, 32, 4, 1), (32, 32, 4, 1)),
    (False, 2, 256): ((32, 32, 4, 1), (32, 16, 4, 1), (16, 32, 4, 1)),
    (False, 4, 16): ((64, 32, 4, 2), (32, 32, 4, 2), (32, 32, 4, 2)),
    (False, 4, 32): ((64, 32, 4, 2), (32, 32, 4, 2), (32, 32, 4, 2)),
    (False, 4, 64): ((32, 32, 4, 1), (32, 32, 4, 1), (32, 32, 4, 1)),
    (False, 4, 128): ((32, 16, 4, 1), (16, 16, 4, 1), (16, 16, 4, 1)),
    (False, 4, 256): ((16, 16, 4, 1), (16, 16, 4, 1), (16, 16, 4, 1)),
}


def tiles_table() -> str:
    """The table as Python text."""
    lines = ["_ROOMY = 160 * 1024  # bytes of shared memory that the larger settings may ask for", ""]
    lines += ["# (roomy, bytes per element, head size) -> kernel -> (BLOCK_M, BLOCK_N, warps, stages)", "_SETTINGS = {"]
    for (roomy, width, size), (forward, dq, dkdv) in SETTINGS.items():
        lines.append(f'    ({roomy}, {width}, {size}): {{"forward": {forward}, "dq": {dq}, "dkdv": {dkdv}}},')
    return "\n".join([*lines, "}"])
