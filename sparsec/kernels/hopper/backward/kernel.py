"""The backward kernel of the Hopper tier: gradients of q, k and v in five products a step.

Two groups of four warps have half of the keys of a tile each, one warp loads and two store.  A group sums its rows of
dk and dv in registers.  Of dq each forms half of the columns, or of the rows where a tile has 128 queries, over all
keys of the tile, from what both groups leave in shared memory, one step late, so that they need not wait for one
another.
"""

from __future__ import annotations

from sparsec.kernels.hopper.backward.leave import leave_dq, leave_keys, store_part_of_keys
from sparsec.kernels.hopper.backward.load import hopper_backward_load
from sparsec.kernels.hopper.backward.plan import BackwardPlan, BackwardShared, BackwardSizes, BackwardWork
from sparsec.kernels.hopper.backward.sequences import clear_keys, clear_queries, is_ragged_tile
from sparsec.kernels.hopper.backward.store import hopper_backward_store
from sparsec.kernels.hopper.backward.tiles import (
    RAGGED_QUERIES,
    WHOLE_PART,
    backward_entry,
    backward_numbers,
    backward_tile,
    taken_backward_tile,
)
from sparsec.kernels.hopper.backward.weights import gradients_of_scores, numbers_of_queries, step_weights
from sparsec.kernels.machine.device import RUN_TIME, kernel_name
from sparsec.kernels.machine.gluon import (
    fence_async_shared,
    gl,
    gluon,
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_init,
    warpgroup_mma_wait,
)
from sparsec.kernels.machine.sync import ARRIVE_ALL, ARRIVE_GROUPS, MEET_GROUPS, STAGE_EMPTY, named_barrier, says
from sparsec.kernels.tiles.regions import Rules

_DQ_ROWS = gl.constexpr(64)  # that a group has of a tile of dq
_DS_THERE = gl.constexpr(6)  # the first of the named barriers at which a group says that its part of ds is there


@gluon.jit(
    do_not_specialize=[*RUN_TIME, "kv_heads", "rows", "together", "query_tiles", "sums", "tiles", "part_rows"],
    repr=kernel_name,
)
def hopper_backward_kernel(
    Q, K, V, DO, STATS, SUMS, DQ, DK, DV, TILES, RANGES, STEPS, TICKETS, VISITS, DK_PARTS, DV_PARTS,
    DQ_ROWS, DK_ROWS, DV_ROWS, q_b, q_h, q_m, k_b, k_h, k_n,
    heads, kv_heads, rows, together, n, q_offset, query_tiles, sums, tiles, part_rows, scale, scale_log2, drop_below,
    NAME: gl.constexpr, KEEP: gl.constexpr, NUMBERS: gl.constexpr, SCORE: gl.constexpr, SCORE_GRADIENT: gl.constexpr,
    NEAR: gl.constexpr, EXPONENT_AND_SLOPE: gl.constexpr,
    GROUP: gl.constexpr, QUERIES: gl.constexpr, KEYS: gl.constexpr, HEAD_DIM: gl.constexpr, BLOCK_D: gl.constexpr,
    STAGES: gl.constexpr, BACKWARDS: gl.constexpr, ORDERED: gl.constexpr,
):  # fmt: skip
    """Tiles of keys against the queries that visit them.

    STATS [tiles of queries, 2 or 3, ..], SUMS [tiles of queries, 2, ..] of all heads: numbers of queries, and dq half
    by half in the order of registers.  KEEP None: every pair is kept.  RANGES: of tiles of several sequences.
    drop_below: as of `Dropping`, None: nothing is dropped.
    """
    BY_ROWS: gl.constexpr = QUERIES == 128
    _hopper_backward(
        Q, K, V, DO, STATS, SUMS, DQ, DK, DV,
        BackwardPlan(
            BackwardWork(
                TILES, RANGES, STEPS, TICKETS, VISITS, DK_PARTS, DV_PARTS,
                DQ_ROWS, DK_ROWS, DV_ROWS, q_b, q_h, q_m, k_b, k_h, k_n, part_rows,
                heads, kv_heads, rows, together, n, q_offset, query_tiles, sums, tiles, scale, scale_log2, drop_below,
            ),
            Rules(
                KEEP, None, None, NUMBERS, None, None, None, False, False, SCORE, SCORE_GRADIENT, False, NEAR,
                None, None, EXPONENT_AND_SLOPE,
            ),
            BackwardSizes(
                GROUP, QUERIES, 2 if drop_below is None else 3, STATS.block_type.shape[0], KEYS,
                BLOCK_D if BY_ROWS else BLOCK_D // 2, 64 if BY_ROWS else 0, 0 if BY_ROWS else BLOCK_D // 2,
                QUERIES * BLOCK_D // 64, HEAD_DIM, BLOCK_D, STAGES, RANGES is not None, BACKWARDS,
                ORDERED,
            ),
        ),
    )  # fmt: skip


