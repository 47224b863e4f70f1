"""Device functions: state that the next kernel goes on with, and the sum of what programs left that split a tile."""

from __future__ import annotations

from sparsec.kernels.device import LN_2, LOG2_E, tl, triton
from sparsec.kernels.loads import row_ptrs, tile_mask, tile_ptrs


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
def store_split(SPLITS, x, split_bh, rows, place, row, sizes, BLOCK: tl.constexpr):
    """Stores what one program found of the tile that begins at `place`: rows `row` of SPLITS [.., rows, HEAD_DIM]."""
    ptrs = row_ptrs(SPLITS, split_bh, rows, place, 1, sizes.HEAD_DIM, BLOCK, sizes.BLOCK_D)
    tl.store(ptrs, x, mask=tile_mask(row, rows, sizes.HEAD_DIM, sizes.BLOCK_D))


@triton.jit(do_not_specialize=["r_b", "r_h", "r_m", "heads", "length", "rows", "splits"])
def reduce_splits(
    SPLITS, OUT, OUT_TOP, HEADS, r_b, r_h, r_m, heads, length, rows, splits,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr, LISTED: tl.constexpr, CARRY: tl.constexpr,
):  # fmt: skip
    """The first `rows` rows of each head of OUT [B, H, length, D], from SPLITS [splits, B * H, rows, D].

    CARRY: another kernel goes on with OUT, then contiguous, and its largest numbers OUT_TOP.  LISTED: HEADS says which
    heads.
    """
    # OUT_TOP may begin anywhere: its rows count lengths, of which nothing is assumed.
    head = tl.load(HEADS + tl.program_id(1)) if LISTED else tl.program_id(1)
    batch = tl.program_id(2)
    bh, n_bh = batch * heads + head, tl.num_programs(2) * heads
    first = tl.program_id(0) * BLOCK
    row = first + tl.arange(0, BLOCK)
    mask = tile_mask(row, tl.minimum(rows, length), HEAD_DIM, BLOCK_D)
    total = tl.zeros([BLOCK, BLOCK_D], tl.float32)
    for part in range(splits):
        ptrs = row_ptrs(SPLITS, part * n_bh + bh, rows, first, 1, HEAD_DIM, BLOCK, BLOCK_D)
        total += tl.load(ptrs, mask=mask, other=0.0)
    if CARRY:
        out_ptrs = row_ptrs(OUT, bh, length, first, 1, HEAD_DIM, BLOCK, BLOCK_D)
        store_carry(out_ptrs, OUT_TOP + bh.to(tl.int64) * length + row, total, row < tl.minimum(rows, length), mask)
    else:
        out_ptrs = tile_ptrs(OUT, r_b, r_h, r_m, batch, head, first, BLOCK, BLOCK_D)
        tl.store(out_ptrs, total.to(OUT.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["r_b", "r_h", "r_m", "heads", "n_q", "rows", "splits"])
def combine_splits(
    SPLITS, SPLITS_LSE, OUT, OUT_TOP, LSE, HEADS, r_b, r_h, r_m, heads, n_q, rows, splits,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr, LISTED: tl.constexpr, CARRY: tl.constexpr,
):  # fmt: skip
    """The softmaxes in SPLITS [splits, B * H, rows, D] as one: the first `rows` rows of OUT [B, H, n_q, D].

    CARRY, LISTED: as in `reduce_splits`.
    """
    head = tl.load(HEADS + tl.program_id(1)) if LISTED else tl.program_id(1)
    batch = tl.program_id(2)
    bh, n_bh = batch * heads + head, tl.num_programs(2) * heads
    first = tl.program_id(0) * BLOCK
    row = first + tl.arange(0, BLOCK)
    row_mask = row < tl.minimum(rows, n_q)
    mask = tile_mask(row, tl.minimum(rows, n_q), HEAD_DIM, BLOCK_D)
    m_i = tl.full([BLOCK], -1.0e30, tl.float32)
    l_i = tl.zeros([BLOCK], tl.float32)
    acc = tl.zeros([BLOCK, BLOCK_D], tl.float32)
    for part in range(splits):
        split_bh = part * n_bh + bh
        lse_2 = LOG2_E * tl.load(SPLITS_LSE + split_bh.to(tl.int64) * rows + row, mask=row_mask, other=float("-inf"))
        out = tl.load(row_ptrs(SPLITS, split_bh, rows, first, 1, HEAD_DIM, BLOCK, BLOCK_D), mask=mask, other=0.0)
        m_new = tl.maximum(m_i, lse_2)
        alpha, weight = tl.exp2(m_i - m_new), tl.exp2(lse_2 - m_new)
        l_i = l_i * alpha + weight
        acc = acc * alpha[:, None] + out * weight[:, None]
        m_i = m_new
    some = l_i > 0
    l_safe = tl.where(some, l_i, 1.0)
    lse = tl.where(some, (m_i + tl.log2(l_safe)) * LN_2, float("-inf"))
    out_row = bh.to(tl.int64) * n_q + row
    tl.store(LSE + out_row, lse, mask=row_mask)
    out = acc / l_safe[:, None]
    if CARRY:
        out_ptrs = row_ptrs(OUT, bh, n_q, first, 1, HEAD_DIM, BLOCK, BLOCK_D)
        store_carry(out_ptrs, OUT_TOP + out_row, out, row_mask, mask)
    else:
        out_ptrs = tile_ptrs(OUT, r_b, r_h, r_m, batch, head, first, BLOCK, BLOCK_D)
        tl.store(out_ptrs, out.to(OUT.dtype.element_ty), mask=mask)
