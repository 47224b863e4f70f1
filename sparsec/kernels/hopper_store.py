"""Device functions of the Hopper tier: what a group of warps stores of a tile."""

from __future__ import annotations

from sparsec.kernels.device import LN_2
from sparsec.kernels.hopper import fence_async_shared, gl, gluon, store_box, store_wait
from sparsec.kernels.hopper_tiles import TILE_BATCH, TILE_HEAD, TILE_NUMBER, TILE_PART, TILE_SINK, tile_word


@gluon.jit
def hopper_store_sums(m_i, l_i, turn, results, shared, plan, GROUP: gl.constexpr):
    """Log-sum-exp of a group's rows of the tile of a turn; leaves in shared memory what their sums are multiplied with.

    `results`: OUT, LSE, SPLITS and SPLITS_LSE, the last two where programs split tiles.
    """
    _, LSE, _, SPLITS_LSE = results
    l_i, share = gl.convert_layout(gl.sum(l_i, 1), m_i.type.layout), 1.0
    if plan.work.SINKS is not None:
        sink = tile_word(shared, turn, TILE_SINK).to(gl.float32, bitcast=True)
        top = gl.maximum(m_i, sink)
        share = gl.exp2(m_i - top)
        m_i, l_i = top, l_i * share + gl.exp2(sink - top)
    some = l_i != 0  # not a number stays one
    l_safe = gl.where(some, l_i, 1.0)
    lse = gl.where(some, (m_i + gl.log2(l_safe)) * LN_2, float("-inf"))
    shared.factors.index(2 * (turn & 1) + GROUP).store(share / l_safe)
    row, bh, part = _rows_of_tile(turn, shared, plan, GROUP)
    if SPLITS_LSE is not None:
        gl.store(SPLITS_LSE + _first_of_share(bh, part, plan) + row, lse, mask=(row >= 0) & (part >= 0))
    n_q = plan.work.n_q
    gl.store(LSE + bh.to(gl.int64) * n_q + row, lse, mask=(row < n_q) & (part < 0))


@gluon.jit
def hopper_store(acc, turn, results, shared, plan, GROUP: gl.constexpr):
    """Results of a group's rows of that tile, or its share of them."""
    OUT, _, SPLITS, _ = results
    factors = shared.factors.index(2 * (turn & 1) + GROUP).load(gl.SliceLayout(1, plan.sizes.OUT))
    out = acc * factors[:, None]
    row, bh, part = _rows_of_tile(turn, shared, plan, GROUP)
    if SPLITS is not None and part >= 0:
        HEAD_DIM: gl.constexpr = plan.sizes.HEAD_DIM
        column = gl.arange(0, plan.sizes.BLOCK_D, gl.SliceLayout(0, out.type.layout))
        first = _first_of_share(bh, part, plan)
        ptrs = SPLITS + first * HEAD_DIM + (row * HEAD_DIM)[:, None] + column[None, :]
        gl.store(ptrs, out, mask=(column < HEAD_DIM)[None, :] & (row >= 0)[:, None])
    else:
        own = shared.out.index(GROUP)
        store_wait(0)  # shared memory may be written again
        own.reshape([out.shape[0], out.shape[1]]).store(out.to(own.dtype))
        fence_async_shared()
        place = tile_word(shared, turn, TILE_NUMBER) * plan.sizes.BLOCK_M + GROUP * plan.sizes.ROWS
        store_box(OUT, [tile_word(shared, turn, TILE_BATCH), tile_word(shared, turn, TILE_HEAD), place, 0], own)


@gluon.jit
def _rows_of_tile(turn, shared, plan, GROUP: gl.constexpr):
    """A group's rows of the tile of a turn, the row of all heads, and which share it is; -1: it is the whole."""
    row = tile_word(shared, turn, TILE_NUMBER) * plan.sizes.BLOCK_M + GROUP * plan.sizes.ROWS
    bh = tile_word(shared, turn, TILE_BATCH) * plan.work.heads + tile_word(shared, turn, TILE_HEAD)
    part = -1
    if plan.sizes.SPLIT:
        part = tile_word(shared, turn, TILE_PART)
    return row + gl.arange(0, plan.sizes.ROWS, gl.SliceLayout(1, plan.sizes.OUT)), bh, gl.to_tensor(part)


@gluon.jit
def _first_of_share(bh, part, plan):
    """Where a share begins of what several programs find, for `combine_splits`: [parts, B, H, rows]."""
    rows = plan.work.split_tiles * plan.sizes.BLOCK_M
    return (part * plan.work.heads * plan.work.batches + bh).to(gl.int64) * rows
