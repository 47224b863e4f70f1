"""Device functions: state that the next kernel goes on with, and the sum of what programs left that split a tile."""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.machine.device import LN_2, LOG2_E, tl, triton
from sparsec.kernels.tiles.loads import row_ptrs, tile_mask, tile_ptrs
from sparsec.kernels.tiles.shares import SHARE_COLUMNS, copies_of

JOINED = ["r_b", "r_h", "r_m", "heads", "length", "rows", "splits", "batch_lines", "head_lines", "own", "batches"]


@triton.jit
def store_carry(ptrs, TOPS, x, row_mask, mask):
    """Stores x [rows, columns] for a kernel that goes on with it: in float32, or in float16 as shares of the largest
    number of each row, which is stored too.  The error is at most 2**-12 of that number.
    """
    if ptrs.dtype.element_ty == tl.float32:
        tl.store(ptrs, x, mask=mask)
    else:
        top = tl.minimum(tl.maximum(tl.max(tl.abs(x), 1), 1.0e-30), 1.0e37)  # an inf stays one, in its column alone
        tl.store(TOPS, top, mask=row_mask)
        tl.store(ptrs, (x * (1.0 / top)[:, None]).to(tl.float16), mask=mask)


@triton.jit
def load_carry(ptrs, TOPS, row_mask, mask):
    """What `store_carry` stored; rows outside `row_mask` are 0."""
    x = tl.load(ptrs, mask=mask & row_mask[:, None], other=0.0).to(tl.float32)
    if ptrs.dtype.element_ty != tl.float32:
        x *= tl.load(TOPS, mask=row_mask, other=0.0)[:, None]
    return x


@triton.jit
def store_split(SPLITS, x, slot, HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr):
    """Stores what one program found of a tile that several split: SPLITS is [slots, BLOCK, HEAD_DIM]."""
    ptrs = row_ptrs(SPLITS, slot, BLOCK, 0, 1, HEAD_DIM, BLOCK, BLOCK_D)
    tl.store(ptrs, x, mask=tile_mask(tl.arange(0, BLOCK), BLOCK, HEAD_DIM, BLOCK_D))


class _Joined(NamedTuple):
    """What a program puts together of a tile that programs split."""

    batch: Any
    head: Any
    parts: Any
    slot: Any  # of the first part, and how far apart parts are
    slot_step: Any
    at: Any  # the first row in a slot
    first: Any  # the first row of the result, and where rows end
    end: Any


@triton.jit
def _joined(SHARES, HEADS, heads, length, rows, splits, batch_lines, head_lines, own, batches, BLOCK: tl.constexpr):
    """The rows of a program: of the first `rows` of each head, in slots of as many, or of the tiles that SHARES names,
    in slots of `rows`.  `own`: how many heads a kernel serves; HEADS, where there is one, says which these are.
    """
    at = tl.program_id(0) * BLOCK
    if SHARES is None:
        number, batch, parts = tl.program_id(1), tl.program_id(2), splits
    else:
        copies, head_copies = copies_of(batch_lines, head_lines, own, batches)
        entry, copy = tl.program_id(1) // copies, tl.program_id(1) % copies
        there = entry < tl.load(SHARES + 1)
        row = SHARES + (1 + entry) * SHARE_COLUMNS
        number = tl.load(row + 1, mask=there, other=0) + copy % head_copies
        batch = tl.load(row, mask=there, other=0) + copy // head_copies
        parts = tl.load(row + 4, mask=there, other=0)
    head = number
    if HEADS is not None:
        head = tl.load(HEADS + number)
    if SHARES is None:
        slot, slot_step = batch * heads + head, tl.num_programs(2) * heads
        first, end = at, tl.minimum(rows, length)
    else:
        slot, slot_step = tl.load(row + 5, mask=there, other=0) * copies + copy, copies
        first = tl.load(row + 2, mask=there, other=0) * rows + at
        end = tl.where(there, length, 0)
    return _Joined(batch, head, parts, slot, slot_step, at, first, end)


