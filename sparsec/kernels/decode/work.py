"""Device functions of a decoding step: how programs share the tiles that sequences of unequal lengths visit.

A unit has as many programs as fit the device.  Its sequences stand one after the other, each with the tiles that its
rows visit, and every program takes a run of as many tiles as the others, whichever sequences they are of (Stream-K,
Osama et al., arXiv:2301.03598).  WORK [B + 1] says how many tiles stand before each sequence, and how many there are.

A sequence without tiles counts as one, so that some program writes its zeros.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.decode.tiles import steps_of_region
from sparsec.kernels.machine.device import kernel_name, tl, triton
from sparsec.kernels.tiles.regions import Rules


class SpanOfSequence(NamedTuple):
    """Where the tiles of a sequence stand among those of all."""

    number: Any  # of the sequence
    n: Any  # its keys
    begin: Any
    end: Any


class RowsOfSequences(NamedTuple):
    """What `steps_of_region` asks of rows, for several sequences at once."""

    n: Any
    q_lo: Any
    q_hi: Any


class RegionVisits(NamedTuple):
    """What `steps_of_region` asks of a region."""

    GATHERED: Any
    STRIDE: Any
    rules: Any


class TileSizes(NamedTuple):
    """What `steps_of_region` asks of sizes."""

    ROWS: Any
    BLOCK_N: Any


@triton.jit(do_not_specialize=["batches", "capacity", "work_at"], repr=kernel_name)
def work_kernel(
    LENGTHS, WORK, batches, capacity, work_at, NAME: tl.constexpr,
    KEYS: tl.constexpr, GATHERED: tl.constexpr, STRIDE: tl.constexpr, KEYS_1: tl.constexpr, GATHERED_1: tl.constexpr,
    STRIDE_1: tl.constexpr, KEYS_2: tl.constexpr, GATHERED_2: tl.constexpr, STRIDE_2: tl.constexpr,
    NUMBERS: tl.constexpr, ROWS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """Fills WORK from position `work_at` on; one program."""
    write_work(
        LENGTHS, WORK + work_at, batches, capacity,
        RegionVisits(GATHERED, STRIDE, Rules(None, None, KEYS, NUMBERS)),
        RegionVisits(GATHERED_1, STRIDE_1, Rules(None, None, KEYS_1, NUMBERS)),
        RegionVisits(GATHERED_2, STRIDE_2, Rules(None, None, KEYS_2, NUMBERS)),
        TileSizes(ROWS, BLOCK_N), BLOCK_B,
    )  # fmt: skip


@triton.jit
def write_work(LENGTHS, WORK, batches, capacity, region, region_1, region_2, sizes, BLOCK_B: tl.constexpr):
    """What `work_kernel` does."""
    number = tl.arange(0, BLOCK_B)
    done = 0
    tl.store(WORK, 0)
    for first in range(0, batches, BLOCK_B):
        there = first + number < batches
        n = tl.load(LENGTHS + first + number, mask=there, other=0).to(tl.int32)
        n = tl.minimum(tl.maximum(n, 0), capacity)
        own = RowsOfSequences(n, tl.maximum(n - sizes.ROWS, 0), tl.maximum(n - 1, 0))
        tiles = tl.zeros([BLOCK_B], tl.int32)
        if region.rules.VISITS is not None:
            tiles += steps_of_region(region, own, sizes)
        if region_1.rules.VISITS is not None:
            tiles += steps_of_region(region_1, own, sizes)
        if region_2.rules.VISITS is not None:
            tiles += steps_of_region(region_2, own, sizes)
        tiles = tl.where(there, tl.maximum(tiles, 1), 0)
        tl.store(WORK + 1 + first + number, done + tl.cumsum(tiles, 0), mask=there)
        done += tl.sum(tiles, 0)


@triton.jit
def sequence_at(LENGTHS, WORK, place, batches, capacity, BLOCK_B: tl.constexpr):
    """The sequence that has a tile, by the number of the tile."""
    index = tl.arange(0, BLOCK_B)
    number, begin, end, n = 0, 0, 2147483647, 0
    for first in range(0, batches, BLOCK_B):
        there = first + index < batches
        before = tl.load(WORK + first + index, mask=there, other=2147483647)
        behind = tl.load(WORK + 1 + first + index, mask=there, other=2147483647)
        length = tl.load(LENGTHS + first + index, mask=there, other=0).to(tl.int32)
        own = (before <= place) & (place < behind)
        number += tl.sum(tl.where(own, first + index, 0), 0)
        begin += tl.sum(tl.where(own, before, 0), 0)
        end = tl.minimum(end, tl.min(tl.where(own, behind, 2147483647), 0))
        n += tl.sum(tl.where(own, length, 0), 0)
    return SpanOfSequence(number, tl.minimum(tl.maximum(n, 0), capacity), begin, end)
