"""Device functions of the Hopper tier: what a group of warps stores of a tile."""

from __future__ import annotations

from sparsec.kernels.hopper.forward.softmax import NO_MAXIMUM
from sparsec.kernels.hopper.forward.tiles import (
    TILE_BATCH,
    TILE_HEAD,
    TILE_PART,
    TILE_ROWS,
    TILE_SINK,
    row_of_group,
    tile_word,
)
from sparsec.kernels.machine.device import LN_2
from sparsec.kernels.machine.gluon import fence_async_shared, gl, gluon, store_box, store_wait


@gluon.jit
def hopper_store_sums(m_i, l_i, turn, results, shared, plan, GROUP: gl.constexpr):
    """Log-sum-exp of a group's rows of the tile of a turn; leaves in shared memory factors of their sums."""
    l_i, share = gl.convert_layout(gl.sum(l_i, 1), m_i.type.layout), 1.0
    if plan.work.SINKS is not None:
        sink = tile_word(shared, turn, plan, TILE_SINK).to(gl.float32, bitcast=True)
        if plan.sizes.TWIN and GROUP == 1:  # the first group of a share has it
            sink = gl.where(tile_word(shared, turn, plan, TILE_PART) < 0, sink, float("-inf"))
        if plan.rules.WEIGHT is not None:
            m_i = gl.where(l_i == 0, NO_MAXIMUM, m_i)  # of a row without a pair the sink is all there is
        top = gl.maximum(m_i, sink)
        share = gl.exp2(m_i - top)
        m_i, l_i = top, l_i * share + gl.exp2(sink - top)
    some = l_i != 0  # not a number stays one
    l_safe = gl.where(some, l_i, 1.0)
    lse = gl.where(some, (m_i + gl.log2(l_safe)) * LN_2, float("-inf"))
    if plan.dropping.STREAMS is not None:
        l_safe *= plan.dropping.kept_share
    shared.factors.index(plan.sizes.GROUPS * (turn & 1) + GROUP).store(share / l_safe)
    row, bh, part = _rows_of_tile(turn, shared, plan, GROUP)
    if results.SPLITS_LSE is not None:
        gl.store(results.SPLITS_LSE + _first_of_share(bh, part, plan) + row, lse, mask=(row >= 0) & (part >= 0))
    there = _is_there(row, turn, shared, plan, GROUP)
    gl.store(results.LSE + bh.to(gl.int64) * plan.work.n_q + row, lse, mask=there & (part < 0))


@gluon.jit
def hopper_store(acc, turn, results, shared, plan, GROUP: gl.constexpr):
    """Results of a group's rows of that tile, or its share of them."""
    hopper_store_from(acc, turn, shared.out.index(GROUP), results, shared, plan, GROUP)


@gluon.jit
def hopper_store_from(acc, turn, own, results, shared, plan, GROUP: gl.constexpr):
    """The same, with room for them in shared memory."""
    factors = shared.factors.index(plan.sizes.GROUPS * (turn & 1) + GROUP).load(gl.SliceLayout(1, plan.sizes.OUT))
    out = acc * factors[:, None]
    row, bh, part = _rows_of_tile(turn, shared, plan, GROUP)
    if results.OUT_TOP is not None:  # for a kernel that goes on with it: as `store_carry`
        top = gl.minimum(gl.maximum(gl.max(gl.abs(out), 1), 1.0e-30), 1.0e37)
        gl.store(results.OUT_TOP + bh.to(gl.int64) * plan.work.n_q + row, top, mask=row < plan.work.n_q)
        out *= (1.0 / top)[:, None]
    if results.SPLITS is not None and part >= 0:
        HEAD_DIM: gl.constexpr = plan.sizes.HEAD_DIM
        column = gl.arange(0, plan.sizes.BLOCK_D, gl.SliceLayout(0, out.type.layout))
        first = _first_of_share(bh, part, plan)
        ptrs = results.SPLITS + first * HEAD_DIM + (row * HEAD_DIM)[:, None] + column[None, :]
        gl.store(ptrs, out, mask=(column < HEAD_DIM)[None, :] & (row >= 0)[:, None])
    elif plan.sizes.SLOTS == 1 or (plan.sizes.PACKED and _rows_there(turn, shared, plan, GROUP) < plan.sizes.ROWS):
        _store_rows(out, row, turn, results, shared, plan, GROUP)
    else:
        store_wait(0)  # shared memory may be written again
        own.reshape([out.shape[0], out.shape[1]]).store(out.to(own.dtype))
        fence_async_shared()
        batch, head = tile_word(shared, turn, plan, TILE_BATCH), tile_word(shared, turn, plan, TILE_HEAD)
        store_box(results.OUT, [batch, head, row_of_group(shared, turn, plan, GROUP), 0], own)


@gluon.jit
def _store_rows(out, row, turn, results, shared, plan, GROUP: gl.constexpr):
    """Stores the rows that there are."""
    column = gl.arange(0, plan.sizes.BLOCK_D, gl.SliceLayout(0, out.type.layout))
    batch, head = tile_word(shared, turn, plan, TILE_BATCH), tile_word(shared, turn, plan, TILE_HEAD)
    first = 8 * (batch.to(gl.int64) * results.r_b + head.to(gl.int64) * results.r_h)
    ptrs = results.OUT_ROWS + first + (8 * row.to(gl.int64) * results.r_m)[:, None] + column[None, :]
    there = _is_there(row, turn, shared, plan, GROUP)
    gl.store(ptrs, out.to(results.OUT.dtype), mask=there[:, None] & (column < plan.sizes.HEAD_DIM)[None, :])


@gluon.jit
def _rows_there(turn, shared, plan, GROUP: gl.constexpr):
    """How many rows of a group there are in the tile of a turn."""
    return tile_word(shared, turn, plan, TILE_ROWS) - GROUP * plan.sizes.ROWS


@gluon.jit
def _is_there(row, turn, shared, plan, GROUP: gl.constexpr):
    """Which rows there are: those of Q that belong to the sequence."""
    end = plan.work.n_q
    if plan.sizes.PACKED:
        end = row_of_group(shared, turn, plan, GROUP) + _rows_there(turn, shared, plan, GROUP)
    return row < end


@gluon.jit
def _rows_of_tile(turn, shared, plan, GROUP: gl.constexpr):
    """A group's rows of the tile of a turn, the row of all heads, and which share it is; -1: it is the whole."""
    row = row_of_group(shared, turn, plan, GROUP)
    bh = tile_word(shared, turn, plan, TILE_BATCH) * plan.work.heads + tile_word(shared, turn, plan, TILE_HEAD)
    part = -1
    if plan.sizes.SPLIT:
        part = tile_word(shared, turn, plan, TILE_PART)
        if plan.sizes.TWIN:
            part = gl.where(part < 0, part, 2 * part + GROUP)
    return row + gl.arange(0, plan.sizes.ROWS, gl.SliceLayout(1, plan.sizes.OUT)), bh, gl.to_tensor(part)


@gluon.jit
def _first_of_share(bh, part, plan):
    """Where a share begins of what several programs find, for `combine_splits`: [parts, B, H, rows]."""
    rows = plan.work.split_tiles * (plan.sizes.ROWS if plan.sizes.TWIN else plan.sizes.BLOCK_M)
    return (part * plan.work.heads * plan.work.batches + bh).to(gl.int64) * rows
