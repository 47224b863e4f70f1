"""Device functions of the Hopper tier backward: what a group of warps leaves to be stored, or stores itself."""

from __future__ import annotations

from sparsec.kernels.hopper.backward.sequences import is_ragged_tile, store_key_rows, store_query_rows
from sparsec.kernels.hopper.backward.store import SLOT_FULL
from sparsec.kernels.hopper.backward.tiles import ADDS, CLOSES, RAGGED_QUERIES, backward_entry
from sparsec.kernels.machine.gluon import fence_async_shared, gl, gluon, mbarrier, seen_as
from sparsec.kernels.machine.sync import ARRIVE_STORER, named_barrier, says


@gluon.jit
def leave_dq(dq, tile, step, use, DQ, shared, plan, GROUP: gl.constexpr):
    """Leaves a group's half of dq to be stored: what is to be added, or the result where the step closes the sum.

    `use`: of the slot, odd or even.
    """
    COLUMNS: gl.constexpr = dq.shape[1]
    own_slot = shared.slots.index(GROUP)
    entry, head = backward_entry(tile, step, plan)
    said = gl.load(entry + 1)
    mbarrier.wait(shared.slot_empty.index(GROUP), use ^ 1)
    if says(said, CLOSES):
        mbarrier.wait(shared.sum_full.index(GROUP), use)
        total = _as_runs(dq)
        total = (total + gl.where(says(said, ADDS), own_slot.load(total.type.layout), 0.0)) * plan.work.scale
        rows = _from_runs(total, dq)
        if plan.sizes.PACKED and says(said, RAGGED_QUERIES):
            store_query_rows(rows, entry, head, tile, plan, GROUP)
        else:
            result = seen_as(own_slot, DQ.dtype, DQ.block_type.shape, DQ.layout).reshape([dq.shape[0], COLUMNS])
            result.store(rows.to(DQ.dtype))
    else:
        own_slot.store(_as_runs(dq))
    fence_async_shared()
    named_barrier(SLOT_FULL + GROUP, ARRIVE_STORER)


@gluon.jit
def leave_keys(x, use, DK, ROWS, tile, shared, plan, GROUP: gl.constexpr):
    """Leaves a group's rows of dv or dk to be stored; of a tile with rows of other sequences stores its own in ROWS."""
    mbarrier.wait(shared.slot_empty.index(GROUP), use ^ 1)
    if plan.sizes.PACKED and is_ragged_tile(tile, plan):
        store_key_rows(x, ROWS, tile, plan, GROUP * (plan.sizes.KEYS // 2))
    else:
        rows = seen_as(shared.slots.index(GROUP), DK.dtype, DK.block_type.shape, DK.layout)
        rows.reshape([x.shape[0], x.shape[1]]).store(x.to(DK.dtype))
    fence_async_shared()
    named_barrier(SLOT_FULL + GROUP, ARRIVE_STORER)


@gluon.jit
def store_part_of_keys(x, PARTS, tile, plan, GROUP: gl.constexpr):
    """Stores a group's rows of what a program found that has a part of a tile."""
    HEAD_DIM: gl.constexpr = plan.sizes.HEAD_DIM
    row = tile.number * plan.sizes.KEYS + GROUP * x.shape[0]
    row += gl.arange(0, x.shape[0], gl.SliceLayout(1, x.type.layout))
    column = gl.arange(0, x.shape[1], gl.SliceLayout(0, x.type.layout))
    head = tile.part * plan.work.rows + tile.batch * plan.work.kv_heads + tile.kv_head
    ptrs = PARTS + head.to(gl.int64) * plan.work.part_rows * HEAD_DIM + (row * HEAD_DIM)[:, None] + column[None, :]
    gl.store(ptrs, x, mask=(column < HEAD_DIM)[None, :] & (row >= 0)[:, None])


@gluon.jit
def _as_runs(x):
    """A half of dq [64, columns] as [2 * columns, 32], of which each thread has runs of 16 bytes; nothing is moved."""
    EIGHTS: gl.constexpr = x.shape[1] // 8
    runs = gl.permute(gl.reshape(x, [4, 2, 8, EIGHTS, 4, 2]), (0, 3, 2, 4, 1, 5))
    return gl.reshape(runs, [EIGHTS * 16, 32])


@gluon.jit
def _from_runs(x, like):
    """The inverse of `_as_runs`, in the shape and layout of `like`."""
    EIGHTS: gl.constexpr = like.shape[1] // 8
    rows = gl.permute(gl.reshape(x, [4, EIGHTS, 8, 4, 2, 2]), (0, 4, 2, 1, 3, 5))
    return gl.convert_layout(gl.reshape(rows, [64, EIGHTS * 8]), like.type.layout, assert_trivial=True)
