"""The forward kernel of the Hopper tier: one warp loads, two groups of four warps have half of the rows of a tile each.

The structure is that of FlashAttention-3 (Shah et al., 2024): products of a group overlap with the softmax of its own
step before, and both groups with each other.
"""

from __future__ import annotations

from sparsec.kernels.device import RUN_TIME, kernel_name
from sparsec.kernels.hopper import gl, gluon, mbarrier, store_wait, warpgroup_mma, warpgroup_mma_wait
from sparsec.kernels.hopper_load import hopper_load
from sparsec.kernels.hopper_mask import step_ahead
from sparsec.kernels.hopper_plan import HopperPlan, HopperShared, HopperSizes, HopperTile, HopperWork
from sparsec.kernels.hopper_softmax import after_values, first_weights, next_weights, scores_of, stored_matrix
from sparsec.kernels.hopper_store import hopper_store
from sparsec.kernels.hopper_tiles import LEAST_STEPS, hopper_tile, hopper_turns, hopper_walk
from sparsec.kernels.regions import Lists, Rules


@gluon.jit(do_not_specialize=[*RUN_TIME, "group_heads", "tiles"], repr=kernel_name)
def hopper_forward_kernel(
    Q, K, V, OUT, LSE, SPLITS, SPLITS_LSE, HEADS,
    heads, group_heads, n_q, n, q_offset, batches, tiles, scale_log2, split_tiles, splits,
    NAME: gl.constexpr, KEEP: gl.constexpr, FULL: gl.constexpr, KEYS: gl.constexpr, NUMBERS: gl.constexpr,
    WHOLE: gl.constexpr, LONGEST_FIRST: gl.constexpr,
    GROUP: gl.constexpr, HEAD_DIM: gl.constexpr, BLOCK_M: gl.constexpr, BLOCK_N: gl.constexpr, BLOCK_D: gl.constexpr,
    STAGES: gl.constexpr,
):  # fmt: skip
    """Tiles of queries against the keys of a region: out and log-sum-exp.

    SPLITS: programs that split a tile leave there what each of them found.
    """
    OUT_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_D, 16])
    _hopper_forward(
        Q, K, V, (OUT, LSE, SPLITS, SPLITS_LSE),
        HopperPlan(
            HopperWork(
                HEADS, group_heads, heads, batches, n_q, n, q_offset, tiles, split_tiles, splits,
            ),
            Rules(KEEP, FULL, KEYS, NUMBERS, None, None, None, WHOLE), Lists(),
            HopperSizes(
                GROUP, SPLITS is not None, LONGEST_FIRST, BLOCK_M, BLOCK_N, BLOCK_D, HEAD_DIM, BLOCK_M // 2, STAGES,
                OUT_LAYOUT, gl.DotOperandLayout(0, OUT_LAYOUT, 2),
            ),
            scale_log2,
        ),
    )  # fmt: skip


@gluon.jit
def _hopper_forward(Q, K, V, results, plan):
    """Shared memory, and what the groups of warps do."""
    dtype: gl.constexpr = Q.dtype
    rows: gl.constexpr = plan.sizes.ROWS
    keys: gl.constexpr = plan.sizes.BLOCK_N
    size: gl.constexpr = plan.sizes.BLOCK_D
    stages: gl.constexpr = plan.sizes.STAGES
    shared = HopperShared(
        gl.allocate_shared_memory(dtype, [4, 1, 1, rows, size], Q.layout),
        gl.allocate_shared_memory(dtype, [stages, 1, 1, keys, size], K.layout),
        gl.allocate_shared_memory(dtype, [stages, 1, 1, keys, size], V.layout),
        gl.allocate_shared_memory(dtype, [2, 1, 1, rows, size], results[0].layout),
        gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout()),
        gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout()),
        gl.allocate_shared_memory(gl.int64, [stages, 1], mbarrier.MBarrierLayout()),
        gl.allocate_shared_memory(gl.int64, [stages, 1], mbarrier.MBarrierLayout()),
    )
    for slot in gl.static_range(2):
        mbarrier.init(shared.q_full.index(slot), count=1)
        mbarrier.init(shared.q_empty.index(slot), count=2)
    for stage in gl.static_range(stages):
        mbarrier.init(shared.full.index(stage), count=1)
        mbarrier.init(shared.empty.index(stage), count=2)
    gl.warp_specialize([
        (_hopper_attend, (0, results, shared, plan)),
        (_hopper_attend, (1, results, shared, plan)),
        (hopper_load, (Q, K, V, shared, plan)),
    ], [4, 1], [240, 24])  # fmt: skip