@triton.jit(do_not_specialize=JOINED)
def reduce_splits(
    SPLITS, OUT, OUT_TOP, HEADS, SHARES, r_b, r_h, r_m, heads, length, rows, splits, batch_lines, head_lines, own,
    batches, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Rows of OUT [B, H, length, D] from SPLITS [slots, rows, D], which are summed in order; rows as in `_joined`.

    OUT_TOP: another kernel goes on with OUT, then contiguous, and with its largest numbers.
    """
    # OUT_TOP may begin anywhere: its rows count lengths, of which nothing is assumed.
    joined = _joined(SHARES, HEADS, heads, length, rows, splits, batch_lines, head_lines, own, batches, BLOCK)
    row = joined.first + tl.arange(0, BLOCK)
    mask = tile_mask(row, joined.end, HEAD_DIM, BLOCK_D)
    total = tl.zeros([BLOCK, BLOCK_D], tl.float32)
    for part in tl.range(0, joined.parts, num_stages=4):
        slot = joined.slot + part * joined.slot_step
        total += tl.load(row_ptrs(SPLITS, slot, rows, joined.at, 1, HEAD_DIM, BLOCK, BLOCK_D), mask=mask, other=0.0)
    _store_joined(total, joined, row, mask, OUT, OUT_TOP, r_b, r_h, r_m, heads, length, HEAD_DIM, BLOCK_D, BLOCK)


@triton.jit(do_not_specialize=JOINED)
def combine_splits(
    SPLITS, SPLITS_LSE, OUT, OUT_TOP, LSE, HEADS, SHARES, r_b, r_h, r_m, heads, length, rows, splits,
    batch_lines, head_lines, own, batches, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The softmaxes in SPLITS [slots, rows, D] as one, in order: rows of OUT [B, H, length, D], as in `_joined`.

    OUT_TOP: as in `reduce_splits`.
    """
    joined = _joined(SHARES, HEADS, heads, length, rows, splits, batch_lines, head_lines, own, batches, BLOCK)
    row = joined.first + tl.arange(0, BLOCK)
    row_mask, mask = row < joined.end, tile_mask(row, joined.end, HEAD_DIM, BLOCK_D)
    m_i = tl.full([BLOCK], -1.0e30, tl.float32)
    l_i = tl.zeros([BLOCK], tl.float32)
    acc = tl.zeros([BLOCK, BLOCK_D], tl.float32)
    for part in tl.range(0, joined.parts, num_stages=4):
        slot = joined.slot + part * joined.slot_step
        lse_at = SPLITS_LSE + (slot.to(tl.int64) * rows + joined.at) + tl.arange(0, BLOCK)
        lse_2 = LOG2_E * tl.load(lse_at, mask=row_mask, other=float("-inf"))
        out = tl.load(row_ptrs(SPLITS, slot, rows, joined.at, 1, HEAD_DIM, BLOCK, BLOCK_D), mask=mask, other=0.0)
        m_new = tl.maximum(m_i, lse_2)
        alpha, weight = tl.exp2(m_i - m_new), tl.exp2(lse_2 - m_new)
        l_i = l_i * alpha + weight
        acc = acc * alpha[:, None] + out * weight[:, None]
        m_i = m_new
    some = l_i > 0
    l_safe = tl.where(some, l_i, 1.0)
    lse = tl.where(some, (m_i + tl.log2(l_safe)) * LN_2, float("-inf"))
    bh = joined.batch * heads + joined.head
    tl.store(LSE + (bh.to(tl.int64) * length + row), lse, mask=row_mask)
    out = acc / l_safe[:, None]
    _store_joined(out, joined, row, mask, OUT, OUT_TOP, r_b, r_h, r_m, heads, length, HEAD_DIM, BLOCK_D, BLOCK)


@triton.jit
def _store_joined(
    x, joined, row, mask, OUT, OUT_TOP, r_b, r_h, r_m, heads, length,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Stores a result, or what the next kernel goes on with."""
    if OUT_TOP is None:
        out_ptrs = tile_ptrs(OUT, r_b, r_h, r_m, joined.batch, joined.head, joined.first, BLOCK, BLOCK_D)
        tl.store(out_ptrs, x.to(OUT.dtype.element_ty), mask=mask)
    else:
        bh = joined.batch * heads + joined.head
        out_ptrs = row_ptrs(OUT, bh, length, joined.first, 1, HEAD_DIM, BLOCK, BLOCK_D)
        store_carry(out_ptrs, OUT_TOP + bh.to(tl.int64) * length + row, x, row < joined.end, mask)