@gluon.jit
def _hopper_backward(Q, K, V, DO, STATS, SUMS, DQ, DK, DV, plan):
    """Shared memory, and what the groups of warps do."""
    dtype: gl.constexpr = Q.dtype
    queries: gl.constexpr = plan.sizes.QUERIES
    keys: gl.constexpr = plan.sizes.KEYS
    size: gl.constexpr = plan.sizes.BLOCK_D
    stages: gl.constexpr = plan.sizes.STAGES
    BARRIER: gl.constexpr = mbarrier.MBarrierLayout()
    at_once: gl.constexpr = plan.sizes.STATS_AT_ONCE
    copies: gl.constexpr = plan.sizes.STATS * queries // at_once
    shared = BackwardShared(
        gl.allocate_shared_memory(dtype, [1, 1, 1, keys, size], K.layout),
        gl.allocate_shared_memory(dtype, [1, 1, 1, keys, size], V.layout),
        gl.allocate_shared_memory(dtype, [stages, 1, 1, queries, size], Q.layout),
        gl.allocate_shared_memory(dtype, [stages, 1, 1, queries, size], DO.layout),
        gl.allocate_shared_memory(gl.float32, [stages * copies, at_once], STATS.layout),
        gl.allocate_shared_memory(dtype, [2, keys, queries], gl.NVMMASharedLayout(128, 16, 2)),
        gl.allocate_shared_memory(gl.float32, [2, plan.sizes.LINES, 32], SUMS.layout),
        gl.allocate_shared_memory(gl.int64, [1], BARRIER),
        gl.allocate_shared_memory(gl.int64, [1], BARRIER),
        gl.allocate_shared_memory(gl.int64, [stages, 1], BARRIER),
        gl.allocate_shared_memory(gl.int64, [2, 1], BARRIER),
        gl.allocate_shared_memory(gl.int64, [2, 1], BARRIER),
        gl.allocate_shared_memory(gl.int32, [2, 1], gl.SwizzledSharedLayout(1, 1, 1, [0])),
        gl.allocate_shared_memory(gl.int64, [2, 1], BARRIER),
        gl.allocate_shared_memory(gl.int64, [2, 1], BARRIER),
    )
    mbarrier.init(shared.kv_full, count=1)
    mbarrier.init(shared.kv_empty, count=2)
    for stage in gl.static_range(stages):
        mbarrier.init(shared.full.index(stage), count=1)
    for slot in gl.static_range(2):
        mbarrier.init(shared.slot_empty.index(slot), count=1)
        mbarrier.init(shared.sum_full.index(slot), count=1)
        mbarrier.init(shared.ticket_full.index(slot), count=1)
        mbarrier.init(shared.ticket_empty.index(slot), count=4)
    fence_async_shared()
    gl.warp_specialize([
        (_hopper_backward_group, (0, DQ, DK, shared, plan)),
        (_hopper_backward_group, (1, DQ, DK, shared, plan)),
        (hopper_backward_load, (Q, DO, K, V, STATS, shared, plan)),
        (hopper_backward_store, (0, SUMS, DQ, DK, DV, shared, plan)),
        (hopper_backward_store, (1, SUMS, DQ, DK, DV, shared, plan)),
    ], [4, 1, 1, 1], [240, 24, 24, 24])  # fmt: skip