@gluon.jit
def _hopper_attend(GROUP: gl.constexpr, results, shared, plan):
    """What a group of warps does: its rows of every tile of its program.

    What is asked about a step, or about a tile, is asked while products are in flight that come before it.
    """
    STAGES: gl.constexpr = plan.sizes.STAGES
    FIRST: gl.constexpr = GROUP * plan.sizes.ROWS
    turns, tile = hopper_turns(plan), hopper_tile(0, plan)
    visits = hopper_walk(tile, plan)
    ahead = step_ahead(tile, visits, 0, plan, FIRST)
    mbarrier.wait(shared.q_full.index(0), 0)
    mbarrier.wait(shared.full.index(0), 0)
    s = warpgroup_mma_wait(0, deps=[scores_of(shared, GROUP, 0, plan)])
    weights, m_i, l_i = first_weights(s, ahead, tile, plan, FIRST)
    acc = gl.zeros([plan.sizes.ROWS, plan.sizes.BLOCK_D], gl.float32, plan.sizes.OUT)
    ahead = step_ahead(tile, visits, 1, plan, FIRST)
    p, acc = after_values(weights, acc, 0, True, shared, plan)
    m_done, l_done, stage = m_i, l_i, 1
    batch, head, number, split, part = 0, 0, 0, False, 0  # of the tile before
    for turn in range(turns):
        # The tile before is stored behind the product of this one's second step.
        s = scores_of(shared, 2 * (turn & 1) + GROUP, stage % STAGES, plan)
        if turn > 0:
            before = HopperTile(batch, head, 0, number, split, part, 1)
            hopper_store(acc, m_done, l_done, results, shared.out.index(GROUP), before, plan, FIRST)
        acc = warpgroup_mma(p, stored_matrix(shared.v, stage % STAGES), acc, use_acc=False, is_async=True)
        weights, alpha, m_i, l_i = next_weights(s, m_i, l_i, ahead, tile, plan, FIRST)
        ahead, following = step_ahead(tile, visits, LEAST_STEPS, plan, FIRST), hopper_tile(turn + 1, plan)
        following_visits = hopper_walk(following, plan)
        p, acc = after_values(weights, acc, stage, True, shared, plan)
        acc *= alpha[:, None]
        stage += 1
        for step in range(LEAST_STEPS, visits.count):
            s = scores_of(shared, 2 * (turn & 1) + GROUP, stage % STAGES, plan)
            acc = warpgroup_mma(p, stored_matrix(shared.v, stage % STAGES), acc, is_async=True)
            weights, alpha, m_i, l_i = next_weights(s, m_i, l_i, ahead, tile, plan, FIRST)
            ahead = step_ahead(tile, visits, step + 1, plan, FIRST)
            p, acc = after_values(weights, acc, stage, True, shared, plan)
            acc *= alpha[:, None]
            stage += 1
        # The first step of the next tile overlaps with the last values of this one.
        mbarrier.arrive(shared.q_empty.index(turn & 1), count=1)
        more, slot = turn + 1 < turns, (turn + 1) & 1
        m_done, l_done = m_i, l_i
        batch, head, number, split, part = tile.batch, tile.head, tile.number, tile.split, tile.part
        tile, visits = following, following_visits
        ahead = step_ahead(tile, visits, 0, plan, FIRST)
        mbarrier.wait(shared.q_full.index(slot), ((turn + 1) >> 1) & 1, pred=more)
        s = scores_of(shared, 2 * slot + GROUP, stage % STAGES, plan)
        acc = warpgroup_mma(p, stored_matrix(shared.v, stage % STAGES), acc, is_async=True)
        s = warpgroup_mma_wait(1, deps=[s])
        weights, m_i, l_i = first_weights(s, ahead, tile, plan, FIRST)
        ahead = step_ahead(tile, visits, 1, plan, FIRST)
        p, acc = after_values(weights, acc, stage, more, shared, plan)
        stage += 1
    before = HopperTile(batch, head, 0, number, split, part, 1)
    hopper_store(acc, m_done, l_done, results, shared.out.index(GROUP), before, plan, FIRST)
    store_wait(0)
