"""Tile sizes, warps and stages of a kernel, by device, type and head size.

A setting is (BLOCK_M, BLOCK_N, warps, stages, most registers a thread or None).  Tiers: "tma" loads through the tensor
memory accelerator (H100, H200, B200); "large" asks for at most 160 KiB of shared memory a program (A100); "small" for
64 KiB (MI300, consumer cards); "listed" gathers rows one by one, "gathered" those of some queries, and "grouped" those
of groups of tokens, on the GPUs of the first two; "packed" goes over tiles of several sequences, "tables" too, where
masks read tables, and "data" over those that one input of the call decides, with fewer registers for more programs side
by side, on the GPUs of the first, where a head size has its own.
Head sizes are rounded up to a power of two.  What was tuned for a GPU and a kernel (`Program.tuned`) comes before the
table.
"""

from __future__ import annotations

from typing import NamedTuple

LARGE = 160 * 1024  # bytes of shared memory that the larger settings may ask for
TMA_LENGTH = 2048  # below, making the descriptors takes longer than they save
TMA_STILL = 8192  # likewise, for what a program loads once

Setting = tuple[int, int, int, int, int | None]


class Settings(NamedTuple):
    """Of the three kinds of kernels."""

    forward: Setting
    dq: Setting
    dkdv: Setting


KERNELS = Settings._fields


# (tier, bytes per element, head size) -> forward, dq, dkdv
SETTINGS: dict[tuple[str, int, int], Settings] = {
    ("tma", 2, 16): Settings((128, 64, 4, 3, None), (64, 64, 4, 3, None), (64, 64, 4, 3, None)),
    ("tma", 2, 32): Settings((128, 64, 4, 3, None), (64, 64, 4, 3, None), (64, 64, 4, 3, None)),
    ("tma", 2, 64): Settings((64, 64, 4, 2, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("tma", 2, 128): Settings((64, 64, 4, 3, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("tma", 2, 256): Settings((64, 32, 4, 2, None), (64, 32, 4, 2, None), (32, 64, 8, 1, None)),
    ("listed", 2, 16): Settings((32, 64, 4, 3, None), (64, 32, 4, 2, None), (64, 32, 4, 2, None)),
    ("listed", 2, 32): Settings((32, 64, 4, 3, None), (64, 32, 4, 2, None), (64, 32, 4, 2, None)),
    ("listed", 2, 64): Settings((32, 64, 4, 3, None), (64, 32, 4, 2, None), (64, 32, 4, 2, None)),
    ("listed", 2, 128): Settings((32, 64, 4, 3, None), (64, 32, 4, 2, None), (32, 64, 4, 2, None)),
    ("listed", 2, 256): Settings((32, 32, 4, 2, None), (32, 32, 4, 2, None), (32, 32, 4, 1, None)),
    ("grouped", 2, 16): Settings((64, 64, 4, 2, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("grouped", 2, 32): Settings((64, 64, 4, 2, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("grouped", 2, 64): Settings((64, 64, 4, 2, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("grouped", 2, 128): Settings((64, 32, 4, 3, None), (64, 32, 4, 3, None), (32, 64, 4, 3, None)),
    ("grouped", 2, 256): Settings((32, 32, 4, 2, None), (32, 32, 4, 2, None), (32, 32, 4, 1, None)),
    ("packed", 2, 64): Settings((64, 64, 4, 3, None), (64, 64, 4, 3, None), (64, 64, 4, 2, None)),
    ("packed", 2, 128): Settings((64, 64, 4, 3, None), (128, 64, 8, 3, None), (64, 64, 4, 2, None)),
    ("tables", 2, 128): Settings((64, 32, 4, 3, None), (64, 32, 4, 3, None), (64, 32, 4, 2, None)),
    ("data", 2, 64): Settings((64, 64, 4, 2, 128), (64, 64, 4, 2, 128), (64, 64, 4, 2, 168)),
    ("gathered", 2, 16): Settings((64, 64, 4, 2, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("gathered", 2, 32): Settings((64, 64, 4, 2, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("gathered", 2, 64): Settings((64, 64, 4, 2, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("gathered", 2, 128): Settings((64, 64, 4, 2, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("gathered", 2, 256): Settings((32, 32, 4, 2, None), (32, 32, 4, 2, None), (32, 32, 4, 1, None)),
    ("large", 2, 16): Settings((128, 64, 4, 3, None), (64, 64, 4, 3, None), (64, 64, 4, 3, None)),
    ("large", 2, 32): Settings((128, 64, 4, 3, None), (64, 64, 4, 3, None), (64, 64, 4, 3, None)),
    ("large", 2, 64): Settings((64, 64, 4, 3, None), (64, 64, 4, 3, None), (64, 64, 4, 3, None)),
    ("large", 2, 128): Settings((128, 64, 8, 2, None), (128, 64, 8, 2, None), (32, 128, 8, 2, None)),
    ("large", 2, 256): Settings((64, 32, 4, 2, None), (64, 32, 4, 2, None), (32, 64, 8, 1, None)),
    ("large", 4, 16): Settings((64, 32, 4, 2, None), (64, 32, 4, 2, None), (32, 64, 4, 2, None)),
    ("large", 4, 32): Settings((64, 32, 4, 2, None), (64, 32, 4, 2, None), (32, 64, 4, 2, None)),
    ("large", 4, 64): Settings((64, 32, 4, 2, None), (64, 32, 4, 2, None), (32, 32, 4, 2, None)),
    ("large", 4, 128): Settings((32, 32, 4, 2, None), (32, 32, 4, 2, None), (32, 32, 4, 1, None)),
    ("large", 4, 256): Settings((16, 32, 4, 1, None), (16, 32, 4, 1, None), (16, 16, 4, 1, None)),
    ("small", 2, 16): Settings((64, 64, 4, 2, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("small", 2, 32): Settings((64, 64, 4, 2, None), (64, 64, 4, 2, None), (64, 64, 4, 2, None)),
    ("small", 2, 64): Settings((64, 64, 4, 2, None), (64, 32, 4, 2, None), (32, 64, 4, 2, None)),
    ("small", 2, 128): Settings((64, 32, 4, 1, None), (64, 32, 4, 1, None), (32, 32, 4, 1, None)),
    ("small", 2, 256): Settings((32, 32, 4, 1, None), (32, 16, 4, 1, None), (16, 32, 4, 1, None)),
    ("small", 4, 16): Settings((64, 32, 4, 2, None), (32, 32, 4, 2, None), (32, 32, 4, 2, None)),
    ("small", 4, 32): Settings((64, 32, 4, 2, None), (32, 32, 4, 2, None), (32, 32, 4, 2, None)),
    ("small", 4, 64): Settings((32, 32, 4, 1, None), (32, 32, 4, 1, None), (32, 32, 4, 1, None)),
    ("small", 4, 128): Settings((32, 16, 4, 1, None), (16, 16, 4, 1, None), (16, 16, 4, 1, None)),
    ("small", 4, 256): Settings((16, 16, 4, 1, None), (16, 16, 4, 1, None), (16, 16, 4, 1, None)),
}
