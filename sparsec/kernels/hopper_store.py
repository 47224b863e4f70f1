"""Device functions of the Hopper tier: what a group of warps stores of a tile."""

from __future__ import annotations

from sparsec.kernels.device import LN_2
from sparsec.kernels.hopper import fence_async_shared, gl, gluon, store_box, store_wait


@gluon.jit
def hopper_store(acc, m_i, l_i, results, out_s, tile, plan, FIRST_ROW: gl.constexpr):
    """Out and log-sum-exp of a group's rows, or its share of them; `results`: OUT, LSE, SPLITS and SPLITS_LSE."""
    OUT, LSE, SPLITS, SPLITS_LSE = results
    l_i = gl.convert_layout(gl.sum(l_i, 1), m_i.type.layout)
    some = l_i > 0
    l_safe = gl.where(some, l_i, 1.0)
    lse = gl.where(some, (m_i + gl.log2(l_safe)) * LN_2, float("-inf"))
    out = acc * (1.0 / l_safe)[:, None]
    place = tile.number * plan.sizes.BLOCK_M + FIRST_ROW
    row = place + gl.arange(0, plan.sizes.ROWS, m_i.type.layout)
    bh = tile.batch * plan.work.heads + tile.head
    if SPLITS is None:
        _store_rows(out, lse, out_s, OUT, LSE, bh, row, place, tile, plan)
    elif tile.split:
        _store_share(out, lse, SPLITS, SPLITS_LSE, bh, row, tile, plan)
    else:
        _store_rows(out, lse, out_s, OUT, LSE, bh, row, place, tile, plan)


@gluon.jit
def _store_rows(out, lse, out_s, OUT, LSE, bh, row, place, tile, plan):
    n_q = plan.work.n_q
    gl.store(LSE + bh.to(gl.int64) * n_q + row, lse, mask=row < n_q)
    store_wait(0)  # shared memory may be written again
    out_s.reshape([out.shape[0], out.shape[1]]).store(out.to(out_s.dtype))
    fence_async_shared()
    store_box(OUT, [tile.batch, tile.head, place, 0], out_s)


@gluon.jit
def _store_share(out, lse, SPLITS, SPLITS_LSE, bh, row, tile, plan):
    """What one of several programs found, for `combine_splits`: [parts, B, H, rows, D]."""
    HEAD_DIM: gl.constexpr = plan.sizes.HEAD_DIM
    COLUMNS: gl.constexpr = plan.sizes.BLOCK_D
    rows = plan.work.split_tiles * plan.sizes.BLOCK_M
    first = (tile.part * plan.work.heads * plan.work.batches + bh).to(gl.int64) * rows
    gl.store(SPLITS_LSE + first + row, lse)
    column = gl.arange(0, COLUMNS, gl.SliceLayout(0, out.type.layout))
    ptrs = SPLITS + first * HEAD_DIM + (row * HEAD_DIM)[:, None] + column[None, :]
    gl.store(ptrs, out, mask=(column < HEAD_DIM)[None, :] & (row < rows)[:, None])
