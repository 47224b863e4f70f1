"""Device functions of a decoding step: its rows, the tiles of keys that they visit, and loads from a cache."""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.machine.device import floor_mod, tl, triton
from sparsec.kernels.tiles.loads import gathered_count, gathered_key
from sparsec.kernels.tiles.regions import Lists, Walk, ask, ask_keep, tile_of


class StepSizes(NamedTuple):
    """Constants of a step."""

    GROUP: Any  # query heads of a unit, at most
    ROWS: Any  # of each sequence
    HEAD_DIM: Any
    BLOCK_M: Any
    BLOCK_N: Any
    BLOCK_D: Any
    V_DIM: Any  # of values and results
    BLOCK_V: Any
    PAGE: Any  # keys of a page; None: a cache without pages
    PRECISION: Any


class StepRows(NamedTuple):
    """The rows of a program, heads by rows, and what they are about."""

    batch: Any
    kv_head: Any
    head: Any  # of each row
    row: Any  # its number among those of its sequence
    there: Any
    n: Any
    q: Any  # position of each row; ROWS 1: one number for all
    q_lo: Any  # of the first and last that there are
    q_hi: Any
    first_page: Any  # where the pages of the sequence begin in PAGES
    heads: Any


class StepKeys(NamedTuple):
    """A region of the pattern and the cache that its keys are in."""

    K: Any
    V: Any
    k_strides: Any
    v_strides: Any  # None: those of K
    PAGES: Any
    GATHERED: Any
    STRIDE: Any
    HOLES: Any  # ranges hold keys that no row sees
    rules: Any


@triton.jit
def rows_of_step(n, batch, unit, UNITS, STARTS, heads, pages_b, sizes):
    """The rows of a unit at the end of a sequence of n keys.

    UNITS: key head, then query heads (-1: none) of units that are no whole groups.
    """
    number = tl.arange(0, sizes.BLOCK_M)
    member, row = number // sizes.ROWS, number % sizes.ROWS
    there = (member < sizes.GROUP) & (n - sizes.ROWS + row >= 0)
    kv_head, head = unit, unit * sizes.GROUP + member
    if UNITS is not None:
        line = UNITS + unit * (1 + sizes.GROUP)
        kv_head = tl.load(line)
        head = tl.load(line + 1 + member, mask=member < sizes.GROUP, other=-1)
        there &= head >= 0
    first_page = batch.to(tl.int64) * pages_b
    if STARTS is not None:
        first_page = tl.load(STARTS + batch).to(tl.int64)
    q = n - sizes.ROWS + row
    if sizes.ROWS == 1:
        q = n - 1
    q_lo, q_hi = tl.maximum(n - sizes.ROWS, 0), tl.maximum(n - 1, 0)
    return StepRows(batch, kv_head, head, row, there, n, q, q_lo, q_hi, first_page, heads)


@triton.jit
def step_walk(region, own, CLASS: tl.constexpr, sizes):
    """The walk of the rows through a region; of a residue class, those of row q_hi - CLASS.  And its residue."""
    length, residue = own.n, 0
    if region.GATHERED is not None:
        length = gathered_count(own.n, region.GATHERED[0], region.GATHERED[1], region.GATHERED[2])
    if region.STRIDE > 1:
        last = tl.maximum(own.q_hi - CLASS, 0)
        residue = last % region.STRIDE
        length = tl.where(own.q_hi >= CLASS, tl.cdiv(tl.maximum(own.n - residue, 0), region.STRIDE), 0)
        first = tl.maximum(own.q_lo - residue + region.STRIDE - 1, 0) // region.STRIDE
        given = first, last // region.STRIDE, own.n, length, sizes.BLOCK_N
        ranges = ask(region.rules.VISITS, given, (residue,), region.rules.NUMBERS)
    else:
        given = own.q_lo, own.q_hi, own.n, length, sizes.BLOCK_N
        ranges = ask(region.rules.VISITS, given, (), region.rules.NUMBERS)
    return Walk(length, ranges[0], ranges, 0, 0), residue


@triton.jit
def steps_of_region(region, own, sizes):
    """How many steps a region takes, all residue classes of the rows together."""
    CLASSES: tl.constexpr = region.STRIDE if region.STRIDE < sizes.ROWS else sizes.ROWS
    steps = 0
    for CLASS in tl.static_range(CLASSES):
        walk, _ = step_walk(region, own, CLASS, sizes)
        steps += walk.steps
    return steps


@triton.jit
def kept_of_step(region, own, k, walk_end, sizes):
    """Which of some keys each row sees, and which any of them sees.  ROWS 1: the first is the second, for all rows."""
    inside = k < walk_end
    if sizes.ROWS == 1:
        kept = inside
        if region.rules.KEEP is not None:
            kept = inside & (ask_keep(region.rules, own.q, k, own.n, None) != 0)  # of a number and a tensor
        seen = kept
    else:
        kept = inside[None, :] & own.there[:, None]
        if region.rules.KEEP is not None:
            kept &= ask_keep(region.rules, own.q[:, None], k[None, :], own.n, None)
        if region.STRIDE > 1:
            kept &= floor_mod(own.q[:, None] - k[None, :], region.STRIDE) == 0
        seen = tl.max(kept.to(tl.int32), 0) > 0
    return kept, seen


@triton.jit
def keys_of_step(walk, step, residue, region, sizes):
    """The keys of a step of a walk."""
    tile, _ = tile_of(walk, Lists(), step)
    place = tile * sizes.BLOCK_N + tl.arange(0, sizes.BLOCK_N)
    if region.GATHERED is not None:
        k = gathered_key(place, region.GATHERED[0], region.GATHERED[1], region.GATHERED[2])
    else:
        k = place * region.STRIDE + residue
    return k


@triton.jit
def cache_rows(region, own, k, sizes):
    """Where keys stand along the first dimension of a cache: their pages, or the sequence where there are none.

    Pages are looked up a step ahead of their keys, so that no load waits for another.
    """
    if sizes.PAGE is None:
        row = own.batch
    else:
        row = tl.load(region.PAGES + own.first_page + k // sizes.PAGE, mask=k < own.n, other=0)
    return row


@triton.jit
def cache_offset(strides, row, k, own, sizes):
    """Where keys are in a cache, in units of 8 elements: 64 bits, since a cache may hold more than 2^31."""
    place = k
    if sizes.PAGE is not None:
        place = k % sizes.PAGE
    return row.to(tl.int64) * strides[0] + (place.to(tl.int64) * strides[2] + own.kv_head.to(tl.int64) * strides[1])


@triton.jit
def load_cached(X, offset, seen, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """HEAD_DIM columns of keys or values that some row sees, [BLOCK_N, BLOCK_D]; 0 for others, whatever is there."""
    ptrs = X + (offset * 8)[:, None] + tl.arange(0, BLOCK_D)[None, :]
    mask = seen[:, None]
    if HEAD_DIM != BLOCK_D:
        mask = mask & (tl.arange(0, BLOCK_D) < HEAD_DIM)[None, :]
    return tl.load(ptrs, mask=mask, other=0.0)