@gluon.jit
def _hopper_backward_group(GROUP: gl.constexpr, DQ, DK, shared, plan):
    """What a group of warps does: its keys of every tile of its program."""
    HALF: gl.constexpr = plan.sizes.KEYS // 2
    SIZE: gl.constexpr = plan.sizes.BLOCK_D
    STAGES: gl.constexpr = plan.sizes.STAGES
    SCORES: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 64, 16])
    GRADIENT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, SIZE, 16])
    COLUMNS: gl.constexpr = plan.sizes.HALF_COLUMNS
    QUERY: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, COLUMNS, 16])
    FIRST_ROW: gl.constexpr = GROUP * plan.sizes.SECOND_ROW
    FIRST_COLUMN: gl.constexpr = GROUP * plan.sizes.SECOND_COLUMN
    WEIGHTS: gl.constexpr = gl.DotOperandLayout(0, GRADIENT, 2)
    COLUMN: gl.constexpr = gl.SliceLayout(0, SCORES)
    count, stage, phase = 0, 0, 0  # steps so far; their stage and its phase: to divide would take registers
    turn, number = 0, taken_backward_tile(0, shared, 4)
    numbers = backward_numbers(plan)
    while number < numbers:
        tile = backward_tile(number, plan)
        steps = tile.steps * plan.sizes.GROUP
        dk = warpgroup_mma_init(gl.zeros([HALF, SIZE], gl.float32, GRADIENT))
        dv = warpgroup_mma_init(gl.zeros([HALF, SIZE], gl.float32, GRADIENT))
        mbarrier.wait(shared.kv_full, turn & 1)
        if plan.sizes.PACKED and is_ragged_tile(tile, plan):
            k_tile = shared.k.index(0).reshape([plan.sizes.KEYS, SIZE])
            clear_keys(k_tile, shared.v.index(0).reshape([plan.sizes.KEYS, SIZE]), tile, plan)
        if plan.sizes.QUERIES == 64:
            lse = _awaited_lse(shared, stage, phase, True, plan, COLUMN)
        for step in range(steps):
            # The index 0, which the compiler does not know: else it makes all descriptors of k and v before the loop,
            # and spills what it can't hold.
            first = count >> 31
            k_tile = shared.k.index(first).reshape([plan.sizes.KEYS, SIZE])
            v_tile = shared.v.index(first).reshape([plan.sizes.KEYS, SIZE])
            k, v = k_tile.slice(GROUP * HALF, HALF, 0), v_tile.slice(GROUP * HALF, HALF, 0)
            k_columns = k_tile.slice(FIRST_COLUMN, COLUMNS, 1)
            entry, head = backward_entry(tile, step, plan)
            said = gl.load(entry + 1)
            whole = says(said, WHOLE_PART << GROUP)
            q = shared.q.index(stage).reshape([plan.sizes.QUERIES, SIZE])
            do = shared.do.index(stage).reshape([plan.sizes.QUERIES, SIZE])
            if plan.sizes.QUERIES != 64:
                mbarrier.wait(shared.full.index(stage), phase)
            if plan.sizes.PACKED and says(said, RAGGED_QUERIES):
                clear_queries(q, do, entry, tile, plan)
            if plan.sizes.QUERIES == 64:
                zeros = gl.zeros([HALF, plan.sizes.QUERIES], gl.float32, SCORES)
                s = warpgroup_mma(k, q.permute((1, 0)), zeros, use_acc=False, is_async=True)
                dp = warpgroup_mma(v, do.permute((1, 0)), zeros, use_acc=False, is_async=True)
                s = warpgroup_mma_wait(1, deps=[s])
                p, sloped = step_weights(s, lse, stage, whole, tile, entry, head, shared, plan, GROUP * HALF, 0)
                dv = warpgroup_mma(gl.convert_layout(p.to(q.dtype), WEIGHTS), do, dv, is_async=True)
                delta = numbers_of_queries(shared, stage, 1, 0, plan, COLUMN)
                dp = warpgroup_mma_wait(1, deps=[dp])
                ds = gradients_of_scores(sloped, dp, delta, stage, tile, shared, plan, GROUP * HALF, 0).to(q.dtype)
                now = count & 1
                if step > 0:  # the other group's part of the step before; by then it has read what is overwritten now
                    named_barrier(_DS_THERE + (1 - GROUP) * 2 + 1 - now, MEET_GROUPS)
                shared.ds.index(now).slice(GROUP * HALF, HALF, 0).store(ds)
                fence_async_shared()
                # dq of the step before, of no meaning in the first step, and behind it dk of this one
                empty = gl.zeros([_DQ_ROWS, COLUMNS], gl.float32, QUERY)
                ds_before = shared.ds.index(1 - now).slice(FIRST_ROW, _DQ_ROWS, 1)
                dq = warpgroup_mma(ds_before.permute((1, 0)), k_columns, empty, use_acc=False, is_async=True)
                dk = warpgroup_mma(gl.convert_layout(ds, WEIGHTS), q, dk, is_async=True)
                dq = warpgroup_mma_wait(1, deps=[dq])
                named_barrier(_DS_THERE + GROUP * 2 + now, ARRIVE_GROUPS)
                if step > 0:
                    leave_dq(dq, tile, step - 1, 1 - now, DQ, shared, plan, GROUP)
            else:
                now = count & 1
                zeros = gl.zeros([HALF, 64], gl.float32, SCORES)
                q_0, q_1, do_0, do_1 = q.slice(0, 64, 0), q.slice(64, 64, 0), do.slice(0, 64, 0), do.slice(64, 64, 0)
                s_0 = warpgroup_mma(k, q_0.permute((1, 0)), zeros, use_acc=False, is_async=True)
                dp_0 = warpgroup_mma(v, do_0.permute((1, 0)), zeros, use_acc=False, is_async=True)
                s_1 = warpgroup_mma(k, q_1.permute((1, 0)), zeros, use_acc=False, is_async=True)
                dp_1 = warpgroup_mma(v, do_1.permute((1, 0)), zeros, use_acc=False, is_async=True)
                s_0 = warpgroup_mma_wait(3, deps=[s_0])
                lse_0 = numbers_of_queries(shared, stage, 0, 0, plan, COLUMN)
                p_0, sloped_0 = step_weights(s_0, lse_0, stage, whole, tile, entry, head, shared, plan, GROUP * HALF, 0)
                dv = warpgroup_mma(gl.convert_layout(p_0.to(q.dtype), WEIGHTS), do_0, dv, is_async=True)
                delta_0 = numbers_of_queries(shared, stage, 1, 0, plan, COLUMN)
                dp_0 = warpgroup_mma_wait(3, deps=[dp_0])
                ds_0 = gradients_of_scores(sloped_0, dp_0, delta_0, stage, tile, shared, plan, GROUP * HALF, 0).to(
                    q.dtype
                )
                if step > 0:
                    named_barrier(_DS_THERE + (1 - GROUP) * 2 + 1 - now, MEET_GROUPS)
                own_ds = shared.ds.index(now).slice(GROUP * HALF, HALF, 0)
                own_ds.slice(0, 64, 1).store(ds_0)
                empty = gl.zeros([_DQ_ROWS, COLUMNS], gl.float32, QUERY)
                ds_before = shared.ds.index(1 - now).slice(FIRST_ROW, _DQ_ROWS, 1)
                dq = warpgroup_mma(ds_before.permute((1, 0)), k_columns, empty, use_acc=False, is_async=True)
                dk = warpgroup_mma(gl.convert_layout(ds_0, WEIGHTS), q_0, dk, is_async=True)
                s_1 = warpgroup_mma_wait(4, deps=[s_1])
                whole_1 = says(said, WHOLE_PART << GROUP + 2)
                lse_1 = numbers_of_queries(shared, stage, 0, 64, plan, COLUMN)
                p_1, sloped_1 = step_weights(
                    s_1, lse_1, stage, whole_1, tile, entry, head, shared, plan, GROUP * HALF, 64
                )
                dv = warpgroup_mma(gl.convert_layout(p_1.to(q.dtype), WEIGHTS), do_1, dv, is_async=True)
                delta_1 = numbers_of_queries(shared, stage, 1, 64, plan, COLUMN)
                dp_1 = warpgroup_mma_wait(4, deps=[dp_1])
                ds_1 = gradients_of_scores(sloped_1, dp_1, delta_1, stage, tile, shared, plan, GROUP * HALF, 64).to(
                    q.dtype
                )
                own_ds.slice(64, 64, 1).store(ds_1)
                fence_async_shared()
                dk = warpgroup_mma(gl.convert_layout(ds_1, WEIGHTS), q_1, dk, is_async=True)
                dq = warpgroup_mma_wait(3, deps=[dq])
                named_barrier(_DS_THERE + GROUP * 2 + now, ARRIVE_GROUPS)
                if step > 0:
                    leave_dq(dq, tile, step - 1, 1 - now, DQ, shared, plan, GROUP)
            next_stage = gl.where(stage == STAGES - 1, 0, stage + 1)
            next_phase = gl.where(stage == STAGES - 1, phase ^ 1, phase)
            if plan.sizes.QUERIES == 64:  # while dk is made, which reads less of shared memory than other products do
                lse = _awaited_lse(shared, next_stage, next_phase, step + 1 < steps, plan, COLUMN)
            # Nothing may be in flight over the end of a loop: ptxas would have every product wait (C7514).
            dk, dv = warpgroup_mma_wait(0, deps=[dk, dv])
            named_barrier(STAGE_EMPTY + stage, ARRIVE_ALL)
            dk, dv = warpgroup_mma_init(dk), warpgroup_mma_init(dv)
            count += 1
            stage, phase = next_stage, next_phase
        dk, dv = warpgroup_mma_wait(0, deps=[dk, dv])
        last = (count - 1) & 1
        k_columns = shared.k.index(0).reshape([plan.sizes.KEYS, SIZE]).slice(FIRST_COLUMN, COLUMNS, 1)
        named_barrier(_DS_THERE + (1 - GROUP) * 2 + last, MEET_GROUPS)
        empty = gl.zeros([_DQ_ROWS, COLUMNS], gl.float32, QUERY)
        ds_before = shared.ds.index(last).slice(FIRST_ROW, _DQ_ROWS, 1)
        dq = warpgroup_mma(ds_before.permute((1, 0)), k_columns, empty, use_acc=False, is_async=True)
        dq = warpgroup_mma_wait(0, deps=[dq])
        mbarrier.arrive(shared.kv_empty, count=1)
        leave_dq(dq, tile, steps - 1, last, DQ, shared, plan, GROUP)
        if plan.work.DK_PARTS is None or tile.part < 0:
            leave_keys(dv, 1 - last, DK, plan.work.DV_ROWS, tile, shared, plan, GROUP)
            leave_keys(dk * plan.work.scale, last, DK, plan.work.DK_ROWS, tile, shared, plan, GROUP)
        else:
            store_part_of_keys(dv, plan.work.DV_PARTS, tile, plan, GROUP)
            store_part_of_keys(dk * plan.work.scale, plan.work.DK_PARTS, tile, plan, GROUP)
        turn += 1
        number = taken_backward_tile(turn, shared, 4)


@gluon.jit
def _awaited_lse(shared, stage, phase, there, plan, LAYOUT: gl.constexpr):
    """Log-sum-exps of 64 queries of a stage, for which it waits if it is to come."""
    mbarrier.wait(shared.full.index(stage), phase, pred=there)
    return numbers_of_queries(shared, stage, 0, 0, plan, LAYOUT)
